package shard

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"switchboard/broker/why"
	"switchboard/internal/mailbox"
	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

const overloadRetry = 500 * time.Millisecond

// jobKind says what the loader reads.
type jobKind uint8

const (
	jobSession jobKind = iota
	jobCustomer
	jobIdentity
	jobLoad
	jobFeed
	jobDocument
	jobParcel
	jobDeparted
	jobRemains
	jobWhy
	jobPrune
	jobHook
	jobHis
	jobWords
	jobPurge
)

// job is a wish to read rows.
type job struct {
	kind     jobKind
	id       wire.SessionID
	live     bool // of a session: it may have a live row
	customer customerID
	identity identityID
	load     session.Load
	feed     feedJob
	document documentJob
	parcel   parcelJob
	departed []departure
	remains  remainsJob
	explain  explainJob
	prune    []byte // from which row on
	call     hookJob
	erase    eraseJob
}

// result is what the loader found.
type result struct {
	job
	err      error
	state    *session.State
	cust     *session.Customer
	ident    *session.Identity
	row      *session.Key
	entries  []*wire.Entry
	prev     uint64 // of the first of them, for history
	more     bool
	page     []fed  // of a feed
	upTo     uint64 // that page has looked at everything up to here
	answer   documentRead
	given    parcelRead
	left     map[string][]wire.Left // by tenant,
	at       int64                  // and when they were read, Unix ms
	remains  remainsRead
	wiped    wipeRead
	staleKey [][]byte // rows of keys that are remembered long enough
	level    []byte   // the row of its service levels
	why      []why.Decision
	// Of explanations whose time is over; pruneNext is nil when there are no more.
	pruned    []prunedRow
	pruneNext []byte
	hooked    *wire.Hooked // of a hook that was not called
}

func (s *Shard) jobOf(l *session.Load) job {
	return job{kind: jobLoad, id: l.Session, load: *l}
}

// load is the loader: it reads what the owner must not wait for. There is another one for documents alone: one that is as large as may be takes seconds, for which
// nobody else's session waits.
func (s *Shard) load(from *mailbox.Box[job]) {
	defer s.wg.Done()
	var jobs []job
	for range from.Wake() {
		jobs = from.Take(jobs, turnMails)
		for i := range jobs {
			s.loaded.Put(s.read(jobs[i]))
		}
		clear(jobs)
		if from.Done() {
			return
		}
	}
}

// hand gives j to its loader. What it needs to read is durable.
func (s *Shard) hand(j *job) {
	to := s.loads
	if j.kind == jobDocument {
		to = s.texts
	}
	if !to.Put(*j) {
		s.loadRefused(j)
	}
}

func (s *Shard) read(j job) result {
	switch j.kind {
	case jobSession:
		var r result
		if err := s.g.View(func(v *journal.View) error {
			if r = s.readSession(v, j.id); !j.live || r.err != nil {
				return nil
			}
			if err := s.readLive(v, j.id, r.state); err != nil {
				r = result{err: err}
			}
			return nil
		}); err != nil {
			r.err = err
		}
		r.job = j
		return r
	case jobCustomer:
		return s.readCustomer(j)
	case jobFeed:
		return s.readFeed(j)
	case jobIdentity:
		return s.readIdentity(j)
	case jobDocument:
		return s.readDocument(j)
	case jobParcel:
		return s.readParcel(j)
	case jobDeparted:
		return s.readDeparted(j)
	case jobRemains:
		return s.readRemains(j)
	case jobWhy:
		return s.readWhy(j)
	case jobPrune:
		return s.readPrune(j)
	case jobHook:
		return s.readHook(j)
	case jobHis:
		return s.readHis(j)
	case jobWords:
		return s.readWords(j)
	case jobPurge:
		return s.readPurge(j)
	default:
		return s.readLoad(j)
	}
}

