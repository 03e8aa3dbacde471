package edge

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"switchboard/exchange"
	"switchboard/internal/mailbox"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// echo is the other side of the exchange for tests: one owner of all slots that keeps to the contract of wire/mail.go
// and remembers what it was told. Its log is memory, its decisions are the simplest that the contract allows.
type echo struct {
	x    *exchange.Exchange
	box  *mailbox.Box[wire.Envelope]
	stop chan struct{}
	wg   sync.WaitGroup

	refuse atomic.Pointer[func(*wire.Command) bool] // true: the inbox is full
	ignore atomic.Pointer[func(*wire.Command) bool] // true: it is never answered
	mute   atomic.Pointer[func(*wire.Command) bool] // true: it is done, and not answered
	term   uint64

	mu       sync.Mutex
	sessions map[wire.SessionID]*echoSession
	gone     map[wire.Conn][]wire.SessionID
	seen     []wire.Command
	births   uint64
	keys     map[string]*wire.Entry
}

type echoSession struct {
	id       wire.SessionID
	customer string
	log      []*wire.Entry
	attached map[wire.Conn]*wire.Principal
	streams  map[string]string
	owner    wire.Conn
	ae       uint64
	said     uint64          // the last that was delivered
	lost     map[uint64]bool // deliveries that are lost on their way, once
}

func newEcho(t testing.TB, x *exchange.Exchange) *echo {
	s := &echo{x: x, term: 1, sessions: map[wire.SessionID]*echoSession{}, gone: map[wire.Conn][]wire.SessionID{}, keys: map[string]*wire.Entry{}}
	slots := make([]wire.Slot, wire.Slots)
	for i := range slots {
		slots[i] = wire.Slot(i)
	}
	s.begin(t)
	x.PlugSlots(slots, s)
	return s
}

// begin starts the owner.
func (s *echo) begin(t testing.TB) {
	s.box, s.stop = mailbox.New[wire.Envelope](1<<16, 0), make(chan struct{})
	s.wg.Add(1)
	go s.run()
	t.Cleanup(func() {
		close(s.stop)
		s.wg.Wait()
	})
}

func (s *echo) Put(e wire.Envelope) bool {
	c, ok := e.Mail.(*wire.Command)
	if !ok {
		return true
	}
	if f := s.refuse.Load(); f != nil && (*f)(c) {
		return false
	}
	return s.box.Put(e)
}

func (s *echo) run() {
	defer s.wg.Done()
	var batch []wire.Envelope
	for {
		select {
		case <-s.stop:
			return
		case <-s.box.Wake():
		}
		batch = s.box.Take(batch, 256)
		s.mu.Lock()
		for _, e := range batch {
			s.command(e.Mail.(*wire.Command))
		}
		s.mu.Unlock()
	}
}

func (s *echo) post(to wire.Conn, f *wire.Frame) {
	_ = s.x.Post(wire.Envelope{To: to.Address(), Term: s.term, Mail: f})
}

func (s *echo) fail(c *wire.Command, slug wire.Slug) {
	if c.ID != 0 {
		s.post(c.Conn, &wire.Frame{Kind: wire.FrameError, ID: c.ID, Session: c.Session, Verb: c.Verb, Err: wire.Refuse(slug)})
	}
}

func (s *echo) answer(c *wire.Command, pb *wirepb.ServerFrame) {
	if c.ID != 0 {
		s.post(c.Conn, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Session: c.Session, Verb: c.Verb, PB: pb})
	}
}

