package shard_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// processCPU is what the process has used of the processors.
func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// talkers is how many customers speak at a time.
const talkers = 64

// among lets f run for 0 to n-1, talkers at a time.
func among(n int, f func(i int)) {
	var wg sync.WaitGroup
	for w := range talkers {
		wg.Go(func() {
			for i := w; i < n; i += talkers {
				f(i)
			}
		})
	}
	wg.Wait()
}

// BenchmarkGrowth is round trips of 64 customers beside many other sessions that are open, and beside many entries that are stored. What
// one costs must not grow with either: compare cpu-µs/op of one run.
//
//	go test ./shard -run '^$' -bench Growth -benchtime 20000x
//
// SWITCHBOARD_GROWTH_ENTRIES asks for another number of entries: 10,000,000 take some minutes to write, and 5 GB.
func BenchmarkGrowth(b *testing.B) {
	entries := 400_000
	if v := os.Getenv("SWITCHBOARD_GROWTH_ENTRIES"); v != "" {
		var err error
		if entries, err = strconv.Atoi(v); err != nil {
			b.Fatalf("SWITCHBOARD_GROWTH_ENTRIES: %v", err)
		}
	}
	for _, g := range []struct{ sessions, entries int }{{1000, 0}, {100_000, 0}, {1000, entries}, {1000, 0}} {
		b.Run(fmt.Sprintf("sessions=%d/entries=%d", g.sessions, g.entries), func(b *testing.B) { growth(b, g.sessions, g.entries) })
	}
}

func growth(b *testing.B, sessions, entries int) {
	n := start(b, b.TempDir(), 16)
	defer n.stop()
	var bots []*conn
	done := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		bot := n.conn(worker(fmt.Sprint("bot", w), wire.OriginBot))
		bot.subscribe(10_000, "")
		bots = append(bots, bot)
		wg.Go(func() { serve(bot, done) })
	}
	defer wg.Wait()
	defer func() {
		close(done)
		for _, bot := range bots {
			bot.wake <- struct{}{}
		}
	}()
	people, ids := make([]*conn, talkers), make([]wire.SessionID, talkers)
	for i := range people {
		people[i] = n.conn(customer(fmt.Sprint("c", i)))
		ids[i] = people[i].open(&wirepb.Open{})
	}
	turn := func(i int) {
		people[i].send(ids[i], "", "0123456789")
		for people[i].next(wire.FrameMessage).Entry.Origin != wire.OriginBot {
		}
	}
	live := func() uint64 {
		var m runtime.MemStats
		debug.FreeOSMemory()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	others := make([]*conn, sessions)
	for i := range others {
		others[i] = n.conn(customer(fmt.Sprint("other", i)))
	}
	before := live()
	among(sessions, func(i int) { others[i].open(&wirepb.Open{}) })
	grown := live() - before
	among(entries/2, func(i int) { turn(i % talkers) }) // each round trip stores two
	b.ResetTimer()
	from := processCPU(b)
	among(b.N, func(i int) { turn(i % talkers) })
	b.StopTimer()
	b.ReportMetric(float64((processCPU(b)-from).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(grown)/float64(sessions), "B/session")
}
