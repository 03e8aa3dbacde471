package replica

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// trio is three hosts with one group, whose messages the test delivers.
type trio struct {
	t      *testing.T
	now    time.Duration
	hosts  map[uint64]*Host
	sent   []Message
	sure   map[uint64]time.Duration
	leads  map[uint64]uint64
	voters []uint64
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	c := &trio{t: t, hosts: map[uint64]*Host{}, sure: map[uint64]time.Duration{}, leads: map[uint64]uint64{}, voters: []uint64{ID(1, 1), ID(2, 1), ID(3, 1)}}
	for _, id := range c.voters {
		h := NewHost(Config{Clock: func() time.Duration { return c.now }})
		if err := h.Add(Bootstrap(7, id, c.voters)); err != nil {
			t.Fatal(err)
		}
		c.hosts[id] = h
	}
	l := c.hosts[c.voters[0]]
	if err := l.groups[7].rn.Campaign(); err != nil {
		t.Fatal(err)
	}
	l.mark(l.groups[7])
	return c
}

// run does what the hosts want and delivers what to lets through until nothing is on its way.
func (c *trio) run(through func(*pb.Message) bool) {
	c.t.Helper()
	for again := true; again; {
		again = false
		for _, id := range c.voters {
			h := c.hosts[id]
			for b := (Batch{}); h.Collect(&b); h.Done(&b) {
				again = true
				c.sent = append(c.sent, b.Send...)
				for _, e := range b.Events {
					c.leads[id] = 0
					if e.Kind == Leads {
						c.leads[id] = e.Term
					}
				}
			}
			for _, s := range h.Renewed(nil) {
				c.sure[id] = s.At
			}
		}
		list := c.sent
		c.sent = nil
		for _, m := range list {
			if !through(m.Raft) {
				continue
			}
			if err := c.hosts[m.To()].Step(m); err != nil && !errors.Is(err, raft.ErrProposalDropped) {
				c.t.Fatal(err)
			}
		}
	}
}

// tick moves all clocks but that of those who are away.
func (c *trio) tick(away ...uint64) {
	c.now += 100
	for _, id := range c.voters {
		if !slices.Contains(away, id) {
			c.hosts[id].Tick()
		}
	}
}

// A replica that is asked to lead and stands still may act on that long after the hand-over has come to nothing: nobody votes for it then while the leader is
// sure. What it is asked next counts again.
func TestLateHandOver(t *testing.T) {
	c := newTrio(t)
	one, two := c.voters[0], c.voters[1]
	all := func(*pb.Message) bool { return true }
	c.run(all)
	if c.leads[one] == 0 {
		t.Fatal("nobody leads")
	}
	var late *pb.Message
	still := func(m *pb.Message) bool { // two stands still
		if m.GetType() == pb.MsgTimeoutNow {
			late = m
		}
		return m.GetTo() != two && m.GetFrom() != two
	}
	ask := func(through func(*pb.Message) bool) {
		t.Helper()
		late = nil
		if err := c.hosts[one].Transfer(7, two); err != nil {
			t.Fatal(err)
		}
		if c.run(through); c.sure[one] >= 0 {
			t.Fatal("it hands over, and is sure")
		}
	}
	rest := func(through func(*pb.Message) bool, away ...uint64) {
		t.Helper()
		for range 12 {
			c.tick(away...)
			c.run(through)
		}
		if at := c.sure[one]; at != c.now {
			t.Fatalf("the leader is sure since %d at %d; its hand-over came to nothing", at, c.now)
		}
	}
	step := func(m *pb.Message) {
		t.Helper()
		if err := c.hosts[m.GetTo()].Step(Message{7, m}); err != nil {
			t.Fatal(err)
		}
		c.run(func(m *pb.Message) bool { return m.GetTo() != one && m.GetFrom() != one }) // the leader hears nothing of it
	}
	ask(still)
	if late == nil {
		t.Fatal("nobody was asked to lead")
	}
	rest(still, two)
	first := late

	// Whom it was not told to hears that it has come to nothing, and drops the hand-over before it asks for a vote.
	c.tick()
	c.run(all)
	step(first)
	if term := c.hosts[two].groups[7].rn.BasicStatus().HardState.GetTerm(); term != c.leads[one] {
		t.Fatalf("it asks for votes in term %d", term)
	}

	// One that stands still hears nothing, and asks for votes: those who have heard give none.
	ask(still)
	if late == nil {
		t.Fatal("nobody was asked to lead a second time")
	}
	rest(still, two)
	step(late)
	if c.leads[two] != 0 {
		t.Fatalf("%x leads in term %d, and %x is sure since %d at %d", two, c.leads[two], one, c.sure[one], c.now)
	}
	for range 40 {
		c.tick()
		c.run(all)
	}
	if n := c.leaders(); n != 1 {
		t.Fatalf("%d lead after a while", n)
	}
}

// Whom a leader asks a second time to lead has the votes of those who have heard that the first time came to nothing.
func TestHandOverAgain(t *testing.T) {
	c := newTrio(t)
	one, two := c.voters[0], c.voters[1]
	all := func(*pb.Message) bool { return true }
	c.run(all)
	for i := range 2 {
		c.now++
		if err := c.hosts[one].Transfer(7, two); err != nil {
			t.Fatal(err)
		}
		c.run(func(m *pb.Message) bool {
			if i == 0 {
				return m.GetType() != pb.MsgTimeoutNow
			}
			return m.GetTo() != one || m.GetType() != pb.MsgVote // it needs that of the third
		})
		if i == 0 {
			for range 12 {
				c.tick()
				c.run(func(m *pb.Message) bool { return m.GetType() != pb.MsgTimeoutNow })
			}
		}
	}
	if c.leads[two] == 0 {
		t.Fatal("it does not lead")
	}
}

func (c *trio) leaders() (n int) {
	for _, term := range c.leads {
		if term != 0 {
			n++
		}
	}
	return n
}
