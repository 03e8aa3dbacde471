package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"switchboard/loadtest/ledger"
	"switchboard/loadtest/scenario"
)

// sample is a result with something of everything. by makes its latencies longer.
func sample(t *testing.T, by int64) *Result {
	t.Helper()
	h := hdrhistogram.New(1, 60_000_000, 3)
	for i := range int64(10_000) {
		if err := h.RecordValue((1000 + i) * by); err != nil {
			t.Fatal(err)
		}
	}
	r := &Result{
		Format: Format, Scenario: "test", About: `<script>alert("x")</script>`, Document: "name: test\n", Started: time.Unix(1_700_000_000, 0).UTC(), Machine: "here", Seed: 1,
		Figures:   map[string]float64{"lost": 1, "rate": 100 * float64(by), "rss": 5 << 20, "duplicated": 0},
		Latencies: map[string]Latency{"answer": Of(h)}, Refused: map[string]int64{"overloaded": 3},
		Faults: []ledger.Fault{{Kind: ledger.Lost, Session: "s_1", N: 4, Seq: 9, Detail: "gone"}}, Open: []string{"session s_2"}, Warnings: []string{"late"},
	}
	for i := range 30 {
		p := Point{At: float64(i) - 5, Values: map[string]float64{"due": 100, "acked": float64(90 + i), "rss": 1e7, "gc": float64(i % 3), "l0": 2}, Latency: map[string][]float64{}}
		if i%7 != 0 {
			p.Latency["answer"] = []float64{.001, .002 * float64(i+1), .1}
		}
		r.Series = append(r.Series, p)
	}
	return r
}

func TestJudge(t *testing.T) {
	r := sample(t, 1)
	var gates []scenario.Gate
	for _, text := range []string{"p99 < 20ms", "p50 < 1ms", "rss < 10MiB", "cpu < 3", "answer.count == 10000", "lost < 5", "duplicated == 0"} {
		g, err := scenario.ParseGate(text)
		if err != nil {
			t.Fatal(err)
		}
		gates = append(gates, g)
	}
	r.Judge(gates)
	want := map[string]bool{"p99 < 20ms": true, "p50 < 1ms": false, "rss < 10MiB": true, "cpu < 3": false, "answer.count == 10000": true, "lost < 5": true, "lost == 0": false, "duplicated == 0": true, "reordered == 0": false, "mismatched == 0": false}
	for _, g := range r.Gates {
		if holds, ok := want[g.Text]; !ok || holds != g.Holds {
			t.Errorf("%+v", g)
		}
		delete(want, g.Text)
	}
	if len(want) > 0 || r.Holds() {
		t.Errorf("%v are no gates", want)
	}
}

// TestJudgeUnaudited: a run that did not come to compare what it was to compare does not pass in silence, but where its scenario says how many may be.
func TestJudgeUnaudited(t *testing.T) {
	f := func(unaudited float64, want string, gates ...string) {
		t.Helper()
		r := &Result{Figures: map[string]float64{"lost": 0, "duplicated": 0, "reordered": 0, "mismatched": 0, "unaudited": unaudited}}
		var list []scenario.Gate
		for _, text := range gates {
			g, err := scenario.ParseGate(text)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, g)
		}
		r.Judge(list)
		failed := ""
		for _, g := range r.Gates {
			if !g.Holds {
				failed += g.Text
			}
		}
		if failed != want {
			t.Errorf("%v unaudited, %v: %q does not hold; want %q", unaudited, gates, failed, want)
		}
	}
	f(0, "")
	f(3, "unaudited == 0")
	f(3, "unaudited == 0", "lost == 0")
	f(3, "", "unaudited <= 3")
	f(4, "unaudited <= 3", "unaudited <= 3")
}