func (s *echo) command(c *wire.Command) {
	s.seen = append(s.seen, *c)
	if f := s.ignore.Load(); f != nil && (*f)(c) {
		return
	}
	switch {
	case c.Verb == wire.VerbSubscribe:
		if c.ID != 0 {
			s.post(c.Conn, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, Seq: 70, PB: &wirepb.ServerFrame{
				Verb: &wirepb.ServerFrame_Subscribe{Subscribe: &wirepb.SubscribeReply{Lease: "l_1", LeaseMs: 15000}},
			}})
		}
		return
	case c.Verb == wire.VerbPresence:
		s.answer(c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Ack{Ack: &wirepb.Done{}}})
		return
	case c.Verb == wire.VerbGone:
		s.gone[c.Conn] = append(s.gone[c.Conn], c.Session)
		if e := s.sessions[c.Session]; e != nil {
			delete(e.attached, c.Conn)
		}
		return
	case c.Verb == wire.VerbOpen && c.Session == "":
		s.births++
		c.Session = wire.NewSessionID(0, exchange.CustomerSlot(c.Who.Tenant, c.Who.Sub), s.births)
		s.sessions[c.Session] = &echoSession{id: c.Session, customer: c.Who.Sub, attached: map[wire.Conn]*wire.Principal{}, streams: map[string]string{}}
	}
	e := s.sessions[c.Session]
	if e == nil || c.Who.Role == wire.RoleCustomer && c.Who.Sub != e.customer {
		s.fail(c, wire.NoSession)
		return
	}
	switch c.Verb {
	case wire.VerbOpen:
		s.open(e, c)
	case wire.VerbSend, wire.VerbReply:
		if old := s.keys[c.Key]; old != nil && c.Key != "" {
			if c.ID != 0 {
				s.post(c.Conn, &wire.Frame{Kind: wire.FrameWrote, Verb: c.Verb, ID: c.ID, Session: e.id, Seq: old.Seq, Epoch: 1, TS: old.TS, Duplicate: true})
			}
			return
		}
		n := &wire.Entry{From: c.Who.Author(), Origin: wire.OriginCustomer, Kind: wire.KindMessage, Type: cmp.Or(c.Type, "text"), Body: c.Body, Visibility: wire.Public}
		prev := s.append(e, n, c.Conn, c.Who)
		s.keys[c.Key] = n
		if f := s.mute.Load(); c.ID != 0 && (f == nil || !(*f)(c)) {
			s.post(c.Conn, &wire.Frame{Kind: wire.FrameWrote, Verb: c.Verb, ID: c.ID, Session: e.id, Seq: n.Seq, Epoch: 1, TS: n.TS, Prev: prev})
		}
	case wire.VerbPage:
		s.post(c.Conn, &wire.Frame{Kind: wire.FramePage, Session: e.id, Seq: c.Seq, Entries: e.visible(c.Who, c.Seq, 16), Head: e.head(c.Who), Streams: e.running()})
	case wire.VerbHistory:
		h := &wirepb.HistoryReply{}
		for _, n := range e.visible(c.Who, 0, 100) {
			h.Entries = append(h.Entries, n.PB(n.Seq-1))
		}
		s.answer(c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_History{History: h}})
	case wire.VerbLeave:
		delete(e.attached, c.Conn)
		s.post(c.Conn, &wire.Frame{Kind: wire.FrameDetach, ID: c.ID, Session: e.id, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Leave{Leave: &wirepb.Done{}}}})
	case wire.VerbResync:
		if c.AE == e.ae && c.Conn == e.owner {
			if e.said = 0; c.Seq == 0 { // nothing is known of the assignment
				s.post(c.Conn, told(e.id))
				c.Seq = 1
			}
			s.post(c.Conn, &wire.Frame{Kind: wire.FrameResync, Session: e.id, AE: e.ae, Seq: c.Seq})
			for _, n := range e.log[c.Seq-1:] {
				s.deliver(e, n)
			}
		}
	default:
		s.answer(c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Ack{Ack: &wirepb.Done{}}})
	}
}

func (s *echo) open(e *echoSession, c *wire.Command) {
	head := e.head(c.Who)
	o := c.PB.GetOpen()
	start, how := head, "exact"
	if from := o.GetFrom(); from != nil {
		if start = from.Seq; start > uint64(len(e.log)) {
			start, how = head, "truncated"
		}
	} else if o.GetTail() > 0 {
		start = head - min(head, uint64(o.GetTail()))
	}
	e.attached[c.Conn] = c.Who
	s.post(c.Conn, &wire.Frame{Kind: wire.FrameAttach, Verb: wire.VerbOpen, ID: c.ID, Session: e.id, Seq: start, Head: head, PB: &wirepb.ServerFrame{
		Verb: &wirepb.ServerFrame_Open{Open: &wirepb.OpenReply{Session: string(e.id), Epoch: 1, Head: head, State: "new", How: how, Streams: e.running()}},
	}})
	for _, m := range e.running() {
		s.post(c.Conn, &wire.Frame{Kind: wire.FrameKeep, Session: e.id, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Stream{Stream: m}}})
	}
}

