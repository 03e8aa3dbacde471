package shard

import (
	"cmp"
	"slices"
	"time"

	"switchboard/session"
	"switchboard/wire"
)

// A customer is erased [SW-7.11]. His owner writes down that he is to be, and opens nothing for him until it has come about: his sessions, which are all
// of his slot, one after the other; and every shard is told to look for his external ids, for who became him (they are erased just so, each by his
// owner), and for what has stayed behind of slots that have left. A row says that it is owed, so whoever owns him next goes on, from the beginning: each
// step may be done any number of times. What is in files is the node's business then: see Erasures.

const (
	// eraseReads is how many reads on behalf of erasures the loader has at most: sessions and pages are read between, however many customers
	// are being erased.
	eraseReads = 2
	// becomingRetry is when somebody may ask again to erase a customer who was about to become another.
	becomingRetry = time.Second
)

// erasing is how far the owner of a customer who is being erased has come. It is memory: a new owner begins anew.
type erasing struct {
	mark    string
	reading bool // the loader looks for sessions, or for entries of the first of todo
	from    []byte
	scanned bool // there are no more sessions than those in todo
	todo    []wire.SessionID
	begun   bool   // the first of todo is erased, its entries are being rewritten
	seq     uint64 // behind which
	peers   []bool // shards that have nothing of him any more
	slots   [wire.Slots]bool
}

// Erasure is one that has not come to its end.
type Erasure struct {
	Tenant, Customer, Mark string
	At                     int64 // Unix ms, when it was asked for
	// Stage is session.Erasing, or session.Blanked: then its rows are all rewritten, and durable so, while files may still have what stood in them.
	Stage session.ErasureStage
	// Shards are those that Erasing waits for, its customer's own among them while it has sessions of his.
	Shards []int
}

// Erasures returns the erasures of this shard's customers that wait for something, the oldest first, as they were when it last looked. It may be called from any
// goroutine; what it returns must not be changed.
func (s *Shard) Erasures() []Erasure {
	if list := s.waiting.Load(); list != nil {
		return *list
	}
	return nil
}

// erase begins to erase cu, who is himself, unless that is under way, and tells how far it is.
func (s *Shard) erase(cu *customer, c *wire.Command) {
	if !c.On {
		if !s.writable {
			s.d.Refuse(c, wire.Unavailable)
			return
		}
		if cu.state.Leaving.To != "" { // whom he is about to become may know his external ids by now, and soon they are one
			s.d.Fail(c, &wire.Error{Slug: wire.Unavailable, Message: "the customer is becoming another", RetryAfter: becomingRetry})
			return
		}
		if cu.state.Doom(c.Reason, s.now) { // the mark alone tells whom it is about
			s.log.Info("a customer is to be erased", "tenant", cu.id.tenant, "erasure", c.Reason, "by", c.Who.Sub, "role", string(c.Who.Role))
			s.doomed(cu)
		}
	}
	e := &cu.state.Erasure
	s.sayJSON(c, 0, struct {
		Customer string   `json:"customer"`
		Erasure  string   `json:"erasure,omitempty"`
		State    string   `json:"state"`
		At       int64    `json:"at,omitempty"`
		Sessions uint64   `json:"sessions"`
		Also     []string `json:"also,omitempty"`
		More     bool     `json:"more,omitempty"`
	}{cu.id.id, e.Mark, e.Stage.String(), e.At, e.Sessions, e.Kin, len(e.Kin) >= session.MaxKin})
}

// doomed begins what is owed to somebody who is to be erased.
func (s *Shard) doomed(cu *customer) {
	for _, c := range cu.waiters {
		s.d.Fail(c, cu.state.Doomed())
	}
	cu.waiters, cu.erasing, cu.againAt = nil, nil, 0
	s.publishErasure(cu, session.Erasing)
	s.changedCustomer(cu)
	s.chase(cu)
}

