package node_test

import (
	"testing"

	"switchboard/wire"
)

// A customer who waits and whose app is gone for longer than his queue allows gives up his place; whoever is there, or comes by
// requests alone, keeps it. When he is back he waits anew, and is found.
func TestAbsent(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, routed("version: 1\nqueues:\n  - {name: default, absent_ms: 300}\n"))
	sue := login(t, n, supervisorOf("sue"))
	sue.ask("watch", obj{})
	alice, ben := login(t, n, customerOf("alice")), login(t, n, customerOf("ben"))
	gone, stays := alice.open(obj{}), ben.open(obj{})
	alice.ask("send", obj{"session": gone, "body": text("hello?")})
	ben.ask("send", obj{"session": stays, "body": text("hello?")})
	_ = alice.ws.Close()
	var cursor any
	abandoned := func() {
		t.Helper()
		for {
			if m := sue.push("message"); m["type"] == "session.abandoned" {
				if m["session"] != gone && cursor != nil {
					continue // the node took its time, and so he was absent as well
				}
				if m["session"] != gone || m["body"].(obj)["queue"] != "default" {
					t.Fatalf("%v", m)
				}
				cursor = m["cursor"]
				return
			}
		}
	}
	abandoned()
	list := func() (ids []any) {
		s := sue.ask("stats", obj{"sessions": 10})
		for _, x := range s["sessions"].([]any) {
			ids = append(ids, x.(obj)["session"])
		}
		return ids
	}
	for ids := list(); len(ids) != 1 || ids[0] != stays; ids = list() { // the pool hears of it, and a list is good for a second
	}
	alice = login(t, n, customerOf("alice"))
	if again := alice.open(obj{"tail": 10}); again != gone {
		t.Fatalf("%v", again)
	}
	for s := alice.push("state"); s["state"] != "queued"; s = alice.push("state") {
	}
	// The node ends while he is there, and he does not come again: his time begins anew. Who is back in line is served.
	stop(t, n)
	n = start(t, dir, routed("version: 1\nqueues:\n  - {name: default, absent_ms: 300}\n"))
	defer stop(t, n)
	ben = login(t, n, customerOf("ben"))
	ben.open(obj{})
	sue = login(t, n, supervisorOf("sue"))
	sue.ask("watch", obj{"from": cursor})
	abandoned()
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"slots": 8})
	if a := bot.push("assigned"); a["session"] != stays {
		t.Fatalf("%v", a)
	}
	alice = login(t, n, customerOf("alice"))
	alice.open(obj{})
	if a := bot.push("assigned"); a["session"] != gone || len(a["tail"].([]any)) == 0 {
		t.Fatalf("%v", a)
	}
}
