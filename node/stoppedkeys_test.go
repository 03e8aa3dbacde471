package node_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// [SW-8.2] The keys of a node that is alone are changed before its first start and while it is stopped, and not behind its back.
func TestStoppedKeys(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	f := func(q node.KeysAsked, changed bool, want ...string) {
		t.Helper()
		a, err := node.StoppedKeys(data, &q)
		if err != nil || a.Changed != changed {
			t.Fatalf("%+v: %+v, %v", q, a, err)
		}
		var have []string
		for _, l := range a.Keys {
			have = append(have, l.Tenant+" "+l.Kid)
		}
		if !slices.Equal(have, want) {
			t.Fatalf("%+v: %q; want %q", q, have, want)
		}
	}
	refused := func(want error, q node.KeysAsked) {
		t.Helper()
		before, _ := os.ReadFile(filepath.Join(data, token.FileName))
		if _, err := node.StoppedKeys(data, &q); !errors.Is(err, want) {
			t.Errorf("%+v: %v; want %v", q, err, want)
		}
		if after, err := os.ReadFile(filepath.Join(data, token.FileName)); err != nil || string(after) != string(before) {
			t.Errorf("%+v was refused, and has changed the file (%v)", q, err)
		}
	}
	for _, action := range []string{"", "remove"} {
		if _, err := node.StoppedKeys(data, &node.KeysAsked{Action: action, Tenant: "shop", Kid: "shop-1"}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q in a directory that is not there: %v", action, err)
		}
		if _, err := os.Stat(data); err == nil {
			t.Fatalf("%q has made the directory", action)
		}
	}
	f(node.KeysAsked{Action: "create", Tenant: "shop", Kid: "shop-1"}, true, "shop shop-1")
	f(node.KeysAsked{Action: "create", Tenant: "shop", Kid: "shop-1"}, false, "shop shop-1")
	f(node.KeysAsked{Action: "create", Tenant: "demo", Kid: "demo-2"}, true, "demo demo-2", "demo demo-1")
	f(node.KeysAsked{}, false, "demo demo-2", "demo demo-1", "shop shop-1")
	if st, err := os.Stat(filepath.Join(data, token.FileName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("the file: %v, %v", st, err)
	}

	n := start(t, data)
	tok := mint(t, n, token.Claims{Tenant: "demo", Sub: "olga", Role: wire.RoleOperator})
	if kidOf(t, tok) != "demo-2" || !let(t, n, tok) {
		t.Fatal("the node does not go by the key that was made")
	}
	refused(journal.ErrInUse, node.KeysAsked{Action: "remove", Tenant: "demo", Kid: "demo-2"})
	stop(t, n)
	f(node.KeysAsked{Action: "add", Tenant: "shop", Key: json.RawMessage(`{"kid":"theirs","secret":"0123456789abcdef0123456789abcdef"}`)}, true, "shop shop-1", "shop theirs")
	f(node.KeysAsked{Action: "remove", Tenant: "demo", Kid: "demo-2"}, true, "demo demo-1")
	refused(token.ErrEdit, node.KeysAsked{Action: "remove", Tenant: "demo", Kid: "demo-1"})
	refused(token.ErrEdit, node.KeysAsked{Action: "create", Tenant: "no id", Kid: "x"})

	n = start(t, data, func(c *node.Config) { c.Cluster.Listen = "127.0.0.1:0" }) // it founds a cluster, which has the keys from now on
	if let(t, n, tok) {
		t.Error("a token of a key that was removed is let in")
	}
	stop(t, n)
	refused(token.ErrEdit, node.KeysAsked{Action: "remove", Tenant: "shop", Kid: "theirs"})
}
