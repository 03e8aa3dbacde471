package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// want is what a group must have.
type want struct {
	trunc, last uint64
	bodies      map[uint64]string
	meta        string
}

// history is a small log, batch by batch: what stands after each.
type history struct {
	cfg   Config
	files map[string][]byte
	// after[n] is what stands after n batches that the test wrote; when is where batch n is: its first and last byte.
	after [][3]want
	when  []where
}

type where struct {
	file     string
	from, to int
}

func content(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(testDir + "/" + name)
	must(t, err)
	info, err := f.Stat()
	must(t, err)
	b := make([]byte, info.Size())
	if len(b) > 0 {
		_, err = f.ReadAt(b, 0)
		must(t, err)
	}
	must(t, f.Close())
	return b
}

func edit(t testing.TB, fs vfs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	put(t, fs, name, change(content(t, fs, name)))
}

func put(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(testDir+"/"+name, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.Write(slices.Clone(b)) // it may change what it is given
	must(t, errors.Join(err, f.Close()))
}

// reseal makes a changed segment header whole again.
func reseal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli))
	return b
}

// makeHistory writes three groups over two segments: appends, a cut, a replaced end, metadata, truncation; with old bytes in
// all files.
func makeHistory(t testing.TB) history {
	t.Helper()
	fs := vfs.NewMem()
	h := history{cfg: config(fs)}
	h.cfg.SegmentBytes = 6 * block
	must(t, fs.MkdirAll(testDir, 0o750))
	l := open(t, h.cfg)
	// What an older use has left in the first files.
	for i := range uint64(10) {
		appendTo(t, l, 2, i+1, i+1, 3000)
		must(t, l.Truncate([]Point{{Group: 2, UpTo: i + 1}}))
	}
	var now [3]want
	for g := range now {
		now[g].bodies = map[uint64]string{}
	}
	now[2].trunc, now[2].last = 10, 10
	n := 0
	write := func(fill func(b *Batch)) {
		t.Helper()
		var b Batch
		fill(&b)
		must(t, l.Write(&b))
		h.when = append(h.when, where{fileName(l.active.num), int(l.at) - b.Size(), int(l.at)})
		n++
		var after [3]want
		for g, w := range now {
			after[g] = want{w.trunc, w.last, map[uint64]string{}, w.meta}
			maps.Copy(after[g].bodies, w.bodies)
		}
		h.after = append(h.after, after)
	}
	add := func(b *Batch, g uint16, i uint64, size int) {
		v := body(g, i, n, size)
		b.Append(g, Record{Index: i, Term: uint64(n), Body: v})
		for k := i; k <= now[g].last; k++ {
			delete(now[g].bodies, k)
		}
		now[g].bodies[i], now[g].last = string(v), i
	}
	write(func(b *Batch) { add(b, 0, 1, 50); add(b, 1, 1, 60); b.SetMeta(1, []byte("m1")); now[1].meta = "m1" })
	write(func(b *Batch) { add(b, 0, 2, 70); add(b, 0, 3, 30); add(b, 2, 11, 30) })
	write(func(b *Batch) { add(b, 1, 2, 33) })
	write(func(b *Batch) { add(b, 1, 3, 4500); add(b, 0, 3, 20); add(b, 0, 4, 20) }) // two blocks; 3 of group 0 is replaced
	write(func(b *Batch) {
		b.CutSuffix(1, 3)
		delete(now[1].bodies, 3)
		now[1].last = 2
		b.SetMeta(2, []byte("m2"))
		now[2].meta = "m2"
	})
	must(t, l.Truncate([]Point{{Group: 0, UpTo: 1}}))
	now[0].trunc = 1
	delete(now[0].bodies, 1)
	write(func(b *Batch) { add(b, 2, 12, 40); add(b, 0, 5, 40) })
	write(func(b *Batch) { add(b, 0, 6, 5000); add(b, 2, 13, 40) })
	must(t, l.Close())
	names, err := fs.List(testDir)
	must(t, err)
	h.files = map[string][]byte{}
	for _, name := range names {
		h.files[name] = content(t, fs, name)
	}
	if h.when[0].file == h.when[len(h.when)-1].file {
		t.Fatal("the history is all in one segment")
	}
	return h
}

