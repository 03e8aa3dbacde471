package capacity

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Model says what one node uses. See the package's documentation.
type Model struct {
	// CPU are cores: the base, of a socket, of a message a second, of the first messages, of a token a second.
	CPU [5]float64 `json:"cpu"`
	// Knee is at how many messages a second half of what the first ones take more is taken.
	Knee float64 `json:"knee"`
	// Memory are bytes: the base, of a socket, of a session, of a message a second, of the first messages.
	Memory [5]float64 `json:"memory"`
	// Awake is at how many messages a second a node has half of the buffers and garbage that messages take at all.
	Awake float64 `json:"awake"`
	// Disk are bytes a second: the base, and of a message.
	Disk [2]float64 `json:"disk"`
	// Answer are the latencies as they were measured, by percentile.
	Answer map[string]Curve `json:"answer"`
	// Spread is the largest factor by which a percentile of a run was off when it was predicted from the others; 1 where that could not be tried.
	Spread map[string]float64 `json:"spread"`
	// Worst is the largest relative error with which a run was predicted from the others: of processor time, memory, latency.
	Worst Errors `json:"worst"`
	// Most is the highest of each that was measured; Files the lowest limit of files.
	Most  Load    `json:"most"`
	Files float64 `json:"files"`

	others []Model // each without one of the runs

	// What everybody else used beside the node, as CPU and Knee.
	beside     [5]float64
	besideKnee float64
}

// Errors are relative: 0.1 is ten percent.
type Errors struct {
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	Answer float64 `json:"answer"` // of p99; NaN is not known
}

// enough is how many runs a model takes at least.
const enough = 4

// Fit fits a model to runs, of which there must be at least four, with at least two rates of messages among them.
func Fit(points []Point) (*Model, error) {
	if len(points) < enough {
		return nil, fmt.Errorf("%d runs are too few for a model: it takes %d, with different rates and numbers of sockets", len(points), enough)
	}
	rates := map[float64]bool{}
	for _, p := range points {
		// A node that only holds sockets may use less than a clock's tick.
		if p.Cores <= 0 || p.CPU < 0 || p.CPU == 0 && p.Messages > 0 || p.Memory <= 0 {
			return nil, fmt.Errorf("run %s: there is no processor time or memory in it", p.Name)
		}
		rates[math.Round(p.Messages)] = true
	}
	if len(rates) < 2 {
		return nil, errors.New("all runs have the same rate of messages: a model takes two at least")
	}
	m := fit(points)
	m.Worst.Answer = math.NaN()
	for i := range points {
		rest := slices.Concat(points[:i], points[i+1:])
		o := fit(rest)
		m.others = append(m.others, o)
		if !inside(&points[i], rest) {
			continue // it is what the others say nothing about
		}
		e := o.check(&points[i])
		m.Worst.CPU, m.Worst.Memory = max(m.Worst.CPU, math.Abs(e.CPU)), max(m.Worst.Memory, math.Abs(e.Memory))
		if v := math.Abs(e.Answer); !math.IsNaN(v) && !(v <= m.Worst.Answer) {
			m.Worst.Answer = v
		}
		for _, q := range Percentiles {
			if off := math.Abs(math.Log1p(o.off(&points[i], q))); !math.IsNaN(off) {
				m.Spread[q] = max(m.Spread[q], math.Exp(off))
			}
		}
	}
	return &m, nil
}

// inside tells whether the rate of p lies between those of rest: further out a model is not asked to be right.
func inside(p *Point, rest []Point) bool {
	low, high := math.Inf(1), 0.0
	for _, r := range rest {
		low, high = min(low, r.Messages), max(high, r.Messages)
	}
	return p.Messages >= low*0.9 && p.Messages <= high*1.1
}

func fit(points []Point) Model {
	m := Model{Answer: map[string]Curve{}, Spread: map[string]float64{}}
	n := len(points)
	cpu, mem, disk, beside := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	diskRows := make([][]float64, n)
	for i := range points {
		p := &points[i]
		cpu[i], mem[i], disk[i], beside[i] = max(p.CPU, leastCPU), p.Memory, p.Disk, max(p.Others, leastCPU)
		diskRows[i] = []float64{1, p.Messages}
		m.Most = Load{max(m.Most.Sockets, p.Sockets), max(m.Most.Sessions, p.Sessions), max(m.Most.Messages, p.Messages), max(m.Most.Tokens, p.Tokens)}
		if p.Files > 0 && (m.Files == 0 || p.Files < m.Files) {
			m.Files = p.Files
		}
	}
	m.Disk = [2]float64(least(diskRows, disk))
	m.Knee, m.CPU = bent(points, cpu, cpuRow)
	m.besideKnee, m.beside = bent(points, beside, cpuRow)
	m.Awake, m.Memory = bent(points, mem, memoryRow)
	for _, q := range Percentiles {
		if c := curve(points, q, m.usedIn); len(c) > 0 {
			m.Answer[q], m.Spread[q] = c, 1
		}
	}
	return m
}