// append writes n and shows it to everybody but from. It returns the seq of the entry before it that who may see.
func (s *echo) append(e *echoSession, n *wire.Entry, from wire.Conn, who *wire.Principal) uint64 {
	prev := e.head(who)
	n.Session, n.Seq, n.Epoch, n.TS = e.id, uint64(len(e.log))+1, 1, 1
	prevs := map[wire.Conn]uint64{}
	for conn, p := range e.attached {
		prevs[conn] = e.head(p)
	}
	e.log = append(e.log, n)
	for conn, p := range e.attached {
		if conn != from && n.VisibleTo(p.Role) {
			s.post(conn, &wire.Frame{Kind: wire.FrameMessage, Session: e.id, Entry: n, Prev: prevs[conn]})
		}
	}
	if e.ae != 0 {
		s.deliver(e, n)
	}
	return prev
}

func (s *echo) deliver(e *echoSession, n *wire.Entry) {
	f := &wire.Frame{Kind: wire.FrameDelivery, Session: e.id, Entry: n, AE: e.ae, Attempt: 1, Prev: n.Seq - 1, Head: e.said}
	if e.said = n.Seq; e.lost[n.Seq] {
		delete(e.lost, n.Seq)
		return
	}
	s.post(e.owner, f)
}

func (e *echoSession) head(who *wire.Principal) uint64 {
	for _, n := range slices.Backward(e.log) {
		if n.VisibleTo(who.Role) {
			return n.Seq
		}
	}
	return 0
}

func (e *echoSession) visible(who *wire.Principal, after uint64, limit int) (list []*wire.Entry) {
	for _, n := range e.log[min(after, uint64(len(e.log))):] {
		if n.VisibleTo(who.Role) && len(list) < limit {
			list = append(list, n)
		}
	}
	return list
}

func (e *echoSession) running() (list []*wirepb.Stream) {
	for name, text := range e.streams {
		list = append(list, &wirepb.Stream{Session: string(e.id), Stream: name, Off: uint64(len(text)), Text: text})
	}
	return list
}

// head returns the seq of the last entry.
func (s *echo) head(id wire.SessionID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions[id].log)
}

// say appends an entry of somebody without a connection.
func (s *echo) say(id wire.SessionID, body string, visibility string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.append(s.sessions[id], &wire.Entry{From: wire.Author{Role: wire.RoleWorker, ID: "bob"}, Origin: wire.OriginHuman, Kind: wire.KindMessage, Type: "text", Body: []byte(body), Visibility: visibility}, wire.Conn{}, &wire.Principal{})
}

// stream says more of a stream to everybody attached.
func (s *echo) stream(id wire.SessionID, name, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.sessions[id]
	off := uint64(len(e.streams[name]))
	e.streams[name] += text
	for conn := range e.attached {
		s.post(conn, &wire.Frame{Kind: wire.FrameDelta, Session: id, Stream: name, Seq: off, Text: text})
	}
}

// assign makes the subscribed connection the owner.
func (s *echo) assign(id wire.SessionID, conn wire.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.sessions[id]
	e.ae++
	e.owner, e.said = conn, 0
	s.post(conn, &wire.Frame{Kind: wire.FrameAssigned, Session: id, AE: e.ae, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Assigned{Assigned: &wirepb.Assigned{Session: string(id), Ae: e.ae}}}})
}

func (s *echo) lastConn(verb wire.Verb) wire.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range slices.Backward(s.seen) {
		if c.Verb == verb {
			return c.Conn
		}
	}
	return wire.Conn{}
}

func (s *echo) goneFrom(conn wire.Conn) []wire.SessionID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.gone[conn])
}

func (s *echo) attachedTo(id wire.SessionID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions[id].attached)
}

