package node_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/node"
	"switchboard/wire"
)

// ledger is what one customer has said and seen: what must hold whatever happens to the owners of its session [SW-4.11].
type ledger struct {
	p       *peer
	name    string
	session string
	said    int
	last    int // the seq of the last entry, written or seen, in the order of the socket
	mine    map[string]int
	replies map[string]int
	stalled int
	longest time.Duration
	errs    []string
}

func (l *ledger) wrong(format string, args ...any) {
	l.errs = append(l.errs, l.name+": "+fmt.Sprintf(format, args...))
}

// see takes a frame that came on the socket.
func (l *ledger) see(f obj) {
	if m, ok := f["message"].(obj); ok {
		l.place(m, num(m["seq"]), num(m["prev"]))
		if text := bodyText(m); m["kind"] == "message" && m["origin"] == "customer" {
			l.mine[text]++
		} else if m["kind"] == "message" {
			l.replies[text]++
		}
	}
	if s, ok := f["state"].(obj); ok && s["state"] == "stalled" {
		l.stalled++
	}
	if f["bye"] != nil {
		l.wrong("it was closed: %v", f)
	}
}

// place checks that an entry is the next, and comes once [SW-4.4].
func (l *ledger) place(m obj, seq, prev int) {
	if seq <= l.last {
		l.wrong("%d came behind %d: %v", seq, l.last, m)
	}
	if prev > l.last {
		l.wrong("%d came behind %d, and its predecessor is %d", seq, l.last, prev)
	}
	l.last = seq
}

// read takes the next frame that is not the answer to id; it reports false when the connection has ended.
func (l *ledger) read(id int) (answer obj, ok bool) {
	f := l.p.read()
	if f == nil {
		l.wrong("the connection ended: %v", l.p.gone)
		return nil, false
	}
	if id != 0 && num(f["id"]) == id {
		return f, true
	}
	l.see(f)
	return nil, true
}

// say sends words, all before an answer has come, and waits for their replies, which stand for the entries, in order.
func (l *ledger) say(words int) {
	begun := time.Now()
	var ids []int
	var texts []string
	for range words {
		text := fmt.Sprintf("%s says %d", l.name, l.said)
		body := obj{"session": l.session, "body": obj{"text": text}}
		if l.said%2 == 0 {
			body["key"] = strings.ReplaceAll(text, " ", ".")
		}
		l.said++
		ids, texts = append(ids, l.p.send("send", body)), append(texts, text)
	}
	for i, id := range ids {
		for {
			f, ok := l.read(id)
			if !ok {
				return
			}
			if f == nil {
				continue
			}
			l.longest = max(l.longest, time.Since(begun))
			s, ok := f["send"].(obj)
			switch {
			case !ok:
				l.wrong("%s was answered %v", texts[i], f)
			case s["duplicate"] == true:
				l.wrong("%s was said once, and answered as a duplicate: %v", texts[i], f)
			default:
				l.place(s, num(s["seq"]), 0)
				l.mine[texts[i]]++
			}
			break
		}
	}
}

// replier answers whatever customers say, each entry once, until its connection is closed.
type replier struct {
	p    *peer
	name string
	errs []string
	most int // sessions that it had at once
}

func (b *replier) work(over *atomic.Bool, slots int) {
	acked, held := map[string]int{}, map[string]bool{}
	for {
		f := b.p.read()
		if f == nil {
			if !over.Load() {
				b.errs = append(b.errs, fmt.Sprintf("%s: the connection ended: %v", b.name, b.p.gone))
			}
			return
		}
		if e, ok := f["error"].(obj); ok {
			b.errs = append(b.errs, fmt.Sprintf("%s was refused: %v", b.name, e))
		}
		if r, ok := f["revoked"].(obj); ok {
			b.errs = append(b.errs, fmt.Sprintf("%s was revoked: %v", b.name, r))
			delete(held, fmt.Sprint(r["session"]))
		}
		if a, ok := f["assigned"].(obj); ok {
			s := a["session"].(string)
			if held[s] {
				b.errs = append(b.errs, fmt.Sprintf("%s was assigned %s twice", b.name, s))
			}
			held[s] = true
			if b.most = max(b.most, len(held)); b.most > slots {
				b.errs = append(b.errs, fmt.Sprintf("%s has %d sessions and %d slots", b.name, b.most, slots)) // [SW-5.1]
			}
		}
		d, ok := f["delivery"].(obj)
		if !ok || d["kind"] != "message" || d["origin"] != "customer" {
			continue
		}
		s, seq := d["session"].(string), num(d["seq"])
		if seq <= acked[s] {
			continue // it came again [SW-5.4]
		}
		acked[s] = seq
		b.p.send("reply", obj{"session": s, "ae": d["ae"], "ack": seq, "body": obj{"text": "re: " + bodyText(d)}})
	}
}

