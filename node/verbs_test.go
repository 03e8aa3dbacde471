package node_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// startTwo starts a node of two tenants, demo and acme, with the queues default and refunds.
func startTwo(t testing.TB, change ...func(*node.Config)) *node.Node {
	t.Helper()
	dir := t.TempDir()
	keys := fmt.Sprintf(`{"version":1,"tenants":{"demo":{"keys":[{"kid":"d","secret":%q}]},"acme":{"keys":[{"kid":"a","secret":%q}]}}}`, demoSecret, acmeSecret)
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	queues := []node.Queue{{Name: "default"}, {Name: "refunds"}}
	return start(t, dir, append([]func(*node.Config){func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"acme": {Queues: queues}, "demo": {Queues: queues}}
	}}, change...)...)
}

func supervisorOf(sub string) token.Claims { return token.Claims{Sub: sub, Role: wire.RoleSupervisor} }

// [SW-5a.2] Attributes are compared and set, seen by the next owner, and route again.
func TestAttributes(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{"slots": 1})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{"attributes": obj{"plan": "free"}})
	a.ask("send", obj{"session": id, "body": text("hi")})
	first := bob.push("offer")["offer"]
	sue := login(t, n, supervisorOf("sue"))
	patch := obj{"session": id, "if_v": 0, "patch": obj{"plan": "gold", "lang": "de"}, "key": "k1"}
	if r := sue.ask("attributes", patch); num(r["v"]) != 1 {
		t.Fatalf("attributes %v", r)
	}
	if r := sue.ask("attributes", patch); num(r["v"]) != 1 || r["duplicate"] != true {
		t.Fatalf("[SW-4.3] the same key again: %v", r)
	}
	if e := sue.refused("version_conflict", "attributes", obj{"session": id, "if_v": 0, "patch": obj{}}); num(e["detail"].(obj)["v"]) != 1 {
		t.Fatalf("version_conflict %v", e)
	}
	if e := bob.push("offer_ended"); e["offer"] != first || e["reason"] != "rescinded" {
		t.Fatalf("the offer that was made without knowing ended as %v", e)
	}
	bob.ask("accept", obj{"offer": bob.push("offer")["offer"]})
	as := bob.push("assigned")
	if at := as["attributes"].(obj); at["plan"] != "gold" || at["lang"] != "de" || num(as["attributes_v"]) != 1 {
		t.Fatalf("assigned %v", as)
	}
	if r := bob.ask("attributes", obj{"session": id, "ae": 1, "if_v": 1, "patch": obj{"lang": nil}}); num(r["v"]) != 2 {
		t.Fatalf("the owner's attributes %v", r)
	}
	bob.refused("stale_assignment", "attributes", obj{"session": id, "ae": 9, "if_v": 2, "patch": obj{}})
	refusedVerb(t, n, id, "attributes", obj{"session": id, "if_v": 2, "patch": obj{}})
}

// refusedVerb lets everybody try verb who may not know of the session, or not do this with it [SW-4.5] [SW-5.10].
func refusedVerb(t *testing.T, n *node.Node, id, verb string, body obj) {
	t.Helper()
	login(t, n, customerOf("alice")).refused("forbidden", verb, body)
	mallory := supervisorOf("sue")
	mallory.Tenant = "acme"
	login(t, n, mallory).refused("no_session", verb, body)
	abroad := supervisorOf("tom")
	abroad.Shop = "elsewhere"
	login(t, n, abroad).refused("no_session", verb, body)
	other := maps.Clone(body)
	other["session"] = "s_0000000000000000"
	login(t, n, supervisorOf("sue")).refused("no_session", verb, other)
}

// [SW-4.8a] Who waits is told where he stands, and so is who joins him later; who leaves the line gives his place up.
func TestPlaces(t *testing.T) {
	once(t)
	t.Parallel()
	n := startTwo(t)
	defer stop(t, n)
	a, b := login(t, n, customerOf("alice")), login(t, n, customerOf("ben"))
	ida, idb := a.open(obj{}), b.open(obj{})
	a.ask("send", obj{"session": ida, "body": 1})
	b.ask("send", obj{"session": idb, "body": 1})
	placed := func(p *peer, id string, want int) {
		t.Helper()
		for {
			s := p.push("state")
			if s["session"] != id || s["state"] != "queued" || s["queue"] != "default" {
				t.Fatalf("state %v", s)
			}
			if got := num(s["position"]); got == want {
				return
			} else if got != 0 && got < want {
				t.Fatalf("position %d; want %d", got, want)
			}
		}
	}
	placed(a, ida, 1)
	placed(b, idb, 2)
	late := login(t, n, customerOf("ben"))
	late.open(obj{"channel": "app"})
	placed(late, idb, 2)
	a.ask("close", obj{"session": ida})
	placed(b, idb, 1)
}

