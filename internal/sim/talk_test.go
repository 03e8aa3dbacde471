package sim_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/client"
	"switchboard/edge/token"
	"switchboard/internal/sim/history"
	"switchboard/wire"
)

// told is what somebody was told of a word of his.
type told struct {
	word string
	seq  uint64
}

// tenure is one assignment, as its worker saw it.
type tenure struct {
	session, worker string
	ae              uint64
	reason          string
	tail            []uint64        // the entries that came with it
	seen            map[uint64]bool // the entries that came, with it or later
	heard           map[uint64]bool // of these, what was delivered
	last            uint64
	began, ended    string // when, and why, as its client knows it
	failed          bool   // an answer was refused: it is delivered again when the clock of whoever owns it says so
}

// ledger is what customers and workers were told, by device and by tenure.
type ledger struct {
	history history.History

	mu sync.Mutex
	// Guarded by mu.
	session map[string]string // customer → session
	sent    map[string][]told // by device
	seen    map[string][]uint64
	tenures []*tenure
	replied map[string][]told // by session: what workers were told of their replies
	done    map[string]int    // of what a run is about: how often it was done
}

func newLedger() *ledger {
	return &ledger{session: map[string]string{}, sent: map[string][]told{}, seen: map[string][]uint64{}, replied: map[string][]told{}, done: map[string]int{}}
}

// count notes that something was done that a run is about.
func (l *ledger) count(what string) {
	l.mu.Lock()
	l.done[what]++
	l.mu.Unlock()
}

// device is one of a customer's: it says words, some of them twice, reads what there is, and follows its session.
type device struct {
	w        *world
	l        *ledger
	number   int
	customer string
	name     string // of the device
	rng      *rand.Rand
	s        *client.Session
}

func (d *device) run(ctx context.Context) error {
	c, err := client.Dial(ctx, d.w.config("out", token.Claims{Sub: d.customer, Role: wire.RoleCustomer}))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if d.s, err = c.Open(ctx, client.OpenOptions{Queue: "default"}); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	d.l.mu.Lock()
	if was, ok := d.l.session[d.customer]; ok && was != d.s.ID() {
		d.w.t.Errorf("%s has session %s, and %s has %s", d.customer, was, d.name, d.s.ID())
	}
	d.l.session[d.customer] = d.s.ID()
	d.l.mu.Unlock()
	var follow sync.WaitGroup
	defer follow.Wait()
	follow.Go(func() {
		for e, err := range d.s.Entries(ctx) {
			if err != nil {
				return
			}
			d.l.mu.Lock()
			d.l.seen[d.name] = append(d.l.seen[d.name], e.Seq)
			d.l.mu.Unlock()
		}
	})
	for i := 0; ctx.Err() == nil; i++ {
		word := fmt.Sprintf("%s-%04d", d.name, i)
		switch d.rng.IntN(20) {
		case 0:
			word += " human" // please
		case 1:
			word += " colleague"
		case 2:
			word += " bye"
		}
		if err := d.say(ctx, word); err != nil {
			return err
		}
		if d.rng.IntN(6) == 0 {
			d.read(ctx)
		}
		time.Sleep(time.Duration(30+d.rng.IntN(400)) * time.Millisecond)
	}
	return nil
}

// say says a word under a key of its own until it is told where it stands. Now and then it does not wait for long and says it again,
// or says it once more when it was told.
func (d *device) say(ctx context.Context, word string) error {
	for try := 0; ; try++ {
		patience, cancel := context.WithTimeout(ctx, []time.Duration{40 * time.Millisecond, 500 * time.Millisecond, time.Minute}[min(2, d.rng.IntN(3)+try)])
		op := history.Op{Client: d.number, Session: d.s.ID(), Key: word, Call: time.Now().UnixNano()}
		r, err := d.s.Send(patience, "text", word, client.WithKey(strings.ReplaceAll(word, " ", ".")))
		late := patience.Err() != nil
		cancel()
		if err == nil {
			op.Return, op.Seq, op.Duplicate = time.Now().UnixNano(), r.Seq, r.Duplicate
			if r.Epoch != 1 {
				d.w.t.Errorf("%s stands at %d of epoch %d", word, r.Seq, r.Epoch)
			}
		}
		d.l.history.Add(&op)
		switch {
		case err == nil:
			d.l.mu.Lock()
			if n := len(d.l.sent[d.name]); n == 0 || d.l.sent[d.name][n-1].word != word {
				d.l.sent[d.name] = append(d.l.sent[d.name], told{word, r.Seq})
			} else if was := d.l.sent[d.name][n-1].seq; was != r.Seq {
				d.w.t.Errorf("%s stands at %d, and at %d when it is said again", word, was, r.Seq)
			}
			d.l.mu.Unlock()
			if d.rng.IntN(10) > 0 {
				return nil
			}
		case ctx.Err() != nil:
			return nil
		case !late:
			return fmt.Errorf("send %s: %w", word, err)
		}
		d.number += 100 // what it did not wait for may still be done: Porcupine's clients do one thing at a time
	}
}

