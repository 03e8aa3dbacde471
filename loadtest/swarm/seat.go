package swarm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"switchboard/loadtest/ledger"
	"switchboard/loadtest/scenario"
	"switchboard/loadtest/socket"
)

// seat is one worker with its socket: a bot or a human.
type seat struct {
	// Fixed.
	a     *agent
	index int
	human bool

	mu sync.Mutex
	// Guarded by mu.
	s        *socket.Socket
	up       bool
	to       string // where the server has said to come back; once
	lease    string
	nextID   uint64
	held     map[string]*holding
	asked    map[uint64]*answer // replies without their answer
	refusals row
	out      []byte // what is written at the end of a message
	rng      *rand.Rand
	told     uint64 // streams that were begun
}

// holding is a session that the seat has.
type holding struct {
	ledger.Hand
	busy    int64 // when the last answer that was planned is due: answers of one session are in order
	answers int
	moved   bool
	stream  *stream
	telling map[uint64]bool // the seqs to which a stream is the answer that has not ended
}

// answer is what a worker is to say to a message.
type answer struct {
	seat    *seat
	session string
	ae      uint64
	n, of   uint64
	wait    int64 // ns that it takes on purpose
	length  int
	stream  string // what is told token by token before; "" is nothing
	tokens  int    // of the stream
}

// live is the seat until ctx ends.
func (d *seat) live(ctx context.Context) {
	for due := d.a.now(); d.a.sleep(ctx, due); due = d.a.now() + int64(100*time.Millisecond) {
		met, err := d.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		if met {
			d.a.m.disconnects.Add(1)
		} else {
			d.a.m.failed(err)
		}
	}
}

func (d *seat) name() (kind, sub string) {
	kind = "bot"
	if d.human {
		kind = "human"
	}
	return kind, d.a.run + "-" + kind + "-" + strconv.Itoa(d.index)
}

// attempt connects, subscribes and works until the connection ends.
func (d *seat) attempt(ctx context.Context) (met bool, err error) {
	kind, sub := d.name()
	token, err := d.a.token("worker", kind, sub)
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	addr := cmp.Or(d.to, d.a.addr)
	d.to = ""
	d.mu.Unlock()
	s, err := socket.Dial(ctx, addr, nil, d.a.trust)
	if err != nil {
		return false, err
	}
	end := context.AfterFunc(ctx, func() { _ = s.Conn.Close() })
	defer end()
	defer s.Close()
	if err := s.Hello(token); err != nil {
		return false, err
	}
	slots, window := d.a.sc.Workers.Bots.Slots, d.a.sc.Workers.Bots.Window
	if d.human {
		slots, window = d.a.sc.Workers.Humans.Slots, d.a.sc.Workers.Humans.Window
	}
	f := fmt.Appendf(nil, `{"id":2,"subscribe":{"queues":["default"],"slots":%d,"window":%d`, slots, window)
	d.mu.Lock()
	d.s = s
	d.asked = map[uint64]*answer{}
	for _, h := range d.held {
		h.Again()
	}
	if d.lease != "" {
		f = fmt.Appendf(f, `,"lease":%q`, d.lease)
	}
	err = s.Send(append(f, `}}`...))
	d.mu.Unlock()
	if err != nil {
		return false, err
	}
	defer d.left()
	beat := newBeat(s)
	defer beat.Stop()
	for {
		msg, err := s.Read()
		if err != nil {
			return met, err
		}
		if err := d.heard(msg); err != nil {
			return met, err
		}
		d.mu.Lock()
		met = d.up
		d.mu.Unlock()
	}
}

// newBeat shows that the worker lives, well inside its lease [SW-5.7]: a pong of an answered ping counts, and is not
// always there in time.
func newBeat(s *socket.Socket) *time.Timer {
	var t *time.Timer
	t = time.AfterFunc(4*time.Second, func() {
		if s.Send(nil) == nil {
			t.Reset(4 * time.Second)
		}
	})
	return t
}

func (d *seat) left() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.s, d.up = nil, false
}

