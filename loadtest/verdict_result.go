package loadtest

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Disconnects is how many connections of a side were cut.
type Disconnects struct {
	Planned int `json:"planned"` // at most: one that is armed and not used again is not cut
	Idle    int `json:"idle"`    // while nothing was on its way
	Torn    int `json:"torn"`    // in the middle of a request
	Unheard int `json:"unheard"` // with the server's answer on its way
}

// Happened is how many were really cut.
func (d Disconnects) Happened() int { return d.Idle + d.Torn + d.Unheard }

func (d *Disconnects) add(n [cuts]int) {
	d.Idle += n[between]
	d.Torn += n[torn]
	d.Unheard += n[unheard]
}

// ReplayResult is what came of a [Replay].
type ReplayResult struct {
	Seed        uint64  `json:"seed"`
	Speed       float64 `json:"speed"`
	Dialogues   int     `json:"dialogues"`
	Turns       int     `json:"turns"`   // of customers
	Answers     int     `json:"answers"` // of workers
	Bytes       int     `json:"bytes"`   // of both, without what is around them
	Concurrency int     `json:"concurrency"`
	// HandOffs that were planned, and those that a bot did; the rest were at a human already.
	HandOffsPlanned int `json:"handoffs_planned"`
	HandOffs        int `json:"handoffs"`
	// Customers and Workers are the disconnects of either side.
	Customers Disconnects `json:"disconnects_customers"`
	Workers   Disconnects `json:"disconnects_workers"`
	// Known is how many words were sent again and recognised, Redelivered how many came to a worker once more.
	Known       int `json:"resends_recognised"`
	Redelivered int `json:"redelivered"`
	// What must be 0.
	Lost       int `json:"lost"`
	Duplicated int `json:"duplicated"`
	Reordered  int `json:"reordered"`
	Mismatched int `json:"mismatched"`
	NotMoved   int `json:"not_moved"`
	Unfinished int `json:"unfinished"`
	// Faults says where; at most 100 of them.
	Faults []Fault `json:"faults,omitempty"`
	// Undisturbed says that the run proves less than it should: a disturbance was asked for, and none happened.
	Undisturbed string  `json:"undisturbed,omitempty"`
	Seconds     float64 `json:"seconds"`
	PerSecond   float64 `json:"messages_per_second"` // of both sides, durable
	// Open: until the session is open. Ack: until a message is durable. Answer: until the first answer has come. All since
	// it was due, in the time of the run, disconnects included.
	Open   Latency `json:"latency_open"`
	Ack    Latency `json:"latency_ack"`
	Answer Latency `json:"latency_answer"`
}

// Holds tells whether everything was received as it was sent, and the disturbances did happen.
func (r *ReplayResult) Holds() bool {
	return r.Lost+r.Duplicated+r.Reordered+r.Mismatched+r.NotMoved+r.Unfinished == 0 && r.Undisturbed == ""
}

// result begins a result with what the plan tells.
func (r *replay) result() *ReplayResult {
	res := &ReplayResult{Seed: r.Seed, Speed: r.Speed, Dialogues: len(r.all), Concurrency: r.Concurrency}
	planned := func(cs []cut) (n int) {
		for _, k := range cs {
			if k != noCut {
				n++
			}
		}
		return n
	}
	for _, c := range r.all {
		res.Turns += len(c.said)
		res.Answers += len(c.places)
		for _, rd := range c.rounds {
			res.Bytes += len(rd.text) + len(strings.Join(rd.answers, ""))
		}
		if c.moveAt >= 0 {
			res.HandOffsPlanned++
		}
		res.Customers.Planned += planned(c.customerCuts)
		res.Workers.Planned += planned(c.workerCuts)
	}
	return res
}

// judge adds what was measured and found. Nothing runs any more.
func (r *replay) judge(res *ReplayResult, took time.Duration) {
	for _, w := range r.workers {
		res.Workers.add(w.disturber.count())
	}
	for _, c := range r.all {
		res.Customers.add(c.disturber.count())
		res.Known += c.known
		res.Redelivered += c.again
		if c.moved {
			res.HandOffs++
		}
		res.note(c.faults())
	}
	res.Undisturbed = res.undisturbed()
	res.Seconds = took.Seconds()
	res.PerSecond = float64(r.m.messages()) / took.Seconds()
	res.Open, res.Ack, res.Answer = latencyOf(r.m.open), latencyOf(r.m.ack), latencyOf(r.m.answer)
}

