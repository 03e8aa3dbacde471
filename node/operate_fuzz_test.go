package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// FuzzOperate lets an operator ask a node that is alone for anything about keys and tenants. What is done was one JSON object, and what is refused is his fault, not the node's;
// the node goes on, and lets in who has the key of another tenant.
func FuzzOperate(f *testing.F) {
	for i, body := range []string{
		`{"action":"create","kid":"k1"}`, `{"action":"add","key":{"kid":"s","secret":"a passphrase of at least 32 bytes"}}`, `{"action":"remove","kid":"k1","last":true}`, `{"action":"create"} {}`, `null`,
		`{"action":"create","origins":["https://acme.example"],"max_attempts":9}`, `{"action":"create","wrapup_ms":7,"placement":"main"}`, `{"action":"create"} {"wrapup_ms":5}`, `{"action":"create","wrapup_ms":-1}`, `[]`,
	} {
		f.Add(i >= 5, fmt.Sprint("t", i), []byte(body))
	}
	n := start(f, f.TempDir(), func(c *node.Config) { c.Cluster.Operators = []string{"demo"} })
	f.Cleanup(func() { stop(f, n) })
	olga := mint(f, n, token.Claims{Tenant: "demo", Sub: "olga", Role: wire.RoleOperator})
	ask := func(t *testing.T, method, path string, body []byte) (int, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Addr()+"/v1/admin/cluster/"+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+olga)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // a test's
		var b bytes.Buffer
		if _, err := b.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, b.Bytes()
	}
	f.Fuzz(func(t *testing.T, tenants bool, tenant string, body []byte) {
		if !wire.ValidID(tenant) || tenant == "demo" || tenant == "." || tenant == ".." { // whose keys these are, and what a path is not
			return
		}
		path := node.KeysOp
		if tenants {
			path = node.TenantsOp
		}
		status, answer := ask(t, http.MethodPost, path+"/"+tenant, body)
		if status >= 500 || !json.Valid(answer) {
			t.Fatalf("%s of %s with %q is answered %d %s", path, tenant, body, status, answer)
		}
		var object map[string]any
		if status < 300 && json.Unmarshal(body, &object) != nil {
			t.Fatalf("%s of %s with %q is done: %s", path, tenant, body, answer)
		}
		if status, answer = ask(t, http.MethodGet, path, nil); status != http.StatusOK || !json.Valid(answer) {
			t.Fatalf("after %q it is answered %d %s", body, status, answer)
		}
	})
}
