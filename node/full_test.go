package node_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"switchboard/cluster/member"
	"switchboard/edge"
	"switchboard/node"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// Where all disks are full somebody leads all the same, also behind a node that has gone: what is stored can be read, and who writes is refused at once.
func TestFullClusterIsLed(t *testing.T) {
	const plenty, little = 10 << 30, 1 << 20
	w := newTown(t)
	var left atomic.Uint64
	left.Store(plenty)
	nodes := map[string]*node.Node{}
	for _, name := range []string{"a", "b", "c"} {
		nodes[name] = w.start(name, func(c *node.Config) {
			c.FreeMin = 1 << 30
			c.Tune(func(j *journal.Config, _ *edge.Config) {
				j.Free = func() (uint64, uint64, error) { return left.Load(), 100 << 30, nil }
			})
		})
	}
	op := member.At(w.addrs["a"], member.Seat{Name: "ann", Plain: true})
	until(t, "three copies", func() bool {
		r, err := op.Status(t.Context())
		if err != nil {
			return false
		}
		for i := range r.Shards {
			n := 0
			for _, rep := range r.Shards[i].Replicas {
				if !rep.Learner && rep.Answers {
					n++
				}
			}
			if n < 3 {
				return false
			}
		}
		return len(r.Nodes) == 3 && r.Nodes[0].Leads > 0 && r.Nodes[1].Leads > 0 && r.Nodes[2].Leads > 0
	})
	var ids []string
	c := login(t, nodes["a"], customerOf("late"))
	for range 8 {
		id := c.open(obj{})
		c.ask("send", obj{"session": id, "body": text("hello")})
		ids = append(ids, id)
	}
	left.Store(little)
	for name := range nodes {
		until(t, name+" is full", func() bool {
			status, body := get(t, nodes[name], "/readyz")
			return status != 200 && strings.Contains(body, journal.ErrNoSpace.Error())
		})
	}
	w.stop("c")
	for _, id := range ids {
		until(t, "a customer reads", func() bool {
			_, refused := c.answer(c.send("history", obj{"session": id, "limit": 10}))["error"]
			return !refused
		})
		f := c.answer(c.send("send", obj{"session": id, "body": text("still there?")}))
		if e, ok := f["error"].(obj); !ok || e["slug"] != string(wire.Unavailable) {
			t.Errorf("a customer's word was answered with %v", f)
		}
	}
}
