package client_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"switchboard/client"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// model is a small server that keeps what the protocol promises, and whose network does not: it loses connections at
// any frame, and its pushes may come twice or not at all. It serves one customer session, s_1, and one worker.
type model struct {
	*fake

	mu      sync.Mutex
	rnd     *rand.Rand
	cut     float64 // the probability that a frame, in or out, is the last of its connection
	faulty  float64 // the probability that a push is left out, or comes twice
	staff   float64 // the probability that a staff entry follows an entry
	denied  float64 // the probability that a nack or a page of the history is refused
	limits  *wirepb.Limits
	log     []*wirepb.Entry
	keys    map[string]*wirepb.ServerFrame
	follows map[*modelPeer]uint64 // the last entry it was shown
	owner   *modelPeer
	ae      uint64
	cursor  uint64 // acknowledged
	shown   uint64 // delivered
	window  int
	cuts    int // faults that fired
	skips   int
	doubles int
	denials int
	certain bool // the next push arrives
}

type modelPeer struct {
	*peer
	sub   string
	dead  bool
	wrote uint64 // the last entry of which it is certain that it was sent
}

func newModel(seed uint64) *model {
	m := &model{
		rnd: rand.New(rand.NewPCG(seed, 1)), keys: map[string]*wirepb.ServerFrame{}, follows: map[*modelPeer]uint64{}, window: 4,
		limits: &wirepb.Limits{Frame: 65536, Body: 32768, Batch: 64, Sessions: 8, Inflight: 4},
	}
	return m
}

// start listens in memory, and listen on the loopback.
func (m *model) start() *model { m.fake = newFake(m.play); return m }

func (m *model) listen() error {
	var err error
	m.fake, err = newLoopback(m.play)
	return err
}

// configOf returns the configuration of a client whose token names it.
func (m *model) configOf(sub string) client.Config {
	cfg := m.config()
	cfg.Token = client.StaticToken(sub)
	return cfg
}

// play serves one connection.
func (m *model) play(p *peer) {
	q := &modelPeer{peer: p}
	// A connection that says nothing would be given up, and what stands still would be healed by the next one.
	beat := time.NewTicker(20 * time.Second)
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		for {
			select {
			case <-beat.C:
				p.ping()
			case <-p.end:
				return
			}
		}
	}()
	defer func() { beat.Stop(); <-pinged }()
	for f := range p.in {
		m.mu.Lock()
		if m.chance(m.cut) { // before it had an effect
			m.kill(q)
		}
		if !q.dead {
			m.take(q, f)
		}
		m.mu.Unlock()
	}
	m.mu.Lock()
	m.kill(q)
	m.mu.Unlock()
}

func (m *model) chance(p float64) bool { return p > 0 && m.rnd.Float64() < p }

func (m *model) kill(q *modelPeer) {
	if !q.dead {
		m.cuts++
	}
	q.dead = true
	delete(m.follows, q)
	if m.owner == q {
		m.owner = nil
	}
	q.cut()
}

// tell sends f, or loses it with its connection.
func (m *model) tell(q *modelPeer, f *wirepb.ServerFrame) {
	switch {
	case q.dead:
	case m.chance(m.cut):
		m.kill(q)
	default:
		q.say(f)
	}
}

// push sends something that need not arrive, though it does on a real server.
func (m *model) push(q *modelPeer, f *wirepb.ServerFrame) (sent bool) {
	certain := m.certain
	m.certain = false
	switch {
	case !certain && m.chance(m.faulty):
		m.skips++
		return false
	case m.chance(m.faulty):
		m.doubles++
		m.tell(q, f)
		m.tell(q, f)
	default:
		m.tell(q, f)
	}
	return true
}

func (m *model) take(q *modelPeer, f *wirepb.ClientFrame) {
	switch v := f.Verb.(type) {
	case *wirepb.ClientFrame_Hello:
		m.hello(q, f.Id, v.Hello)
	case *wirepb.ClientFrame_Open:
		m.open(q, f.Id, v.Open)
	case *wirepb.ClientFrame_Leave:
		delete(m.follows, q)
		if f.Id != 0 {
			m.tell(q, &wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Leave{Leave: &wirepb.Done{}}})
		}
	case *wirepb.ClientFrame_Send:
		m.send(q, f.Id, v.Send)
	case *wirepb.ClientFrame_History:
		if m.deny(q, f.Id) {
			return
		}
		m.history(q, f.Id, v.History)
	case *wirepb.ClientFrame_Subscribe:
		m.subscribe(q, f.Id, v.Subscribe)
	case *wirepb.ClientFrame_Reply:
		m.reply(q, f.Id, v.Reply)
	case *wirepb.ClientFrame_Nack:
		if m.deny(q, f.Id) {
			return
		}
		m.nack(q, f.Id, v.Nack)
	case *wirepb.ClientFrame_Ack:
		if m.owner == q && v.Ack.Ae == m.ae && v.Ack.Seq <= m.shown {
			if f.Id == 0 && m.chance(m.denied) {
				return // [SW-5.6] nobody waits for an answer
			}
			m.cursor = max(m.cursor, v.Ack.Seq)
			if f.Id != 0 {
				m.tell(q, &wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Ack{Ack: &wirepb.Done{Seq: v.Ack.Seq}}})
			}
			m.pump()
			return
		}
		if f.Id != 0 {
			m.tell(q, refusal(f.Id, wire.Refuse(wire.NotDelivered)))
		}
	}
}