func (s *echo) count(verb wire.Verb) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.seen {
		if s.seen[i].Verb == verb {
			n++
		}
	}
	return n
}

func setFunc(p *atomic.Pointer[func(*wire.Command) bool], f func(*wire.Command) bool) { p.Store(&f) }

// plain are tokens for tests: tenant/role/sub, and /expired behind it.
type plain struct{}

func (plain) Check(token string, now time.Time) (wire.Principal, time.Time, error) {
	parts := strings.Split(token, "/")
	switch {
	case len(parts) == 4 && parts[3] == "expired":
		return wire.Principal{}, time.Time{}, wire.Refuse(wire.TokenExpired)
	case len(parts) < 3:
		return wire.Principal{}, time.Time{}, wire.Refuse(wire.Unauthenticated)
	}
	ttl := time.Hour
	if len(parts) == 4 {
		ttl, _ = time.ParseDuration(parts[3])
	}
	return wire.Principal{Tenant: parts[0], Role: wire.Role(parts[1]), Sub: parts[2], Ability: &wire.Ability{Queues: []string{"*"}}}, now.Add(ttl), nil
}

// rig is an edge on a loopback socket with an echo behind it.
type rig struct {
	t     testing.TB
	e     *Edge
	x     *exchange.Exchange
	shard *echo
	addr  string
	skew  atomic.Int64 // added to the clock
	stood atomic.Int64 // where the clock stands still, in Unix ns; 0 when it goes
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := openRig(t, change)
	r.serve()
	return r
}

// openRig is newRig that does not serve yet.
func openRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, x: exchange.New(7)}
	r.shard = newEcho(t, r.x)
	// The clock of a test jumps while writes are under way: that is no stall.
	cfg := Config{Tokens: plain{}, Loops: way.loops, TLS: way.server, Stall: time.Hour, Now: r.now}
	if change != nil {
		change(&cfg)
	}
	e, err := Open(r.x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.e = e
	return r
}

// serve serves until the test ends.
func (r *rig) serve() {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.e.Serve(ln) }()
	r.t.Cleanup(func() {
		if err := r.e.Close(); err != nil {
			r.t.Error(err)
		}
		if err := <-served; err != nil {
			r.t.Error(err)
		}
	})
}

// now is the edge's clock.
func (r *rig) now() time.Time {
	if at := r.stood.Load(); at != 0 {
		return time.Unix(0, at+r.skew.Load())
	}
	return time.Now().Add(time.Duration(r.skew.Load()))
}

// stand lets the edge's clock stand still from now on, but for pass: what a slow machine takes is no rate and no silence.
func (r *rig) stand() { r.stood.Store(time.Now().UnixNano()) }

// pass lets d go by on the edge's clock, and lets it look at its deadlines.
func (r *rig) pass(d time.Duration) {
	r.skew.Add(int64(d))
	var list []*conn
	for i := range stripes {
		list = r.e.visit(i, list)
	}
}

// conn returns a connection that is open, or nil.
func (r *rig) conn(id wire.Conn) *conn {
	for _, c := range r.e.table[id.ID%stripes].list(nil) {
		if c.id == id {
			return c
		}
	}
	return nil
}

// eventually waits until what must come to be has, for at most 20 seconds in which this process runs: of a machine that stood still no more counts
// than a tenth of one.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	left := 20 * time.Second
	for was := time.Now(); !ok(); <-tick.C {
		now := time.Now()
		if left -= min(now.Sub(was), 100*time.Millisecond); left < 0 {
			t.Fatalf("it never came to be: %s", what)
		}
		was = now
	}
}

// peer is a client.
type peer struct {
	t     testing.TB
	ws    *websocket.Conn
	codec wire.Codec
	wait  []*wirepb.ServerFrame
	pings int
	id    uint64
}

