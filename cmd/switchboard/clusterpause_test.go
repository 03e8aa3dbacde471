package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/cluster/member"
	"switchboard/wire"
)

// prober is a customer who says a word every few milliseconds, once the one before is acknowledged and answered.
type prober struct {
	node    int
	session wire.SessionID

	mu sync.Mutex
	// Guarded by mu.
	said, told, answered map[int]time.Time
}

// pause is what one session noticed: from its slowest word to the acknowledgement, and to the answer.
type pause struct{ told, answered time.Duration }

// between returns the longest waits of words that were under way in a span of time, and whether all of them are over.
func (p *prober) between(from, to time.Time) (most pause, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	over = true
	for n, at := range p.said {
		told, answered := p.told[n], p.answered[n]
		if at.After(to) || !answered.IsZero() && answered.Before(from) {
			continue
		}
		if told.IsZero() || answered.IsZero() {
			over = false
			continue
		}
		most.told, most.answered = max(most.told, told.Sub(at)), max(most.answered, answered.Sub(at))
	}
	return most, over
}

// probeEvery is how often a prober says something.
const probeEvery = 20 * time.Millisecond

func (p *prober) run(ctx context.Context, c *client.Client, s *client.Session, stop <-chan struct{}) error {
	defer func() { _ = c.Close() }()
	var calls sync.WaitGroup
	defer calls.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	calls.Go(func() {
		for e, err := range s.Entries(ctx) {
			if err != nil {
				cancel(err)
				return
			}
			var n int
			if _, err := fmt.Sscanf(e.Text(), "re: %d", &n); err == nil && e.Origin == wire.OriginBot {
				p.mu.Lock()
				p.answered[n] = time.Now()
				p.mu.Unlock()
			}
		}
	})
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		p.mu.Lock()
		p.said[n] = time.Now()
		p.mu.Unlock()
		if _, err := s.Send(ctx, "text", fmt.Sprint(n)); err != nil {
			return err
		}
		p.mu.Lock()
		p.told[n] = time.Now()
		p.mu.Unlock()
		for over := false; !over; {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-tick.C:
			}
			_, over = p.between(p.said[n], p.said[n])
		}
	}
}

// watched is a cluster with probers.
type watched struct {
	*trio
	probers []*prober
}

