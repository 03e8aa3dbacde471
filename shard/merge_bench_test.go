package shard_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// BenchmarkMerge lets visitors with a conversation log in as customers, of whom each second has one of his own, while others talk to bots. It reports how long
// identify takes beside an acknowledged word, which is one commit, and, which does not depend on the machine, how many letters between owners one merge takes when nobody talks.
func BenchmarkMerge(b *testing.B) {
	for _, talkers := range []int{0, 8, 64} {
		b.Run(fmt.Sprint("talkers=", talkers), func(b *testing.B) {
			n := start(b, b.TempDir(), 16)
			defer n.stop()
			bot := n.conn(worker("bot", wire.OriginBot))
			bot.subscribe(10_000, "")
			done := make(chan struct{})
			var bots, people sync.WaitGroup
			bots.Go(func() { serve(bot, done) })
			ended := make(chan struct{})
			for i := range talkers {
				p := n.conn(customer(fmt.Sprint("talker", i)))
				id := p.open(&wirepb.Open{})
				people.Go(func() {
					for {
						select {
						case <-ended:
							return
						default:
						}
						p.send(id, "", "0123456789")
						for p.next(wire.FrameMessage).Entry.Origin != wire.OriginBot {
						}
					}
				})
			}
			mail := func() (sum uint64) {
				for _, s := range n.shards {
					sum += s.Stats().Mail
				}
				return sum
			}
			var took, words []time.Duration
			var letters uint64
			for i := range b.N {
				v := n.conn(customer(fmt.Sprint("visitor", i)))
				alice := fmt.Sprint("customer", i)
				if i%2 == 1 {
					n.conn(customer(alice)).open(&wirepb.Open{})
				}
				id := v.open(&wirepb.Open{})
				said := time.Now()
				v.send(id, "", "hi")
				v.next(wire.FrameWrote)
				words = append(words, time.Since(said))
				before, began := mail(), time.Now()
				v.do(exchange.CustomerSlot("demo", alice), &wire.Command{Verb: wire.VerbIdentify, Text: alice}) // as an edge does
				if f := v.next(wire.FrameAnswer).PB.GetIdentify(); f.GetCustomer() != alice || len(f.GetSessions()) != 1 {
					b.Fatalf("identify was answered %v", f)
				}
				took = append(took, time.Since(began))
				letters += mail() - before
			}
			close(ended)
			people.Wait()
			close(done)
			bot.wake <- struct{}{}
			bots.Wait()
			slices.Sort(took)
			slices.Sort(words)
			at := func(list []time.Duration, q float64) float64 {
				return float64(list[int(q*float64(len(list)-1))].Microseconds()) / 1e3
			}
			b.ReportMetric(at(took, 0.5), "p50-ms")
			b.ReportMetric(at(took, 0.95), "p95-ms")
			b.ReportMetric(at(words, 0.5), "word-p50-ms")
			b.ReportMetric(at(words, 0.95), "word-p95-ms")
			if talkers == 0 {
				b.ReportMetric(float64(letters)/float64(b.N), "letters/op")
			}
		})
	}
}