// heard takes a message of the server: what it makes the worker say goes out in one write.
func (d *seat) heard(msg []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out = d.out[:0]
	for len(msg) > 0 {
		var frame []byte
		frame, msg, _ = bytes.Cut(msg, []byte{'\n'})
		if err := d.frame(frame); err != nil {
			return err
		}
		if len(d.out) > 32<<10 {
			d.write()
		}
	}
	d.write()
	return nil
}

// write sends what was put out. d.mu is held.
func (d *seat) write() {
	if len(d.out) > 0 && d.s != nil && d.s.Send(d.out) != nil {
		_ = d.s.Conn.Close()
	}
	d.out = d.out[:0]
}

// put appends a frame. d.mu is held.
func (d *seat) put(format string, args ...any) {
	if len(d.out) > 0 {
		d.out = append(d.out, '\n')
	}
	d.out = fmt.Appendf(d.out, format, args...)
}

// id returns the id of the next request. d.mu is held.
func (d *seat) id() uint64 {
	d.nextID++
	return d.nextID + idFirst
}

// frame takes one frame. d.mu is held.
func (d *seat) frame(frame []byte) error {
	switch {
	case bytes.HasPrefix(frame, []byte(`{"delivery":`)):
		d.delivered(frame)
	case bytes.HasPrefix(frame, []byte(`{"assigned":`)):
		d.assigned(frame)
	case bytes.HasPrefix(frame, []byte(`{"id":`)):
		return d.reply(frame)
	case bytes.HasPrefix(frame, []byte(`{"offer":`)):
		h := &d.a.sc.Workers.Humans
		due := d.a.now() + int64(h.Accept.Quantile(d.share())/h.Pace*float64(time.Second))
		d.a.clock.at(due, &acceptance{d, string(socket.Field(frame, `"offer":"`))})
	case bytes.HasPrefix(frame, []byte(`{"revoked":`)):
		delete(d.held, string(socket.Field(frame, `"session":`)))
	case bytes.HasPrefix(frame, []byte(`{"rewind":`)):
		if h := d.held[string(socket.Field(frame, `"session":`))]; h != nil && h.stream != nil && h.stream.answer.stream == string(socket.Field(frame, `"stream":`)) {
			h.stream.rewind(int(number(socket.Field(frame, `"off":`)))) //nolint:gosec // it is checked
		}
	case bytes.HasPrefix(frame, []byte(`{"bye":`)):
		d.to = sentTo(frame)
	case bytes.HasPrefix(frame, []byte(`{"presence":`)) && !bytes.Contains(frame, []byte(`"ready"`)):
		d.put(`{"id":%d,"presence":{"state":"ready"}}`, d.id())
	}
	return nil
}

// share returns a number in (0, 1). d.mu is held.
func (d *seat) share() float64 { return d.rng.Float64()*.9998 + .0001 }

// acceptance is a human who accepts an offer.
type acceptance struct {
	d     *seat
	offer string
}

func (a *acceptance) run(int64) {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	a.d.out = a.d.out[:0]
	a.d.put(`{"id":%d,"accept":{"offer":%q}}`, a.d.id(), a.offer)
	a.d.write()
}

func (d *seat) assigned(frame []byte) {
	session, ae := string(socket.Field(frame, `"session":`)), number(socket.Field(frame, `"ae":`))
	d.held[session] = &holding{Hand: ledger.Hand{AE: ae, Moves: d.a.sc.Node.Cluster}}
	if !d.human {
		return
	}
	i := bytes.LastIndex(frame, []byte(`"note":"~`)) // the bot says when it handed over
	if i < 0 || bytes.Count(frame[i:], []byte(`"session.assigned"`)) > 1 {
		return // it is another's hand-off, whose human was lost
	}
	stamp, _, _ := bytes.Cut(frame[i+len(`"note":"~`):], []byte{'"'})
	if at, err := strconv.ParseInt(string(stamp), 36, 64); err == nil {
		d.a.m.handoffs.Add(1)
		d.a.m.record(mHandOff, d.a.now()-at*1000)
	}
}

