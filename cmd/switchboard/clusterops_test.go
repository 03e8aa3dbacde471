package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/edge/token"
	"switchboard/exchange"
	"switchboard/exchange/link"
	"switchboard/node"
)

// Shards without a majority on nodes that are not removed are named, and copies on removed nodes are not counted.
func TestGivenUpShards(t *testing.T) {
	node := func(id uint32, name string, p cluster.Phase) member.NodeReport {
		return member.NodeReport{Node: cluster.Node{ID: id, Name: name, Phase: p}, Up: p != cluster.Gone}
	}
	shard := func(id uint16, nodes ...uint32) member.ShardReport {
		s := member.ShardReport{ID: id, Placement: "main", Leader: 1}
		for _, n := range nodes {
			s.Replicas = append(s.Replicas, member.ReplicaReport{Replica: cluster.Replica{Node: n}, Answers: true})
		}
		return s
	}
	r := &member.Report{
		Nodes:  []member.NodeReport{node(1, "n1", cluster.Up), node(2, "n2", cluster.Up), node(3, "n3", cluster.Gone), node(4, "n4", cluster.Gone)},
		Shards: []member.ShardReport{shard(0, 1, 2, 3), shard(1, 4), shard(2, 1, 3, 4), shard(3, 1, 2)},
		Places: []member.PlaceReport{{Placement: cluster.Placement{Name: "main", Copies: 3}}},
	}
	var out strings.Builder
	printStatus(&out, r)
	for _, want := range []string{"4 with fewer copies than wanted", "given up\t2 shards, which nobody can serve any more: 1 2."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

// [SW-8.7] Operators' commands say who asks and what, and print what a node answers.
func TestClusterOperations(t *testing.T) {
	certs := t.TempDir()
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetArgs(args)
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	if _, err := run("cluster", "certs", certs, "--node", "n1", "--node", "ann"); err != nil {
		t.Fatal(err)
	}
	tls, err := member.LoadTLS(certs, "n1")
	if err != nil {
		t.Fatal(err)
	}
	report := member.Report{
		Cluster: "c-1", Node: 1, Leader: 1, Effort: cluster.Effort{Run: true, By: "ann"},
		Nodes: []member.NodeReport{
			{Node: cluster.Node{ID: 1, Name: "n1", Addr: "10.0.0.1:7471", Zone: "z1", Weight: 100, Phase: cluster.Up}, Up: true, Leads: 1, Holds: 1, Votes: true},
			{Node: cluster.Node{ID: 2, Name: "n2", Addr: "10.0.0.2:7471", Weight: 50, Phase: cluster.Draining}, Connections: 7, Leaving: &cluster.Leaving{Leads: 1, Holds: 2}},
		},
		Shards: []member.ShardReport{{ID: 0, Placement: "main", Changes: 4, Leader: 1, Term: 7, Bytes: 12345, Sessions: 17, Rate: 1.5, Job: 9, Replicas: []member.ReplicaReport{
			{Replica: cluster.Replica{ID: 1, Node: 1}, Answers: true}, {Replica: cluster.Replica{ID: 2, Node: 2, Learner: true}},
		}}, {ID: 1, Placement: "main", Changes: 1, Leader: 1, Chosen: 1, Term: 8, Replicas: []member.ReplicaReport{
			{Replica: cluster.Replica{ID: 3, Node: 1}, Answers: true}, {Replica: cluster.Replica{ID: 4, Node: 2}, Answers: true},
		}}},
		Jobs: []*cluster.Job{{ID: 9, Shard: 0, From: 1, To: 2, Step: cluster.Catching, By: "ann", Why: "because"}},
		Places: []member.PlaceReport{{Placement: cluster.Placement{Name: "main", Copies: 3, Split: &cluster.Split{
			From: 3, To: 16, Step: cluster.Moving, Slots: []uint16{7}, Moving: []uint16{3, 5}, Moved: 9, Paused: true, By: "ann", Why: "hot",
		}, Left: map[uint16]cluster.Leftover{3: {Slots: 5, At: 1000}, 4: {Slots: 7, At: 2000, Clean: 8, By: cluster.ByAge}}}, Nodes: []uint32{1}}},
	}
	asked := ""
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := link.Open(exchange.New(1), ln, link.Config{
		Cluster: "c-1", Node: "n1", TLS: tls, Log: slog.New(slog.DiscardHandler),
		Answer: func(who string, b []byte) ([]byte, error) {
			var q struct {
				Op   string
				Body json.RawMessage
			}
			if err := json.Unmarshal(b, &q); err != nil {
				return nil, err
			}
			var v any
			switch q.Op {
			case "status":
				v = report
			case "lead":
				v = member.Leadership{Shard: 1, From: 1, To: 1, Leads: true}
			case "move", "job":
				v = report.Jobs[0]
			case "rebalance":
				v = member.Balance{Effort: report.Effort, Plan: []cluster.Proposal{{Shard: 0, From: 1, To: 2, Why: "node 1 carries 9, node 2 1, node 12 none"}}}
			case "require":
				v = member.PlaceReport{Placement: cluster.Placement{Name: "eu"}, Nodes: []uint32{2}, Misplaced: []uint32{1}}
			case "place":
				v = member.PlaceReport{Placement: cluster.Placement{Name: "eu", Copies: 3}, Nodes: []uint32{1, 2}}
			case "split":
				v = cluster.Split{From: 3, To: 16, Step: cluster.Moving, Slots: []uint16{7}, Moving: []uint16{3, 5}, Moved: 9}
			case "clean":
				v = cluster.Leftover{Slots: 12, Clean: 9, By: "ann"}
			case "node.keys":
				v = node.KeysAnswer{Changed: true, Keys: []token.Line{{Tenant: "acme", Kid: "acme-2", Alg: token.HS256, Signs: true}}}
			case "node.tenants":
				v = node.TenantsAnswer{Tenants: []node.TenantLine{{Tenant: "acme", Home: "eu", Made: &node.TenantMade{By: "olga"}}, {Tenant: "demo", Home: "main", File: true}}, Missing: []string{"n2"}}
			case "remove":
				if strings.Contains(string(q.Body), "lost") {
					v = []uint16{0}
					break
				}
				return json.Marshal(map[string]any{"err": "node n2 still has replicas of 1 shard", "refused": true})
			}
			if q.Op != "status" {
				asked = who + " " + q.Op + " " + string(q.Body)
			}
			return json.Marshal(map[string]any{"body": v})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	f := func(wantAsked, want string, args ...string) {
		t.Helper()
		asked = ""
		out, err := run(append(args, "--at", ln.Addr().String(), "--cluster-tls", certs, "--as", "ann")...)
		if err != nil {
			out += err.Error()
		}
		out = strings.Join(strings.Fields(out), " ")
		if !strings.Contains(out, want) || asked != wantAsked {
			t.Errorf("%v asks %q and prints %q; want %q and %q", args, asked, out, wantAsked, want)
		}
	}
	f("", "nodes 2, 1 up; away: n2; draining: n2 shards 2, 0 without a leader, 2 with fewer copies than wanted moves 1 drains node n2, which has 0 replicas, leads 0 and has 7 connections; 2 of them have nowhere to go: start another node that may hold them, or take it back (nodes drain n2 --undo) rebalance running, begun by ann", "cluster", "status")
	f("", "2 n2 10.0.0.2:7471 draining, away - 50 0 0 - 7 -", "nodes")
	f("", "0 main n1 7 4 12345 17 1.5 9 n1 n2 (learns)", "shards", "ls")
	f("", `"changes": 4`, "shards", "ls", "--json")
	f("", "9 0 n1 n2 catching up ann because", "shards", "moves")
	f("", `"cluster": "c-1"`, "cluster", "status", "--json")
	f(`ann move {"from":1,"to":2,"why":"slow"}`, "move 9: shard 0 from node n1 to node n2, catching up", "shards", "move", "0", "--from", "n1", "--to", "2", "--why", "slow")
	f(`ann move {"from":1,"to":2}`, "move 9", "shards", "move", "0", "--to", "n2")
	f(`ann lead {"shard":1,"to":1,"why":"near"}`, "node n1 leads shard 1 already", "shards", "move", "1", "--to", "n1", "--why", "near")
	f(`ann move {"shard":1,"from":2,"to":1}`, "move 9", "shards", "move", "1", "--from", "n2", "--to", "n1")
	f("", "1 main n1 (chosen) 8", "shards", "ls")
	f("", "there is no shard 7", "shards", "move", "7", "--to", "n2")
	f(`ann rebalance {"action":"run"}`, "shard 0 moves: catching up n1 -> n2 because", "shards", "rebalance")
	f(`ann job {"job":9,"action":"abort"}`, "move 9", "shards", "moves", "abort", "9")
	report.Jobs[0].Paused = true
	f(`ann job {"job":9,"action":"pause"}`, "from node n1 to node n2, catching up, paused", "shards", "moves", "pause", "9")
	f("", "9 0 n1 n2 catching up, paused ann because", "shards", "moves")
	report.Jobs[0].Paused = false
	f(`ann rebalance {"action":"dry"}`, "shard 0 a copy n1 -> n2 node n1 carries 9, node n2 1, node 12 none", "shards", "rebalance", "--dry-run")
	f(`ann rebalance {"action":"pause"}`, "running", "shards", "rebalance", "pause")
	f(`ann drain {"node":2}`, "node n2 is being drained; left: 1 shard that it leads, 2 replicas, then 7 connections placement main wants 3 copies, and has 1 node left for them: add a node, or the last copies stay where they are", "nodes", "drain", "n2")
	f(`ann drain {"node":2}`, `"draining": true`, "nodes", "drain", "n2", "--json")
	f(`ann drain {"node":2,"pace":50}`, `"connections": 7`, "nodes", "drain", "n2", "--pace", "50", "--json")
	f(`ann drain {"node":2,"undo":true}`, "drained no more", "nodes", "drain", "n2", "--undo")
	f(`ann copies {"copies":1,"placement":"main"}`, "wants 1 copy", "shards", "copies", "1")
	f(`ann copies {"copies":5,"placement":"main"}`, "wants 5 copies", "shards", "copies", "5")
	f("", "main 0 0 3 - n1 -", "placements")
	f(`ann split {"shard":3,"why":"hot"}`, "shard 3 gives slots to shard 16: moving, 9 there, 3 to go", "shards", "split", "3", "--why", "hot")
	f(`ann split {"shard":3,"dry":true}`, "shard 16", "shards", "split", "3", "--dry-run")
	f(`ann split {"shard":3,"action":"pause"}`, "shard 16", "shards", "splits", "pause", "3")
	f(`ann split {"shard":3,"action":"abort"}`, "shard 16", "shards", "splits", "abort", "3")
	f(`ann clean {"shard":3}`, "the rows of 12 slots that have left shard 3 are taken off", "shards", "splits", "clean", "3")
	f("", "is not the number of a shard", "shards", "splits", "clean", "x")
	f("", "main 3 16 moving, paused 9 2 1 ann hot", "shards", "splits")
	f("", "SLOTS LEFT BEHIND SINCE main 3 5 1970-01-01T00:00:01Z kept main 4 7 1970-01-01T00:00:02Z being taken off, by age", "shards", "splits")
	f(`ann node.keys {}`, "TENANT KID ALG SIGNS acme acme-2 HS256 yes", "keys")
	f(`ann node.keys {"action":"create","tenant":"acme","kid":"acme-2"}`, "acme-2", "keys", "create", "acme", "--kid", "acme-2")
	f(`ann node.keys {"action":"remove","tenant":"acme","kid":"acme-1","last":true}`, "acme-2", "keys", "remove", "acme", "acme-1", "--last")
	f(`ann node.tenants {}`, "TENANT PLACEMENT IN THE FILE MADE BY acme eu false 1970-01-01T00:00:00Z olga demo main true - -", "tenants")
	f(`ann node.tenants {"action":"create","tenant":"acme","placement":"eu","origins":["https://a.example"],"wrapup_ms":7}`,
		"nothing is changed", "tenants", "create", "acme", "--placement", "eu", "--origin", "https://a.example", "--wrapup-ms", "7")
	f(`ann node.tenants {"action":"create","tenant":"acme"}`, "when they are back: n2", "tenants", "create", "acme")
	f("", "set --kid", "keys", "create", "acme")
	f("", "set --file", "keys", "add", "acme")
	pem := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(pem, []byte("-----BEGIN PUBLIC KEY-----"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(`ann node.keys {"action":"add","tenant":"acme","key":{"kid":"k","pem":"-----BEGIN PUBLIC KEY-----"},"first":true}`, "acme-2", "keys", "add", "acme", "--file", pem, "--kid", "k", "--first")
	f("", "is not the number of a shard", "shards", "split", "x")
	f(`ann place {"place":{"name":"eu","shards":null,"copies":3,"require":{"region":"eu"},"tenants":["haus"]},"shards":4,"dry":true}`,
		"placement eu would have 4 shards of 3 copies on n1 n2", "placements", "create", "eu", "--require", "region=eu", "--shards", "4", "--tenant", "haus", "--dry-run")
	f(`ann assign {"placement":"eu","tenants":["haus","bahn"]}`, "in placement eu: haus bahn", "placements", "assign", "eu", "haus", "bahn")
	f("", "tenants", "placements", "assign", "eu")
	f(`ann require {"placement":"eu","labels":{"region":"eu","tier":"gold"}}`, "placement eu may be on n2; still elsewhere: n1", "placements", "require", "eu", "region=eu", "tier=gold")
	f(`ann require {"placement":"eu","dry":true}`, "may be on n2", "placements", "require", "eu", "--none", "--dry-run")
	f("", "labels or --none", "placements", "require", "eu")
	f("", "is no LABEL=VALUE", "placements", "require", "eu", "region")
	f("", "refused: node n2 still has replicas", "nodes", "remove", "n2")
	f(`ann remove {"node":2,"lost":true}`, "1 shard had a copy there "+
		"placement main wants 3 copies, and has 1 node left for them: add a node, or its shards stay without the copies that are missing", "nodes", "remove", "n2", "--disk-lost")
	f("", "there is no node n7", "nodes", "drain", "n7")
	f("", "is not the number of a move", "shards", "moves", "abort", "x")
	if _, err := run("nodes", "remove", "2", "--at", ln.Addr().String(), "--cluster-tls", certs, "--as", "ann"); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("a refusal is %v", err)
	}
	if out, err := run("cluster", "status", "--at", ln.Addr().String()); err == nil || !strings.Contains(err.Error(), "set --cluster-tls") {
		t.Errorf("who shows no certificate is told %s, %v", out, err)
	}
	if _, err := run("cluster", "status", "--at", ln.Addr().String(), "--cluster-tls", certs, "--as", "bob"); err == nil || !strings.Contains(err.Error(), "bob") {
		t.Errorf("bob has no certificate: %v", err)
	}
}

// A drain is not over as long as it is not known what is left: whoever has just come to lead the cluster does not say, and who leads nothing tells what was.
func TestDrainOver(t *testing.T) {
	f := func(over bool, stale bool, phase cluster.Phase, connections int, leaving *cluster.Leaving) {
		t.Helper()
		r := &member.Report{Stale: stale, Nodes: []member.NodeReport{{Node: cluster.Node{ID: 2, Phase: phase}, Connections: connections, Leaving: leaving}}}
		if x := left(r, 2); x.over() != over {
			t.Errorf("over is %v of %+v", !over, x)
		}
	}
	f(true, false, cluster.Draining, 0, &cluster.Leaving{})
	f(false, false, cluster.Draining, 3, &cluster.Leaving{})
	f(false, false, cluster.Draining, 0, &cluster.Leaving{Leads: 1})
	f(false, false, cluster.Draining, 0, &cluster.Leaving{Holds: 1})
	f(false, false, cluster.Draining, 0, nil)
	f(false, true, cluster.Draining, 0, &cluster.Leaving{})
	f(true, false, cluster.Up, 3, nil) // it was taken back
	f(false, true, cluster.Up, 3, nil)
	f(true, false, cluster.Gone, 0, nil)
}
