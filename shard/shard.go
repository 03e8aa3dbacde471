package shard

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/broker"
	"switchboard/broker/level"
	"switchboard/exchange"
	"switchboard/internal/mailbox"
	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

const (
	turnMails = 256
	turnBytes = 1 << 20
)

// openingBits are the low bits of a shard's term, which count its openings in one term of its group.
const openingBits = 16

// Shard hosts the sessions, customers and pools of its slots. Open starts its goroutines, Close joins them; Put and
// Stats may be called from any goroutine.
type Shard struct {
	// Fixed after Open.
	cfg   Config
	x     *exchange.Exchange
	g     *journal.Group
	place uint8            // the placement group of cfg.Slots
	mine  [wire.Slots]bool // cfg.Slots, by their numbers
	term  uint64           // grows at every opening: mail and pools carry it
	log   logger

	// Owned by run.
	stood      standing // as noted, or about to be
	noted      bool
	notedAt    uint64 // the turn that has, 0 of an opening before
	noting     bool   // with this turn
	noteAt     int64  // not before
	giving     *giving
	away       map[int]whither // slots that have left, as noted when it opened
	departed   departed
	cleaning   *cleaning
	floor      uint64 // numbers of the feed up to here cannot be told any more
	floorOf    uint64 // Config.Clean that has brought it
	now        int64
	batch      []wire.Envelope
	results    []result
	sessions   map[wire.SessionID]*hosted
	customers  map[customerID]*customer
	identities map[identityID]*identity
	turns      uint64 // of customers
	pools      map[string]*pool
	merchants  map[string]*merchant
	peers      []uint64 // what was plugged in for each shard, when somebody last looked
	amended    []*pool  // whose document this turn has changed
	moving     []wire.SessionID
	censuses   map[string]*stocktaking // by tenant
	outdated   []wire.SessionID        // that may be counted by service levels of before
	lsn        uint64                  // of the last entry in the journal
	feeds      map[wire.Conn]*feed
	feed       []byte // of this turn: a line per entry
	fed        uint64 // lines in feed
	turn       journal.Turn
	d          session.Decision
	said       session.Decision // what the pools say: it stands also when the turn does not
	env        session.Env
	dirty      []*hosted
	changed    []*customer
	claimed    []*identity
	mark       int         // facts of d up to here have their rows in turn
	nearby     []wire.Mail // of this turn, to this shard
	held       []outgoing
	doubt      doubt
	last       uint64 // index of the last turn that was appended
	unread     uint64 // turns up to here must be durable before a session or customer is read again
	alarms     alarms
	sweepAt    int64
	retry      []wire.Envelope
	behind     map[uint64]bool // slots that retry has mail for
	retryAt    int64           // 0 while no alarm is set for it
	far        map[uint64]*far // other nodes, by their incarnation
	heeded     uint64          // the node that was heeded last
	conns      []wire.Conn     // for suspect and ended alone
	bonds      []broker.Bond   // for ended alone
	anew       <-chan struct{} // closed when owners have changed since the first of retry was tried; nil while there is none
	row, key   []byte
	begun      int64 // Unix ms
	writable   bool
	lossy      bool // the group has lost data, and nobody has accepted that
	levels     map[string]*levels
	counting   []counted // entries that are not durable, or not counted yet
	appended   int       // of counting, those whose turn was appended
	late       []late
	purges     map[customerID]*purging
	guards     guards
	reads      []job               // that wait for what was decided to be readable
	reading    int                 // of those, and of the ones that the loader has
	toRead     []job               // that wait for these
	levelAt    int64               // when the shard says what it has counted
	hosting    *map[string]*Tenant // of hostable, what was taken
	hooks      hooks
	pruning    bool
	pruneFrom  []byte // row; nil is the first
	pruneAt    int64

	// Shared.
	hostable atomic.Pointer[map[string]*Tenant]
	inbox    *mailbox.Box[wire.Envelope]
	loads    *mailbox.Box[job]
	texts    *mailbox.Box[job] // about documents
	loaded   *mailbox.Box[result]
	durable  atomic.Uint64
	shape    atomic.Uint64
	left     atomic.Uint64
	cleaned  atomic.Uint64
	failed   atomic.Bool
	dropped  atomic.Bool // no last words
	stats    stats
	counts   atomic.Pointer[map[string]level.Report]
	sets     atomic.Pointer[map[string]LevelSet]
	waiting  atomic.Pointer[[]Erasure]
	stop     chan struct{}
	wg       sync.WaitGroup
}

