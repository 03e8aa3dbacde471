package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard/journal/replica"
)

const canary = "Canary7c91e0Zq"

// leaks returns the files below dir that hold word.
func leaks(t testing.TB, fs vfs.FS, dir, word string) (list []string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			continue // a table that was removed just now
		}
		if info.IsDir() {
			list = append(list, leaks(t, fs, path, word)...)
			continue
		}
		f, err := fs.Open(path)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(word)) {
			list = append(list, path)
		}
	}
	return list
}

// secretly writes rows with the canary in their values, and one with it in its key, among others.
func secretly(t testing.TB, o *owner) {
	t.Helper()
	for i := range uint64(40) {
		var turn Turn
		turn.Put(fmt.Appendf(nil, "s%03d", i), fmt.Appendf(nil, "%s-%d", canary, i))
		turn.Put(fmt.Appendf(nil, "t%03d", i), val(i))
		if i == 20 {
			turn.Put([]byte("z"+canary), []byte("the last key of a table"))
		}
		index, err := o.g.Append(&turn)
		if err != nil || o.wait(index) != nil {
			t.Fatal(err)
		}
	}
}

// forget writes over them.
func forget(t testing.TB, o *owner) uint64 {
	t.Helper()
	var turn Turn
	for i := range uint64(40) {
		if i%2 == 0 {
			turn.Put(fmt.Appendf(nil, "s%03d", i), []byte("gone"))
		} else {
			turn.Delete(fmt.Appendf(nil, "s%03d", i))
		}
	}
	turn.Delete([]byte("z" + canary))
	index, err := o.g.Append(&turn)
	if err != nil || o.wait(index) != nil {
		t.Fatal(err)
	}
	return index
}

var secrets = []Span{{[]byte("s"), []byte("t")}, {[]byte("z"), []byte("{")}}

// What rows were before is in no file after Scrub: neither tables, nor the log and its recycled files, nor the manifests. Others' rows are whole.
func TestScrub(t *testing.T) {
	fs := vfs.NewMem()
	cfg := config(t, fs, 3)
	cfg.SegmentBytes, cfg.FlushBytes = 64<<10, 64<<10
	j := open(t, cfg)
	o, other := own(j.Group(1)), own(j.Group(2))
	for range 3 {
		secretly(t, o)
		must(t, j.flush())
		appendMany(t, other, 300)
	}
	last := forget(t, o)
	must(t, j.flush())
	if len(leaks(t, fs, cfg.Dir, canary)) < 2 {
		t.Fatal("it was hardly anywhere: this tests nothing")
	}
	f, err := j.Freeze(1) // a backup holds on to what was
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := j.Scrub(ctx, secrets); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with rows frozen: %v", err)
	}
	must(t, f.Close())
	for range 2 {
		must(t, j.Scrub(t.Context(), secrets))
		if list := leaks(t, fs, cfg.Dir, canary); len(list) > 0 {
			t.Fatalf("it is still in %q", list)
		}
	}
	wantRows(t, j.Group(2), 1, 900)
	appendMany(t, other, 300)
	if v, err := j.Group(1).Get([]byte("s002"), nil); err != nil || string(v) != "gone" {
		t.Fatalf("row %q, %v", v, err)
	}
	must(t, j.Close())
	again := open(t, cfg)
	wantRows(t, again.Group(2), 1, 1200)
	if got := again.Group(1).Applied(); got < last {
		t.Fatalf("the group is at %d; want %d", got, last)
	}
	if list := leaks(t, fs, cfg.Dir, canary); len(list) > 0 {
		t.Fatalf("a restart has brought it back, in %q", list)
	}
	must(t, fs.MkdirAll(fs.PathJoin(cfg.Dir, "log.damaged-1"), 0o755))
	if err := again.Scrub(t.Context(), nil); !errors.Is(err, ErrAside) {
		t.Fatalf("with a log put aside: %v", err)
	}
}