// bent finds the parts of a sum one of which grows ever slower, and at how many messages a second half of that one is taken.
func bent(points []Point, want []float64, row func(l Load, knee float64) []float64) (knee float64, parts [5]float64) {
	best := math.Inf(1)
	for k := 50.0; k <= 20_000; k *= 1.5 {
		rows := make([][]float64, len(points))
		for i := range points {
			rows[i] = row(points[i].Load, k)
		}
		x := least(rows, want)
		if e := misfit(rows, want, x); e < best*(1-1e-9) {
			best, knee, parts = e, k, [5]float64(x)
		}
	}
	return knee, parts
}

// leastCPU is what a run is taken to have used that has used less than can be measured, in cores.
const leastCPU = 0.001

// fullest is the share of the processors up to which the queue before them is one of a steady state.
const fullest = 0.97

// Percentiles are those of the latency that a model knows.
var Percentiles = []string{"p50", "p90", "p95", "p99", "p999"}

func cpuRow(l Load, knee float64) []float64 {
	return []float64{1, l.Sockets, l.Messages, l.Messages / (l.Messages + knee), l.Tokens}
}

func memoryRow(l Load, awake float64) []float64 {
	return []float64{1, l.Sockets, l.Sessions, l.Messages, l.Messages / (l.Messages + awake)}
}

// Use is what one node uses.
type Use struct {
	CPU    float64 `json:"cpu"`    // cores
	Memory float64 `json:"memory"` // bytes
	Disk   float64 `json:"disk"`   // bytes a second
	Files  float64 `json:"files"`  // that are open
}

// filesBeside is how many files a node keeps for itself, of its limit.
const filesBeside = 512

// Use returns what a node uses under l. Where the runs were too slow to tell what one more message takes, so that many would be as cheap as few,
// those beyond the runs take what the runs' own did on average.
func (m *Model) Use(l Load) Use {
	more := 0.0
	if most := m.Most.Messages; m.CPU[2] == 0 && l.Messages > most && most > 0 {
		more = m.CPU[3] * most / (most + m.Knee) * (l.Messages/most - 1)
	}
	return Use{
		CPU:    dot(cpuRow(l, m.Knee), m.CPU[:]) + more,
		Memory: dot(memoryRow(l, m.Awake), m.Memory[:]),
		Disk:   dot([]float64{1, l.Messages}, m.Disk[:]),
		Files:  l.Sockets + filesBeside,
	}
}

// Latency returns a percentile of the answer's latency in seconds when so much of the processors is used: what was measured, joined. It is NaN where it is
// not known, as where more is used than in any run: what a queue does then nothing but a run can tell.
func (m *Model) Latency(percentile string, used float64) float64 {
	return m.Answer[percentile].at(used)
}

// Range returns between what the percentile lies when from low to high of the processors is used: the runs next to that, or more where the curve was off
// by more when one of its runs was left out. low is zero below the runs, and high infinite above them: not known.
func (m *Model) Range(percentile string, usedLow, usedHigh float64) (low, high float64) {
	c, f := m.Answer[percentile], m.Spread[percentile]
	return c.low(usedLow, f), c.high(usedHigh, f)
}

// What is less than that is as good as nothing: no plan depends on it, and errors are not made large by it.
const (
	littleCPU    = 0.05      // of all processors
	littleMemory = 128 << 20 // bytes
)

// Check predicts a run, and returns how far off that is: 0.1 is ten percent too much, -0.1 ten percent too little; of an idle node, in
// percent of a twentieth of the processors and of 128 MiB.
func (m *Model) Check(p *Point) Errors { return m.check(p) }

func (m *Model) check(p *Point) (e Errors) {
	u := m.Use(p.Load)
	e.CPU, e.Memory = (u.CPU-p.CPU)/max(p.CPU, littleCPU*p.Cores), (u.Memory-p.Memory)/max(p.Memory, littleMemory)
	e.Answer = m.off(p, "p99")
	return e
}

// off is the relative error with which a percentile of a run is predicted; NaN where the run or the model does not say.
func (m *Model) off(p *Point, percentile string) float64 {
	have := p.Answer[percentile]
	if have <= 0 || p.Refused || p.used() >= fullest {
		return math.NaN()
	}
	return m.Latency(percentile, m.usedIn(p))/have - 1
}

// Around returns between what p99 of a run lies, as far as the model says: with its processor time as wrong as it was with runs that were left out.
func (m *Model) Around(p *Point) (low, high float64) {
	u, off := m.Use(p.Load).CPU, min(m.Worst.CPU, 1)
	return m.Range("p99", (u*(1-off)+p.Others)/p.Cores, (u*(1+off)+p.Others)/p.Cores)
}

// usedIn is the share of the processors that a run uses, the node's part as the model says.
func (m *Model) usedIn(p *Point) float64 { return (m.Use(p.Load).CPU + p.Others) / p.Cores }

// MarshalJSON leaves out what is not known.
func (e Errors) MarshalJSON() ([]byte, error) {
	doc := map[string]float64{"cpu": e.CPU, "memory": e.Memory}
	if !math.IsNaN(e.Answer) {
		doc["answer"] = e.Answer
	}
	return json.Marshal(doc)
}
