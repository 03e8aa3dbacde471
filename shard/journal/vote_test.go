package journal

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"switchboard/shard/journal/replica"
)

// All three nodes lose their power at once, again and again, and come back where nobody hears them: each knows in which term it was and
// for whom it has voted in it, and so will not vote for another. Leaders are changed just before, so that neither a later entry nor
// the fence can tell it.
func TestVoteSurvivesPowerCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type promise struct{ term, vote uint64 }
		of := func(p *peer) (is promise) {
			must(t, p.j.do(func() error { is = promise{p.j.groups[1].meta.term, p.j.groups[1].meta.vote}; return nil }))
			return is
		}
		rng := rand.New(rand.NewPCG(1, 4))
		n := three(t, 1)
		votes := 0
		for round := range 6 {
			lead := n.leader(1, 1, 2, 3)
			must(t, lead.j.Transfer(1, replica.ID(1+lead.id%3, 1)))
			n.leader(1, 1, 2, 3)
			was := map[uint32]promise{}
			for id, p := range n.nodes {
				n.isolate(id, true)
				was[id] = of(p)
			}
			for id := range n.nodes {
				n.stop(id, true, rng)
			}
			for id, p := range n.nodes {
				n.start(id)
				is := of(p)
				if was[id].vote != 0 {
					votes++
				}
				if is.term < was[id].term || is.term == was[id].term && is.vote != was[id].vote {
					t.Errorf("round %d: node %d had promised %+v, and knows of %+v", round, id, was[id], is)
				}
			}
			for id := range n.nodes {
				n.isolate(id, false)
			}
		}
		if votes == 0 {
			t.Error("nobody has voted")
		}
		n.close()
	})
}
