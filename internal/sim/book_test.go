package sim_test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/client"
	"switchboard/edge/token"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// book is what everybody was told, by all connections together, as the nodes said it: no client has put it in order. Each frame is held against it at the
// moment at which it comes. See DESIGN.md for what is checked.
type book struct {
	w        *world
	failures atomic.Int32

	mu sync.Mutex
	// Guarded by mu.
	accounts map[string]*account // by session
	frames   int
}

// failuresMost is how many failures a run tells of: more say nothing more.
const failuresMost = 8

// fails tells what does not hold, at the moment at which it does not. With -failfast that is the end of all: nodes that are broken need not come to one.
func (w *world) fails(count *atomic.Int32, format string, args ...any) {
	what := time.Now().Format("04:05.000") + ": " + fmt.Sprintf(format, args...)
	if f := flag.Lookup("test.failfast"); f != nil && f.Value.String() == "true" {
		panic(what)
	}
	if count.Add(1) <= failuresMost {
		w.t.Error(what)
	}
}

func newBook(w *world) *book { return &book{w: w, accounts: map[string]*account{}} }

func (b *book) fail(format string, args ...any) {
	b.w.fails(&b.failures, format, args...)
}

// heard returns how many frames were checked.
func (b *book) heard() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.frames
}

// account is what was told of one session.
type account struct {
	b       *book
	id      string
	entries map[uint64]*stands
	texts   map[string]uint64 // of messages
	unseen  map[uint64]string // who was told that there is nothing that customers may see
	own     map[uint64]string // the worker who was told that there is nothing but his own word
	given   map[uint64]*given // by ae
	newest  uint64            // of them
	words   []accepted        // of workers
	asked   map[uint64]int    // how often an answer to it was sent, by what it acknowledges
}

// stands is an entry of the log, as far as somebody was told of it.
type stands struct {
	epoch      uint64
	ts         int64
	from, text string
	typ        string
	shown      bool // as an entry, and not by an answer alone, which does not say all of it
	public     bool
	customer   bool // it is a word of the customer's
	message    bool
}

// given is an assignment.
type given struct {
	worker string
	since  uint64 // its entry, 0 while nobody has seen it
	told   bool   // by assigned, and not by kept alone
	cursor uint64 // when its worker was told first
	done   uint64 // what its worker has acknowledged, or wants to
}

// accepted is a word of a worker's that was taken.
type accepted struct {
	ae, seq, ack uint64
	worker       string
}

func (b *book) account(id string) *account {
	a := b.accounts[id]
	if a == nil {
		a = &account{
			b: b, id: id, entries: map[uint64]*stands{}, texts: map[string]uint64{}, unseen: map[uint64]string{}, own: map[uint64]string{},
			given: map[uint64]*given{}, asked: map[uint64]int{},
		}
		b.accounts[id] = a
	}
	return a
}

// staffOnly are the types of events that customers never see: as the schema lists them.
var staffOnly = map[string]bool{
	"level.warned": true, "level.missed": true, "hook.delivered": true, "hook.failed": true, "session.transferred": true, "session.transfer_failed": true,
	"session.released": true, "session.dead_lettered": true, "session.rated": true, "session.taken": true, "session.parked": true, "participant.invited": true,
	"participant.uninvited": true, "session.directed": true, "worker.lost": true, "channel.attached": true, "participant.joined": true, "participant.left": true,
}

func (s *stands) differs(o *stands) bool {
	return s.epoch != o.epoch || s.ts != o.ts || s.from != "" && o.from != "" && s.from != o.from || s.text != o.text || s.shown && o.shown && (s.typ != o.typ || s.public != o.public)
}

