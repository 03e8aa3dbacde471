package node_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// splits splits a shard and waits until it is over.
func splits(t *testing.T, op *member.Operations, shard uint16) *cluster.Split {
	t.Helper()
	x, err := op.Split(t.Context(), "ann", shard, "", "a test", false)
	if err != nil {
		t.Fatal(err)
	}
	return over(t, op, x.To)
}

// over waits until the split that has made a shard is over.
func over(t *testing.T, op *member.Operations, to uint16) *cluster.Split {
	t.Helper()
	var last *cluster.Split
	if !happens(90*time.Second, 50*time.Millisecond, func() bool {
		r, err := op.Status(t.Context())
		if err != nil {
			return false
		}
		for i := range r.Places {
			if x := r.Places[i].Split; x != nil && x.To == to {
				last = x
			}
		}
		return last != nil && !last.Open()
	}) {
		t.Fatalf("the split does not end: %v", last)
	}
	return last
}

// TestSplit splits a shard of a node alone in its cluster, while customers and bots talk: every word is answered, once and in order, and a
// feed tells each once.
func TestSplit(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	n := w.start("a", func(c *node.Config) { c.Shards = 1 })
	op := member.At(w.addrs["a"], member.Seat{Name: "ann", Plain: true})
	if x, err := op.Split(t.Context(), "ann", 0, "", "", true); err != nil || x.To != 1 || len(x.Slots) != wire.Slots/2 {
		t.Fatalf("a dry run: %v, %v", x, err)
	}
	const people, words = 12, 40
	sup := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	sup.ask("watch", obj{})
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"default"}, "slots": 64, "window": 64})
	var wg, bots sync.WaitGroup
	bots.Go(func() { echo(bot) })
	ids := make([]string, people)
	for i := range people {
		c := login(t, n, customerOf(fmt.Sprint("c", i)))
		wg.Go(func() {
			ids[i] = c.open(obj{})
			for k := range words {
				word := fmt.Sprintf("%d of c%d", k, i)
				c.ask("send", obj{"session": ids[i], "body": text(word), "key": fmt.Sprint("k", k)})
				for want := "re: " + word; ; {
					if m := c.push("message"); bodyText(m) == want {
						break
					}
				}
			}
		})
	}
	x := splits(t, op, 0)
	wg.Wait()
	if x.Moved != wire.Slots/2 {
		t.Fatalf("%v", x)
	}
	// Everything is there, once and in order, on either side; and both sides have something.
	r, err := op.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sides := map[bool]int{}
	for i, id := range ids {
		_, slot, _ := wire.SessionID(id).Place()
		there := false
		for _, s := range r.Places[0].Slots(x.To, wire.Slots) {
			there = there || s == slot.Number()
		}
		sides[there]++
		c := login(t, n, customerOf(fmt.Sprint("c", i)))
		if got := c.open(obj{}); got != id {
			t.Fatalf("c%d has another session, %s after %s", i, got, id)
		}
		want := 0
		for _, e := range c.ask("history", obj{"session": id, "limit": 100})["entries"].([]any) {
			m := e.(obj)
			if m["kind"] != "message" {
				continue
			}
			word := fmt.Sprintf("%d of c%d", want/2, i)
			if want%2 == 1 {
				word = "re: " + word
			}
			if bodyText(m) != word {
				t.Fatalf("c%d, line %d: %q; want %q", i, want, bodyText(m), word)
			}
			want++
		}
		if want != 2*words {
			t.Fatalf("c%d has %d lines; want %d", i, want, 2*words)
		}
		// A key that was used before the split is remembered behind it.
		if d := c.ask("send", obj{"session": id, "body": text(fmt.Sprintf("0 of c%d", i)), "key": "k0"}); d["duplicate"] != true {
			t.Fatalf("a key is forgotten: %v", d)
		}
		_ = c.ws.Close()
	}
	if sides[false] == 0 || sides[true] == 0 {
		t.Fatalf("sessions by side: %v", sides)
	}
	seen := map[string]int{}
	for n := 0; n < 2*words*people; {
		m := sup.push("message")
		if m["kind"] != "message" {
			continue
		}
		id := m["session"].(string)
		i := 0
		for ids[i] != id {
			i++
		}
		word := fmt.Sprintf("%d of c%d", seen[id]/2, i)
		if seen[id]%2 == 1 {
			word = "re: " + word
		}
		if bodyText(m) != word {
			t.Fatalf("the feed has %q of c%d; want %q", bodyText(m), i, word)
		}
		seen[id]++
		n++
	}
	_ = bot.ws.Close()
	bots.Wait()
	talk(t, n, n, "late")
	// It comes back as it was, and is split again, the new part too.
	w.stop("a")
	recorded(t, w.dirs["a"], ids...)
	n = w.start("a", func(c *node.Config) { c.Shards = 1 })
	for _, shard := range []uint16{1, 0} {
		splits(t, op, shard)
	}
	for i, id := range ids {
		c := login(t, n, customerOf(fmt.Sprint("c", i)))
		if h := c.ask("history", obj{"session": id, "limit": 100})["entries"].([]any); len(h) < 2*words {
			t.Fatalf("c%d has %d entries", i, len(h))
		}
		_ = c.ws.Close()
	}
	w.stop("a")
}

// echo answers whatever is delivered to a bot, under a key for each, until its connection ends. What is delivered again is answered again.
func echo(p *peer) {
	for {
		f := p.read()
		if f == nil {
			return
		}
		d, ok := f["delivery"].(obj)
		if !ok || d["kind"] != "message" {
			continue
		}
		p.next++
		if p.tryWrite(obj{"id": p.next, "reply": obj{
			"session": d["session"], "ae": d["ae"], "ack": d["seq"], "key": fmt.Sprint("re", d["seq"]), "body": text("re: " + bodyText(d)),
		}}) != nil {
			return
		}
	}
}