// [SW-5a.1] Guests: who may, what they may say, to whom, and under which ge.
func TestGuests(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("hi")})
	bot.push("assigned")
	refusedVerb(t, n, id, "join", obj{"session": id, "as": "monitor"})
	bot.refused("forbidden", "join", obj{"session": id, "as": "consult"})

	sue := login(t, n, supervisorOf("sue"))
	sue.refused("bad_request", "join", obj{"session": id, "as": "spectator"})
	j := sue.ask("join", obj{"session": id, "as": "assist", "key": "j1"})
	if again := sue.ask("join", obj{"session": id, "as": "assist", "key": "j1"}); again["duplicate"] != true || again["ge"] != j["ge"] {
		t.Fatalf("[SW-4.3] the same join again: %v; before: %v", again, j)
	}
	sue.refused("forbidden", "reply", obj{"session": id, "ge": j["ge"], "visibility": "public", "body": 1})
	sue.refused("stale_assignment", "reply", obj{"session": id, "ge": 1, "body": 1})
	sue.refused("stale_assignment", "reply", obj{"session": id, "ae": 1, "body": 1})
	whisper := sue.ask("reply", obj{"session": id, "ge": j["ge"], "body": text("ask for the order")})
	d := bot.said("delivery")
	for num(d["seq"]) < num(whisper["seq"]) {
		d = bot.said("delivery")
	}
	if num(d["seq"]) != num(whisper["seq"]) || d["visibility"] != "staff" || d["origin"] != "assist" {
		t.Fatalf("the owner heard %v; want the whisper %v", d, whisper)
	}
	// [SW-4.4] a guest follows the session
	a.ask("send", obj{"session": id, "body": text("are you there?")})
	if m := sue.said("message"); bodyText(m) != "are you there?" {
		t.Fatalf("the guest heard %v", m)
	}
	b := sue.ask("join", obj{"session": id, "as": "barge"})
	sue.refused("stale_assignment", "reply", obj{"session": id, "ge": j["ge"], "body": 1})
	sue.ask("reply", obj{"session": id, "ge": b["ge"], "body": text("I am the boss")})
	if m := a.said("message"); bodyText(m) != "I am the boss" || m["visibility"] != "public" || m["from"].(obj)["role"] != "supervisor" {
		t.Fatalf("alice heard %v", m)
	}
	// He is a guest as long as his connection is.
	tom := login(t, n, supervisorOf("tom"))
	tom.ask("open", obj{"session": id})
	_ = sue.ws.Close()
	for {
		m := tom.push("message")
		if m["type"] == "participant.left" {
			if m["visibility"] != "staff" || m["body"].(obj)["id"] != "sue" || m["body"].(obj)["ge"] != b["ge"] {
				t.Fatalf("participant.left %v", m)
			}
			break
		}
	}
	list, _ := a.ask("history", obj{"session": id})["entries"].([]any)
	for _, e := range list {
		if ty := e.(obj)["type"].(string); strings.HasPrefix(ty, "participant.") || e.(obj)["visibility"] == "staff" {
			t.Fatalf("[SW-4.5] the customer sees %v", e)
		}
	}
}

