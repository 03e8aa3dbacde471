package shard

import (
	"bytes"
	"errors"
	"slices"

	"switchboard/exchange"
	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// What is looked at, and rewritten, at once on behalf of an erasure: others are read between.
const (
	eraseLook  = 4096
	eraseBytes = 256 << 10
	eraseFound = 64
)

// purging is a look through the rows of this shard for somebody who is being erased.
type purging struct {
	wire.Purge
	open bool     // somebody was found who became him, and is not erased yet
	also []string // who is erased with him
}

// eraseJob is a wish to read rows on behalf of an erasure.
type eraseJob struct {
	e     *erasing // whose; nobody but the owner looks into it
	p     *purging // or this; the loader reads its Purge alone
	mark  string
	from  []byte
	seq   uint64
	stage int
}

// rewritten is a row as it is to be, or with val nil is not to be; with to, that no row is to be from key up to there.
type rewritten struct{ key, val, to []byte }

// wipeRead is what came of an eraseJob: rows, and where the next one goes on.
type wipeRead struct {
	ids        []wire.SessionID
	kin        []string
	also       []string
	identities []identityID
	rows       []rewritten
	at         []byte
	seq        uint64
	stage      int
	last       bool
}

// purge looks for what this shard has of a customer who is being erased.
func (s *Shard) purge(m *wire.Purge) {
	k := customerID{m.Tenant, m.Customer}
	if !s.writable || s.purges[k] != nil || s.isOver(k, m.Mark) { // somebody new may be under his id by now, and what is given to him stays
		return
	}
	if s.purges == nil {
		s.purges = map[customerID]*purging{}
	}
	p := &purging{Purge: *m}
	s.purges[k] = p
	s.guard(k, m.Mark)
	s.readAfter(job{kind: jobPurge, customer: k, erase: eraseJob{p: p, mark: m.Mark}})
}

// purgeLoaded does what was found to be done, and goes on looking. When all was looked at and nothing was left to others, the customer's
// owner hears of it; otherwise he asks again.
func (s *Shard) purgeLoaded(r *result) {
	p := r.erase.p
	if s.purges[r.customer] != p {
		return
	}
	if r.err != nil || !s.writable || s.cleaning != nil { // what was read may be off by now, and is not to come back
		delete(s.purges, r.customer)
		return
	}
	w := &r.wiped
	for _, id := range w.identities {
		s.unclaim(id)
	}
	for _, id := range w.kin {
		p.open = true
		s.kin(p, id)
	}
	for _, id := range w.also {
		if len(p.also) < session.MaxKin && !slices.Contains(p.also, id) {
			p.also = append(p.also, id)
		}
	}
	s.put(w.rows)
	if s.turn.Size() > turnBytes || len(w.identities) > 0 {
		if s.commit(); s.purges[r.customer] != p {
			return // the journal has refused it
		}
	}
	if len(w.identities) > 0 {
		s.unread = s.last // who asks for one of them waits until its row is not there any more
	}
	if !w.last {
		s.readAfter(job{kind: jobPurge, customer: r.customer, erase: eraseJob{p: p, mark: p.Mark, from: w.at, seq: w.seq, stage: w.stage}})
		return
	}
	delete(s.purges, r.customer)
	if p.open {
		return
	}
	slots := make([]byte, wire.Slots/8)
	for i, mine := range s.mine {
		if mine {
			slots[i/8] |= 1 << (i % 8)
		}
	}
	s.post1(s.x.CustomerSlot(p.Tenant, p.Customer), &wire.Purged{Tenant: p.Tenant, Customer: p.Customer, Mark: p.Mark, Shard: p.Shard, Slots: slots, Kin: p.also})
}

// unclaim makes an external id nobody's in memory, whose row goes with this turn.
func (s *Shard) unclaim(id identityID) {
	switch i := s.identities[id]; {
	case i == nil, i.dirty: // it was claimed since the row was read
	case i.state == nil:
		i.gone = true
	default:
		delete(s.identities, id)
	}
}

// kin erases who became the customer: he is the same person. One that is not in memory is read first, and erased when the owner asks again.
func (s *Shard) kin(p *purging, id string) {
	cu := s.customer(p.Tenant, id)
	if cu.state == nil {
		s.await(cu, &wire.Scrub{Tenant: p.Tenant, Customer: id})
		return
	}
	if cu.state.Becomes(p.Customer) && cu.state.Doom(p.Mark, p.At) {
		s.doomed(cu)
	}
}

// readHis looks for sessions of a customer, at some rows of his slot.
func (s *Shard) readHis(j job) result {
	r := result{job: j}
	w := &r.wiped
	prefix := slotPrefix(rowState, s.x.CustomerSlot(j.customer.tenant, j.customer.id))
	from := prefix
	if j.erase.from != nil {
		from = append(bytes.Clone(j.erase.from), 0)
	}
	looked := 0
	var bad error
	w.last = true
	err := s.g.Scan(from, after(prefix), false, func(k, v []byte) bool {
		if looked++; looked > eraseLook || len(w.ids) == eraseFound {
			w.last = false
			return false
		}
		w.at = append(w.at[:0], k...)
		st := &session.State{}
		if bad = session.ParseState(v, st); bad != nil {
			return false
		}
		if his(st, j.customer, j.erase.mark) {
			w.ids = append(w.ids, wire.SessionID(k[1:]))
		}
		return true
	})
	r.err = errors.Join(err, bad)
	return r
}

// his tells whether st is of a customer who is being erased under mark, or was already, and may have old rows.
func his(st *session.State, k customerID, mark string) bool {
	return st.Tenant == k.tenant && (st.ErasedAt == 0 && st.Customer.ID == k.id || st.ErasedAt != 0 && st.Customer.ID == mark)
}

// readWords rewrites some entries of a session.
func (s *Shard) readWords(j job) result {
	r := result{job: j}
	r.err = s.words(&r.wiped, j.id, j.erase.seq)
	return r
}

// words rewrites entries of a session behind seq, as many as one turn takes. last says that there are no more.
func (s *Shard) words(w *wipeRead, id wire.SessionID, seq uint64) error {
	prefix := sessionKey(nil, rowEntry, id)
	looked, size := 0, 0
	var bad error
	w.last, w.seq = true, seq
	err := s.g.Scan(numberedKey(nil, rowEntry, id, seq+1), after(prefix), false, func(k, v []byte) bool {
		if looked++; looked > eraseLook || size > eraseBytes {
			w.last = false
			return false
		}
		w.seq = lastNumber(k)
		var row []byte
		if row, bad = session.BlankRow(nil, id, v); bad != nil {
			return false
		}
		if !bytes.Equal(row, v) {
			w.rows = append(w.rows, rewritten{key: bytes.Clone(k), val: row})
			size += len(k) + len(row)
		}
		return true
	})
	return errors.Join(err, bad)
}

// The stages of a look through a shard's rows.
const (
	purgeIdentities = iota // external ids of the customer
	purgeKin               // who became him
	purgeGone              // sessions of his that have left with their slot
	purgeWords             // entries of the one at hand
)

// readPurge looks at some rows.
func (s *Shard) readPurge(j job) result {
	r := result{job: j}
	w := &r.wiped
	w.stage, w.at, w.seq = j.erase.stage, j.erase.from, j.erase.seq
	_, away, err := readStanding(s.g)
	if err != nil {
		r.err = err
		return r
	}
	switch w.stage {
	case purgeIdentities, purgeKin:
		r.err = s.purgePeople(w, j, away)
	case purgeGone:
		r.err = s.purgeLeft(w, j, away)
	default:
		id := wire.SessionID(w.at[1:])
		if r.err = s.words(w, id, w.seq); w.last {
			w.stage = purgeGone
		}
		w.last = false
	}
	return r
}

// purgePeople looks at external ids, or at customers, of the tenant.
func (s *Shard) purgePeople(w *wipeRead, j job, away map[int]whither) error {
	k := j.customer
	kind := byte(rowIdentity)
	if w.stage == purgeKin {
		kind = rowCustomer
	}
	prefix := append(append([]byte{kind}, k.tenant...), 0)
	from := prefix
	if w.at != nil {
		from = append(bytes.Clone(w.at), 0)
	}
	looked, more := 0, false
	var bad error
	err := s.g.Scan(from, after(prefix), false, func(key, v []byte) bool {
		if looked++; looked > eraseLook || len(w.kin)+len(w.rows) >= eraseFound {
			more = true
			return false
		}
		w.at = append(w.at[:0:0], key...)
		n := numberOf(key)
		_, left := away[n]
		if n < 0 || !left && !s.mine[n] {
			return true // it is on its way here: whoever gives it asks again
		}
		if kind == rowIdentity {
			i := &session.Identity{}
			if bad = session.ParseIdentity(v, i); bad == nil && i.Customer == k.id {
				w.rows = append(w.rows, rewritten{key: bytes.Clone(key)})
				w.identities = append(w.identities, identityID{i.Tenant, i.Channel, i.External})
			}
			return bad == nil
		}
		cu := &session.Customer{}
		switch bad = session.ParseCustomer(v, cu); {
		case bad != nil:
		case left && cu.ID == k.id:
			w.rows = append(w.rows, rewritten{key: bytes.Clone(key)}, rewritten{key: owesKey(nil, k.tenant, k.id)})
		case !left && cu.ID != k.id && cu.Becomes(k.id):
			w.kin = append(w.kin, cu.ID)
		case !left && cu.ID != k.id && cu.Erasure.Mark == j.erase.mark: // with those who were erased with him
			w.also = append(append(w.also, cu.ID), cu.Erasure.Kin...)
		}
		return bad == nil
	})
	if !more {
		w.stage, w.at = w.stage+1, nil
	}
	return errors.Join(err, bad)
}

// purgeLeft looks for the next session of the customer that has left with its slot: nobody serves it here, but its words are here.
func (s *Shard) purgeLeft(w *wipeRead, j job, away map[int]whither) error {
	slot := s.x.CustomerSlot(j.customer.tenant, j.customer.id)
	if !(gone{away}).slot(exchange.CustomerSlot(j.customer.tenant, j.customer.id)) {
		w.last = true
		return nil
	}
	prefix := slotPrefix(rowState, slot)
	from := prefix
	if w.at != nil {
		from = append(bytes.Clone(w.at), 0)
	}
	looked := 0
	var bad error
	w.last = true
	err := s.g.Scan(from, after(prefix), false, func(k, v []byte) bool {
		if looked++; looked > eraseLook {
			w.last = false
			return false
		}
		w.at = append(w.at[:0:0], k...)
		st := &session.State{}
		if bad = session.ParseState(v, st); bad != nil || !his(st, j.customer, j.erase.mark) {
			return bad == nil
		}
		w.last, w.stage, w.seq = false, purgeWords, 0
		id := wire.SessionID(k[1:])
		var row []byte
		if row, bad = session.BlankState(nil, v, j.erase.p.At, j.erase.mark); bad == nil {
			w.rows = append(keylessRows(nil, id), rewritten{key: bytes.Clone(k), val: row}, rewritten{key: sessionKey(nil, rowLive, id)})
		}
		return false
	})
	return errors.Join(err, bad)
}

// keylessRows takes out what an erased session has no more besides: its keys, what its service levels had open, why it went to whom it did,
// and what hooks were to be told of it.
func keylessRows(rows []rewritten, id wire.SessionID) []rewritten {
	for _, kind := range []byte{rowKey, rowKeyList, rowWhy, rowHook} {
		prefix := sessionKey(nil, kind, id)
		rows = append(rows, rewritten{key: prefix, to: after(prefix)})
	}
	return append(rows, rewritten{key: sessionKey(nil, rowLevel, id)})
}

// shownFeed blanks what a feed has read, or has kept, since before its session was erased.
func (s *Shard) shownFeed(page []fed) []fed {
	for i := range page {
		if h := s.sessions[page[i].e.Session]; h != nil && h.state != nil && h.state.ErasedAt != 0 {
			page[i].e = session.Blank(page[i].e)
		}
	}
	return page
}

// blankFeeds blanks what waits, of a session that is erased now, until feeds have caught up with it: that is for as long as their clients please.
func (s *Shard) blankFeeds(id wire.SessionID) {
	for _, f := range s.feeds {
		for i := range f.pending {
			if e := f.pending[i].e; e.Session == id {
				f.pending[i].e = session.Blank(e)
			}
		}
	}
}

// ErasedSpans are where, in whatever shard, rows of a customer were before he was erased: the sessions of his slot, his own row, and the external ids of his
// tenant.
func ErasedSpans(x *exchange.Exchange, tenant, customer string) []journal.Span {
	var list []journal.Span
	slot := x.CustomerSlot(tenant, customer)
	for _, kind := range sessionRows {
		from := slotPrefix(kind, slot)
		list = append(list, journal.Span{From: from, To: after(from)})
	}
	for _, key := range [][]byte{customerKey(nil, tenant, customer), owesKey(nil, tenant, customer)} {
		list = append(list, journal.Span{From: key, To: append(bytes.Clone(key), 0)})
	}
	ids := append(append([]byte{rowIdentity}, tenant...), 0)
	return append(list, journal.Span{From: ids, To: after(ids)})
}