// stand notes what who was told stands at seq: the same that others were told [SW-4.2] (I8).
func (a *account) stand(who string, seq uint64, s *stands) {
	if seq == 0 || s.epoch != 1 {
		a.b.fail("%s is told of %d of epoch %d in %s", who, seq, s.epoch, a.id)
		return
	}
	was := a.entries[seq]
	switch {
	case was == nil:
		a.entries[seq] = s
	case was.differs(s):
		a.b.fail("%s is told that at %d of %s stands %+v, and others were told %+v", who, seq, a.id, *s, *was)
		return
	case s.shown && !was.shown:
		a.entries[seq] = s
	}
	if s.message && s.text != holding {
		if at, ok := a.texts[s.text]; ok && at != seq {
			a.b.fail("%s is told that %q stands at %d of %s, and it stands at %d, too", who, s.text, seq, a.id, at)
		}
		a.texts[s.text] = seq
	}
	if by := a.unseen[seq]; by != "" && s.public {
		a.b.fail("%s is told of %d of %s, %q, and %s was told that there is nothing that he may see", who, seq, a.id, s.text, by)
	}
	if by := a.own[seq]; by != "" && (s.from != by || !s.message) {
		a.b.fail("%s is told of %d of %s, %s %q, which was not delivered to %s", who, seq, a.id, s.typ, s.text, by)
	}
}

// nothing notes that who was told that a customer may see nothing between two entries [SW-4.4].
func (a *account) nothing(who string, after, before uint64) {
	for seq := after + 1; seq < before; seq++ {
		if s := a.entries[seq]; s != nil && s.public {
			a.b.fail("%s is told that nothing stands between %d and %d of %s, and at %d stands %q", who, after, before, a.id, seq, s.text)
			return
		}
		a.unseen[seq] = who
	}
}

// text is what a body says, or the body.
func text(body []byte) string {
	e := client.Entry{Entry: wire.Entry{Body: body}}
	if s := e.Text(); s != "" {
		return s
	}
	return string(body)
}

func standsOf(e *wire.Entry) *stands {
	return &stands{
		epoch: e.Epoch, ts: e.TS, from: e.From.ID, text: text(e.Body), typ: e.Type, shown: true, public: e.Visibility != wire.Staff,
		customer: e.Origin == wire.OriginCustomer && e.Kind == wire.KindMessage, message: e.Kind == wire.KindMessage,
	}
}

// line is what goes over one connection.
type line struct {
	b      *book
	who    *token.Claims
	asking map[uint64]*question
	heard  int               // frames
	last   []string          // some of them, for who reads of a failure
	told   map[string]uint64 // by session: the highest that it was told of
	// Of whoever follows sessions: by session.
	follows map[string]*following
	// Of a worker: by session, but for offers.
	slots, window int
	has           map[string]*having
	leaving       map[string]int    // how often he has asked to be rid of it, and was not refused
	offers        map[string]string // to a session
	due, settled  map[string]uint64 // under which ae he is to be given it, as his accept was answered; and the highest of which he was told what became of it
	floor         map[string]uint64 // what is acknowledged for good: nothing up to there is delivered any more
}

// question is what a client waits to be answered.
type question struct {
	f    *wirepb.ClientFrame
	told uint64 // the highest that it was told of in the session before
}

// following is how far a client has been told of a session.
type following struct {
	pos    uint64          // everything that it may see up to here
	last   uint64          // the last of these that it was told of by this connection; 0 for none
	head   uint64          // of the log when it began: up to there the past may be on its way
	paused bool            // it has asked for something else: what comes before the answer is not looked at
	mine   map[uint64]bool // its own words behind pos, of which it was told while the past was on its way
}

// having is an assignment, as its worker was told of it by this connection.
type having struct {
	ae     uint64
	past   uint64 // up to here only what the customer said and nobody has acknowledged is delivered
	low    uint64 // the highest that was delivered up to past, or the cursor
	high   uint64 // the highest behind it
	loose  bool   // where it begins is unknown
	open   map[uint64]bool
	missed map[uint64]bool // what the customer said that came with it, is to be delivered, and was not
}

