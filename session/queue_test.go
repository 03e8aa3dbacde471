package session

import (
	"testing"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Who waits in a queue that is there no more does so in its successor, under his ticket and since when he came; who names it is
// sent there as well.
func TestMoved(t *testing.T) {
	p := &Policy{Queues: map[string]bool{"old": true, "other": true}, DefaultQueue: "other"}
	env := &Env{Now: 1000, Policy: p}
	var d Decision
	s := Create(env, &Birth{ID: "s_0000000000000001", Tenant: "demo", Queue: "old", Channel: "web", Customer: wire.Author{ID: "alice"}, Epoch: 1}, &d)
	s.enqueue(env, "old", waiting{since: 700}, &d)
	ticket, head := s.Ticket, s.Head
	env.Now = 2000

	s.Moved(env, &d)
	if s.Queue != "old" || s.Head != head {
		t.Fatalf("it is in %s, and its queue is there", s.Queue)
	}
	env.Policy = &Policy{Queues: map[string]bool{"new": true, "other": true}, DefaultQueue: "other", Moves: map[string]string{"old": "new"}}
	env.ReadOnly = true
	s.Moved(env, &d)
	if s.Queue != "old" {
		t.Fatal("it was moved, and the log takes nothing")
	}
	env.ReadOnly = false
	d.Reset()
	s.Moved(env, &d)
	if s.Queue != "new" || s.Ticket != ticket || s.EnqueuedAt != 700 || s.Phase != Queued || s.Head != head+1 || len(d.Mail) != 0 {
		t.Fatalf("%+v, %d pieces of mail", s, len(d.Mail))
	}
	e := s.tail.last()
	if e.Type != EventQueued || string(e.Body) != `{"queue":"new"}` {
		t.Fatalf("its log says %s %s", e.Type, e.Body)
	}
	s.Moved(env, &d)
	if s.Head != head+1 {
		t.Fatal("it was moved twice")
	}
	s.Queue = "old" // as of a session that was assigned all the while
	s.enqueue(env, "old", waiting{since: 700, humanOnly: true}, &d)
	if s.Queue != "new" || !s.HumanOnly || s.EnqueuedAt != 700 {
		t.Fatalf("%+v", s)
	}
	s.Queue = "lost" // nobody says where it goes
	s.NoGrant(env, &wire.NoGrant{Ticket: s.Ticket, Why: string(wire.NoQueue)}, &d)
	if s.Queue != "other" || s.EnqueuedAt != 700 {
		t.Fatalf("%+v", s)
	}
}

// What goes to a queue by its old name goes where that has gone: a bot that sends its session there, and so into its own queue, hands it to people, as
// it does by the new name.
func TestTransferredByAnOldName(t *testing.T) {
	f := func(own, to string, humanOnly bool) {
		t.Helper()
		env := &Env{Now: 1000, Policy: &Policy{Queues: map[string]bool{"new": true, "other": true}, DefaultQueue: "new", Moves: map[string]string{"old": "new"}}}
		var d Decision
		s := Create(env, &Birth{ID: "s_0000000000000001", Tenant: "demo", Queue: own, Channel: "web", Customer: wire.Author{ID: "alice"}, Epoch: 1}, &d)
		s.enqueue(env, own, waiting{}, &d)
		s.Queue = own // as of a session that was assigned when its queue was taken away
		s.Grant(env, &wire.Grant{Ticket: s.Ticket, Pool: 1, Worker: "bot", Sub: "bot", Kind: wire.OriginBot, Lease: "l"}, &d)
		who := &wire.Principal{Tenant: "demo", Sub: "bot", Worker: "bot", Role: wire.RoleWorker, Kind: wire.OriginBot}
		Decide(s, env, &wire.Command{
			Verb: wire.VerbTransfer, ID: 1, Who: who, Session: s.ID, AE: s.AE,
			PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{Transfer: &wirepb.Transfer{To: &wirepb.Target{Queue: to}}}},
		}, &d)
		if s.Phase != Queued || s.Queue != "new" && s.Queue != "other" || s.HumanOnly != humanOnly {
			t.Errorf("from %s to %s: %s in %s, for people alone %v; want %v", own, to, s.Phase, s.Queue, s.HumanOnly, humanOnly)
		}
	}
	f("new", "new", true)
	f("new", "old", true)
	f("old", "new", true)
	f("old", "old", true)
	f("new", "other", false)
	f("old", "other", false)
}

// A session whose queue is there no more goes by what the one says that took its place, also while somebody has it.
func TestRuleOfASuccessor(t *testing.T) {
	asked := &Rule{AskedTypes: []string{"human"}, ParkMS: 5}
	env := &Env{Now: 1000, Policy: &Policy{Queues: map[string]bool{"new": true}, DefaultQueue: "new", Moves: map[string]string{"old": "new"}, Rules: map[string]*Rule{"new": asked}}}
	var d Decision
	s := Create(env, &Birth{ID: "s_0000000000000001", Tenant: "demo", Queue: "old", Channel: "web", Customer: wire.Author{ID: "alice"}, Epoch: 1}, &d)
	s.enqueue(env, "old", waiting{}, &d)
	s.Queue = "old"
	s.Grant(env, &wire.Grant{Ticket: s.Ticket, Pool: 1, Worker: "bot", Sub: "bot", Kind: wire.OriginBot, Lease: "l"}, &d)
	if at := s.ParkAt(env.Policy); at != 1005 {
		t.Errorf("it is let go at %d; want 1005", at)
	}
	Decide(s, env, &wire.Command{
		Verb: wire.VerbSend, ID: 1, Who: &wire.Principal{Tenant: "demo", Sub: "alice", Role: wire.RoleCustomer}, Session: s.ID, Type: "human", Body: []byte("{}"),
	}, &d)
	if s.Phase != Queued || !s.HumanOnly {
		t.Errorf("its customer asks for people, and it is %s, for people alone %v", s.Phase, s.HumanOnly)
	}
}
