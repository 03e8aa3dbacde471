package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"switchboard/loadtest/ledger"
	"switchboard/loadtest/scenario"
)

// Format is the version of the JSON form; a reader refuses others.
const Format = 1

// Result is what one run has shown.
type Result struct {
	Format   int       `json:"format"`
	Scenario string    `json:"scenario"`
	About    string    `json:"about"`
	Document string    `json:"document"` // the scenario, as it was read
	Sets     []string  `json:"sets,omitempty"`
	Started  time.Time `json:"started"`
	Machine  string    `json:"machine"`
	Hardware Hardware  `json:"hardware,omitzero"`
	Version  string    `json:"version,omitempty"`
	Seed     uint64    `json:"seed"`
	// Processes of the load generator.
	Processes int `json:"processes"`
	Customers int `json:"customers"`
	// Offered is messages a second, as the scenario asks for; Steady the seconds that were measured.
	Offered float64 `json:"offered"`
	Steady  float64 `json:"steady"`
	// Stopped tells that somebody ended the steady time early: what it shows is of the time until then.
	Stopped bool `json:"stopped,omitempty"`
	// Partial tells that the run was not over when this was written: nothing was audited, and there is no evidence of faults.
	Partial bool `json:"partial,omitempty"`

	// Figures are those of [scenario.Metrics] that are no latencies; what could not be measured is absent.
	Figures map[string]float64 `json:"figures"`
	// Latencies by name. What did not happen is absent.
	Latencies map[string]Latency `json:"latencies"`
	// Refused by slug.
	Refused map[string]int64 `json:"refused,omitempty"`
	// Series has one point a second, from the ramp to the end.
	Series []Point `json:"series"`
	// Faults is the evidence, up to a bound; Figures have the counts. Open is sessions that had something open at the end.
	Faults []ledger.Fault `json:"faults,omitempty"`
	Open   []string       `json:"open,omitempty"`
	Gates  []Gate         `json:"gates"`
	// Warnings say why the figures may not be what they seem.
	Warnings []string `json:"warnings,omitempty"`
}

// Hardware is what the load generator ran on. What is not known is "".
type Hardware struct {
	Model  string `json:"model,omitempty"` // of the processors
	Memory string `json:"memory,omitempty"`
	Kernel string `json:"kernel,omitempty"`
}

// Latency is one distribution, in seconds, and its percentile curve.
type Latency struct {
	Count int64        `json:"count"`
	Mean  float64      `json:"mean"`
	P50   float64      `json:"p50"`
	P90   float64      `json:"p90"`
	P95   float64      `json:"p95"`
	P99   float64      `json:"p99"`
	P999  float64      `json:"p999"`
	Max   float64      `json:"max"`
	Curve [][2]float64 `json:"curve,omitempty"` // percentile, seconds
}

// Point is one second of a run. At is seconds since the steady time began: below 0 in the ramp. What is NaN elsewhere is
// absent here.
type Point struct {
	At      float64              `json:"at"`
	Values  map[string]float64   `json:"v"`           // rates a second, and gauges
	Latency map[string][]float64 `json:"l,omitempty"` // p50, p99, max, in seconds
}

// Gate is a gate and what came of it. Value is absent when it was not measured.
type Gate struct {
	Text  string   `json:"gate"`
	Value *float64 `json:"value,omitempty"`
	Holds bool     `json:"holds"`
}

// Of makes a Latency of a histogram in microseconds.
func Of(h *hdrhistogram.Histogram) Latency {
	const micros = 1e6
	at := func(p float64) float64 { return float64(h.ValueAtQuantile(p)) / micros }
	l := Latency{
		Count: h.TotalCount(), Mean: h.Mean() / micros, P50: at(50), P90: at(90), P95: at(95), P99: at(99), P999: at(99.9), Max: float64(h.Max()) / micros,
	}
	for _, p := range []float64{0, 10, 25, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 96, 97, 98, 99, 99.5, 99.9, 99.95, 99.99, 99.999} {
		if float64(l.Count)*(100-p)/100 >= 1 || p == 0 {
			l.Curve = append(l.Curve, [2]float64{p, at(p)})
		}
	}
	l.Curve = append(l.Curve, [2]float64{100, l.Max})
	return l
}

