package capacity

import (
	"errors"
	"fmt"
	"math"
)

// Node is one node of those that are planned. Zero is no limit, but Cores, of which there must be some.
type Node struct {
	Cores  float64 `json:"cores"`
	Memory float64 `json:"memory,omitempty"` // bytes
	Files  float64 `json:"files,omitempty"`  // that its process may open
	Disk   float64 `json:"disk,omitempty"`   // bytes a second
}

// Goal is what must hold.
type Goal struct {
	Percentile string  `json:"percentile,omitempty"` // p50 p90 p95 p99 p999; empty is none
	Seconds    float64 `json:"seconds,omitempty"`
	// Headroom is the share of every resource that stays free.
	Headroom float64 `json:"headroom"`
	// Spare is how many nodes may be lost.
	Spare int `json:"spare"`
}

// The resources.
const (
	Processors = "processors"
	Latency    = "latency" // of the goal: the processors again, before they are used up
	MemoryOf   = "memory"
	FilesOf    = "files"
	DiskOf     = "disk"
)

// Plan is an answer.
type Plan struct {
	// Nodes is how many are needed, with those that may be lost; Low and High are the range in which that number lies.
	Nodes int `json:"nodes"`
	Low   int `json:"low"`
	High  int `json:"high"`
	// First is the resource that runs out first as the load grows.
	First string `json:"first"`
	// Each is the load of one node with all of them there, and Lost with those gone that may be lost.
	Each Load `json:"each"`
	Lost Load `json:"lost"`
	// Use is what one node uses then, and Share how much of what it has that is, by resource.
	Use   Use                `json:"use"`
	Share map[string]float64 `json:"share"`
	// Expected is the goal's percentile in seconds; absent without one.
	Expected *float64 `json:"expected,omitempty"`
	// Beyond says what of a node's load is more than was measured, and what the runs do not tell.
	Beyond []string `json:"beyond,omitempty"`
}

// most bounds the answer.
const most = 100_000

// ErrNever is that of a plan which no number of nodes, up to 100,000, is enough for.
var ErrNever = errors.New("no number of nodes is enough")

// never says why, of a load that takes too many nodes: what even one without any load has too little of, or that they are too many.
func (m *Model) never(node Node, goal Goal) error {
	shares := m.shares(Load{}, node, goal, errorsNone)
	what := first(shares)
	switch {
	case shares[what] <= 1:
		return fmt.Errorf("%w: it takes more than %d", ErrNever, most)
	case what == Latency:
		return fmt.Errorf("%w: %s is above the goal on a node without any load already", ErrNever, goal.Percentile)
	}
	return fmt.Errorf("%w: one without any load takes more %s than it has to spare", ErrNever, what)
}

// Plan returns how many nodes l takes. What no number of nodes reaches is [ErrNever]; other errors say what was asked for wrongly.
func (m *Model) Plan(l Load, node Node, goal Goal) (*Plan, error) {
	switch {
	case node.Cores <= 0:
		return nil, errors.New("a node has no processors")
	case goal.Headroom < 0 || goal.Headroom >= 1:
		return nil, errors.New("the headroom must be 0 to below 1")
	case goal.Spare < 0:
		return nil, errors.New("fewer than no nodes may be lost")
	case l.Sockets < 0 || l.Sessions < 0 || l.Messages < 0 || l.Tokens < 0:
		return nil, errors.New("a load is below zero")
	}
	if _, ok := m.Answer[goal.Percentile]; goal.Percentile != "" && !ok {
		return nil, fmt.Errorf("no run says anything about %s: none had answers", goal.Percentile)
	}
	if l.Tokens > 0 && m.Most.Tokens == 0 {
		return nil, errors.New("no run says anything about tokens: none had bots who stream")
	}
	n := m.nodes(l, node, goal, errorsNone, false)
	if n > most {
		return nil, m.never(node, goal)
	}
	p := &Plan{Nodes: n + goal.Spare, Low: n, High: n}
	for i := range m.others {
		p.Low = min(p.Low, m.others[i].nodes(l, node, goal, errorsNone, false))
	}
	p.Low = min(p.Low, m.nodes(l, node, goal, Errors{-m.Worst.CPU, -m.Worst.Memory, -m.Worst.Answer}, false))
	p.High = max(p.High, m.nodes(l, node, goal, m.Worst, true))
	for i := range m.others {
		if k := m.others[i].nodes(l, node, goal, errorsNone, true); k <= most {
			p.High = max(p.High, k)
		}
	}
	p.High = min(p.High, most)
	p.Low, p.High = p.Low+goal.Spare, p.High+goal.Spare
	p.Each, p.Lost = l.per(float64(p.Nodes)), l.per(float64(n))
	p.Use = m.Use(p.Lost)
	p.Share = m.shares(p.Lost, node, goal, errorsNone)
	p.First = first(m.shares(l.per(float64(n)).times(1.01), node, goal, errorsNone))
	if goal.Percentile != "" {
		v := m.Latency(goal.Percentile, p.Use.CPU/node.Cores)
		p.Expected = &v
	}
	p.beyond(&m.Most)
	if m.CPU[2] == 0 && p.Lost.Messages > m.Most.Messages {
		p.Beyond = append(p.Beyond, fmt.Sprintf("the runs do not tell what one more message takes: beyond %.0f a second each is taken to need what those did on average", m.Most.Messages))
	}
	if a := m.Answer[goal.Percentile]; goal.Percentile != "" && a[1]+a[2] == 0 {
		p.Beyond = append(p.Beyond, fmt.Sprintf("the runs do not tell how %s grows with what the processors do", goal.Percentile))
	}
	return p, nil
}