// read reads the end of the log.
func (d *device) read(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	op := history.Op{Client: d.number, Session: d.s.ID(), Call: time.Now().UnixNano()}
	page, _, err := d.s.History(ctx, client.Page{Limit: 50})
	if err != nil || len(page) == 0 {
		return
	}
	op.Return, op.From = time.Now().UnixNano(), page[0].Seq
	op.Words = words(page)
	d.l.history.Add(&op)
}

// words are what customers said.
func words(page []client.Entry) (list []history.Word) {
	for i := range page {
		if e := &page[i]; e.Origin == wire.OriginCustomer && e.Kind == "message" {
			list = append(list, history.Word{Key: e.Text(), Seq: e.Seq})
		}
	}
	return list
}

// staff is a worker who is there until it is ended, and may be begun again as somebody who knows nothing of before.
type staff struct {
	w     *world
	l     *ledger
	name  string
	kind  wire.Origin
	slots int
	host  string // the machine it sits at
	desk  *desk  // what it does beside answering; may be nil

	cancel context.CancelFunc
	gone   chan struct{}
	lives  int
}

func (p *staff) begin(ctx context.Context) {
	p.lives++
	p.host = fmt.Sprintf("%s#%d", p.name, p.lives)
	ctx, p.cancel = context.WithCancel(ctx)
	p.gone = make(chan struct{})
	gone := p.gone
	go func() {
		defer close(gone)
		cfg := p.w.config(p.host, token.Claims{Sub: p.name, Role: wire.RoleWorker, Kind: p.kind, Queues: []string{"*"}})
		var here atomic.Pointer[client.Client]
		cfg.On.Presence = func(string, string) { // he missed an offer that did not reach him
			if c := here.Load(); c != nil {
				go func() {
					for ctx.Err() == nil && c.Presence(ctx, "ready", "") != nil {
						pause(ctx, 100*time.Millisecond)
					}
				}()
			}
		}
		work := client.WorkerConfig{
			Config: cfg, Ready: func(c *client.Client) { here.Store(c) },
			Queues: []string{"default"}, Slots: p.slots, Window: 4, Grace: time.Millisecond, Begin: p.takes, Notice: p.notices, Ended: p.loses,
		}
		if p.desk != nil {
			p.desk.sits(ctx, p, &work)
		}
		err := client.Work(ctx, work, p.answer)
		if ctx.Err() == nil {
			p.w.t.Errorf("%s gave up: %v", p.name, err)
		}
	}()
}

// kill ends it without a word, silently or with its connections, and begins it again after a while.
func (p *staff) kill(ctx context.Context, silent bool, wait time.Duration) {
	p.w.net.Down(p.host, true)
	if !silent {
		p.w.net.Reset(p.host)
	}
	p.cancel()
	<-p.gone
	time.Sleep(wait)
	p.begin(ctx)
}

func (p *staff) takes(ctx context.Context, s *client.Session) {
	a := s.Assignment()
	k := &tenure{session: s.ID(), worker: p.name, ae: a.AE, reason: a.Reason, began: time.Now().Format(stamp), seen: map[uint64]bool{}, heard: map[uint64]bool{}}
	for _, e := range a.Tail {
		k.tail = append(k.tail, e.Seq)
		k.seen[e.Seq] = true
		k.last = max(k.last, e.Seq)
	}
	p.l.mu.Lock()
	p.l.tenures = append(p.l.tenures, k)
	p.l.mu.Unlock()
	time.AfterFunc(silence, func() { p.leaves(ctx, s, k) })
}

func (p *staff) loses(s *client.Session, reason string) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if k := p.l.tenure(p.name, s); k != nil {
		k.ended = time.Now().Format(stamp) + " " + reason
	}
}

const (
	stamp   = "04:05.000"
	silence = 2 * time.Second // after which somebody is let go who has been answered
	looks   = 8               // in a row in which a word is there, and its worker has not heard it: it never comes
)