func (b *book) connected(who *token.Claims) *line {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &line{
		b: b, who: who, asking: map[uint64]*question{}, told: map[string]uint64{}, follows: map[string]*following{}, has: map[string]*having{}, leaving: map[string]int{},
		offers: map[string]string{}, due: map[string]uint64{}, settled: map[string]uint64{}, floor: map[string]uint64{},
	}
	for id, a := range b.accounts {
		l.floor[id] = a.acknowledged()
	}
	return l
}

// acknowledged is up to where workers were told that the customer was answered.
func (a *account) acknowledged() (most uint64) {
	for i := range a.words {
		most = max(most, a.words[i].ack)
	}
	return most
}

// trailMost is how many frames a failure tells of.
const trailMost = 12

func (l *line) trail(does string, frame []byte) {
	if len(l.last) == trailMost {
		l.last = append(l.last[:0], l.last[1:]...)
	}
	l.last = append(l.last, fmt.Sprintf("%s %s %.300s", time.Now().Format("04:05.000"), does, frame))
}

// fail tells what is wrong, and what went over the connection before.
func (l *line) fail(format string, args ...any) {
	l.b.fail("%s\n  %s", fmt.Sprintf(format, args...), strings.Join(l.last, "\n  "))
}

// stand notes what this client was told stands at seq.
func (l *line) stand(a *account, seq uint64, s *stands) {
	l.told[a.id] = max(l.told[a.id], seq)
	a.stand(l.who.Sub, seq, s)
}

func (l *line) customer() bool { return l.who.Role == wire.RoleCustomer }

// asks notes what a client asks for.
func (l *line) asks(f *wirepb.ClientFrame) {
	b := l.b
	b.frames++
	q := &question{f: f}
	switch v := f.Verb.(type) {
	case *wirepb.ClientFrame_Open:
		q.told = l.told[v.Open.Session]
		if g := l.follows[v.Open.Session]; g != nil {
			g.paused = true // what comes before the answer is of the time before
		}
	case *wirepb.ClientFrame_History:
		q.told = l.told[v.History.Session]
	case *wirepb.ClientFrame_Leave:
		if g := l.follows[v.Leave.Session]; g != nil {
			g.paused = true
		}
	case *wirepb.ClientFrame_Subscribe:
		l.slots, l.window = int(v.Subscribe.Slots), int(v.Subscribe.Window)
	case *wirepb.ClientFrame_Ack:
		l.acks(v.Ack.Session, v.Ack.Ae, v.Ack.Seq)
	case *wirepb.ClientFrame_Reply:
		if v.Reply.Ack != nil {
			l.acks(v.Reply.Session, v.Reply.Ae, *v.Reply.Ack)
			b.account(v.Reply.Session).asked[*v.Reply.Ack]++
		}
	case *wirepb.ClientFrame_Release:
		l.leaves(v.Release.Session, v.Release.Ae)
	case *wirepb.ClientFrame_Transfer:
		l.leaves(v.Transfer.Session, v.Transfer.Ae)
	case *wirepb.ClientFrame_Nack:
		if h := l.has[v.Nack.Session]; h != nil && h.ae == v.Nack.Ae {
			h.loose = true
			clear(h.open)
		}
	}
	if f.Id != 0 {
		l.asking[f.Id] = q
	}
}

// acks notes what a worker says is done: it may be told of as much more.
func (l *line) acks(session string, ae, seq uint64) {
	if g := l.b.account(session).given[ae]; g != nil {
		g.done = max(g.done, seq)
	}
	if h := l.has[session]; h != nil && h.ae == ae {
		maps.DeleteFunc(h.open, func(k uint64, _ bool) bool { return k <= seq })
	}
}