func (r *rig) dial(codec wire.Codec) *peer {
	r.t.Helper()
	d := websocket.Dialer{TLSClientConfig: way.client, Subprotocols: []string{codec.Subprotocol()}, HandshakeTimeout: 10 * time.Second, EnableCompression: true}
	ws, resp, err := d.Dial(way.url("ws")+r.addr+"/v1/connect", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := ws.Subprotocol(); got != codec.Subprotocol() {
		r.t.Fatalf("subprotocol %q; want %q", got, codec.Subprotocol())
	}
	if x := resp.Header.Get("Sec-WebSocket-Extensions"); x != "" {
		r.t.Fatalf("extensions %q were negotiated", x)
	}
	r.t.Cleanup(func() { _ = ws.Close() })
	return &peer{t: r.t, ws: ws, codec: codec}
}

// login dials and says hello.
func (r *rig) login(codec wire.Codec, token string) *peer {
	r.t.Helper()
	p := r.dial(codec)
	p.say(`{"id":900,"hello":{"token":"` + token + `"}}`)
	if h := p.next(); h.Id != 900 || h.GetHello() == nil {
		r.t.Fatalf("hello was answered %v", h)
	}
	return p
}

// say sends frames, written as JSON, in one message.
func (p *peer) say(frames ...string) {
	p.t.Helper()
	if p.codec == wire.JSON {
		p.raw(websocket.TextMessage, []byte(strings.Join(frames, "\n")))
		return
	}
	var msg []byte
	for _, f := range frames {
		m := &wirepb.ClientFrame{}
		if err := wire.JSON.Parse([]byte(f), m); err != nil {
			p.t.Fatalf("%s: %v", f, err)
		}
		msg, _ = p.codec.Append(msg, m)
	}
	p.raw(websocket.BinaryMessage, msg)
}

func (p *peer) raw(kind int, msg []byte) {
	p.t.Helper()
	if err := p.ws.WriteMessage(kind, msg); err != nil {
		p.t.Fatal(err)
	}
}

// read returns the next frame, or the error that ended the connection.
func (p *peer) read() (*wirepb.ServerFrame, error) {
	for len(p.wait) == 0 {
		_ = p.ws.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, msg, err := p.ws.ReadMessage()
		if err != nil {
			return nil, err
		}
		if len(msg) == 0 {
			p.pings++
			return nil, nil //nolint:nilnil // a ping is no frame
		}
		for len(msg) > 0 {
			var frame []byte
			if frame, msg, err = p.codec.Next(msg); err != nil {
				return nil, err
			}
			m := &wirepb.ServerFrame{}
			if err := p.codec.Parse(frame, m); err != nil {
				return nil, err
			}
			p.wait = append(p.wait, m)
		}
	}
	m := p.wait[0]
	p.wait = p.wait[1:]
	return m, nil
}

// next returns the next frame that is not a ping.
func (p *peer) next() *wirepb.ServerFrame {
	p.t.Helper()
	for {
		m, err := p.read()
		if err != nil {
			p.t.Fatal(err)
		}
		if m != nil {
			return m
		}
	}
}

// ask sends verb, a JSON object's member, as a request, and returns its reply; pushes before it are kept in pushed.
func (p *peer) ask(verb string) (reply *wirepb.ServerFrame, pushed []*wirepb.ServerFrame) {
	p.t.Helper()
	p.id++
	p.say(`{"id":` + uintString(p.id) + `,` + verb + `}`)
	for {
		m := p.next()
		if m.Id == p.id {
			return m, pushed
		}
		pushed = append(pushed, m)
	}
}

// open opens a session and returns its id.
func (p *peer) open() wire.SessionID {
	p.t.Helper()
	m, _ := p.ask(`"open":{"channel":"web"}`)
	if m.GetOpen() == nil {
		p.t.Fatalf("open was answered %v", m)
	}
	return wire.SessionID(m.GetOpen().Session)
}

// ended reads until the close frame, and returns its code and the bye before it.
func (p *peer) ended() (code int, bye *wirepb.Bye) {
	p.t.Helper()
	for {
		m, err := p.read()
		if err != nil {
			if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
				return ce.Code, bye
			}
			p.t.Fatalf("ended without a close frame: %v", err)
		}
		if m.GetBye() != nil {
			bye = m.GetBye()
		}
	}
}

func uintString(v uint64) string {
	return string(fasthttp.AppendUint(nil, int(v))) //nolint:gosec // small
}
