package journal

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkAppend makes turns of 300 bytes durable on the real disk. Each group's owner keeps at most ahead turns
// undurable, as a shard does that holds its mail until the turn before is safe.
func BenchmarkAppend(b *testing.B) {
	for _, groups := range []int{1, 16} {
		for _, ahead := range []uint64{1, 16} {
			b.Run(fmt.Sprintf("groups=%d/ahead=%d", groups, ahead), func(b *testing.B) {
				cfg := config(b, vfs.Default, groups)
				cfg.Dir = b.TempDir()
				benchmarkAppend(b, open(b, cfg), groups, ahead)
			})
		}
	}
}

func benchmarkAppend(b *testing.B, j *Journal, groups int, ahead uint64) {
	val := make([]byte, 288)
	b.SetBytes(300)
	b.ReportAllocs()
	before := j.Metrics()
	b.ResetTimer()
	var wg sync.WaitGroup
	for id := range groups {
		n := b.N / groups
		if id < b.N%groups {
			n++
		}
		wg.Go(func() {
			o := own(j.Group(id))
			var turn Turn
			k := make([]byte, 0, 16)
			for range n {
				turn.Reset()
				k = fmt.Appendf(k[:0], "%010d", j.Group(id).Last())
				turn.Put(k, val)
				index, err := j.Group(id).Append(&turn)
				if err == nil && index > ahead {
					err = o.wait(index - ahead + 1)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
			if err := o.wait(j.Group(id).Last()); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	m := j.Metrics()
	turns := float64(m.Turns - before.Turns)
	b.ReportMetric(turns/b.Elapsed().Seconds(), "turns/s")
	b.ReportMetric(turns/float64(m.Syncs-before.Syncs), "turns/sync")
	b.ReportMetric(float64(m.Syncs-before.Syncs)/b.Elapsed().Seconds(), "syncs/s")
}

func BenchmarkGet(b *testing.B) {
	j := open(b, config(b, vfs.NewMem(), 1))
	appendMany(b, own(j.Group(0)), 1000)
	k, buf := key(500), make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := j.Group(0).Get(k, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAppendAllocates nothing on the owner's side once the memory of the queue has grown.
func TestAppendAllocates(t *testing.T) {
	cfg := config(t, vfs.NewMem(), 1)
	j := open(t, cfg)
	g := j.Group(0)
	own(g)
	var turn Turn
	k, v := key(1), make([]byte, 300)
	// With the committer held up between two batches only Append itself is measured.
	gate := make(chan struct{})
	held := make(chan struct{})
	g.Start(func(uint64, error) { held <- struct{}{}; <-gate })
	fill := func() {
		turn.Reset()
		turn.Put(k, v)
		if _, err := g.Append(&turn); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // both of the queues that take turns have grown
		fill()
		<-held
		for range 200 {
			fill()
		}
		gate <- struct{}{}
		<-held
		gate <- struct{}{}
	}
	fill()
	<-held
	if n := testing.AllocsPerRun(100, fill); n != 0 {
		t.Errorf("Append allocates %v times", n)
	}
	g.Start(func(uint64, error) {})
	gate <- struct{}{}
}

// BenchmarkGetFlushed looks for rows of 300 bytes, hot ones and such as are not there, in a store that has half a million in tables, and memory for two tables
// in use, as it has under load.
func BenchmarkGetFlushed(b *testing.B) {
	cfg := config(b, vfs.Default, 1)
	cfg.Dir, cfg.CacheBytes = b.TempDir(), 0
	j := open(b, cfg)
	g, o := j.Group(0), own(j.Group(0))
	r := rand.New(rand.NewPCG(1, 2))
	val := make([]byte, 300)
	const rows = 500_000
	var turn Turn
	for i := 0; i < rows; {
		turn.Reset()
		for range 50 {
			for k := 0; k < len(val); k += 2 {
				val[k] = byte(r.Uint32())
			}
			turn.Put(fmt.Appendf(nil, "%08d", i*7919%rows), val)
			i++
		}
		index, err := g.Append(&turn)
		if err == nil {
			err = o.wait(index)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := j.flushTables(); err != nil {
		b.Fatal(err)
	}
	for _, absent := range []string{"", "x"} {
		b.Run("absent="+fmt.Sprint(absent != ""), func(b *testing.B) {
			var key, buf []byte
			for b.Loop() {
				key = fmt.Appendf(key[:0], "%08d%s", r.IntN(5000)*100, absent)
				if _, err := g.Get(key, buf); (err == nil) != (absent == "") {
					b.Fatal(err)
				}
			}
		})
	}
}
