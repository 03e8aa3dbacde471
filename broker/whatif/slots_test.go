package whatif_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"switchboard/broker"
	"switchboard/broker/routes"
	"switchboard/session"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// slotTown is customers whose sessions and pool are the very ones of a node, in virtual time: a bot fills slots with them, and in the middle
// of it they go to people.
type slotTown struct {
	t      *testing.T
	rng    *rand.Rand
	core   *broker.Core
	out    broker.Effects
	env    session.Env
	policy session.Policy
	d      session.Decision
	all    map[wire.SessionID]*slotChat
	order  []*slotChat
	people map[wire.Conn]*wire.Principal
	most   map[string]int // slots, by worker
	has    map[string]int // by worker
	late   int            // words of bots that came too late
	first  int            // first frames of people
}

// slotChat is one of them.
type slotChat struct {
	s      *session.State
	conn   wire.Conn
	owner  wire.Conn // that has it
	has    string    // the worker who has confirmed it
	ae     uint64
	bot    bool
	filled map[string]string // what the bot has put down, acknowledged
	said   []string          // in order, of everybody
	open   []uint64          // what the customer said and the bot has not acknowledged
	showed []uint64          // what the human was shown of it
	slots  int               // that the bot fills before it is left
	way    int               // how it is left
	done   bool
}

const slotsStart = 1_794_400_000_000

var slotNames = []string{"intent", "order", "size", "colour", "reason"}

func newSlotTown(t *testing.T, seed uint64) *slotTown {
	w := &slotTown{
		t: t, rng: rand.New(rand.NewPCG(seed, 10)), all: map[wire.SessionID]*slotChat{}, people: map[wire.Conn]*wire.Principal{}, most: map[string]int{}, has: map[string]int{},
		policy: session.Policy{
			MaxAttempts: 5, MaxBody: 4096, Queues: map[string]bool{"service": true}, DefaultQueue: "service",
			Rules: map[string]*session.Rule{"service": {AskedTypes: []string{"human"}}},
		},
	}
	w.env = session.Env{Now: slotsStart, Node: 1, Policy: &w.policy, Pool: wire.ToSlot(7)}
	r, err := routes.Parse([]byte("version: 1\nqueues:\n  - name: service\n    route:\n      - {name: bots, who: bots}\n      - {name: people, who: humans}\n"))
	if err != nil {
		t.Fatal(err)
	}
	w.core = broker.New(r.Broker)
	w.core.Open(1, nil, w.env.Now, &w.out)
	for i := range 12 {
		who := &wire.Principal{Tenant: "demo", Role: wire.RoleWorker, Sub: fmt.Sprint("w", i), Worker: fmt.Sprint("w", i), Kind: wire.OriginHuman}
		slots := 35
		if i < 2 {
			who.Kind, slots = wire.OriginBot, 140
		}
		conn := wire.Conn{Node: 1, ID: uint64(i + 1)} //nolint:gosec // small
		w.people[conn], w.most[who.Worker] = who, slots
		w.core.Subscribe(&broker.Subscription{
			ID: who.Worker, Sub: who.Sub, Kind: who.Kind, Queues: []string{"service"}, Allowed: []string{"*"}, Slots: slots, Window: 64, Conn: conn, NewLease: "l" + who.Worker,
		}, w.env.Now, &w.out)
	}
	w.effects()
	return w
}

// effects brings what the pool decided to the sessions; people accept at once.
func (w *slotTown) effects() {
	for len(w.out) > 0 {
		list := slices.Clone(w.out)
		w.out.Reset()
		for i := range list {
			e := &list[i]
			switch e.Kind {
			case broker.Grant:
				c := w.all[e.Session]
				c.s.Grant(&w.env, &wire.Grant{
					Session: e.Session, Ticket: e.Ticket, Pool: 1, Queue: e.Queue, Worker: e.Worker, Sub: e.Sub, Kind: e.Origin, Conn: e.Conn, Lease: e.Lease, Window: e.Window, Reason: e.Reason,
				}, &w.d)
				w.mail(c)
			case broker.OfferPush:
				who := w.people[e.Conn]
				w.core.Accept(e.Offer, who.Worker, broker.Ref{Conn: e.Conn, ID: 1}, w.env.Now, &w.out)
			default:
			}
		}
	}
}

