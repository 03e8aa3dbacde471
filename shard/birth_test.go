package shard_test

import (
	"testing"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Nobody can compute the id of a session from what its customer, shop and tenant are called: who could would find a shop's name that leads to the id of
// somebody else's session, and begin his own in its place. Two nodes that were told the same give different ids.
func TestSessionIDsAreChance(t *testing.T) {
	given := map[wire.SessionID]bool{}
	for range 2 {
		n := start(t, t.TempDir(), 1)
		alice := n.conn(customer("alice"))
		for _, shop := range []string{"", "s1", "s2"} {
			id := alice.open(&wirepb.Open{Shop: shop})
			if given[id] {
				t.Errorf("%s is given again, for the same shop %q of the same customer elsewhere", id, shop)
			}
			given[id] = true
		}
		n.stop()
	}
}
