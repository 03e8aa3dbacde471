package session

import (
	"testing"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A customer who follows his session from as many connections as he may has not shut out who supervises.
func TestCrowdLeavesRoomForStaff(t *testing.T) {
	env := &Env{Now: 1000, Policy: &Policy{Queues: map[string]bool{"default": true}, DefaultQueue: "default"}}
	var d Decision
	s := Create(env, &Birth{ID: "s_0000000000000001", Tenant: "demo", Queue: "default", Channel: "web", Customer: wire.Author{ID: "alice"}, Epoch: 1}, &d)
	alice := &wire.Principal{Tenant: "demo", Role: wire.RoleCustomer, Sub: "alice"}
	sue := &wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"}
	conns := uint64(0)
	fits := func(who *wire.Principal, verb wire.Verb) bool {
		t.Helper()
		conns++
		c := &wire.Command{ID: 1, Verb: verb, Conn: wire.Conn{Node: 1, ID: conns}, Who: who, Session: s.ID, PB: &wirepb.ClientFrame{}}
		if verb == wire.VerbJoin {
			c.PB.Verb = &wirepb.ClientFrame_Join{Join: &wirepb.Join{As: "monitor"}}
		}
		d.Reset()
		before := len(s.Attached)
		Decide(s, env, c, &d)
		return len(s.Attached) > before
	}
	for i := range maxFrontend {
		if !fits(alice, wire.VerbOpen) {
			t.Fatalf("connection %d of the customer does not fit", i+1)
		}
	}
	if fits(alice, wire.VerbOpen) {
		t.Error("there is no bound")
	}
	if !fits(sue, wire.VerbJoin) {
		t.Error("a supervisor cannot join")
	}
	for len(s.Attached) < maxAttached {
		if !fits(sue, wire.VerbOpen) {
			t.Fatalf("a supervisor does not fit beside %d", len(s.Attached))
		}
	}
	if fits(sue, wire.VerbOpen) || fits(alice, wire.VerbOpen) {
		t.Error("there is no bound at all")
	}
}