// outgoing is the mail of turns that are durable with turn index.
type outgoing struct {
	index uint64
	mail  []wire.Envelope
	jobs  []job
}

// Open reads what is live from the group's rows, starts the shard and plugs it into x. The group is the shard's alone
// until Close. Errors: [ErrOldMap]; journal.ErrNotLeading when the term of [Config] is over: what was read may be behind what another has decided since.
func Open(x *exchange.Exchange, g *journal.Group, cfg Config) (*Shard, error) {
	cfg.defaults()
	s := &Shard{
		cfg: cfg, x: x, g: g, log: logger{cfg.Log.With("shard", cfg.ID)},
		sessions:   map[wire.SessionID]*hosted{},
		customers:  map[customerID]*customer{},
		identities: map[identityID]*identity{},
		pools:      map[string]*pool{},
		merchants:  map[string]*merchant{},
		inbox:      mailbox.New[wire.Envelope](cfg.Inbox, cfg.Inbox/4),
		loads:      mailbox.New[job](cfg.Inbox, 0),
		texts:      mailbox.New[job](cfg.Inbox, 0),
		loaded:     mailbox.New[result](3*cfg.Inbox, 0),
		stop:       make(chan struct{}),
	}
	for _, slot := range cfg.Slots {
		s.place, s.mine[slot.Number()] = slot.Group(), true
	}
	s.now, s.peers = cfg.Now().UnixMilli(), make([]uint64, len(cfg.Peers))
	if err := errors.Join(s.stand(), s.readFloor()); err != nil {
		return nil, fmt.Errorf("opening shard %d: %w", cfg.ID, err)
	}
	s.openLevels()
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("reading shard %d: %w", cfg.ID, err)
	}
	for name, t := range cfg.Tenants {
		s.merchants[name] = t.merchant()
		if s.owns(s.x.PoolSlot(name)) {
			s.openPool(name, t)
		}
	}
	g.Start(func(index uint64, err error) {
		if err != nil {
			s.failed.Store(true)
		}
		s.durable.Store(index)
		s.inbox.Nudge()
	})
	if cfg.Led != 0 && g.Term() != cfg.Led { // from here on the end of a term is told; this one came before, and no term comes twice
		return nil, fmt.Errorf("opening shard %d, whose term %d is over: %w", cfg.ID, cfg.Led, journal.ErrNotLeading)
	}
	if s.cfg.Witness != nil {
		s.cfg.Witness.Opens(s.at())
	}
	s.wg.Add(3)
	go s.run()
	go s.load(s.loads)
	go s.load(s.texts)
	x.PlugSlots(s.slots(), s)
	s.inbox.Nudge()
	return s, nil
}

func (s *Shard) owns(slot wire.Slot) bool {
	return slot.Group() == s.place && s.mine[slot.Number()] || slot == wire.ShardSlot(s.cfg.ID)
}

// slots are the addresses of the shard: its slots, and itself.
func (s *Shard) slots() []wire.Slot {
	return append(slices.Clone(s.cfg.Slots), wire.ShardSlot(s.cfg.ID))
}

// epoch is what entries are written under: it starts at 1, and grows when a loss of data is accepted [SW-1].
func (s *Shard) epoch() uint64 { return s.g.Epoch() + 1 + s.stood.epoch }

