package session

import (
	"testing"

	"switchboard/wire"
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
