package session

import (
	"strconv"

	"pgregory.net/rapid"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// moves is what can happen; what should happen more often stands in it more often.
var moves = []func(*model){
	func(*model) {},
	(*model).customer, (*model).customer, (*model).customer, (*model).customer,
	(*model).worker, (*model).worker, (*model).worker, (*model).worker, (*model).worker,
	(*model).grant, (*model).grant, (*model).grant,
	(*model).poolWord, (*model).watch, (*model).supervise, (*model).supervise, (*model).read, (*model).read, (*model).read, (*model).time, (*model).time, (*model).down, (*model).flood,
}

// n returns a number up to most, each as likely as the others: rapid itself prefers small ones. The simplest is 0.
func (m *model) n(name string, most int) int {
	const spread = 0x9e3779b97f4a7c15
	return int(rapid.Uint64().Draw(m.t, name) * spread >> 33 % uint64(most+1))
}

func (m *model) one(name string) bool { return m.n(name, 1) == 1 }

// rarely is true one time in eight, and false in the simplest example.
func (m *model) rarely(name string) bool { return m.n(name, 7) == 7 }

func (m *model) id() uint64 {
	if m.rarely("quiet") {
		return 0
	}
	return 1
}

func (m *model) pick(subs ...string) *client {
	var of []*client
	for _, c := range m.clients {
		for _, sub := range subs {
			if c.who.Sub == sub {
				of = append(of, c)
			}
		}
	}
	return of[m.n("connection", len(of)-1)]
}

func (m *model) body() []byte { return text(strconv.Itoa(m.n("body", 1))) }

func (m *model) key() string {
	if m.one("keyless") {
		return ""
	}
	return "k" + strconv.Itoa(m.n("key", 5))
}

// seq is a position that may or may not exist.
func (m *model) seq() uint64 { return uint64(m.n("seq", int(m.state().Head)+2)) }

func (m *model) customer() {
	sub := "alice"
	if m.rarely("stranger") {
		sub = "eve"
	}
	c := m.pick(sub)
	switch m.n("customer", 9) {
	default:
		if m.rarely("asks for people") {
			m.send(c, &wire.Command{Verb: wire.VerbSend, ID: m.id(), Key: m.key(), Type: "human", Body: text("human")})
			return
		}
		m.send(c, &wire.Command{Verb: wire.VerbSend, ID: m.id(), Key: m.key(), Body: m.body()})
	case 5:
		m.openAs(c)
	case 6:
		seq := m.seq()
		m.ask(c, &wire.Command{Verb: wire.VerbAck, ID: m.id(), Seq: seq, Read: seq / 2})
	case 7:
		if m.one("close") {
			m.ask(c, &wire.Command{Verb: wire.VerbClose, ID: 1, Key: "c" + m.key()})
			return
		}
		m.ask(c, &wire.Command{Verb: wire.VerbRate, ID: 1, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Rate{Rate: &wirepb.Rate{Score: 3}}}})
	case 8:
		m.ask(c, &wire.Command{Verb: wire.VerbTyping, ID: m.id(), On: true})
	case 9:
		if m.one("gone") {
			m.gone(c)
			return
		}
		m.ask(c, &wire.Command{Verb: wire.VerbLeave, ID: 1})
		c.following, c.gapped = false, false
	}
}

func (m *model) send(c *client, cmd *wire.Command) {
	m.ask(c, cmd)
	if m.state().Phase == Queued && m.since == 0 {
		m.since = m.now
	}
}

func (m *model) openAs(c *client) {
	o := &wirepb.Open{Channel: []string{"web", "app", ""}[m.n("channel", 2)]}
	cmd := &wire.Command{Verb: wire.VerbOpen, ID: 1, PB: openFrame(o)}
	switch m.n("from", 2) {
	case 1:
		o.From = &wirepb.Position{Epoch: uint64(m.n("epoch", 3)), Seq: m.seq()}
	case 2:
		tail := uint32(m.n("tail", 40))
		o.Tail = &tail
	}
	m.ask(c, cmd)
	if m.state().Phase == Queued && m.since == 0 { // who had given up his place is back
		m.since = m.now
	}
}

// gone ends c; whoever had it comes again on another.
func (m *model) gone(c *client) {
	m.ask(c, &wire.Command{Verb: wire.VerbGone})
	c.following = false
	for i := range m.clients {
		if m.clients[i] == c {
			m.clients = append(m.clients[:i:i], m.clients[i+1:]...)
			break
		}
	}
	m.connect(c.who.Sub)
}

