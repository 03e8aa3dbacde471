package replica

import (
	cryptorand "crypto/rand"
	"math/rand/v2"
	"testing"
)

// quietCluster runs until every group has a leader, and no further.
func quietCluster(t *testing.T, seed uint64) *cluster {
	t.Helper()
	old := cryptorand.Reader
	cryptorand.Reader = seeded{rand.New(rand.NewPCG(seed, 2))}
	t.Cleanup(func() { cryptorand.Reader = old })
	c := newCluster(seed, 3, 4, "")
	c.faults = false
	for range 500 {
		c.steps(t, 1)
	}
	for _, g := range c.groups {
		if c.leader(g) == nil {
			t.Fatalf("group %d has no leader", g)
		}
	}
	return c
}

func (c *cluster) steps(t *testing.T, n int) {
	t.Helper()
	for range n {
		if err := c.step(); err != nil {
			t.Fatal(err)
		}
	}
}

// Those who are told that the process of their leader has ended have another within a fraction of an election's time, whoever of them is
// told first. One tick is three steps.
func TestGone(t *testing.T) {
	for seed := range uint64(20) {
		c := quietCluster(t, seed)
		dead := c.leader(0)
		var led []uint16
		for _, g := range c.groups {
			if c.leader(g) == dead {
				led = append(led, g)
			}
		}
		dead.crash()
		c.steps(t, 2)
		for i, m := range c.machines {
			if m.up {
				m.host.Gone(dead.node)
				c.steps(t, i%2) // not all hear of it at once
			}
		}
		const ticks = 6 // less than the ten of an election, before which nobody would even ask
		c.steps(t, 3*ticks)
		for _, g := range led {
			if c.leader(g) == nil {
				t.Errorf("seed %d: group %d has no leader after %d ticks", seed, g, ticks)
			}
		}
	}
}

// One who is wrong about a node's end changes nothing: the others hear of their leader.
func TestGoneIsWrong(t *testing.T) {
	for seed := range uint64(20) {
		c := quietCluster(t, seed)
		was := map[uint16]*machine{}
		terms := map[uint16]uint64{}
		for _, g := range c.groups {
			was[g] = c.leader(g)
			terms[g] = was[g].leads[g]
		}
		for _, m := range c.machines {
			if m != was[0] {
				m.host.Gone(was[0].node)
				break
			}
		}
		c.steps(t, 200)
		for _, g := range c.groups {
			if l := c.leader(g); l != was[g] || l.leads[g] != terms[g] {
				t.Errorf("seed %d: group %d has another leader", seed, g)
			}
		}
	}
}
