package shard_test

import (
	"errors"
	"testing"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// Whoever does not lead any more in the term that he has heard of is no owner: what he has read may be behind what another has decided, and his number may be
// below that of an owner before him.
func TestOpenedInATermThatIsOver(t *testing.T) {
	n := start(t, t.TempDir(), 1)
	defer n.stop()
	n.shards[0].Close()
	before := n.shards[0].Term()
	term := n.j.Group(0).Term()
	conf := shard.Config{Opening: 1, Peers: []wire.Slot{0}, Tenants: tenants(0)}
	for s := range wire.Slots {
		conf.Slots = append(conf.Slots, wire.Slot(s)) //nolint:gosec // below wire.Slots
	}
	for _, over := range []uint64{term - 1, term + 1} {
		conf.Led = over
		if s, err := shard.Open(exchange.New(1), n.j.Group(0), conf); !errors.Is(err, journal.ErrNotLeading) {
			if err == nil {
				s.Close()
			}
			t.Fatalf("in term %d of %d it is opened: %v", over, term, err)
		}
	}
	conf.Led = term
	s, err := shard.Open(n.x, n.j.Group(0), conf)
	if err != nil {
		t.Fatal(err)
	}
	if n.shards[0] = s; s.Term() <= before {
		t.Errorf("its number is %d, behind %d", s.Term(), before)
	}
}
