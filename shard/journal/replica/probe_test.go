package replica

import (
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
)

// TestProbes: a follower that answers heartbeats and takes no entries is sent them rarely, and few; when it takes them again it soon has all.
func TestProbes(t *testing.T) {
	c := newTrio(t)
	one, three := c.voters[0], c.voters[2]
	full, sent, bytes := false, 0, 0
	through := func(m *pb.Message) bool {
		if m.GetTo() != three || len(m.GetEntries()) == 0 {
			return true
		}
		sent++
		for _, e := range m.GetEntries() {
			bytes += len(e.GetData())
		}
		return !full
	}
	c.run(through)
	if c.leads[one] == 0 {
		t.Fatal("nobody leads")
	}
	const size, many, ticks = 4 << 10, 100, 1000
	propose := func(n int) {
		t.Helper()
		for range n {
			if err := c.hosts[one].Propose(7, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			c.run(through)
		}
	}
	full = true
	propose(many)
	sent, bytes = 0, 0
	for range ticks {
		c.tick()
		c.run(through)
	}
	t.Logf("in %d ticks it was sent entries %d times, %d KiB", ticks, sent, bytes>>10)
	if sent < ticks/probeMost || sent > ticks/probeMost+10 || bytes > (3*many+sent)*size {
		t.Errorf("in %d ticks it was sent entries %d times, %d KiB; they are %d KiB", ticks, sent, bytes>>10, many*size>>10)
	}
	full = false
	for n := 0; ; n++ {
		s, err := c.hosts[one].Status(7)
		if err != nil {
			t.Fatal(err)
		}
		if s.Followers[three].Match == s.Last {
			break
		}
		if n > probeMost {
			t.Fatalf("after %d ticks it has %d of %d", n, s.Followers[three].Match, s.Last)
		}
		c.tick()
		c.run(through)
	}
	sent = 0
	propose(many)
	if sent != many {
		t.Errorf("%d entries came in %d messages to a follower that takes them", many, sent)
	}
}
