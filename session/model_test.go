package session

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// TestModel lets customers, workers, supervisors, the pool, time and crashes do anything in any order to one session, and
// holds it against what the clients have seen: see check for the invariants.
func TestModel(t *testing.T) {
	seen := map[string]int{}
	// A model that never gets anywhere proves nothing: it goes on until everything of interest has happened.
	for range 20 {
		rapid.Check(t, func(rt *rapid.T) {
			m := newModel(rt, seen)
			for range rapid.IntRange(100, 300).Draw(rt, "steps") {
				moves[m.n("move", len(moves)-1)](m)
				m.check()
			}
			m.settle()
			m.erase()
		})
		if t.Failed() || !slices.ContainsFunc(interesting, func(what string) bool { return seen[what] == 0 }) {
			break
		}
	}
	t.Log(seen)
	for _, what := range interesting {
		if seen[what] == 0 {
			t.Errorf("nothing of this happened: %s (%v)", what, seen)
		}
	}
}

var interesting = []string{
	"granted", "revoked", "delivery", "redelivery", "fresh", "page", "back", "key", "dead letter", "transferred", "transfer failed", "reopened", "duplicate",
	"conflict", "stale", "crash", "interrupted", "joined", "left", "taken", "directed", "attributes", "guest's word", "asked", "abandoned", "erased", "wrap-up", "wrap-up over",
}

// model is the session twice, to compare what comes of the same inputs [I13], and everything that others know of it.
type model struct {
	t       *rapid.T
	seen    map[string]int
	w       [2]*world
	shadow  *State // made of facts alone [I12]
	clients []*client
	nextID  uint64
	now     int64
	pool    uint64
	last    *wire.Grant
	before  []byte // row before the step

	owner  *owning
	ae     uint64
	cursor uint64            // what owners acknowledged, or what closed sessions left behind
	since  int64             // enqueued_at that must survive [I10]
	until  map[string]uint64 // by former owner [I11]
	keys   map[string]result // by sender and name

	abandoned bool // its customer has given up his place, and was not there since

	pending bool            // one to a worker is pending
	streams map[string]bool // that run

	attributes uint64            // their version
	guests     map[uint64]string // of workers, by ge
}

// result is what a key came to.
type result struct {
	payload string
	seq     uint64
}

// client is a connection.
type client struct {
	conn      wire.Conn
	who       *wire.Principal
	following bool
	gapped    bool // it knows that it misses something, and asks for a page
	drop      int  // so many pushes are going to be lost
	last      uint64
}

// owning is an assignment as its worker knows it.
type owning struct {
	worker  string
	sub     string
	role    wire.Role
	ae      uint64
	conn    wire.Conn
	since   uint64 // head at the assignment
	first   uint64 // of the tail
	cursor  uint64 // at the assignment
	window  int
	have    map[uint64]bool // told by the tail or delivered
	last    uint64          // the last delivery since the last rewind
	chain   bool            // there was one
	unacked []uint64
	gone    bool // the shard does not know its connection
	// What it had been shown up to the last crash, as far as the shard can know until it has delivered again.
	maybe uint64
}

func newModel(rt *rapid.T, seen map[string]int) *model {
	m := &model{t: rt, seen: seen, now: 1000, pool: 1, shadow: &State{}, until: map[string]uint64{}, keys: map[string]result{}, streams: map[string]bool{}, guests: map[uint64]string{}}
	for i := range m.w {
		m.w[i] = newWorld()
		m.w[i].policy.ReopenWindowMS, m.w[i].policy.WrapUpMS = 5000, 3000
		m.w[i].policy.Rules = map[string]*Rule{"default": {AskedTypes: []string{"human"}, AbsentMS: 4000, FailedTurns: 3, FailedTypes: []string{"fallback"}}}
		m.w[i].id = wire.NewSessionID(0, 1, 1)
	}
	for _, name := range []string{"alice", "alice", "eve", "sue", "sue2", "opa", "bot", "bot2", "bob"} {
		m.connect(name)
	}
	m.do(func(w *world) {
		w.s = Create(&w.env, &Birth{ID: w.id, Tenant: "demo", Queue: "default", Channel: "web", Customer: principal("alice").Author(), Epoch: 1}, &w.d)
	})
	return m
}

