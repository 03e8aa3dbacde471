package seglog

import (
	"bytes"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// holds tells in how many files of a folder word is.
func holds(t *testing.T, fs vfs.FS, dir, word string) (n int) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := fs.Open(fs.PathJoin(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(word)) {
			n++
		}
	}
	return n
}

// After a renewal and a truncation no file holds what was truncated: no recycled one, and not the one that is written, which may have been recycled
// itself.
func TestRenew(t *testing.T) {
	const word = "canary-5f1e"
	fs := vfs.NewMem()
	cfg := Config{Dir: testDir, FS: fs, SegmentBytes: 16 * block, Create: true}
	l, _, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	index := uint64(0)
	write := func(body string, n int) {
		t.Helper()
		for range n {
			var b Batch
			index++
			b.Append(1, Record{Index: index, Term: 1, Body: []byte(body)})
			if err := l.Write(&b); err != nil {
				t.Fatal(err)
			}
		}
	}
	truncate := func(upTo uint64) {
		t.Helper()
		if err := l.Truncate([]Point{{Group: 1, UpTo: upTo}}); err != nil {
			t.Fatal(err)
		}
	}
	write(word, 60)
	truncate(index - 1)
	write("other", 2)
	truncate(index)
	if n := holds(t, fs, testDir, word); n < 2 || len(l.spares) == 0 {
		t.Fatalf("%d files hold it, and %d wait to be used again: this tests nothing", n, len(l.spares))
	}
	num, err := l.Renew()
	if err != nil {
		t.Fatal(err)
	}
	end := index
	write("later", 1)
	truncate(end)
	if l.Lowest() < num {
		t.Fatalf("the lowest file is %d, and %d was new", l.Lowest(), num)
	}
	if n := holds(t, fs, testDir, word); n > 0 {
		t.Fatalf("%d files hold it still", n)
	}
	l.Renewed()
	write("more", 20)
	truncate(index - 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, report, err := Open(cfg)
	if err != nil || len(report.Damages) > 0 {
		t.Fatal(err, report)
	}
	if _, _, last := l.Bounds(1); last != index {
		t.Fatalf("the log ends at %d; want %d", last, index)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// What an idle group needs of an old file is not copied into a new one while the log is renewed: it would be there still when nobody needs it any more.
func TestRenewCopiesNothing(t *testing.T) {
	const word = "canary-77ab"
	fs := vfs.NewMem()
	l, _, err := Open(Config{Dir: testDir, FS: fs, SegmentBytes: 4 * block, PinSegments: 2, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	last := [3]uint64{}
	write := func(group uint16, body string, n int) {
		t.Helper()
		for range n {
			var b Batch
			last[group]++
			b.Append(group, Record{Index: last[group], Term: 1, Body: []byte(body)})
			if err := l.Write(&b); err != nil {
				t.Fatal(err)
			}
		}
	}
	truncate := func(group uint16, upTo uint64) {
		t.Helper()
		if err := l.Truncate([]Point{{Group: group, UpTo: upTo}}); err != nil {
			t.Fatal(err)
		}
	}
	write(1, word, 1)
	write(2, "other", 20)
	num, err := l.Renew()
	if err != nil {
		t.Fatal(err)
	}
	write(2, "later", 1)
	truncate(2, last[2]-1) // as it happens at any time
	truncate(1, last[1])
	if l.Lowest() < num {
		t.Fatalf("the lowest file is %d, and %d was new", l.Lowest(), num)
	}
	if n := holds(t, fs, testDir, word); n > 0 {
		t.Fatalf("%d files hold it still", n)
	}
	l.Renewed()
	write(2, "later", 20)
	truncate(2, last[2])
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
