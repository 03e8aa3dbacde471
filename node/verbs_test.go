package node_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
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

// [SW-4] Who waits is told where he stands, and so is who joins him later; who leaves the line gives his place up.
func TestPlaces(t *testing.T) {
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
