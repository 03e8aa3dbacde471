package sim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/client"
	"switchboard/cluster/member"
	"switchboard/edge/token"
	"switchboard/wire"
)

// pauses are what those who talk have noticed.
type pauses struct {
	mu sync.Mutex
	// Guarded by mu.
	told, answered map[seat][]span // from a word to its acknowledgement, and to its answer
	shut           map[string]bool // nodes that a connection ended of
	stalled        int             // how often a client was told that nobody has its session
}

// seat is a customer and the node that he is connected to.
type seat struct{ who, node string }

func (p *pauses) note(ctx context.Context, f func()) {
	if ctx.Err() == nil {
		p.mu.Lock()
		f()
		p.mu.Unlock()
	}
}

type span struct{ from, to time.Time }

// longest returns the longest of the spans that touch the time since then, but for customers of a node.
func longest(m map[seat][]span, since time.Time, but string) (most time.Duration) {
	for at, spans := range m {
		for _, s := range spans {
			if at.node != but && s.to.After(since) {
				most = max(most, s.to.Sub(s.from))
			}
		}
	}
	return most
}

// pace is a customer who says a word now and then, once the word before it was acknowledged and answered.
func (w *world) pace(ctx context.Context, p *pauses, at seat) error {
	cfg := w.config("out", token.Claims{Sub: at.who, Role: wire.RoleCustomer})
	cfg.Dial = w.near(at.node)
	cfg.On.Disconnected = func(error, time.Duration) { p.note(ctx, func() { p.shut[at.node] = true }) }
	cfg.On.State = func(_ *client.Session, st client.State) {
		if st.State == "stalled" {
			p.note(ctx, func() { p.stalled++ })
		}
	}
	c, err := client.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	s, err := c.Open(ctx, client.OpenOptions{Queue: "default"})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	for i := 0; ctx.Err() == nil; i++ {
		word, from := fmt.Sprintf("%s-%04d", at.who, i), time.Now()
		if _, err := s.Send(ctx, "text", word); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return fmt.Errorf("send %s: %w", word, err)
		}
		p.mu.Lock()
		p.told[at] = append(p.told[at], span{from, time.Now()})
		p.mu.Unlock()
		for {
			e, err := s.Recv(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("waiting for the answer to %s: %w", word, err)
			}
			if e.Text() == "re "+word {
				break
			}
		}
		p.mu.Lock()
		p.answered[at] = append(p.answered[at], span{from, time.Now()})
		p.mu.Unlock()
		time.Sleep(25 * time.Millisecond)
	}
	return nil
}

// near connects to a node, and to another one when that does not answer.
func (w *world) near(at string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx1, cancel := context.WithTimeout(ctx, time.Second)
		c, err := w.net.Host("out").Dial(ctx1, at+":7470")
		cancel()
		if err != nil {
			c, err = w.from("out")(ctx, network, addr)
		}
		return c, err
	}
}

// ask asks a node as an operator.
func (w *world) ask(name string) *member.Operations {
	return member.At(name+":7570", member.Seat{Name: "operator", Plain: true, Dial: w.net.Host("out").Dial})
}

// until waits until the cluster is as it shall be.
func (w *world) until(what string, ok func(*member.Report) bool) {
	w.t.Helper()
	var last *member.Report
	for range 300 {
		r, err := w.ask("a").Status(w.t.Context())
		if err == nil && ok(r) {
			return
		}
		last = r
		time.Sleep(100 * time.Millisecond)
	}
	b, _ := json.Marshal(last)
	w.t.Fatalf("there is no %s after half a minute: %s", what, b)
}

// whole says whether every shard has a leader and three copies, and nothing moves.
func whole(r *member.Report) bool {
	for i := range r.Shards {
		s := &r.Shards[i]
		if len(s.Replicas) != 3 || s.Leader == 0 || s.Job != 0 || slices.ContainsFunc(s.Replicas, func(c member.ReplicaReport) bool { return c.Learner }) {
			return false
		}
	}
	return len(r.Shards) == 4
}