// hears checks what a client is told.
func (l *line) hears(f *wirepb.ServerFrame) {
	l.b.frames++
	l.heard++
	if f.Id != 0 {
		q := l.asking[f.Id]
		if q == nil {
			l.fail("%s is answered what it has not asked, or twice: %v", l.who.Sub, f)
			return
		}
		delete(l.asking, f.Id)
		l.reply(q, f)
		return
	}
	switch v := f.Verb.(type) {
	case *wirepb.ServerFrame_Message:
		l.message(v.Message)
	case *wirepb.ServerFrame_Lag:
		if g := l.follows[v.Lag.Session]; g != nil {
			g.head = ^uint64(0)
		}
		if h := l.has[v.Lag.Session]; h != nil {
			h.loose = true
		}
	case *wirepb.ServerFrame_Assigned:
		l.assigned(v.Assigned)
	case *wirepb.ServerFrame_Delivery:
		l.delivery(v.Delivery)
	case *wirepb.ServerFrame_Revoked:
		l.revoked(v.Revoked)
	case *wirepb.ServerFrame_Offer:
		l.offers[v.Offer.Offer] = v.Offer.Session
		l.room("is offered " + v.Offer.Session)
	case *wirepb.ServerFrame_OfferEnded:
		delete(l.offers, v.OfferEnded.Offer)
	}
}

func (l *line) reply(q *question, f *wirepb.ServerFrame) {
	refused := f.GetError()
	switch v := q.f.Verb.(type) {
	case *wirepb.ClientFrame_Hello:
		l.hello(v.Hello, f.GetHello())
	case *wirepb.ClientFrame_Open:
		l.opened(q, v.Open, f.GetOpen())
	case *wirepb.ClientFrame_Send:
		if r := f.GetSend(); r != nil {
			l.sent(v.Send, r)
		}
	case *wirepb.ClientFrame_History:
		if r := f.GetHistory(); r != nil {
			l.history(q, v.History, r)
		}
	case *wirepb.ClientFrame_Leave:
		delete(l.follows, v.Leave.Session)
	case *wirepb.ClientFrame_Subscribe:
		l.subscribed(f.GetSubscribe())
	case *wirepb.ClientFrame_Accept:
		l.took(v.Accept.Offer, refused, f.GetAccept())
	case *wirepb.ClientFrame_Decline:
		delete(l.offers, v.Decline.Offer)
	case *wirepb.ClientFrame_Reply:
		if r := f.GetReply(); r != nil {
			l.replied(v.Reply, r)
		}
	case *wirepb.ClientFrame_Release:
		l.left(v.Release.Session, v.Release.Ae, refused)
	case *wirepb.ClientFrame_Transfer:
		if to := v.Transfer.To; to.GetWorker() == "" || refused != nil {
			l.left(v.Transfer.Session, v.Transfer.Ae, refused)
		}
	}
}

// took: an offer that is accepted is a session that he has, from the moment at which he is given it until he is told that it is over.
func (l *line) took(offer string, refused *wirepb.Error, r *wirepb.AcceptReply) {
	switch {
	case refused != nil:
		delete(l.offers, offer)
	case r != nil:
		delete(l.offers, offer)
		if l.settled[r.Session] < r.Ae {
			l.due[r.Session] = r.Ae
		}
	}
}

// tells notes that a worker was told of an assignment, or of its end.
func (l *line) tells(session string, ae uint64) {
	if l.settled[session] = max(l.settled[session], ae); l.due[session] <= ae {
		delete(l.due, session)
	}
}

// left ends an assignment that its worker has given up, unless that is refused for certain.
func (l *line) left(session string, ae uint64, refused *wirepb.Error) {
	h := l.has[session]
	switch {
	case h == nil || h.ae != ae:
	case refused == nil:
		delete(l.has, session)
	case refused.Slug == string(wire.Unanswered):
		l.leaving[session]--
	}
}

func (l *line) leaves(session string, ae uint64) {
	if h := l.has[session]; h != nil && h.ae == ae {
		l.leaving[session]++
	}
}

// visible checks that whoever is told of an entry may see it [SW-4.5] (I11).
func (l *line) visible(e *wire.Entry) {
	if !e.VisibleTo(l.who.Role) || l.customer() && staffOnly[e.Type] {
		l.fail("%s is told of %d of %s, which is for staff: %s %s", l.who.Sub, e.Seq, e.Session, e.Type, e.Body)
	}
}

