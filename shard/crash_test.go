package shard_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// ledger is what the outside was told, in the order in which it was told.
type ledger struct {
	mu    sync.Mutex
	words []word
	epoch []owned
}

// word is an entry that was acknowledged.
type word struct {
	session wire.SessionID
	seq     uint64
	who     string
	key     string // of a send
	text    string
}

// owned is an assignment that a worker was told.
type owned struct {
	session wire.SessionID
	ae      uint64
}

func (l *ledger) wrote(w word) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.words = append(l.words, w)
}

func (l *ledger) assigned(o owned) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = append(l.epoch, o)
}

// power is a disk whose power is cut at random syncs: a copy of what would be left is taken, and what had been told
// before.
type power struct {
	fs     *vfs.MemFS
	ledger *ledger

	mu sync.Mutex
	// Guarded by mu.
	rng  *rand.Rand
	most int
	cuts []cut
}

type cut struct {
	fs           *vfs.MemFS
	words, epoch int // how much of the ledger had been told
	where        string
}

func (p *power) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		p.cut(fmt.Sprintf("%v of %s", op.Kind, op.Path), 8)
	}
	return nil
}

func (p *power) String() string { return "power cuts" }

// cut takes a copy, one time in n.
func (p *power) cut(where string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rng.IntN(n) != 0 || len(p.cuts) >= p.most {
		return
	}
	// What was told before the copy was taken must be in the copy.
	p.ledger.mu.Lock()
	c := cut{words: len(p.ledger.words), epoch: len(p.ledger.epoch), where: where}
	p.ledger.mu.Unlock()
	c.fs = p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 100}[p.rng.IntN(3)], RNG: p.rng})
	p.cuts = append(p.cuts, c)
}

// actor is somebody who acts at random: its own source, its own connection, no more words than it may.
type actor struct {
	*conn
	l    *ledger
	rng  *rand.Rand
	left int
	stop chan struct{}
}

// wait returns the next frame, or nil when the actor is to stop.
func (a *actor) wait() *wire.Frame {
	for {
		a.mu.Lock()
		if len(a.frames) > 0 {
			f := a.frames[0]
			a.frames = a.frames[1:]
			a.mu.Unlock()
			return f
		}
		a.mu.Unlock()
		select {
		case <-a.wake:
		case <-a.stop:
			return nil
		}
	}
}

// answer returns the reply to the last request.
func (a *actor) answer() *wire.Frame {
	for f := a.wait(); f != nil; f = a.wait() {
		if f.ID == a.req {
			return f
		}
	}
	return nil
}

// customer talks, repeats itself, closes and rates, and goes away when it has said enough.
func (a *actor) customer() {
	open := func() wire.SessionID {
		a.do(exchange.CustomerSlot("demo", a.who.Sub), &wire.Command{Verb: wire.VerbOpen, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{}}}})
		if f := a.answer(); f != nil {
			return f.Session
		}
		return ""
	}
	id := open()
	var mine []word
	for ; a.left > 0 && id != ""; a.left-- {
		switch roll := a.rng.IntN(20); {
		case roll == 0:
			a.do(slotOf(id), &wire.Command{Verb: wire.VerbClose, Session: id, Reason: "enough"})
			a.answer()
			if a.rng.IntN(2) == 0 {
				id = open()
				mine = nil
			}
		case roll == 1:
			a.do(slotOf(id), &wire.Command{Verb: wire.VerbRate, Session: id, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Rate{Rate: &wirepb.Rate{Session: string(id), Score: 3}}}})
			a.answer()
		case roll < 6 && len(mine) > 0:
			w := mine[a.rng.IntN(len(mine))]
			a.send(id, w.key, w.text)
			if f := a.answer(); f != nil && (f.Kind != wire.FrameWrote || !f.Duplicate || f.Seq != w.seq) {
				a.n.t.Errorf("%s repeated %q of seq %d and was answered %+v", a.who.Sub, w.key, w.seq, f)
			}
		default:
			text := fmt.Sprintf("%s-%d", a.who.Sub, a.req)
			w := word{session: id, who: a.who.Sub, key: "k" + text, text: text}
			a.send(id, w.key, text)
			f := a.answer()
			if f == nil {
				return
			}
			if f.Kind != wire.FrameWrote || f.Duplicate {
				a.n.t.Errorf("%s said %q and was answered %+v %+v", a.who.Sub, text, f, f.Err)
				continue
			}
			w.seq = f.Seq
			a.l.wrote(w)
			mine = append(mine, w)
		}
	}
}