// leaves gives up a session in which everything is answered: it keeps no place from others. While something is not, it is its worker's: whoever does not
// hear what he is to answer, of an owner who answers him, does not hear of it any more.
func (p *staff) leaves(ctx context.Context, s *client.Session, k *tenure) {
	for due := map[uint64]int{}; ctx.Err() == nil; pause(ctx, silence) {
		ask, cancel := context.WithTimeout(ctx, 10*time.Second)
		page, _, err := s.History(ask, client.Page{Limit: 50})
		cancel()
		if err != nil || len(page) == 0 {
			continue
		}
		left, unheard := p.l.due(k, page)
		for _, seq := range unheard {
			if due[seq]++; due[seq] == looks {
				p.w.t.Errorf("%s has %s under ae %d and never hears of %d%s", p.name, k.session, k.ae, seq, ending(page))
			}
		}
		if left > 0 {
			continue
		}
		ask, cancel = context.WithTimeout(ctx, 10*time.Second)
		err = s.Release(ask, "silent", "", nil, client.UpTo(page[len(page)-1].Seq))
		cancel()
		if err == nil {
			return
		}
	}
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// due tells how many words of a page nobody has answered, and which of them whoever has the session has not heard.
func (l *ledger) due(k *tenure, page []client.Entry) (left int, unheard []uint64) {
	said := map[string]bool{}
	for i := range page {
		said[page[i].Text()] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range page {
		e := &page[i]
		if e.Origin != wire.OriginCustomer || e.Kind != wire.KindMessage || said["re "+e.Text()] {
			continue
		}
		if left++; !k.heard[e.Seq] && !k.failed {
			unheard = append(unheard, e.Seq)
		}
	}
	return left, unheard
}

func (p *staff) notices(_ context.Context, s *client.Session, e client.Entry) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if k := p.l.tenure(p.name, s); k != nil {
		k.seen[e.Seq], k.heard[e.Seq], k.last = true, true, max(k.last, e.Seq)
		return
	}
	p.w.t.Errorf("%s hears %d of %s, which it was never given", p.name, e.Seq, s.ID())
}

// tenure returns that under which worker has s, or nil. It needs mu.
func (l *ledger) tenure(worker string, s *client.Session) *tenure {
	for _, k := range slices.Backward(l.tenures) {
		if k.session == s.ID() && k.worker == worker && k.ae == s.Assignment().AE {
			return k
		}
	}
	return nil
}

// answer does what is to be done with a word. What fails is given back, and comes again.
func (p *staff) answer(ctx context.Context, s *client.Session, e client.Entry) error {
	p.notices(ctx, s, e)
	err := p.says(ctx, s, e)
	if err != nil {
		p.l.mu.Lock()
		if k := p.l.tenure(p.name, s); k != nil {
			k.failed = true
		}
		p.l.mu.Unlock()
	}
	return err
}

// says says "re" and what was said. Bots hand over to people who ask for one, people to colleagues, and who says goodbye is let go.
func (p *staff) says(ctx context.Context, s *client.Session, e client.Entry) error {
	if e.Text() == "" {
		return nil
	}
	if p.desk != nil {
		p.desk.fidgets(ctx, p, s)
	}
	if p.kind == wire.OriginBot && strings.HasSuffix(e.Text(), " human") {
		err := s.Transfer(ctx, client.TransferTo{Queue: "default"})
		return quietly(err)
	}
	if p.kind == wire.OriginHuman && strings.HasSuffix(e.Text(), " colleague") {
		other := map[string]string{"hans": "hilda", "hilda": "hans"}[p.name]
		_ = s.Transfer(ctx, client.TransferTo{Worker: other}) // who is away, full or declines leaves it here
	}
	r, err := s.Reply(ctx, "text", "re "+e.Text(), client.WithAck(e.Seq))
	if err != nil {
		return quietly(err)
	}
	p.l.mu.Lock()
	p.l.replied[s.ID()] = append(p.l.replied[s.ID()], told{"re " + e.Text(), r.Seq})
	p.l.mu.Unlock()
	if strings.HasSuffix(e.Text(), " bye") {
		_ = s.Release(ctx, "solved", "", nil) // what he said meanwhile is somebody else's
		return nil
	}
	time.AfterFunc(silence, func() { // refused when he has said more; of no effect when it is another's by now
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_ = s.Release(ctx, "silent", "", nil, client.UpTo(e.Seq))
	})
	return nil
}

// quietly passes over what happens to whoever is not the owner any more.
func quietly(err error) error {
	if we, ok := errors.AsType[*wire.Error](err); ok && we.Slug == wire.StaleAssignment || errors.Is(err, client.ErrRevoked) {
		return nil
	}
	return err
}
