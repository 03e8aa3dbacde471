package shard

import (
	"encoding/binary"
	"errors"
	"math"

	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// The bounds of feeds [SW-4.10].
const (
	maxFeeds    = 256 // of one shard
	feedPage    = 64  // entries that one page holds
	feedScan    = 512 // lines that one page looks at
	feedBytes   = 32 << 10
	feedPending = 256 // entries that wait while a feed catches up
)

// feed is a connection that watches: a filter and a number. Behind its position it is fed by pages from the rows, asked for by its
// edge at its own pace; once a page has reached what was written since the feed is here, by the turns themselves.
type feed struct {
	conn  wire.Conn
	who   *wire.Principal
	watch *wirepb.Watch // the same pointer as long as it is the same watch
	slot  uint64
	live  bool
	at    uint64 // the last number that was told, while live
	from  uint64 // pending is whole behind it, while not
	// What came since from.
	pending []fed
}

// fed is an entry and its number in the shard.
type fed struct {
	lsn uint64
	e   *wire.Entry
}

// feedJob asks the loader for a page.
type feedJob struct {
	conn  wire.Conn
	who   *wire.Principal
	watch *wirepb.Watch
	after uint64
}

// watch begins or continues a feed.
func (s *Shard) watch(c *wire.Command) {
	m := c.PB.GetWatch()
	now := s.lsn + s.fed
	f := s.feeds[c.Conn]
	if f == nil && len(s.feeds) >= maxFeeds {
		s.feedFrame(&feed{conn: c.Conn, slot: c.Read}).Err = wire.Refuse(wire.QuotaExceeded)
		return
	}
	if f == nil || f.watch != m {
		f = &feed{conn: c.Conn, watch: m, slot: c.Read, from: now}
		if s.feeds == nil {
			s.feeds = map[wire.Conn]*feed{}
		}
		s.feeds[c.Conn] = f
	}
	f.who = c.Who
	if !c.Ack.Set || c.Ack.Value >= now {
		f.live, f.at, f.pending = true, now, nil
		s.reached(f, now, now)
		return
	}
	if f.live { // something was lost on its way
		f.live, f.from = false, now
	}
	s.wish(job{kind: jobFeed, feed: feedJob{c.Conn, c.Who, m, c.Ack.Value}})
}

func (s *Shard) feedFrame(f *feed) *wire.Frame {
	m := s.d.Frame(f.conn)
	m.Kind, m.Head = wire.FrameFeed, f.slot
	return m
}

// reached says that everything up to lsn has been told.
func (s *Shard) reached(f *feed, lsn, prev uint64) {
	m := s.feedFrame(f)
	m.Seq, m.Prev, m.Live = lsn, prev, f.live
}

func (s *Shard) feedEntry(f *feed, e *wire.Entry, lsn, prev uint64) {
	m := s.feedFrame(f)
	m.Session, m.Entry, m.Seq, m.Prev = e.Session, e, lsn, prev
}

// feedSaid hands an entry that was just decided to those who watch it. Its mail leaves when it is durable, as all does.
func (s *Shard) feedSaid(h *hosted, e *wire.Entry, lsn uint64) {
	for _, f := range s.feeds {
		switch {
		case !h.state.Watched(f.who, f.watch.GetScope(), e):
		case f.live:
			s.feedEntry(f, e, lsn, f.at)
			f.at = lsn
		case len(f.pending) < feedPending:
			f.pending = append(f.pending, fed{lsn, e})
		default: // pages go on from here
			f.from, f.pending = lsn, nil
		}
	}
}

// feedLoaded hands on a page. When it reaches what has come since the feed is here, that follows, and the feed is live.
func (s *Shard) feedLoaded(r *result) {
	f := s.feeds[r.feed.conn]
	if f == nil || f.watch != r.feed.watch || f.live || r.err != nil {
		return // its edge asks again
	}
	prev := r.feed.after
	for _, x := range s.shownFeed(r.page) {
		s.feedEntry(f, x.e, x.lsn, prev)
		prev = x.lsn
	}
	if r.upTo < f.from {
		s.reached(f, r.upTo, prev)
		return
	}
	for _, x := range s.shownFeed(f.pending) {
		if x.lsn > r.upTo {
			s.feedEntry(f, x.e, x.lsn, prev)
			prev = x.lsn
		}
	}
	f.live, f.at, f.pending = true, s.lsn+s.fed, nil
	s.reached(f, f.at, prev)
}

// loseFeeds lets every feed begin again at its position: numbers were given that mean nothing now.
func (s *Shard) loseFeeds() (mail []wire.Envelope) {
	for _, f := range s.feeds {
		f.live, f.from, f.pending = false, s.lsn, nil
		m := &wire.Frame{Kind: wire.FrameFeed, Head: f.slot, Prev: math.MaxUint64}
		mail = append(mail, wire.Envelope{To: f.conn.Address(), Mail: m})
	}
	return mail
}

// readFeed reads a page of a feed: at most feedPage entries that it may see, of at most feedScan lines.
func (s *Shard) readFeed(j job) result {
	r := result{job: j, upTo: j.feed.after}
	first := []byte{rowFeed}
	// The row that holds the next line begins with it, or before it.
	if r.err = s.g.Scan([]byte{rowFeed}, feedKey(nil, j.feed.after+2), true, func(k, _ []byte) bool {
		first = append([]byte(nil), k...)
		return false
	}); r.err != nil {
		return r
	}
	var lines []fed
	if r.err = s.g.Scan(first, []byte{rowFeed + 1}, false, func(k, v []byte) bool {
		lsn := lastNumber(k)
		for ; len(v) >= feedLine && len(lines) < feedScan; v, lsn = v[feedLine:], lsn+1 {
			if lsn > j.feed.after {
				id := wire.SessionID(v[:feedLine-8])
				lines = append(lines, fed{lsn, &wire.Entry{Session: id, Seq: binary.BigEndian.Uint64(v[feedLine-8 : feedLine])}})
			}
		}
		return len(lines) < feedScan
	}); r.err != nil {
		return r
	}
	states := map[wire.SessionID]*session.State{}
	size := 0
	for _, l := range lines {
		if len(r.page) == feedPage || size > feedBytes {
			return r
		}
		e, err := s.feedRow(l.e.Session, l.e.Seq, states, &j.feed)
		if err != nil {
			r.err = err
			return r
		}
		if r.upTo = l.lsn; e != nil {
			r.page = append(r.page, fed{l.lsn, e})
			size += len(e.Body) + 256
		}
	}
	return r
}

// feedRow reads an entry if the feed shows it.
func (s *Shard) feedRow(id wire.SessionID, seq uint64, states map[wire.SessionID]*session.State, j *feedJob) (*wire.Entry, error) {
	st := states[id]
	if st == nil {
		row, err := s.g.Get(sessionKey(nil, rowState, id), nil)
		if err != nil {
			return nil, err // an entry without its session
		}
		st = &session.State{}
		if err := session.ParseState(row, st); err != nil {
			return nil, err
		}
		states[id] = st
	}
	if st.Tenant != j.who.Tenant {
		return nil, nil //nolint:nilnil // nothing to show
	}
	row, err := s.g.Get(numberedKey(nil, rowEntry, id, seq), nil)
	if errors.Is(err, journal.ErrNotFound) {
		return nil, nil //nolint:nilnil // erased
	}
	if err != nil {
		return nil, err
	}
	_, _, raw, err := session.CutMarks(row)
	if err != nil {
		return nil, err
	}
	e := &wire.Entry{Session: id}
	if err := wire.ParseEntry(raw, e); err != nil {
		return nil, err
	}
	if !st.Watched(j.who, j.watch.GetScope(), e) {
		return nil, nil //nolint:nilnil // not his
	}
	return st.Blank(e), nil
}
