package broker_test

import (
	"fmt"
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// BenchmarkCensus takes a shard's answer of 10,000 tasks in one piece: of those that wait, of which nobody is given any, and of those that somebody has, of
// 100 workers. It is a part of the step of the pool's owner.
func BenchmarkCensus(b *testing.B) {
	const tasks, workers = 10_000, 100
	for _, assigned := range []bool{false, true} {
		b.Run(fmt.Sprintf("assigned=%t", assigned), func(b *testing.B) {
			live := make([]broker.Live, tasks)
			for i := range live {
				l := &live[i]
				l.Task = broker.Task{Session: wire.SessionID(fmt.Sprintf("s%05d", i)), Ticket: 1, Version: 1, Queue: plainQueue, EnqueuedAt: int64(i)}
				if assigned {
					l.Assigned, l.Worker, l.Lease, l.AE, l.Origin = true, fmt.Sprint("w", i%workers), "l", 1, wire.OriginHuman
				}
			}
			var out broker.Effects
			for b.Loop() {
				b.StopTimer()
				c := broker.New(broker.Config{Queues: []broker.Queue{{Name: plainQueue}}})
				out.Reset()
				c.Open(1, []uint32{0, 1}, 10_000, &out)
				b.StartTimer()
				c.CensusAnswer(1, 0, live, 10_000, &out)
			}
		})
	}
}
