package seglog

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const testDir = "/log"

func config(fs vfs.FS) Config {
	return Config{Dir: testDir, FS: fs, SegmentBytes: 8 * block, Create: true}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, report, err := Open(cfg)
	must(t, err)
	if len(report.Damages) > 0 {
		t.Fatalf("Open found %v", report.Damages)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// body is what the record index of group has, in its n'th version.
func body(group uint16, index uint64, n, size int) []byte {
	b := fmt.Appendf(nil, "group %d index %d version %d ", group, index, n)
	for len(b) < size {
		b = append(b, byte(len(b)*int(index+7)))
	}
	return b
}

func appendTo(t testing.TB, l *Log, group uint16, from, to uint64, size int) {
	t.Helper()
	var b Batch
	for i := from; i <= to; i++ {
		b.Reset()
		b.Append(group, Record{Index: i, Term: 1, Kind: 1, Body: body(group, i, 0, size)})
		must(t, l.Write(&b))
	}
}

// indexes reads the group and lists the indexes that it has; every record must be what appendTo wrote.
func indexes(t testing.TB, l *Log, group uint16, size int) (list []uint64) {
	t.Helper()
	must(t, l.Read(group, 0, 1<<63, 0, func(r Record) bool {
		if string(r.Body) != string(body(group, r.Index, 0, size)) {
			t.Fatalf("group %d has the record %d %q", group, r.Index, r.Body)
		}
		list = append(list, r.Index)
		return true
	}))
	return list
}

func count(from, to uint64) (list []uint64) {
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}

func TestRead(t *testing.T) {
	l := open(t, config(vfs.NewMem()))
	const many = 3*readStep + 10
	appendTo(t, l, 3, 1, many, 100)
	f := func(from, to uint64, maxBytes int64, want []uint64) {
		t.Helper()
		var got []uint64
		must(t, l.Read(3, from, to, maxBytes, func(r Record) bool { got = append(got, r.Index); return true }))
		if !slices.Equal(got, want) {
			t.Errorf("Read(%d, %d, %d) = %v; want %v", from, to, maxBytes, got, want)
		}
	}
	f(1, many+1, 0, count(1, many))
	f(5, 8, 0, count(5, 7))
	f(5, 8, 1, count(5, 5))
	f(5, 50, 250, count(5, 7))
	f(readStep, many+100, 0, count(readStep, many))
	f(8, 5, 0, nil)
	f(many+1, many+2, 0, nil)
	seen := 0
	must(t, l.Read(3, 1, many, 0, func(Record) bool { seen++; return seen < 4 }))
	if seen != 4 {
		t.Errorf("Read went on after %d records", seen)
	}
	must(t, l.Read(9, 1, 5, 0, func(Record) bool { t.Error("a record of a group that is not there"); return true }))
	if prev, term, last := l.Bounds(9); prev+term+last != 0 || l.Loss(9).Any() {
		t.Error("a group that is not there has something")
	}
}

func TestTermsAndMeta(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, config(fs))
	var b Batch
	for i, term := range []uint64{1, 1, 2, 2, 5} {
		b.Append(1, Record{Index: uint64(i + 1), Term: term, Epoch: 3, Kind: 9, Body: []byte{byte(i)}})
	}
	b.SetMeta(1, []byte("vote 1"))
	b.CutSuffix(1, 5)
	b.Append(1, Record{Index: 5, Term: 4})
	b.SetMeta(1, []byte("vote 2"))
	must(t, l.Write(&b))
	must(t, l.Truncate([]Point{{Group: 1, UpTo: 2}, {Group: 2, UpTo: 70, Term: 6}}))
	check := func() {
		t.Helper()
		if prev, term, last := l.Bounds(1); prev != 2 || term != 1 || last != 5 {
			t.Errorf("Bounds = %d, %d, %d", prev, term, last)
		}
		if prev, term, last := l.Bounds(2); prev != 70 || term != 6 || last != 70 {
			t.Errorf("Bounds behind the end = %d, %d, %d", prev, term, last)
		}
		if got := l.Runs(1, nil); !slices.Equal(got, []Run{{3, 2}, {5, 4}}) {
			t.Errorf("Runs = %v", got)
		}
		for index, want := range map[uint64]uint64{2: 1, 3: 2, 4: 2, 5: 4} {
			if term, ok := l.Term(1, index); !ok || term != want {
				t.Errorf("Term(%d) = %d, %v", index, term, ok)
			}
		}
		for _, index := range []uint64{1, 6} {
			if _, ok := l.Term(1, index); ok {
				t.Errorf("there is a Term(%d)", index)
			}
		}
		if m := l.Meta(1, nil); string(m) != "vote 2" {
			t.Errorf("Meta = %q", m)
		}
		must(t, l.Read(1, 3, 4, 0, func(r Record) bool {
			if r.Epoch != 3 || r.Kind != 9 || r.Term != 2 || string(r.Body) != "\x02" {
				t.Errorf("record %+v", r)
			}
			return true
		}))
	}
	check()
	must(t, l.Close())
	l = open(t, config(fs))
	check()
	appendTo(t, l, 2, 71, 75, 10)
	if got := indexes(t, l, 2, 10); !slices.Equal(got, count(71, 75)) {
		t.Errorf("behind the snapshot: %v", got)
	}
}

func TestOrder(t *testing.T) {
	l := open(t, config(vfs.NewMem()))
	appendTo(t, l, 0, 1, 5, 10)
	must(t, l.Truncate([]Point{{Group: 0, UpTo: 2}}))
	f := func(fill func(b *Batch)) {
		t.Helper()
		var b Batch
		b.Append(1, Record{Index: 1})
		fill(&b)
		if err := l.Write(&b); !errors.Is(err, ErrOrder) {
			t.Errorf("Write = %v", err)
		}
	}
	f(func(b *Batch) { b.Append(0, Record{Index: 7}) })
	f(func(b *Batch) { b.Append(0, Record{Index: 2}) })
	f(func(b *Batch) { b.CutSuffix(0, 2) })
	f(func(b *Batch) { b.CutSuffix(0, 7) })
	f(func(b *Batch) { b.CutSuffix(0, 4); b.Append(0, Record{Index: 5}) })
	if _, _, last := l.Bounds(1); last != 0 {
		t.Errorf("a refused batch took effect: %d", last)
	}
	var b Batch
	b.CutSuffix(0, 3)
	b.Append(0, Record{Index: 100, Leap: true})
	must(t, l.Write(&b))
	if x := l.Loss(0); x.Any() {
		t.Errorf("a leap is a loss: %+v", x)
	}
	must(t, l.Write(&Batch{}))
}

// TestRecycledSegmentsHoldNothing writes the same files over and over, and looks for what they held before.
func TestRecycledSegmentsHoldNothing(t *testing.T) {
	fs := vfs.NewMem()
	cfg := config(fs)
	l := open(t, cfg)
	last := uint64(0)
	for range 40 {
		appendTo(t, l, 0, last+1, last+5, 3000)
		last += 5
		must(t, l.Truncate([]Point{{Group: 0, UpTo: last - 2}}))
		must(t, l.Prepare())
	}
	s := l.Stats()
	if s.Rolls < 20 || s.Segments > 3 || s.Spares == 0 || s.Spares > 2 {
		t.Fatalf("%+v", s)
	}
	must(t, l.Close())
	names, err := fs.List(testDir)
	must(t, err)
	if len(names) > 5 {
		t.Fatalf("%d files: %v", len(names), names)
	}
	l = open(t, cfg)
	if got := indexes(t, l, 0, 3000); !slices.Equal(got, count(last-1, last)) {
		t.Errorf("after opening: %v; want %d and %d", got, last-1, last)
	}
	must(t, l.Close())

	// A file under another number holds nothing either: the first one again, where the next would be.
	slices.Sort(names)
	num, _ := fileNum(names[len(names)-1])
	must(t, fs.Rename(testDir+"/"+names[0], testDir+"/"+fileName(num+1)))
	must(t, fs.Remove(testDir+"/"+names[len(names)-1]))
	l, _, err = Open(cfg)
	must(t, err)
	defer func() { must(t, l.Close()) }()
	for _, i := range indexes(t, l, 0, 3000) {
		if i != last-1 && i != last {
			t.Errorf("the record %d came back", i)
		}
	}
}

// TestPinnedSegments lets one group stand still while another goes on.
func TestPinnedSegments(t *testing.T) {
	fs := vfs.NewMem()
	cfg := config(fs)
	cfg.PinSegments = 4
	l := open(t, cfg)
	var b Batch
	b.Append(7, Record{Index: 50, Term: 1, Leap: true, Body: body(7, 50, 0, 600)})
	must(t, l.Write(&b))
	appendTo(t, l, 7, 51, 53, 600)
	last := uint64(0)
	for range 60 {
		appendTo(t, l, 0, last+1, last+5, 3000)
		last += 5
		must(t, l.Truncate([]Point{{Group: 0, UpTo: last - 1}}))
		if s := l.Stats(); s.Segments > 6 {
			t.Fatalf("%+v", s)
		}
	}
	if s := l.Stats(); s.Copied == 0 || s.Segments > 5 {
		t.Errorf("%+v", s)
	}
	for range 2 {
		if got := indexes(t, l, 7, 600); !slices.Equal(got, count(50, 53)) || l.Loss(7).Any() {
			t.Fatalf("the still group has %v, %+v", got, l.Loss(7))
		}
		must(t, l.Close())
		l = open(t, cfg)
	}
	appendTo(t, l, 7, 54, 54, 600)
	must(t, l.Truncate([]Point{{Group: 7, UpTo: 52}}))
	if got := indexes(t, l, 7, 600); !slices.Equal(got, count(53, 54)) {
		t.Fatalf("the still group has %v", got)
	}
}

// TestLiveSegmentsStay: when most is needed, nothing is copied.
func TestLiveSegmentsStay(t *testing.T) {
	cfg := config(vfs.NewMem())
	cfg.PinSegments = 2
	l := open(t, cfg)
	appendTo(t, l, 0, 1, 60, 3000)
	must(t, l.Truncate([]Point{{Group: 0, UpTo: 1}}))
	if s := l.Stats(); s.Copied != 0 || s.Segments < 8 {
		t.Errorf("%+v", s)
	}
	if got := indexes(t, l, 0, 3000); !slices.Equal(got, count(2, 60)) {
		t.Errorf("%v", got)
	}
}

// TestLargeBatch needs a segment of its own that is larger than others.
func TestLargeBatch(t *testing.T) {
	fs := vfs.NewMem()
	cfg := config(fs)
	l := open(t, cfg)
	size := int(3 * cfg.SegmentBytes)
	appendTo(t, l, 0, 1, 1, 10)
	appendTo(t, l, 1, 1, 2, size)
	appendTo(t, l, 0, 2, 2, 10)
	must(t, l.Close())
	l = open(t, cfg)
	if got := indexes(t, l, 1, size); !slices.Equal(got, count(1, 2)) {
		t.Errorf("%v", got)
	}
	if got := indexes(t, l, 0, 10); !slices.Equal(got, count(1, 2)) {
		t.Errorf("%v", got)
	}
	must(t, l.Truncate([]Point{{Group: 1, UpTo: 2}, {Group: 0, UpTo: 2}}))
	if s := l.Stats(); s.Segments != 1 {
		t.Errorf("%+v", s)
	}
}

func TestOpenRefuses(t *testing.T) {
	fs := vfs.NewMem()
	cfg := config(fs)
	cfg.Create = false
	if _, _, err := Open(cfg); !errors.Is(err, ErrDamaged) {
		t.Errorf("without a folder: %v", err)
	}
	must(t, fs.MkdirAll(testDir, 0o750))
	if _, _, err := Open(cfg); !errors.Is(err, ErrDamaged) {
		t.Errorf("without a file: %v", err)
	}
	for _, bytes := range []int64{1, 5000, 1 << 40} {
		bad := config(fs)
		bad.SegmentBytes = bytes
		if _, _, err := Open(bad); err == nil {
			t.Errorf("segments of %d bytes were taken", bytes)
		}
	}
	if _, _, err := Open(Config{}); err == nil {
		t.Error("no folder was taken")
	}
	l := open(t, config(fs))
	appendTo(t, l, 0, 1, 3, 10)
	must(t, l.Close())
	var b Batch
	b.Append(0, Record{Index: 4})
	if err := l.Write(&b); !errors.Is(err, ErrFailed) {
		t.Errorf("Write after Close = %v", err)
	}
	cfg.ReadOnly = true
	l = open(t, cfg)
	if got := indexes(t, l, 0, 10); !slices.Equal(got, count(1, 3)) {
		t.Errorf("%v", got)
	}
	edit(t, fs, fileName(1), func(b []byte) []byte {
		putSegHeader(b[:block], 1, l.salt)
		b[11] = version + 1
		return reseal(b)
	})
	if _, _, err := Open(cfg); !errors.Is(err, ErrFormat) {
		t.Errorf("a newer version: %v", err)
	}
}
