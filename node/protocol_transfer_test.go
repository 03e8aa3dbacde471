package node_test

import (
	"testing"

	"switchboard/node"
	"switchboard/wire"
)

// failed waits until the session has n transfers that failed, and returns the latest.
func failed(t testing.TB, nd *node.Node, id string, n int) obj {
	t.Helper()
	for {
		if list := happened(t, nd, id, "session.transfer_failed"); len(list) >= n {
			if len(list) > n {
				t.Fatalf("%d transfers failed: %v", len(list), list)
			}
			return list[0]["body"].(obj)
		}
	}
}

// [SW-5.8] A transfer to a worker that comes to nothing leaves the source what it had, and says why.
func TestTransferFails(t *testing.T) {
	n := start(t, t.TempDir(), shortly)
	defer stop(t, n)
	bot, bob := login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, workerOf("bob", wire.OriginHuman))
	bot.subscribe(obj{"slots": 2})
	a := login(t, n, customerOf("alice"))
	id, seq := waiting(a, obj{})
	bot.said("delivery")
	to := func(worker string) obj { return obj{"session": id, "ae": 1, "to": obj{"worker": worker}} }
	f := func(n0 int, want, target string) {
		t.Helper()
		if b := failed(t, n, id, n0); b["why"] != want || (target == "") != (b["target"] == nil) {
			t.Fatalf("transfer %d failed with %v; want %s", n0, b, want)
		}
	}
	// Nobody there, or away: at once, as one who is full.
	bot.ask("transfer", to("bob"))
	f(1, "full", "away")
	bob.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	bob.ask("presence", obj{"state": "away"})
	bot.ask("transfer", to("bob"))
	f(2, "full", "away")
	// Full.
	bob.ask("presence", obj{"state": "ready"})
	idb, _ := waiting(login(t, n, customerOf("ben")), obj{"queue": "refunds"})
	as := bob.takes()
	bot.ask("transfer", to("bob"))
	f(3, "full", "")
	bob.ask("close", obj{"session": idb, "ae": as["ae"]})
	// Declined. Only one may be pending, and what the owner does meanwhile is its own.
	bot.ask("transfer", to("bob"))
	bot.refused("bad_request", "transfer", to("bob"))
	bot.ask("reply", obj{"session": id, "ae": 1, "body": "one moment"})
	of := bob.push("offer")
	if of["session"] != id {
		t.Fatalf("offer %v", of)
	}
	bob.ask("decline", obj{"offer": of["offer"]})
	f(4, "declined", "")
	// Expired: the target is away then.
	bot.ask("transfer", to("bob"))
	if e := bob.push("offer_ended"); e["reason"] != "expired" {
		t.Fatalf("offer_ended %v", e)
	}
	f(5, "expired", "")
	bob.push("presence")
	// Bad requests.
	for _, bad := range []obj{{}, {"queue": "refunds", "worker": "bob"}, {"worker": "faq"}} {
		bot.refused("bad_request", "transfer", obj{"session": id, "ae": 1, "to": bad})
	}
	// Through all of that the source has owned the session.
	bot.ask("reply", obj{"session": id, "ae": 1, "ack": seq, "body": "still me"})
	// Closed.
	bob.ask("presence", obj{"state": "ready"})
	bot.ask("transfer", to("bob"))
	of = bob.push("offer")
	a.ask("close", obj{"session": id})
	if e := bob.push("offer_ended"); e["offer"] != of["offer"] || e["reason"] != "rescinded" {
		t.Fatalf("offer_ended %v", e)
	}
	f(6, "closed", "")
	if r := bot.push("revoked"); r["reason"] != "closed" || r["session"] != id {
		t.Fatalf("revoked %v", r)
	}
}

// [SW-5.8] A source that is lost: its offer is rescinded and its session queued again, once its grace is over; until then the
// transfer goes on.
func TestTransferSourceLost(t *testing.T) {
	n := start(t, t.TempDir(), shortly)
	defer stop(t, n)
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"default"}, "slots": 1})
	a := login(t, n, customerOf("alice"))
	id, _ := waiting(a, obj{})
	bot.push("assigned")
	// The target's word comes inside the grace.
	bot.ask("transfer", obj{"session": id, "ae": 1, "to": obj{"worker": "bob"}, "note": "n"})
	of := bob.push("offer")
	_ = bot.ws.Close()
	if r := bob.ask("accept", obj{"offer": of["offer"]}); num(r["ae"]) != 2 {
		t.Fatalf("accept %v", r)
	}
	if as := bob.push("assigned"); as["reason"] != "transfer" {
		t.Fatalf("assigned %v", as)
	}
	// And after it: in the queue refunds a target may think for longer than the grace lasts.
	bot = login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"default"}, "slots": 1})
	bob.ask("close", obj{"session": id, "ae": 2})
	idb, _ := waiting(login(t, n, customerOf("ben")), obj{"queue": "refunds"})
	if as := bob.takes(); as["session"] != idb {
		t.Fatalf("assigned %v", as)
	}
	ann := login(t, n, workerOf("ann", wire.OriginHuman))
	ann.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	bob.ask("transfer", obj{"session": idb, "ae": 1, "to": obj{"worker": "ann"}})
	of = ann.push("offer")
	_ = bob.ws.Close()
	if e := ann.push("offer_ended"); e["offer"] != of["offer"] || e["reason"] != "rescinded" {
		t.Fatalf("offer_ended %v", e)
	}
	if b := failed(t, n, idb, 1); b["why"] != "source_lost" {
		t.Fatalf("failed with %v", b)
	}
	if as := ann.takes(); as["session"] != idb || num(as["ae"]) != 2 || as["reason"] != "requeue" {
		t.Fatalf("assigned %v", as)
	}
}

