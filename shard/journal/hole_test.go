package journal

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
)

// hole damages the first entries of a group, which the rows have by now: they may be needed no more and be there still.
func (d disk) hole(t *testing.T, group uint16, upTo uint64) {
	t.Helper()
	for index := uint64(2); index <= upTo; index++ {
		found := false
		for _, file := range d.files(t, "log/*.log") {
			b, err := d.fs.UnsafeGetFileDataBuffer(file)
			must(t, err)
			for at := 4096; at+48 < len(b) && !found; at += 8 {
				h := b[at : at+48]
				if found = binary.BigEndian.Uint32(h[12:]) == uint32(at) && binary.BigEndian.Uint64(h[16:]) == index && //nolint:gosec // small
					binary.BigEndian.Uint16(h[40:]) == group && h[42] == 1; found { // an entry, where it says
					d.change(t, file, int64(at), make([]byte, 48))
				}
			}
		}
		if !found {
			t.Fatalf("entry %d of group %d is not in the log", index, group)
		}
	}
}

// TestHoleBelowTheRows is that a log which has lost what the rows have already lost nothing: the journal opens, has all, and goes on.
func TestHoleBelowTheRows(t *testing.T) {
	d := makeDisk(t, false)
	d.hole(t, 0, 3)
	for n := range uint64(3) {
		j := open(t, d.cfg)
		for id := range 2 {
			g := j.Group(id)
			if s := g.State(); s.Mode != OK {
				t.Fatalf("group %d is %+v", id, s)
			}
			wantRows(t, g, 1, d.last+10*n)
			appendMany(t, own(g), 10)
		}
		must(t, j.Close())
	}
}

// TestLeaderWithAHole is such a log of a replica that comes to lead: who is behind gets what it needs all the same.
func TestLeaderWithAHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 7)
		write(t, n.leader(7, 1, 2, 3), 7, 20)
		n.same(7, 20, 1, 2, 3)
		n.stop(1, false, nil)
		last := write(t, n.leader(7, 2, 3), 7, 40)
		n.same(7, last, 2, 3)
		p := n.nodes[3]
		must(t, p.j.flush())
		last = write(t, n.leader(7, 2, 3), 7, 40)
		n.same(7, last, 2, 3)
		n.stop(2, false, nil)
		n.stop(3, false, nil)
		disk{fs: p.disk, cfg: p.cfg}.hole(t, 7, 3)
		n.start(3)
		if s := p.j.Group(7).State(); s.Mode != OK {
			t.Fatalf("it is %+v", s)
		}
		n.start(1)
		if q := n.leader(7, 1, 3); q != p {
			t.Fatalf("node %d leads, who has less", q.id)
		}
		n.same(7, last, 1, 3)
		last = write(t, p, 7, 10)
		n.start(2)
		n.same(7, last, 1, 2, 3)
		n.close()
	})
}