// worker answers, refuses, hands on and lets go. What was assigned to it is told to the ledger.
func (a *actor) worker() {
	said := map[uint64]word{}
	for f := a.wait(); f != nil; f = a.wait() {
		switch f.Kind {
		case wire.FrameKeep:
			if o := f.PB.GetOffer(); o != nil {
				a.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbAccept, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Accept{Accept: &wirepb.Accept{Offer: o.Offer}}}})
			}
		case wire.FrameAssigned:
			a.l.assigned(owned{f.Session, f.AE})
		case wire.FrameWrote:
			if w, mine := said[f.ID]; mine && !f.Duplicate {
				w.seq = f.Seq
				a.l.wrote(w)
			}
			delete(said, f.ID)
		case wire.FrameDelivery:
			if f.Attempt > 0 {
				a.work(f, said)
			}
		}
	}
}

// work does something about a customer's word.
func (a *actor) work(f *wire.Frame, said map[uint64]word) {
	m := &wire.Command{Session: f.Session, AE: f.AE}
	switch roll := a.rng.IntN(20); {
	case roll == 0:
		m.Verb, m.Seq, m.DelayMS = wire.VerbNack, f.Entry.Seq, 1
	case roll == 1:
		m.Verb, m.PB = wire.VerbTransfer, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{Transfer: &wirepb.Transfer{To: &wirepb.Target{Queue: "default"}, Note: "x", Context: []byte(`{"a":1}`)}}}
	case roll == 2:
		m.Verb, m.PB = wire.VerbRelease, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Release{Release: &wirepb.Release{Outcome: "solved"}}}
	case roll == 3:
		m.Verb, m.PB = wire.VerbContext, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Context{Context: &wirepb.Context{Patch: []byte(`{"b":2}`)}}}
	case roll < 6:
		m.Verb, m.Seq = wire.VerbAck, f.Entry.Seq
	default:
		text := fmt.Sprintf("%s-%d", a.who.Sub, a.req+1)
		m.Verb, m.Ack, m.Type, m.Body = wire.VerbReply, wire.Some(f.Entry.Seq), "text", []byte(`{"text":"`+text+`"}`)
		said[a.req+1] = word{session: f.Session, who: a.who.Sub, text: text}
	}
	a.do(slotOf(f.Session), m)
}

// busy lets customers and workers act until the customers are done, and then stops the workers.
func busy(n *node, l *ledger, seed uint64, customers, words int, names string) {
	stop := make(chan struct{})
	seq := uint64(0)
	begin := func(who *wire.Principal) *actor {
		seq++
		return &actor{conn: n.conn(who), l: l, rng: rand.New(rand.NewPCG(seed, seq)), left: words, stop: stop}
	}
	var work, talk sync.WaitGroup
	for i := range 3 {
		kind := wire.OriginBot
		if i == 2 {
			kind = wire.OriginHuman
		}
		a := begin(worker(fmt.Sprint(names, "w", i), kind))
		a.subscribe(uint32(customers), "")
		work.Go(a.worker)
	}
	for i := range customers {
		a := begin(customer(fmt.Sprint("c", i)))
		a.req = seed << 20 // its words are told apart from those before
		talk.Go(a.customer)
	}
	talk.Wait()
	close(stop)
	work.Wait()
}

