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
	// Nodes is how many are needed, with those that may be lost; Low and High are the range in which that number lies. High is 0 where no number is sure
	// to be enough.
	Nodes int `json:"nodes"`
	Low   int `json:"low"`
	High  int `json:"high,omitempty"`
	// First is the resource that runs out first as the load grows.
	First string `json:"first"`
	// Each is the load of one node with all of them there, and Lost with those gone that may be lost.
	Each Load `json:"each"`
	Lost Load `json:"lost"`
	// Use is what one node uses then, and Share how much of what it has that is, by resource.
	Use   Use                `json:"use"`
	Share map[string]float64 `json:"share"`
	// Expected is the goal's percentile in seconds; absent without one. It lies between ExpectedLow and ExpectedHigh, which is absent where it is not known.
	Expected     *float64 `json:"expected,omitempty"`
	ExpectedLow  *float64 `json:"expected_low,omitempty"`
	ExpectedHigh *float64 `json:"expected_high,omitempty"`
	// Beyond says what of a node's load is more than was measured, and what the runs do not tell.
	Beyond []string `json:"beyond,omitempty"`
}

// NodesMax bounds the answer, without those that may be lost, and those.
const NodesMax = 100_000

// ErrNever is that of a plan which no number of nodes, up to 100,000, is enough for.
var ErrNever = errors.New("no number of nodes is enough")

// never says why, of a load that takes too many nodes: what even one without any load has too little of, or that they are too many.
func (m *Model) never(node Node, goal Goal) error {
	shares := m.shares(Load{}, node, goal, expected)
	what := first(shares)
	switch {
	case shares[what] <= 1:
		return fmt.Errorf("%w: it takes more than %d", ErrNever, NodesMax)
	case what == Latency:
		c := m.Answer[goal.Percentile]
		if c[0].Seconds <= goal.Seconds {
			return fmt.Errorf("%w: one without any load uses more of its processors than the %.0f %% up to which the runs say what %s is: it takes a run with more to do", ErrNever, c.last()*100, goal.Percentile)
		}
		return fmt.Errorf("%w: the lowest %s of the runs is %.3g ms, with %.0f %% of the processors used, and the goal is %.3g ms: with less to do it may be lower, which takes a run that shows it", ErrNever, goal.Percentile, c[0].Seconds*1000, c[0].Used*100, goal.Seconds*1000)
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
	case goal.Spare < 0 || goal.Spare > NodesMax:
		return nil, fmt.Errorf("the nodes that may be lost must be 0 to %d", NodesMax)
	case l.Sockets < 0 || l.Sessions < 0 || l.Messages < 0 || l.Tokens < 0:
		return nil, errors.New("a load is below zero")
	}
	if _, ok := m.Answer[goal.Percentile]; goal.Percentile != "" && !ok {
		return nil, fmt.Errorf("no run says anything about %s: it takes one with answers, in which nothing was refused or left open and the machine was idle now and then", goal.Percentile)
	}
	if l.Tokens > 0 && m.Most.Tokens == 0 {
		return nil, errors.New("no run says anything about tokens: none had bots who stream")
	}
	n := m.nodes(l, node, goal, expected)
	if n > NodesMax {
		return nil, m.never(node, goal)
	}
	p := &Plan{Nodes: n + goal.Spare}
	p.Low, p.High = m.around(n, l, node, goal)
	p.Low += goal.Spare
	if p.High > 0 {
		p.High += goal.Spare
	}
	p.Each, p.Lost = l.per(float64(p.Nodes)), l.per(float64(n))
	p.Use = m.Use(p.Lost)
	p.Share = m.shares(p.Lost, node, goal, expected)
	p.First = first(m.shares(l.per(float64(n)).times(1.01), node, goal, expected))
	p.beyond(&m.Most)
	if m.CPU[2] == 0 && p.Lost.Messages > m.Most.Messages {
		p.Beyond = append(p.Beyond, fmt.Sprintf("the runs do not tell what one more message takes: beyond %.0f a second each is taken to need what those did on average", m.Most.Messages))
	}
	if goal.Percentile != "" {
		m.expect(p, node, goal)
	}
	return p, nil
}

// around returns the range of the number of nodes, of which n are expected. High is 0 where no number is sure to be enough.
func (m *Model) around(n int, l Load, node Node, goal Goal) (low, high int) {
	low, high = min(n, m.nodes(l, node, goal, atBest)), max(n, m.nodes(l, node, goal, atWorst))
	for i := range m.others {
		low = min(low, m.others[i].nodes(l, node, goal, expected))
		if k := m.others[i].nodes(l, node, goal, measured); k <= NodesMax {
			high = max(high, k)
		}
	}
	if high > NodesMax {
		high = 0
	}
	return low, high
}

