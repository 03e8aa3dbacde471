package scenario

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
)

// Limits of a scenario. Everything that a run takes is bounded by its document.
const (
	maxSockets = 2_000_000
	maxNodes   = 64
	maxWorkers = 10_000
	maxRate    = 1_000_000
	maxSeconds = 7 * 24 * 3600
	maxBody    = 24 << 10
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// check reports what makes no sense.
func (s *Scenario) check(at func(path string, err error)) {
	between := func(path string, v, low, high int) {
		if v < low || v > high {
			at(path, fmt.Errorf("it is %d: it must be %d to %d", v, low, high))
		}
	}
	within := func(path string, q Quantity, low, high float64) {
		if q.err == nil && (q.Value < low || q.Value > high) {
			at(path, fmt.Errorf("it is %q: it must be %s to %s", q.text, Format(low, q.Unit), Format(high, q.Unit)))
		}
	}
	among := func(path, v string, all ...string) {
		if v != "" && !slices.Contains(all, v) {
			at(path, fmt.Errorf("it is %q: it must be one of %v", v, all))
		}
	}
	pace := func(path string, v float64) {
		if v < 0 || v > 1e6 || math.IsNaN(v) {
			at(path, fmt.Errorf("it is %v: it must be above 0, and up to 1000000", v))
		}
	}
	if !nameForm.MatchString(s.Name) {
		at("name", fmt.Errorf("it is %q: it must be 1 to 64 of A-Z a-z 0-9 _ -", s.Name))
	}
	if s.About == "" {
		at("about", errors.New("it is needed: one line for people"))
	}
	switch {
	case s.Steady.err != nil:
	case s.Steady.Value == 0:
		at("steady", errors.New("it is needed: how long is measured"))
	default:
		within("steady", s.Steady, .1, maxSeconds)
	}
	within("ramp", s.Ramp, 0, 3600)
	within("stop", s.Stop, 0, 3600)
	within("patience", s.Patience, 0, 3600)
	between("audit", s.Audit, 0, 10_000)
	within("audit_time", s.AuditTime, 0, 3600)
	between("node.count", s.Node.Count, 0, maxNodes)
	if n, bots := s.Node.Count, s.Workers.Bots.Count+s.Workers.Humans.Count; n > 1 && bots > 0 && (s.Workers.Bots.Count < n && s.Workers.Bots.Count > 0 || s.Workers.Humans.Count < n && s.Workers.Humans.Count > 0) {
		at("workers", fmt.Errorf("each of %d nodes wants its own: there must be %d bots at least, and as many humans, or none", n, n))
	}
	if s.Node.Cluster && len(s.Node.Exec) > 0 {
		at("node.cluster", errors.New("it is for nodes that the test starts its own way: leave out node.exec"))
	}
	between("customers.sockets", s.Customers.Sockets, 1, maxSockets)
	between("customers.sources", s.Customers.Sources, 0, 250)
	between("customers.shops", s.Customers.Shops, 0, 1_000_000)
	within("customers.slow.bytes", s.Customers.Slow.Bytes, 0, 1<<20)
	within("talk.rate", s.Talk.Rate, 0, maxRate)
	among("talk.arrivals", s.Talk.Arrivals, Poisson, Even)
	pace("talk.pace", s.Talk.Pace)
	s.Talk.Curve.Check("talk.curve", s.Steady.Value, s.Customers.Shops, at)
	b, h := &s.Workers.Bots, &s.Workers.Humans
	between("workers.bots.count", b.Count, 0, maxWorkers)
	between("workers.bots.slots", b.Slots, 0, 100_000)
	between("workers.bots.window", b.Window, 0, 1_000)
	among("workers.bots.reply", b.Reply, Echo, Stream, Silent)
	between("workers.humans.count", h.Count, 0, maxWorkers)
	between("workers.humans.slots", h.Slots, 0, 100_000)
	between("workers.humans.window", h.Window, 0, 1_000)
	pace("workers.humans.pace", h.Pace)
	if b.HandOff.Share.Value > 0 && h.Count == 0 {
		at("workers.bots.handoff.share", errors.New("there are no humans to hand over to: set workers.humans.count"))
	}
	for path, d := range map[string]*Dist{"talk.length": &s.Talk.Length, "workers.bots.length": &b.Length, "workers.humans.length": &h.Length} {
		if d.Median.Value > maxBody || d.Max.Value > maxBody || d.Sigma > 0 && d.Max.Value == 0 && d.Quantile(.9999) > maxBody {
			at(path, fmt.Errorf("a text may not be longer than 24KiB: set max"))
		}
	}
	for path, d := range map[string]*Dist{
		"talk.turns": &s.Talk.Turns, "talk.think": &s.Talk.Think, "talk.length": &s.Talk.Length, "workers.bots.length": &b.Length, "workers.bots.tokens": &b.Tokens, "workers.humans.length": &h.Length,
	} {
		if d.Zeros() { // something else would stand there, without a word
			at(path, errors.New("it is zero: write 1ms, 1B or a number of 1 or more, or leave it out for the default"))
		}
	}
	s.checkActions(at)
	for i, text := range s.Gates {
		g, err := ParseGate(text)
		if err != nil {
			at(fmt.Sprintf("gates[%d]", i), err)
		}
		s.gates = append(s.gates, g)
	}
}

func (s *Scenario) checkActions(at func(path string, err error)) {
	for i, a := range s.Actions {
		path := fmt.Sprintf("actions[%d]", i)
		kinds := 0
		for _, is := range []bool{a.Drop.Value > 0, a.Run != "", a.Kill, a.Drain} {
			if is {
				kinds++
			}
		}
		if kinds != 1 && a.Drop.err == nil {
			at(path, errors.New("it must be exactly one of drop, run, kill and drain"))
		}
		if a.At.Value > s.Steady.Value {
			at(path+".at", fmt.Errorf("it is %s, which is behind the steady time of %s", Format(a.At.Value, Time), Format(s.Steady.Value, Time)))
		}
		if a.Drop.Value == 0 && a.Within.Value+a.Back.Value+a.Jitter.Value > 0 {
			at(path, errors.New("within, back and jitter are for drop"))
		}
		if a.Node < 0 || a.Node > max(s.Node.Count, 1) || a.Node > 0 && a.Drop.Value > 0 {
			at(path+".node", fmt.Errorf("it is from 1 to %d, for run, kill and drain", max(s.Node.Count, 1)))
		}
		if !a.Kill && !a.Drain && a.Restart.Value > 0 {
			at(path+".restart", errors.New("restart is for kill and drain"))
		}
	}
}
