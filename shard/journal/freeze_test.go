package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/shard/journal/replica"
)

// pages reads all of a frozen group, most bytes at a time.
func pages(t testing.TB, f *Frozen, group, most int) (keys []string, vals map[string]string, n int) {
	t.Helper()
	vals = map[string]string{}
	var after []byte
	for {
		rows, last, err := f.Page(group, after, most, nil)
		if err != nil {
			t.Fatal(err)
		}
		n++
		for len(rows) > 0 {
			var k, v []byte
			if k, v, rows, err = NextRow(rows); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, string(k))
			vals[string(k)] = string(v)
		}
		if last == nil {
			return keys, vals, n
		}
		after = last
	}
}

func TestFreeze(t *testing.T) {
	j := open(t, config(t, vfs.NewMem(), 3))
	o := own(j.Group(1))
	appendMany(t, o, 100)
	appendMany(t, own(j.Group(2)), 5) // which is no part of group 1
	f, err := j.Freeze(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := f.Mark(1)
	if !ok || m.Turn != 100 || m.Group != 1 || m.Term != j.Group(1).Term() || m.Index <= 100 {
		t.Fatalf("mark %+v, %v", m, ok)
	}
	appendMany(t, o, 50)
	var turn Turn
	turn.Delete(key(7))
	turn.Put(key(8), []byte("other"))
	if _, err := o.g.Append(&turn); err != nil || o.wait(151) != nil {
		t.Fatal(err)
	}
	must(t, j.flush())
	for _, most := range []int{1, 100, 1 << 20} {
		keys, vals, n := pages(t, f, 1, most)
		if len(keys) != 100 || keys[6] != string(key(7)) || vals[string(key(8))] != string(val(8)) {
			t.Fatalf("pages of %d bytes: %d rows", most, len(keys))
		}
		if want := map[int]int{1: 101, 1 << 20: 1}[most]; want != 0 && n != want {
			t.Fatalf("%d pages of %d bytes; want %d", n, most, want)
		}
	}
	if keys, _, _ := pages(t, f, 0, 100); len(keys) != 0 {
		t.Fatalf("an empty group has %q", keys)
	}
	for _, group := range []int{2, -1, 1 + 1<<16} {
		if _, _, err := f.Page(group, nil, 100, nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("a page of group %d, which was not frozen: %v", group, err)
		}
	}
	if _, err := j.Freeze(9); !errors.Is(err, ErrNotFound) {
		t.Errorf("freezing a group that is not here: %v", err)
	}
	must(t, f.Close())
	must(t, f.Close())
	if _, _, err := f.Page(1, nil, 100, nil); !errors.Is(err, ErrThawed) {
		t.Errorf("a page of what is closed: %v", err)
	}
}

// TestFreezeOutlivesNothing: a journal closes with something frozen, which is closed with it.
func TestFreezeOutlivesNothing(t *testing.T) {
	j, err := Open(config(t, vfs.NewMem(), 1))
	if err != nil {
		t.Fatal(err)
	}
	f, err := j.Freeze(0)
	if err != nil {
		t.Fatal(err)
	}
	must(t, j.Close())
	must(t, f.Close())
	if _, _, err := f.Page(0, nil, 1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a page of a closed journal: %v", err)
	}
	if _, err := j.Freeze(0); !errors.Is(err, ErrClosed) {
		t.Errorf("freezing a closed journal: %v", err)
	}
}

// TestThawed takes a replica off while it is frozen: what is left of its rows is not told as all of them.
func TestThawed(t *testing.T) {
	j := open(t, config(t, vfs.NewMem(), 2))
	appendMany(t, own(j.Group(0)), 100)
	appendMany(t, own(j.Group(1)), 10)
	must(t, j.flush())
	f, err := j.Freeze(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Page(0, nil, 100, nil); err != nil {
		t.Fatal(err)
	}
	must(t, j.Remove(0, j.Group(0).self))
	if rows, _, err := f.Page(0, nil, 100, []byte("x")); !errors.Is(err, ErrThawed) || string(rows) != "x" {
		t.Fatalf("a page of what was taken off has %d bytes: %v", len(rows), err)
	}
	if keys, _, _ := pages(t, f, 1, 100); len(keys) != 10 {
		t.Fatalf("the other group has %d rows", len(keys))
	}
	must(t, f.Close())
}

func TestNextRow(t *testing.T) {
	rows := AppendRow(nil, []byte("key"), []byte("value"))
	for n := range len(rows) {
		if n == 0 {
			continue
		}
		if _, _, _, err := NextRow(rows[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("a row of %d of %d bytes: %v", n, len(rows), err)
		}
	}
	for _, bad := range []string{"\x00\x01v", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01k", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01k", "\xff"} {
		if _, _, _, err := NextRow([]byte(bad)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// restored writes n rows for each group and restores them.
func restored(t testing.TB, cfg Config, number uint64, n uint64) Restored {
	t.Helper()
	r, err := Restore(cfg, number, func(_ int, put func(k, v []byte) error) error {
		for i := range n {
			if err := put(key(i+1), val(i+1)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRestore begins groups again, far above everything, and the power fails at once.
func TestRestore(t *testing.T) {
	fs := vfs.NewCrashableMem()
	const groups, number = 3, 1_800_000_000
	if r := restored(t, config(t, fs, groups), number, 1000); r.Groups != groups || r.Rows != 3000 || r.Bytes == 0 {
		t.Fatalf("%+v", r)
	}
	for round := range uint64(3) {
		fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, round))})
		cfg := config(t, fs, groups)
		j, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for id := range groups {
			g := j.Group(id)
			base := uint64(number<<FloorBits) + round
			if g.State().Mode != OK || g.Epoch() != number || g.Term() <= number || g.Last() != base || g.Applied() != base {
				t.Fatalf("round %d, group %d: %+v, epoch %d, term %d, last %d", round, id, g.State(), g.Epoch(), g.Term(), g.Last())
			}
			if got, err := g.Get(key(1000), nil); err != nil || !bytes.Equal(got, val(1000)) {
				t.Fatalf("round %d, group %d: %q, %v", round, id, got, err)
			}
			appendMany(t, own(g), 1)
			rows := uint64(0)
			must(t, g.Scan(nil, nil, false, func(_, _ []byte) bool { rows++; return true }))
			if rows != 1001+round {
				t.Fatalf("round %d, group %d: %d rows", round, id, rows)
			}
		}
		must(t, j.Close())
		must(t, Verify(cfg, func(f Finding) {
			if f.Damaged {
				t.Errorf("round %d: %+v", round, f)
			}
		}))
	}
}

func TestRestoreRefuses(t *testing.T) {
	fs := vfs.NewMem()
	j, err := Open(config(t, fs, 1))
	if err != nil {
		t.Fatal(err)
	}
	must(t, j.Close())
	none := func(int, func(k, v []byte) error) error { return nil }
	if _, err := Restore(config(t, fs, 1), 5, none); !errors.Is(err, ErrFormat) {
		t.Errorf("into a journal: %v", err)
	}
	for _, number := range []uint64{0, 1 << 33} {
		if _, err := Restore(config(t, vfs.NewMem(), 1), number, none); err == nil {
			t.Errorf("number %d was taken", number)
		}
	}
	bad := errors.New("the backup is damaged")
	if _, err := Restore(config(t, vfs.NewMem(), 2), 5, func(g int, put func(k, v []byte) error) error {
		if g == 1 {
			return bad
		}
		return put([]byte("k"), nil)
	}); !errors.Is(err, bad) {
		t.Errorf("a bad row: %v", err)
	}
	if _, err := Restore(config(t, vfs.NewMem(), 1), 5, func(_ int, put func(k, v []byte) error) error {
		return put(make([]byte, keySizeMax+1), nil)
	}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long key: %v", err)
	}
	full := config(t, vfs.NewMem(), 1)
	full.FreeMin, full.Free = 100, func() (uint64, uint64, error) { return 50, 1000, nil }
	if _, err := Restore(full, 5, func(_ int, put func(k, v []byte) error) error { return put([]byte("k"), nil) }); !errors.Is(err, ErrNoSpace) {
		t.Errorf("onto a full disk: %v", err)
	}
}

// TestRestoredGrows makes a group of three of a restored one, whose numbers are large.
func TestRestoredGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, 1, 2, 3)
		n.stop(1, false, nil)
		p := n.nodes[1]
		p.disk = vfs.NewCrashableMem()
		cfg := p.cfg
		cfg.FS, cfg.Groups, cfg.Send, cfg.Stream, cfg.Notify, cfg.Applied = p.disk, 1, nil, nil, nil, nil
		restored(t, cfg, 1_800_000_000, 100)
		n.startAlone(1, 1)
		ids := map[uint32]uint64{2: replica.ID(2, 1), 3: replica.ID(3, 1)}
		for id, as := range ids {
			must(t, n.nodes[id].j.Join(0, as))
			lead := n.leader(0, 1, 2, 3)
			must(t, lead.j.Change(0, &pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: pb.ConfChangeAddNode.Enum(), NodeId: new(as)}}}))
			n.until(fmt.Sprintf("node %d is in", id), func() bool {
				g := n.nodes[id].j.Group(0)
				return g != nil && g.Applied() == lead.j.Group(0).Applied()
			})
		}
		last := write(t, n.leader(0, 1, 2, 3), 0, 20)
		n.until("all have all", func() bool {
			for _, p := range n.nodes {
				if p.j.Group(0).Applied() != last || p.j.Group(0).Epoch() != 1_800_000_000 {
					return false
				}
			}
			return true
		})
		for id := range n.nodes {
			if got, err := n.nodes[id].j.Group(0).Get(key(100), nil); err != nil || !bytes.Equal(got, val(100)) {
				t.Errorf("node %d: %q, %v", id, got, err)
			}
		}
		n.close()
	})
}
