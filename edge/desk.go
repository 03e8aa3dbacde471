package edge

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// The bounds of workers without sockets [SW-7].
const (
	maxDesks    = 1024    // of one edge
	desksEach   = 64      // of one sub: instances of a worker
	deskSlots   = 64      // sessions of one
	deskBytes   = 4 << 20 // that wait at one, about; beyond it the desk is closed like a slow socket [SW-4.7]
	deskTaken   = 4096    // that were taken over and are remembered; beyond it any is forgotten
	deskRevoked = 256     // ends of assignments that the next claim is told
	// deskLease is how long a desk stays without a request of its worker: lease_ms of [SW-5.7].
	deskLease = 15 * time.Second
)

// desks are the workers who come without a socket.
type desks struct {
	mu sync.Mutex
	// Guarded by mu.
	of   map[deskKey]*desk
	each map[deskKey]int // desks of a sub, whatever their instance
	// Workers whose desk another connection took over, until a claim takes it back: what they say meanwhile is stale [SW-5.7].
	taken  map[deskKey]overtaking
	closed bool
}

// overtaking is what is remembered of a desk that another connection has taken over.
type overtaking struct {
	told    bool  // a claim was answered so
	heardAt int64 // when its worker was last heard of, Unix ms
}

type deskKey struct{ tenant, worker string }

// sub returns what the desks of all instances of a worker have in common.
func (k deskKey) sub() deskKey {
	k.worker, _, _ = strings.Cut(k.worker, "/")
	return k
}

// desk is the connection of a worker without one: an inlet that is subscribed, and keeps what comes until a claim fetches it.
// It lives as long as its lease. Everything that comes has a number of the desk's own; a claim says up to which it knows.
type desk struct {
	// Fixed.
	e    *Edge
	key  deskKey
	id   wire.Conn
	gate chan struct{} // whoever holds it may subscribe

	mu sync.Mutex
	// Guarded by mu.
	who     *wire.Principal
	changed chan struct{} // closed at the next change
	queues  []string      // subscribed
	slots   uint32
	lease   string
	order   uint64 // by which a pool knows whether another connection has subscribed as the worker since
	leaseMS int64
	away    bool // a missed offer made its worker so
	asked   uint64
	answer  *wire.Frame // to the question asked
	// Of the pool that knows the desk, and of the question by which another is told: docs/adr/0019.
	generation uint64
	losses     uint64 // of the exchange when the pool was asked that has answered: mail that was lost later may have been an assignment
	sought     uint64 // losses when it was asked last
	sparing    sparing
	renewing   asking
	before     uint64 // n when it was asked: what came later an answer may be older than
	heardAt    int64  // when its worker was last heard of, Unix ms
	claims     int    // that wait
	turn       uint64 // of the latest claim: it takes the place of the one before
	n          uint64 // what has come
	held       map[wire.SessionID]*holding
	revoked    []ending
	ended      ended
	unheard    unheard
	size       int
	over       *wire.Error // why it has ended
	taken      bool        // that is, by another connection of its worker
	closed     bool        // its pool is told
}

// holding is one assignment of a desk.
type holding struct {
	pb      *wirepb.Assigned
	term    uint64 // of the owner that has told it last
	at      uint64
	again   uint64 // when a later owner told it as well
	size    int
	expects bool // a delivery follows the assignment: it is no news without
	shown   []shown
}

// shown is a delivery that is not acknowledged, or that no claim has fetched.
type shown struct {
	pb       *wirepb.Delivery
	at       uint64
	customer bool
	size     int
}

// ending is an assignment that was taken away.
type ending struct {
	pb *wirepb.Revoked
	at uint64
}

// deskOf returns the worker's desk, made when there is none and make says so.
func (e *Edge) deskOf(who *wire.Principal, make bool) (*desk, *wire.Error) {
	k := deskKey{who.Tenant, who.Worker}
	e.desks.mu.Lock()
	defer e.desks.mu.Unlock()
	d := e.desks.of[k]
	if make {
		delete(e.desks.taken, k)
	}
	switch {
	case d != nil || !make:
		return d, nil
	case e.desks.closed:
		return nil, wire.Refuse(wire.Draining)
	case len(e.desks.of) >= maxDesks:
		return nil, &wire.Error{Slug: wire.Overloaded, Message: "too many workers without sockets", RetryAfter: 5 * time.Second}
	case e.desks.each[k.sub()] >= desksEach:
		return nil, &wire.Error{Slug: wire.QuotaExceeded, Message: "too many instances of this worker without sockets", RetryAfter: 5 * time.Second}
	}
	d = newDesk(e, k, who)
	if e.desks.of == nil {
		e.desks.of, e.desks.each = map[deskKey]*desk{}, map[deskKey]int{}
	}
	e.desks.of[k] = d
	e.desks.each[k.sub()]++
	e.x.PlugConn(d.id.ID, d)
	return d, nil
}