// after checks that what stands before an entry is what whoever is told of it was told before.
func (l *line) after(a *account, prev, seq uint64) {
	if l.customer() {
		a.nothing(l.who.Sub, prev, seq)
	} else if prev != seq-1 {
		l.fail("%s is told that %d comes before %d of %s", l.who.Sub, prev, seq, a.id)
	}
}

// message: every entry once, in order, none left out [SW-4.4] (I8).
func (l *line) message(m *wirepb.Entry) {
	e := wire.EntryOf(m)
	a := l.b.account(m.Session)
	l.visible(&e)
	l.stand(a, e.Seq, standsOf(&e))
	l.after(a, m.Prev, m.Seq)
	g := l.follows[m.Session]
	switch {
	case g == nil:
		l.fail("%s is told of %d of %s, which it does not follow", l.who.Sub, m.Seq, m.Session)
		return
	case g.paused:
		return
	}
	l.passes(a, g, m.Prev)
	switch {
	case m.Seq <= g.pos:
		l.fail("%s is told of %d of %s, and was told of %d before", l.who.Sub, m.Seq, m.Session, g.pos)
	case m.Prev > g.pos || g.last != 0 && m.Prev != g.last:
		l.fail("%s is told of %d of %s, which follows %d, and was told of %d before", l.who.Sub, m.Seq, m.Session, m.Prev, g.pos)
	}
	g.pos, g.last = max(g.pos, m.Seq), max(g.pos, m.Seq)
}

// hello: who comes back goes on where he was [SW-3.2].
func (l *line) hello(asked *wirepb.Hello, r *wirepb.HelloReply) {
	for _, s := range r.GetResumed() {
		for _, from := range asked.Resume {
			if from.Session == s.Session && s.Error == nil {
				l.begins(s.Session, from.Seq, s.Head, s.How)
			}
		}
	}
}

func (l *line) begins(session string, from, head uint64, how string) {
	if how != "exact" {
		l.fail("%s goes on with %s behind %d, and is told: %s", l.who.Sub, session, from, how)
	}
	l.follows[session] = &following{pos: from, head: head}
}

// opened: the log has everything that this client was told before it asked.
func (l *line) opened(q *question, o *wirepb.Open, r *wirepb.OpenReply) {
	if r == nil {
		return
	}
	if r.Head < q.told {
		l.fail("%s opens %s, which ends at %d, and was told of %d", l.who.Sub, r.Session, r.Head, q.told)
	}
	switch {
	case o.From != nil:
		l.begins(r.Session, o.From.Seq, r.Head, r.How)
	case o.GetTail() == 0:
		l.follows[r.Session] = &following{pos: r.Head, head: r.Head}
	default:
		l.fail("%s opens %s with a tail, which this test knows nothing of", l.who.Sub, r.Session)
	}
}

// sent: the answer stands where the entry does [SW-4.2], [SW-4.4].
func (l *line) sent(s *wirepb.Send, r *wirepb.SendReply) {
	a := l.b.account(s.Session)
	from := l.who.Sub
	if r.Duplicate { // then he may have been somebody else who has become him
		from = ""
	}
	l.stand(a, r.Seq, &stands{epoch: r.Epoch, ts: r.Ts, from: from, text: text(s.Body), typ: s.Type, public: true, customer: l.customer(), message: true})
	g := l.follows[s.Session]
	switch {
	case g == nil || r.Seq <= g.pos: // it was done before, as what was said twice [SW-4.11]: stand has looked at it
		return
	case !r.Duplicate && g.pos >= g.head && !g.paused:
		a.nothing(l.who.Sub, g.pos, r.Seq)
		g.pos, g.last = r.Seq, r.Seq
	default: // the past is on its way
		if g.mine == nil {
			g.mine = map[uint64]bool{}
		}
		g.mine[r.Seq] = true
	}
}

