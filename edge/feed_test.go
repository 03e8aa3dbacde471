package edge

import (
	"fmt"
	"testing"
	"time"

	"switchboard/wire"
)

// A watch that a shard never answers is refused when its time is over, each at the connection that asked, which goes on as before.
func TestWatchUnanswered(t *testing.T) {
	r := newRig(t, nil)
	r.stand()
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbWatch })
	const watchers = 8
	var peers []*peer
	for i := range watchers {
		codec := wire.JSON
		if i%2 == 1 {
			codec = wire.Protobuf
		}
		p := r.login(codec, "demo/supervisor/sue")
		p.say(fmt.Sprintf(`{"id":%d,"watch":{}}`, 100+i))
		peers = append(peers, p)
	}
	eventually(t, "all are asked of the shard", func() bool {
		r.shard.mu.Lock()
		defer r.shard.mu.Unlock()
		n := 0
		for i := range r.shard.seen {
			if r.shard.seen[i].Verb == wire.VerbWatch {
				n++
			}
		}
		return n >= watchers
	})
	eventually(t, "all wait to ask again", func() bool {
		n := 0
		for i := range r.e.table {
			for _, c := range r.e.table[i].list(nil) {
				if c.feedAt.Load() != 0 {
					n++
				}
			}
		}
		return n == watchers
	})
	r.pass(11 * time.Second)
	for i, p := range peers {
		if m := p.next(); m.GetId() != uint64(100+i) || m.GetError().GetSlug() != string(wire.Unavailable) {
			t.Errorf("watcher %d is told %v; want that its watch %d is unavailable", i, m, 100+i)
		}
	}
	for i, p := range peers {
		if m, pushed := p.ask(`"refresh":{"token":"demo/supervisor/sue"}`); m.GetRefresh() == nil || len(pushed) > 0 {
			t.Errorf("watcher %d asks on, and is answered %v after %v", i, m, pushed)
		}
	}
}