// recover reads the feed's end, and every live session.
func (s *Shard) recover() error {
	led := s.cfg.Led
	if led == 0 {
		led = s.g.Term()
	}
	s.term = (led+s.stood.term)<<openingBits | uint64(s.cfg.Opening)
	if err := s.g.Scan([]byte{rowFeed}, []byte{rowFeed + 1}, true, func(k, v []byte) bool {
		s.lsn = lastNumber(k) + uint64(len(v)/feedLine) - 1
		return false
	}); err != nil {
		return err
	}
	if n := s.g.Epoch(); n > 0 { // cursors that were given out before it began are not of what follows [SW-4.10]
		s.lsn = max(s.lsn, n<<journal.FloorBits)
	}
	var live []wire.SessionID
	if err := s.g.Scan([]byte{rowLive}, []byte{rowLive + 1}, false, func(k, _ []byte) bool {
		id := wire.SessionID(k[1:])
		switch _, slot, ok := id.Place(); {
		case ok && s.owns(slot):
			live = append(live, id)
		case ok: // it has left, or is on its way here
			s.departed.add(s, id, slot)
		}
		return true
	}); err != nil {
		return err
	}
	if err := s.g.View(func(v *journal.View) error { return s.recoverLive(v, live) }); err != nil {
		return err
	}
	if err := errors.Join(s.recoverOwing(), s.recoverHooks(), s.recoverGuards()); err != nil {
		return err
	}
	s.last = s.g.Last()
	s.durable.Store(s.last)
	return nil
}

// recoverLive takes the live sessions into memory.
func (s *Shard) recoverLive(g Rows, live []wire.SessionID) error {
	for _, id := range live {
		h := s.host(id)
		r := s.readSession(g, id)
		if r.err != nil {
			return fmt.Errorf("reading session %s: %w", id, r.err)
		}
		if r.state == nil {
			return fmt.Errorf("session %s is live and has no row", id)
		}
		if err := s.readLive(g, id, r.state); err != nil {
			return fmt.Errorf("reading wrap-ups after session %s: %w", id, err)
		}
		h.state, h.live = r.state, true
		s.stats.loaded.Add(1)
		s.restore(h, r.level)
		s.suspect(h)
		s.schedule(h)
	}
	return nil
}

// recoverOwing reads every customer who is on his way to become another.
func (s *Shard) recoverOwing() error {
	var owing []customerID
	if err := s.g.Scan([]byte{rowOwes}, []byte{rowOwes + 1}, false, func(k, _ []byte) bool {
		tenant, id, _ := strings.Cut(string(k[1:]), "\x00")
		if s.mine[exchange.CustomerSlot(tenant, id).Number()] {
			owing = append(owing, customerID{tenant, id})
		}
		return true
	}); err != nil {
		return err
	}
	for _, k := range owing {
		r := s.readCustomer(job{kind: jobCustomer, customer: k})
		if r.err != nil {
			return fmt.Errorf("reading customer %s: %w", k.id, r.err)
		}
		cu := s.customer(k.tenant, k.id)
		cu.state, cu.owing = r.cust, true
		cu.againAt = s.now // at once
		s.alarms.addCustomer(s.now, cu)
	}
	return nil
}

// Put takes mail for one of the shard's slots. Mail of clients is refused when the inbox is full but for its reserve.
func (s *Shard) Put(e wire.Envelope) bool {
	if c, ok := e.Mail.(*wire.Command); ok && c.Verb != wire.VerbGone && c.Way == nil {
		return s.inbox.Put(e)
	}
	return s.inbox.PutReserved(e)
}

// Close unplugs the shard, finishes what was taken, waits until that is durable and its mail has left, and ends the
// goroutines.
func (s *Shard) Close() {
	s.x.UnplugSlots(s.slots(), s)
	close(s.stop)
	s.inbox.Nudge()
	s.wg.Wait()
}

// Drop is Close for an owner that has lost its place: nothing more is decided, and nothing of what was decided is said any more.
// What it has given to the journal may be in the log; who asked for it asks the next owner. It waits until the journal is done with
// it, so that the next reads everything.
func (s *Shard) Drop() {
	s.dropped.Store(true)
	s.Close()
}

// run is the owner.
func (s *Shard) run() {
	defer s.wg.Done()
	defer func() { s.loads.Close(); s.texts.Close() }()
	s.begin()
	var changed <-chan struct{} // nobody asks, where no pool is
	if len(s.pools) > 0 {
		changed = s.x.Changed()
		s.peersChanged()
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.arm(timer)
		select {
		case <-s.inbox.Wake():
		case <-s.loaded.Wake():
		case <-timer.C:
		case <-s.anew:
			s.again()
		case <-changed:
			changed = s.x.Changed()
			s.peersChanged()
		case <-s.stop:
			if s.dropped.Load() {
				s.drop()
			} else {
				s.finish()
			}
			return
		}
		began := time.Now()
		s.step()
		s.stats.step(time.Since(began))
		if changed == nil && len(s.pools) > 0 { // the first has come
			changed = s.x.Changed()
			s.peersChanged()
		}
	}
}