// readSession reads a session's state, its latest entries, and its keys. A session that does not exist has no state and
// no error.
func (s *Shard) readSession(g Rows, id wire.SessionID) (r result) {
	row, err := g.Get(sessionKey(nil, rowState, id), nil)
	if errors.Is(err, journal.ErrNotFound) {
		return r
	}
	if err != nil {
		r.err = err
		return r
	}
	st := &session.State{}
	if r.err = session.ParseState(row, st); r.err != nil {
		return r
	}
	if st.ErasedAt != 0 {
		return s.readErased(g, id, st)
	}
	lists, err := s.keyLists(g, id)
	if err != nil {
		r.err = err
		return r
	}
	t, err := s.tail(g, id, lists.upTo, lists.down())
	if err != nil {
		r.err = err
		return r
	}
	keys, older, err := s.latestKeys(g, id, &lists, t.keys)
	if err != nil {
		r.err = err
		return r
	}
	st.CatchUp(t.head, t.marks, lists.upTo)
	st.Remember(t.entries, keys, older, lists.upTo)
	r.state, r.staleKey = st, lists.stale
	if s.LevelSets()[st.Tenant].Set.Len() > 0 {
		if r.level, err = g.Get(sessionKey(nil, rowLevel, id), nil); err != nil && !errors.Is(err, journal.ErrNotFound) {
			return result{err: err}
		}
	}
	return r
}

// readLive reads what stands in the live row of a session, if it has one: nothing when it has no state.
func (s *Shard) readLive(g Rows, id wire.SessionID, st *session.State) error {
	if st == nil {
		return nil
	}
	row, err := g.Get(sessionKey(nil, rowLive, id), nil)
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return session.ParseLive(row, st)
}

// readErased reads what is left of an erased session: it has no keys, and its entries may not be rewritten yet.
func (s *Shard) readErased(g Rows, id wire.SessionID, st *session.State) (r result) {
	t, err := s.tail(g, id, math.MaxUint64, math.MaxUint64)
	if err != nil {
		r.err = err
		return r
	}
	for i, e := range t.entries {
		t.entries[i] = session.Blank(e)
	}
	t.marks.Keys = 0
	st.CatchUp(t.head, t.marks, 0) // one that was restored may have said something since its row was written
	st.Remember(t.entries, nil, nil, 0)
	r.state = st
	return r
}

// tail is the end of a session's log.
type tail struct {
	entries []*wire.Entry // the latest, in order
	head    uint64        // the seq of the last
	marks   session.Marks // of the last
	keys    []session.Key // that ride on what was read, oldest first
}

// tail reads the latest entries of a session, and all keys beyond number listed: they ride on entries not far behind. It goes on to entry down for keys, of
// which it reads no more than belong into memory.
func (s *Shard) tail(g Rows, id wire.SessionID, listed, down uint64) (t tail, err error) {
	prefix := sessionKey(nil, rowEntry, id)
	size := 0
	var bad error
	err = g.Scan(prefix, after(prefix), true, func(k, v []byte) bool {
		if room := len(t.entries) < session.TailEntries && size < session.TailBytes; room {
			marks, ride, e, err := parseEntry(id, v)
			if bad = err; err != nil {
				return false
			}
			if t.head == 0 {
				t.head, t.marks = e.Seq, marks
			}
			if ride.N != 0 {
				t.keys = append(t.keys, ride.Known(e))
			}
			t.entries = append(t.entries, e)
			size += len(v)
			return true
		}
		marks, ride, row, err := session.CutMarks(v)
		if err == nil && ride.N != 0 {
			var e wire.Entry // of which only the key stays
			if err = wire.ParseEntry(row, &e); err == nil {
				key := ride.Known(&e)
				key.Sender = strings.Clone(key.Sender)
				t.keys = append(t.keys, key)
			}
		}
		bad = err
		return err == nil && (marks.Keys > listed || lastNumber(k) > down && len(t.keys) < session.KeysInMemory)
	})
	slices.Reverse(t.entries)
	slices.Reverse(t.keys)
	return t, errors.Join(err, bad)
}

// parseEntry reads an entry's row, which it copies.
func parseEntry(id wire.SessionID, v []byte) (session.Marks, session.Ride, *wire.Entry, error) {
	marks, ride, row, err := session.CutMarks(append([]byte(nil), v...))
	if err != nil {
		return marks, ride, nil, err
	}
	e := &wire.Entry{Session: id}
	return marks, ride, e, wire.ParseEntry(row, e)
}