func (m *model) connect(name string) *client {
	m.nextID++
	c := &client{conn: wire.Conn{Node: 1, ID: m.nextID}, who: principal(name)}
	m.clients = append(m.clients, c)
	return c
}

func (m *model) state() *State { return m.w[0].s }

// do does f to both sessions, and lets everybody hear what came of it.
func (m *model) do(f func(w *world)) {
	m.t.Helper()
	_, mail := m.step(f)
	m.hearAll(mail)
}

// step does f to both sessions and compares what came of it.
func (m *model) step(f func(w *world)) (facts []Fact, mail []wire.Envelope) {
	m.t.Helper()
	if m.state() != nil {
		m.before = AppendState(m.before[:0], m.state())
	}
	for i, w := range m.w {
		w.out.Reset()
		w.env.Now, w.env.Row, w.env.Loaded, w.env.Current = m.now, nil, false, ""
		f(w)
		if i == 0 {
			mail = slices.Clone(w.d.Mail)
		}
		first := len(w.facts)
		w.told()
		facts = w.facts[first:]
	}
	if a, b := m.w[0].out.String(), m.w[1].out.String(); a != b {
		m.t.Fatalf("the same inputs had other outputs [I13]:\n%s\n%s", a, b)
	}
	m.t.Log(m.w[0].out.String())
	for i := range facts {
		m.fact(&facts[i])
	}
	return facts, mail
}

func (m *model) hearAll(mail []wire.Envelope) {
	m.t.Helper()
	for _, e := range mail {
		m.hear(e)
	}
}

// ask lets c ask for something, and judges the answer once it is decided.
func (m *model) ask(c *client, cmd *wire.Command) {
	m.t.Helper()
	cmd.Conn, cmd.Who = c.conn, c.who
	if cmd.Session == "" {
		cmd.Session = m.w[0].id
	}
	m.t.Logf("%s/%d: %s seq=%d ae=%d ack=%v key=%s id=%d", c.who.Sub, c.conn.ID, cmd.Verb, cmd.Seq, cmd.AE, cmd.Ack, cmd.Key, cmd.ID)
	m.decide(c, cmd, func(w *world) { Decide(w.s, &w.env, cmd, &w.d) })
}

func (m *model) decide(c *client, cmd *wire.Command, f func(w *world)) {
	m.t.Helper()
	s := m.state()
	fenced := s.Phase == Assigned && s.AE == cmd.AE && ownerName(c.who) == s.Owner.Worker
	facts, mail := m.step(f)
	if n := len(m.w[0].loads); n > 0 && m.w[0].loads[n-1].Kind == LoadKey && m.w[0].loads[n-1].Command == cmd {
		if len(facts) != 0 || len(mail) != 0 {
			m.t.Fatalf("something was decided before the key's row came: %v", facts)
		}
		m.seen["key"]++
		return
	}
	m.judge(c, cmd, fenced, facts, mail)
	m.hearAll(mail)
	m.held(cmd)
}

// load answers the oldest question.
func (m *model) load(fail bool) {
	m.t.Helper()
	loads := m.w[0].loads
	if len(loads) == 0 {
		return
	}
	l := loads[0]
	if l.Kind == LoadBack {
		m.seen["back"]++
	}
	answer := func(w *world) {
		l := w.loads[0]
		w.loads = w.loads[1:]
		switch l.Kind {
		case LoadKey:
			w.env.Loaded = true
			if k, ok := w.keys[l.FP]; ok {
				w.env.Row = &k
			}
			Decide(w.s, &w.env, l.Command, &w.d)
		case LoadPage:
			list, more := w.read(&l)
			w.s.Page(&l, list, w.prev(&l, list), more, &w.d)
		default:
			list, _ := w.read(&l)
			if fail {
				list = nil
			}
			w.s.Back(&w.env, list, &w.d)
		}
	}
	if l.Kind == LoadKey {
		if c := m.client(l.Command.Conn); c != nil {
			m.decide(c, l.Command, answer)
			return
		}
	}
	m.do(answer)
}

