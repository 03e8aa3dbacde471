package node_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/node"
	"switchboard/wire"
)

// ledger is what one customer has said and seen: what must hold whatever happens to the owners of its session.
type ledger struct {
	t       testing.TB
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
		l.errs = append(l.errs, fmt.Sprintf("it was closed: %v", f))
	}
}

// place checks that an entry is the next, and comes once [SW-4.4].
func (l *ledger) place(m obj, seq, prev int) {
	if seq <= l.last {
		l.errs = append(l.errs, fmt.Sprintf("%d came behind %d: %v", seq, l.last, m))
	}
	if prev > l.last {
		l.errs = append(l.errs, fmt.Sprintf("%d came behind %d, and its predecessor is %d", seq, l.last, prev))
	}
	l.last = seq
}

// say sends text and waits for its reply, which stands for the entry.
func (l *ledger) say(text string, keyed bool) {
	body := obj{"session": l.session, "body": obj{"text": text}}
	if keyed {
		body["key"] = strings.ReplaceAll(text, " ", ".")
	}
	begun := time.Now()
	id := l.p.send("send", body)
	for {
		f := l.p.read()
		if f == nil {
			l.errs = append(l.errs, fmt.Sprintf("the connection ended: %v", l.p.gone))
			return
		}
		if num(f["id"]) != id {
			l.see(f)
			continue
		}
		l.longest = max(l.longest, time.Since(begun))
		s, ok := f["send"].(obj)
		switch {
		case !ok:
			l.errs = append(l.errs, fmt.Sprintf("%s was answered %v", text, f))
		case s["duplicate"] == true:
			l.errs = append(l.errs, fmt.Sprintf("%s was said once, and answered as a duplicate: %v", text, f))
		default:
			l.place(s, num(s["seq"]), 0)
			l.mine[text]++
		}
		return
	}
}

// bot answers whatever customers say, each entry once, until its connection is closed.
func answering(t testing.TB, n *node.Node, name string, done <-chan struct{}, errs *atomic.Value) {
	p := login(t, n, workerOf(name, wire.OriginBot))
	p.subscribe(obj{"slots": 64, "window": 4})
	acked := map[string]int{}
	for {
		select {
		case <-done:
			return
		default:
		}
		f := p.read()
		if f == nil {
			select {
			case <-done:
			default:
				errs.Store(fmt.Sprintf("%s: the connection ended: %v", name, p.gone))
			}
			return
		}
		if e, ok := f["error"].(obj); ok {
			errs.Store(fmt.Sprintf("%s was refused: %v", name, e))
		}
		if r, ok := f["revoked"].(obj); ok {
			errs.Store(fmt.Sprintf("%s was revoked: %v", name, r))
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
		p.send("reply", obj{"session": s, "ae": d["ae"], "ack": seq, "body": obj{"text": "re: " + bodyText(d)}})
	}
}

// Every shard of a node begins again and again, under customers who talk and bots who answer: nothing is lost, doubled or out of
// order, nobody is closed, and nobody has to ask twice.
func TestReopenUnderTalk(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	done := make(chan struct{})
	var errs atomic.Value
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() { answering(t, n, fmt.Sprintf("bot%d", i), done, &errs) })
	}
	const customers, reopenings = 12, 60
	var enough atomic.Bool
	spoken := make(chan struct{})
	var talks sync.WaitGroup
	list := make([]*ledger, customers)
	for i := range list {
		l := &ledger{t: t, name: fmt.Sprintf("c%d", i), mine: map[string]int{}, replies: map[string]int{}}
		list[i] = l
		l.p = login(t, n, customerOf(l.name))
		l.session = l.p.open(obj{})
		l.last = 1 // session.opened
		talks.Go(func() {
			for ; !enough.Load() && l.errs == nil; l.said++ {
				l.say(fmt.Sprintf("%s says %d", l.name, l.said), l.said%2 == 0)
				select {
				case spoken <- struct{}{}:
				default:
				}
			}
			for len(l.replies) < l.said && l.errs == nil {
				f := l.p.read()
				if f == nil {
					l.errs = append(l.errs, fmt.Sprintf("the connection ended with %d of %d answers: %v", len(l.replies), l.said, l.p.gone))
					return
				}
				l.see(f)
			}
		})
	}
	for i := range reopenings {
		end := n.Reopen
		if i%3 == 2 {
			end = n.Crash
		}
		if err := end(i % 4); err != nil {
			t.Error(err)
			break
		}
		for range i % 5 * 8 { // so that some meet the one before under way
			<-spoken
		}
	}
	enough.Store(true)
	talks.Wait()
	close(done)
	for _, p := range peersOf(n) {
		_ = p.ws.Close()
	}
	wg.Wait()
	if e := errs.Load(); e != nil {
		t.Error(e)
	}
	said, stalled, longest := 0, 0, time.Duration(0)
	for _, l := range list {
		for _, e := range l.errs {
			t.Errorf("%s: %s", l.name, e)
		}
		for k := range l.said {
			text := fmt.Sprintf("%s says %d", l.name, k)
			if l.mine[text] != 1 || l.replies["re: "+text] != 1 {
				t.Errorf("%q was seen %d times, its answer %d times", text, l.mine[text], l.replies["re: "+text])
			}
		}
		stalled += l.stalled
		said += l.said
		longest = max(longest, l.longest)
	}
	t.Logf("%d reopenings, %d words: %d times stalled, the longest answer took %v", reopenings, said, stalled, longest)
}

func peersOf(n *node.Node) []*peer {
	list, ok := peers.Load(n.Addr())
	if !ok {
		return nil
	}
	return list.(*peerList).all()
}

var _ = context.Background