// deny refuses a request, perhaps: for now, or for good.
func (m *model) deny(q *modelPeer, id uint64) bool {
	if !m.chance(m.denied) {
		return false
	}
	m.denials++
	slug := wire.Unavailable
	if m.chance(0.5) {
		slug = wire.Forbidden
	}
	m.tell(q, refusal(id, wire.Refuse(slug)))
	return true
}

func (m *model) hello(q *modelPeer, id uint64, h *wirepb.Hello) {
	q.sub = h.Token
	r := helloReply(q.sub, "customer")
	r.Limits = m.limits
	for _, at := range h.Resume {
		r.Resumed = append(r.Resumed, &wirepb.Resumed{Session: at.Session, How: "exact", Epoch: 1, Head: m.head()})
	}
	m.tell(q, &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_Hello{Hello: r}})
	for _, at := range h.Resume {
		m.attach(q, at.Seq)
	}
}

// head is the last entry that a customer may see.
func (m *model) head() uint64 { return m.visibleUpTo(uint64(len(m.log))) }

func (m *model) visibleUpTo(seq uint64) uint64 {
	for ; seq > 0 && m.log[seq-1].Visibility == "staff"; seq-- {
	}
	return seq
}

func (m *model) open(q *modelPeer, id uint64, o *wirepb.Open) {
	from := m.head()
	switch {
	case o.From != nil:
		from = o.From.Seq
	case o.Tail != nil:
		from -= min(from, uint64(*o.Tail))
	}
	m.tell(q, &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_Open{Open: &wirepb.OpenReply{Session: "s_1", Epoch: 1, Head: m.head(), State: "queued", How: "exact"}}})
	m.attach(q, from)
}

// attach shows q everything after seq, and from then on everything new.
func (m *model) attach(q *modelPeer, seq uint64) {
	if q.dead {
		return
	}
	m.follows[q], q.wrote = seq, seq
	for _, e := range m.log[min(seq, uint64(len(m.log))):] {
		m.show(q, e)
	}
}

func (m *model) show(q *modelPeer, e *wirepb.Entry) {
	last, follows := m.follows[q]
	if !follows || e.Visibility == "staff" || e.Seq <= last {
		return
	}
	m.follows[q] = e.Seq
	pushed := &wirepb.Entry{
		Session: e.Session, Seq: e.Seq, Epoch: e.Epoch, Ts: e.Ts, From: e.From, Origin: e.Origin, Kind: e.Kind, Type: e.Type, Body: e.Body,
		Visibility: e.Visibility, Prev: m.visibleUpTo(e.Seq - 1), ReplyTo: e.ReplyTo,
	}
	if m.push(q, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Message{Message: pushed}}) && q.wrote >= pushed.Prev {
		q.wrote = e.Seq
	}
}

// write appends e, which q wrote, and answers it; everybody else is shown it.
func (m *model) write(q *modelPeer, e *wirepb.Entry, answer func() *wirepb.ServerFrame) {
	e.Session, e.Seq, e.Epoch, e.Ts = "s_1", uint64(len(m.log))+1, 1, int64(len(m.log))
	e.Kind = or(e.Kind, "message")
	e.Visibility = or(e.Visibility, "public")
	if answer != nil {
		if _, ok := m.follows[q]; ok {
			// The reply stands in its place in the order: what comes before it comes before it.
			for q.wrote < m.visibleUpTo(e.Seq-1) && !q.dead {
				m.attach(q, q.wrote)
			}
		}
	}
	m.log = append(m.log, e)
	if answer != nil {
		if _, ok := m.follows[q]; ok {
			m.follows[q], q.wrote = e.Seq, e.Seq
		}
		m.tell(q, answer())
	}
	for other := range m.follows {
		m.show(other, e)
	}
	if m.chance(m.staff) {
		m.write(nil, &wirepb.Entry{Type: "note", Visibility: "staff", Origin: "human", From: &wirepb.Author{Role: "worker", Id: "bob"}}, nil)
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// once answers a key that was used before with its first result, or notes r under it [SW-4.3].
func (m *model) once(q *modelPeer, id uint64, key string) (done bool) {
	first := m.keys[q.sub+"/"+key]
	if first == nil {
		return false
	}
	switch v := first.Verb.(type) {
	case *wirepb.ServerFrame_Send:
		m.tell(q, sendReply(id, v.Send.Seq, true))
	case *wirepb.ServerFrame_Reply:
		m.tell(q, &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_Reply{Reply: &wirepb.SendReply{Seq: v.Reply.Seq, Epoch: 1, Duplicate: true}}})
	default:
		m.tell(q, &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_Nack{Nack: &wirepb.Done{Duplicate: true}}})
	}
	return true
}

