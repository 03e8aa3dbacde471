package node_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"switchboard/cluster/member"
	"switchboard/edge"
	"switchboard/node"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// Where all disks are full somebody leads all the same, also behind a node that has gone: what is stored can be read, and who writes is refused at once.
func TestFullClusterIsLed(t *testing.T) {
	once(t)
	t.Parallel()
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

// A node whose log waits for room can be stopped: who waits for an answer gets none, the node says that its disk has failed, and what it had acknowledged is there
// when it starts again.
func TestFullNodeStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var room, hold atomic.Bool // there is room for another segment; who looks at the free space is held up, as nobody shall foresee that there is none
	room.Store(true)
	looks, held, failed := make(chan struct{}, 1), make(chan struct{}), make(chan error, 8)
	disk := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFilePreallocate && strings.Contains(op.Path, "/log/") && !room.Load() {
			return syscall.ENOSPC
		}
		return nil
	}))
	n := start(t, dir, func(c *node.Config) {
		c.Shards, c.DrainMS, c.SegmentBytes, c.FreeMin, c.Limits.Inflight = 1, 100, 256<<10, 1, 100
		c.Fatal = func(err error) { failed <- err }
		c.Tune(func(j *journal.Config, _ *edge.Config) {
			j.FS, j.Free = disk, func() (uint64, uint64, error) {
				if hold.CompareAndSwap(true, false) {
					looks <- struct{}{}
					<-held
				}
				return 10 << 30, 100 << 30, nil
			}
		})
	})
	c := login(t, n, customerOf("late"))
	id := c.open(obj{})
	c.ask("send", obj{"session": id, "body": text("hello")})
	hold.Store(true)
	<-looks
	room.Store(false)
	for range 40 { // more than the segment and a spare one take
		c.send("send", obj{"session": id, "body": text(strings.Repeat("x", 30<<10))})
	}
	closed := make(chan error, 1)
	until(t, "the log waits for room", func() bool {
		status, body := get(t, n, "/readyz")
		return status != 200 && strings.Contains(body, journal.ErrNoSpace.Error())
	})
	close(held)
	go func() { closed <- n.Close(context.WithoutCancel(t.Context())) }()
	if !happens(5*time.Second, 2*time.Millisecond, func() bool { return len(closed) > 0 }) {
		t.Error("the node does not stop")
		room.Store(true)
	}
	t.Logf("it was closed with %v", <-closed)
	if len(failed) == 0 {
		t.Error("it does not say that the log could not be written")
	}
	room.Store(true)
	n = start(t, dir, func(c *node.Config) { c.Shards = 1 })
	defer stop(t, n)
	r := login(t, n, customerOf("late")).ask("history", obj{"session": id, "limit": 10, "after": 0})
	if !strings.Contains(fmt.Sprint(r), "hello") {
		t.Errorf("what was acknowledged is not there: %.200s", fmt.Sprint(r))
	}
}
