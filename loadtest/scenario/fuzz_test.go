package scenario_test

import (
	"errors"
	"math"
	"testing"

	shipped "switchboard/examples/loadtest"
	"switchboard/loadtest/scenario"
)

// FuzzParse reads anything as a scenario. What is taken can be run: its rates are numbers, and its times are in order.
func FuzzParse(f *testing.F) {
	for _, name := range shipped.Names() {
		doc, _ := shipped.Read(name)
		f.Add(doc)
	}
	const head = "name: t\nabout: a test\nsteady: 10s\ncustomers: {sockets: 10}\n"
	f.Add([]byte(head))
	f.Add([]byte(head + "talk: {rate: 5/s, curve: {steps: [{at: 1s, times: 2}], pulses: [{at: 2s, for: 3s, times: 4}]}}\n"))
	f.Add([]byte(head + "talk: {rate: 5/s, curve: {day: [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, .inf]}}\n"))
	f.Add([]byte(head + "talk: {rate: 5/s, think: {median: 1e308KiB}}\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := scenario.Parse("t.yaml", doc)
		if err != nil {
			if e := new(scenario.Error); !errors.As(err, &e) {
				t.Fatalf("%T is no *Error: %v", err, err)
			}
			return
		}
		for _, list := range s.Segments(1) {
			for _, g := range list {
				if g.To < g.From || g.Rate < 0 || math.IsNaN(g.Rate) || math.IsInf(g.Rate, 0) {
					t.Fatalf("%+v in %+v", g, list)
				}
			}
		}
	})
}

// FuzzParseQuantity reads anything as a quantity: it is a number, and is read again as it is printed in a document.
func FuzzParseQuantity(f *testing.F) {
	for _, text := range []string{"20ms", "12KiB", "30%", "200/s", "7", "1h30m", " 1_000 ", "1e308GiB", "-5/min", "inf", "0x1p-2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := scenario.ParseQuantity(text)
		if err != nil {
			return
		}
		if math.IsNaN(q.Value) || math.IsInf(q.Value, 0) {
			t.Fatalf("%q is %v", text, q.Value)
		}
		kept, err := q.MarshalYAML()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := scenario.ParseQuantity(kept.(string)); err != nil || again != q {
			t.Fatalf("%q is %+v and then %+v, %v", text, q, again, err)
		}
	})
}

// FuzzParseGate reads anything as a gate: it is read again from its own text, and can be asked.
func FuzzParseGate(f *testing.F) {
	for _, text := range []string{"p99 < 20ms", "lost == 0", "ack.p999 <= 1s", "rss_per_conn < 12KiB", "goodput >= 99%", "p99.9!=1s"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := scenario.ParseGate(text)
		if err != nil {
			return
		}
		if again, err := scenario.ParseGate(g.Text); err != nil || again != g || g.Holds(math.NaN()) {
			t.Fatalf("%+v is read again as %+v, %v", g, again, err)
		}
		if _, ok := scenario.UnitOf(g.Metric); !ok {
			t.Fatalf("there is no figure %q", g.Metric)
		}
	})
}