// A replica that was taken off, and one that came by a snapshot in place of its old rows, leave nothing in tables that others share.
func TestScrubReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 7)
		voters := []uint64{replica.ID(1, 2), replica.ID(2, 2), replica.ID(3, 2)}
		for id := uint32(1); id <= 3; id++ {
			must(t, n.nodes[id].j.Create(8, replica.ID(id, 2), voters))
			must(t, n.nodes[id].j.Create(6, replica.ID(id, 3), []uint64{replica.ID(1, 3), replica.ID(2, 3), replica.ID(3, 3)}))
		}
		p := n.leader(7, 1, 2, 3)
		have := func(nodes ...uint32) {
			t.Helper()
			last := p.j.Group(7).Applied()
			for _, id := range nodes {
				n.until("a replica has all", func() bool { return n.nodes[id].j.Group(7).Applied() >= last })
			}
		}
		secretly(t, own(p.j.Group(7)))
		have(1, 2, 3)
		for _, g := range []int{6, 8} { // neighbours in the same tables
			q := n.leader(g, 1, 2, 3)
			n.same(g, write(t, q, g, 30), 1, 2, 3)
		}
		for _, q := range n.nodes {
			must(t, q.j.flush())
		}
		behind := uint32(1)
		if behind == p.id {
			behind = 2
		}
		n.isolate(behind, true)
		p = n.leader(7, []uint32{1, 2, 3}[behind%3], []uint32{1, 2, 3}[(behind+1)%3])
		o := own(p.j.Group(7))
		forget(t, o)
		for _, q := range n.nodes {
			if q.id == behind {
				continue
			}
			must(t, q.j.Scrub(t.Context(), secrets))
			if list := leaks(t, q.disk, "/j", canary); len(list) > 0 {
				t.Fatalf("node %d: it is still in %q", q.id, list)
			}
		}
		if len(leaks(t, n.nodes[behind].disk, "/j", canary)) == 0 {
			t.Fatal("the node that was away has none of it: this tests nothing")
		}
		// It gets a snapshot: the log of the others begins behind it.
		n.isolate(behind, false)
		have(behind)
		q := n.nodes[behind]
		if q.j.Metrics().Installed == 0 {
			t.Fatal("it needed no snapshot: this tests nothing")
		}
		must(t, q.j.Scrub(t.Context(), secrets))
		if list := leaks(t, q.disk, "/j", canary); len(list) > 0 {
			t.Fatalf("behind a snapshot it is still in %q", list)
		}
		n.close()
	})
}

// A replica that is taken off shares tables with those beside it: what is left of it goes, too.
func TestScrubTakenOff(t *testing.T) {
	fs := vfs.NewMem()
	cfg := config(t, fs, -1)
	cfg.Node = 1
	j := open(t, cfg)
	for g := range uint32(3) {
		must(t, j.Create(int(g), replica.ID(1, g+1), []uint64{replica.ID(1, g+1)}))
	}
	o := own(j.Group(1))
	secretly(t, o)
	appendMany(t, own(j.Group(0)), 20)
	appendMany(t, own(j.Group(2)), 20)
	must(t, j.flush())
	must(t, j.Remove(1, replica.ID(1, 2)))
	if len(leaks(t, fs, cfg.Dir, canary)) == 0 {
		t.Fatal("it is gone already: this tests nothing")
	}
	must(t, j.Scrub(t.Context(), nil))
	if list := leaks(t, fs, cfg.Dir, canary); len(list) > 0 {
		t.Fatalf("it is still in %q", list)
	}
	wantRows(t, j.Group(0), 1, 20)
	wantRows(t, j.Group(2), 1, 20)
}

// What a backup has held on to while tables were merged lies in the lowest level beside what it was replaced by: it goes once the backup is over.
func TestScrubHeldBack(t *testing.T) {
	fs := vfs.NewMem()
	cfg := config(t, fs, 3)
	j := open(t, cfg)
	o, other := own(j.Group(1)), own(j.Group(2))
	secretly(t, o)
	appendMany(t, other, 300)
	must(t, j.flush())
	f, err := j.Freeze(1)
	must(t, err)
	forget(t, o)
	must(t, j.flush())
	must(t, j.data.Compact(t.Context(), dataKey(nil, 1, 0, nil), dataKey(nil, 2, 0, nil), false)) // as the store does it by itself
	must(t, f.Close())
	must(t, j.Scrub(t.Context(), secrets))
	if list := leaks(t, fs, cfg.Dir, canary); len(list) > 0 {
		t.Fatalf("it is still in %q", list)
	}
	wantRows(t, j.Group(2), 1, 300)
	if v, err := j.Group(1).Get([]byte("s002"), nil); err != nil || string(v) != "gone" {
		t.Fatalf("row %q, %v", v, err)
	}
}