// TestPowerCuts cuts the power at random syncs under customers, bots and humans who act at random through the exchange.
// Of what is left, opened again, every acknowledged entry is there, once, in its place, its key answers with it, and no
// assignment goes back. Some of what is left goes on and is cut again; at rest, what the rows make of a session is what
// it was in memory.
func TestPowerCuts(t *testing.T) {
	const seed = 20261122
	t.Logf("seed %d", seed)
	const groups, customers, words, generations = 3, 6, 40, 3
	mem := vfs.NewCrashableMem()
	l := &ledger{}
	tested := 0
	for g := range uint64(generations) {
		p := &power{fs: mem, ledger: l, rng: rand.New(rand.NewPCG(seed, g)), most: 30}
		n := startOn(t, journal.Config{Dir: "data", FS: errorfs.Wrap(mem, p), Groups: groups, FreeMin: -1, FlushBytes: 100 << 10, FenceTurns: 20}, 1)
		for round := uint64(0); p.count() < p.most; round++ {
			busy(n, l, seed+100*g+round, customers, words, fmt.Sprint("g", g, "r", round))
		}
		n.rest()
		for i, c := range append(p.cuts, p.last(l)) {
			survive(t, &c, l, groups, n, i == len(p.cuts))
			tested++
		}
		// The next generation goes on with what one of the cuts left, and knows of nothing that was told later.
		next := p.cuts[len(p.cuts)/2+p.rng.IntN(len(p.cuts)/2)]
		l.words, l.epoch = l.words[:next.words], l.epoch[:next.epoch]
		if err := n.j.Close(); err != nil {
			t.Fatal(err)
		}
		mem = next.fs
	}
	t.Logf("%d power cuts, %d acknowledged entries, %d assignments", tested, len(l.words), len(l.epoch))
}

func (p *power) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.cuts)
}

// last is a cut when nothing moves any more.
func (p *power) last(l *ledger) cut {
	return cut{fs: p.fs.CrashClone(vfs.CrashCloneCfg{}), words: len(l.words), epoch: len(l.epoch), where: "at rest"}
}

// rest closes the shards, and leaves the journal open.
func (n *node) rest() {
	for _, s := range n.shards {
		s.Close()
	}
}

