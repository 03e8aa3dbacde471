package node_test

import (
	"net/http"
	"strings"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// [SW-6.2] A customer's oldest connection makes room for his newest, and is not to come again; an event stream is one of them. Nobody
// else is concerned, and who has left leaves room.
func TestConnectionLimit(t *testing.T) {
	n := start(t, t.TempDir(), func(c *node.Config) { c.PerCustomer = 2 })
	defer stop(t, n)
	over := func(p *peer) {
		t.Helper()
		if code, bye := p.closed(); code != 3504 || num(bye["code"]) != 3504 || bye["reason"] != "connection_limit" || bye["reconnect"] != false {
			t.Fatalf("closed with %d after %v", code, bye)
		}
	}
	first, bob := login(t, n, customerOf("alice")), login(t, n, customerOf("bob"))
	id := first.open(obj{})
	events := follow(t, n, customerOf("alice"), id, "1:0")
	if _, data := events.next(); !strings.Contains(data, "session.opened") {
		t.Fatalf("the stream begins with %s", data)
	}
	second := login(t, n, customerOf("alice"))
	over(first)
	third := login(t, n, customerOf("alice"))
	if _, data := events.next(); !strings.Contains(data, `"bye":{"code":3504,"reason":"connection_limit"`) {
		t.Fatalf("the stream was told %s", data)
	}
	if events.in.Scan() {
		t.Fatalf("the stream goes on: %q", events.in.Text())
	}
	for range 3 {
		login(t, n, serviceOf("backend"))
	}
	second.ask("open", obj{"session": id})
	_ = second.ws.Close() // noticed or not, he is the one who makes room
	login(t, n, customerOf("alice")).ask("open", obj{"session": id})
	third.ask("open", obj{"session": id})
	bob.ask("open", obj{})
	login(t, n, customerOf("alice"))
	over(third)
}

// [SW-6.2] Nobody gets in with the tokens of a suspended tenant, and he finds everything as it was when that is over.
func TestTenantSuspended(t *testing.T) {
	dir := ""
	n := startTwo(t, func(c *node.Config) { dir = c.Data })
	again := func(suspended bool) {
		queues := []node.Queue{{Name: "default"}}
		n = start(t, dir, func(c *node.Config) {
			c.Tenants = map[string]node.Tenant{"demo": {Queues: queues, Suspended: suspended}, "acme": {Queues: queues}}
		})
	}
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "key": "k", "body": 1})
	stop(t, n)

	again(true)
	other := customerOf("alice")
	other.Tenant = "acme"
	login(t, n, other).ask("open", obj{})
	alice := mint(t, n, customerOf("alice"))
	for _, tok := range []string{alice, mint(t, n, workerOf("faq", wire.OriginBot)), mint(t, n, token.Claims{Sub: "root", Role: wire.RoleOperator})} {
		p := dialWith(t, n.Addr(), nil)
		r := p.answer(p.send("hello", obj{"token": tok}))
		if e, _ := r["error"].(obj); e["slug"] != "forbidden" || e["message"] != "the tenant is suspended" {
			t.Fatalf("hello was answered %v", r)
		}
		if code, bye := p.closed(); code != 3510 || num(bye["code"]) != 3510 || bye["reason"] != "tenant_suspended" || bye["reconnect"] != false {
			t.Fatalf("closed with %d after %v", code, bye)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.Addr()+"/v1/sessions/"+id+"/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+alice)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Fatalf("over HTTP it is %d", res.StatusCode)
	}
	stop(t, n)

	again(false)
	defer stop(t, n)
	a = login(t, n, customerOf("alice"))
	if o := a.ask("open", obj{"session": id}); num(o["head"]) == 0 || o["session"] != id {
		t.Fatalf("his session is %v", o)
	}
}