// passes moves over words of a client's own, up to upto. Before each of them is nothing that it may see and was not told of.
func (l *line) passes(a *account, g *following, upto uint64) {
	for _, seq := range slices.Sorted(maps.Keys(g.mine)) {
		for before := g.pos + 1; before < seq; before++ {
			if s := a.entries[before]; s != nil && s.public {
				return // the past is not here yet
			}
		}
		if seq > upto {
			return
		}
		if delete(g.mine, seq); seq > g.pos {
			a.nothing(l.who.Sub, g.pos, seq)
			g.pos, g.last = seq, seq
		}
	}
}

// history: a page of the log, without a hole, as it was when it was asked for or later.
func (l *line) history(q *question, h *wirepb.History, r *wirepb.HistoryReply) {
	a := l.b.account(h.Session)
	last := uint64(0)
	for i, m := range r.Entries {
		e := wire.EntryOf(m)
		l.visible(&e)
		l.stand(a, e.Seq, standsOf(&e))
		l.after(a, m.Prev, m.Seq)
		if i > 0 && m.Prev != last {
			l.fail("%s reads %s, where %d follows %d, and %d comes before", l.who.Sub, h.Session, m.Seq, m.Prev, last)
		}
		last = m.Seq
	}
	if h.Before == nil && (h.After == nil || !r.More && *h.After < q.told) && last < q.told {
		l.fail("%s reads %s up to %d, and was told of %d before", l.who.Sub, h.Session, last, q.told)
	}
}

// subscribed: what is kept is all that a worker has.
func (l *line) subscribed(r *wirepb.SubscribeReply) {
	if r == nil {
		return
	}
	l.has, l.offers, l.due, l.leaving = map[string]*having{}, map[string]string{}, map[string]uint64{}, map[string]int{}
	for _, k := range r.Kept {
		l.tells(k.Session, k.Ae)
		a := l.b.account(k.Session)
		a.give(l.who.Sub, k.Ae, nil)
		past := a.given[k.Ae].since
		if past == 0 {
			past = ^uint64(0)
		}
		l.has[k.Session] = &having{ae: k.Ae, past: past, high: past, loose: true, open: map[uint64]bool{}, missed: map[uint64]bool{}}
	}
	l.room("has kept")
}

// give notes that a worker is told that a session is his: nobody else is ever told so under the same number [SW-5.3] (I2).
func (a *account) give(worker string, ae uint64, m *wirepb.Assigned) {
	g := a.given[ae]
	if g == nil {
		g = &given{worker: worker}
		a.given[ae] = g
	}
	if g.worker != worker {
		a.b.fail("%s has %s under ae %d, which is %s's", worker, a.id, ae, g.worker)
		return
	}
	a.newest = max(a.newest, ae)
	if m == nil {
		return
	}
	for _, e := range slices.Backward(m.Tail) {
		if e.Type == "session.assigned" {
			if g.since != 0 && g.since != e.Seq {
				a.b.fail("%s is told that ae %d of %s began at %d, and was told %d", worker, ae, a.id, e.Seq, g.since)
			}
			g.since = e.Seq
			break
		}
	}
	if !g.told {
		g.told, g.cursor = true, m.Cursor
	}
	if m.Cursor < g.cursor {
		a.b.fail("%s is given %s under ae %d again, from %d on, and it was from %d", worker, a.id, ae, m.Cursor, g.cursor)
	}
	for i := range a.words {
		a.fenced(&a.words[i])
	}
}