// TestPage: the page is one well-formed document without script, and says everything; what came from outside is escaped.
func TestPage(t *testing.T) {
	r := sample(t, 1)
	r.Judge(nil)
	f := func(write func(io.Writer) error, charts int, want ...string) {
		t.Helper()
		var b strings.Builder
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("the page does not say %q", w)
			}
		}
		for _, bad := range []string{"<script", "http://", "https://", "NaN", "Inf", "<no value>", "ZgotmplZ"} {
			if strings.Contains(text, bad) {
				t.Errorf("the page says %q", bad)
			}
		}
		if n := strings.Count(text, "<svg"); n != charts {
			t.Errorf("%d charts; want %d", n, charts)
		}
		for _, part := range strings.Split(text, "<figure>")[1:] {
			svg, _, _ := strings.Cut(part, "</figure>")
			d := xml.NewDecoder(strings.NewReader("<figure>" + svg + "</figure>"))
			for {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("a chart is not well-formed: %v\n%s", err, svg)
				}
			}
		}
	}
	f(r.WriteHTML, 6, "lost in s_1, message 4 (key 4), seq 9: gone", "FAILS", "overloaded 3", "answer over time", "name: test", "&lt;script&gt;")
	f(Compare(r, sample(t, 2)).WriteHTML, 12, "answer.p99", "&#43;100%", "compared", "<h2>a: ", "<h2>b: ")
	other := sample(t, 2)
	other.Scenario, other.Machine = "another", "another machine"
	f(Compare(r, other).WriteHTML, 12, " and another compared", "Mind: they ran on different machines", "<h2>b: another")
}

func TestCompare(t *testing.T) {
	c := Compare(sample(t, 1), sample(t, 2))
	rows := map[string]Row{}
	for _, r := range c.Rows {
		rows[r.Name] = r
	}
	if r := rows["answer.p50"]; r.Change != "+100%" || r.Better != -1 {
		t.Errorf("%+v", r)
	}
	if r := rows["rate"]; r.Change != "+100%" || r.Better != 1 {
		t.Errorf("%+v", r)
	}
	if r := rows["rss"]; r.Change != "" || r.Better != 0 {
		t.Errorf("%+v", r)
	}
	if _, ok := rows["cpu"]; ok {
		t.Error("what neither has is compared")
	}
	var b strings.Builder
	if err := c.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		SameScenario bool `json:"same_scenario"`
		Rows         []struct {
			Name    string
			A, B    *float64
			Verdict string
		}
	}
	if err := json.Unmarshal([]byte(b.String()), &doc); err != nil || !doc.SameScenario || len(doc.Rows) != len(c.Rows) {
		t.Fatalf("%v\n%s", err, b.String())
	}
	for _, r := range doc.Rows {
		want := [...]string{"worse", "", "better"}[rows[r.Name].Better+1]
		if r.Verdict != want || r.A == nil || *r.A != c.A.Value(r.Name) || r.B == nil || *r.B != c.B.Value(r.Name) {
			t.Errorf("%+v; the table has %+v", r, rows[r.Name])
		}
	}
	b.Reset()
	if _, err := c.WriteTo(&b); err != nil || !strings.Contains(b.String(), "worse") || !strings.Contains(b.String(), "better") || strings.Contains(b.String(), "same scenario") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestCompareTellsAll: what leaks and what could not connect is compared, a share of what was not above 0 is none, and what makes a difference nobody's merit is told when it is known.
func TestCompareTellsAll(t *testing.T) {
	a, b := sample(t, 1), sample(t, 1)
	for i, r := range []*Result{a, b} {
		for _, name := range []string{"live", "live_per_talk", "rss_growth", "errors"} {
			r.Figures[name] = float64(1 + i)
		}
	}
	a.Figures["live_per_talk"] = -5
	c := Compare(a, b)
	rows := map[string]Row{}
	for _, r := range c.Rows {
		rows[r.Name] = r
	}
	for name, change := range map[string]string{"live": "+100%", "live_per_talk": "from -5B", "rss_growth": "+100%", "errors": "+100%"} {
		if r := rows[name]; r.Better != -1 || r.Change != change {
			t.Errorf("%s: %+v; want %s, and worse", name, r, change)
		}
	}
	f := func(want string, change func(*Result)) {
		t.Helper()
		was := *b
		change(b)
		if got := strings.Join(c.unlike(), "\n"); got != want {
			t.Errorf("%q; want %q", got, want)
		}
		*b = was
	}
	a.Sets = []string{"steady=8s", "talk.rate=200"}
	b.Sets = a.Sets
	f("they ran one scenario with different settings: talk.rate=200; talk.rate=400", func(r *Result) { r.Sets = []string{"steady=8s", "talk.rate=400"} })
	f("they ran one scenario with different settings: talk.rate=200; none of its own", func(r *Result) { r.Sets = []string{"steady=8s"} })
	f("they ran one scenario with different settings: steady=8s, talk.rate=200; talk.rate=200, steady=8s", func(r *Result) { r.Sets = []string{"talk.rate=200", "steady=8s"} })
	f("they did not run the same scenario", func(r *Result) { r.Document += "# another" })
	a.Hardware = Hardware{"one", "8.0 GiB", "6.1"}
	f("", func(*Result) {}) // of the other nothing is known
	f("they ran with different processors: one; two\nthey ran with different memory: 8.0 GiB; 4.0 GiB\nthey ran with different kernels: 6.1; 6.2", func(r *Result) {
		r.Hardware = Hardware{"two", "4.0 GiB", "6.2"}
		if c.sameMachine() {
			t.Error("they are the same machine")
		}
	})
	f("b was stopped after 0 s", func(r *Result) { r.Stopped = true })
	f("b did not come to its end: it is what was measured in the first 7 s, without an audit", func(r *Result) { r.Partial, r.Steady = true, 7 })
}

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	put := func(v any) {
		t.Helper()
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := sample(t, 1)
	put(want)
	r, err := Read(file)
	if err != nil || r.Value("answer.p99") != want.Value("answer.p99") || len(r.Series) != 30 || !math.IsNaN(r.Value("cpu")) {
		t.Errorf("%+v, %v", r, err)
	}
	want.Format = 9
	put(want)
	if _, err := Read(file); err == nil {
		t.Error("another format is read")
	}
	put(map[string]int{"format": 1})
	if _, err := Read(file); err == nil || !strings.Contains(err.Error(), "no result") {
		t.Errorf("a document without figures is read: %v", err)
	}
	put([]int{1})
	if _, err := Read(file); err == nil {
		t.Error("a list is read")
	}
	if _, err := Read(file + ".none"); err == nil {
		t.Error("nothing is read")
	}
}