// TestPause lets customers and bots talk at four nodes while every shard is moved away from its leader, and while a node is
// stopped in order. Nobody notices more than a short pause. Time is virtual, so what they wait for is the network, elections, and whatever somebody has not been told of at once.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4, time.Millisecond)
		names := []string{"a", "b", "c", "d"}
		w.until("cluster of three copies", whole)
		p := &pauses{told: map[seat][]span{}, answered: map[seat][]span{}, shut: map[string]bool{}}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i, name := range names {
			bot := name
			if bot == "b" { // which is stopped
				bot = "a"
			}
			cfg := w.config("out", token.Claims{Sub: "bot" + name, Role: wire.RoleWorker, Kind: wire.OriginBot, Queues: []string{"*"}})
			cfg.Dial = w.near(bot)
			wg.Go(func() {
				err := client.Work(ctx, client.WorkerConfig{Config: cfg, Queues: []string{"default"}, Slots: 50}, func(ctx context.Context, s *client.Session, e client.Entry) error {
					_, err := s.Reply(ctx, "text", "re "+e.Text(), client.WithAck(e.Seq))
					return err
				})
				if ctx.Err() == nil {
					t.Errorf("a bot gave up: %v", err)
				}
			})
			for k := range 3 {
				wg.Go(func() {
					if err := w.pace(ctx, p, seat{fmt.Sprintf("c%d%d", i, k), name}); err != nil {
						t.Errorf("customer %d%d gave up: %v", i, k, err)
					}
				})
			}
		}
		time.Sleep(3 * time.Second)
		for shard := range uint16(4) {
			began := time.Now()
			w.move(shard)
			p.check(t, fmt.Sprintf("shard %d moves", shard), began, "")
		}
		began := time.Now()
		w.off(w.hosts[1], false)
		time.Sleep(2 * time.Second)
		p.check(t, "b stops", began, "b")
		cancel()
		wg.Wait()
		for _, m := range w.up() {
			w.off(m, false)
		}
		time.Sleep(11 * time.Second) // a goroutine of fasthttp's looks around every ten
	})
}

// pauseMost is what nobody waits for longer, in virtual time: the way to a shard that hands over, an election without a vote that is lost, the way
// back, and whatever it takes to find the worker again. It is less than any timer by which the same is noticed otherwise.
const pauseMost = 50 * time.Millisecond

// check holds what was noticed since began against that. Customers of the node that has ended had to go elsewhere.
func (p *pauses) check(t *testing.T, what string, began time.Time, gone string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	told, answered := longest(p.told, began, gone), longest(p.answered, began, gone)
	t.Logf("%s: acknowledged after %v at most, answered after %v", what, told, answered)
	if told == 0 || told > pauseMost || answered > pauseMost {
		t.Errorf("%s: an acknowledgement came after %v, and an answer after %v", what, told, answered)
	}
	for at := range p.shut {
		if at != gone {
			t.Errorf("%s: a connection to %s ended", what, at)
		}
	}
	if p.stalled > 0 {
		t.Errorf("%s: %d sessions were told that nobody has them", what, p.stalled)
	}
}

// move moves a shard from its leader to the node that has no copy of it, and waits until that is done.
func (w *world) move(shard uint16) {
	w.t.Helper()
	w.until("move", func(r *member.Report) bool {
		s := &r.Shards[shard]
		held := map[uint32]bool{}
		for _, c := range s.Replicas {
			held[c.Node] = true
		}
		for i := range r.Nodes {
			if to := r.Nodes[i].ID; !held[to] && s.Leader != 0 {
				_, err := w.ask("a").Move(w.t.Context(), "operator", shard, s.Leader, to, "a test")
				return err == nil
			}
		}
		return false
	})
	w.until("end of the move", whole)
}
