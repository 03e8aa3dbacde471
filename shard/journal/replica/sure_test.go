package replica

import (
	"bytes"
	"testing"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
)

// A leader is sure from when it asked, whenever the answer comes, in its own term only, and of a majority.
func TestSure(t *testing.T) {
	now := time.Duration(1000)
	voters := []uint64{ID(1, 1), ID(2, 1), ID(3, 1)}
	h := NewHost(Config{Clock: func() time.Duration { return now }})
	if err := h.Add(Bootstrap(7, voters[0], voters)); err != nil {
		t.Fatal(err)
	}
	var sent []*pb.Message
	run := func() (sure time.Duration) {
		t.Helper()
		sure, sent = -2, sent[:0]
		for b := (Batch{}); h.Collect(&b); h.Done(&b) {
			for _, m := range b.Send {
				sent = append(sent, m.Raft)
			}
		}
		for _, s := range h.Renewed(nil) {
			sure = s.At
		}
		return sure
	}
	answer := func(m *pb.Message, kind pb.MessageType, at uint64) {
		t.Helper()
		err := h.Step(Message{7, &pb.Message{Type: kind.Enum(), To: m.From, From: m.To, Term: m.Term, Index: new(at), Context: m.GetContext()}})
		if err != nil {
			t.Fatal(err)
		}
	}
	find := func(kind pb.MessageType, to uint64) *pb.Message {
		t.Helper()
		for _, m := range sent {
			if m.GetType() == kind && m.GetTo() == to {
				return m
			}
		}
		t.Fatalf("no %v for %x", kind, to)
		return nil
	}
	if err := h.groups[7].rn.Campaign(); err != nil {
		t.Fatal(err)
	}
	h.mark(h.groups[7])
	run()
	pre := find(pb.MsgPreVote, voters[1])
	answer(pre, pb.MsgPreVoteResp, 0)
	run()
	vote := find(pb.MsgVote, voters[1])
	now = 1500
	answer(vote, pb.MsgVoteResp, 0)
	if at := run(); at >= 0 {
		t.Fatalf("sure since %d, and nobody has heard of it", at)
	}
	first := find(pb.MsgApp, voters[1])
	now = 2000
	answer(first, pb.MsgAppResp, 2)
	if at := run(); at != 1500 {
		t.Fatalf("sure since %d; it began to lead at 1500", at)
	}
	now = 3000
	h.Tick()
	run()
	one, other := find(pb.MsgHeartbeat, voters[1]), find(pb.MsgHeartbeat, voters[2])
	now = 4000
	h.Tick()
	run()
	late := find(pb.MsgHeartbeat, voters[2])
	now = 9000
	answer(other, pb.MsgHeartbeatResp, 0)
	if at := run(); at != 3000 {
		t.Fatalf("sure since %d; it asked at 3000", at)
	}
	answer(late, pb.MsgHeartbeatResp, 0)
	answer(one, pb.MsgHeartbeatResp, 0) // behind a later one of another: one beside it is a majority
	if at := run(); at != 4000 {
		t.Fatalf("sure since %d; it asked at 4000", at)
	}
	answer(&pb.Message{From: late.From, To: late.To, Term: late.Term, Context: stamped(late, 9500, true).GetContext()}, pb.MsgHeartbeatResp, 0)
	if at := run(); at > 4000 {
		t.Fatalf("sure since %d, which is still to come", at)
	}
	if err := h.Transfer(7, voters[1]); err != nil {
		t.Fatal(err)
	}
	if at := run(); at >= 0 {
		t.Fatalf("sure since %d, and it hands over", at)
	}
}

func FuzzStamp(f *testing.F) {
	f.Add([]byte(nil), int64(0), true)
	f.Add([]byte("sssssssss"), int64(-1), false)
	f.Fuzz(func(t *testing.T, ctx []byte, at int64, firm bool) {
		m := stamped(&pb.Message{Context: ctx}, time.Duration(at), firm)
		if back, when, was := unstamp(m.GetContext()); !bytes.Equal(back, ctx) || when != time.Duration(at) || was != firm {
			t.Fatalf("%q at %d comes back as %q at %d, firm %v and %v", ctx, at, back, when, firm, was)
		}
		if rest, _, _ := unstamp(ctx); !bytes.HasPrefix(ctx, rest) {
			t.Fatalf("%q is left of %q", rest, ctx)
		}
	})
}

// What a request for a vote says of its hand-over is not where versions before look for why they are asked.
func TestVotesOfHandOvers(t *testing.T) {
	m := byHandOver(&pb.Message{Type: pb.MsgVote.Enum(), Context: []byte(handsOver)}, 7)
	if string(m.GetContext()) != handsOver || handOverOf(m) != 7 {
		t.Errorf("%q, made at %d", m.GetContext(), handOverOf(m))
	}
	if at := handOverOf(&pb.Message{}); at >= 0 {
		t.Errorf("one of a version before was made at %d", at)
	}
}