// disk makes the history's files anew, changed.
func (h history) disk(t testing.TB, change func(files map[string][]byte)) Config {
	t.Helper()
	fs := vfs.NewMem()
	must(t, fs.MkdirAll(testDir, 0o750))
	files := map[string][]byte{}
	for name, b := range h.files {
		files[name] = slices.Clone(b)
	}
	change(files)
	for name, b := range files {
		put(t, fs, name, b)
	}
	cfg := h.cfg
	cfg.FS, cfg.Create = fs, false
	return cfg
}

// found is what a group has after damage.
type found struct {
	want
	loss Loss
}

func look(t testing.TB, l *Log, g uint16) found {
	t.Helper()
	f := found{want: want{bodies: map[uint64]string{}}}
	f.trunc, _, f.last = l.Bounds(g)
	f.meta = string(l.Meta(g, nil))
	f.loss = l.Loss(g)
	must(t, l.Read(g, 0, 1<<63, 0, func(r Record) bool { f.bodies[r.Index] = string(r.Body); return true }))
	return f
}

// honest holds what a group has against what it should have: everything that is there is right, and what is not there is
// told. It returns why not. exact asks for more: only what is not there is told.
func (f found) honest(w want, exact bool) error {
	missing := map[uint64]bool{}
	for _, r := range f.loss.Ranges {
		for i := r.From; i <= r.To; i++ {
			missing[i] = true
		}
	}
	if f.loss.Unsure {
		if exact {
			return fmt.Errorf("unsure: %+v", f.loss)
		}
		return nil // the caller must not use it
	}
	for i, v := range f.bodies {
		if w.bodies[i] != v && i > w.trunc {
			return fmt.Errorf("record %d is %.40q instead of %.40q", i, v, w.bodies[i])
		}
	}
	for i := range w.bodies {
		if _, there := f.bodies[i]; !there && !missing[i] && i > f.trunc {
			return fmt.Errorf("record %d is gone without a word: %+v", i, f.loss)
		}
	}
	if f.last != w.last {
		return fmt.Errorf("the log ends at %d; want %d", f.last, w.last)
	}
	if f.meta != w.meta && !f.loss.Meta {
		return fmt.Errorf("metadata %q; want %q", f.meta, w.meta)
	}
	if !exact {
		return nil
	}
	for i := range missing {
		if _, there := w.bodies[i]; !there && i > w.trunc {
			return fmt.Errorf("record %d is said to be missing", i)
		}
	}
	if f.loss.Meta && f.meta == w.meta {
		return errors.New("metadata is said to be lost and is not")
	}
	return nil
}

// verdict opens a damaged disk and says how the damage showed: "whole", "loss", or "shorter" when no more than the last gone
// batches are missing.
func (h history) verdict(t testing.TB, cfg Config, exact bool, gone int, where string) string {
	t.Helper()
	l, report, err := Open(cfg)
	if err != nil {
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Open = %v", where, err)
		}
		return "refused"
	}
	defer func() { must(t, l.Close()) }()
	n := len(h.after) - 1
	result := "whole"
	errs := make([]error, 1+gone)
	for back := range errs {
		for g := range uint16(3) {
			f := look(t, l, g)
			if f.trunc > h.after[n][g].trunc {
				t.Errorf("%s: group %d is truncated at %d", where, g, f.trunc)
			}
			if err := f.honest(h.after[n-back][g], exact); err != nil {
				errs[back] = errors.Join(errs[back], fmt.Errorf("group %d: %w", g, err))
			}
			if f.loss.Any() {
				result = "loss"
			}
		}
		if errs[back] == nil {
			if back > 0 {
				result = "shorter"
			}
			break
		}
	}
	if !slices.Contains(errs, nil) {
		t.Errorf("%s: %s, %+v:\n%v", where, result, report, errs)
	}
	if result == "loss" && len(report.Damages) == 0 {
		t.Errorf("%s: a loss without a damage", where)
	}
	return result
}

// last reports whether the place is in the last batch.
func (h history) last(file string, at int) bool {
	w := h.when[len(h.when)-1]
	return file == w.file && at >= w.from && at < w.to
}

