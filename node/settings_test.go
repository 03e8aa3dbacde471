package node_test

import (
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"switchboard/node"
	"switchboard/wire"
)

// What a document says of the tenant himself counts as soon as it is applied, at sessions that are there too; where it says nothing the node's configuration does,
// also when the document before had said something.
func TestDocumentSettings(t *testing.T) {
	dir := t.TempDir()
	configure := func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"demo": {
			Queues: []node.Queue{{Name: "default"}, {Name: "vip"}}, DefaultQueue: "default", MaxAttempts: 2, Origins: []string{"https://shop.example"},
		}}
	}
	n := start(t, dir, configure)
	defer func() { stop(t, n) }()
	const queues = "version: 1\nqueues: [{name: default}, {name: vip}]\n"
	r := supervisor(t, n)
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"*"}, "slots": 50})
	alice := login(t, n, customerOf("alice"))
	id := alice.open(obj{})
	alice.ask("send", obj{"session": id, "body": text1})
	a := bot.push("assigned")
	if a["queue"] != "default" {
		t.Fatalf("by the configuration it goes to %v", a["queue"])
	}

	// attempts fails deliveries of a session until it moves on, and returns how many there were.
	attempts := func(session, ae any) (n int) {
		t.Helper()
		for {
			d := bot.push("delivery")
			if d["session"] != session {
				continue
			}
			n++
			bot.ask("nack", obj{"session": session, "ae": ae, "seq": d["seq"]})
			for {
				f := bot.read()
				if f == nil {
					t.Fatal("the connection has ended")
				}
				if x, ok := f["revoked"].(obj); ok && x["session"] == session {
					return n
				}
				if x, ok := f["delivery"].(obj); ok && x["session"] == session {
					bot.in = append([]obj{f}, bot.in...)
					break
				}
			}
		}
	}
	// began opens a session of somebody else, and returns what its worker is told of it.
	began := func(who string) (p *peer, session string, assigned obj) {
		t.Helper()
		p = login(t, n, customerOf(who))
		session = p.open(obj{})
		p.ask("send", obj{"session": session, "body": text1})
		for assigned["session"] != session {
			assigned = bot.push("assigned")
		}
		return p, session, assigned
	}
	// from waits until a browser of an origin is let in, or is not.
	from := func(origin string, want bool) {
		t.Helper()
		for late := time.Now().Add(patience); ; {
			p := dialWith(t, n.Addr(), http.Header{"Origin": {origin}})
			f := p.answer(p.send("hello", obj{"token": mint(t, n, customerOf("carol"))}))
			_ = p.ws.Close()
			if in := f["hello"] != nil; in == want {
				return
			}
			if time.Now().After(late) {
				t.Fatalf("from %s: %v", origin, f)
			}
		}
	}
	from("https://shop.example", true)
	from("https://other.example", false)

	r.applied(0, queues+"default_queue: vip\nmax_attempts: 1\nreopen_window_ms: 1\norigins: [\"https://other.example\"]\n")
	if n := attempts(id, a["ae"]); n != 1 { // of a session that was there before
		t.Fatalf("it moved on after %d attempts", n)
	}
	ben, of, as := began("ben")
	if as["queue"] != "vip" {
		t.Fatalf("by the document it goes to %v", as["queue"])
	}
	bot.ask("close", obj{"session": of, "ae": as["ae"]})
	end := ben.push("message")
	for end["type"] != "session.closed" {
		end = ben.push("message")
	}
	for time.Now().UnixMilli() <= int64(num(end["ts"])) { // its millisecond is not over
		runtime.Gosched()
	}
	ben.refused("session_closed", "send", obj{"session": of, "body": text1})
	from("https://other.example", true)
	from("https://shop.example", false)

	stop(t, n) // all of it stays
	n = start(t, dir, configure)
	r = supervisor(t, n)
	from("https://other.example", true)
	from("https://shop.example", false)
	bot = login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"*"}, "slots": 50})
	_, of, as = began("dora")
	if as["queue"] != "vip" || attempts(of, as["ae"]) != 1 {
		t.Fatalf("after the restart %v", as)
	}

	r.applied(1, queues+"origins: [\"*\"]\nwrapup_ms: 600000\n")
	ben = login(t, n, customerOf("ben"))
	id = ben.open(obj{})
	ben.ask("send", obj{"session": id, "body": text1})
	as = bot.push("assigned")
	if as["session"] != id || as["queue"] != "default" {
		t.Fatalf("by the configuration again: %v", as)
	}
	bot.ask("close", obj{"session": id, "ae": as["ae"]})
	for ben.push("message")["type"] != "session.closed" {
	}
	ben.ask("send", obj{"session": id, "body": text1}) // reopens it
	if as = bot.push("assigned"); as["session"] != id {
		t.Fatalf("%v", as)
	}
	if n := attempts(id, as["ae"]); n != 2 {
		t.Fatalf("it moved on after %d attempts", n)
	}
	from("https://shop.example", true)
	from("https://other.example", true)

	// Who had a session has his time for what is left to do.
	ann := login(t, n, workerOf("ann", wire.OriginHuman))
	ann.subscribe(obj{"queues": []string{"*"}, "slots": 5})
	o := ann.push("offer")
	ann.ask("accept", obj{"offer": o["offer"]})
	mine := ann.push("assigned")
	ann.ask("release", obj{"session": mine["session"], "ae": mine["ae"]})
	ann.ask("wrapup", obj{"session": mine["session"], "ae": mine["ae"], "done": true})
	r.applied(2, queues)
	from("https://other.example", false)
}