// delivered takes a customer's message. d.mu is held.
func (d *seat) delivered(frame []byte) {
	if !bytes.Contains(frame, []byte(`"origin":"customer"`)) || !bytes.Contains(frame, []byte(`"kind":"message"`)) {
		return
	}
	r := answer{
		seat: d, session: string(socket.Field(frame, `"session":`)), ae: number(socket.Field(frame, `"ae":`)),
		n: number(socket.Field(frame, `"n":`)), of: number(socket.Field(frame, `"seq":`)),
	}
	h := d.held[r.session]
	if h == nil || h.AE != r.ae { // "kept" comes without an assignment
		h = &holding{Hand: ledger.Hand{AE: r.ae, Moves: d.a.sc.Node.Cluster}}
		d.held[r.session] = h
	}
	if f := h.Delivered(r.session, r.n, r.of, number(socket.Field(frame, `"attempt":`))); f != nil {
		d.a.m.found([]ledger.Fault{*f}, 1)
	}
	if !intact(frame) {
		d.a.m.found(altered(r.session, r.n, r.of))
	}
	bots, humans, after := &d.a.sc.Workers.Bots, &d.a.sc.Workers.Humans, 0.0
	switch {
	case d.human:
		after, r.length = humans.After.Quantile(d.share())/humans.Pace, int(humans.Length.Quantile(d.share()))
	case bots.Reply == scenario.Silent:
		d.put(`{"ack":{"session":%q,"ae":%d,"seq":%d}}`, r.session, r.ae, r.of)
		return
	default:
		after, r.length = bots.After.Quantile(d.share()), int(bots.Length.Quantile(d.share()))
	}
	now := d.a.now()
	due := max(now, h.busy) + int64(after*float64(time.Second))
	if !d.human && bots.Reply == scenario.Stream {
		if h.telling[r.of] { // it comes again to whoever was away, and is being answered
			return
		}
		if h.telling == nil {
			h.telling = map[uint64]bool{}
		}
		h.telling[r.of] = true
		d.told++
		// Another worker's, or another attempt, is another stream: what was heard of this one is no beginning of it.
		r.stream, r.tokens = fmt.Sprintf("m%d.%d.%d", r.of, r.ae, d.told), max(int(bots.Tokens.Quantile(d.share())), 1)
		st := &stream{answer: r, h: h, from: now, begin: due, gap: int64(float64(time.Second) / max(bots.TokenRate.Value, .001))}
		h.busy = due + int64(r.tokens)*st.gap
		d.a.clock.at(due, st)
		return
	}
	h.busy = due
	r.wait = due - now
	if due <= now {
		d.say(&r)
		return
	}
	d.a.clock.at(due, &r)
}

// run says the answer when it is due.
func (r *answer) run(int64) {
	d := r.seat
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out = d.out[:0]
	d.say(r)
	d.write()
}

// say puts the answer out; it carries the ack, so that it cannot be given twice [SW-5.5]. d.mu is held.
func (d *seat) say(r *answer) {
	if h := d.held[r.session]; h == nil || h.AE != r.ae {
		return // another has it now, and is handed what is open
	}
	id := d.id()
	kept := *r
	d.asked[id] = &kept
	if len(d.out) > 0 {
		d.out = append(d.out, '\n')
	}
	f := append(d.out, `{"id":`...)
	f = strconv.AppendUint(f, id, 10)
	f = append(f, `,"reply":{"session":"`...)
	f = append(f, r.session...)
	f = append(f, `","ae":`...)
	f = strconv.AppendUint(f, r.ae, 10)
	f = append(f, `,"ack":`...)
	f = strconv.AppendUint(f, r.of, 10)
	if r.stream != "" {
		f = fmt.Appendf(f, `,"stream":%q`, r.stream)
	}
	f = append(f, `,"type":"text","body":{"n":`...)
	f = strconv.AppendUint(f, r.n, 10)
	f = append(f, `,"of":`...)
	f = strconv.AppendUint(f, r.of, 10)
	if r.stream != "" {
		f = strconv.AppendInt(append(f, `,"tokens":`...), int64(r.tokens), 10)
	}
	f = append(f, `,"w":`...)
	f = strconv.AppendInt(f, r.wait/1000, 10)
	f = appendText(f, r.length)
	d.out = append(f, `}}}`...)
}