// survive opens what a cut left and compares it with the ledger.
func survive(t *testing.T, c *cut, l *ledger, groups int, before *node, atRest bool) {
	t.Helper()
	words, epoch := l.words[:c.words], l.epoch[:c.epoch]
	cfg := journal.Config{Dir: "data", FS: c.fs.CrashClone(vfs.CrashCloneCfg{}), Groups: groups, FreeMin: -1}
	if atRest { // [I12]
		j, err := journal.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		compared := 0
		for i, s := range before.shards {
			n, err := s.Rebuilt(j.Group(i))
			if compared += n; err != nil {
				t.Error(err)
			}
		}
		if compared < 10 {
			t.Errorf("only %d sessions and customers were compared", compared)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	n := startOn(t, cfg, 1)
	defer n.stop()
	logs := map[wire.SessionID]map[uint64]*wire.Entry{}
	texts := map[string]uint64{}
	people := map[string]bool{}
	for _, w := range words {
		if w.key != "" {
			people[w.who] = true
		}
		if logs[w.session] != nil {
			continue
		}
		id := w.session
		logs[id] = map[uint64]*wire.Entry{}
		if err := readLog(n, id, func(e *wire.Entry) error {
			logs[id][e.Seq] = e
			if e.Kind == wire.KindMessage {
				if at, twice := texts[string(e.Body)]; twice {
					t.Errorf("cut before %s: %s stands at %d and at %d", c.where, e.Body, at, e.Seq)
				}
				texts[string(e.Body)] = e.Seq
			}
			return nil
		}); err != nil {
			t.Fatalf("cut before %s: %v", c.where, err)
		}
	}
	for _, w := range words {
		e := logs[w.session][w.seq]
		if e == nil || !strings.Contains(string(e.Body), `"`+w.text+`"`) || e.From.ID != w.who {
			t.Fatalf("cut before %s: %+v was acknowledged, and its place holds %+v", c.where, w, e)
		}
	}
	n.whys(c, epoch)
	n.repeat(c, words)
	n.grow(c, epoch, people)
}

// whys looks whether every assignment that a worker was told of has its why, of those of the last eight times that it waited, and no more than are
// kept. Where it waited and came to nobody, the place stays with an earlier one, or empty.
func (n *node) whys(c *cut, told []owned) {
	n.t.Helper()
	each := map[wire.SessionID]map[uint64]bool{}
	for _, o := range told {
		if each[o.session] == nil {
			each[o.session] = map[uint64]bool{}
		}
		each[o.session][o.ae] = true
	}
	for id, list := range each {
		g := n.j.Group(int(slotOf(id)) % len(n.shards))
		rows, untaken, err := shard.WhyRows(g, id)
		waits, waitsErr := shard.Waits(g, id)
		vain := max(int(waits)-len(list), 0)
		if err = errors.Join(err, waitsErr); err != nil || rows < min(len(list), 8)-vain || rows > 8 || untaken > 8 {
			n.t.Errorf("cut before %s: session %s was assigned %d times, and %d explanations are kept; %v", c.where, id, len(list), rows, err)
		}
	}
}

// repeat lets every customer say its last words again: each key answers with its first result [SW-4.3].
func (n *node) repeat(c *cut, words []word) {
	n.t.Helper()
	people := map[string]*conn{}
	for i := len(words) - 1; i >= max(0, len(words)-60); i-- {
		w := words[i]
		if w.key == "" {
			continue
		}
		p := people[w.who]
		if p == nil {
			p = n.conn(customer(w.who))
			people[w.who] = p
		}
		p.send(w.session, w.key, w.text)
		if f := p.next(wire.FrameWrote, wire.FrameError); f.Kind != wire.FrameWrote || !f.Duplicate || f.Seq != w.seq {
			n.t.Fatalf("cut before %s: %+v was acknowledged, and repeated it is answered %+v %+v", c.where, w, f, f.Err)
		}
	}
}

// grow lets a new worker take every session, with a number above all that was told [SW-5.3].
func (n *node) grow(c *cut, told []owned, people map[string]bool) {
	n.t.Helper()
	highest := map[wire.SessionID]uint64{}
	for _, o := range told {
		highest[o.session] = max(highest[o.session], o.ae)
	}
	human := n.conn(worker("after", wire.OriginHuman))
	human.subscribe(1000, "")
	bot := n.conn(worker("afterbot", wire.OriginBot))
	bot.subscribe(1000, "")
	latest := map[wire.SessionID]bool{}
	for _, who := range slices.Sorted(maps.Keys(people)) {
		p := n.conn(customer(who))
		id := p.open(&wirepb.Open{})
		p.send(id, "", "and now?")
		if f := p.next(wire.FrameWrote, wire.FrameError); f.Kind != wire.FrameWrote {
			n.t.Fatalf("cut before %s: %s may not go on: %v", c.where, id, f.Err)
		}
		latest[id] = true
	}
	stop := make(chan struct{})
	got := make(chan owned, 1000)
	var wg sync.WaitGroup
	for i, w := range []*conn{human, bot} {
		a := &actor{conn: w, l: &ledger{}, rng: rand.New(rand.NewPCG(1, uint64(i))), stop: stop}
		wg.Go(func() {
			for f := a.wait(); f != nil; f = a.wait() {
				if o := f.PB.GetOffer(); f.Kind == wire.FrameKeep && o != nil {
					a.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbAccept, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Accept{Accept: &wirepb.Accept{Offer: o.Offer}}}})
				}
				if f.Kind == wire.FrameAssigned {
					got <- owned{f.Session, f.AE}
				}
			}
		})
	}
	for len(latest) > 0 {
		o := <-got
		if o.ae <= highest[o.session] {
			n.t.Errorf("cut before %s: %s was assigned as %d, and is again as %d", c.where, o.session, highest[o.session], o.ae)
		}
		delete(latest, o.session)
	}
	close(stop)
	wg.Wait()
}
