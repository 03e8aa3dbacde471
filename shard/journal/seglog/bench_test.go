package seglog

import (
	"fmt"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkWrite makes batches of turns of 300 bytes durable on the real disk; beside it the bare write and fdatasync of as
// many bytes, into a file that has its blocks and into one that grows. Compare them within one run only.
func BenchmarkWrite(b *testing.B) {
	for _, records := range []int{1, 16, 100} {
		b.Run(fmt.Sprintf("records=%d/log", records), func(b *testing.B) {
			l := open(b, Config{Dir: b.TempDir(), Create: true})
			var batch Batch
			last := uint64(0)
			fill := func() {
				batch.Reset()
				for range records {
					last++
					batch.Append(uint16(last%16), Record{Index: (last + 15) / 16, Term: 1, Body: turn})
				}
			}
			// The segments have their blocks, as they do after the first seconds under load.
			for l.bare.Load() {
				fill()
				must(b, l.Write(&batch))
				must(b, l.Prepare())
			}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				fill()
				must(b, l.Write(&batch))
				if n%2000 == 1999 {
					must(b, l.Prepare())
					must(b, l.Truncate(everything(last/16)))
				}
			}
			b.ReportMetric(float64(batch.Size()), "B/sync")
		})
		size := padded(batchHeader + records*(recordHeader+304))
		for kind, filled := range map[string]bool{"recycled": true, "growing": false} {
			b.Run(fmt.Sprintf("records=%d/raw-%s", records, kind), func(b *testing.B) { raw(b, size, filled) })
		}
	}
}

var turn = make([]byte, 300)

func everything(last uint64) (points []Point) {
	for g := range uint16(16) {
		points = append(points, Point{Group: g, UpTo: last})
	}
	return points
}

func raw(b *testing.B, size int, filled bool) {
	const most = 64 << 20
	f, err := vfs.Default.OpenReadWrite(b.TempDir()+"/raw", vfs.WriteCategoryUnspecified)
	must(b, err)
	defer func() { must(b, f.Close()) }()
	if filled {
		_, err := f.WriteAt(make([]byte, most), 0)
		must(b, err)
		must(b, f.Sync())
	}
	p, at := make([]byte, size), int64(0)
	for b.Loop() {
		if at+int64(size) > most {
			if at = 0; !filled {
				b.Fatal("the file has grown too large: use a smaller -benchtime")
			}
		}
		_, err := f.WriteAt(p, at)
		must(b, err)
		must(b, f.SyncData())
		at += int64(size)
	}
}

// BenchmarkOpen reads a log of four segments of turns of 300 bytes, 16 in a batch.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	l := open(b, Config{Dir: dir, Create: true})
	var batch Batch
	for last := uint64(0); l.Stats().Rolls < 4; {
		batch.Reset()
		for range 16 << 10 { // few syncs; small batches would be more headers
			last++
			batch.Append(0, Record{Index: last, Term: 1, Body: turn})
		}
		must(b, l.Write(&batch))
	}
	must(b, l.Close())
	names, err := os.ReadDir(dir)
	must(b, err)
	b.SetBytes(int64(len(names)) * 64 << 20)
	for b.Loop() {
		l := open(b, Config{Dir: dir})
		must(b, l.Close())
	}
}

// BenchmarkRead reads 1,000 records that lie beside those of 15 other groups.
func BenchmarkRead(b *testing.B) {
	l := open(b, Config{Dir: b.TempDir(), Create: true})
	var batch Batch
	for i := range uint64(1000) {
		for g := range uint16(16) {
			batch.Append(g, Record{Index: i + 1, Term: 1, Body: turn})
		}
		if i%50 == 49 {
			must(b, l.Write(&batch))
			batch.Reset()
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		must(b, l.Read(5, 1, 1001, 0, func(Record) bool { n++; return true }))
		if n != 1000 {
			b.Fatal(n)
		}
	}
}

// TestWriteAllocates nothing, once what it fills has grown.
func TestWriteAllocates(t *testing.T) {
	l := open(t, Config{Dir: testDir, FS: vfs.NewMem(), Create: true})
	var b Batch
	var last uint64
	points := everything(0)
	write := func() {
		b.Reset()
		for range 16 {
			last++
			b.Append(uint16(last%16), Record{Index: (last + 15) / 16, Term: 1, Body: turn})
		}
		must(t, l.Write(&b))
	}
	for range 1000 {
		write()
	}
	for g := range points {
		_, _, points[g].UpTo = l.Bounds(points[g].Group)
	}
	must(t, l.Truncate(points))
	if n := testing.AllocsPerRun(200, write); n != 0 {
		t.Errorf("Write allocates %v times", n)
	}
}

// TestReadAllocates nothing either.
func TestReadAllocates(t *testing.T) {
	l := open(t, config(vfs.NewMem()))
	appendTo(t, l, 0, 1, 50, 100)
	n := 0
	fn := func(Record) bool { n++; return true }
	read := func() { must(t, l.Read(0, 1, 51, 0, fn)) }
	read()
	if allocs := testing.AllocsPerRun(100, read); allocs != 0 {
		t.Errorf("Read allocates %v times", allocs)
	}
	if n == 0 {
		t.Error("nothing was read")
	}
}