// reply takes the answer to a request of the worker. d.mu is held.
func (d *seat) reply(frame []byte) error {
	rest := frame[len(`{"id":`):]
	id := number(rest)
	verb := rest[bytes.IndexByte(rest, ',')+1:]
	if bytes.HasPrefix(verb, []byte(`"error":`)) {
		return d.refused(id, frame)
	}
	d.refusals = 0
	if id == idOpen { // the answer to subscribe
		d.lease = string(socket.Field(frame, `"lease":`))
		if !d.up {
			d.up = true
			d.a.seated(d)
		}
		return nil
	}
	if r := d.asked[id]; r != nil {
		delete(d.asked, id)
		d.done(r)
	}
	return nil
}

// done counts an answer, and hands the session over when it is time. d.mu is held.
func (d *seat) done(r *answer) {
	h := d.held[r.session]
	if h == nil || h.AE != r.ae {
		return
	}
	h.Acked(r.of)
	h.answers++
	hand := &d.a.sc.Workers.Bots.HandOff
	if d.human || h.moved || h.answers < hand.After || !chosen(r.session, hand.Share.Value) {
		return
	}
	h.moved = true
	d.put(`{"id":%d,"transfer":{"session":%q,"ae":%d,"to":{"queue":"default"},"note":"~%s"}}`, d.id(), r.session, r.ae, strconv.FormatInt(d.a.now()/1000, 36))
}

// chosen picks a share of the sessions, always the same.
func chosen(session string, share float64) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(session)) // it never fails
	return float64(h.Sum32()%10_000) < share*10_000
}

// refused takes an error. d.mu is held.
func (d *seat) refused(id uint64, frame []byte) error {
	var r refusal
	if err := json.Unmarshal(frame, &r); err != nil {
		return fmt.Errorf("an error that is none: %w", err)
	}
	if id == idOpen {
		return fmt.Errorf("subscribe: %s: %s", r.Error.Slug, r.Error.Message)
	}
	switch r.Error.Slug {
	case "stale_assignment", "offer_rescinded", "offer_expired", "not_delivered", "no_session", "session_closed": // another was faster: as it should be
		delete(d.asked, id)
		return nil
	}
	d.a.m.refuse(r.Error.Slug)
	if say := d.asked[id]; say != nil {
		delete(d.asked, id)
		if pause, again := r.pause(d.refusals.next()); again {
			d.a.clock.at(d.a.now()+int64(pause), say)
		}
	}
	return nil
}

// telling tells whether a stream has not come to its end.
func (d *seat) telling() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.held {
		if len(h.telling) > 0 {
			return true
		}
	}
	return false
}

// stream is an answer that is told token by token.
type stream struct {
	answer
	h     *holding
	from  int64 // when the message came
	begin int64 // when the first token is due
	gap   int64
	n     int // tokens that were told
	off   int
}

// run tells the token that is due, or the end.
func (st *stream) run(due int64) {
	d := st.seat
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.held[st.session]; h != st.h || d.a.hushed.Load() {
		return
	}
	d.out = d.out[:0]
	defer d.write()
	if st.n == st.tokens {
		st.wait = due - st.from
		st.h.stream = nil
		delete(st.h.telling, st.of)
		d.say(&st.answer)
		return
	}
	st.h.stream = st
	token := appendToken(nil, due, st.n, st.of)
	d.put(`{"delta":{"session":%q,"ae":%d,"stream":%q,"off":%d,"text":"%s"}}`, st.session, st.ae, st.answer.stream, st.off, token)
	st.off += len(token)
	st.n++
	d.a.m.tokensTold.Add(1)
	d.a.clock.at(due+st.gap, st)
}

// rewind continues where the node has lost the thread [SW-4.8]: what was between is not told again.
func (st *stream) rewind(off int) {
	if off >= 0 && off < st.off {
		st.off = off
	}
}