func newDesk(e *Edge, k deskKey, who *wire.Principal) *desk {
	return &desk{
		e: e, key: k, id: wire.Conn{Node: e.x.Node(), ID: e.lastConn.Add(1)}, gate: make(chan struct{}, 1),
		who: who, changed: make(chan struct{}), heardAt: e.now(), held: map[wire.SessionID]*holding{},
	}
}

// overtaken tells whether another connection has subscribed as the worker since he claimed last, here.
func (e *Edge) overtaken(who *wire.Principal) bool {
	k := deskKey{who.Tenant, who.Worker}
	e.desks.mu.Lock()
	d := e.desks.of[k]
	_, taken := e.desks.taken[k]
	e.desks.mu.Unlock()
	if d != nil {
		d.mu.Lock()
		taken = taken || d.taken
		d.mu.Unlock()
	}
	return taken
}

// heard keeps the worker's lease alive: any request of his does [SW-7].
func (e *Edge) heard(who *wire.Principal) {
	if d, _ := e.deskOf(who, false); d != nil {
		d.mu.Lock()
		d.heardAt, d.who = e.now(), who
		d.mu.Unlock()
	}
}

// closeDesk ends d: its worker's grace begins [SW-5.7].
func (e *Edge) closeDesk(d *desk, why *wire.Error) {
	e.desks.mu.Lock()
	if e.desks.of[d.key] == d {
		delete(e.desks.of, d.key)
		if sub := d.key.sub(); e.desks.each[sub] > 1 {
			e.desks.each[sub]--
		} else {
			delete(e.desks.each, sub)
		}
		d.mu.Lock()
		if d.taken {
			e.desks.take(d.key, overtaking{d.claims > 0, d.heardAt}) // a claim that waits is answered with over
		}
		d.mu.Unlock()
	}
	e.desks.mu.Unlock()
	e.x.UnplugConn(d.id.ID)
	d.mu.Lock()
	first := !d.closed
	d.closed = true
	if d.over == nil {
		d.over = why
	}
	d.tellLocked()
	who := d.who
	d.mu.Unlock()
	if first {
		e.postGone(wire.Envelope{
			To:   wire.ToSlot(e.x.PoolSlot(who.Tenant)),
			Mail: &wire.Command{Verb: wire.VerbGone, Conn: d.id, Who: who},
		})
	}
}

// tells tells whether m is the claim of a worker who has to hear that another connection has taken over: one that goes on with what the desk has said, or
// comes from whom its lease was alive. Who begins anew takes over himself, and so does who has heard it [SW-5.7].
func (e *Edge) tells(who *wire.Principal, m *claim) bool {
	e.desks.mu.Lock()
	defer e.desks.mu.Unlock()
	k := deskKey{who.Tenant, who.Worker}
	x, taken := e.desks.taken[k]
	if !taken || x.told || m.lease == "" && m.after == "" && e.now()-x.heardAt > deskLease.Milliseconds() {
		return false
	}
	x.told = true
	e.desks.taken[k] = x
	return true
}

// errOvertaken answers whose desk another connection has taken over. Nobody changes it.
var errOvertaken = &wire.Error{Slug: wire.StaleAssignment, Message: "another connection has subscribed as this worker; to claim again takes it back"}

// take remembers that a worker's desk was taken over. It needs mu.
func (s *desks) take(k deskKey, x overtaking) {
	if s.taken == nil {
		s.taken = map[deskKey]overtaking{}
	}
	for other := range s.taken {
		if len(s.taken) < deskTaken {
			break
		}
		delete(s.taken, other)
	}
	s.taken[k] = x
}

// closeDesks ends all desks, for good.
func (e *Edge) closeDesks() {
	e.desks.mu.Lock()
	e.desks.closed = true
	list := slices.Collect(maps.Values(e.desks.of))
	e.desks.mu.Unlock()
	for _, d := range list {
		e.closeDesk(d, wire.Refuse(wire.Draining))
	}
}

// watchDesks ends the desks whose workers are silent.
func (e *Edge) watchDesks(now int64) {
	e.desks.mu.Lock()
	var list []*desk
	for _, d := range e.desks.of {
		d.mu.Lock()
		if d.over != nil || d.claims == 0 && now-d.heardAt > deskLease.Milliseconds() {
			list = append(list, d)
		} else if d.lease != "" && (d.generation != e.x.Generation(e.x.PoolSlot(d.key.tenant)) || d.losses != e.x.Losses() && (d.renewing.n != 0 || d.sparing.over(now))) {
			d.renew(now)
		}
		d.mu.Unlock()
	}
	e.desks.mu.Unlock()
	for _, d := range list {
		e.closeDesk(d, wire.Refuse(wire.StaleAssignment))
	}
}