// begin lets the live sessions know in which epoch they go on, and what their service levels want done meanwhile: before a
// census asks for them.
func (s *Shard) begin() {
	s.writable, s.begun = s.g.Writable() == nil, s.cfg.Now().UnixMilli()
	s.takeStand()
	for _, h := range s.sessions {
		s.env.Now = s.now
		h.state.Recover(s.epoch(), &s.d)
		s.note(h)
		s.ask(h)
		if s.overdue(h) && s.surround(h) {
			s.due(h)
			s.note(h)
		}
	}
	s.displaced()
	s.goesBy()
	s.commit()
}

// step does everything that can be done now.
func (s *Shard) step() {
	s.now = s.cfg.Now().UnixMilli()
	s.post()
	s.writable = s.g.Writable() == nil
	if !s.writable {
		s.censuses = nil // they are asked again
	}
	s.lossy = !s.writable && s.g.State().LossFrom != 0
	s.takeStand()
	s.stands()
	s.results = s.loaded.Take(s.results, turnMails)
	for i := range s.results {
		s.take(&s.results[i])
	}
	clear(s.results)
	s.batch = s.inbox.Take(s.batch, turnMails)
	s.newcomers() // behind the mail, which may be of those who were named before it was sent
	s.stats.mail.Add(uint64(len(s.batch)))
	for i := range s.batch {
		if e := &s.batch[i]; !s.meant(e) {
			continue
		}
		s.handle(s.batch[i].Mail)
		if s.turn.Size() > turnBytes {
			s.commit()
		}
	}
	clear(s.batch)
	s.tick()
	s.takeNear()
	s.commit()
	s.callDue()
	s.post()
}

// finish takes what waits, and lets it become durable. Requests that wait for rows were not decided, and never will be here.
func (s *Shard) finish() {
	s.inbox.Close()
	for s.inbox.Len() > 0 {
		s.step()
	}
	s.eachParked(func(c *wire.Command) { s.moved(c) })
	s.commit()
	for len(s.held) > 0 && !s.failed.Load() {
		s.post()
		if len(s.held) > 0 {
			<-s.inbox.Wake() // there is something to be done about it
		}
	}
	s.again() // once more, for what has found no room
}

// drop waits until the journal is done with what it was given.
func (s *Shard) drop() {
	s.inbox.Close()
	for s.durable.Load() < s.last && !s.failed.Load() {
		<-s.inbox.Wake()
	}
}

// meant tells whether what e asks for is asked of this owner, and not of one before it that its sender still knew. It is never
// done then, and its sender is told.
func (s *Shard) meant(e *wire.Envelope) bool {
	c, ok := e.Mail.(*wire.Command)
	if !ok || e.Term == 0 || e.Term == s.term || c.Verb == wire.VerbGone {
		return true
	}
	s.moved(c).Seq = e.Term
	return false
}

// moved says that c is not taken.
func (s *Shard) moved(c *wire.Command) *wire.Frame {
	f := s.d.Frame(c.Conn)
	f.Kind, f.ID, f.Session, f.Verb = wire.FrameMoved, c.ID, c.Session, c.Verb
	return f
}

