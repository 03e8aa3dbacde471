package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is a journal to be damaged: rows in tables, records in many segments of the log.
type disk struct {
	fs     *vfs.MemFS
	cfg    Config
	last   uint64   // every group reaches so far
	fenced []uint64 // and its fence so far
}

// makeDisk writes two groups. Closed cleanly, the fence claims everything; cut, it claims what was fenced before.
func makeDisk(t *testing.T, clean bool) disk {
	t.Helper()
	const groups, turns = 2, 2000
	mem := vfs.NewCrashableMem()
	cfg := config(t, mem, groups)
	cfg.SegmentBytes = 64 << 10
	j := open(t, cfg)
	for id := range groups {
		o := own(j.Group(id))
		appendMany(t, o, turns/4)
	}
	must(t, j.flush())
	for id := range groups {
		o := own(j.Group(id))
		appendMany(t, o, turns/4)
	}
	for id := range groups {
		appendMany(t, own(j.Group(id)), turns/2)
	}
	d := disk{fs: mem, cfg: cfg, last: turns}
	if clean {
		must(t, j.Close())
	}
	percent := 0
	if clean {
		percent = 100 // the machine lived on, so obsolete files are really gone
	}
	d.fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))})
	if !clean {
		must(t, j.Close())
	}
	d.cfg.FS = d.fs
	// A fence in the middle of what is only in the log, as the last second would have left it.
	fe, entries, err := openFence(d.fs, d.cfg.Dir)
	must(t, err)
	for id := range entries {
		if !clean {
			entries[id].last, entries[id].turn = turns-turns/4+2, turns-turns/4
		}
		d.fenced = append(d.fenced, entries[id].turn)
	}
	must(t, errors.Join(fe.write(entries), fe.f.Close()))
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (d disk) clone() disk {
	d.fs = d.fs.CrashClone(vfs.CrashCloneCfg{})
	d.cfg.FS = d.fs
	return d
}

// files lists what matches the pattern below the journal's directory.
func (d disk) files(t *testing.T, pattern string) []string {
	t.Helper()
	dir := d.fs.PathJoin(d.cfg.Dir, path.Dir(pattern))
	names, err := d.fs.List(dir)
	must(t, err)
	slices.Sort(names)
	var found []string
	for _, n := range names {
		if ok, _ := path.Match(path.Base(pattern), n); ok {
			found = append(found, d.fs.PathJoin(dir, n))
		}
	}
	return found
}

// lastBatch says where the log's last batch is: its file, and its first byte.
func (d disk) lastBatch(t *testing.T) (name string, from int64) {
	t.Helper()
	for _, file := range d.files(t, "log/*.log") {
		b, err := d.fs.UnsafeGetFileDataBuffer(file)
		must(t, err)
		num, salt := b[16:24], b[24:32]
		for at := 4096; at < len(b); at += 4096 {
			if string(b[at+8:at+16]) == string(salt) && string(b[at+16:at+24]) == string(num) {
				name, from = file, int64(at)
			}
		}
	}
	return name, from
}

// record finds the record of a turn in the log: its file, where it begins and how long it is.
func (d disk) record(t *testing.T, group uint16, index uint64) (name string, from, size int64) {
	t.Helper()
	for _, file := range d.files(t, "log/*.log") {
		b, err := d.fs.UnsafeGetFileDataBuffer(file)
		must(t, err)
		for at := 4096; at+48 < len(b); at += 8 {
			body := binary.BigEndian.Uint32(b[at+4:])
			if binary.BigEndian.Uint16(b[at+40:]) == group && b[at+43] == kindTurn && body < 100 &&
				binary.BigEndian.Uint64(b[at+48:]) == index && bytes.Contains(b[at+48:at+48+int(body)], key(index)) {
				return file, int64(at), 48 + int64(body)
			}
		}
	}
	t.Fatalf("record %d of group %d is not in the log", index, group)
	return "", 0, 0
}

// change writes over a piece of a file.
func (d disk) change(t *testing.T, name string, at int64, with []byte) {
	t.Helper()
	f, err := d.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.WriteAt(with, at)
	must(t, errors.Join(err, f.Sync(), f.Close()))
}

// flip changes one bit and says where; it returns "" when the file is empty.
func flip(t *testing.T, fs vfs.FS, name string, rng *rand.Rand) string {
	t.Helper()
	at, where := flipAt(t, fs, name, rng)
	if at < 0 {
		return ""
	}
	return where
}

