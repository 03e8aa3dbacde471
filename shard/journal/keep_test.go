package journal

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// TestKeptLogIsBounded cuts a follower off and writes much, in few and large turns: the others keep no more of the log for it than they may,
// and when it is back it gets a snapshot. One that is a little behind needs none.
func TestKeptLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 3)
		for id, q := range n.nodes {
			n.stop(id, false, nil)
			q.keep = 512 << 10
			n.start(id)
		}
		p := n.leader(3, 1, 2, 3)
		far := slices.DeleteFunc([]uint32{1, 2, 3}, func(id uint32) bool { return id == p.id })[0]
		q := n.nodes[far]
		big := func(turns int) {
			t.Helper()
			g := p.j.Group(3)
			o := own(g)
			var turn Turn
			for range turns {
				turn.Reset()
				turn.Put([]byte("big"), make([]byte, 64<<10))
				index, err := g.Append(&turn)
				must(t, err)
				must(t, o.wait(index))
			}
		}
		truncate := func() { // it is watch's
			t.Helper()
			must(t, p.j.request(ask{reply: make(chan error, 1), fn: func() error { return errors.Join(p.j.flush(), p.j.truncate(nil)) }}))
		}
		kept := func() int64 { return p.j.log.Stats().Live }
		n.isolate(far, true)
		big(2)
		truncate()
		if _, _, last := p.j.log.Bounds(3); p.j.log.Beyond(3, 1<<30) != 0 || last < 3 {
			t.Fatal("a little was not kept")
		}
		n.isolate(far, false)
		n.until("it has caught up by the log", func() bool { return q.j.Group(3).Applied() == 2 })
		if m := q.j.Metrics(); m.Installed != 0 {
			t.Fatalf("a replica that was a little behind took %d snapshots", m.Installed)
		}
		n.isolate(far, true)
		big(100) // 6.4 MiB, and a hundred entries
		truncate()
		if live := kept(); live > 1<<20 {
			t.Fatalf("%d bytes of the log are kept", live)
		}
		n.isolate(far, false)
		n.until("it has caught up", func() bool { return q.j.Group(3).Applied() == 102 })
		if m := q.j.Metrics(); m.Installed != 1 {
			t.Fatalf("it took %d snapshots", m.Installed)
		}
		n.close()
	})
}