// handle names everything that can come in.
func (s *Shard) handle(m wire.Mail) {
	switch m := m.(type) {
	case *wire.Command:
		s.command(m)
	case *wire.Grant:
		s.toSession(m.Session, m)
	case *wire.Lost:
		s.toSession(m.Session, m)
	case *wire.Rebind:
		s.toSession(m.Session, m)
	case *wire.NoGrant:
		s.toSession(m.Session, m)
	case *wire.Resort:
		s.toSession(m.Session, m)
	case *wire.Hooked:
		s.hooked(m)
	case *wire.Found:
		s.toSession(m.Session, m)
	case *wire.Classify:
		s.toSession(m.Session, m)
	case *wire.Place:
		s.toSession(m.Session, m)
	case *wire.Untaken:
		s.toSession(m.Session, m)
	case *wire.WrapUpOver:
		s.toSession(m.Session, m)
	case *wire.Census:
		s.census(m)
	case *wire.CensusAnswer, *wire.Task, *wire.Withdraw, *wire.Confirm, *wire.Unbound, *wire.Declined, *wire.Release, *wire.Resorted, *wire.Seek:
		s.poolMail(m)
	case *wire.Settings:
		s.settings(m)
	case *wire.SettingsKept:
		s.settingsKept(m)
	case *wire.Levels:
		s.levelMail(m)
	case *wire.Link:
		s.wished(m)
	case *wire.Linked:
		s.linked(m)
	case *wire.Unite:
		s.uniting(m)
	case *wire.United:
		s.settled(m)
	case *wire.Purge:
		s.purge(m)
	case *wire.Purged:
		s.purged(m)
	case *wire.Scrub:
		s.scrub(m)
	case *wire.Parcel:
		s.parcel(m)
	case *wire.ParcelKept:
		s.parcelKept(m)
	case *wire.Frame:
		// A frame has no business at a shard: whoever posted it took a slot for a connection.
		s.log.Error("a frame was posted to a shard", "session", m.Session)
	}
}

// commit ends the turn: its rows go to the journal, its mail is held until they are durable.
func (s *Shard) commit() {
	s.rows()
	if s.turn.Empty() && len(s.d.Mail) == 0 && len(s.d.Load) == 0 && len(s.said.Mail) == 0 && len(s.reads) == 0 {
		s.d.Reset()
		return
	}
	if !s.turn.Empty() {
		index, err := s.g.Append(&s.turn)
		s.turn.Reset()
		if err != nil {
			s.abandon(err)
			return
		}
		s.last = index
		s.hasNoted(index)
		s.countFrom(index)
		s.lsn += s.fed
		s.feed, s.fed = s.feed[:0], 0
		s.stats.turns.Add(1)
		if s.cfg.Witness != nil {
			s.cfg.Witness.Decides(s.at())
		}
		for i, p := range s.amended {
			p.before, s.amended[i] = nil, nil
		}
		s.amended = s.amended[:0]
	}
	out := outgoing{index: s.last, mail: s.spare()}
	out.mail = append(append(out.mail, s.said.Mail...), s.d.Mail...)
	for i := range s.d.Load {
		out.jobs = append(out.jobs, s.jobOf(&s.d.Load[i]))
	}
	out.jobs = append(out.jobs, s.reads...)
	clear(s.reads)
	s.reads = s.reads[:0]
	s.held = append(s.held, out)
	s.d.Reset()
	s.said.Reset()
	s.mark = 0
}

// abandon drops everything that was decided and is not in the log: it was never heard of outside. What is live is read
// again, behind the turns that are still on their way. The pools keep what they decided: it came of what is durable, and
// nobody says it again.
func (s *Shard) abandon(err error) {
	if errors.Is(err, journal.ErrNotLeading) {
		s.log.Info("another node leads the shard, or nobody does; it ends here", "err", err)
	} else {
		s.log.Error("the journal refused a turn; reading the shard again", "err", err)
	}
	s.held = append(s.held, outgoing{index: s.last, mail: append([]wire.Envelope(nil), s.said.Mail...)})
	s.said.Reset()
	s.unread = s.last
	s.refusedStand()
	s.censuses = nil // they are asked again
	s.cleaning = nil // it begins again with what is not noted
	s.loseNear()
	s.deny(err)
	s.d.Reset()
	for i, p := range s.amended {
		p.revert()
		s.amended[i] = nil
	}
	s.amended, s.moving = s.amended[:0], s.moving[:0] // who is moved is read again as it was, and is moved when it queues anew
	s.mark, s.dirty, s.changed, s.claimed = 0, s.dirty[:0], s.changed[:0], s.claimed[:0]
	s.feed, s.fed = s.feed[:0], 0
	s.reading -= len(s.reads)
	s.reads, s.toRead, s.purges = nil, nil, nil // who is being erased is read again, and asks again
	s.waiting.Store(nil)
	s.uncount()
	s.stats.abandoned.Add(1)
	s.held = append(s.held, outgoing{index: s.last, mail: s.loseFeeds()})
	old, people := s.sessions, s.customers
	s.refuseParked()
	s.stats.sessions.Store(0)
	s.stats.loaded.Store(0)
	s.sessions, s.customers = map[wire.SessionID]*hosted{}, map[customerID]*customer{}
	s.identities = map[identityID]*identity{}
	for _, cu := range people {
		if cu.owing || cu.was || len(cu.waiters) > 0 || cu.state != nil && cu.state.Owes() {
			n := s.customer(cu.id.tenant, cu.id.id)
			n.waiters, n.owing, n.fetching = cu.waiters, true, true
			s.wish(job{kind: jobCustomer, customer: n.id})
		}
	}
	for id, h := range old {
		attached, bound := h.attached, h.bound
		if h.state != nil {
			attached, bound = h.state.Attached, [2]session.Binding{h.state.Binding(), h.before}
		}
		if live := h.live || h.was; live || len(attached) > 0 {
			n := s.host(id)
			n.attached, n.bound, n.live = attached, bound, live
			if !h.outdated { // otherwise it is found in its log
				n.level, n.levelBy = h.level, h.levelBy
			}
			if live {
				s.fetch(n)
			}
		}
	}
}

