package node_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// [SW-8.7] A tenant of a placement is served by every node, and what is said stays on the nodes with the label.
func TestResidency(t *testing.T) {
	once(t)
	t.Parallel()
	w := newTown(t)
	region := func(name string) func(*node.Config) {
		return func(c *node.Config) { c.Cluster.Labels = map[string]string{"region": name} }
	}
	// Every node has haus in its configuration from now on; the cluster must have the placement first.
	haus := func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"haus": {Queues: []node.Queue{{Name: "default"}}, Placement: "eu"}}
	}
	w.dirs["a"], w.addrs["a"] = t.TempDir(), free(t)
	keys := `{"version":1,"tenants":{"demo":{"keys":[{"kid":"demo-1","secret":"a secret of thirty-two bytes: demo"}]},"haus":{"keys":[{"kid":"haus-1","secret":"a secret of thirty-two bytes: haus"}]}}}`
	if err := os.WriteFile(filepath.Join(w.dirs["a"], "keys.json"), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	a := w.start("a", region("us"))
	w.start("b", region("eu"))
	w.start("c", region("eu"))
	op := member.At(w.addrs["a"], member.Seat{Name: "ann", Plain: true})
	eu := &cluster.Placement{Name: "eu", Copies: 1, Require: map[string]string{"region": "eu"}}
	if r, err := op.Place(t.Context(), "ann", eu, 2, true); err != nil || len(r.Nodes) != 2 || len(r.Shards) != 0 {
		t.Fatalf("a dry run: %+v, %v", r, err)
	}
	// Before any node has haus in its configuration, nobody waits for it.
	early := login(t, a, token.Claims{Tenant: "haus", Sub: "ann", Role: wire.RoleCustomer})
	early.refused("forbidden", "open", obj{})
	_ = early.ws.Close()
	// Who would serve haus elsewhere does not start.
	dir := t.TempDir()
	_, err := node.Start(node.Config{
		Data: dir, Name: "d", Listen: "127.0.0.1:0", Dev: true, FreeMin: -1,
		Cluster: node.Cluster{Listen: free(t), Join: []string{w.addrs["a"]}, Roles: []string{"edge"}},
		Tenants: map[string]node.Tenant{"haus": {Queues: []node.Queue{{Name: "default"}}, Placement: "eu"}},
	})
	if err == nil || !strings.Contains(err.Error(), "placement eu, which there is not") {
		t.Fatalf("a node whose tenant has no home: %v", err)
	}
	for range 2 { // asked twice it is made once
		if r, err := op.Place(t.Context(), "ann", eu, 2, false); err != nil || len(r.Shards) != 2 || r.Group != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if err := op.Assign(t.Context(), "ann", "eu", "demo"); err == nil || !strings.Contains(err.Error(), "lives in placement main") {
		t.Fatalf("somebody who lives elsewhere: %v", err)
	}
	for _, name := range []string{"b", "c", "a"} {
		w.stop(name)
		w.start(name, region(map[string]string{"a": "us", "b": "eu", "c": "eu"}[name]), haus)
	}
	a = w.nodes["a"]

	const secret, public = "a word that stays in europe", "a word that may go anywhere"
	as := func(tenant string, c token.Claims) token.Claims { c.Tenant = tenant; return c }
	say := func(tenant, who, words string) (id string) {
		bot := login(t, w.nodes["c"], as(tenant, workerOf("bot-"+tenant, wire.OriginBot)))
		bot.subscribe(obj{"queues": []string{"default"}, "slots": 5})
		c := login(t, a, as(tenant, customerOf(who)))
		id = c.open(obj{})
		c.ask("send", obj{"session": id, "body": text(words)})
		d := bot.push("assigned")
		for d["session"] != id { // that of an earlier conversation
			d = bot.push("assigned")
		}
		bot.ask("reply", obj{"session": id, "ae": d["ae"], "body": text("yes")})
		for bodyText(c.push("message")) != "yes" {
		}
		_, _ = c.ws.Close(), bot.ws.Close()
		return id
	}
	id := say("haus", "ann", secret)
	if group, _, _ := wire.SessionID(id).Place(); group != 1 {
		t.Fatalf("session %s is in group %d", id, group)
	}
	demo := say("demo", "ann", public)
	if group, _, _ := wire.SessionID(demo).Place(); group != 0 {
		t.Fatalf("session %s is in group %d", demo, group)
	}
	// A session of another group is nobody's.
	slow := login(t, a, customerOf("bob"))
	slow.refused("no_session", "send", obj{"session": id, "body": text("hi")})
	// A feed has the tenant's words, wherever their owner is.
	sup := login(t, a, as("haus", token.Claims{Sub: "sue", Role: wire.RoleSupervisor}))
	sup.ask("watch", obj{})
	say("haus", "cat", "seen by sue")
	for bodyText(sup.push("message")) != "seen by sue" {
	}
	_, _ = slow.ws.Close(), sup.ws.Close()

	// What is split off stays there, too.
	_, slot, _ := wire.SessionID(id).Place()
	x := splits(t, op, uint16(4+slot.Number()%2)) //nolint:gosec // two shards, behind the four of main
	r, err := op.Status(t.Context())
	if err != nil || len(r.Places) != 2 || r.Places[0].Name != "eu" {
		t.Fatalf("%+v, %v", r.Places, err)
	}
	for _, rep := range r.Shards[x.To].Replicas {
		if rep.Node != 2 && rep.Node != 3 {
			t.Fatalf("shard %d is on node %d", x.To, rep.Node)
		}
	}
	say("haus", "dan", secret+", also later")
	if found(t, w.dirs["a"], secret) {
		t.Fatal("what is to stay in europe is on a disk elsewhere")
	}
	if !found(t, w.dirs["b"], secret) && !found(t, w.dirs["c"], secret) {
		t.Fatal("what was said is on no disk in europe: the search finds nothing")
	}
	// It comes back.
	for _, name := range []string{"b", "c"} {
		w.stop(name)
		w.start(name, region("eu"), haus)
	}
	c := login(t, w.nodes["a"], as("haus", customerOf("ann")))
	if h := c.ask("history", obj{"session": id, "limit": 100}); len(h["entries"].([]any)) < 3 {
		t.Fatalf("the words are gone: %v", h)
	}
	_ = c.ws.Close()
	// A configuration that says otherwise is no way to move.
	w.stop("b")
	if _, err := node.Start(node.Config{
		Data: w.dirs["b"], Name: "b", Listen: "127.0.0.1:0", Dev: true, FreeMin: -1, Cluster: node.Cluster{Listen: w.addrs["b"]},
		Tenants: map[string]node.Tenant{"haus": {Queues: []node.Queue{{Name: "default"}}, Placement: "main"}},
	}); err == nil || !strings.Contains(err.Error(), "lives in placement eu") {
		t.Fatalf("a configuration that wants another home: %v", err)
	}
	for _, name := range []string{"c", "a"} {
		w.stop(name)
	}
}

// found tells whether words are in some file of a directory.
func found(t *testing.T, dir, words string) (yes bool) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		yes = yes || bytes.Contains(b, []byte(words))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return yes
}
