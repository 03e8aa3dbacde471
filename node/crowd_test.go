package node_test

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// A crowd waits in the queues default and refunds, and nobody is there to answer.

const (
	crowdQueues = "version: 1\nattributes: {task: {gold: bool}}\nqueues: [{name: default}, {name: refunds}]\n"
	// crowdGold serves those first who are gold, though they came last; refunds go to the others.
	crowdGold = "version: 1\nattributes: {task: {gold: bool}}\nqueues: [{name: default, order: {boosts: [{when: task.gold == true, ms: 86400000}]}}]\nmoves: {refunds: default}\n"
)

// crowd lets so many sessions wait, every other in refunds, and returns them in the order in which they came. A service speaks for the customers, over a few
// connections.
func crowd(t testing.TB, n *node.Node, count int) []string {
	t.Helper()
	type came struct {
		id string
		at float64
	}
	list := make([]came, count)
	const lines = 16
	var wg sync.WaitGroup
	for i := range lines {
		p := login(t, n, token.Claims{Sub: fmt.Sprint("svc", i), Role: wire.RoleService})
		wg.Go(func() {
			for k := i; k < count; k += lines {
				who := obj{"channel": "mail", "external_id": fmt.Sprint("c", k)}
				queue := []string{"default", "refunds"}[k%2]
				id := p.open(obj{"queue": queue, "customer": who})
				m := p.ask("send", obj{"session": id, "customer": who, "body": text1})
				list[k] = came{id, m["ts"].(float64)}
				p.write(obj{"leave": obj{"session": id, "customer": who}})
			}
		})
	}
	wg.Wait()
	sort.Slice(list, func(i, j int) bool { // of two in one millisecond the smaller id comes first
		if list[i].at != list[j].at {
			return list[i].at < list[j].at
		}
		return list[i].id < list[j].id
	})
	ids := make([]string, count)
	for i := range list {
		ids[i] = list[i].id
	}
	return ids
}

// served lets a bot take sessions of the queue default one after the other, and returns them.
func served(t testing.TB, n *node.Node, count int) (ids []string) {
	t.Helper()
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	defer func() { _ = bot.ws.Close() }()
	bot.subscribe(obj{"queues": []string{"default"}, "slots": 1})
	for i := range count {
		a := bot.push("assigned")
		ids = append(ids, a["session"].(string))
		if i == count-1 { // it takes no other with it
			bot.ask("presence", obj{"state": "draining"})
		}
		bot.ask("close", obj{"session": a["session"], "ae": a["ae"]})
	}
	return ids
}

// waits waits until so many wait in a queue.
func waits(t testing.TB, n *node.Node, queue string, want int) {
	t.Helper()
	sue := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	defer func() { _ = sue.ws.Close() }()
	for late := time.Now().Add(patience); ; {
		q := sue.ask("stats", obj{"scope": obj{"queue": queue}})["queues"].([]any)
		if got := num(q[0].(obj)["waiting"]); got == want {
			return
		} else if time.Now().After(late) {
			t.Fatalf("%d wait in %s; want %d", got, queue, want)
		}
	}
}

// A document that turns the order round, and takes a queue away, is applied while two thousand wait: in the end everybody stands where it says, each among his
// like by when he came, and the same when another document comes behind it at once.
func TestDocumentForMany(t *testing.T) {
	const count, gold = 2_000, 40
	dir := t.TempDir()
	n := start(t, dir)
	defer func() { stop(t, n) }()
	r := supervisor(t, n)
	r.applied(0, crowdQueues)
	ids := crowd(t, n, count)
	waits(t, n, "default", count/2)
	// The last ones turn out to be gold.
	sue := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	for _, id := range ids[count-gold:] {
		sue.ask("attributes", obj{"session": id, "if_v": 0, "patch": obj{"gold": true}})
	}
	r.applied(1, crowdGold)
	waits(t, n, "default", count)
	want := append(slices.Clone(ids[count-gold:]), ids[:60]...)
	got := served(t, n, 20)
	// One more, and one behind it before that is through. The first waits on, and is still the first.
	r.applied(2, crowdGold+"bar_ms: 1\n")
	r.applied(3, crowdGold+"bar_ms: 2\n")
	got = append(got, served(t, n, 20)...)
	// A node that ends in the middle has forgotten nothing.
	r.applied(4, crowdGold+"bar_ms: 3\n")
	stop(t, n)
	n = start(t, dir)
	waits(t, n, "default", count-40)
	got = append(got, served(t, n, len(want)-40)...)
	if !slices.Equal(got, want) {
		t.Fatalf("they were served as\n%v\nwant\n%v", got, want)
	}
}

// steps returns how many steps of shards' owners took how long, by the bounds of the histogram in ms.
func steps(t testing.TB, n *node.Node) (bounds []float64, counts map[float64]float64) {
	t.Helper()
	counts = map[float64]float64{}
	for line := range strings.SplitSeq(metrics(t, n), "\n") {
		if !strings.HasPrefix(line, "switchboard_shard_step_seconds_bucket{") {
			continue
		}
		_, le, _ := strings.Cut(line, `le="`)
		le, value, _ := strings.Cut(le, `"} `)
		bound, err := strconv.ParseFloat(le, 64)
		v, err2 := strconv.ParseFloat(value, 64)
		if err != nil || err2 != nil {
			t.Fatal(line)
		}
		counts[bound*1000] += v
	}
	for b := range counts {
		bounds = append(bounds, b)
	}
	slices.Sort(bounds)
	return bounds, counts
}

// BenchmarkCrowd is what a whole node's shards are busy for when something changes while 10,000 wait (S24): an attribute of one of them, and the document. It
// reports the bound of the histogram below which the longest step of any owner was, and how long it takes until the change is answered, or a document has been
// applied to everybody and the pool gives again.
//
//	go test ./node -run '^$' -bench Crowd -benchtime 20x
func BenchmarkCrowd(b *testing.B) {
	n := start(b, b.TempDir())
	defer stop(b, n)
	r := supervisor(b, n)
	r.applied(0, crowdQueues)
	ids := crowd(b, n, 10_000)
	waits(b, n, "default", 5_000)
	waits(b, n, "refunds", 5_000)
	sue := login(b, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	version, attributes := 1, 0
	f := func(name string, change func()) {
		b.Run(name, func(b *testing.B) {
			_, before := steps(b, n)
			for b.Loop() {
				change()
			}
			bounds, after := steps(b, n)
			longest := 0.0
			for i, bound := range bounds {
				below := 0.0
				if i > 0 {
					below = after[bounds[i-1]] - before[bounds[i-1]]
				}
				if after[bound]-before[bound] > below {
					longest = bound
				}
			}
			b.ReportMetric(longest, "longest-step-below-ms")
		})
	}
	f("attribute", func() {
		sue.ask("attributes", obj{"session": ids[attributes], "if_v": 0, "patch": obj{"gold": true}})
		attributes++
	})
	bot := login(b, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"default"}, "slots": 1})
	a := bot.push("assigned")
	f("document", func() { // until the pool gives again
		bot.ask("presence", obj{"state": "draining"})
		bot.ask("close", obj{"session": a["session"], "ae": a["ae"]})
		r.applied(version, crowdQueues+fmt.Sprintf("bar_ms: %d\n", version))
		version++
		bot.ask("presence", obj{"state": "ready"})
		a = bot.push("assigned")
	})
}
