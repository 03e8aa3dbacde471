package whatif

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"switchboard/broker/whatif/erlang"
)

// BenchmarkSession is a call of a full system: its arrival, offer, accept, assignment, end.
func BenchmarkSession(b *testing.B) {
	cfg := markov(erlang.Queue{Rate: .5, Handle: 60, Servers: 33}, 1, 1)
	come, n := cfg.Visits, 0
	cfg.End = cfg.Start + maxDays*24*hourMS
	cfg.Visits = func(v *Visit) bool {
		n++
		_ = come(v) // it ends after an hour of its own; this one after b.N calls
		return n <= b.N
	}
	for i := range cfg.Agents {
		cfg.Agents[i].Shifts[0].To = cfg.End + 24*hourMS
	}
	b.ReportAllocs()
	b.ResetTimer()
	play(b, cfg)
}

// TestAgendaAllocs: an event costs no memory once the heap has grown.
func TestAgendaAllocs(t *testing.T) {
	var a agenda
	for i := range 1000 {
		a.push(event{at: int64(i * 7919 % 1000)})
	}
	if n := testing.AllocsPerRun(1000, func() {
		e := a.pop()
		e.at += 500
		a.push(e)
	}); n != 0 {
		t.Errorf("an event allocates %v times", n)
	}
	last := int64(-1)
	for len(a.list) > 0 {
		if e := a.pop(); e.at < last {
			t.Fatalf("%d comes after %d", e.at, last)
		} else {
			last = e.at
		}
	}
}

// TestSessionAllocs: a session costs its name and the ids of its offers.
func TestSessionAllocs(t *testing.T) {
	r := testing.Benchmark(BenchmarkSession)
	if n := r.AllocsPerOp(); n > 12 {
		t.Errorf("a session allocates %d times", n)
	}
	t.Logf("%v %v", r, r.MemString())
}

// TestDocs: every field of a day stands in the docs.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/whatif.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type)
	seen := map[reflect.Type]bool{}
	walk = func(x reflect.Type) {
		for x.Kind() == reflect.Slice || x.Kind() == reflect.Map {
			x = x.Elem()
		}
		if x.Kind() != reflect.Struct || seen[x] || x.PkgPath() != reflect.TypeFor[Day]().PkgPath() {
			return
		}
		seen[x] = true
		for f := range x.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if !strings.Contains(string(text), name) || name == "" {
				t.Errorf("docs/whatif.md does not speak of %s.%s", x.Name(), name)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Day]())
}