// worker lets a worker do something: mostly the owner, mostly something sensible.
func (m *model) worker() {
	c, ae := m.pick("bot", "bot2", "bob"), m.ae
	if o := m.owner; o != nil && !m.rarely("another") {
		if own := m.client(o.conn); own != nil {
			c = own
		}
	}
	if m.rarely("stale") {
		ae = uint64(m.n("ae", int(m.ae)+1))
	}
	seq := m.seq()
	if o := m.owner; o != nil && len(o.unacked) > 0 && !m.rarely("any") {
		seq = o.unacked[m.n("unacked", len(o.unacked)-1)]
	}
	switch m.n("worker", 15) {
	case 0, 1, 2:
		cmd := &wire.Command{Verb: wire.VerbReply, ID: m.id(), AE: ae, Body: m.body()}
		if m.one("ack") {
			cmd.Ack = wire.Some(seq)
		}
		if m.rarely("staff") {
			cmd.Visibility = wire.Staff
		}
		if m.rarely("streamed") {
			cmd.Stream = "m1"
		}
		if m.rarely("keyed") {
			cmd.Key = m.key()
		}
		m.ask(c, cmd)
	case 3, 4, 5:
		m.ask(c, &wire.Command{Verb: wire.VerbAck, ID: uint64(m.n("id", 1)), AE: ae, Seq: seq})
	case 6, 7, 8:
		m.ask(c, &wire.Command{Verb: wire.VerbNack, ID: 1, AE: ae, Seq: seq, DelayMS: int64(m.n("delay", 1) * 300)})
	case 9:
		m.transfer(c, ae)
	case 10:
		m.ask(c, &wire.Command{Verb: wire.VerbRelease, ID: 1, AE: ae, Upto: m.upto(), PB: &wirepb.ClientFrame{}})
	case 11:
		m.ask(c, &wire.Command{Verb: wire.VerbClose, ID: 1, AE: ae, Upto: m.upto(), Reason: "done"})
	case 12:
		patch := &wirepb.Context{IfV: m.state().ContextV, Patch: []byte(`{"a":` + strconv.Itoa(m.n("a", 3)) + `}`)}
		m.ask(c, &wire.Command{Verb: wire.VerbContext, ID: 1, AE: ae, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Context{Context: patch}}})
	case 13:
		off := uint64(0)
		if st := m.state().stream("m1"); st != nil && !m.rarely("unfit") {
			off = uint64(len(st.text))
		}
		m.ask(c, &wire.Command{Verb: wire.VerbDelta, ID: m.id(), AE: ae, Stream: "m1", Seq: off, Text: "la"})
	case 14:
		m.openAs(c)
	case 15:
		if m.one("history") {
			m.ask(c, &wire.Command{Verb: wire.VerbHistory, ID: 1, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_History{History: &wirepb.History{Limit: 100}}}})
			return
		}
		if o := m.owner; o != nil && c.conn == o.conn && o.last > 0 && !o.gone {
			seq := max(o.cursor, m.cursor) + 1
			if m.rarely("unheard") { // its edge knows nothing of the assignment
				seq = 0
			}
			m.ask(c, &wire.Command{Verb: wire.VerbResync, AE: o.ae, Seq: seq})
		}
	}
}

func (m *model) upto() wire.Optional {
	if m.one("upto") {
		return wire.Some(m.seq())
	}
	return wire.Optional{}
}

func (m *model) transfer(c *client, ae uint64) {
	to := []*wirepb.Target{{Queue: "default"}, {Queue: "refunds"}, {Worker: "bob"}, {Worker: "bot2"}, {Queue: "nowhere"}}[m.n("to", 5)%5]
	m.ask(c, &wire.Command{Verb: wire.VerbTransfer, ID: 1, AE: ae, Upto: m.upto(), PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{Transfer: &wirepb.Transfer{To: to, Note: "please"}}}})
}

// grant is the pool's answer to what it was told last, or one that is late, repeated, or of a pool that is none any more.
func (m *model) grant() {
	if o := m.owner; o != nil && o.gone && o.role == wire.RoleWorker && !m.rarely("forgotten") {
		m.rebind(o.worker, o.ae, m.pool)
		return
	}
	t := m.state().Again()
	if m.last != nil && (t == nil || m.rarely("repeated")) {
		g := *m.last
		m.do(func(w *world) { w.s.Grant(&w.env, &g, &w.d) })
		return
	}
	if t == nil {
		return
	}
	worker := t.To
	if worker == "" {
		worker = []string{"bot", "bot2", "bob"}[m.n("grant", 2)]
	}
	c := m.pick(worker)
	g := &wire.Grant{
		Session: m.w[0].id, Ticket: t.Ticket, Pool: m.pool, Worker: c.who.Worker, Sub: c.who.Sub, Name: c.who.Name, Kind: c.who.Kind,
		Conn: c.conn, Lease: "l", Window: uint32(m.n("window", 3)), Reason: "route", Request: uint64(m.n("request", 1)),
	}
	if m.rarely("late") {
		g.Ticket--
	}
	if m.rarely("old") {
		g.Pool--
	} else {
		m.last = g
	}
	taken := g.Pool >= m.state().Pool && g.Ticket == t.Ticket
	m.do(func(w *world) { w.s.Grant(&w.env, g, &w.d) })
	if s := m.state(); taken != (s.Phase == Assigned && s.Owner.Ticket == g.Ticket && s.Owner.Worker == g.Worker) {
		m.t.Fatalf("a grant under ticket %d of pool %d: taken %v", g.Ticket, g.Pool, !taken)
	}
}

