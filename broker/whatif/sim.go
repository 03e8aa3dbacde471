package whatif

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"switchboard/broker"
	"switchboard/broker/level"
	"switchboard/wire"
)

// Config is what a simulation is made of. Times are Unix ms.
type Config struct {
	Name   string // in the result
	Policy string // what it shows: in the result
	Seed   uint64 // decides what visits and agents leave open: who looks up from an offer, and when

	Routes       broker.Config
	DefaultQueue string     // of visits that name none; default the first
	Levels       *level.Set // what is counted beside the waits; may be nil
	Agents       []Agent
	Visits       Source

	Start, End int64 // the day: what comes in it is measured by hours from Start
	DrainMS    int64 // how long after End what is under way may go on; default 6 hours
	// Within is how fast a person's answer is in time, ms since the customer wanted one; default 180,000. Who leaves was
	// not answered in time.
	Within int64
	// Assigned says that being taken by somebody counts as the answer, as textbooks have it.
	Assigned bool
	AwayMS   int64 // how long somebody is away who missed an offer; default 60,000
	Hooks    []Hook

	all []Visit // of the day, where a search plays parts of it
}

// Hook is something that the caller does At a moment, before anything else of it.
type Hook struct {
	At int64
	Do func(*Sim)
}

// Sim is one simulation. It has one owner.
type Sim struct {
	cfg    Config
	core   *broker.Core
	out    broker.Effects
	now    int64
	agenda agenda

	sessions map[wire.SessionID]int32
	people   []session // in use or free
	free     []int32
	workers  []worker
	byID     map[string]int32
	offers   []offer
	freeOff  []int32
	recent   [64]int64 // how long the last visits' first offers take
	next     Visit
	more     bool
	count    int
	conns    uint64
	leases   uint64

	levels   level.Out
	boosts   bool
	tally    *level.Tally
	bodies   map[[4]string][]byte
	measures measures
}

