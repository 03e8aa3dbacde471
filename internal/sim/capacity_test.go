package sim_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/client"
	"switchboard/edge/token"
	"switchboard/exchange"
	"switchboard/wire"
)

// slots is how many sessions each worker of TestCapacity can take.
const slots = 2

// TestCapacity: three workers with two slots each, and more customers than that. In one second the power goes of the node that leads their
// pool's shard and of one that leads sessions, with the workers' connections there, and one worker's program ends for good. By the logs of
// all sessions, nobody ever has more than two of them, and when the nodes are back everybody is served.
func TestCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowded{world: newWorld(t, 0, copies, 2*time.Millisecond)}
		c.run()
	})
}

// crowded is a cluster whose workers have always as much to do as they can take.
type crowded struct {
	*world

	mu sync.Mutex
	// Guarded by mu.
	sessions []string
	answers  int
}

func (c *crowded) run() {
	c.settle(time.Minute)
	ctx, cancel := context.WithCancel(context.Background())
	ending, end := context.WithCancel(ctx) // one worker's
	var wg sync.WaitGroup
	for i, m := range c.hosts {
		if i > 0 {
			wg.Go(func() { c.work(ctx, "bot-"+m.name, m.name) })
		} else {
			wg.Go(func() { c.work(ending, "bot-"+m.name, m.name) })
		}
	}
	for i := range 10 {
		wg.Go(func() {
			if err := c.visit(ctx, fmt.Sprint("c", i), c.hosts[i%copies].name); ctx.Err() == nil {
				c.t.Errorf("customer %d: %v", i, err)
			}
		})
	}
	for range 2 {
		time.Sleep(3 * time.Second)
		c.settle(time.Minute)
		pool := c.leader(int(exchange.PoolSlot("demo")) % shards)
		other := c.hosts[(slices.Index(c.hosts, pool)+1+c.rng.IntN(2))%copies]
		end()
		time.Sleep(time.Duration(c.rng.IntN(500)) * time.Millisecond)
		c.power(pool, other)
		time.Sleep(time.Duration(c.rng.IntN(3000)) * time.Millisecond)
		c.start(pool)
		c.start(other)
	}
	time.Sleep(10 * time.Second)
	before := c.served()
	time.Sleep(10 * time.Second)
	if n := c.served() - before; n < 20 {
		c.t.Errorf("%d answers in ten seconds: they are not served again", n)
	}
	cancel()
	wg.Wait()
	c.check()
	for _, m := range c.up() {
		c.off(m, false)
	}
	time.Sleep(11 * time.Second) // a goroutine of fasthttp's looks around every ten
	end()
}

func (c *crowded) served() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers
}

// leader returns the machine that leads a shard.
func (c *crowded) leader(shard int) *machine {
	c.t.Helper()
	r, err := c.report()
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range r.Nodes {
		if r.Nodes[i].ID == r.Shards[shard].Leader {
			return c.hosts[slices.IndexFunc(c.hosts, func(m *machine) bool { return m.name == r.Nodes[i].Name })]
		}
	}
	c.t.Fatalf("nobody leads shard %d: %+v", shard, r.Shards[shard])
	return nil
}

// at connects to a node, and to another one when that does not answer.
func (c *crowded) at(node string, who token.Claims) client.Config {
	cfg := c.config("out", who)
	cfg.Dial = c.tapped(&who, c.near(node))
	return cfg
}

// work is a bot that thinks for a while.
func (c *crowded) work(ctx context.Context, sub, at string) {
	cfg := c.at(at, token.Claims{Sub: sub, Role: wire.RoleWorker, Kind: wire.OriginBot, Queues: []string{"*"}})
	err := client.Work(ctx, client.WorkerConfig{Config: cfg, Queues: []string{"default"}, Slots: slots}, func(ctx context.Context, s *client.Session, e client.Entry) error {
		time.Sleep(200 * time.Millisecond)
		_, err := s.Reply(ctx, "text", "re "+e.Text(), client.WithAck(e.Seq))
		return err
	})
	if ctx.Err() == nil {
		c.t.Errorf("%s gave up: %v", sub, err)
	}
}