func (m *model) client(conn wire.Conn) *client {
	for _, c := range m.clients {
		if c.conn == conn {
			return c
		}
	}
	return nil
}

// crash ends the shard: what no fact told is as old as the last turn. The clients' connections survive, or not.
func (m *model) crash(factsAlone, disconnected bool) {
	m.seen["crash"]++
	attached := slices.Clone(m.state().Attached)
	if disconnected {
		attached = nil
		for _, c := range m.clients {
			c.following, c.gapped = false, false
		}
	}
	for _, w := range m.w {
		m.roundTrip(w.s)
		w.crash(factsAlone)
		w.s.Attached = slices.Clone(attached)
	}
	for _, c := range m.clients { // what was asked for is asked for again
		c.gapped = c.gapped || c.following
	}
	clear(m.streams)
	if m.owner != nil {
		m.owner.gone, m.owner.unacked, m.owner.last, m.owner.maybe = true, nil, 0, m.state().Head
	}
	if !bytes.Equal(AppendLive(AppendState(nil, m.w[0].s), m.w[0].s), AppendLive(AppendState(nil, m.w[1].s), m.w[1].s)) {
		m.t.Fatal("two rebuilt states differ")
	}
	if disconnected { // connections of a node that was are not those of this one; here their end is told
		for _, c := range m.clients {
			if supervises(c.who.Role) {
				m.ask(c, &wire.Command{Verb: wire.VerbGone})
			}
		}
	}
}

// fact holds a fact against the log so far, and makes the shadow of it.
func (m *model) fact(f *Fact) {
	m.shadow.Apply(f)
	m.supervised(f)
	switch f.Kind {
	case Granted:
		if f.N <= m.ae {
			m.t.Fatalf("ae %d after %d [I2]", f.N, m.ae)
		}
		m.ae = f.N
		m.seen["granted"]++
	case EpochBegan: // what was given out before is nothing of this epoch
		s := m.shadow
		if s.AE < f.N<<20 || s.AttributesV < f.N<<20 || s.Phase == Assigned && !s.Owner.taken() && s.Owner.Lease+s.Owner.Offer != "" {
			m.t.Fatalf("epoch %d goes on with ae %d, attributes %d and lease %q", f.N, s.AE, s.AttributesV, s.Owner.Lease)
		}
		m.ae, m.attributes = s.AE, s.AttributesV
		if m.owner != nil {
			m.owner.ae = s.AE
		}
		m.seen["epoch"]++
	case Known:
		name := f.Key.Sender + "/" + f.Key.Key
		if _, twice := m.keys[name]; twice {
			m.t.Fatalf("key %s was used twice [I8]", name)
		}
		m.keys[name] = result{seq: f.Key.Done.Seq}
	case Ended:
		m.cursor = max(m.cursor, m.shadow.Said)
		m.end()
	case Freed:
		m.end()
	case Enqueued:
		m.abandoned = false
	case WrapUpBegan:
		m.seen["wrap-up"]++
	case WrapUpEnded:
		m.seen["wrap-up over"]++
	case Reopened:
		m.seen["reopened"]++
	case Requested:
		if f.Transfer.Ticket != 0 && m.pending {
			m.t.Fatal("two transfers are pending [SW-5.8]")
		}
		m.pending = m.pending || f.Transfer.Ticket != 0
	case Said:
		m.said(f.Entry)
	default:
	}
}