// entries reads at most limit entries with first ≤ seq < before, from the front or the back, in order.
func (s *Shard) entries(id wire.SessionID, first, before uint64, limit int, reverse, staff bool) (list []*wire.Entry, more bool, err error) {
	if first >= before {
		return nil, false, nil
	}
	size := 0
	var bad error
	err = s.g.Scan(numberedKey(nil, rowEntry, id, first), numberedKey(nil, rowEntry, id, before), reverse, func(_, v []byte) bool {
		_, _, e, err := parseEntry(id, v)
		if bad = err; err != nil {
			return false
		}
		if !staff && e.Visibility == wire.Staff {
			return true
		}
		if len(list) == limit || size > pageBytes {
			more = true
			return false
		}
		size += len(v)
		list = append(list, e)
		return true
	})
	if err == nil {
		err = bad
	}
	if reverse {
		slices.Reverse(list)
	}
	return list, more, err
}

// pageBytes bounds what one page holds; a frame is 64 KiB.
const pageBytes = 48 << 10

func (s *Shard) readCustomer(j job) result {
	r := result{job: j}
	row, err := s.g.Get(customerKey(nil, j.customer.tenant, j.customer.id), nil)
	if errors.Is(err, journal.ErrNotFound) {
		r.cust = &session.Customer{Tenant: j.customer.tenant, ID: j.customer.id}
		return r
	}
	if err != nil {
		r.err = err
		return r
	}
	r.cust = &session.Customer{}
	r.err = session.ParseCustomer(row, r.cust)
	return r
}

func (s *Shard) readLoad(j job) result {
	r := result{job: j}
	l := &j.load
	if l.Kind == session.LoadKey {
		r.row, r.err = s.lookUp(s.g, j.id, session.KeyAt{FP: l.FP, Seq: l.Seq}, l.Wide)
		return r
	}
	r.entries, r.more, r.err = s.entries(j.id, l.After+1, l.Before, l.Limit, l.Reverse, l.Staff)
	if r.err == nil && len(r.entries) > 0 && l.Command != nil && l.Command.Verb == wire.VerbHistory {
		r.prev, r.err = s.seqBefore(j.id, r.entries[0].Seq, l.Staff)
	}
	return r
}

// seqBefore returns the seq of the entry before seq among the visible, or 0: a page of history begins where its reader can see
// what it follows [SW-4.4].
func (s *Shard) seqBefore(id wire.SessionID, seq uint64, staff bool) (uint64, error) {
	if staff {
		return seq - 1, nil // nothing is hidden from staff
	}
	list, _, err := s.entries(id, 1, seq, 1, true, false)
	if len(list) == 0 {
		return 0, err
	}
	return list[0].Seq, err
}

// loadRefused answers those who wait for a job that the loader has no room for.
func (s *Shard) loadRefused(j *job) {
	s.take(&result{job: *j, err: errBusy})
}

var errBusy = errors.New("the loader is busy")

// take goes on with what waited for r.
func (s *Shard) take(r *result) {
	if r.err != nil && !errors.Is(r.err, errBusy) && r.kind != jobDocument {
		s.log.Error("reading rows failed", "session", r.id, "err", r.err)
	}
	switch r.kind {
	case jobSession:
		s.sessionLoaded(r)
	case jobCustomer:
		s.customerLoaded(r)
	case jobIdentity:
		s.identityLoaded(r)
	case jobLoad:
		s.rowsLoaded(r)
	case jobFeed:
		s.feedLoaded(r)
	case jobDocument:
		s.documentLoaded(r)
	case jobParcel:
		s.parcelLoaded(r)
	case jobDeparted:
		s.departedLoaded(r)
	case jobRemains:
		s.remainsLoaded(r)
	case jobWhy:
		s.whyLoaded(r)
	case jobPrune:
		s.pruneLoaded(r)
	case jobHook:
		s.hookRead(r)
	case jobHis:
		s.haveRead()
		s.hisLoaded(r)
	case jobWords:
		s.haveRead()
		s.wordsLoaded(r)
	case jobPurge:
		s.haveRead()
		s.purgeLoaded(r)
	}
}

func slugOf(err error) wire.Slug {
	if errors.Is(err, errBusy) {
		return wire.Overloaded
	}
	return wire.Unavailable
}