// exchangeOfWords lets customers and bots talk at nodes while change changes owners. next waits until somebody has said something
// more. In the end nothing may be lost, doubled or out of order, and nobody closed, refused or asked twice.
func exchangeOfWords(t *testing.T, nodes []*node.Node, change func(next func())) {
	t.Helper()
	const customers, slots = 12, 8
	var over, enough atomic.Bool
	var work, talks sync.WaitGroup
	var bots []*replier
	for i, n := range nodes {
		for k := range 2 {
			b := &replier{name: fmt.Sprintf("bot%d%d", i, k)}
			b.p = login(t, n, workerOf(b.name, wire.OriginBot))
			b.p.subscribe(obj{"slots": slots, "window": 4})
			bots = append(bots, b)
			work.Go(func() { b.work(&over, slots) })
		}
	}
	list := make([]*ledger, customers)
	spoken := make(chan struct{})
	for i := range list {
		l := &ledger{name: fmt.Sprintf("c%d", i), mine: map[string]int{}, replies: map[string]int{}}
		list[i] = l
		l.p = login(t, nodes[i%len(nodes)], customerOf(l.name))
		l.session = l.p.open(obj{})
		l.last = 1 // session.opened
		talks.Go(func() {
			for !enough.Load() && l.errs == nil {
				l.say(1 + l.said%3)
				select {
				case spoken <- struct{}{}:
				default:
				}
			}
			for len(l.replies) < l.said && l.errs == nil {
				l.read(0)
			}
		})
	}
	change(func() {
		select {
		case <-spoken:
		case <-time.After(10 * time.Second):
			t.Error("nobody has said anything for 10 s")
		}
	})
	enough.Store(true)
	talks.Wait()
	over.Store(true)
	for _, b := range bots {
		_ = b.p.ws.Close()
	}
	work.Wait()
	for _, b := range bots {
		for _, e := range b.errs {
			t.Error(e)
		}
	}
	said, stalled, longest := 0, 0, time.Duration(0)
	for _, l := range list {
		for _, e := range l.errs {
			t.Error(e)
		}
		for k := range l.said {
			text := fmt.Sprintf("%s says %d", l.name, k)
			if l.mine[text] != 1 || l.replies["re: "+text] != 1 {
				t.Errorf("%q was seen %d times, its answer %d times", text, l.mine[text], l.replies["re: "+text])
			}
		}
		stalled, said, longest = stalled+l.stalled, said+l.said, max(longest, l.longest)
	}
	t.Logf("%d words: %d times stalled, the longest answer took %v", said, stalled, longest)
}

// Every shard of a node begins again and again, in good order or not, with its sessions, customers and the pool.
func TestReopenUnderTalk(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	exchangeOfWords(t, []*node.Node{n}, func(next func()) {
		for i := range 60 {
			end := n.Reopen
			if i%3 == 2 {
				end = n.Crash
			}
			if err := end(i % 4); err != nil {
				t.Error(err)
				return
			}
			for range i % 5 * 4 { // so that some meet the one before under way
				next()
			}
		}
	})
}

// All shards of a node begin again in the same moment: sessions, customers, pool.
func TestReopenAllAtOnce(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	exchangeOfWords(t, []*node.Node{n}, func(next func()) {
		for i := range 10 {
			var all sync.WaitGroup
			for s := range 4 {
				all.Go(func() {
					end := n.Reopen
					if i%2 == 1 {
						end = n.Crash
					}
					if err := end(s); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			for range 20 {
				next()
			}
		}
	})
}

// The shards of a cluster of three are led now here, now there, under customers and bots at all of its nodes.
func TestLeadersChangeUnderTalk(t *testing.T) {
	w := newTown(t)
	var nodes []*node.Node
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, w.start(name))
	}
	defer func() {
		for _, name := range []string{"c", "b", "a"} {
			w.stop(name)
		}
	}()
	following := func(shard int) (count int) {
		for _, n := range nodes {
			count += n.Followers(shard)
		}
		return count
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begun, shard := time.Now(), 0; shard < 4; {
		if following(shard) > 0 {
			shard++
			continue
		}
		if <-tick.C; time.Since(begun) > 60*time.Second {
			t.Fatalf("nobody follows shard %d", shard)
		}
	}
	moved := 0
	exchangeOfWords(t, nodes, func(next func()) {
		for i := range 24 {
			for _, n := range nodes {
				if n.HandOver(i % 4) {
					moved++
					break
				}
			}
			for range 10 {
				next()
			}
		}
	})
	t.Logf("%d transfers", moved)
	if moved < 8 {
		t.Errorf("only %d of 24 transfers were begun", moved)
	}
}