// fenced checks a word of a worker's against the assignments that are known: it stands within his, and what it has answered is behind the cursor of
// those that came later [SW-5.3], [SW-5.5] (I2).
func (a *account) fenced(w *accepted) {
	for ae, g := range a.given {
		if g.since == 0 {
			continue
		}
		switch {
		case w.ae == 0: // it was asked for more than once, under another perhaps
		case ae <= w.ae && w.seq < g.since, ae > w.ae && w.seq > g.since:
			a.b.fail("%s has said %d of %s under ae %d, and ae %d began at %d", w.worker, w.seq, a.id, w.ae, ae, g.since)
		}
		if g.told && w.seq < g.since && g.cursor < w.ack {
			a.b.fail("%s is given %s under ae %d from %d on, and %s had answered %d by %d", g.worker, a.id, ae, g.cursor, w.worker, w.ack, w.seq)
		}
	}
}

// assigned: what comes with a session is the end of its log, and what nobody has answered follows [SW-5.4] (I9).
func (l *line) assigned(m *wirepb.Assigned) {
	a := l.b.account(m.Session)
	who := l.who.Sub
	if h := l.has[m.Session]; h != nil && m.Ae < h.ae {
		l.fail("%s is given %s under ae %d, and has it under ae %d", who, m.Session, m.Ae, h.ae)
	}
	for i, e := range m.Tail {
		entry := wire.EntryOf(e)
		l.stand(a, e.Seq, standsOf(&entry))
		if i > 0 && e.Seq != m.Tail[i-1].Seq+1 {
			l.fail("%s is given %s with %d behind %d", who, m.Session, e.Seq, m.Tail[i-1].Seq)
		}
	}
	if n := len(m.Tail); n == 0 || m.Tail[n-1].Seq != m.Head || m.Cursor > m.Head {
		l.fail("%s is given %s up to %d from %d on, with %d entries that end elsewhere", who, m.Session, m.Head, m.Cursor, n)
	}
	a.give(who, m.Ae, m)
	if m.Cursor < l.floor[m.Session] {
		l.fail("%s is given %s from %d on, and %d was answered", who, m.Session, m.Cursor, l.floor[m.Session])
	}
	h := &having{ae: m.Ae, past: m.Head, low: m.Cursor, high: m.Head, open: map[uint64]bool{}, missed: map[uint64]bool{}}
	for _, e := range m.Tail {
		if e.Seq > m.Cursor && wire.Origin(e.Origin) == wire.OriginCustomer {
			h.missed[e.Seq] = true
		}
	}
	l.has[m.Session] = h
	l.tells(m.Session, m.Ae)
	delete(l.leaving, m.Session)
	maps.DeleteFunc(l.offers, func(_, session string) bool { return session == m.Session })
	l.room("is given " + m.Session)
}

// delivery: whoever has a session hears of all that others say in it, in order, and never again of what was answered [SW-5.4], [SW-5.5].
func (l *line) delivery(m *wirepb.Delivery) {
	a, who := l.b.account(m.Session), l.who.Sub
	e := wire.Entry{
		Session: wire.SessionID(m.Session), Seq: m.Seq, Epoch: m.Epoch, TS: m.Ts, From: wire.AuthorOf(m.From), Origin: wire.Origin(m.Origin), Kind: m.Kind, Type: m.Type,
		Body: m.Body, Visibility: m.Visibility,
	}
	l.stand(a, e.Seq, standsOf(&e))
	customer := e.Origin == wire.OriginCustomer
	h := l.has[m.Session]
	switch {
	case h == nil || h.ae != m.Ae:
		l.fail("%s hears %d of %s under ae %d, which it has not", who, m.Seq, m.Session, m.Ae)
		return
	case m.Prev != m.Seq-1 || customer != (m.Attempt > 0):
		l.fail("%s hears %d of %s behind %d, for the %d. time", who, m.Seq, m.Session, m.Prev, m.Attempt)
	case customer && m.Seq <= l.floor[m.Session]:
		l.fail("%s hears %d of %s again, and %d was answered", who, m.Seq, m.Session, l.floor[m.Session])
	}
	delete(h.missed, m.Seq)
	if customer && m.Seq > a.given[m.Ae].done {
		h.open[m.Seq] = true
		if len(h.open) > l.window {
			l.fail("%s hears %d of %s, has not acknowledged %v, and wants no more than %d", who, m.Seq, m.Session, slices.Sorted(maps.Keys(h.open)), l.window)
		}
	}
	if m.Type == "session.transfer_failed" && l.leaving[m.Session] > 0 {
		l.leaving[m.Session]--
	}
	done := a.given[m.Ae].done // perhaps by another connection, and heard of behind what this one was told
	from, until := max(h.low, done)+1, m.Seq
	if m.Seq > h.past {
		until = h.past + 1
	}
	for seq := from; seq < until && !h.loose; seq++ { // of the past he hears what the customer said alone
		if s := a.entries[seq]; s != nil && s.customer {
			l.fail("%s hears %d of %s, and not %d, %q, which nobody has answered", who, m.Seq, m.Session, seq, s.text)
		}
	}
	for seq := max(h.high, done) + 1; seq < m.Seq && !h.loose && m.Seq > h.past; seq++ {
		if s := a.entries[seq]; s != nil && (s.from != who || !s.message) {
			l.fail("%s hears %d of %s, and not %d, %s %q", who, m.Seq, m.Session, seq, s.typ, s.text)
		}
		a.own[seq] = who
	}
	h.loose = false
	if h.low = max(h.low, min(m.Seq, h.past)); m.Seq > h.past {
		h.high = max(h.high, m.Seq)
	}
}

