package node_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"switchboard/edge"
	"switchboard/node"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// metric returns the sum of a counter over its labels that hold with.
func metric(t testing.TB, n *node.Node, name, with string) (sum float64) {
	t.Helper()
	_, body := get(t, n, "/metrics")
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, name); ok && strings.Contains(rest, with) {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndex(rest, " "):]), 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
	}
	return sum
}

// say sends count words of size bytes, many at a time, and returns the last one's seq.
func (p *peer) say(session string, count, size int) (last int) {
	p.t.Helper()
	const atOnce = 50
	for at := 0; at < count; at += atOnce {
		var ids []int
		var batch []string
		for i := at; i < min(at+atOnce, count); i++ {
			p.next++
			ids = append(ids, p.next)
			word := fmt.Sprintf("%d %s", i, strings.Repeat("x", size))
			batch = append(batch, fmt.Sprintf(`{"id":%d,"send":{"session":%q,"body":{"text":%q}}}`, p.next, session, word[:max(size, 8)]))
		}
		for len(batch) > 0 { // no message above four frames' bytes
			k := max(1, min(len(batch), 100_000/len(batch[0])))
			p.raw(strings.Join(batch[:k], "\n"))
			batch = batch[k:]
		}
		for _, id := range ids {
			r, ok := p.answer(id)["send"].(obj)
			if !ok {
				p.t.Fatalf("word %d was refused", id)
			}
			last = num(r["seq"])
		}
	}
	return last
}

// impatient is a node with small outboxes, and with limits that let a load through. It closes nobody who reads nothing for as long as
// the load takes, which is what those tests are about: on a slow machine that is longer than it would wait otherwise.
func impatient(c *node.Config) {
	c.Limits.Inflight = 1000
	c.Tune(func(_ *journal.Config, e *edge.Config) {
		e.Outbox, e.Stall, e.Ping, e.WorkerPing = 128<<10, time.Hour, time.Hour, time.Hour
	})
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what was pooled goes at the second
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// [SW-4.7] Customers' devices that do not read while 5,000 entries come cost no more memory than their outboxes; each is told
// that it lags, and when it reads on it sees every entry exactly once, in order.
func TestSlowReaders(t *testing.T) {
	n := start(t, t.TempDir(), impatient)
	defer stop(t, n)
	const devices, entries, size = 12, 5000, 2000
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	var slow []*peer
	for range devices {
		p := login(t, n, customerOf("alice"))
		p.ask("open", obj{"from": obj{"epoch": 1, "seq": 0}})
		slow = append(slow, p)
	}
	a.say(id, 10, size)
	before := heap()
	last := a.say(id, entries, size)
	grown := int64(heap()) - int64(before) //nolint:gosec // of this machine
	// Without a bound each device's 5,000 frames would wait, and with them 10 MB of entries.
	const most = devices*128<<10 + 4<<20
	t.Logf("over %d entries for %d devices the heap grew by %d KiB", entries, devices, grown>>10)
	if grown > most && !raced {
		t.Errorf("the heap grew by %d KiB; want at most %d", grown>>10, most>>10)
	}
	if metric(t, n, "switchboard_edge_pushes_dropped_total", "") == 0 {
		t.Fatal("nothing was dropped: the readers were not slow")
	}
	for _, p := range slow[:2] {
		lags, head, public := 0, 0, 0
		for head < last {
			f := p.read()
			if f == nil {
				t.Fatalf("the connection ended at %d of %d: %v", head, last, p.gone)
			}
			if f["lag"] != nil {
				lags++
			}
			m, ok := f["message"].(obj)
			if !ok {
				continue
			}
			if num(m["prev"]) != head || num(m["seq"]) <= head {
				t.Fatalf("entry %v with prev %v follows %d", m["seq"], m["prev"], head)
			}
			head = num(m["seq"])
			public++
		}
		if lags == 0 || public < entries {
			t.Errorf("told %d times that it lags, and shown %d entries", lags, public)
		}
	}
}

// A worker that does not read gets its deliveries again from the log: each at least once, in order.
func TestSlowWorker(t *testing.T) {
	n := start(t, t.TempDir(), impatient)
	defer stop(t, n)
	const entries, size = 256, 28_000 // as many as may be unacknowledged, 7 MB
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 1, "window": entries})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.say(id, entries, size)
	if metric(t, n, "switchboard_edge_pushes_dropped_total", "") == 0 {
		t.Fatal("nothing was dropped: the worker was not slow")
	}
	for i := range entries {
		d := bot.said("delivery")
		if !strings.HasPrefix(bodyText(d), fmt.Sprint(i, " ")) {
			t.Fatalf("delivery %v of %.20q; want the word %d", d["seq"], bodyText(d), i)
		}
		bot.write(obj{"ack": obj{"session": id, "ae": 1, "seq": num(d["seq"])}})
	}
	seq := a.say(id, 1, 10)
	if d := bot.said("delivery"); num(d["seq"]) != seq {
		t.Errorf("then came %v; want %d", d, seq)
	}
}

// [SW-4.7] A socket that takes nothing at all is closed as slow, and whoever it was comes back and misses nothing.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	n := start(t, t.TempDir(), func(c *node.Config) {
		c.Limits.Inflight = 1000
		c.Tune(func(_ *journal.Config, e *edge.Config) { e.Outbox, e.Stall = 128<<10, time.Second })
	})
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	p := login(t, n, customerOf("alice"))
	p.ask("open", obj{})
	all := n.Connections()
	last := 0
	for i := 0; n.Connections() == all && i < 200; i++ {
		last = a.say(id, 50, 10_000)
	}
	until(t, "the stalled socket is closed", func() bool {
		return metric(t, n, "switchboard_edge_closed_total", `"slow"`) == 1 && n.Connections() < all
	})
	again := login(t, n, customerOf("alice"))
	if o := again.ask("open", obj{"from": obj{"epoch": 1, "seq": last - 3}}); num(o["head"]) != last {
		t.Errorf("open %v; want head %d", o, last)
	}
	for seq := last - 2; seq <= last; seq++ {
		if m := again.said("message"); num(m["seq"]) != seq {
			t.Errorf("message %v; want %d", m["seq"], seq)
		}
	}
}