// [SW-5.8] What the next owner is told of a transfer, and upto, which keeps a customer's last word from being passed over.
func TestTransferTells(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	bot, ann, bob := login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, workerOf("ann", wire.OriginHuman)), login(t, n, workerOf("bob", wire.OriginHuman))
	bot.subscribe(obj{"slots": 1})
	ann.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	bob.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	ann.ask("presence", obj{"state": "away"})
	a := login(t, n, customerOf("alice"))
	id, first := waiting(a, obj{})
	bot.said("delivery")
	last := num(a.ask("send", obj{"session": id, "body": "and another thing"})["seq"])
	for verb, body := range map[string]obj{"transfer": {"to": obj{"queue": "refunds"}}, "release": {}, "close": {}} {
		body["session"], body["ae"], body["upto"] = id, 1, first
		e := bot.refused("unanswered", verb, body)
		if d, _ := e["detail"].(obj); num(e["code"]) != 409 || num(d["seq"]) != last {
			t.Fatalf("%s: %v; the customer's last word is %d", verb, e, last)
		}
	}
	r := bot.ask("transfer", obj{"session": id, "ae": 1, "to": obj{"queue": "refunds"}, "note": "wants money", "context": obj{"order": 7}, "upto": last})
	as := bob.takes()
	var told obj
	for _, e := range as["tail"].([]any) {
		if e := e.(obj); e["type"] == "session.transferred" {
			told = e
		}
	}
	if told == nil || num(told["seq"]) != num(r["seq"]) || told["visibility"] != "staff" {
		t.Fatalf("the tail has %v; the transfer was %v", told, r)
	}
	if b := told["body"].(obj); b["note"] != "wants money" || b["queue"] != "refunds" || b["from"] != "faq" || num(b["context_v"]) != 1 {
		t.Fatalf("the transfer says %v", b)
	}
	if c := as["context"].(obj); num(c["v"]) != 1 || num(c["doc"].(obj)["order"]) != 7 {
		t.Fatalf("context %v", c)
	}
	// To a worker: the source is owner until the target accepts, and is told then.
	ann.ask("presence", obj{"state": "ready"})
	bob.ask("transfer", obj{"session": id, "ae": as["ae"], "to": obj{"worker": "ann"}, "note": "your client"})
	of := ann.push("offer")
	bob.ask("reply", obj{"session": id, "ae": as["ae"], "body": "Ann will be with you"})
	ann.ask("accept", obj{"offer": of["offer"]})
	if r := bob.push("revoked"); r["reason"] != "transfer" || r["session"] != id || r["ae"] != as["ae"] {
		t.Fatalf("revoked %v", r)
	}
	if as := ann.push("assigned"); as["reason"] != "transfer" || num(as["ae"]) != 3 {
		t.Fatalf("assigned %v", as)
	}
	if list := happened(t, n, id, "session.transferred"); len(list) != 2 || list[0]["body"].(obj)["worker"] != "ann" {
		t.Fatalf("transfers %v", list)
	}
}

// [SW-5.8] What a transfer to a queue said is known when the node has died in between: who gets it, why, and that nobody was to
// answer before.
func TestTransferAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	queues := func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}, {Name: "refunds"}}}}
	}
	n := start(t, dir, queues)
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"default"}, "slots": 1})
	a := login(t, n, customerOf("alice"))
	id, seq := waiting(a, obj{})
	bot.said("delivery")
	body := obj{"session": id, "ae": 1, "to": obj{"queue": "refunds"}, "note": "n", "context": obj{"x": 1}, "key": "k"}
	first := bot.ask("transfer", body)
	stop(t, n)
	n = start(t, dir, queues)
	defer stop(t, n)
	bot = login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"default"}, "slots": 1})
	if again := bot.ask("transfer", body); again["duplicate"] != true || again["seq"] != first["seq"] { // [SW-4.3]
		t.Fatalf("the second copy: %v; the first was %v", again, first)
	}
	next := login(t, n, workerOf("next", wire.OriginBot))
	next.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	as := next.push("assigned")
	if as["reason"] != "transfer" || num(as["ae"]) != 2 || num(as["context"].(obj)["v"]) != 1 {
		t.Fatalf("assigned %v", as)
	}
	if d := next.said("delivery"); num(d["seq"]) != seq || num(d["attempt"]) != 1 {
		t.Fatalf("delivery %v", d)
	}
	if list := happened(t, n, id, "session.transferred"); len(list) != 1 {
		t.Fatalf("it was handed on %d times", len(list))
	}
}
