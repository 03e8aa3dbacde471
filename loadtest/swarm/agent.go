package swarm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/loadtest/scenario"
)

// plan is what one process of a swarm is to do.
type plan struct {
	Doc   string   `json:"doc"`
	Sets  []string `json:"sets,omitempty"`
	Index int      `json:"index"`
	Of    int      `json:"of"`
	Addr  string   `json:"addr"`
	Trust *Trust   `json:"trust,omitempty"`
	Run   string   `json:"run"` // in the names of customers and workers
}

// agent is one process of a swarm: its share of the customers and workers.
type agent struct {
	// Fixed.
	plan
	timeline
	sc     *scenario.Scenario
	addr   string
	trust  *tls.Config // nil is in the clear
	run    string
	mint   Mint
	clock  *clock
	m      *meters
	people []*person
	seats  []*seat
	doors  chan struct{} // tokens: those who connect at a time
	end    atomic.Int64  // of the steady time: what falls due later is not done
	ready  atomic.Int64
	manned atomic.Int64
	brisk  atomic.Bool // slow readers read: the steady time is over, and all is to be verified
	hushed atomic.Bool // no stream is told any further: the time for that is over
	idle   bool        // it was said that nothing is open; owned by work

	open []string // of the end; guarded by m.mu
	wg   sync.WaitGroup
}

// Mint makes a token for a role (customer or worker), a kind (bot or human, of workers) and a sub.
type Mint func(role, kind, sub string) (string, error)

// connecting is how many connect at a time, in one process.
const connecting = 128

func newAgent(pl plan, sc *scenario.Scenario, mint Mint) (*agent, error) {
	trust, err := pl.Trust.config()
	if err != nil {
		return nil, err
	}
	t := newTimeline()
	a := &agent{plan: pl, timeline: t, sc: sc, addr: pl.Addr, trust: trust, run: pl.Run, mint: mint, clock: newClock(t), m: newMeters(), doors: make(chan struct{}, connecting)}
	n := sc.Customers.Sockets
	slow := rand.New(rand.NewPCG(sc.Seed, 2)) //nolint:gosec // it is to be the same every time
	for i := range n {
		is := slow.Float64() < sc.Customers.Slow.Share.Value
		if i%pl.Of != pl.Index {
			continue
		}
		p := &person{a: a, index: i, slow: is, inflight: 1}
		if sc.Customers.Shops > 0 {
			p.shop = 1 + i%sc.Customers.Shops
		}
		p.keep = sc.Audit > 0 && i%max(n/sc.Audit, 1) == 0
		a.people = append(a.people, p)
	}
	for kind, count := range map[bool]int{false: sc.Workers.Bots.Count, true: sc.Workers.Humans.Count} {
		for i := range count {
			if i%pl.Of != pl.Index {
				continue
			}
			seed := uint64(i) << 1 //nolint:gosec // it is small
			if kind {
				seed++
			}
			a.seats = append(a.seats, &seat{a: a, index: i, human: kind, held: map[string]*holding{}, rng: rand.New(rand.NewPCG(sc.Seed^3, seed))}) //nolint:gosec // it is to be the same every time
		}
	}
	return a, nil
}

func (a *agent) token(role, kind, sub string) (string, error) {
	t, err := a.mint(role, kind, sub)
	if err != nil {
		return "", fmt.Errorf("minting a token for %s: %w", sub, err)
	}
	return t, nil
}