func flipAt(t *testing.T, fs vfs.FS, name string, rng *rand.Rand) (at int64, where string) {
	t.Helper()
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	must(t, err)
	info, err := f.Stat()
	must(t, err)
	if info.Size() == 0 {
		must(t, f.Close())
		return -1, ""
	}
	at = rng.Int64N(info.Size())
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 1 << rng.IntN(8)
	_, err = f.WriteAt(b, at)
	must(t, err)
	must(t, errors.Join(f.Sync(), f.Close()))
	return at, fmt.Sprintf("%s at %d of %d", name, at, info.Size())
}

// verdict opens a damaged disk and says how the damage showed: not at all, at opening, in a group's state, or when its
// rows were read. A shorter or wrong log that nobody speaks of fails the test.
func (d disk) verdict(t *testing.T, where string) string {
	t.Helper()
	j, err := Open(d.cfg)
	if err != nil {
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Open says neither damage nor format: %v", where, err)
		}
		return "refused"
	}
	result := "no effect"
	for id, g := range j.list() {
		next, wrong := uint64(1), ""
		err := g.Scan(nil, nil, false, func(k, v []byte) bool {
			if string(k) != string(key(next)) || string(v) != string(val(next)) {
				wrong = fmt.Sprintf("row %s=%s instead of %d", k, v, next)
				return false
			}
			next++
			return true
		})
		s := g.State()
		switch {
		case wrong != "":
			t.Errorf("%s: group %d: %s (%+v)", where, id, wrong, s)
		case err != nil:
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: group %d: Scan says no damage: %v", where, id, err)
			}
			if g.State().Mode == OK {
				t.Errorf("%s: group %d has unreadable rows and is not quarantined", where, id)
			}
			result = "unreadable"
		case s.Mode == ReadOnly:
			result = "read-only"
			if s.LossFrom == 0 || next-1 >= s.LossFrom {
				t.Errorf("%s: group %d has rows up to %d and says %+v", where, id, next-1, s)
			}
		case s.Mode != OK:
			result = "quarantined"
		case next-1 < d.fenced[id]:
			t.Errorf("%s: group %d is OK with %d rows; the fence says %d", where, id, next-1, d.fenced[id])
		case next-1 < d.last:
			result = "lost behind the fence"
		}
		if s.Mode != OK {
			if _, err := g.Append(&Turn{}); !errors.Is(err, ErrReadOnly) {
				t.Errorf("%s: group %d takes turns: %v", where, id, err)
			}
		}
	}
	if err := j.Close(); err != nil && result == "no effect" {
		t.Errorf("%s: Close: %v", where, err)
	}
	return result
}

// TestBitFlips flips bits in every kind of file, of a journal that was closed and of one whose power was cut. The process
// never ends, and no log is shorter than its fence without saying so.
func TestBitFlips(t *testing.T) {
	const seed = 7
	flips := 30
	if raced {
		flips = 5 // more are for the run without the detector
	}
	for _, clean := range []bool{true, false} {
		d := makeDisk(t, clean)
		if v := d.clone().verdict(t, "undamaged"); v != "no effect" {
			t.Fatalf("clean %v, undamaged: %s", clean, v)
		}
		for _, pattern := range []string{
			"FORMAT", "FENCE", "log/*.log", "data/*.sst", "data/MANIFEST-*", "data/OPTIONS*",
		} {
			t.Run(fmt.Sprintf("clean=%v/%s", clean, strings.ReplaceAll(pattern, "/", "-")), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, uint64(len(pattern))))
				names := d.files(t, pattern)
				if len(names) == 0 {
					t.Fatal("there is no such file")
				}
				seen := map[string]int{}
				lastFile, lastFrom := d.lastBatch(t)
				n := flips
				if pattern == "log/*.log" {
					n = 5 * flips
				}
				for range n {
					c := d.clone()
					name := names[rng.IntN(len(names))]
					at, where := flipAt(t, c.fs, name, rng)
					if at < 0 {
						continue
					}
					v := c.verdict(t, fmt.Sprintf("seed %d: %s", seed, where))
					if v == "lost behind the fence" && (name != lastFile || at < lastFrom) {
						t.Errorf("seed %d: %s: not in the last batch, and not noticed", seed, where)
					}
					seen[v]++
				}
				t.Log(seen)
				if pattern == "log/*.log" && !clean && seen["read-only"] == 0 {
					t.Error("no flip in the log was noticed")
				}
			})
		}
	}
}

