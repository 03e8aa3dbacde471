package whatif

import (
	"fmt"
	"os"
	"testing"
	"time"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// crowded is the merchant's pool with 10,000 sessions of 53 shops in line and all of its 17 people full.
type crowded struct {
	cfg  broker.Config
	core *broker.Core
	out  broker.Effects
	now  int64
}

func newCrowded(tb testing.TB) *crowded {
	tb.Helper()
	doc, err := os.ReadFile("../../examples/merchant-53-shops.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	w := &crowded{cfg: routing(tb, string(doc)).Broker, now: time.Date(2026, 11, 2, 1, 30, 0, 0, time.UTC).UnixMilli()}
	w.core = broker.New(w.cfg)
	w.core.Open(1, nil, w.now, &w.out)
	for i := range 17 {
		w.work(i, 1)
	}
	for i := range 10_085 { // of whom 85 are offered to somebody, and shown for as long as this lasts
		w.offer(i, 0, "order")
		w.now++
	}
	w.out.Reset()
	return w
}

// work lets somebody subscribe, under a skill of that level.
func (w *crowded) work(i int, level float64) {
	w.core.Subscribe(&broker.Subscription{
		ID: fmt.Sprintf("agent%02d", i+1), Sub: fmt.Sprintf("agent%02d", i+1), Kind: wire.OriginHuman, Allowed: []string{"*"}, All: true, Slots: 5,
		Conn: wire.Conn{Node: 1, ID: uint64(i + 1)}, NewLease: fmt.Sprint(i), Lease: fmt.Sprint(i), Skills: []broker.Skill{{Name: "order", Level: level}}, //nolint:gosec // small
	}, w.now, &w.out)
}

// offer lets a session wait, or changes its attributes.
func (w *crowded) offer(i int, version uint64, intent string) {
	a := selector.Attrs{}.With("intent", selector.StringOf(intent)).With("shop", selector.StringOf(fmt.Sprintf("s%02d", i%53+1)))
	w.core.Offer(&broker.Task{Session: name(i + 1), Ticket: 1, Version: version, Queue: "service", EnqueuedAt: w.now - int64(i), Attributes: a}, w.now, &w.out)
}

// BenchmarkChange is how long the owner of the merchant's pool is busy when something changes while 10,000 wait (S24): an attribute of a session that waits, the
// skills of somebody at work, the document, in one piece and as the longest of its pieces.
func BenchmarkChange(b *testing.B) {
	f := func(name string, change func(w *crowded, i int)) {
		b.Run(name, func(b *testing.B) {
			w := newCrowded(b)
			if n := w.core.Waiting("service"); n < 10_000 {
				b.Fatalf("%d wait", n)
			}
			longest, i := time.Duration(0), 0
			for b.Loop() {
				began := time.Now()
				change(w, i)
				longest = max(longest, time.Since(began))
				w.out.Reset()
				i++
			}
			b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
		})
	}
	f("session", func(w *crowded, i int) { w.offer(200+i%9000, uint64(1+i/9000), []string{"refund", "order"}[i/9000%2]) }) //nolint:gosec // small
	f("worker", func(w *crowded, i int) { w.work(i%17, []float64{.5, .7}[i/17%2]) })
	f("document", func(w *crowded, _ int) { w.core.Configure(w.cfg, w.now, &w.out) })
	f("piece", func(w *crowded, _ int) {
		if w.core.Unfinished() {
			w.core.Continue(256, w.now, &w.out)
		} else {
			w.core.Reconfigure(w.cfg, w.now, &w.out)
		}
	})
}