// door lets a bounded number connect at a time. release may be called twice.
func (a *agent) door(ctx context.Context) (release func(), err error) {
	select {
	case a.doors <- struct{}{}:
		return sync.OnceFunc(func() { <-a.doors }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *agent) seated(*seat) { a.manned.Add(1) }

// sleep waits until a moment. It reports false when ctx ended.
func (a *agent) sleep(ctx context.Context, until int64) bool {
	d := time.Duration(until - a.now())
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// rampMore is how much longer than planned the ramp may take.
const rampMore = 60 * time.Second

// ramp connects everybody. It returns when all are there.
func (a *agent) ramp(ctx context.Context) error {
	a.wg.Go(func() { a.clock.run(ctx) })
	for _, d := range a.seats {
		a.wg.Go(func() { d.live(ctx) })
	}
	if len(a.seats) > 0 {
		if err := a.met(ctx, &a.manned); err != nil {
			return err
		}
	}
	begin := a.now()
	if err := a.until(ctx, rampMore, func() bool { return a.manned.Load() >= int64(len(a.seats)) }); err != nil {
		return fmt.Errorf("%d of %d workers wait for work: %w", a.manned.Load(), len(a.seats), errors.Join(err, a.lastErr()))
	}
	span := a.sc.Ramp.Duration()
	for i, p := range a.people {
		due := begin + int64(float64(span)*float64(i)/float64(len(a.people)))
		a.wg.Go(func() { p.live(ctx, max(due, a.now())) })
		if i == 0 && len(a.seats) == 0 {
			if err := a.met(ctx, &a.ready); err != nil {
				return err
			}
		}
		if i%64 == 0 && !a.sleep(ctx, due-int64(100*time.Millisecond)) { // goroutines that only wait cost too
			return ctx.Err()
		}
	}
	if err := a.until(ctx, span+rampMore, func() bool { return a.ready.Load() >= int64(len(a.people)) }); err != nil {
		return fmt.Errorf("%d of %d customers are connected: %w", a.ready.Load(), len(a.people), errors.Join(err, a.lastErr()))
	}
	return nil
}

// met waits until the first is connected, as long as the scenario has patience: a node that is not there would be tried for a minute by everybody.
func (a *agent) met(ctx context.Context, connected *atomic.Int64) error {
	patience := a.sc.Patience.Duration()
	err := a.until(ctx, patience, func() bool { return connected.Load() > 0 })
	if !errors.Is(err, errLate) {
		return err
	}
	if err = a.lastErr(); err == nil {
		err = errors.New("there was no answer")
	}
	return fmt.Errorf("nobody could connect to %s within %v (the scenario's patience): %w: see that the node runs there, and that the tokens are for it", a.addr, patience, err)
}

func (a *agent) lastErr() error {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if a.m.lastErr == "" {
		return nil
	}
	return errors.New(a.m.lastErr)
}

var errLate = errors.New("it took too long")

// stepMost is what counts at most of one look to the next. When more passes this process did not run, and as a rule neither did the nodes: a machine
// that stood still has not kept anybody waiting.
const stepMost = time.Second

// until waits until ok, for d at most of the time in which this process ran.
func (a *agent) until(ctx context.Context, d time.Duration, ok func() bool) error {
	for was := a.now(); !ok(); {
		if d < 0 {
			return errLate
		}
		if !a.sleep(ctx, was+int64(5*time.Millisecond)) {
			return context.Cause(ctx)
		}
		now := a.now()
		d -= min(time.Duration(now-was), stepMost)
		was = now
	}
	return nil
}

// steady plans everything that falls due from the moment go on, and returns when what was due is settled, or the time for
// that is over. stop ends the steady time early; over tells that everything is settled.
func (a *agent) steady(ctx context.Context, zero int64, stop <-chan struct{}, over func() bool) error {
	a.end.Store(zero + int64(a.sc.Steady.Duration()))
	for i, list := range a.sc.Segments(a.Of) {
		rng := rand.New(rand.NewPCG(a.sc.Seed, uint64(i)<<32|uint64(a.Index)<<1|1)) //nolint:gosec // it is to be the same every time
		f := &flow{a: a, zero: zero, next: scenario.NewArrivals(list, a.sc.Talk.Arrivals, rng), rng: rng}
		f.choose()
		f.plan()
	}
	for i := range a.sc.Actions {
		if act := &a.sc.Actions[i]; act.Drop.Value > 0 {
			a.drop(zero, act, uint64(i)) //nolint:gosec // it is small
		}
	}
	t := time.NewTimer(time.Duration(a.end.Load() - a.now()))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-stop:
		a.end.Store(min(a.now(), a.end.Load()))
	case <-t.C:
	}
	end := a.end.Load()
	a.brisk.Store(true)
	err := a.until(ctx, rampMore, func() bool { return a.clock.past(end) }) // else it would still speak while it is audited
	if err == nil {
		err = a.until(ctx, a.sc.Stop.Duration(), over)
	}
	if errors.Is(err, errLate) {
		err = a.hush(ctx)
	}
	if err != nil {
		return err
	}
	a.audits(ctx)
	return nil
}

// What is told of streams when they are hushed has hushMax to arrive; nothing more is under way when nothing has come for hushQuiet.
const (
	hushMax   = 5 * time.Second
	hushQuiet = 300 * time.Millisecond
)

// hush ends the streams that still run, and waits for what was told of them: what has not come then is lost.
func (a *agent) hush(ctx context.Context) error {
	a.hushed.Store(true)
	seen, since := a.m.tokens.Load(), a.now()
	err := a.until(ctx, hushMax, func() bool {
		now, shown := a.now(), a.m.tokens.Load()
		if shown != seen {
			seen, since = shown, now
		}
		all := a.Of == 1 && shown+a.m.tokensLost.Load() >= a.m.tokensTold.Load() // else others tell, or are shown
		return all || now-since >= int64(hushQuiet)
	})
	if errors.Is(err, errLate) {
		return nil
	}
	return err
}

// over tells whether nothing is open anywhere: here, which is told to the others once, and there. Else the workers of whoever is settled first would
// leave the customers of the others, who would wait until the node has given them to somebody else.
func (a *agent) over(home <-chan struct{}, say func(news)) bool {
	if !a.idle && a.settled() {
		a.idle = true
		say(news{Idle: true})
	}
	select {
	case <-home:
		return true
	default:
		return false
	}
}

// settled tells whether nothing is open, and no stream is told any more.
func (a *agent) settled() bool {
	for _, d := range a.seats {
		if d.telling() {
			return false
		}
	}
	for _, p := range a.people {
		p.mu.Lock()
		open := len(p.queue) + len(p.flight) + len(p.wait)
		p.mu.Unlock()
		if open > 0 {
			return false
		}
	}
	return true
}

// drop plans that connections end on purpose.
func (a *agent) drop(zero int64, act *scenario.Action, number uint64) {
	rng := rand.New(rand.NewPCG(a.sc.Seed^number, uint64(a.Index))) //nolint:gosec // it is to be the same every time
	for _, p := range a.people {
		if rng.Float64() >= act.Drop.Value {
			continue
		}
		at := zero + int64(act.At.Duration()) + int64(rng.Float64()*float64(act.Within.Duration()))
		back := at + int64(act.Back.Duration()) + int64(rng.Float64()*float64(act.Jitter.Duration()))
		a.clock.at(at, &hangUp{p, back})
	}
}

type hangUp struct {
	p    *person
	back int64
}

func (h *hangUp) run(due int64) {
	if due < h.p.a.end.Load() {
		h.p.hangUp(h.back)
	}
}
