package node_test

import (
	"sync/atomic"
	"testing"
	"time"

	"switchboard/cluster/member"
	"switchboard/edge"
	"switchboard/node"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// A node whose disk fills up while it leads lets others lead, who have room: customers write on, also those who are connected to it. When there is
// room again it leads its share; when nobody has room, everybody is refused and nothing is given to and fro.
func TestFullLeaderHandsOver(t *testing.T) {
	once(t)
	t.Parallel()
	const plenty, little = 10 << 30, 1 << 20
	w := newTown(t)
	free := map[string]*atomic.Uint64{}
	nodes := map[string]*node.Node{}
	for _, name := range []string{"a", "b", "c"} {
		left := &atomic.Uint64{}
		left.Store(plenty)
		free[name] = left
		nodes[name] = w.start(name, func(c *node.Config) {
			c.FreeMin = 1 << 30
			c.Tune(func(j *journal.Config, _ *edge.Config) {
				j.Free = func() (uint64, uint64, error) { return left.Load(), 100 << 30, nil }
			})
		})
	}
	op := member.At(w.addrs["a"], member.Seat{Name: "ann", Plain: true})
	leads := func() (list map[string]int, voters int) {
		r, err := op.Status(t.Context())
		if err != nil {
			return nil, 0
		}
		list = map[string]int{}
		for i := range r.Nodes {
			list[r.Nodes[i].Name] = r.Nodes[i].Leads
		}
		voters = 9
		for i := range r.Shards {
			n := 0
			for _, rep := range r.Shards[i].Replicas {
				if !rep.Learner && rep.Answers {
					n++
				}
			}
			voters = min(voters, n)
		}
		return list, voters
	}
	wait := func(what string, yes func(list map[string]int, voters int) bool) {
		t.Helper()
		var list map[string]int
		if happens(60*time.Second, 50*time.Millisecond, func() bool {
			var voters int
			list, voters = leads()
			return yes(list, voters)
		}) {
			return
		}
		t.Fatalf("%s: they lead %v", what, list)
	}
	wait("every shard has three copies, and every node leads some", func(l map[string]int, voters int) bool {
		return voters == 3 && l["a"] > 0 && l["b"] > 0 && l["c"] > 0
	})
	free["a"].Store(little)
	wait("the full node leads nothing", func(l map[string]int, _ int) bool { return l != nil && l["a"] == 0 && l["b"]+l["c"] >= 4 })
	for _, name := range []string{"a", "b"} {
		talk(t, nodes[name], nodes["c"], "at-"+name)
	}
	free["a"].Store(plenty)
	wait("it leads its share again", func(l map[string]int, _ int) bool { return l["a"] > 0 })
	talk(t, nodes["a"], nodes["b"], "again")
	// Nobody has room: it is refused, and who leads stays.
	c := login(t, nodes["a"], customerOf("late"))
	id := c.open(obj{})
	for _, left := range free {
		left.Store(little)
	}
	var f obj
	defer func() {
		if t.Failed() {
			t.Logf("the last answer to the customer was %v", f)
		}
	}()
	until(t, "a customer is refused", func() bool {
		f = c.answer(c.send("send", obj{"session": id, "body": text("still there?")}))
		e, refused := f["error"].(obj)
		if after, ok := e["retry_after_ms"].(float64); ok { // who asks again earlier is held back for longer
			<-time.After(time.Duration(after) * time.Millisecond)
		}
		return refused && e["slug"] == string(wire.Unavailable)
	})
	for name := range nodes {
		until(t, name+" has none", func() bool { status, _ := get(t, nodes[name], "/readyz"); return status != 200 })
	}
	for _, left := range free {
		left.Store(plenty)
	}
	for name := range nodes {
		until(t, name+" has room", func() bool { status, _ := get(t, nodes[name], "/readyz"); return status == 200 })
	}
	talk(t, nodes["c"], nodes["a"], "end")
	for _, name := range []string{"c", "b", "a"} {
		w.stop(name)
	}
}