// mail delivers what came of decisions about c.
func (w *slotTown) mail(c *slotChat) {
	for len(w.d.Mail) > 0 {
		list := slices.Clone(w.d.Mail)
		w.d.Reset()
		for _, e := range list {
			switch m := e.Mail.(type) {
			case *wire.Task:
				w.core.Offer(&broker.Task{
					Session: m.Session, Ticket: m.Ticket, Queue: m.Queue, EnqueuedAt: m.EnqueuedAt, Exclude: m.Exclude, Sticky: m.Sticky, To: m.To,
					HumansOnly: m.HumansOnly, Requeue: m.Requeue, Handed: m.Handed, Summary: m.Summary, Version: m.Version,
				}, w.env.Now, &w.out)
			case *wire.Confirm:
				w.core.Confirm(m.Session, m.Ticket, m.Worker, m.Lease, m.AE, w.env.Now, &w.out)
				if c.has != m.Worker { // it is said again when the grant is
					w.has[c.has]--
					c.has = m.Worker
					w.has[m.Worker]++
				}
				if w.has[m.Worker] > w.most[m.Worker] { // I2
					w.t.Errorf("%s has %d sessions and %d slots", m.Worker, w.has[m.Worker], w.most[m.Worker])
				}
			case *wire.Release:
				w.has[c.has]--
				c.has = ""
				w.core.Release(m.Session, m.AE, m.WrapUpMS, false, w.env.Now, &w.out)
			case *wire.Declined:
				w.core.Refuse(m.Session, m.Ticket, m.Worker, w.env.Now, &w.out)
			case *wire.Frame:
				w.frame(c, wire.Conn{Node: e.To.Node, ID: e.To.ID}, m)
			}
		}
		w.effects()
	}
}

// frame is what somebody is told.
func (w *slotTown) frame(c *slotChat, to wire.Conn, f *wire.Frame) {
	who := w.people[to]
	if who == nil {
		return
	}
	switch {
	case f.Kind == wire.FrameAssigned && f.PB != nil:
		c.owner, c.ae, c.bot = to, f.AE, who.Kind == wire.OriginBot
		if !c.bot {
			w.first++
			w.whole(c, f.PB.GetAssigned())
		}
	case f.Kind == wire.FrameDelivery && who.Kind == wire.OriginHuman && f.Attempt > 0:
		c.showed = append(c.showed, f.Entry.Seq)
	}
}

// whole checks a person's first frame: every slot that was filled, and all that was said, in order.
func (w *slotTown) whole(c *slotChat, a *wirepb.Assigned) {
	w.t.Helper()
	var doc struct {
		Slots map[string]string `json:"slots"`
	}
	if err := json.Unmarshal(a.GetContext().GetDoc(), &doc); err != nil {
		w.t.Errorf("%s: the context is %s: %v", c.s.ID, a.GetContext().GetDoc(), err)
	}
	if len(doc.Slots) != len(c.filled) {
		w.t.Errorf("%s: the human is shown the slots %v; the bot has filled %v", c.s.ID, doc.Slots, c.filled)
	}
	for name, v := range c.filled {
		if doc.Slots[name] != v {
			w.t.Errorf("%s: slot %s is %q; it was %q", c.s.ID, name, doc.Slots[name], v)
		}
	}
	var said []string
	for i, e := range a.Tail {
		if i > 0 && e.Seq != a.Tail[i-1].Seq+1 {
			w.t.Errorf("%s: entry %d follows %d", c.s.ID, e.Seq, a.Tail[i-1].Seq)
		}
		if e.Kind == wire.KindMessage {
			said = append(said, string(e.Body))
		}
	}
	if !slices.Equal(said, c.said) || a.Tail[len(a.Tail)-1].Seq != a.Head {
		w.t.Errorf("%s: the human reads %q; said was %q", c.s.ID, said, c.said)
	}
}

// do lets somebody say something about c, and returns what he was answered.
func (w *slotTown) do(c *slotChat, conn wire.Conn, m *wire.Command) (slug wire.Slug) {
	m.ID, m.Conn, m.Session = 9, conn, c.s.ID
	if m.Who = w.people[conn]; m.Who == nil {
		m.Who = &wire.Principal{Tenant: "demo", Role: wire.RoleCustomer, Sub: c.s.Customer.ID}
	}
	session.Decide(c.s, &w.env, m, &w.d)
	for _, e := range w.d.Mail {
		if f, ok := e.Mail.(*wire.Frame); ok && f.Kind == wire.FrameError && f.ID == 9 {
			slug = f.Err.Slug
		}
	}
	w.mail(c)
	return slug
}

// says lets the customer say something.
func (w *slotTown) says(c *slotChat, typ, text string) {
	body, _ := json.Marshal(text) // of a string, it cannot fail
	c.said = append(c.said, string(body))
	if slug := w.do(c, c.conn, &wire.Command{Verb: wire.VerbSend, Type: typ, Body: body}); slug != "" {
		w.t.Errorf("%s: %q was answered %s", c.s.ID, text, slug)
	}
	c.open = append(c.open, c.s.Said)
}

