package node_test

import (
	"testing"

	"switchboard/wire"
)

// Who waits for his last worker does so over a restart of the node, until that one could be back: whoever else is there first does not have him.
func TestHoldOverARestart(t *testing.T) {
	dir := t.TempDir()
	doc := routed("version: 1\nqueues:\n  - {name: default, sticky_ms: 600000}\n")
	n := start(t, dir, doc)
	defer func() { stop(t, n) }()
	ann, alice := login(t, n, workerOf("ann", wire.OriginHuman)), login(t, n, customerOf("alice"))
	ann.subscribe(obj{"slots": 1})
	id, seq := waiting(alice, obj{})
	as := ann.takes()
	ann.ask("reply", obj{"session": id, "ae": as["ae"], "ack": seq, "body": text("done")})
	ann.ask("presence", obj{"state": "draining"})
	ann.ask("release", obj{"session": id, "ae": as["ae"], "outcome": "solved"})
	alice.ask("send", obj{"session": id, "body": text("one more thing")})
	stop(t, n)
	n = start(t, dir, doc)
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{"slots": 5})
	other, _ := waiting(login(t, n, customerOf("ben")), obj{})
	if got := bob.takes(); got["session"] != other {
		t.Fatalf("bob has %v", got)
	}
	bob.nothing("offer")
	ann = login(t, n, workerOf("ann", wire.OriginHuman))
	ann.subscribe(obj{"slots": 1})
	if got := ann.takes(); got["session"] != id {
		t.Fatalf("ann has %v", got)
	}
}
