package shard_test

import (
	"fmt"
	"testing"

	"switchboard/shard"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// In a queue of strict order the attribute priority says who is next, the smaller number first, whoever came before; without one it is 0.
func TestStrictGoesByTheAttribute(t *testing.T) {
	n := startWith(t, "version: 1\nqueues: [{name: default, order: {mode: strict}, route: [{who: bots}]}]\n")
	defer n.stop()
	names := map[wire.SessionID]string{}
	var customers []*conn
	for _, x := range []struct{ name, attributes string }{
		{"late", `{"priority": 7}`}, {"least", `{"priority": 4e12}`}, {"word", `{"priority": "9"}`}, {"first", `{"priority": -3}`}, {"soon", `{"priority": 2.5}`},
	} {
		c := n.conn(customer(x.name))
		id := c.open(&wirepb.Open{Attributes: []byte(x.attributes)})
		names[id] = x.name
		c.send(id, "", "hi")
		customers = append(customers, c)
	}
	for _, c := range customers {
		for c.next(wire.FramePush).PB.GetState().GetPosition() == 0 { // the pool has not told him his place
			continue
		}
	}
	bot := n.conn(worker("bot", wire.OriginBot))
	bot.subscribe(8, "")
	var got []string
	for range names {
		got = append(got, names[bot.next(wire.FrameAssigned).Session])
	}
	if want := "[first word soon late least]"; fmt.Sprint(got) != want {
		t.Fatalf("they are served %v; want %s", got, want)
	}
}

// startWith starts a node of one shard that goes by a document.
func startWith(t *testing.T, doc string) *node {
	t.Helper()
	r, err := tenants(0)["demo"].Routed(shard.Document{Text: []byte(doc)})
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, t.TempDir(), 1)
	n.shards[0].Close()
	cfg := shard.Config{Peers: []wire.Slot{0}, Tenants: map[string]*shard.Tenant{"demo": r}, Opening: 1}
	for s := range wire.Slot(wire.Slots) {
		cfg.Slots = append(cfg.Slots, s)
	}
	if n.shards[0], err = shard.Open(n.x, n.j.Group(0), cfg); err != nil {
		t.Fatal(err)
	}
	return n
}
