package shard

import (
	"testing"
	"time"

	"switchboard/internal/mailbox"
	"switchboard/session"
	"switchboard/wire"
)

// TestEraseBehindSilentHook: of a call that was on its way nothing is heard, and its session is being erased. When the call is forgotten, behind a turn, the erasure goes
// on in the next turn, and that begins at once.
func TestEraseBehindSilentHook(t *testing.T) {
	s := &Shard{inbox: mailbox.New[wire.Envelope](8, 8), customers: map[customerID]*customer{}, writable: true, now: 1}
	s.cfg.Hook = func(*HookCall, func(int, string, time.Duration, bool)) bool { return true }
	cu := &customer{id: customerID{"demo", "ann"}, state: &session.Customer{}, erasing: &erasing{reading: true}}
	s.customers[cu.id] = cu
	x := &hookTask{id: hookID{"s1", 1}, of: hookKey{"demo", "crm"}, attempt: 1}
	s.hooks.put(x, 1)
	s.callDue()
	if x.place != 0 || !s.hooks.erase("s1", cu) {
		t.Fatal("it is not on its way")
	}
	woken := func() bool {
		select {
		case <-s.inbox.Wake():
			return true
		default:
			return false
		}
	}
	s.now = x.at - 1
	if s.callDue(); woken() || len(s.hooks.all) != 1 {
		t.Fatal("it is forgotten too early")
	}
	s.now = x.at
	if s.callDue(); len(s.hooks.all) != 0 || !woken() {
		t.Fatal("nothing lets the erasure go on")
	}
}
