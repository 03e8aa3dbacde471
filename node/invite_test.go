package node_test

import (
	"testing"

	"switchboard/edge/token"
	"switchboard/wire"
)

// [SW-5a.1] A colleague is consulted: he is asked, joins, reads the whole conversation, talks with the owner beside the customer's
// back, then takes over without being asked again. Who is not there is said to be away; who was a guest sees nothing later.
func TestInvite(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	ann, ben, cyd := login(t, n, workerOf("ann", wire.OriginHuman)), login(t, n, workerOf("ben", wire.OriginHuman)), login(t, n, workerOf("cyd", wire.OriginHuman))
	ann.subscribe(obj{"slots": 4})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("where is it?")})
	ann.ask("accept", obj{"offer": ann.push("offer")["offer"]})
	ae := ann.push("assigned")["ae"]
	ben.subscribe(obj{"slots": 1})
	ben.ask("presence", obj{"state": "away"})
	cyd.subscribe(obj{"slots": 1})

	ben.refused("no_session", "join", obj{"session": id, "as": "consult"})
	ben.refused("no_session", "invite", obj{"session": id, "worker": "cyd", "as": "consult"})
	a.refused("forbidden", "invite", obj{"session": id, "worker": "ben", "as": "consult"})
	ann.refused("stale_assignment", "invite", obj{"session": id, "ae": 99, "worker": "ben", "as": "consult"})
	ann.refused("bad_request", "invite", obj{"session": id, "ae": ae, "worker": "b e n", "as": "consult"})
	event := func(p *peer, verb, typ string) obj {
		t.Helper()
		for {
			if m := p.push(verb); m["type"] == typ {
				return m["body"].(obj)
			}
		}
	}
	// Somebody who is nowhere.
	ann.ask("invite", obj{"session": id, "ae": ae, "worker": "dan", "as": "consult"})
	if b := event(ann, "delivery", "participant.uninvited"); b["worker"] != "dan" || b["why"] != "away" {
		t.Fatalf("%v", b)
	}
	// Being away keeps offers from him, not colleagues.
	ann.ask("invite", obj{"session": id, "ae": ae, "worker": "ben", "as": "consult", "note": "knows refunds", "key": "i"})
	if r := ann.ask("invite", obj{"session": id, "ae": ae, "worker": "ben", "as": "consult", "note": "knows refunds", "key": "i"}); r["duplicate"] != true {
		t.Fatalf("%v", r)
	}
	if m := ben.push("invited"); m["session"] != id || m["as"] != "consult" || m["by"] != "ann" || m["note"] != "knows refunds" || m["summary"].(obj)["customer"] != "alice" {
		t.Fatalf("%v", m)
	}
	ben.refused("no_session", "history", obj{"session": id})
	ge := ben.ask("join", obj{"session": id})["ge"]
	entries := ben.ask("history", obj{"session": id})["entries"].([]any)
	if bodyText(entries[1].(obj)) != "where is it?" {
		t.Fatalf("%v", entries)
	}
	ben.ask("reply", obj{"session": id, "ge": ge, "body": text("look at the label")})
	if m := ann.said("delivery"); bodyText(m) == "where is it?" { // what she was asked comes first
		if m = ann.said("delivery"); bodyText(m) != "look at the label" || m["visibility"] != "staff" || m["origin"] != "assist" {
			t.Fatalf("%v", m)
		}
	}
	ben.ask("reply", obj{"session": id, "ge": ge, "body": text("I am Ben"), "visibility": "public"})
	if m := a.said("message"); bodyText(m) != "I am Ben" || m["origin"] != "human" {
		t.Fatalf("%v", m)
	}
	// A conference: a third talks along.
	ann.ask("invite", obj{"session": id, "ae": ae, "worker": "cyd", "as": "barge"})
	cyd.push("invited")
	cge := cyd.ask("join", obj{"session": id, "as": "barge"})["ge"]
	cyd.ask("reply", obj{"session": id, "ge": cge, "body": text("and I am Cyd")})
	if m := a.said("message"); bodyText(m) != "and I am Cyd" {
		t.Fatalf("%v", m)
	}
	// Handing over: to one who is away it fails, as ever; to a guest who is ready it is done without an offer.
	ann.ask("transfer", obj{"session": id, "ae": ae, "to": obj{"worker": "ben"}})
	if b := event(ann, "delivery", "session.transfer_failed"); b["why"] != "full" {
		t.Fatalf("%v", b)
	}
	ben.ask("presence", obj{"state": "ready"})
	ann.ask("transfer", obj{"session": id, "ae": ae, "to": obj{"worker": "ben"}})
	got := ben.push("assigned")
	if got["reason"] != "transfer" || len(got["tail"].([]any)) < 10 {
		t.Fatalf("%v", got)
	}
	ben.refused("stale_assignment", "reply", obj{"session": id, "ge": ge, "body": text("as a guest")})
	// [SW-4.9] All of it stands in the log: three were asked, two came, and the customer knows of none of it.
	asked, came := happened(t, n, id, "participant.invited"), happened(t, n, id, "participant.joined")
	if len(asked) != 3 || asked[0]["body"].(obj)["worker"] != "cyd" || len(came) != 2 || num(came[1]["seq"]) != num(ge) || asked[0]["visibility"] != "staff" {
		t.Fatalf("invited %v, joined %v", asked, came)
	}
	ben.ask("reply", obj{"session": id, "ae": got["ae"], "body": text("it comes today")})
	if m := cyd.said("message"); bodyText(m) != "look at the label" && bodyText(m) != "I am Ben" && bodyText(m) != "it comes today" {
		t.Fatalf("%v", m)
	}
	// Cyd hangs up: she is a guest no more, and reads what she has seen, but nothing later.
	_ = cyd.ws.Close()
	for event(ben, "delivery", "participant.left")["id"] != "cyd" {
	}
	a.ask("send", obj{"session": id, "body": text("thank you")})
	cyd = login(t, n, workerOf("cyd", wire.OriginHuman))
	list := cyd.ask("history", obj{"session": id})["entries"].([]any)
	if last := list[len(list)-1].(obj); bodyText(last) == "thank you" {
		t.Fatalf("%v", last)
	}
	// Back to the bots.
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{})
	ben.ask("transfer", obj{"session": id, "ae": got["ae"], "to": obj{"queue": "default", "kind": "bot"}})
	if m := bot.push("assigned"); m["session"] != id {
		t.Fatalf("%v", m)
	}
	sue := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	sue.ask("invite", obj{"session": id, "worker": "ben", "as": "monitor"})
	ben.push("invited")
}
