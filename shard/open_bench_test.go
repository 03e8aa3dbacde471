package shard_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"switchboard/shard"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// BenchmarkOpen opens a shard with so many sessions that wait, in each of which a customer has said so many words, alone and beside somebody who talks to
// another shard. It reports how long that takes, on average and for nine of ten.
func BenchmarkOpen(b *testing.B) {
	for _, beside := range []bool{false, true} {
		for _, words := range []int{8, 80} {
			for _, sessions := range []int{10, 100, 1000, 10_000} {
				if words*sessions > 100_000 {
					continue // some hundred megabytes that say nothing new
				}
				b.Run(fmt.Sprintf("beside=%v/words=%d/sessions=%d", beside, words, sessions), func(b *testing.B) { openMany(b, sessions, words, beside) })
			}
		}
	}
}

func openMany(b *testing.B, sessions, words int, beside bool) {
	n := start(b, b.TempDir(), 2)
	defer n.stop()
	var id, away wire.SessionID
	var alice, bob *conn
	for i := 0; id == "" || away == ""; i++ {
		c := n.conn(customer(fmt.Sprint("customer", i)))
		at := c.open(&wirepb.Open{})
		if _, slot, _ := at.Place(); slot%2 == 0 {
			id, alice = at, c
		} else {
			away, bob = at, c
		}
	}
	for i := range words {
		alice.send(id, fmt.Sprint("word", i), "a word of some length, as people say them")
		alice.next(wire.FrameWrote)
	}
	n.shards[0].Close()
	if err := shard.Copies(n.j.Group(0), id, sessions-1); err != nil {
		b.Fatal(err)
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; beside; i++ {
			select {
			case <-ended:
				return
			default:
			}
			bob.send(away, fmt.Sprint("word", i), "0123456789")
			bob.next(wire.FrameWrote)
		}
	}()
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		s := n.open(0, 2, 0)
		took = append(took, time.Since(began))
		b.StopTimer()
		if live := int(s.Stats().Loaded); live < sessions {
			b.Fatalf("%d sessions were read of %d", live, sessions)
		}
		s.Close()
		b.StartTimer()
	}
	close(ended)
	<-done
	n.shards[0] = n.open(0, 2, 0)
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*9/10].Microseconds())/1e3, "p90-ms")
}