// said notes what an entry ends.
func (m *model) said(e *wire.Entry) {
	switch e.Type {
	case EventDirected:
		m.seen["directed"]++
	case EventDeadLettered:
		m.seen["dead letter"]++
	case EventAbandoned:
		m.seen["abandoned"]++
		m.abandoned = true
	case EventTransferred:
		if strings.Contains(string(e.Body), `"why":"asked"`) {
			m.seen["asked"]++
		}
		m.seen["transferred"]++
		m.pending = false
	case EventTransferFailed:
		m.seen["transfer failed"]++
		if !m.pending {
			m.t.Fatal("a transfer failed that was not pending [SW-5.8]")
		}
		m.pending = false
	case "interrupted":
		m.seen["interrupted"]++
		if !m.streams[e.Stream] {
			m.t.Fatalf("stream %s was interrupted and did not run [SW-4.8]", e.Stream)
		}
	}
	delete(m.streams, e.Stream)
}

// end notes that the assignment is over. Nothing of it is pending any more.
func (m *model) end() {
	if m.pending {
		m.t.Fatal("a transfer ended without an entry [SW-5.8]")
	}
	if len(m.streams) > 0 {
		m.t.Fatalf("the streams %v ended without an entry [SW-4.8]", m.streams)
	}
	if m.owner != nil {
		m.until[m.owner.worker] = m.shadow.Head
	}
}

// same tells whether the shadow and the session agree, but for what is soft [I12].
func (m *model) same() {
	m.t.Helper()
	s, sh := m.state(), *m.shadow
	if sh.Cursor > s.Cursor && s.Head == sh.Head && m.owner == nil {
		m.t.Fatalf("the log knows of more acks than the session: %d > %d", sh.Cursor, s.Cursor)
	}
	sh.Cursor, sh.FailSeq, sh.Attempt, sh.HoldUntil, sh.Delivered, sh.Read = s.Cursor, s.FailSeq, s.Attempt, s.HoldUntil, s.Delivered, s.Read
	if a, b := durable(s), durable(&sh); !reflect.DeepEqual(a, b) {
		m.t.Fatalf("the facts make another state [I12]:\n%+v\n%+v", a, b)
	}
	if !reflect.DeepEqual(s.Keys.sorted(), sh.Keys.sorted()) {
		m.t.Fatal("the facts make other keys [I12]")
	}
	tail := s.Tail()
	n := len(tail)
	if n == 0 || tail[n-1].Seq != s.Head || tail[0].Seq != s.Head-uint64(n)+1 {
		m.t.Fatalf("the tail is not the end of the log: %d entries, head %d", n, s.Head)
	}
}

// roundTrip checks that a row holds all that is durable or soft.
func (m *model) roundTrip(s *State) {
	m.t.Helper()
	var got State
	if err := errors.Join(ParseState(AppendState(nil, s), &got), ParseLive(AppendLive(nil, s), &got)); err != nil {
		m.t.Fatal(err)
	}
	if a, b := durable(s), durable(&got); !reflect.DeepEqual(a, b) {
		m.t.Fatalf("the row holds another state:\n%+v\n%+v", a, b)
	}
}

// durable returns what of s is in its row.
func durable(s *State) State {
	c := *s
	c.Keys, c.Attached, c.tail, c.old, c.lists, c.owner, c.streams, c.absent, c.lonelyUntil = keyRing{}, nil, tail{}, oldKeys{}, listing{}, delivery{}, nil, 0, 0
	c.Guests = slices.Clone(c.Guests)
	for i := range c.Guests {
		c.Guests[i].here = false
	}
	if len(c.Guests) == 0 {
		c.Guests = nil
	}
	c.Invites = slices.Clone(c.Invites)
	for i := range c.Invites {
		c.Invites[i].told, c.Invites[i].fresh, c.Invites[i].seek, c.Invites[i].pause = false, false, 0, 0
	}
	if len(c.Invites) == 0 {
		c.Invites = nil
	}
	c.question = question{}
	if len(c.Past) == 0 {
		c.Past = nil
	}
	if len(c.Attributes) == 0 {
		c.Attributes = nil
	}
	return c
}

// sorted returns the keys by number.
func (r *keyRing) sorted() []Key {
	keys := r.All()
	slices.SortFunc(keys, func(a, b Key) int { return int(a.N) - int(b.N) })
	return keys
}

func openFrame(o *wirepb.Open) *wirepb.ClientFrame {
	return &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: o}}
}
