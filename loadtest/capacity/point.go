package capacity

import (
	"errors"
	"fmt"
	"strings"

	"switchboard/loadtest/report"
	"switchboard/loadtest/scenario"
)

// Load is what is asked of nodes. Nothing in it may be below zero.
type Load struct {
	Sockets  float64 `json:"sockets"`  // customers' connections that are open
	Sessions float64 `json:"sessions"` // conversations that are in memory
	Messages float64 `json:"messages"` // of customers, a second; each is answered as in the runs
	Tokens   float64 `json:"tokens"`   // of streamed answers, a second
}

// per is the share of one of n nodes.
func (l Load) per(n float64) Load {
	return Load{l.Sockets / n, l.Sessions / n, l.Messages / n, l.Tokens / n}
}

// Point is one run on one node: what was asked of it, and what it used.
type Point struct {
	Name  string  `json:"name"`
	Cores float64 `json:"cores"` // of the machine
	Load
	CPU    float64 `json:"cpu"`    // cores that the node used
	Others float64 `json:"others"` // cores that everybody else used on the same machine, the load generator among them
	// Strangers is the part of Others that is not the load generator's: what ran beside the test.
	Strangers float64            `json:"strangers,omitempty"`
	Memory    float64            `json:"memory"`            // resident bytes
	Disk      float64            `json:"disk"`              // bytes a second that were written to the log
	Files     float64            `json:"files,omitempty"`   // that the node's process may open; 0 is not known
	Answer    map[string]float64 `json:"answer,omitempty"`  // seconds, by percentile: p50 p90 p95 p99 p999
	Refused   bool               `json:"refused,omitempty"` // the node could not do it all: its latency is not that of a steady state
}

// used is the share of the machine's processors that was used.
func (p *Point) used() float64 { return (p.CPU + p.Others) / p.Cores }

// Of makes a point of a run. It fails when the run tells nothing about a constant load.
func Of(name string, r *report.Result) (p Point, err error) {
	sc, err := scenario.Parse(name, []byte(r.Document), r.Sets...)
	if err != nil {
		return p, fmt.Errorf("%s: its scenario: %w", name, err)
	}
	c := &sc.Talk.Curve
	switch {
	case len(c.Day)+len(c.Steps)+len(c.Pulses) > 0:
		return p, fmt.Errorf("%s: its rate has a curve, and a mean of it would say nothing: use runs of a constant rate", name)
	case r.Partial:
		return p, fmt.Errorf("%s: that run did not come to its end: use runs that did", name)
	case len(sc.Actions) > 0:
		return p, fmt.Errorf("%s: something was done to the node in the middle: use runs without actions", name)
	case r.Figures["rss"] == 0 || r.Steady <= 0:
		return p, fmt.Errorf("%s: the node's /metrics could not be read in that run", name)
	}
	p = Point{Name: name, CPU: r.Figures["cpu"], Others: max(r.Figures["machine_cpu"]-r.Figures["cpu"], r.Figures["gen_cpu"]), Strangers: r.Strangers(), Memory: r.Figures["rss"], Answer: map[string]float64{}}
	if p.Cores, err = cores(r.Machine); err != nil {
		return p, fmt.Errorf("%s: %w", name, err)
	}
	p.Load = Load{Sockets: r.Figures["sockets"], Messages: r.Figures["due"] / r.Steady, Tokens: r.Figures["tokens"] / r.Steady}
	p.Sessions, p.Disk, p.Files = seen(r, "sessions"), seen(r, "journal_bytes"), seen(r, "max_fds")
	p.Refused = r.Figures["refused"]+r.Figures["unanswered"]+r.Figures["unacked"] > 0
	l, ok := r.Latencies["answer"]
	if !ok {
		l, ok = r.Latencies["ack"]
	}
	if ok {
		p.Answer = map[string]float64{"p50": l.P50, "p90": l.P90, "p95": l.P95, "p99": l.P99, "p999": l.P999}
	}
	return p, nil
}

// cores reads how many processors a machine has.
func cores(machine string) (float64, error) {
	var n float64
	i := strings.LastIndex(machine, ", ")
	if _, err := fmt.Sscanf(machine[max(i+2, 0):], "%g CPUs", &n); i < 0 || err != nil || n < 1 {
		return 0, errors.New("the run does not say how many processors there were")
	}
	return n, nil
}

// seen is the mean of a value in the steady time; 0 when it was never told.
func seen(r *report.Result, name string) float64 {
	sum, n := 0.0, 0.0
	for i := range r.Series {
		at := r.Series[i].At
		if v, ok := r.Series[i].Values[name]; ok && at > 0 && at <= r.Steady {
			sum += v
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / n
}