func (s *Shard) sessionLoaded(r *result) {
	h := s.sessions[r.id]
	if h == nil || !h.fetching {
		return
	}
	h.fetching = false
	parked, opens := h.parked, h.opens
	h.parked, h.opens = nil, nil
	if r.state == nil {
		slug := wire.NoSession
		switch {
		case r.err != nil:
			slug = slugOf(r.err)
		case s.lossy:
			slug = wire.Unavailable // it may be among what was lost
		}
		for _, m := range parked {
			switch m := m.(type) {
			case *wire.Command:
				s.d.Refuse(m, slug)
			case *wire.Hooked:
				if x := s.hooks.all[hookID{m.Session, m.Ticket}]; x != nil && slug == wire.NoSession && s.writable {
					s.forgetHook(x, m) // its session is erased: nobody is to hear of it
				}
			}
		}
		for _, m := range opens {
			switch m := m.(type) {
			case *wire.Command:
				s.d.Refuse(m, slug)
			case *wire.Unite:
				if slug == wire.NoSession {
					s.united(m, "") // nothing is left to be settled
				}
			}
		}
		h.live = h.live && r.err != nil // it was in the turn that was refused, and nowhere else
		if len(h.attached) == 0 && !h.live {
			s.forget(h)
		} else if h.live {
			s.alarms.add(s.now+retryMS, h.id) // it must be in memory: try again
		}
		return
	}
	h.state, h.live = r.state, r.state.Live()
	s.stats.loaded.Add(1)
	s.restore(h, r.level)
	h.state.Attached, h.attached = h.attached, nil
	if s.writable {
		for _, k := range r.staleKey {
			s.turn.Delete(k)
		}
		h.state.Recover(s.epoch(), &s.d) // a loss may have been accepted since it was last here [SW-1]
		s.note(h)
	}
	if s.surround(h) {
		for _, b := range h.bound {
			h.state.Resume(&s.env, b, &s.d)
		}
		s.ask(h)
		s.note(h)
	}
	h.bound = [2]session.Binding{}
	s.suspect(h)
	s.schedule(h)
	h.parked = parked
	s.drain(h)
	for _, m := range opens {
		s.handle(m)
	}
}

func (s *Shard) customerLoaded(r *result) {
	cu := s.customers[r.customer]
	if cu == nil || !cu.fetching {
		return
	}
	cu.fetching = false
	parked := cu.parked
	cu.parked = nil
	if r.err != nil {
		for _, m := range parked {
			if c, ok := m.(*wire.Command); ok {
				s.d.Refuse(c, slugOf(r.err))
			}
		}
		if cu.owing { // try again
			s.alarms.addCustomer(s.now+againFirst, cu)
			return
		}
		for _, c := range cu.waiters {
			s.d.Refuse(c, slugOf(r.err))
		}
		delete(s.customers, r.customer)
		return
	}
	cu.state = r.cust
	cu.owing = cu.state.Owes()
	waiters := cu.waiters
	cu.waiters = nil
	for _, c := range waiters { // of a turn that was refused: from the beginning
		s.identify(c)
	}
	s.chase(cu)
	for _, m := range parked {
		s.handle(m)
	}
}

func (s *Shard) rowsLoaded(r *result) {
	h := s.sessions[r.id]
	if h == nil {
		return
	}
	h.busy = max(h.busy-1, 0)
	if r.load.Kind == session.LoadKey {
		h.asking = false
		defer s.drain(h)
	}
	if h.state == nil || !s.surround(h) {
		return // it was read again since: whoever asked asks again
	}
	s.before(h)
	l := &r.load
	switch {
	case r.err != nil && l.Command != nil:
		s.d.Refuse(l.Command, slugOf(r.err))
	case r.err != nil:
		h.state.Back(&s.env, nil, &s.d)
	case l.Kind == session.LoadKey:
		s.env.Row, s.env.Loaded = r.row, true
		if l.Command.Verb == wire.VerbSend && h.state.Phase == session.Closed && !s.mayReopen(h, l.Command) {
			return
		}
		if !s.writable {
			s.d.Refuse(l.Command, wire.Unavailable)
			return
		}
		session.Decide(h.state, &s.env, l.Command, &s.d)
	case l.Kind == session.LoadPage:
		h.state.Page(l, r.entries, r.prev, r.more, &s.d)
	case l.Kind == session.LoadBack:
		h.state.Back(&s.env, r.entries, &s.d)
	}
	s.note(h)
}

func appendFeed(dst []byte, id wire.SessionID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, id...), seq)
}