// Value returns a figure of [scenario.UnitOf]; NaN when it was not measured.
func (r *Result) Value(metric string) float64 {
	if v, ok := r.Figures[metric]; ok {
		return v
	}
	name, stat, _ := strings.Cut(metric, ".")
	l, ok := r.Latencies[name]
	if stat == "count" {
		return float64(l.Count)
	}
	if !ok {
		return math.NaN()
	}
	switch stat {
	case "p50":
		return l.P50
	case "p90":
		return l.P90
	case "p95":
		return l.P95
	case "p99":
		return l.P99
	case "p999":
		return l.P999
	case "max":
		return l.Max
	case "mean":
		return l.Mean
	}
	return math.NaN()
}

// StrangersMost is how many cores others may use of the machine on which node and load generator run, before a run says that its figures are not theirs alone.
const StrangersMost = 0.3

// Strangers returns the cores of that machine that neither the node nor the load generator used in the steady time; 0 where that is not known.
func (r *Result) Strangers() float64 {
	if r.Figures["machine_cpu"] == 0 {
		return 0
	}
	return max(r.Figures["machine_cpu"]-r.Figures["cpu"]-r.Figures["gen_cpu"], 0)
}

// promises must hold in every run, whatever the scenario says.
var promises = []string{"lost == 0", "duplicated == 0", "reordered == 0", "mismatched == 0"}

// checked must hold too, but where a gate of the scenario says otherwise: that what was to be compared was.
const checked = "unaudited == 0"

// Judge fills in the gates.
func (r *Result) Judge(gates []scenario.Gate) {
	seen := map[string]bool{}
	audits := false
	for i := range gates {
		audits = audits || gates[i].Metric == "unaudited"
		if g := &gates[i]; g.Op == "==" && g.Limit.Value == 0 { // a weaker one does not stand for a promise
			seen[g.Metric] = true
		}
	}
	for _, p := range promises {
		if g, err := scenario.ParseGate(p); err == nil && !seen[g.Metric] {
			gates = append(gates, g)
		}
	}
	if g, err := scenario.ParseGate(checked); err == nil && !audits && r.Figures[g.Metric] > 0 {
		gates = append(gates, g)
	}
	r.Gates = nil
	for _, g := range gates {
		v := r.Value(g.Metric)
		out := Gate{Text: g.Text, Holds: g.Holds(v)}
		if !math.IsNaN(v) {
			out.Value = &v
		}
		r.Gates = append(r.Gates, out)
	}
}

// Stained tells whether something was lost, duplicated, reordered or altered.
func (r *Result) Stained() bool {
	for _, p := range promises {
		if g, err := scenario.ParseGate(p); err == nil && r.Figures[g.Metric] > 0 {
			return true
		}
	}
	return false
}

// Holds tells whether every gate does.
func (r *Result) Holds() bool {
	for _, g := range r.Gates {
		if !g.Holds {
			return false
		}
	}
	return true
}

// Print is the value of a gate for people.
func (g *Gate) Print() string {
	if g.Value == nil {
		return "not measured"
	}
	unit := scenario.None
	if p, err := scenario.ParseGate(g.Text); err == nil {
		unit, _ = scenario.UnitOf(p.Metric)
	}
	return scenario.Format(*g.Value, unit)
}

// Read reads a result that was written as JSON.
func Read(file string) (*Result, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s is no result of a load test: %w", file, err)
	}
	if r.Format != Format {
		return nil, fmt.Errorf("%s has format %d: this program reads %d", file, r.Format, Format)
	}
	if r.Scenario == "" || r.Started.IsZero() || r.Figures == nil || r.Latencies == nil {
		return nil, fmt.Errorf("%s is no result of a load test: it lacks scenario, started, figures or latencies; `loadtest run --json` writes one", file)
	}
	return r, nil
}
