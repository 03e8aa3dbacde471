package sim_test

import (
	"testing"
	"time"

	"switchboard/wire"
)

// TestBrief is TestCluster in small: three or four nodes as in the binary, one or two shards, two customers with two devices each, a bot and a
// person, and three things that go wrong, so that a seed costs a tenth. All is checked that TestCluster checks. What takes many seeds to
// come about is found here; what takes many nodes, shards or people at once, there.
func TestBrief(t *testing.T) { eachOf(t, seedsOr(t, 60), 20, runBrief) }

func runBrief(t *testing.T, seed uint64) *ledger {
	p := beginWith(t, seed, &company{
		nodes: 3 + int(seed/2%2), shards: 1 + int(seed/4%2), devices: 4, chat: 500 * time.Millisecond, worst: 1500 * time.Millisecond, //nolint:gosec // small
		staff: []*staff{{name: "bot0", kind: wire.OriginBot, slots: 2}, {name: "hans", kind: wire.OriginHuman, slots: 1}},
	})
	for range 3 {
		p.fault()
		time.Sleep(time.Duration(p.rng.IntN(1000)) * time.Millisecond)
	}
	return p.end()
}