// [SW-5a.4] A supervisor takes a session; the old owner is told why, and is fenced.
func TestTake(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"slots": 1})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	first := a.ask("send", obj{"session": id, "body": text("hi")})["seq"]
	bot.push("delivery")
	refusedVerb(t, n, id, "take", obj{"session": id})
	bot.refused("forbidden", "take", obj{"session": id})
	sue := login(t, n, supervisorOf("sue"))
	tk := sue.ask("take", obj{"session": id, "key": "t1"})
	if num(tk["ae"]) != 2 {
		t.Fatalf("take %v", tk)
	}
	if again := sue.ask("take", obj{"session": id, "key": "t1"}); num(again["ae"]) != 2 || again["duplicate"] != true {
		t.Fatalf("[SW-4.3] the same take again: %v", again)
	}
	if r := bot.push("revoked"); r["session"] != id || num(r["ae"]) != 1 || r["reason"] != "takeover" {
		t.Fatalf("revoked %v", r)
	}
	if e := bot.refused("stale_assignment", "reply", obj{"session": id, "ae": 1, "body": 1}); num(e["code"]) != 409 {
		t.Fatalf("the fence: %v", e)
	}
	if as := sue.push("assigned"); num(as["ae"]) != 2 || as["reason"] != "takeover" {
		t.Fatalf("assigned %v", as)
	}
	if d := sue.said("delivery"); d["seq"] != first {
		t.Fatalf("[SW-5.4] what nobody acknowledged was delivered as %v", d)
	}
	sue.ask("reply", obj{"session": id, "ae": 2, "ack": first, "body": text("I am here")})
	if m := a.said("message"); bodyText(m) != "I am here" {
		t.Fatalf("alice heard %v", m)
	}
	tom := login(t, n, supervisorOf("tom"))
	tom.ask("open", obj{"session": id, "tail": 50})
	for m := tom.push("message"); m["type"] != "session.taken"; m = tom.push("message") {
	}
	// The bot's slot is free again, and what was taken comes back to the line when its owner's connection ends.
	b := login(t, n, customerOf("ben"))
	other := b.open(obj{})
	b.ask("send", obj{"session": other, "body": 1})
	if as := bot.push("assigned"); as["session"] != other {
		t.Fatalf("the bot was assigned %v", as)
	}
	_ = sue.ws.Close()
	for s := a.push("state"); s["state"] != "queued"; s = a.push("state") {
	}
}

// [SW-5a.4] [SW-5.1] A supervisor gives a session to a worker; an operator may exceed his slots.
func TestAssign(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("hi")})
	refusedVerb(t, n, id, "assign", obj{"session": id, "worker": "bob"})
	bob.refused("forbidden", "assign", obj{"session": id, "worker": "bob"})
	sue := login(t, n, supervisorOf("sue"))
	sue.refused("bad_request", "assign", obj{"session": id, "worker": "b ob"})
	sue.refused("forbidden", "assign", obj{"session": id, "worker": "bob", "force": true})
	// A worker who is not there fails at once, and the session waits on.
	sue.ask("open", obj{"session": id})
	sue.ask("assign", obj{"session": id, "worker": "nobody"})
	for m := sue.push("message"); m["type"] != "session.transfer_failed"; m = sue.push("message") {
	}
	sue.ask("assign", obj{"session": id, "worker": "bob", "key": "k1"})
	if r := sue.ask("assign", obj{"session": id, "worker": "bob", "key": "k1"}); r["duplicate"] != true {
		t.Fatalf("[SW-4.3] the same assign again: %v", r)
	}
	bob.ask("accept", obj{"offer": bob.push("offer")["offer"]})
	if as := bob.push("assigned"); as["session"] != id {
		t.Fatalf("assigned %v", as)
	}
	// Full is full, but for an operator.
	b := login(t, n, customerOf("ben"))
	other := b.open(obj{})
	b.ask("send", obj{"session": other, "body": text("hi")})
	sue.ask("open", obj{"session": other})
	sue.ask("assign", obj{"session": other, "worker": "bob"})
	for m := sue.push("message"); m["type"] != "session.transfer_failed"; m = sue.push("message") {
	}
	op := login(t, n, token.Claims{Sub: "opa", Role: wire.RoleOperator})
	op.ask("assign", obj{"session": other, "worker": "bob", "force": true})
	if as := bob.push("assigned"); as["session"] != other {
		t.Fatalf("assigned %v", as)
	}
	list := happened(t, n, other, "session.directed") // [SW-4.9] both words stand in the log, the last first
	if len(list) != 2 || list[0]["visibility"] != "staff" {
		t.Fatalf("session.directed: %v", list)
	}
	if last, first := list[0]["body"].(obj), list[1]["body"].(obj); last["by"] != "opa" || last["force"] != true || first["by"] != "sue" || first["force"] == true {
		t.Fatalf("session.directed: %v", list)
	}
}