func (l *line) revoked(m *wirepb.Revoked) {
	if m.Session == "" {
		clear(l.has)
		clear(l.offers)
		clear(l.due)
		return
	}
	l.tells(m.Session, m.Ae)
	if h := l.has[m.Session]; h != nil && h.ae <= m.Ae {
		delete(l.has, m.Session)
	}
}

// replied: a word of a worker's stands within his assignment.
func (l *line) replied(m *wirepb.Reply, r *wirepb.SendReply) {
	a := l.b.account(m.Session)
	l.stand(a, r.Seq, &stands{epoch: r.Epoch, ts: r.Ts, from: l.who.Sub, text: text(m.Body), typ: m.Type, public: m.Visibility != wire.Staff, message: true})
	w := accepted{ae: m.Ae, seq: r.Seq, ack: m.GetAck(), worker: l.who.Sub}
	if r.Duplicate || a.asked[w.ack] > 1 {
		w.ae = 0
	}
	a.words = append(a.words, w)
	a.fenced(&w)
	l.floor[m.Session] = max(l.floor[m.Session], w.ack)
}

// room: nobody has more than he has room for, as far as he was told [SW-5.1] (I3). What he has asked to be rid of may be gone already, as may be what
// somebody else was given; and the word that something is over may be on its way for a moment.
func (l *line) room(what string) {
	list := l.busy()
	if len(list) <= l.slots {
		return
	}
	if soft := l.b.w.softBefore(time.Now()); soft != "" { // the known limit
		l.b.w.t.Logf("%s %s, has %d slots and %v; pools began without all shards at %s", l.who.Sub, what, l.slots, list, soft)
		return
	}
	began := l.heard
	time.AfterFunc(moment, func() {
		l.b.mu.Lock()
		defer l.b.mu.Unlock()
		if now := l.busy(); l.heard > began && !slices.ContainsFunc(list, func(s string) bool { return !slices.Contains(now, s) }) {
			l.fail("%s %s, has %d slots, and for %v %v", l.who.Sub, what, l.slots, moment, list)
		}
	})
}

// moment is for how long the word that an assignment is over may be on its way behind that of the next.
const moment = time.Second

// busy are the sessions that a worker has or is offered.
func (l *line) busy() []string {
	busy := map[string]bool{}
	for _, session := range l.offers {
		busy[session] = true
	}
	for session := range l.due {
		busy[session] = true
	}
	for session, h := range l.has {
		if l.leaving[session] == 0 && h.ae == l.b.accounts[session].newest {
			busy[session] = true
		}
	}
	return slices.Sorted(maps.Keys(busy))
}