// gone is how many of the last batches cannot be missed when the bytes from..to of a file are lost: those that are hit, when
// the header of the last one is among them, as nothing proves then that they were there.
func (h history) gone(file string, from, to int) (n int) {
	if last := h.when[len(h.when)-1]; file != last.file || from >= last.from+block || to <= last.from {
		return 1
	}
	for _, w := range h.when {
		if w.file == file && w.to > from {
			n++
		}
	}
	return n
}

// inUse reports whether the place is in a header, or in a batch of this use of the file.
func (h history) inUse(file string, at int) bool {
	if at < 2*block {
		return at < 2*segHeader || at >= block // a table or the first batch
	}
	for _, w := range h.when {
		if file == w.file && at >= w.from && at < w.to {
			// Of a long body every tenth byte will do.
			return at < w.from+2000 || at >= w.to-500 || at%10 == 0
		}
	}
	return false
}

// TestFlips flips a bit in every byte of a log. Nothing wrong is ever read, exactly what is lost is told, and nothing but
// the last batch is lost in silence.
func TestFlips(t *testing.T) {
	h := makeHistory(t)
	if v := h.verdict(t, h.disk(t, func(map[string][]byte) {}), true, 1, "undamaged"); v != "whole" {
		t.Fatalf("undamaged: %s", v)
	}
	seen := map[string]int{}
	for name, b := range h.files {
		for at := range b {
			if !h.inUse(name, at) && at%61 != 0 {
				continue // what an older use has left; there is much of it
			}
			if raced && at%17 != 0 {
				continue // all of them are for the run without the detector
			}
			v := h.verdict(t, h.disk(t, func(files map[string][]byte) { files[name][at] ^= 1 << (at % 8) }), true, 1,
				fmt.Sprintf("flip in %s at %d", name, at))
			if v == "shorter" && !h.last(name, at) {
				t.Errorf("a flip in %s at %d took the last batch away", name, at)
			}
			seen[v]++
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Log(seen)
	if seen["loss"] == 0 || seen["shorter"] == 0 || seen["whole"] == 0 {
		t.Error("a kind of outcome is missing")
	}
}

// TestLostBlocks takes blocks away: one, and two in a row; they come back as zeros, or as what was in another file.
func TestLostBlocks(t *testing.T) {
	h := makeHistory(t)
	seen := map[string]int{}
	for name, b := range h.files {
		for from := 0; from < len(b); from += block {
			for _, blocks := range []int{1, 2, 3} {
				for kind, fill := range map[string]func(b []byte, i int) byte{
					"zeros":  func([]byte, int) byte { return 0 },
					"an old": func(b []byte, i int) byte { return h.files[fileName(maxNum(h.files))][min(i, block)] },
				} {
					to := min(from+blocks*block, len(b))
					cfg := h.disk(t, func(files map[string][]byte) {
						for i := from; i < to; i++ {
							files[name][i] = fill(files[name], i)
						}
					})
					v := h.verdict(t, cfg, blocks == 1, h.gone(name, from, to), fmt.Sprintf("%s in %s from %d to %d", kind, name, from, to))
					if v == "shorter" && !h.last(name, to-1) {
						t.Errorf("%s in %s from %d to %d took the last batch away", kind, name, from, to)
					}
					seen[v]++
				}
			}
		}
	}
	t.Log(seen)
}

func maxNum(files map[string][]byte) (most uint64) {
	for name := range files {
		num, _ := fileNum(name)
		most = max(most, num)
	}
	return most
}

// TestLostFiles takes files away, or their ends. The end of the log may go with its last file, as one log cannot know; the
// rest does not go unnoticed.
func TestLostFiles(t *testing.T) {
	h := makeHistory(t)
	first := h.when[0].file
	l, report, err := Open(h.disk(t, func(files map[string][]byte) { delete(files, first) }))
	must(t, err)
	if len(report.Damages) == 0 || !slices.Equal(l.Loss(1).Ranges, []Range{{1, 1}}) {
		t.Errorf("without %s: %+v, %+v, %+v", first, report, l.Loss(0), l.Loss(1))
	}
	must(t, l.Close())
	for name, b := range h.files {
		for _, size := range []int{0, 10, block, block + 20, 2 * block, len(b) - 1} {
			if size > len(b) {
				continue
			}
			l, _, err := Open(h.disk(t, func(files map[string][]byte) { files[name] = files[name][:size] }))
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("%s cut to %d: %v", name, size, err)
				}
				continue
			}
			for g := range uint16(3) {
				f := look(t, l, g)
				for n := range h.after { // it is a state that was, or says what is missing
					if err = f.honest(h.after[n][g], false); err == nil {
						break
					}
				}
				if err != nil {
					t.Errorf("%s cut to %d: group %d: %v", name, size, g, err)
				}
			}
			must(t, l.Close())
		}
	}
}