// probe lets customers talk at all nodes, about all shards.
func (w *watched) probe(count int) {
	w.t.Helper()
	for i := range count {
		p := &prober{node: i % len(w.nodes), said: map[int]time.Time{}, told: map[int]time.Time{}, answered: map[int]time.Time{}}
		cfg := w.clientConfig(p.node, w.mint("--role", "customer", "--sub", fmt.Sprint("p", i)))
		c, err := client.Dial(w.ctx, cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		s, err := c.Open(w.ctx, client.OpenOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		p.session = wire.SessionID(s.ID())
		w.probers = append(w.probers, p)
		w.talks.Go(func() {
			if err := p.run(w.ctx, c, s, w.stop); err != nil && w.ctx.Err() == nil {
				w.t.Errorf("%s: %v", p.session, err)
			}
		})
	}
}

// shard returns which shard a session is of.
func (p *prober) shard() uint16 {
	_, slot, _ := p.session.Place()
	return uint16(slot % trioShards)
}

// seen waits until every word of a span of time is acknowledged and answered, and returns what the sessions that which says noticed.
func (w *watched) seen(from, to time.Time, which func(*prober) bool) (list []pause) {
	w.t.Helper()
	for began, tick := time.Now(), time.NewTicker(20*time.Millisecond); ; <-tick.C {
		list = nil
		left := ""
		for _, p := range w.probers {
			most, over := p.between(from, to)
			if !over {
				left = string(p.session)
			}
			if which(p) {
				list = append(list, most)
			}
		}
		if left == "" {
			return list
		}
		if w.t.Failed() || time.Since(began) > trioPatience {
			w.t.Fatalf("%s waits for an answer\n%s", left, w.picture())
		}
	}
}

// tell prints how the pauses are spread.
func (w *watched) tell(what string, list []pause) {
	w.t.Helper()
	if len(list) == 0 {
		w.t.Fatalf("%s: nobody was there to notice", what)
	}
	spread := func(of func(pause) time.Duration) string {
		var d []time.Duration
		for _, p := range list {
			d = append(d, of(p).Round(time.Millisecond/10))
		}
		slices.Sort(d)
		at := func(q float64) time.Duration { return d[min(int(q*float64(len(d))), len(d)-1)] }
		return fmt.Sprintf("p50 %v, p90 %v, p99 %v, max %v", at(.5), at(.9), at(.99), d[len(d)-1])
	}
	w.t.Logf("%s, %d pauses: to the acknowledgement %s; to the answer %s", what, len(list),
		spread(func(p pause) time.Duration { return p.told }), spread(func(p pause) time.Duration { return p.answered }))
}

// TestClusterPause measures what sessions notice of a cluster of four real processes: nothing, a shard that moves away from its leader, a node
// that is stopped in order, and one that is killed.
func TestClusterPause(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv("SWITCHBOARD_PAUSES"))
	if rounds == 0 {
		t.Skip("it measures, and what it holds others hold as well: SWITCHBOARD_PAUSES=1, or make pause, runs it")
	}
	w := &watched{trio: newTrio(t, 4)}
	w.load(0)
	w.probe(16)
	all := func(*prober) bool { return true }
	from := time.Now()
	time.Sleep(2 * time.Second) // of quiet, to compare with
	w.tell("nothing happens", w.seen(from, time.Now(), all))

	var moved, stopped, killed []pause
	for range 2 * rounds {
		for shard := range uint16(trioShards) {
			from := time.Now()
			w.move(shard)
			w.until("end of the move", full)
			moved = append(moved, w.seen(from, time.Now(), func(p *prober) bool { return p.shard() == shard })...)
		}
	}
	w.tell("a session's shard moves", moved)
	for range rounds {
		for i, n := range w.nodes {
			led := w.led(n)
			from := time.Now()
			n.up.Store(false)
			n.signal(syscall.SIGTERM)
			if err := n.wait(); err != nil {
				t.Fatal(err)
			}
			stopped = append(stopped, w.seen(from, time.Now(), func(p *prober) bool { return p.node != i && led[p.shard()] })...)
			w.back(i)
		}
	}
	w.tell("a session's leader is stopped", stopped)
	for range rounds {
		for i, n := range w.nodes {
			led := w.led(n)
			from := time.Now()
			n.signal(syscall.SIGKILL)
			_ = n.wait() // it was killed
			killed = append(killed, w.seen(from, from.Add(100*time.Millisecond), func(p *prober) bool { return p.node != i && led[p.shard()] })...)
			w.back(i)
		}
	}
	w.tell("a session's leader is killed", killed)
	w.cancel()
	w.talks.Wait()
	w.bots.Wait()
}

// led returns what a node leads.
func (w *watched) led(n *trioNode) map[uint16]bool {
	id, list := w.number(n), map[uint16]bool{}
	w.until("leader of every shard", func(r *member.Report) bool {
		clear(list)
		for i := range r.Shards {
			if r.Shards[i].Leader == id {
				list[r.Shards[i].ID] = true
			}
		}
		return full(r)
	})
	return list
}

// back starts a node again, and waits until it leads its share.
func (w *watched) back(i int) {
	n := w.nodes[i]
	w.start(n)
	if _, err := n.ask().Rebalance(w.ctx, "operator", "run"); err != nil {
		w.t.Fatal(err)
	}
	id := w.number(n)
	w.until("share of the leaders", func(r *member.Report) bool {
		for i := range r.Nodes {
			if r.Nodes[i].ID == id {
				return r.Nodes[i].Leads > 0 && full(r)
			}
		}
		return false
	})
	for _, p := range w.probers {
		if p.node == i { // he had to leave, and stays where he is
			p.node = -1
		}
	}
}
