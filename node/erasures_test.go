package node_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// unended returns the erasures that wait, as an operator is told.
func unended(t testing.TB, n *node.Node) (obj, []any) {
	t.Helper()
	code, got := web(t, n, opa, "GET", "/v1/erasures", nil, "")
	if code != http.StatusOK {
		t.Fatalf("erasures: %d %v", code, got)
	}
	list, ok := got["erasures"].([]any)
	if !ok {
		t.Fatalf("erasures: %v", got)
	}
	return got, list
}

// [SW-7.13] An erasure that waits is listed, and counted, with what it waits for; when it is completed it is not any more. It is nobody's business but an
// operator's.
func TestWaitingErasures(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	defer func() { stop(t, n) }()
	for _, who := range []token.Claims{customerOf("alice"), serviceOf("connector"), {Sub: "sue", Role: wire.RoleSupervisor}, {Sub: "opa", Role: wire.RoleOperator, Shop: "s1"}} {
		if code, got := web(t, n, who, "GET", "/v1/erasures", nil, ""); code != http.StatusForbidden {
			t.Fatalf("%s is told of erasures: %d %v", who.Role, code, got)
		}
	}
	if all, list := unended(t, n); len(list) != 0 || all["away"] != nil || all["ownerless"] != nil {
		t.Fatalf("before anybody was erased: %v", all)
	}
	aside := filepath.Join(node.JournalDir(dir), "log.damaged-1") // it holds up files that are to be rewritten
	if err := os.MkdirAll(aside, 0o700); err != nil {
		t.Fatal(err)
	}
	alice := login(t, n, customerOf("alice"))
	alice.open(obj{})
	if code, got := web(t, n, opa, "DELETE", "/v1/customers/alice", nil, ""); code != http.StatusAccepted {
		t.Fatalf("erase: %d %v", code, got)
	}
	e := erased(t, n, "alice", "erased")
	patiently(t, "it is listed with what it waits for", func() bool {
		all, list := unended(t, n)
		if len(list) != 1 {
			t.Fatalf("while it waits: %v", all)
		}
		m := list[0].(obj)
		return m["customer"] == "alice" && m["erasure"] == e["erasure"] && m["state"] == "erased" && m["at"] == e["at"] && m["why"] != nil && fmt.Sprint(m["nodes"]) == "[0]"
	})
	if v := metric(t, n, "switchboard_erasures", `state="erased"`); v != 1 {
		t.Errorf("%v erasures are counted", v)
	}
	if v := metric(t, n, "switchboard_erasure_oldest_seconds", ""); v != float64(num(e["at"]))/1e3 {
		t.Errorf("the oldest is of %v; want %v", v, e["at"])
	}
	if err := os.Remove(aside); err != nil {
		t.Fatal(err)
	}
	erased(t, n, "alice", "completed")
	if all, list := unended(t, n); len(list) != 0 {
		t.Errorf("when it is completed: %v", all)
	}
	if v := metric(t, n, "switchboard_erasures", ""); v != 0 {
		t.Errorf("%v erasures are counted", v)
	}
}
