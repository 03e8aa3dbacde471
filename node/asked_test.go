package node_test

import (
	"testing"

	"switchboard/wire"
)

// A customer asks for people with a button of his app: the bot that has him is silenced at once, the person has everything, and
// whoever begins with the button meets no bot. The second copy of the word changes nothing.
func TestAsked(t *testing.T) {
	n := start(t, t.TempDir(), routed("version: 1\nqueues:\n  - name: default\n    handoff: {asked_types: [human]}\n"))
	defer stop(t, n)
	bot, bob := login(t, n, workerOf("bot", wire.OriginBot)), login(t, n, workerOf("bob", wire.OriginHuman))
	bot.subscribe(obj{"slots": 8})
	bob.subscribe(obj{"slots": 8})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("where is my parcel?")})
	ae := bot.push("assigned")["ae"]
	bot.ask("context", obj{"session": id, "ae": ae, "if_v": 0, "patch": obj{"order": 47}})
	word := obj{"session": id, "key": "k", "type": "human", "body": text("a human, please")}
	seq := a.ask("send", word)["seq"]
	if r := bot.push("revoked"); r["session"] != id || r["reason"] != "transfer" {
		t.Fatalf("%v", r)
	}
	bot.refused("stale_assignment", "reply", obj{"session": id, "ae": ae, "body": text("it is")})
	if again := a.ask("send", word); again["seq"] != seq || again["duplicate"] != true {
		t.Fatalf("%v", again)
	}
	bob.ask("accept", obj{"offer": bob.push("offer")["offer"]})
	got := bob.push("assigned")
	if got["session"] != id || num(got["context"].(obj)["doc"].(obj)["order"]) != 47 || num(got["ae"]) != num(ae)+1 {
		t.Fatalf("%v", got)
	}
	b := login(t, n, customerOf("ben"))
	second := b.open(obj{})
	b.ask("send", obj{"session": second, "type": "human", "body": text("a human")})
	if o := bob.push("offer"); o["session"] != second {
		t.Fatalf("%v", o)
	}
}
