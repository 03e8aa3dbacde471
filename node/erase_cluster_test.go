package node_test

import (
	"fmt"
	"net/http"
	"testing"

	"switchboard/node"
	"switchboard/wire"
)

// copied waits until every shard has a replica on each of the nodes, none behind.
func copied(t *testing.T, at *node.Node, copies int) {
	t.Helper()
	patiently(t, "every shard is on every node", func() bool {
		code, r := web(t, at, opa, "GET", "/v1/admin/cluster", nil, "")
		shards, _ := r["shards"].([]any)
		for _, s := range shards {
			list, _ := s.(obj)["replicas"].([]any)
			if len(list) < copies {
				return false
			}
			for _, x := range list {
				if m := x.(obj); m["learner"] == true || m["answers"] != true || num(m["lag"]) != 0 {
					return false
				}
			}
		}
		return code == http.StatusOK && len(shards) > 0
	})
}

// [SW-7.11] An erasure is erased as soon as a majority has it, and completed only when the files of every node have nothing of the customer any more, also of one
// that was away.
func TestEraseOnEveryNode(t *testing.T) {
	once(t)
	t.Parallel()
	w := newTown(t)
	small := func(c *node.Config) { c.SegmentBytes = 64 << 10 }
	a := w.start("a", small)
	b := w.start("b", small)
	w.start("c", small)
	copied(t, a, 3)
	bot := login(t, b, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 16, "window": 16})
	id := secrets(t, a, bot, "alice")
	secrets(t, a, bot, "bob")
	visitor := login(t, b, customerOf("visitor"))
	visits := visitor.open(obj{"shop": "s2"})
	visitor.ask("send", obj{"session": visits, "type": "text", "body": text(secretOf("alice") + canary + " before she logged in")})
	visitor.ask("identify", obj{"token": mint(t, b, customerOf("alice"))})
	copied(t, a, 3)
	for name, dir := range w.dirs {
		patiently(t, "the words are on node "+name, func() bool { return len(filesWith(t, dir, secretOf("alice"))) > 0 })
	}
	w.stop("c")
	patiently(t, "it is taken", func() bool {
		code, _ := web(t, a, opa, "DELETE", "/v1/customers/alice", nil, "")
		return code == http.StatusAccepted
	})
	erased(t, a, "alice", "erased")
	sue := login(t, b, sueClaims)
	for _, id := range []string{id, visits} {
		clean(t, "history", sue.ask("history", obj{"session": id, "after": 0}))
	}
	patiently(t, "the nodes that are up have nothing of it", func() bool {
		return len(filesWith(t, w.dirs["a"], secretOf("alice")))+len(filesWith(t, w.dirs["b"], secretOf("alice"))) == 0
	})
	if got := erased(t, a, "alice", "erased"); got["state"] != "erased" || len(filesWith(t, w.dirs["c"], secretOf("alice"))) == 0 {
		t.Fatalf("with a node away: %v", got)
	}
	patiently(t, "the erasures are listed with the node that is away", func() bool {
		all, list := unended(t, b)
		if len(list) != 2 || all["away"] == nil || all["ownerless"] != nil {
			return false
		}
		for _, x := range list {
			if m := x.(obj); fmt.Sprint(m["nodes"]) != fmt.Sprint(all["away"]) || m["why"] == nil {
				return false
			}
		}
		return true
	})
	w.start("c", small)
	for _, name := range []string{"alice", "visitor"} {
		erased(t, b, name, "completed")
	}
	for name, dir := range w.dirs {
		if list := filesWith(t, dir, secretOf("alice")); len(list) > 0 {
			t.Errorf("node %s has it in %q", name, list)
		}
		if len(filesWith(t, dir, secretOf("bob"))) == 0 {
			t.Errorf("node %s has nothing of bob", name)
		}
	}
	for _, name := range []string{"c", "b", "a"} {
		w.stop(name)
		if list := filesWith(t, w.dirs[name], secretOf("alice")); len(list) > 0 {
			t.Errorf("stopped, node %s has it in %q", name, fmt.Sprint(list))
		}
	}
}
