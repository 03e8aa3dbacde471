package node_test

import (
	"fmt"
	"net"
	"testing"

	"switchboard/edge/token"
	"switchboard/wire"
)

// watched reads what is pushed with a cursor until done says so, and returns the last cursor. What comes again is passed over
// [SW-4.10]; per session nothing may be missing in what comes.
type watched struct {
	t      testing.TB
	p      *peer
	seen   map[string]map[int]obj // session → seq → entry
	last   map[string]int
	cursor string
}

func watch(t testing.TB, p *peer, body obj) *watched {
	t.Helper()
	w := &watched{t: t, p: p, seen: map[string]map[int]obj{}, last: map[string]int{}}
	w.cursor, _ = p.ask("watch", body)["cursor"].(string)
	if w.cursor == "" {
		t.Fatal("watch was answered without a cursor")
	}
	return w
}

// until reads on until the entry has come.
func (w *watched) until(session string, seq int) {
	w.t.Helper()
	for w.seen[session][seq] == nil {
		m := w.p.push("message")
		if m["cursor"] == nil {
			continue // of a session that the connection follows
		}
		w.cursor = m["cursor"].(string)
		id, at := m["session"].(string), num(m["seq"])
		if w.seen[id] == nil {
			w.seen[id] = map[int]obj{}
		}
		if w.seen[id][at] == nil && at < w.last[id] {
			w.t.Fatalf("%s: %d came behind %d", id, at, w.last[id])
		}
		w.last[id] = max(w.last[id], at)
		w.seen[id][at] = m
	}
}

// [SW-4.10] Who watches sees every entry of the scope that he may, live, behind a cursor, and again after a reconnect.
func TestWatch(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	login(t, n, customerOf("alice")).refused("forbidden", "watch", obj{})
	login(t, n, workerOf("bob", wire.OriginHuman)).refused("forbidden", "watch", obj{})
	sue := login(t, n, supervisorOf("sue"))
	sue.refused("position_gone", "watch", obj{"from": "nonsense"})
	w := watch(t, sue, obj{})

	type talk struct {
		p    *peer
		id   string
		last int
	}
	var talks []*talk
	for i := range 8 { // on several shards
		p := login(t, n, customerOf(fmt.Sprint("c", i)))
		talks = append(talks, &talk{p: p, id: p.open(obj{"shop": []string{"north", "south"}[i%2], "queue": []string{"default", "refunds"}[i%2], "channel": "app"})})
	}
	say := func(times int) {
		for range times {
			for _, c := range talks {
				c.last = num(c.p.ask("send", obj{"session": c.id, "body": text("x")})["seq"])
			}
		}
	}
	whole := func(w *watched, from map[string]int, ids ...*talk) {
		t.Helper()
		for _, c := range ids {
			w.until(c.id, c.last)
			for seq := from[c.id] + 1; seq <= c.last; seq++ {
				if w.seen[c.id][seq] == nil {
					t.Fatalf("%s: %d of %d never came", c.id, seq, c.last)
				}
			}
		}
	}
	say(3)
	whole(w, nil, talks...)
	// Away for longer than a page holds.
	_ = sue.ws.Close()
	from := map[string]int{}
	for id, seqs := range w.seen {
		from[id] = len(seqs)
	}
	say(40)
	back := login(t, n, supervisorOf("sue"))
	w2 := watch(t, back, obj{"from": w.cursor})
	say(1)
	whole(w2, from, talks...)

	// Scopes, and who may see what.
	shop := supervisorOf("tom")
	shop.Shop = "south"
	f := func(c token.Claims, scope obj, none func(*talk) bool, staff bool) {
		t.Helper()
		p := login(t, n, c)
		w := watch(t, p, obj{"scope": scope})
		say(1)
		for _, c := range talks {
			if !none(c) {
				w.until(c.id, c.last)
			}
		}
		for id, seqs := range w.seen {
			for _, c := range talks {
				if c.id == id && none(c) {
					t.Fatalf("scope %v shows %s: %v", scope, id, seqs)
				}
			}
			for _, m := range seqs {
				if m["visibility"] == "staff" && !staff {
					t.Fatalf("a service sees %v", m)
				}
			}
		}
		_ = p.ws.Close()
	}
	odd := func(c *talk) bool { return c != talks[1] && c != talks[3] && c != talks[5] && c != talks[7] }
	f(supervisorOf("sue"), obj{"shop": "south"}, odd, true)
	f(supervisorOf("sue"), obj{"queue": "refunds"}, odd, true)
	f(shop, obj{}, odd, true)
	f(supervisorOf("sue"), obj{"channel": "app"}, func(*talk) bool { return false }, true)
	f(supervisorOf("sue"), obj{"channel": "email"}, func(*talk) bool { return true }, true)
	f(token.Claims{Sub: "crm", Role: wire.RoleService}, obj{}, func(*talk) bool { return false }, false)
	abroad := supervisorOf("sue")
	abroad.Tenant = "acme"
	f(abroad, obj{}, func(*talk) bool { return true }, true)

	// A worker's scope is what he may see [SW-5.10].
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	pw := login(t, n, supervisorOf("eve"))
	ww := watch(t, pw, obj{"scope": obj{"worker": "bot"}})
	bot.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	as := bot.push("assigned")
	id, ae := as["session"].(string), as["ae"]
	r := bot.ask("reply", obj{"session": id, "ae": ae, "body": text("hello"), "visibility": "staff"})
	say(1)
	ww.until(id, num(r["seq"]))
	for _, c := range talks {
		if c.id == id {
			ww.until(id, c.last)
		} else if ww.seen[c.id] != nil {
			t.Fatalf("the scope of bot shows %v", ww.seen[c.id])
		}
	}
}

// [SW-4.10] A slow watcher loses nothing: what its outbox had no room for is read again.
func TestWatchSlowly(t *testing.T) {
	n := start(t, t.TempDir(), impatient)
	defer stop(t, n)
	sue := login(t, n, supervisorOf("sue"))
	if err := sue.ws.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	w := watch(t, sue, obj{})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	last := 0
	big := text(fmt.Sprintf("%020000d", 7))
	dropped := func() bool { return metric(t, n, "switchboard_edge_pushes_dropped_total", "") > 0 }
	for i := 0; i < 100 || !dropped(); i++ { // 2 MB and more, which nobody reads
		if last = num(a.ask("send", obj{"session": id, "body": big})["seq"]); i == 1000 {
			t.Fatal("the outbox had room for everything: nothing is tested")
		}
	}
	w.until(id, last)
	for seq := 1; seq <= last; seq++ {
		if w.seen[id][seq] == nil {
			t.Fatalf("%d of %d never came", seq, last)
		}
	}
}

// [SW-4.10] A cursor outlives the node that gave it.
func TestWatchAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	w := watch(t, login(t, n, supervisorOf("sue")), obj{})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	first := num(a.ask("send", obj{"session": id, "body": 1})["seq"])
	w.until(id, first)
	last := num(a.ask("send", obj{"session": id, "body": 2})["seq"])
	stop(t, n)
	n = start(t, dir)
	defer stop(t, n)
	w2 := watch(t, login(t, n, supervisorOf("sue")), obj{"from": w.cursor})
	w2.until(id, last)
	for seq := first + 1; seq <= last; seq++ {
		if w2.seen[id][seq] == nil {
			t.Fatalf("%d was said while nobody watched, and never came", seq)
		}
	}
}