// post sends the held mail of every turn that is durable by now. What an owner knows is not told while it may be that another one leads, who knows more: a
// request that changed nothing is answered without the log, which would notice.
func (s *Shard) post() {
	durable := s.durable.Load()
	if s.cfg.Witness != nil {
		s.cfg.Witness.Durable(At{Shard: s.cfg.ID, Term: s.term, Turn: durable})
	}
	s.countUpTo(durable)
	most := s.doubt.free(len(s.held), s.g)
	n := 0
	for n < most && s.held[n].index <= durable {
		out := &s.held[n]
		for i := range out.mail {
			s.send(out.mail[i])
		}
		for i := range out.jobs {
			s.hand(&out.jobs[i])
		}
		n++
	}
	if n > 0 {
		m := copy(s.held, s.held[n:])
		clear(s.held[m:])
		s.held = s.held[:m]
	}
}

// send posts e. Mail for a shard that has no room now is tried again: it is a level that somebody waits for. Mail for a
// connection that is gone is nobody's.
func (s *Shard) send(e wire.Envelope) {
	e.Term = s.term
	changed := s.x.Changed()
	_, command := e.Mail.(*wire.Command)
	if command {
		e.Term = 0 // on its way it is meant for whoever is there
	}
	// What waits to be tried again is not overtaken: a command by none behind it [SW-4.2], other mail by none to the same slot. Where a worker was would
	// otherwise be heard of after where he is.
	if len(s.retry) > 0 && e.To.Slot && (command || s.behind[e.To.ID]) {
		s.later(e, changed)
		return
	}
	if e.To.Slot && s.owns(wire.Slot(e.To.ID)) { //nolint:gosec // a slot
		if s.inbox.PutReserved(e) {
			return
		}
	} else if err := s.x.Post(e); err == nil || !e.To.Slot {
		s.nowhere(&e, err)
		return
	}
	s.later(e, changed)
}

// later keeps e until it is tried again: soon, or when owners have changed since it was tried.
func (s *Shard) later(e wire.Envelope, changed <-chan struct{}) {
	if len(s.retry) >= s.cfg.Inbox {
		s.stats.dropped.Add(1)
		return
	}
	if len(s.retry) == 0 {
		s.anew, s.behind = changed, map[uint64]bool{}
	}
	s.retry = append(s.retry, e)
	s.behind[e.To.ID] = true
	if s.retryAt == 0 { // one alarm for all of them: each tries all again
		s.retryAt = s.now + retryMS
		s.alarms.add(s.retryAt, "")
	}
}

func (s *Shard) spare() []wire.Envelope {
	if n := len(s.said.Mail) + len(s.d.Mail); n > 0 {
		return make([]wire.Envelope, 0, n)
	}
	return nil
}

// wish hands j to the loader, once what may be unread is durable: rows are read as they are in the log.
func (s *Shard) wish(j job) {
	if s.durable.Load() < s.unread {
		s.held = append(s.held, outgoing{index: s.last, jobs: []job{j}})
		return
	}
	s.hand(&j)
}
