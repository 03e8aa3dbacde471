package replica

import (
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
)

// TestSnapshotsThatDoNotArrive: a follower that needs a snapshot and takes none is sent one rarely; another leader begins anew, and so does one that has arrived.
func TestSnapshotsThatDoNotArrive(t *testing.T) {
	c := newTrio(t)
	one, three := c.voters[0], c.voters[2]
	l := c.hosts[one]
	away, shots, failed := true, 0, 0
	through := func(m *pb.Message) bool {
		if m.GetType() == pb.MsgSnap {
			shots++
			failed = l.Snapshot(7, three, false)
			return false
		}
		return m.GetTo() != three || !away || len(m.GetEntries()) == 0
	}
	c.run(through)
	for range 10 {
		if err := l.Propose(7, []byte("a turn")); err != nil {
			t.Fatal(err)
		}
		c.run(through)
	}
	s, err := l.Status(7)
	if err != nil {
		t.Fatal(err)
	}
	l.Compacted(7, s.Applied)
	away = false
	const ticks = 1000
	for range ticks {
		c.tick()
		c.run(through)
	}
	t.Logf("in %d ticks it was sent %d snapshots", ticks, shots)
	if shots < ticks/(shotMost+2) || shots > ticks/shotMost+8 {
		t.Errorf("in %d ticks it was sent %d snapshots", ticks, shots)
	}
	if failed != shots {
		t.Errorf("%d have failed in a row; want %d", failed, shots)
	}
	if l.Snapshot(7, three, true); len(l.groups[7].shots) != 0 {
		t.Errorf("one has arrived, and %v is remembered", l.groups[7].shots)
	}
	if n := c.hosts[c.voters[1]].Snapshot(7, three, false); n != 0 {
		t.Errorf("who does not lead counts %d", n)
	}
}
