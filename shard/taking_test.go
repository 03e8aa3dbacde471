package shard

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"switchboard/broker"
	"switchboard/internal/mailbox"
	"switchboard/wire"
)

// taker is a pool of one queue, which has asked two shards what they have.
type taker struct {
	s *Shard
	p *pool
}

func newTaker() taker {
	s := &Shard{inbox: mailbox.New[wire.Envelope](8, 8), pools: map[string]*pool{}, now: 1_000}
	p := &pool{tenant: "demo", number: 7, t: &Tenant{}, core: broker.NewInPieces(broker.Config{Queues: []broker.Queue{{Name: "default"}}}, rerouteMost)}
	s.pools["demo"] = p
	p.core.Open(p.number, []uint32{0, 1}, s.now, &p.out)
	p.out.Reset()
	return taker{s, p}
}

func lived(i int) wire.SessionID { return wire.SessionID(fmt.Sprintf("s_%016x", i)) }

// answer is what shard has: each second session with somebody, the others waiting.
func answer(shard uint32, first, n int) *wire.CensusAnswer {
	m := &wire.CensusAnswer{Tenant: "demo", Pool: 7, Shard: shard}
	for i := range n {
		l := wire.Live{Task: wire.Task{
			Tenant: "demo", Session: lived(first + i), Ticket: 1, Queue: "default", EnqueuedAt: int64(i), Attributes: []byte(`{"intent":"refund","tier":"gold","order_value":120}`),
		}}
		if i%2 == 0 {
			l.Assigned, l.Worker, l.Kind, l.Lease, l.AE = true, fmt.Sprint("w", i%100), wire.OriginHuman, "l", 1
		}
		m.Live = append(m.Live, l)
	}
	return m
}

// states returns how the sessions of the answers stand.
func (k taker) states(n int) (all []string) {
	for i := range n {
		e := k.p.core.Explain(lived(i))
		all = append(all, e.State+e.Worker)
	}
	return all
}

// A long answer to a census is taken in parts, one a step; what sessions and other shards say meanwhile comes behind it, in order; and it is as if it had been
// taken at once. So much is waiting behind it at most.
func TestAnswersAreTakenInParts(t *testing.T) {
	const n = 3*takeMost + 10
	words := []wire.Mail{
		&wire.Release{Tenant: "demo", Session: lived(n - 2), Ticket: 1, Worker: "w0", AE: 1}, // the last of those whom somebody has
		&wire.Withdraw{Tenant: "demo", Session: lived(n - 1), Ticket: 1},                     // and of those who wait
		answer(1, n, takeMost+5),
		&wire.Release{Tenant: "demo", Session: lived(2*n - 1000), Ticket: 1, Worker: "w0", AE: 1},
		&wire.Withdraw{Tenant: "demo", Session: lived(n + takeMost + 3), Ticket: 1},
		&wire.Task{Tenant: "demo", Session: lived(n + takeMost + 3), Ticket: 2, Queue: "default"},
	}
	once := newTaker()
	take := func(k taker, m *wire.CensusAnswer) {
		var live []broker.Live
		for i := range m.Live {
			live = append(live, k.p.liveTask(&m.Live[i]))
		}
		k.p.core.CensusAnswer(m.Pool, m.Shard, live, k.s.now, &k.p.out)
	}
	take(once, answer(0, 0, n))
	for _, m := range words {
		if a, ok := m.(*wire.CensusAnswer); ok {
			take(once, a)
		} else {
			once.p.hear(once.s, m)
		}
	}
	want := once.states(n + takeMost + 5)
	if want[n-2] != "none" || want[n-1] != "none" || want[0] != "heldw0" {
		t.Fatalf("%s, %s, %s", want[n-2], want[n-1], want[0])
	}

	k := newTaker()
	k.s.poolMail(answer(0, 0, n))
	for _, m := range words {
		k.s.poolMail(m)
	}
	if got := k.p.core.Tasks(); got != 0 {
		t.Fatalf("%d are taken with the answer's coming", got)
	}
	steps := 0
	for last := 0; k.p.takes(); steps++ {
		k.p.tick(k.s)
		if got := k.p.core.Tasks(); got > last+takeMost {
			t.Fatalf("%d are taken in a step; want %d", got-last, takeMost)
		}
		last = k.p.core.Tasks()
	}
	if got := k.states(n + takeMost + 5); !slices.Equal(got, want) || steps < 4 || !k.p.core.Settled() {
		t.Fatalf("in %d steps, settled %v:\n%v\nat once:\n%v", steps, k.p.core.Settled(), got, want)
	}

	k = newTaker()
	k.s.poolMail(answer(0, 0, n))
	for range maxBehind - 1 {
		k.s.poolMail(words[0])
	}
	if !k.p.takes() {
		t.Fatal("it is taken at once, with room for what is behind it")
	}
	if k.s.poolMail(words[1]); k.p.takes() || k.p.core.Tasks() != n-2 {
		t.Fatalf("still taken: %v, with %d tasks; want all, but the two that have ended", k.p.takes(), k.p.core.Tasks())
	}
}

// BenchmarkTaken is how long the owner is busy at most while his pool takes an answer of 10,000 sessions, at once and in parts: mostly, and in the worst of the rounds.
func BenchmarkTaken(b *testing.B) {
	for _, parts := range []bool{false, true} {
		b.Run(fmt.Sprintf("parts=%t", parts), func(b *testing.B) {
			var longest []time.Duration
			whole := time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				long, k, m := time.Duration(0), newTaker(), answer(0, 0, 10_000)
				b.StartTimer()
				step := func(f func()) {
					began := time.Now()
					f()
					d := time.Since(began)
					long, whole = max(long, d), whole+d
				}
				step(func() {
					k.s.poolMail(m)
					for !parts && k.p.takes() {
						k.p.tick(k.s)
					}
				})
				for k.p.takes() {
					step(func() { k.p.tick(k.s) })
				}
				longest = append(longest, long)
			}
			slices.Sort(longest)
			n := len(longest)
			b.ReportMetric(float64(longest[n/2].Microseconds())/1000, "longest-ms")
			b.ReportMetric(float64(longest[n-1].Microseconds())/1000, "worst-ms")
			b.ReportMetric(float64(whole.Microseconds())/1000/float64(n), "whole-ms")
		})
	}
}