// visit is a customer who has one conversation after the other.
func (c *crowded) visit(ctx context.Context, who, at string) error {
	cl, err := client.Dial(ctx, c.at(at, token.Claims{Sub: who, Role: wire.RoleCustomer}))
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	for ctx.Err() == nil {
		s, err := cl.Open(ctx, client.OpenOptions{Queue: "default"})
		if err != nil {
			return fmt.Errorf("opening: %w", err)
		}
		c.mu.Lock()
		c.sessions = append(c.sessions, s.ID())
		c.mu.Unlock()
		if err := c.talk(ctx, s); err != nil {
			return err
		}
		if err := errors.Join(s.Close(ctx, "done"), s.Leave(ctx)); err != nil {
			return fmt.Errorf("ending: %w", err)
		}
	}
	return nil
}

// talk is a conversation of a few words, each of which is answered.
func (c *crowded) talk(ctx context.Context, s *client.Session) error {
	for i := range 3 {
		if _, err := s.Send(ctx, "text", fmt.Sprint(i)); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
		for answer := ""; answer != fmt.Sprint("re ", i); {
			e, err := s.Recv(ctx)
			if err != nil {
				return fmt.Errorf("waiting for an answer: %w", err)
			}
			answer = e.Text()
		}
		c.mu.Lock()
		c.answers++
		c.mu.Unlock()
	}
	return nil
}

// change is a moment at which a worker has one session more, or less.
type change struct {
	at      int64
	by      int
	worker  string
	session string
}

// changes are those of a session, by its log.
func changes(id string, log []client.Entry) (list []change) {
	owner, last := "", int64(0)
	leaves := func(at int64) {
		if owner != "" {
			list = append(list, change{at, -1, owner, id})
		}
		owner = ""
	}
	for i := range log {
		e := &log[i]
		last = e.TS
		switch e.Type {
		case "session.assigned":
			leaves(e.TS)
			var to struct{ ID string }
			_ = json.Unmarshal(e.Body, &to) // without one nobody has it, and nobody is busy
			owner = to.ID
			list = append(list, change{e.TS, 1, owner, id})
		case "session.released", "session.closed", "session.transferred", "session.queued", "session.parked", "session.abandoned", "worker.lost":
			leaves(e.TS)
		}
	}
	leaves(last + 1)
	return list
}

// check holds what each worker has had, by the logs, against his slots.
func (c *crowded) check() {
	c.t.Helper()
	sue, err := client.Dial(c.t.Context(), c.config("office", token.Claims{Sub: "sue", Role: wire.RoleSupervisor}))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = sue.Close() }()
	var list []change
	for _, id := range c.sessions {
		log, err := c.readLog(sue, id)
		if err != nil {
			c.t.Fatalf("reading %s: %v", id, err)
		}
		list = append(list, changes(id, log)...)
	}
	slices.SortStableFunc(list, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	has, full := map[string][]string{}, 0
	for _, ch := range list {
		if ch.by < 0 {
			i := slices.Index(has[ch.worker], ch.session)
			has[ch.worker] = slices.Delete(has[ch.worker], i, i+1)
			continue
		}
		has[ch.worker] = append(has[ch.worker], ch.session)
		switch n := len(has[ch.worker]); {
		case n > slots:
			c.t.Errorf("at %v %s has %v", time.UnixMilli(ch.at).UTC().Format("05.000"), ch.worker, has[ch.worker])
		case n == slots:
			full++
		}
	}
	c.t.Logf("%d sessions, %d answers; a worker had all that he can take %d times", len(c.sessions), c.answers, full)
	if full < 10 {
		c.t.Error("nobody was busy")
	}
}