// tellLocked wakes who waits at d. It needs mu.
func (d *desk) tellLocked() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// Put takes mail for the worker. It never blocks.
func (d *desk) Put(env wire.Envelope) bool {
	f, ok := env.Mail.(*wire.Frame)
	if !ok {
		return true
	}
	d.mu.Lock()
	accept := d.take(f, env.Term)
	full := d.size > deskBytes && d.over == nil
	if full {
		d.over = &wire.Error{Slug: wire.Overloaded, Message: "more waits for this worker than it fetches"}
	}
	d.tellLocked()
	who := d.who
	d.mu.Unlock()
	switch {
	case full: // watchDesks closes it: here its shard waits
	case accept != "":
		// Whoever claims has accepted [SW-7]. Should the inbox be full the offer expires, and the next claim says ready again.
		pb := &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Accept{Accept: &wirepb.Accept{Offer: accept}}}
		_ = d.e.post(wire.ToSlot(d.e.x.PoolSlot(who.Tenant)), &wire.Command{Verb: wire.VerbAccept, Conn: d.id, Who: who, PB: pb})
	}
	return true
}

// take puts one frame in its place; accept is an offer to be accepted. term is that of who says it: of a session's owners the word of one that has ended may
// come behind that of the next [SW-5.3]. It needs mu.
func (d *desk) take(f *wire.Frame, term uint64) (accept string) {
	switch f.Kind {
	case wire.FrameAnswer, wire.FrameError, wire.FrameMoved:
		switch {
		case f.ID == 0 || f.ID != d.asked:
		case f.ID == d.renewing.n:
			d.renewed(f)
		default:
			d.answer = f
		}
	case wire.FrameAssigned:
		if !d.late(f, term) {
			d.assigned(f, term)
		}
	case wire.FrameDelivery:
		if !d.late(f, term) {
			d.delivery(f)
		}
	case wire.FrameRevoked:
		if !d.late(f, term) {
			d.end(f, term)
		}
	case wire.FrameKeep:
		switch v := f.PB.GetVerb().(type) {
		case *wirepb.ServerFrame_Offer:
			return v.Offer.Offer
		case *wirepb.ServerFrame_Presence:
			d.away = v.Presence.State != "ready"
		case *wirepb.ServerFrame_Revoked: // another connection of this worker has taken over [SW-5.7]
			d.over, d.taken = errOvertaken, true
		}
	case wire.FrameBye:
		d.over = wire.Refuse(wire.Unavailable)
	default: // what is ephemeral does not wait for a claim
	}
	return ""
}

// late tells whether f is the word of an owner that has ended: of an assignment before the one that is held, of one that has ended, or of this very
// one, by an owner before the one that told it last.
func (d *desk) late(f *wire.Frame, term uint64) bool {
	if h := d.held[f.Session]; h != nil && (f.AE < h.pb.Ae || f.AE == h.pb.Ae && term < h.term) {
		return true
	}
	return d.ended.late(f.Session, f.AE, term)
}

// assigned begins an assignment, or hears of it from the next owner.
func (d *desk) assigned(f *wire.Frame, term uint64) {
	if h := d.held[f.Session]; h != nil && h.pb.Ae == f.AE {
		d.n++
		h.term, h.again = term, d.n
		return // it was told, by an owner of the session's shard that has ended; the next cannot know that
	}
	d.drop(f.Session)
	d.n++
	if f.PB == nil { // `kept` has named it
		d.held[f.Session] = &holding{pb: &wirepb.Assigned{Session: string(f.Session), Ae: f.AE, Reason: "kept"}, term: term, at: d.n}
		return
	}
	a := f.PB.GetAssigned()
	h := &holding{pb: a, term: term, at: d.n, size: frameSize(f)}
	for _, e := range a.Tail {
		h.expects = h.expects || e.Origin == string(wire.OriginCustomer) && e.Seq > a.Cursor
	}
	d.size += h.size
	d.held[f.Session] = h
}

// delivery keeps f. What is held already is the same again, unless it failed in between: then what is behind it comes
// again too [SW-5.6].
func (d *desk) delivery(f *wire.Frame) {
	h := d.held[f.Session]
	if h == nil || h.pb.Ae < f.AE {
		if d.lease != "" && d.unheard.due(f.Session, f.AE, d.e.now()) {
			d.e.tellAgain(f.Session, f.AE, d.id, d.who)
		}
		return
	}
	h.expects = false
	i, again := slices.BinarySearchFunc(h.shown, f.Entry.Seq, func(s shown, seq uint64) int { return int(int64(s.pb.Seq - seq)) }) //nolint:gosec // a difference
	if again {
		if h.shown[i].pb.Attempt >= f.Attempt {
			return
		}
		h.shown[i].pb = f.Entry.DeliveryPB(f.Prev, f.AE, f.Attempt)
		for j := i; j < len(h.shown); j++ {
			d.n++
			h.shown[j].at = d.n
		}
		return
	}
	d.n++
	s := shown{pb: f.Entry.DeliveryPB(f.Prev, f.AE, f.Attempt), at: d.n, customer: f.Entry.Origin == wire.OriginCustomer, size: frameSize(f)}
	h.shown = slices.Insert(h.shown, i, s)
	d.size += s.size
}

