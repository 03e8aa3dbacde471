package shard

import (
	"testing"

	"switchboard/broker/routes"
	"switchboard/session"
)

// TestHookOfASuccessor: a pool has moved who waits in a queue that was taken away, and tells him the last step of the new one, before his session has noted
// where he waits: the hook of that step is called all the same.
func TestHookOfASuccessor(t *testing.T) {
	m := &merchant{
		Session: session.Policy{Queues: map[string]bool{"new": true}, Moves: map[string]string{"old": "new"}},
		hooks:   &routes.Hooks{Steps: []routes.HookStep{{Queue: "new", Step: "nobody", Hook: "desk"}}},
	}
	f := func(queue, step, want string) {
		t.Helper()
		if got := m.hookOf(queue, step); got != want {
			t.Errorf("the step %s of %s calls %q; want %q", step, queue, got, want)
		}
	}
	f("new", "nobody", "desk")
	f("old", "nobody", "desk")
	f("other", "nobody", "")
	f("old", "people", "")
}