// expect fills in what the goal's percentile will be, and says what of it the runs do not tell.
func (m *Model) expect(p *Plan, node Node, goal Goal) {
	v := m.Latency(goal.Percentile, m.used(p.Lost, node, expected))
	p.Expected = &v
	low, high := m.Range(goal.Percentile, m.used(p.Lost, node, atBest), m.used(p.Lost, node, atWorst))
	p.ExpectedLow = &low
	if !math.IsInf(high, 0) {
		p.ExpectedHigh = &high
	}
	c := m.Answer[goal.Percentile]
	if last := c[len(c)-1]; goal.Seconds > last.Seconds {
		p.Beyond = append(p.Beyond, fmt.Sprintf("%s is not known where more than %.0f %% of the processors are used, which is as far as the runs go, and is planned to stay below that: measure", goal.Percentile, last.Used*100))
	}
	if len(c) == 1 {
		p.Beyond = append(p.Beyond, fmt.Sprintf("the runs do not tell how %s grows with what the processors do", goal.Percentile))
	}
}

// side is how a model is read.
type side int

const (
	expected side = iota
	measured      // expected, and no node has more to do than one of the runs
	atBest        // as wrong as it was, to the good; and nobody else is on the node's machine
	atWorst       // as wrong as it was, to the bad; and no node has more to do than one of the runs
)

// offBy is by how much a model is wrong on a side.
func (m *Model) offBy(s side) Errors {
	switch s {
	case atBest:
		return Errors{CPU: -m.Worst.CPU, Memory: -m.Worst.Memory}
	case atWorst:
		return m.Worst
	}
	return Errors{}
}

// used is the share of a node's processors that is used under l, with what was beside the node in the runs: no latency was ever measured without it, and what a
// load generator used there may be the system's work for sockets here.
func (m *Model) used(l Load, node Node, s side) float64 {
	cpu := m.Use(l).CPU * (1 + m.offBy(s).CPU)
	if s != atBest {
		cpu += dot(cpuRow(l, m.besideKnee), m.beside[:])
	}
	return cpu / node.Cores
}

func (l Load) times(f float64) Load {
	return Load{l.Sockets * f, l.Sessions * f, l.Messages * f, l.Tokens * f}
}

// nodes is the smallest number whose nodes are all within bounds; more than NodesMax when there is none.
func (m *Model) nodes(l Load, node Node, goal Goal, s side) int {
	fits := func(n int) bool {
		one := l.per(float64(n))
		if (s == measured || s == atWorst) && (one.Messages > m.Most.Messages || one.Tokens > m.Most.Tokens) {
			return false
		}
		for _, share := range m.shares(one, node, goal, s) {
			if share > 1 || math.IsNaN(share) {
				return false
			}
		}
		return true
	}
	low, high := 0, 1 // too few, enough
	for !fits(high) {
		if high > NodesMax {
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
func (m *Model) shares(l Load, node Node, goal Goal, s side) map[string]float64 {
	u, off := m.Use(l), m.offBy(s)
	room := 1 - goal.Headroom
	shares := map[string]float64{Processors: u.CPU * (1 + off.CPU) / (node.Cores * room)}
	limit := func(name string, v, of float64) {
		if of > 0 {
			shares[name] = v / of
		}
	}
	limit(MemoryOf, u.Memory*(1+off.Memory), node.Memory*room)
	limit(DiskOf, u.Disk, node.Disk*room)
	limit(FilesOf, u.Files, node.Files) // a limit of files is not used up by others
	if goal.Percentile != "" {
		shares[Latency] = m.used(l, node, s) / m.allowed(goal, s)
	}
	return shares
}

// allowed is the share of the processors up to which the goal is reached; 0 where it never is, and what divides by it is infinite.
func (m *Model) allowed(goal Goal, s side) float64 {
	c, factor := m.Answer[goal.Percentile], m.Spread[goal.Percentile]
	reaches := func(used float64) bool {
		switch s {
		case atBest:
			return c.low(used, factor) <= goal.Seconds
		case atWorst:
			return c.high(used, factor) <= goal.Seconds
		}
		return c.at(used) <= goal.Seconds
	}
	if !reaches(0) {
		return 0
	}
	low, high := 0.0, 1.0 // reached, not reached
	for high-low > 1e-6 {
		if mid := (low + high) / 2; reaches(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
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