// TestTornWrites lets the last batch reach the disk only up to each of its bytes, and by single blocks; behind is what
// was in the file before, or nothing. The log ends before it, or has it, without a word of damage, and goes on.
func TestTornWrites(t *testing.T) {
	h := makeHistory(t)
	w := h.when[len(h.when)-1]
	shorter, rounds := 0, 0
	f := func(what string, exact bool, change func(b []byte) []byte) {
		t.Helper()
		cfg := h.disk(t, func(files map[string][]byte) { files[w.file] = change(files[w.file]) })
		l, report, err := Open(cfg)
		must(t, err)
		if len(report.Damages) > 0 {
			t.Errorf("%s: %v", what, report.Damages)
		}
		for g := range uint16(3) {
			x := look(t, l, g)
			if whole := x.honest(h.after[len(h.after)-1][g], true); whole != nil {
				shorter++
				if exact {
					t.Errorf("%s: %v", what, whole)
				}
				if err := x.honest(h.after[len(h.after)-2][g], true); err != nil {
					t.Errorf("%s: %v; %v", what, whole, err)
				}
			}
		}
		rounds++
		_, _, last := l.Bounds(1)
		for range 3 {
			if rounds%20 != 0 && !exact {
				break // every twentieth goes on
			}
			last++
			appendTo(t, l, 1, last, last, 20)
			must(t, l.Close())
			l = open(t, cfg) // fails when it finds damage
			if _, _, got := l.Bounds(1); got != last {
				t.Errorf("%s: after going on, %d; want %d", what, got, last)
			}
		}
		must(t, l.Close())
	}
	old := make([]byte, w.to-w.from)
	for i := range old {
		old[i] = byte(i*7 + 1)
	}
	for n := range w.to - w.from {
		if raced && n%7 != 0 {
			continue // as above
		}
		f(fmt.Sprintf("zeros from %d", n), false, func(b []byte) []byte { clear(b[w.from+n : w.to]); return b })
		f(fmt.Sprintf("old bytes from %d", n), false, func(b []byte) []byte { copy(b[w.from+n:w.to], old[n:]); return b })
	}
	f("nothing", false, func(b []byte) []byte { return b[:w.from] })
	f("the first block lost", false, func(b []byte) []byte { clear(b[w.from : w.from+block]); return b })
	f("whole", true, func(b []byte) []byte { return b })
	if shorter == 0 {
		t.Error("nothing was torn")
	}
}

// TestLeapSettlesALoss goes on after one, and the log stays as it was decided.
func TestLeapSettlesALoss(t *testing.T) {
	h := makeHistory(t)
	w := h.when[1]
	cfg := h.disk(t, func(files map[string][]byte) { clear(files[w.file][w.from:w.to]) })
	l, _, err := Open(cfg)
	must(t, err)
	if x := l.Loss(0); !slices.Equal(x.Ranges, []Range{{2, 2}}) {
		t.Fatalf("the loss is %+v", x) // 3 was written again
	}
	if l.Loss(1).Any() {
		t.Fatalf("group 1 has lost nothing: %+v", l.Loss(1))
	}
	_, _, last := l.Bounds(0)
	var b Batch
	b.CutSuffix(0, 2)
	b.Append(0, Record{Index: last + 1000, Leap: true, Body: []byte("a new epoch")})
	must(t, l.Write(&b))
	for range 3 {
		if x := l.Loss(0); x.Any() {
			t.Fatalf("after the leap: %+v", x)
		}
		must(t, l.Close())
		l, _, err = Open(cfg)
		must(t, err)
		if _, _, got := l.Bounds(0); got != last+1000 {
			t.Fatalf("the log ends at %d", got)
		}
	}
	must(t, l.Close())
}