// goOn does what can be done of an erasure now, and says again what nobody has answered.
func (s *Shard) goOn(cu *customer) {
	st := cu.state
	own := s.x.CustomerSlot(st.Tenant, st.ID)
	if st.Erasure.Stage == session.Blanked { // to itself, so that it is durable by then
		over := &wire.Scrub{Tenant: st.Tenant, Customer: st.ID, Mark: st.Erasure.Mark}
		s.post1(own, over)
		for i, slot := range s.cfg.Peers {
			if i != s.cfg.ID {
				s.post1(slot, over)
			}
		}
		return
	}
	e := cu.erasing
	if e == nil || e.mark != st.Erasure.Mark {
		e = &erasing{mark: st.Erasure.Mark, peers: make([]bool, len(s.cfg.Peers))}
		cu.erasing = e
	}
	for i, slot := range s.cfg.Peers {
		if !e.peers[i] {
			s.post1(slot, &wire.Purge{Tenant: st.Tenant, Customer: st.ID, Mark: e.mark, At: st.Erasure.At, Shard: uint32(i)}) //nolint:gosec // a node has few shards
		}
	}
	s.publishErasure(cu, session.Erasing)
	s.nextSession(cu)
}

// nextSession goes on with the session that is being erased, or looks for more.
func (s *Shard) nextSession(cu *customer) {
	e := cu.erasing
	if e.reading || !s.writable {
		return
	}
	if len(e.todo) == 0 {
		if !e.scanned {
			e.reading = true
			s.readAfter(job{kind: jobHis, customer: cu.id, erase: eraseJob{e: e, mark: e.mark, from: e.from}})
			return
		}
		s.blank(cu)
		return
	}
	id := e.todo[0]
	if !e.begun {
		h := s.host(id)
		if h.state == nil {
			s.wait(h, &wire.Scrub{Tenant: cu.id.tenant, Customer: cu.id.id, Mark: e.mark})
			return
		}
		if !s.surround(h) {
			return // its tenant is configured no more; when it is again, a new owner goes on
		}
		if h.state.ErasedAt == 0 {
			s.before(h)
			h.state.Erase(&s.env, e.mark, &s.d)
			s.note(h)
			cu.state.Erasure.Sessions++
			s.changedCustomer(cu)
		}
		e.begun, e.seq = true, 0
	}
	if s.hooks.erase(id, cu) {
		return // who is being told of it just now is not told once it is erased
	}
	e.reading = true
	s.readAfter(job{kind: jobWords, id: id, customer: cu.id, erase: eraseJob{e: e, mark: e.mark, seq: e.seq}})
}

// hisLoaded takes the sessions that were found.
func (s *Shard) hisLoaded(r *result) {
	cu := s.erasingStill(r)
	if cu == nil {
		return
	}
	e := cu.erasing
	if e.reading = false; r.err == nil {
		e.from, e.scanned, e.todo = r.wiped.at, r.wiped.last, append(e.todo, r.wiped.ids...)
		s.nextSession(cu)
	} // else it is asked for again with what else is
}

// wordsLoaded puts rewritten entries where the old ones stand.
func (s *Shard) wordsLoaded(r *result) {
	cu := s.erasingStill(r)
	if cu == nil {
		return
	}
	e := cu.erasing
	if e.reading = false; r.err != nil || !s.writable {
		return
	}
	s.put(r.wiped.rows)
	if s.turn.Size() > turnBytes { // others are being erased as well
		if s.commit(); s.erasingStill(r) != cu {
			return // the journal has refused it
		}
	}
	if e.seq = r.wiped.seq; r.wiped.last {
		e.todo, e.begun = e.todo[1:], false
	}
	s.nextSession(cu)
}

// erasingStill returns the customer for whom r was read, if it is for the same erasure by the same memory.
func (s *Shard) erasingStill(r *result) *customer {
	cu := s.customers[r.customer]
	if cu == nil || cu.state == nil || cu.erasing == nil || cu.erasing != r.erase.e {
		return nil
	}
	return cu
}

// put adds rows that were read, and made anew, to the turn.
func (s *Shard) put(rows []rewritten) {
	for i := range rows {
		if w := &rows[i]; w.to != nil {
			s.turn.DeleteRange(w.key, w.to)
		} else if w.val == nil {
			s.turn.Delete(w.key)
		} else {
			s.turn.Put(w.key, w.val)
		}
	}
}

// purged notes that a shard has nothing of a customer any more.
func (s *Shard) purged(m *wire.Purged) {
	cu := s.askCustomer(m.Tenant, m.Customer, m)
	if cu == nil || cu.erasing == nil || cu.erasing.mark != m.Mark || int(m.Shard) >= len(cu.erasing.peers) || cu.state.Erasure.Stage != session.Erasing {
		return
	}
	e := cu.erasing
	if cu.state.Erasure.Know(m.Customer, m.Kin) {
		s.changedCustomer(cu)
	}
	e.peers[m.Shard] = true
	s.publishErasure(cu, session.Erasing)
	for i := range e.slots {
		e.slots[i] = e.slots[i] || i/8 < len(m.Slots) && m.Slots[i/8]&(1<<(i%8)) != 0
	}
	s.nextSession(cu)
}

