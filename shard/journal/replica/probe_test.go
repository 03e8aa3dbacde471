package replica

import (
	"math/rand/v2"
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

// TestDeposedAtOnce: who is voted for and hears of a later leader before anybody has asked him what he wants says what he says of a term that is over, and
// no more.
func TestDeposedAtOnce(t *testing.T) {
	c := newTrio(t)
	one, two, three := c.voters[0], c.voters[1], c.voters[2]
	c.run(func(m *pb.Message) bool { return m.GetType() != pb.MsgVote && m.GetType() != pb.MsgVoteResp })
	h := c.hosts[one]
	s, err := h.Status(7)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*pb.Message{
		{Type: new(pb.MsgVoteResp), From: new(two), To: new(one), Term: new(s.Term)},
		{Type: new(pb.MsgVoteResp), From: new(three), To: new(one), Term: new(s.Term)},
		{Type: new(pb.MsgHeartbeat), From: new(two), To: new(one), Term: new(s.Term + 1)},
	} {
		if err := h.Step(Message{7, m}); err != nil {
			t.Fatal(err)
		}
	}
	entries := 0
	for b := (Batch{}); h.Collect(&b); h.Done(&b) {
		for _, m := range b.Send {
			entries += len(m.Raft.GetEntries())
		}
	}
	if entries != 2 {
		t.Errorf("it has said %d times that it leads; both others are to hear of it, or nobody was voted for", entries)
	}
	if s, err = h.Status(7); err != nil || s.Leads || s.Leader != two {
		t.Errorf("it leads, or follows %x: %v", s.Leader, err)
	}
}

// TestProbesOnBadWay: where every third message is lost, and everybody waits for the one follower that is behind it, what is lost is soon sent again.
func TestProbesOnBadWay(t *testing.T) {
	c := newTrio(t)
	one, two := c.voters[0], c.voters[1]
	rng, bad := rand.New(rand.NewPCG(1, 2)), false
	through := func(m *pb.Message) bool {
		away := m.GetTo() == two || m.GetFrom() == two
		return !bad || !away && rng.IntN(3) > 0
	}
	c.run(through)
	bad = true
	const ticks = 1000
	late := uint64(0)
	for range ticks {
		if err := c.hosts[one].Propose(7, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		c.run(through)
		c.tick()
		c.run(through)
		s, err := c.hosts[one].Status(7)
		if err != nil {
			t.Fatal(err)
		}
		late += s.Last - s.Commit
	}
	t.Logf("an entry waits for %.1f ticks", float64(late)/ticks)
	if late > 6*ticks {
		t.Errorf("an entry waits for %.1f ticks until it is decided", float64(late)/ticks)
	}
}
