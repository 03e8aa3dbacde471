package node_test

import (
	"testing"

	"switchboard/wire"
)

// A queue that is not there: who has sessions may name it again, as it was taken away under him; who has none, and names no other, is told, by a pool that goes on
// and by one that begins, also with a lease that nobody knows. Who serves another queue comes back to a pool that knows him.
func TestQueueThatIsNotThere(t *testing.T) {
	const both, one = "version: 1\nqueues:\n  - {name: default}\n  - {name: left}\n", "version: 1\nqueues:\n  - {name: left}\nmoves: {default: left}\n"
	dir, conf := t.TempDir(), routed(both)
	n := start(t, dir, conf)
	defer func() { stop(t, n) }()
	bob, idle := login(t, n, workerOf("bob", wire.OriginHuman)), login(t, n, workerOf("idle", wire.OriginHuman))
	had := bob.subscribe(obj{"slots": 1})["lease"]
	id, _ := waiting(login(t, n, customerOf("alice")), obj{})
	bob.takes()
	nothing := idle.subscribe(obj{"slots": 1})["lease"]
	supervisor(t, n).applied(0, one)
	back := func() {
		t.Helper()
		for range 2 { // the second time he takes over
			bob = login(t, n, workerOf("bob", wire.OriginHuman))
			r := bob.subscribe(obj{"slots": 1, "lease": had})
			if kept, _ := r["kept"].([]any); r["lease"] != had || len(kept) != 1 || kept[0].(obj)["session"] != id {
				t.Fatalf("bob is back with %v", r)
			}
		}
		idle = login(t, n, workerOf("idle", wire.OriginHuman))
		idle.refused("no_queue", "subscribe", obj{"slots": 1, "queues": []string{"never"}, "lease": nothing})
		idle.refused("no_queue", "subscribe", obj{"slots": 1, "queues": []string{"left", "never"}, "lease": "l_never"})
	}
	back()
	works := login(t, n, workerOf("works", wire.OriginHuman))
	lease := works.subscribe(obj{"slots": 1, "queues": []string{"left"}})["lease"]
	works = login(t, n, workerOf("works", wire.OriginHuman))
	if r := works.subscribe(obj{"slots": 1, "queues": []string{"default", "left"}, "lease": lease}); r["lease"] != lease {
		t.Fatalf("who serves another queue is back with %v", r)
	}
	again(t, n, n.Crash)
	idle.refused("no_queue", "subscribe", obj{"slots": 1, "queues": []string{"left", "never"}, "lease": "l_never"})
	back()
	stop(t, n)
	n = start(t, dir, conf)
	back()
}

// Who watches a queue that a document moves to another goes on to see those who wait there, and may ask for it by either name.
func TestWatchedQueueMoves(t *testing.T) {
	const both, one = "version: 1\nqueues:\n  - {name: default}\n  - {name: left}\n", "version: 1\nqueues:\n  - {name: left}\nmoves: {default: left}\n"
	n := start(t, t.TempDir())
	defer stop(t, n)
	supervisor(t, n).applied(0, both)
	a := login(t, n, customerOf("alice"))
	a.ask("send", obj{"session": a.open(obj{}), "body": text1})
	shows := func(s obj, queue string) bool {
		queues, _ := s["queues"].([]any)
		return len(queues) == 1 && queues[0].(obj)["queue"] == queue && num(queues[0].(obj)["waiting"]) == 1
	}
	sue := login(t, n, supervisorOf("sue"))
	scope := obj{"queue": "default"}
	for s := sue.ask("stats", obj{"scope": scope, "every_ms": 1}); !shows(s, "default"); {
		s = sue.push("stats")
	}
	supervisor(t, n).applied(1, one)
	for !shows(sue.push("stats"), "left") {
	}
	if s := login(t, n, supervisorOf("sam")).ask("stats", obj{"scope": scope}); !shows(s, "left") {
		t.Errorf("asked by its old name: %v", s)
	}
}