// blank ends the erasure as far as rows go, when nothing of the customer is left in any.
func (s *Shard) blank(cu *customer) {
	e := cu.erasing
	if slices.Contains(e.peers, false) {
		return
	}
	if slices.Contains(e.slots[:], false) { // some slots are on their way between shards: whoever has them next is asked
		clear(e.peers)
		return
	}
	cu.state.Blank()
	cu.erasing, cu.againAt = nil, 0
	s.changedCustomer(cu)
	s.log.Info("a customer is erased from all rows", "tenant", cu.id.tenant, "erasure", e.mark, "sessions", cu.state.Erasure.Sessions)
	s.chase(cu)
	waiters := cu.waiters
	cu.waiters = nil
	for _, c := range waiters {
		s.identify(c)
	}
}

// scrub hears how far the erasure of a customer is.
func (s *Shard) scrub(m *wire.Scrub) {
	k := customerID{m.Tenant, m.Customer}
	if !s.owns(s.x.CustomerSlot(m.Tenant, m.Customer)) {
		s.lift(k, m.Mark)
		return
	}
	cu := s.askCustomer(m.Tenant, m.Customer, m)
	if cu == nil || cu.state.Erasure.Mark != m.Mark {
		return
	}
	switch st := cu.state; {
	case st.Erasure.Stage == session.Erasing && cu.erasing != nil: // a session was read for it
		s.nextSession(cu)
		return
	case m.Done && s.writable && st.Complete(m.Mark):
		s.changedCustomer(cu)
		s.publishErasure(cu, session.Completed)
		if !st.Owes() { // who came under his id may be about to become another
			cu.againAt, cu.againIn = 0, 0
		}
		s.log.Info("an erasure is completed: no file has anything of the customer", "tenant", cu.id.tenant, "erasure", m.Mark)
	case !m.Done && st.Erasure.Stage == session.Blanked:
		s.publishErasure(cu, session.Blanked)
	}
	if st := cu.state; st.Erasure.Stage != session.Erasing {
		s.lift(k, m.Mark)
	}
}

// publishErasure says how far an erasure is, so that others see what waits; the last stage takes it out.
func (s *Shard) publishErasure(cu *customer, stage session.ErasureStage) {
	st := cu.state
	list := slices.DeleteFunc(slices.Clone(s.Erasures()), func(e Erasure) bool { return e.Tenant == st.Tenant && e.Customer == st.ID })
	if stage != session.Completed {
		list = append(list, Erasure{st.Tenant, st.ID, st.Erasure.Mark, st.Erasure.At, stage, cu.erasing.waitsFor(s.cfg.ID, stage)})
	}
	slices.SortFunc(list, func(a, b Erasure) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Mark, b.Mark), cmp.Compare(a.Customer, b.Customer))
	})
	s.waiting.Store(&list)
	if stage == session.Blanked && s.cfg.Blanked != nil {
		s.cfg.Blanked()
	}
}

// waitsFor returns the shards that have not done their part; self is the customer's.
func (e *erasing) waitsFor(self int, stage session.ErasureStage) (list []int) {
	if e == nil || stage != session.Erasing {
		return nil
	}
	for i, done := range e.peers {
		if !done || i == self && (!e.scanned || len(e.todo) > 0) {
			list = append(list, i)
		}
	}
	return list
}

// readAfter hands j to the loader when all that was decided up to now, with this turn, can be read.
// Beyond eraseReads it waits until others are read.
func (s *Shard) readAfter(j job) {
	if s.reading >= eraseReads {
		s.toRead = append(s.toRead, j)
		return
	}
	s.reading++
	s.reads = append(s.reads, j)
}

// haveRead lets the next read on behalf of an erasure begin.
func (s *Shard) haveRead() {
	s.reading--
	if len(s.toRead) > 0 {
		j := s.toRead[0]
		s.toRead[0] = job{}
		s.toRead = s.toRead[1:]
		s.readAfter(j)
	}
}