// TestLossIsKeptUntilAccepted removes records that the fence claims, in several ways.
func TestLossIsKeptUntilAccepted(t *testing.T) {
	breaks := map[string]func(t *testing.T, d disk){
		"a hole": func(t *testing.T, d disk) {
			name, from, size := d.record(t, 0, 1250)
			d.change(t, name, from, make([]byte, size))
		},
		"a lost end": func(t *testing.T, d disk) {
			for i := uint64(1250); i <= d.last; i++ {
				name, from, size := d.record(t, 0, i)
				d.change(t, name, from, make([]byte, size))
			}
		},
		"a changed record": func(t *testing.T, d disk) {
			name, from, size := d.record(t, 0, 1250)
			d.change(t, name, from+size-1, []byte("?"))
		},
		"a moved record": func(t *testing.T, d disk) {
			name, from, size := d.record(t, 0, 1249)
			b, err := d.fs.UnsafeGetFileDataBuffer(name)
			must(t, err)
			b = slices.Clone(b[from : from+size])
			name, from, _ = d.record(t, 0, 1250)
			d.change(t, name, from, b)
		},
	}
	for name, damage := range breaks {
		t.Run(name, func(t *testing.T) {
			d := makeDisk(t, false)
			damage(t, d)
			wantDamage(t, d.cfg)
			for range 2 { // it stays lost over a restart
				j := open(t, d.cfg)
				g := j.Group(0)
				if s := g.State(); s.Mode != ReadOnly || s.LossFrom != 1250 {
					t.Fatalf("State = %+v", s)
				}
				if j.Healthy() == nil {
					t.Fatal("Healthy says nothing")
				}
				if !g.Sure() {
					t.Fatal("what is left is nobody's to tell, and nobody else has more")
				}
				wantRows(t, g, 1, 1249)
				appendMany(t, own(j.Group(1)), 1) // the other group goes on
				if err := j.AcceptLoss(1); err == nil {
					t.Fatal("a loss of a whole group was accepted")
				}
				must(t, j.Close())
			}
			j := open(t, d.cfg)
			must(t, j.AcceptLoss(0))
			g := j.Group(0)
			if g.Epoch() != 1 || g.Last() < 1500+epochSkip || g.State().Mode != OK {
				t.Fatalf("epoch %d, last %d, %+v", g.Epoch(), g.Last(), g.State())
			}
			first := append1(t, g)
			must(t, own(g).wait(0))
			must(t, j.Close())
			again := open(t, d.cfg)
			if g := again.Group(0); g.State().Mode != OK || g.Last() != first || g.Epoch() != 1 {
				t.Fatalf("after a restart: last %d of %d, %+v", g.Last(), first, g.State())
			}
			if _, err := again.Group(0).Get(key(first), nil); err != nil {
				t.Fatal(err)
			}
			must(t, again.Close())
			must(t, Verify(d.cfg, func(Finding) {}))
		})
	}
}

// TestAcceptDamagedLog accepts the loss of a log that cannot be opened at all, one group after the other.
func TestAcceptDamagedLog(t *testing.T) {
	d := makeDisk(t, false)
	for _, name := range d.files(t, "log/*.log") {
		d.change(t, name, 0, make([]byte, 4096)) // without one header nobody can say what the log is
	}
	// The second group's rows reach its fence, so after the log was replaced only the fence's word says that it lost some.
	fe, entries, err := openFence(d.fs, d.cfg.Dir)
	must(t, err)
	entries[1].last, entries[1].turn = 502, 500
	must(t, errors.Join(fe.write(entries), fe.f.Close()))
	j := open(t, d.cfg)
	must(t, j.AcceptLoss(0))
	appendMany(t, own(j.Group(0)), 5)
	if s := j.Group(1).State(); s.Mode != ReadOnly || s.LossFrom != 501 {
		t.Fatalf("the other group is %+v", s)
	}
	must(t, j.Close())
	j = open(t, d.cfg)
	if s := j.Group(1).State(); s.Mode != ReadOnly || s.LossFrom != 501 {
		t.Fatalf("after a restart the other group is %+v", s)
	}
	must(t, j.AcceptLoss(1))
	appendMany(t, own(j.Group(1)), 5)
	must(t, j.Close())
	must(t, Verify(d.cfg, func(Finding) {}))
	if len(d.files(t, "log.damaged-*")) != 1 {
		t.Fatal("the damaged log was not kept")
	}
}
