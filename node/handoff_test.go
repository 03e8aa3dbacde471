package node_test

import (
	"testing"

	"switchboard/wire"
)

// A bot that fails twice in a row hands over by itself, at once; the human's first frame holds what was said and what was found
// out. Another tenant document changes the rule while sessions go on, and a killed node counts on where it was.
func TestHandoff(t *testing.T) {
	dir := t.TempDir()
	doc := func(rule string) string {
		return "version: 1\nqueues:\n  - name: default\n    handoff: " + rule + "\n"
	}
	n := start(t, dir, routed(doc(`{failed_turns: 2, when: task.mood == 'angry'}`)))
	bot, bob := login(t, n, workerOf("bot", wire.OriginBot)), login(t, n, workerOf("bob", wire.OriginHuman))
	bot.subscribe(obj{"slots": 8})
	bob.subscribe(obj{"slots": 8})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("I want it back")})
	ae := bot.push("assigned")["ae"]
	bot.ask("context", obj{"session": id, "ae": ae, "if_v": 0, "patch": obj{"order": 47, "summary": "wants a refund"}})
	bot.ask("reply", obj{"session": id, "ae": ae, "type": "fallback", "body": text("what?")})
	bot.ask("reply", obj{"session": id, "ae": ae, "type": "fallback", "body": text("pardon?")})
	if r := bot.push("revoked"); r["reason"] != "transfer" {
		t.Fatalf("%v", r)
	}
	bob.ask("accept", obj{"offer": bob.push("offer")["offer"]})
	got := bob.push("assigned")
	c := got["context"].(obj)["doc"].(obj)
	why := ""
	for _, e := range got["tail"].([]any) {
		if e := e.(obj); e["type"] == "session.transferred" {
			why, _ = e["body"].(obj)["why"].(string)
		}
	}
	if c["summary"] != "wants a refund" || why != "failed_turns" || got["reason"] != "transfer" {
		t.Fatalf("%v", got)
	}

	e := login(t, n, customerOf("eve"))
	second := e.open(obj{})
	e.ask("send", obj{"session": second, "body": text("hello")})
	ae = bot.push("assigned")["ae"]
	bot.ask("attributes", obj{"session": second, "ae": ae, "if_v": 0, "patch": obj{"mood": "angry"}})
	if o := bob.push("offer"); o["session"] != second {
		t.Fatalf("%v", o)
	}
	stop(t, n)

	n = start(t, dir, routed(doc(`{failed_turns: 2}`)))
	defer stop(t, n)
	bot = login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"slots": 8})
	f := login(t, n, customerOf("fay"))
	third := f.open(obj{})
	f.ask("send", obj{"session": third, "body": text("hello")})
	ae = bot.push("assigned")["ae"]
	bot.ask("reply", obj{"session": third, "ae": ae, "type": "fallback", "body": text("what?")})
	supervisor(t, n).applied(0, doc(`{failed_turns: 3, failed_types: [fallback, sorry]}`))
	bot.ask("reply", obj{"session": third, "ae": ae, "type": "sorry", "body": text("sorry?")})
	bot.ask("reply", obj{"session": third, "ae": ae, "type": "sorry", "body": text("sorry??")})
	if r := bot.push("revoked"); r["session"] != third {
		t.Fatalf("%v", r)
	}
}

// park_ms: who was answered and is silent is let go, his worker has the slot for somebody else, and gets him back when he writes.
func TestPark(t *testing.T) {
	n := start(t, t.TempDir(), routed("version: 1\nqueues:\n  - {name: default, park_ms: 300, sticky_ms: 60000}\n"))
	defer stop(t, n)
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{"slots": 1})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("hi")})
	bob.ask("accept", obj{"offer": bob.push("offer")["offer"]})
	got := bob.push("assigned")
	bob.ask("reply", obj{"session": id, "ae": got["ae"], "ack": bob.said("delivery")["seq"], "body": text("hello")})
	if r := bob.push("revoked"); r["reason"] != "parked" || r["session"] != id {
		t.Fatalf("%v", r)
	}
	if list := happened(t, n, id, "session.parked"); len(list) != 1 { // [SW-4.9]
		t.Fatalf("session.parked: %v", list)
	}
	e := login(t, n, customerOf("eve"))
	other := e.open(obj{})
	e.ask("send", obj{"session": other, "body": text("me too")})
	if o := bob.push("offer"); o["session"] != other { // the slot is free
		t.Fatalf("%v", o)
	} else {
		bob.ask("decline", obj{"offer": o["offer"]})
	}
	a.ask("send", obj{"session": id, "body": text("one more thing")})
	if o := bob.push("offer"); o["session"] != id {
		t.Fatalf("%v", o)
	}
}