var errorsNone Errors

func (l Load) times(f float64) Load {
	return Load{l.Sockets * f, l.Sessions * f, l.Messages * f, l.Tokens * f}
}

// nodes is the smallest number whose nodes are all within bounds, when the model is wrong by off; more than most when there is
// none. careful keeps each within what was measured.
func (m *Model) nodes(l Load, node Node, goal Goal, off Errors, careful bool) int {
	fits := func(n int) bool {
		one := l.per(float64(n))
		if careful && (one.Messages > m.Most.Messages || one.Tokens > m.Most.Tokens) {
			return false
		}
		for _, share := range m.shares(one, node, goal, off) {
			if share > 1 || math.IsNaN(share) {
				return false
			}
		}
		return true
	}
	low, high := 0, 1 // too few, enough
	for !fits(high) {
		if high > most {
			return high
		}
		low, high = high, high*2
	}
	for high-low > 1 {
		if mid := (low + high) / 2; fits(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// shares is how much of each resource is used that may be: above 1 is too much.
func (m *Model) shares(l Load, node Node, goal Goal, off Errors) map[string]float64 {
	u := m.Use(l)
	u.CPU, u.Memory = u.CPU*(1+off.CPU), u.Memory*(1+off.Memory)
	room := 1 - goal.Headroom
	s := map[string]float64{Processors: u.CPU / (node.Cores * room)}
	limit := func(name string, v, of float64) {
		if of > 0 {
			s[name] = v / of
		}
	}
	limit(MemoryOf, u.Memory, node.Memory*room)
	limit(DiskOf, u.Disk, node.Disk*room)
	limit(FilesOf, u.Files, node.Files) // a limit of files is not used up by others
	if goal.Percentile != "" {
		s[Latency] = u.CPU / node.Cores / m.allowed(goal, off)
	}
	return s
}

// allowed is the share of the processors up to which the goal is reached.
func (m *Model) allowed(goal Goal, off Errors) float64 {
	a := m.Answer[goal.Percentile]
	wanted := goal.Seconds - a[0]
	if !math.IsNaN(off.Answer) {
		wanted = goal.Seconds/(1+off.Answer) - a[0]
	}
	switch {
	case wanted <= 0:
		return 0 // division makes it infinite: it never fits
	case a[1]+a[2] == 0:
		return 1
	}
	// The queue at which a[1]·q + a[2]·q² is wanted; in this form also with one of the two zero.
	q := 2 * wanted / (a[1] + math.Sqrt(a[1]*a[1]+4*a[2]*wanted))
	return q / (1 + q)
}

// first is the resource of which most is used.
func first(shares map[string]float64) (name string) {
	top := math.Inf(-1)
	for _, n := range []string{Processors, Latency, MemoryOf, FilesOf, DiskOf} {
		if v, ok := shares[n]; ok && v > top {
			name, top = n, v
		}
	}
	return name
}

// beyond says what was not measured.
func (p *Plan) beyond(most *Load) {
	say := func(what string, v, of float64) {
		if v > of*1.05 {
			p.Beyond = append(p.Beyond, fmt.Sprintf("%.0f %s on a node, and the most that was measured is %.0f", v, what, of))
		}
	}
	say("messages a second", p.Lost.Messages, most.Messages)
	say("sockets", p.Lost.Sockets, most.Sockets)
	say("sessions", p.Lost.Sessions, most.Sessions)
	say("tokens a second", p.Lost.Tokens, most.Tokens)
}