// undisturbed tells which disturbance was planned and never happened. A customer's cuts always happen. A few of the
// workers' may not: one that has just come back is spared, and a session that finds no bot goes to a human at once.
func (r *ReplayResult) undisturbed() string {
	const few = 8
	switch {
	case r.Customers.Planned > 0 && r.Customers.Happened() == 0:
		return "no customer's connection was cut"
	case r.Workers.Planned > few && r.Workers.Happened() == 0:
		return "no worker's connection was cut"
	case r.HandOffsPlanned > few && r.HandOffs == 0:
		return "no bot handed over"
	}
	return ""
}

// note counts the faults of one conversation.
func (r *ReplayResult) note(fs []Fault) {
	const most = 100
	unfinished := false
	for _, f := range fs {
		switch f.Kind {
		case Lost:
			r.Lost++
		case Duplicated:
			r.Duplicated++
		case Reordered:
			r.Reordered++
		case Mismatched:
			r.Mismatched++
		case NotMoved:
			r.NotMoved++
		default:
			unfinished = true
		}
		if len(r.Faults) < most {
			r.Faults = append(r.Faults, f)
		}
	}
	if unfinished {
		r.Unfinished++
	}
}

// WriteTo writes the verdict for people.
func (r *ReplayResult) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-24s "+format+"\n", append([]any{name}, args...)...)
	}
	row("dialogues", "%d, %d at a time, %gx", r.Dialogues, r.Concurrency, r.Speed)
	row("messages", "%d by customers, %d by workers, %.1f KiB", r.Turns, r.Answers, float64(r.Bytes)/1024)
	row("hand-offs", "%d of %d planned", r.HandOffs, r.HandOffsPlanned)
	for _, side := range []struct {
		name string
		d    *Disconnects
	}{{"disconnects, customers", &r.Customers}, {"disconnects, workers", &r.Workers}} {
		row(side.name, "%d of %d planned: %d idle, %d in a request, %d before its answer", side.d.Happened(), side.d.Planned, side.d.Idle, side.d.Torn, side.d.Unheard)
	}
	row("resends recognised", "%d", r.Known)
	row("redelivered", "%d", r.Redelivered)
	row("lost", "%d", r.Lost)
	row("duplicated", "%d", r.Duplicated)
	row("reordered", "%d", r.Reordered)
	row("mismatched", "%d", r.Mismatched)
	row("not moved", "%d", r.NotMoved)
	row("unfinished dialogues", "%d", r.Unfinished)
	row("throughput", "%.0f durable messages/s over %.1f s", r.PerSecond, r.Seconds)
	fmt.Fprintf(&b, "\n%-24s %9s %9s %9s %9s %9s\n", "latency since due, ms", "p50", "p90", "p99", "p99.9", "max")
	for _, l := range []struct {
		name string
		l    *Latency
	}{{"session open", &r.Open}, {"message durable", &r.Ack}, {"first answer", &r.Answer}} {
		fmt.Fprintf(&b, "%-24s %9.2f %9.2f %9.2f %9.2f %9.2f\n", l.name, l.l.P50, l.l.P90, l.l.P99, l.l.P999, l.l.Max)
	}
	b.WriteByte('\n')
	if r.Holds() {
		b.WriteString("HOLDS: every message arrived once, in order, byte for byte\n")
	} else {
		const shown = 10
		for i, f := range r.Faults {
			if i == shown {
				fmt.Fprintf(&b, "… and more: --json shows up to 100\n")
				break
			}
			fmt.Fprintf(&b, "%s\n", f)
		}
		if r.Undisturbed != "" {
			fmt.Fprintf(&b, "%s: the run proves nothing about it\n", r.Undisturbed)
		}
		fmt.Fprintf(&b, "DOES NOT HOLD: play it again with --seed %d\n", r.Seed)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}