func (m *model) rebind(worker string, ae, pool uint64) {
	c := m.pick(worker)
	r := &wire.Rebind{Session: m.w[0].id, Pool: pool, Worker: worker, AE: ae, Conn: c.conn, Window: uint32(m.n("window", 3)), Fresh: m.one("fresh")}
	m.do(func(w *world) { w.s.Rebind(&w.env, r, &w.d) })
}

// poolWord is anything else that the pool says.
func (m *model) poolWord() {
	ae, worker, pool := m.ae, "bot", m.pool
	if m.owner != nil && m.owner.role == wire.RoleWorker {
		worker = m.owner.worker
	}
	if m.rarely("old") {
		ae--
	}
	if m.rarely("pool") {
		pool--
	}
	word := m.n("word", 6)
	if m.state().Transfer.Ticket != 0 && m.one("failed") {
		word = 3
	}
	switch word {
	case 0, 1:
		m.do(func(w *world) { w.s.Lost(&w.env, &wire.Lost{Session: w.id, Pool: pool, Worker: worker, AE: ae}, &w.d) })
	case 2:
		m.rebind(worker, ae, pool)
	case 3:
		n := &wire.NoGrant{Session: m.w[0].id, Ticket: m.state().Transfer.Ticket, Pool: pool, Why: "full"}
		m.do(func(w *world) { w.s.NoGrant(&w.env, n, &w.d) })
	case 6:
		over := &wire.WrapUpOver{Session: m.w[0].id, Pool: pool, Worker: worker, AE: ae}
		if w := m.state().WrapUps; len(w) > 0 && m.one("running") {
			over.Worker, over.AE = w[0].Worker, w[0].AE
		}
		m.do(func(w *world) { w.s.WrapUpOver(&w.env, over, &w.d) })
	case 5:
		f := &wire.Found{Session: m.w[0].id, Worker: []string{"bob", "bot", "bot2"}[m.n("invited", 2)]}
		if i := m.state().invited(f.Worker); i != nil {
			f.N = i.N + uint64(m.n("another", 4)/4)
		}
		if m.one("there") {
			f.Conn = m.pick(f.Worker).conn
		}
		m.do(func(w *world) { w.s.Found(&w.env, f, &w.d) })
	case 4:
		m.pool += uint64(m.n("higher", 1))
		m.do(func(w *world) { w.s.Introduce(m.pool, &w.d) })
	}
}

// watch is what a supervisor does.
func (m *model) watch() {
	c := m.pick("sue")
	if m.rarely("leave") {
		m.ask(c, &wire.Command{Verb: wire.VerbLeave, ID: 1})
		c.following, c.gapped = false, false
		return
	}
	m.openAs(c)
}

// read answers a question, loses pushes, or lets a client ask for what it misses.
func (m *model) read() {
	if len(m.w[0].loads) > 0 && !m.rarely("not yet") {
		m.load(m.rarely("fail"))
		return
	}
	c := m.clients[m.n("client", len(m.clients)-1)]
	if c.following && c.gapped {
		m.ask(c, &wire.Command{Verb: wire.VerbPage, Seq: c.last})
		return
	}
	c.drop = m.n("drop", 2)
}

func (m *model) time() {
	m.now += int64(m.n("ms", 20) * 100)
	m.do(func(w *world) { w.s.Wake(&w.env, &w.d) })
}

func (m *model) down() {
	if m.rarely("epoch") {
		epoch := m.state().Epoch() + 1
		m.crash(m.one("facts"), m.one("disconnected")) // it is known of a log that is read anew
		m.do(func(w *world) { w.s.Recover(epoch, &w.d) })
		return
	}
	if m.n("crash", 3) == 3 {
		m.crash(m.one("facts"), m.one("disconnected"))
	}
}

// flood lets so much be said that it does not fit into memory.
func (m *model) flood() {
	if !m.rarely("flood") {
		return
	}
	c := m.pick("alice")
	for i := range m.n("many", 70) {
		m.send(c, &wire.Command{Verb: wire.VerbSend, ID: 1, Key: "f" + strconv.FormatInt(m.now, 10) + "." + strconv.Itoa(i+int(m.state().Head)*100), Body: text("flood")})
	}
}