// botTurn lets the bot put down the next slot and ask for the one behind it. It may be left between the two.
func (w *slotTown) botTurn(c *slotChat, between func()) {
	owner, ae, name := c.owner, c.ae, slotNames[len(c.filled)]
	value := fmt.Sprintf("%s of %s", name, c.s.ID)
	patch := fmt.Appendf(nil, `{"slots":{%q:%q}}`, name, value)
	c.filled[name] = value
	if slug := w.do(c, owner, &wire.Command{Verb: wire.VerbContext, AE: ae, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Context{Context: &wirepb.Context{IfV: c.s.ContextV, Patch: patch}}}}); slug != "" {
		w.t.Errorf("%s: the bot's slot was answered %s", c.s.ID, slug)
	}
	if between != nil {
		between()
	}
	body, _ := json.Marshal("next after " + name)
	upto := c.open[len(c.open)-1]
	slug := w.do(c, owner, &wire.Command{Verb: wire.VerbReply, AE: ae, Ack: wire.Some(upto), Type: "text", Body: body})
	switch {
	case c.ae == ae && slug == "":
		c.said, c.open = append(c.said, string(body)), nil
	case c.ae != ae && slug == wire.StaleAssignment:
		w.late++ // his word is nowhere: the next check of what was said would find it
	default:
		w.t.Errorf("%s: the bot's reply under %d, while %d counts, was answered %q", c.s.ID, ae, c.ae, slug)
	}
}

// leave is how a chat comes to people: at the customer's word, at the bot's, or at the customer's while the bot answers.
func (w *slotTown) leave(c *slotChat) {
	owner, ae := c.owner, c.ae
	switch c.way {
	case 0:
		w.says(c, "human", "a person, please")
	case 1:
		if slug := w.do(c, owner, &wire.Command{Verb: wire.VerbTransfer, AE: ae, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{
			Transfer: &wirepb.Transfer{To: &wirepb.Target{Queue: "service"}, Note: "stuck"},
		}}}); slug != "" {
			w.t.Errorf("%s: the transfer was answered %s", c.s.ID, slug)
		}
	case 2:
		w.botTurn(c, func() { w.says(c, "human", "now!") })
	}
	// The bot does not stop by itself.
	for _, m := range []*wire.Command{
		{Verb: wire.VerbReply, AE: ae, Type: "text", Body: []byte(`"late"`)},
		{Verb: wire.VerbContext, AE: ae, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Context{Context: &wirepb.Context{Patch: []byte(`{"slots":{"late":"x"}}`)}}}},
	} {
		if slug := w.do(c, owner, m); slug != wire.StaleAssignment { // I9
			w.t.Errorf("%s: a late %s of the bot was answered %q", c.s.ID, m.Verb, slug)
		} else {
			w.late++
		}
	}
	c.done = true
}

// TestMidSlots is S10: bots are in the middle of filling slots with 300 customers at once when each goes to people, at its own moment and in
// its own way. The human's first frame has all slots that were filled and all that was said; what the customer said and the bot had not
// acknowledged is shown to him, once and in order; the bot's late words are refused, and nobody reads them; nobody has more than his slots.
func TestMidSlots(t *testing.T) {
	const customers = 300
	late := 0
	for seed := range uint64(4) {
		w := newSlotTown(t, seed)
		for i := range customers {
			c := &slotChat{conn: wire.Conn{Node: 1, ID: uint64(1000 + i)}, filled: map[string]string{}, slots: w.rng.IntN(len(slotNames)), way: w.rng.IntN(3)} //nolint:gosec // small
			id := wire.NewSessionID(0, wire.Slot(1), uint64(i+1))                                                                                              //nolint:gosec // small
			c.s = session.Create(&w.env, &session.Birth{
				ID: id, Tenant: "demo", Queue: "service", Channel: "web", Customer: wire.Author{Role: wire.RoleCustomer, ID: fmt.Sprint("c", i)}, Epoch: 1, At: w.env.Now,
			}, &w.d)
			w.all[id], w.order = c, append(w.order, c)
			w.mail(c)
			w.says(c, "text", fmt.Sprint("hi of ", i))
		}
		for left := customers; left > 0; w.env.Now += 100 {
			c := w.order[w.rng.IntN(customers)]
			if c.done {
				continue
			}
			if c.ae == 0 || !c.bot { // no bot had a slot: a person has it, or nobody yet
				if left--; c.ae == 0 {
					left++
					w.core.Tick(w.env.Now, &w.out)
					w.effects()
					continue
				}
				c.done = true
				continue
			}
			if len(c.filled) < c.slots {
				w.botTurn(c, nil)
				w.says(c, "text", fmt.Sprintf("word %d", len(c.said)))
				continue
			}
			w.leave(c)
			left--
		}
		for _, c := range w.order {
			if c.bot || c.ae == 0 {
				t.Errorf("seed %d: %s is not with a person", seed, c.s.ID)
			}
			if !slices.Equal(c.showed, c.open) {
				t.Errorf("seed %d: %s: the human was shown %v of what was unacknowledged: %v", seed, c.s.ID, c.showed, c.open)
			}
		}
		if w.first < customers/3 || w.late < customers/2 {
			t.Errorf("seed %d: %d first frames of people, %d late words of bots", seed, w.first, w.late)
		}
		late += w.late
	}
	t.Logf("%d late words of bots were refused", late)
}