func (m *model) send(q *modelPeer, id uint64, s *wirepb.Send) {
	if m.once(q, id, s.Key) {
		return
	}
	e := &wirepb.Entry{Type: s.Type, Body: s.Body, Origin: "customer", From: &wirepb.Author{Role: "customer", Id: q.sub}, ReplyTo: s.ReplyTo}
	m.write(q, e, func() *wirepb.ServerFrame {
		r := sendReply(id, e.Seq, false)
		m.keys[q.sub+"/"+s.Key] = r
		return r
	})
	m.pump()
}

func (m *model) history(q *modelPeer, id uint64, h *wirepb.History) {
	r := &wirepb.HistoryReply{}
	if h.After != nil {
		from := min(*h.After, uint64(len(m.log)))
		to := min(from+uint64(h.Limit), uint64(len(m.log)))
		r.Entries, r.More = m.log[from:to], to < uint64(len(m.log))
	}
	m.tell(q, &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_History{History: r}})
}

// subscribe makes q the owner of the session; with the lease, the owner it was [SW-5.7].
func (m *model) subscribe(q *modelPeer, id uint64, s *wirepb.Subscribe) {
	r := &wirepb.SubscribeReply{Lease: "l_1", LeaseMs: 15000}
	kept := s.Lease == "l_1" && m.ae > 0 && !m.chance(0.3)
	if kept {
		r.Kept = []*wirepb.Kept{{Session: "s_1", Ae: m.ae}}
	} else {
		m.ae++
	}
	m.tell(q, &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_Subscribe{Subscribe: r}})
	if q.dead {
		return
	}
	m.owner, m.shown = q, m.cursor
	// A worker that is told of an assignment by kept alone does not know where it begins; a loss there cannot be seen.
	m.certain = kept
	if !kept {
		m.tell(q, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Assigned{Assigned: &wirepb.Assigned{
			Session: "s_1", Ae: m.ae, Epoch: 1, Queue: "default", Cursor: m.cursor, Head: m.cursor, Reason: "route",
		}}})
	}
	m.pump()
}

// pump delivers what the owner has not been sent, while its window is open [SW-5.4].
func (m *model) pump() {
	for m.owner != nil && m.shown < uint64(len(m.log)) {
		open := 0
		for _, e := range m.log[m.cursor:max(m.shown, m.cursor)] {
			if e.Origin == "customer" {
				open++
			}
		}
		e := m.log[m.shown]
		if e.Origin == "customer" && open >= m.window {
			return
		}
		m.shown++
		if e.From.GetId() == m.owner.sub {
			continue
		}
		d := &wirepb.Delivery{
			Session: "s_1", Seq: e.Seq, Epoch: 1, From: e.From, Origin: e.Origin, Kind: e.Kind, Type: e.Type, Body: e.Body, Visibility: e.Visibility,
			Prev: e.Seq - 1, Ae: m.ae,
		}
		if e.Origin == "customer" {
			d.Attempt = 1
			// Behind what fills the window nothing follows that would show that it is missing.
			m.certain = m.certain || open+1 >= m.window
		}
		m.push(m.owner, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Delivery{Delivery: d}})
	}
}

func (m *model) reply(q *modelPeer, id uint64, r *wirepb.Reply) {
	key := or(r.Key, fmt.Sprint("ack ", r.GetAck()))
	switch {
	case m.once(q, id, key):
		return
	case r.Ae != m.ae:
		m.tell(q, refusal(id, wire.Refuse(wire.StaleAssignment)))
		return
	case r.GetAck() > m.shown:
		m.tell(q, refusal(id, wire.Refuse(wire.NotDelivered)))
		return
	}
	e := &wirepb.Entry{Type: r.Type, Body: r.Body, Origin: "bot", From: &wirepb.Author{Role: "worker", Id: q.sub}, ReplyTo: r.ReplyTo}
	m.cursor = max(m.cursor, r.GetAck())
	m.write(q, e, func() *wirepb.ServerFrame {
		f := replied(id, e.Seq)
		m.keys[q.sub+"/"+key] = f
		return f
	})
	m.pump()
}

func (m *model) nack(q *modelPeer, id uint64, n *wirepb.Nack) {
	switch {
	case m.once(q, id, n.Key):
		return
	case n.Ae != m.ae:
		m.tell(q, refusal(id, wire.Refuse(wire.StaleAssignment)))
		return
	case n.Seq <= m.cursor || n.Seq > m.shown:
		m.tell(q, refusal(id, wire.Refuse(wire.NotDelivered)))
		return
	}
	m.shown = n.Seq - 1
	f := &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_Nack{Nack: &wirepb.Done{Seq: n.Seq}}}
	m.keys[q.sub+"/"+n.Key] = f
	m.tell(q, f)
	m.pump()
}

// calm ends the faults, so that everything must converge.
func (m *model) calm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut, m.faulty, m.denied = 0, 0, 0
}

// entries returns the log: all of it, or what customers see.
func (m *model) entries(all bool) []*wirepb.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.log)
	if !all {
		out = slices.DeleteFunc(out, func(e *wirepb.Entry) bool { return e.Visibility == "staff" })
	}
	return out
}
