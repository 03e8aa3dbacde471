package journal

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The blocks of a row that was read stay in memory, however much of it the rows take that are not flushed yet: Pebble takes these out of the cache.
func TestCacheHoldsBlocks(t *testing.T) {
	cfg := config(t, vfs.NewMem(), 1)
	cfg.CacheBytes = 0 // the default
	j := open(t, cfg)
	o := own(j.Group(0))
	var turn Turn
	val := make([]byte, 256<<10)
	for i := 0; ; i++ { // until there are two tables in memory, as large as they get
		turn.Reset()
		turn.Put(fmt.Appendf(nil, "%06d", i), val)
		index, err := j.Group(0).Append(&turn)
		if err == nil && i%16 == 0 {
			err = o.wait(index)
		}
		if err != nil {
			t.Fatal(err)
		}
		if m := j.data.Metrics().MemTable; m.Size+m.ZombieSize >= 2*tableBytes {
			break
		}
		if i == 4096 {
			t.Fatal("a GiB was written, and there are no two tables in memory")
		}
	}
	if err := j.flushTables(); err != nil {
		t.Fatal(err)
	}
	var before, after Metrics
	for range 100 { // merges read as well, meanwhile
		j.observe(j.data.Metrics())
		before = j.Metrics()
		if _, err := j.Group(0).Get([]byte("000003"), nil); err != nil {
			t.Fatal(err)
		}
		j.observe(j.data.Metrics())
		if after = j.Metrics(); after.CacheHits > before.CacheHits && after.CacheMisses == before.CacheMisses && after.CacheBytes > 0 {
			return
		}
	}
	t.Errorf("a row was read for the hundredth time: %d blocks were in memory and %d were not, and %d bytes are",
		after.CacheHits-before.CacheHits, after.CacheMisses-before.CacheMisses, after.CacheBytes)
}

// What comes between two flushes that the journal asks for fits a table in memory, also of small rows, so that each flush is one.
func TestFlushIsOne(t *testing.T) {
	j := open(t, config(t, vfs.NewMem(), 1))
	o := own(j.Group(0))
	var turn Turn
	n := 0
	write := func(mib, size int) {
		val := make([]byte, size)
		for left := mib << 20; left > 0; {
			turn.Reset()
			for range max(1, 20_000/size) {
				turn.Put(fmt.Appendf(nil, "%010d", n), val)
				left -= 10 + size
				n++
			}
			index, err := j.Group(0).Append(&turn)
			if err == nil {
				err = o.wait(index)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	write(200, 64<<10) // until the tables are as large as they get
	before, asked := j.data.Metrics().Flush.Count, j.Metrics().Flushes
	write(100, 100)
	after := j.data.Metrics().Flush.Count
	if n := int64(j.Metrics().Flushes - asked); n < 2 || after-before > n+1 {
		t.Errorf("%d flushes were asked for, and there were %d", n, after-before)
	}
}