// A rate at which a snapshot would stand still is refused.
func TestSnapshotRateBounds(t *testing.T) {
	f := func(rate int, want string) {
		t.Helper()
		cfg := node.Config{Data: t.TempDir(), Dev: true, Cluster: node.Cluster{Listen: "127.0.0.1:0", SnapshotRate: rate}}
		err := cfg.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("snapshot_rate %d: %v; want %q", rate, err, want)
		}
	}
	f(0, "")
	f(64<<10, "")
	f(1, "65536 bytes a second or more")
	f(-1, "65536 bytes a second or more")
}

// What a cluster would refuse of its founder, or of a node that joins, is a mistake of the file: it is said before anything is written, and not by
// what fails in its wake.
func TestClusterBounds(t *testing.T) {
	f := func(change func(c *node.Config), want string) {
		t.Helper()
		cfg := node.Config{Data: t.TempDir(), Dev: true, Cluster: node.Cluster{Listen: "127.0.0.1:0"}}
		change(&cfg)
		err := cfg.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	copies := func(n int, want string) {
		t.Helper()
		f(func(c *node.Config) { c.Cluster.Copies = n }, want)
	}
	copies(0, "")
	copies(1, "")
	copies(7, "")
	copies(2, "cluster.copies is 2: it must be 1, 3, 5 or 7")
	copies(9, "cluster.copies is 9: it must be 1, 3, 5 or 7")
	weight := func(n int, want string) {
		t.Helper()
		f(func(c *node.Config) { c.Cluster.Weight = n }, want)
	}
	weight(10_000, "")
	weight(10_001, "cluster.weight is 10001: it must be 1 to 10000")
	name := func(n, want string) {
		t.Helper()
		f(func(c *node.Config) { c.Name = n }, want)
	}
	name("rack-1.n1", "")
	name("node one", `name is "node one"`)
	f(func(c *node.Config) { c.Name, c.Cluster = "node one", node.Cluster{} }, "")
	f(func(c *node.Config) { c.Cluster.Advertise = "n1" }, `"n1" is no host:port of a cluster`)
	listen := func(addr string, plain bool, want string) {
		t.Helper()
		f(func(c *node.Config) { c.Cluster.Listen, c.Cluster.Plain = addr, plain }, want)
	}
	listen("localhost:7570", false, "")
	listen("[::1]:7570", false, "")
	listen("10.0.0.1:7570", true, "")
	listen("10.0.0.1:7570", false, "set cluster.tls")
	listen(":7570", false, "set cluster.tls")
}