func TestStrangers(t *testing.T) {
	f := func(want, machine, node, generator float64) {
		t.Helper()
		r := &Result{Figures: map[string]float64{"machine_cpu": machine, "cpu": node, "gen_cpu": generator}}
		if got := r.Strangers(); got != want {
			t.Errorf("%v used, %v by the node, %v by the generator: %v; want %v", machine, node, generator, got, want)
		}
	}
	f(0.5, 2, 1, 0.5)
	f(0, 1, 1, 0.5) // what is counted in ticks is not exact
	f(0, 0, 1, 1)   // not known
}

// TestFigure: as many digits as say something.
func TestFigure(t *testing.T) {
	f := func(name string, v float64, want string) {
		t.Helper()
		r := Result{Figures: map[string]float64{name: v}}
		if got := r.figure(name); got != want {
			t.Errorf("%s of %v is told as %q; want %q", name, v, got, want)
		}
	}
	f("connects_per_cpu", 1818.181818, "1818")
	f("cpu", 0.0765, "0.08")
	f("answered", 9987, "9987")
}

// TestRoundMarks: the values beside a chart are round in their unit, and those of bytes in the unit that bytes are told in.
func TestRoundMarks(t *testing.T) {
	f := func(high float64, a axis, want ...string) {
		t.Helper()
		var got []string
		for _, v := range a.marks(0, high) {
			got = append(got, a.print(v))
		}
		if !slices.Equal(got, want) {
			t.Errorf("up to %v: %q; want %q", high, got, want)
		}
	}
	size := axis{print: bytesOf, binary: true}
	f(80e6, size, "0B", "20.0MiB", "40.0MiB", "60.0MiB")
	f(150e3, size, "0B", "50.0KiB", "100.0KiB")
	f(900, size, "0B", "200B", "400B", "600B", "800B")
	f(3<<30, size, "0B", "1.00GiB", "2.00GiB", "3.00GiB")
	f(2.1, axis{print: plain}, "0", "0.5", "1", "1.5", "2")
}

// TestChartOfZeros: where all is zero the axis goes up to one, and its marks can be told from each other.
func TestChartOfZeros(t *testing.T) {
	mark := regexp.MustCompile(`class="y"[^>]*>([^<]*)<`)
	for _, of := range []axis{{print: plain}, {print: bytesOf, binary: true}} {
		text := string(chart("left", []line{{name: "left", x: []float64{0, 1, 2}, y: []float64{0, 0, 0}}}, of, []float64{0, 1, 2}, plain))
		var marks []string
		for _, m := range mark.FindAllStringSubmatch(text, -1) {
			if slices.Contains(marks, m[1]) || strings.Contains(m[1], "e-") {
				t.Errorf("a mark at %q behind %q", m[1], marks)
			}
			marks = append(marks, m[1])
		}
		if len(marks) < 3 {
			t.Errorf("marks at %q", marks)
		}
	}
}
