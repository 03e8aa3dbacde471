package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"switchboard/edge/token"
	"switchboard/loadtest"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// BenchmarkSync is the limit beside BenchmarkJournal: a synced write to a file, at its growing end and in places that were
// written before.
func BenchmarkSync(b *testing.B) {
	const room = 32 << 20
	for _, size := range []int{4 << 10, 64 << 10} {
		for _, place := range []string{"growing", "again"} {
			b.Run(fmt.Sprintf("%s/bytes=%d", place, size), func(b *testing.B) {
				f, err := os.Create(filepath.Join(b.TempDir(), "sync"))
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = f.Close() }()
				if place == "again" {
					if _, err := f.Write(make([]byte, room)); err != nil {
						b.Fatal(err)
					}
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
				block, at := make([]byte, size), int64(0)
				b.SetBytes(int64(size))
				for b.Loop() {
					if _, err := f.WriteAt(block, at); err != nil {
						b.Fatal(err)
					}
					if err := syncData(f); err != nil {
						b.Fatal(err)
					}
					if at += int64(size); place == "again" {
						at %= room
					}
				}
			})
		}
	}
}

// BenchmarkJournal makes turns of 300 bytes durable: synced, each owner waits for one before the next; batched, it keeps up
// to 16 under way, as a shard under load does.
func BenchmarkJournal(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		for _, ahead := range []int{1, 16} {
			how := map[int]string{1: "synced", 16: "batched"}[ahead]
			b.Run(fmt.Sprintf("%s/writers=%d", how, writers), func(b *testing.B) { benchmarkJournal(b, writers, ahead) })
		}
	}
}

func benchmarkJournal(b *testing.B, writers, ahead int) {
	j, err := journal.Open(journal.Config{Dir: b.TempDir(), Groups: writers, FreeMin: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			b.Error(err)
		}
	}()
	b.SetBytes(300)
	b.ReportAllocs()
	before := j.Metrics()
	b.ResetTimer()
	var wg sync.WaitGroup
	for id := range writers {
		n := b.N / writers
		if id < b.N%writers {
			n++
		}
		wg.Go(func() {
			if err := write(j.Group(id), n, uint64(ahead)); err != nil { //nolint:gosec // small
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	after := j.Metrics()
	turns, syncs := float64(after.Turns-before.Turns), float64(after.Syncs-before.Syncs)
	b.ReportMetric(turns/b.Elapsed().Seconds(), "turns/s")
	b.ReportMetric(syncs/b.Elapsed().Seconds(), "syncs/s")
	b.ReportMetric(turns/syncs, "turns/sync")
}

// write appends n turns, of which at most ahead are not durable yet, and waits for all.
func write(g *journal.Group, n int, ahead uint64) error {
	var mu sync.Mutex
	more := sync.NewCond(&mu)
	var durable uint64 // guarded by mu
	var failed error   // guarded by mu
	g.Start(func(index uint64, err error) {
		mu.Lock()
		durable, failed = index, err
		mu.Unlock()
		more.Signal()
	})
	wait := func(index uint64) error {
		mu.Lock()
		defer mu.Unlock()
		for durable < index && failed == nil {
			more.Wait()
		}
		return failed
	}
	var turn journal.Turn
	var key []byte
	val := make([]byte, 288)
	for range n {
		turn.Reset()
		key = fmt.Appendf(key[:0], "%010d", g.Last())
		turn.Put(key, val)
		index, err := g.Append(&turn)
		if err == nil && index >= ahead {
			err = wait(index - ahead + 1)
		}
		if err != nil {
			return err
		}
	}
	return wait(g.Last())
}

// BenchmarkNode is round trips through the binary that SWITCHBOARD_BIN names, over real sockets: as fast as it goes, and
// 1,000 a second on schedule.
func BenchmarkNode(b *testing.B) {
	binary := os.Getenv("SWITCHBOARD_BIN")
	if binary == "" {
		b.Skip("SWITCHBOARD_BIN does not name the built binary; make bench does that")
	}
	for _, rate := range []float64{0, 1000} {
		name := "max"
		if rate > 0 {
			name = fmt.Sprintf("rate=%.0f", rate)
		}
		b.Run(name, func(b *testing.B) {
			n, err := serve(b.Context(), &Config{Binary: binary, Dir: b.TempDir()}, "node", false)
			if err != nil {
				b.Fatal(err)
			}
			defer n.stop()
			keys, err := token.LoadOrCreate(n.data)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() { // once: it takes longer than a benchmark's second
				res, err := loadtest.RoundTrip{Addr: n.addr, Rate: rate, Warm: time.Second, Time: 3 * time.Second, Token: func(role, sub string) (string, error) {
					c := token.Claims{Tenant: "demo", Sub: sub, Role: wire.Role(role)}
					if c.Role == wire.RoleWorker {
						c.Kind, c.Queues = wire.OriginBot, []string{"*"}
					}
					return keys.Mint(c, time.Hour)
				}}.Run(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(res.PerSecond, "roundtrips/s")
				b.ReportMetric(res.P50, "p50-ms")
				b.ReportMetric(res.P99, "p99-ms")
			}
			b.ReportMetric(0, "ns/op") // how long it was told to run
		})
	}
}

// TestWriteWaits: the helper of the benchmark returns when all its turns are durable.
func TestWriteWaits(t *testing.T) {
	j, err := journal.Open(journal.Config{Dir: t.TempDir(), Groups: 1, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := write(j.Group(0), 40, 16); err != nil {
		t.Fatal(err)
	}
	if got := j.Group(0).Applied(); got != 40 {
		t.Errorf("%d turns are durable; want 40", got)
	}
}
