package node_test

import (
	"testing"

	"switchboard/node"
	"switchboard/wire"
)

// [SW-5.9] What a person is still busy with after a release, or after his customer has closed the session, outlives the pool, its owner and the node; until
// he says that he is done, and then for good.
func TestWrapUpOutlivesThePool(t *testing.T) {
	hour := func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}}, WrapUpMS: 3_600_000}}
	}
	for name, end := range map[string]func(*testing.T, *node.Node, string) *node.Node{
		"closed":  func(t *testing.T, n *node.Node, _ string) *node.Node { again(t, n, n.Reopen); return n },
		"dropped": func(t *testing.T, n *node.Node, _ string) *node.Node { again(t, n, n.Crash); return n },
		"restarted": func(t *testing.T, n *node.Node, dir string) *node.Node {
			stop(t, n)
			return start(t, dir, hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			n := start(t, dir, hour)
			defer func() { stop(t, n) }()
			bob := login(t, n, workerOf("bob", wire.OriginHuman))
			lease := bob.subscribe(obj{"slots": 2})["lease"]
			begin := func() {
				t.Helper()
				before := n
				if n = end(t, n, dir); n == before {
					return // his edge tells the pool
				}
				bob = login(t, n, workerOf("bob", wire.OriginHuman))
				if r := bob.subscribe(obj{"slots": 2, "lease": lease}); r["lease"] != lease {
					t.Fatalf("the lease was %v, and is %v", lease, r)
				}
			}
			var had []obj
			for _, sub := range []string{"alice", "ben"} {
				c := login(t, n, customerOf(sub))
				id, seq := waiting(c, obj{})
				as := bob.takes()
				bob.ask("reply", obj{"session": id, "ae": as["ae"], "ack": seq, "body": text("done")}) // otherwise it is queued again
				if had = append(had, obj{"session": id, "ae": as["ae"], "done": true}); sub == "ben" {
					c.ask("close", obj{"session": id})
					bob.push("revoked")
				} else {
					bob.ask("release", obj{"session": id, "ae": as["ae"], "outcome": "solved"})
				}
			}
			begin()
			id, _ := waiting(login(t, n, customerOf("cid")), obj{})
			bob.refused("no_session", "wrapup", obj{"session": id, "ae": 1, "done": true}) // the pool has begun: it knows
			bob.nothing("offer")
			bob.ask("wrapup", had[1])
			if got := bob.takes(); got["session"] != id {
				t.Fatalf("assigned %v", got)
			}
			// The one that has ended does not come back, the other has not ended: what comes waits.
			begin()
			bob.refused("no_session", "wrapup", had[1])
			next, _ := waiting(login(t, n, customerOf("dan")), obj{})
			bob.nothing("offer")
			bob.ask("wrapup", had[0])
			if got := bob.takes(); got["session"] != next {
				t.Fatalf("assigned %v", got)
			}
		})
	}
}
