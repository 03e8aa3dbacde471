package sim_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"switchboard/internal/sim/history"
	"switchboard/node"
	"switchboard/wire"
)

// TestMain starts once, outside of any bubble, what fasthttp starts once for a process.
func TestMain(m *testing.M) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) {}}
	done := make(chan struct{})
	go func() { _ = s.Serve(ln); close(done) }()
	_, _, _ = fasthttp.Get(nil, "http://"+ln.Addr().String())
	_ = s.Shutdown()
	<-done
	os.Exit(m.Run())
}

// TestCluster lets customers, bots and people talk over four nodes while one thing after the other goes wrong, and operators move and
// drain. What is checked, and where else, is in DESIGN.md.
func TestCluster(t *testing.T) {
	eachSeed(t, run)
}

// eachSeed runs each of the seeds in a bubble of its own, and looks at the histories outside of it.
func eachSeed(t *testing.T, run func(*testing.T, uint64) *ledger) {
	eachOf(t, seeds(t), 100, run)
}

// eachOf is eachSeed for a list of them. Each is to have so many words that were said.
func eachOf(t *testing.T, list []uint64, words int, run func(*testing.T, uint64) *ledger) {
	for _, seed := range list {
		name := t.Name()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			defer func() {
				if t.Failed() {
					t.Logf("again: SWITCHBOARD_SIM_FROM=%d SWITCHBOARD_SIM_SEEDS=1 go test ./internal/sim -run %s -count=1 -v", seed, name)
				}
			}()
			var l *ledger
			synctest.Test(t, func(t *testing.T) { l = run(t, seed) })
			if l == nil {
				return
			}
			c, err := history.Check(l.history.Ops(), time.Minute)
			if err != nil {
				t.Error(err)
			}
			t.Logf("%+v", c)
			if c.Appends < words || c.Repeated == 0 || c.Reads == 0 {
				t.Error("nobody could talk")
			}
		})
	}
}

// seeds are those to run: a few and the regressions, or as many as SWITCHBOARD_SIM_SEEDS says, from SWITCHBOARD_SIM_FROM on.
func seeds(t *testing.T) (list []uint64) { return seedsOr(t, 2) }

// seedsOr is seeds, where a few are so many.
func seedsOr(t *testing.T, few uint64) (list []uint64) {
	number := func(name string, otherwise uint64) uint64 {
		s := os.Getenv(name)
		if s == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s is %q: it must be a number", name, s)
		}
		return n
	}
	if os.Getenv("SWITCHBOARD_SIM_FROM")+os.Getenv("SWITCHBOARD_SIM_SEEDS") == "" {
		list = slices.Clone(regressions[t.Name()])
	}
	from := number("SWITCHBOARD_SIM_FROM", 0)
	for seed := range number("SWITCHBOARD_SIM_SEEDS", few) {
		list = append(list, from+seed)
	}
	return list
}

// run is one seed, in a bubble. It returns nil when it failed before there was anything to judge.
func run(t *testing.T, seed uint64) *ledger {
	p := begin(t, seed)
	for range 8 {
		p.fault()
		time.Sleep(time.Duration(p.rng.IntN(3000)) * time.Millisecond)
	}
	return p.end()
}

// company is how much of everything a run has.
type company struct {
	nodes, shards int
	devices       int // two for each customer
	staff         []*staff
	chat          time.Duration // how long people talk before the first fault, and five times that after the last
	worst         time.Duration // how long a fault lasts at most
	tenant        *node.Tenant  // default oneQueue
}

// begin starts four nodes, and lets people talk.
func begin(t *testing.T, seed uint64) *play {
	return beginWith(t, seed, &company{nodes: 4, shards: shards, devices: 10, chat: 2 * time.Second, worst: 4 * time.Second, staff: []*staff{
		{name: "bot0", kind: wire.OriginBot, slots: 2},
		{name: "bot1", kind: wire.OriginBot, slots: 1},
		{name: "hans", kind: wire.OriginHuman, slots: 2},
		{name: "hilda", kind: wire.OriginHuman, slots: 1},
	}})
}

// beginWith starts nodes, and lets people talk.
func beginWith(t *testing.T, seed uint64, c *company) *play {
	tenant := &oneQueue
	if c.tenant != nil {
		tenant = c.tenant
	}
	p := &play{
		world: newWorldOf(t, seed, c.nodes, c.shards, 2*time.Millisecond, *tenant), l: newLedger(), company: c,
	}
	p.settle(time.Minute)
	p.ctx, p.home = context.WithCancel(context.Background())
	for _, s := range p.staff {
		s.w, s.l = p.world, p.l
		s.begin(p.ctx)
	}
	p.crew.Go(func() { p.watch(p.ctx) })
	talking, hush := context.WithCancel(p.ctx)
	p.hush = hush
	for i := range c.devices {
		d := &device{
			w: p.world, l: p.l, number: i, customer: fmt.Sprintf("c%d", i/2), name: fmt.Sprintf("c%d.%d", i/2, i%2),
			rng: rand.New(rand.NewPCG(seed, 100+uint64(i))),
		}
		p.talkers.Go(func() {
			if err := d.run(talking); err != nil {
				t.Errorf("%s gave up: %v", d.name, err)
			}
		})
	}
	time.Sleep(c.chat)
	return p
}

// end waits until all is well and everything is answered, lets everybody go home, and checks what they were told.
func (p *play) end() *ledger {
	for _, m := range p.hosts {
		m.skew.Store(0)
	}
	time.Sleep(5 * p.chat)
	p.hush()
	p.talkers.Wait()
	logs := p.answered(3 * time.Minute)
	p.settle(3 * time.Minute)
	if p.last != nil && logs != nil {
		p.last()
		logs = p.answered(time.Minute) // what was said since
	}
	p.home()
	for _, s := range p.staff {
		<-s.gone
	}
	p.crew.Wait()
	if logs != nil {
		p.check(logs)
	}
	frames, steps := p.book.heard(), p.saw.seen()
	p.t.Logf("%d frames and %d steps were checked", frames, steps)
	if frames < 100 || steps < 100 {
		p.t.Error("nothing was checked")
	}
	for _, m := range p.up() {
		p.off(m, false)
	}
	time.Sleep(11 * time.Second) // a goroutine of fasthttp's looks around every ten
	if logs == nil {
		return nil
	}
	return p.l
}