// [SW-5a.5] Stats tell how queues and workers stand, and go on telling.
func TestStats(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	early := login(t, n, supervisorOf("early"))
	if list, ok := early.ask("stats", obj{})["workers"].([]any); !ok || len(list) != 0 {
		t.Fatalf("where nobody works workers is %v: %v", list, ok)
	}
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"slots": 1})
	if s := early.ask("stats", obj{"scope": obj{"worker": "bot"}}); len(s["queues"].([]any)) != 0 {
		t.Fatalf("stats of a worker %v", s)
	}
	for _, sub := range []string{"alice", "ben"} {
		c := login(t, n, customerOf(sub))
		c.ask("send", obj{"session": c.open(obj{}), "body": 1})
	}
	login(t, n, customerOf("alice")).refused("forbidden", "stats", obj{})
	bot.refused("forbidden", "stats", obj{})
	abroad := supervisorOf("tom")
	abroad.Shop = "elsewhere"
	login(t, n, abroad).refused("forbidden", "stats", obj{})
	sue := login(t, n, supervisorOf("sue"))
	sue.refused("no_queue", "stats", obj{"scope": obj{"queue": "nowhere"}})
	sue.refused("no_worker", "stats", obj{"scope": obj{"worker": "nobody"}})
	sue.refused("bad_request", "stats", obj{"scope": obj{"shop": "s1"}})
	check := func(s obj) bool {
		queues, workers := s["queues"].([]any), s["workers"].([]any)
		q, w := queues[0].(obj), workers[0].(obj)
		if len(queues) != 1 || q["queue"] != "default" || len(workers) != 1 || w["worker"] != "bot" || w["state"] != "ready" || num(w["slots"]) != 1 {
			t.Fatalf("stats %v", s)
		}
		return num(q["waiting"]) == 1 && num(q["assigned"]) == 1 && num(w["used"]) == 1 && num(q["bots"]) == 1
	}
	// The second task may be on its way still; pushes go on.
	ok := check(sue.ask("stats", obj{"scope": obj{"queue": "default"}, "every_ms": 1}))
	for !ok {
		ok = check(sue.push("stats"))
	}
	check(sue.push("stats"))
	// Sessions are listed when they are asked for: who waits first, then who is with somebody.
	s := sue.ask("stats", obj{"sessions": 1})
	list, _ := s["sessions"].([]any)
	if len(list) != 1 || s["more_sessions"] != true || list[0].(obj)["state"] != "waiting" || list[0].(obj)["queue"] != "default" || list[0].(obj)["worker"] != nil {
		t.Fatalf("stats %v", s)
	}
	s = sue.ask("stats", obj{"sessions": 9999, "scope": obj{"worker": "bot"}})
	if list, _ = s["sessions"].([]any); len(list) != 1 || s["more_sessions"] != nil || list[0].(obj)["state"] != "assigned" || list[0].(obj)["worker"] != "bot" || num(list[0].(obj)["since"]) == 0 {
		t.Fatalf("stats %v", s)
	}
	if s = sue.ask("stats", obj{}); s["sessions"] != nil {
		t.Fatalf("stats %v", s)
	}
	mallory := supervisorOf("sue")
	mallory.Tenant = "acme"
	if s := login(t, n, mallory).ask("stats", obj{}); len(s["queues"].([]any)) != 2 || len(s["workers"].([]any)) != 0 || num(s["queues"].([]any)[0].(obj)["waiting"]) != 0 {
		t.Fatalf("another tenant sees %v", s)
	}
	_ = sue.ws.Close()
}

// [SW-5a.1] [SW-5a.4] After a restart nobody is noted as present who is not: what was taken waits again, guests have left.
func TestSupervisionAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	first := a.ask("send", obj{"session": id, "body": text("hi")})["seq"]
	if tk := login(t, n, supervisorOf("sue")).ask("take", obj{"session": id}); num(tk["ae"]) != 1 {
		t.Fatalf("take %v", tk)
	}
	login(t, n, supervisorOf("tom")).ask("join", obj{"session": id, "as": "monitor"})
	stop(t, n)
	n = start(t, dir)
	defer stop(t, n)
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{"slots": 1})
	bob.ask("accept", obj{"offer": bob.push("offer")["offer"]})
	if d := bob.said("delivery"); d["seq"] != first || num(d["ae"]) != 2 {
		t.Fatalf("delivered %v", d)
	}
	eve := login(t, n, supervisorOf("eve"))
	eve.ask("open", obj{"session": id, "tail": 50})
	for m := eve.push("message"); m["type"] != "participant.left"; m = eve.push("message") {
	}
}