// end ends an assignment, also one of which nothing was heard yet: what an owner before said of it may still come. One before it has ended as well, as
// at most one is live [SW-5.3].
func (d *desk) end(f *wire.Frame, term uint64) {
	h := d.held[f.Session]
	if h != nil && h.pb.Ae == f.AE {
		term = max(term, h.term)
	}
	d.ended.note(f.Session, fence{ae: f.AE, term: term})
	if h == nil {
		return
	}
	d.drop(f.Session)
	r := f.PB.GetRevoked()
	if r.GetReason() == "" {
		return // the worker's own release
	}
	if h.pb.Ae != f.AE {
		r = &wirepb.Revoked{Session: r.Session, Ae: h.pb.Ae, Reason: r.Reason}
	}
	d.n++
	if len(d.revoked) == deskRevoked {
		d.revoked = slices.Delete(d.revoked, 0, 1)
	}
	d.revoked = append(d.revoked, ending{r, d.n})
}

func (d *desk) drop(id wire.SessionID) {
	h := d.held[id]
	if h == nil {
		return
	}
	d.size -= h.size
	for i := range h.shown {
		d.size -= h.shown[i].size
	}
	delete(d.held, id)
}

// forget drops the deliveries of an assignment that gone names.
func (d *desk) forget(id wire.SessionID, ae uint64, gone func(*shown) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.held[id]; h != nil && h.pb.Ae == ae {
		d.cut(h, gone)
	}
}

func (d *desk) cut(h *holding, gone func(*shown) bool) {
	h.shown = slices.DeleteFunc(h.shown, func(s shown) bool {
		if !gone(&s) {
			return false
		}
		d.size -= s.size
		return true
	})
}

// cursor names what has come so far; one of another desk means nothing here.
func (d *desk) cursor() string {
	return strconv.FormatUint(d.id.ID, 36) + "-" + strconv.FormatUint(d.n, 36)
}

// since reads a cursor.
func (d *desk) since(cursor string) uint64 {
	conn, n, _ := strings.Cut(cursor, "-")
	if conn != strconv.FormatUint(d.id.ID, 36) {
		return 0
	}
	v, err := strconv.ParseUint(n, 36, 64)
	if err != nil {
		return 0
	}
	return min(v, d.n)
}

// news returns what has come behind after, or nil. It needs mu.
func (d *desk) news(after uint64) *wirepb.Claimed {
	a := &wirepb.Claimed{Lease: d.lease, LeaseMs: d.leaseMS, Cursor: d.cursor()}
	var list []*holding
	for _, h := range d.held {
		if !h.expects {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(x, y *holding) int { return int(int64(x.at - y.at)) }) //nolint:gosec // a difference
	for _, h := range list {
		if pb := h.news(after); pb != nil {
			a.Assignments = append(a.Assignments, pb)
		}
	}
	for _, r := range d.revoked {
		if r.at > after {
			a.Revoked = append(a.Revoked, r.pb)
		}
	}
	if len(a.Assignments)+len(a.Revoked) == 0 {
		return nil
	}
	return a
}

// news returns the assignment with what has come behind after, or nil. All of it is told once.
func (h *holding) news(after uint64) *wirepb.Assigned {
	p := h.pb
	out := &wirepb.Assigned{Session: p.Session, Ae: p.Ae, Queue: p.Queue, Reason: p.Reason, Epoch: p.Epoch, Cursor: p.Cursor, Head: p.Head}
	fresh := h.at > after
	if fresh {
		out.Customer, out.Attributes, out.AttributesV, out.Context, out.Tail, out.Shop = p.Customer, p.Attributes, p.AttributesV, p.Context, p.Tail, p.Shop
	}
	for i := range h.shown {
		if s := &h.shown[i]; s.at > after {
			out.Deliveries = append(out.Deliveries, s.pb)
		}
	}
	if !fresh && len(out.Deliveries) == 0 {
		return nil
	}
	return out
}

// arrived forgets what the worker has by his cursor, and needs not be shown again.
func (d *desk) arrived(after uint64) {
	for _, h := range d.held {
		d.cut(h, func(s *shown) bool { return !s.customer && s.at <= after })
	}
	d.revoked = slices.DeleteFunc(d.revoked, func(r ending) bool { return r.at <= after })
}
