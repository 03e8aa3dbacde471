package node_test

import (
	"fmt"
	"strings"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// [SW-6.2] A node that is drained sends its connections to the others, whose addresses it knows, and who comes later as well; when that
// is taken back they may stay.
func TestDrainedNodeSendsAway(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	at := map[string]string{}
	clients := func(name string) func(*node.Config) {
		at[name] = free(t)
		return func(c *node.Config) { c.Listen = at[name] }
	}
	a := w.start("a", clients("a"))
	w.start("b", clients("b"))
	operator := token.Claims{Sub: "olga", Role: wire.RoleOperator}
	settled := make([]*peer, 12)
	for i := range settled {
		settled[i] = login(t, a, customerOf(fmt.Sprint("c", i)))
		settled[i].open(obj{})
	}
	if code, v := operate(t, a, operator, "POST", "/nodes/1", `{"action":"drain"}`); code != 200 {
		t.Fatalf("draining is answered %d %v", code, v)
	}
	for _, p := range settled {
		code, bye := p.closed()
		if code != 3001 || bye["to"] != "ws://"+at["b"]+"/v1/connect" || bye["reconnect"] != true || num(bye["after_ms"]) > 500 {
			t.Errorf("it is closed %d with %v", code, bye)
		}
	}
	late := dial(t, a)
	late.send("hello", obj{"token": mint(t, a, customerOf("late"))})
	if code, _ := late.closed(); code != 3001 {
		t.Errorf("who comes late is closed %d", code)
	}
	b := w.nodes["b"]
	p := login(t, b, customerOf("c0"))
	if h := p.ask("history", obj{"session": p.open(obj{}), "limit": 10}); len(h["entries"].([]any)) == 0 {
		t.Error("the session is empty elsewhere")
	}
	if code, v := operate(t, b, operator, "POST", "/nodes/1", `{"action":"undrain"}`); code != 200 {
		t.Fatalf("taking it back is answered %d %v", code, v)
	}
	until(t, "it is ready, as it is drained no more", func() bool { code, _ := get(t, a, "/readyz"); return code == 200 })
	back := login(t, a, customerOf("back"))
	back.open(obj{})
	w.stop("b")
	w.stop("a")
}

// A node that was removed says so, to whoever looks whether it is ready.
func TestRemovedNodeSaysSo(t *testing.T) {
	w := newTown(t)
	a := w.start("a")
	b := w.start("b")
	operator := token.Claims{Sub: "olga", Role: wire.RoleOperator}
	if code, v := operate(t, a, operator, "POST", "/nodes/2", `{"action":"drain"}`); code != 200 {
		t.Fatalf("draining is answered %d %v", code, v)
	}
	until(t, "it is removed", func() bool {
		code, _ := operate(t, a, operator, "POST", "/nodes/2", `{"action":"remove"}`)
		return code == 200
	})
	said := ""
	defer func() {
		if t.Failed() {
			t.Logf("it says %q", said)
		}
	}()
	until(t, "it says that it was removed", func() bool {
		var code int
		code, said = get(t, b, "/readyz")
		return code == 503 && strings.HasPrefix(said, "the node was removed from the cluster")
	})
	w.stop("b")
	w.stop("a")
}