// New makes a simulation, or says what is wrong with cfg.
func New(cfg Config) (*Sim, error) {
	switch {
	case len(cfg.Routes.Queues) == 0:
		return nil, errors.New("there is no queue")
	case cfg.End <= cfg.Start || cfg.End-cfg.Start > maxDays*24*hourMS:
		return nil, fmt.Errorf("a simulation takes up to %d days, not %d ms", maxDays, cfg.End-cfg.Start)
	case cfg.Visits == nil:
		return nil, errors.New("nobody comes")
	}
	if err := cfg.Routes.Validate(); err != nil {
		return nil, err
	}
	cfg.DrainMS = or(cfg.DrainMS, 6*hourMS)
	cfg.Within = or(cfg.Within, 180_000)
	cfg.AwayMS = or(cfg.AwayMS, 60_000)
	if cfg.DefaultQueue == "" {
		cfg.DefaultQueue = cfg.Routes.Queues[0].Name
	}
	if !slices.ContainsFunc(cfg.Routes.Queues, func(q broker.Queue) bool { return q.Name == cfg.DefaultQueue }) {
		return nil, fmt.Errorf("there is no queue %s", cfg.DefaultQueue)
	}
	s := &Sim{
		cfg: cfg, core: broker.New(cfg.Routes), sessions: make(map[wire.SessionID]int32), byID: make(map[string]int32, len(cfg.Agents)),
		tally: level.NewTally(cfg.Levels, 0, 0), bodies: make(map[[4]string][]byte),
	}
	s.measures.begin(&cfg)
	for i := range cfg.Levels.Len() {
		for _, w := range cfg.Levels.Definition(i).Warn {
			s.boosts = s.boosts || slices.Contains(w.Do, level.Boost)
		}
	}
	for i := range cfg.Hooks {
		s.at(cfg.Hooks[i].At, hooks, int32(i), 0) //nolint:gosec // few
	}
	for i := range cfg.Agents {
		if err := s.hire(&cfg.Agents[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// The bounds of a simulation.
const (
	maxDays   = 366
	maxAgents = 100_000
	hourMS    = int64(3_600_000)
)

func or[T int | int64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// Core is the routing core that is simulated, for hooks. What a hook makes it do goes to [Sim.Effects].
func (s *Sim) Core() *broker.Core { return s.core }

// Effects takes what comes of the core; whatever is in it when a hook returns is done.
func (s *Sim) Effects() *broker.Effects { return &s.out }

// Now is the simulation's time, Unix ms.
func (s *Sim) Now() int64 { return s.now }

func (s *Sim) at(at int64, what happening, who int32, gen uint32) {
	s.agenda.push(event{at: max(at, s.now), who: who, gen: gen, what: what})
}

// Run plays the day to its end. To be called once.
func (s *Sim) Run() (*Result, error) {
	s.now = s.cfg.Start
	if len(s.agenda.list) > 0 {
		first := s.agenda.list[0].at // a shift may have begun before the day
		s.now = min(s.now, first)
	}
	s.core.Open(1, nil, s.now, &s.out)
	s.settle()
	s.draw()
	until := s.cfg.End + s.cfg.DrainMS
	for s.more || len(s.sessions) > 0 {
		due, core := s.core.Next()
		coreFirst := core && (len(s.agenda.list) == 0 || due < s.agenda.list[0].at)
		switch {
		case !coreFirst && len(s.agenda.list) == 0:
			return nil, errors.New("somebody waits, and nothing will ever happen")
		case coreFirst:
			if due > until {
				return s.finish(), nil
			}
			s.now = max(s.now, due)
			s.core.Tick(s.now, &s.out)
			s.measures.ticks++
		default:
			e := s.agenda.pop()
			if e.at > until {
				return s.finish(), nil
			}
			s.now = max(s.now, e.at)
			s.happen(e)
			s.measures.events++
		}
		s.settle()
	}
	return s.finish(), nil
}

// happen does what is due.
func (s *Sim) happen(e event) {
	switch e.what {
	case arrives:
		s.arrive()
	case accepts:
		s.accept(e.who)
	case begins, goes, returns, drops, reconnects:
		s.work(e)
	case hooks:
		s.cfg.Hooks[e.who].Do(s)
	default:
		p := &s.people[e.who]
		gen := p.gen
		if e.what == asks || e.what == adds {
			gen = p.row
		}
		if gen == e.gen || e.what == ticks {
			s.live(p, e.what)
		}
	}
}

// draw takes the next visit.
func (s *Sim) draw() {
	was := s.next.At
	s.more = s.cfg.Visits(&s.next)
	if s.more {
		s.next.At = max(s.next.At, was)
		s.at(s.next.At, arrives, 0, 0)
	}
}

// settle does what the core said, and what comes of that, until it has nothing more to say.
func (s *Sim) settle() {
	for i := 0; i < len(s.out); i++ {
		e := &s.out[i]
		s.measures.effects++
		switch e.Kind {
		case broker.Grant:
			s.granted(e)
		case broker.OfferPush:
			s.asked(e)
		case broker.Lost:
			s.lost(e)
		case broker.Rebind:
			if p := s.find(e.Session); p == nil || p.state != with || p.ae != e.AE {
				s.core.Release(e.Session, e.AE, 0, false, s.now, &s.out)
			}
		case broker.Question:
			s.questioned(e)
		case broker.Unanswered:
			s.unanswered(e)
		case broker.LastResort:
			s.resorted(e)
		case broker.Reject:
			s.rejected(e)
		case broker.Placed:
			s.placed(e)
		case broker.Subscribed:
			w := &s.workers[s.byID[e.Worker]]
			w.lease = e.Lease
		case broker.PresencePush:
			s.missed(e)
		}
	}
	s.out.Reset()
}

// find returns a session that goes on, or nil.
func (s *Sim) find(id wire.SessionID) *session {
	if i, ok := s.sessions[id]; ok {
		return &s.people[i]
	}
	return nil
}

// name makes the id of the n'th session.
func name(n int) wire.SessionID {
	b := append(make([]byte, 0, 12), "s_0000000000"...)
	digits := strconv.AppendInt(nil, int64(n), 10)
	copy(b[len(b)-len(digits):], digits)
	return wire.SessionID(b)
}
