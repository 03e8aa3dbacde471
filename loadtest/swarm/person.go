package swarm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"switchboard/loadtest/ledger"
	"switchboard/loadtest/socket"
)

// message is what a customer is to say, or has said. due is when, whatever came between.
type message struct {
	n      uint64
	due    int64
	length int
}

// The ids of a customer's requests. What he says has the id of its number behind them.
const (
	idHello   = 1
	idOpen    = 2
	idClose   = 3
	idHistory = 4
	idFirst   = 10
)

// stage is where a customer's connection is.
type stage uint8

const (
	down    stage = iota
	greeted       // hello was sent
	idle          // nothing to open
	opening       // open was sent
	talking       // it has a session
	closing       // close was sent
)

// person is one customer: a socket, a session, and what is open in it.
type person struct {
	// Fixed.
	a     *agent
	index int
	shop  int
	slow  bool
	keep  bool // it is audited in the end

	mu sync.Mutex
	// Guarded by mu.
	s        *socket.Socket
	stage    stage
	account  ledger.Account
	streams  ledger.Streams   // that run in its session
	old      []ledger.Account // of closed sessions, of those that are audited
	closed   []string         // the latest sessions that he closed
	epoch    uint64
	inflight int       // requests that the server takes at a time
	queue    []message // due and not on the wire, oldest first
	flight   []message // on the wire without an answer
	wait     []message // acknowledged, and the answer has not come
	lastN    uint64
	talks    int // conversations under way
	rest     int64
	wanted   int64 // when the connection was to be there
	again    bool  // it was there before
	up       bool  // it is there
	back     int64 // when to come back after a connection that the test ended
	hung     bool  // the test has ended it
	refused  row
	to       string // where the server has said to come back; once
	audit    *audit
}

// live connects at due, and again until that succeeds. Then it hands over to listen, which is a goroutine of its own, and
// ends: what connecting needs of a stack is twice what holding needs, and would stay.
func (p *person) live(ctx context.Context, due int64) {
	p.mu.Lock()
	p.wanted = due
	p.mu.Unlock()
	for tries := 1; p.a.sleep(ctx, due); tries++ {
		l, err := p.connect(ctx)
		if err == nil {
			p.a.wg.Go(func() { p.listen(ctx, l) })
			return
		}
		if ctx.Err() != nil {
			return
		}
		p.a.m.failed(err)
		due = p.a.now() + p.pause(tries)
	}
}

// pause is how long to wait before the next attempt: 100 ms and doubling up to 3.2 s, a half to one and a half of that.
func (p *person) pause(tries int) int64 {
	return int64((.5 + rand.Float64()) * float64(100*time.Millisecond) * float64(int(1)<<min(tries, 5))) //nolint:gosec // it is to spread, not to be secret
}

// link is a connection that was made.
type link struct {
	s       *socket.Socket
	release func()      // lets the next one connect; it may be called twice
	end     func() bool // forgets that the connection ends with the context
}

// connect connects and says hello.
func (p *person) connect(ctx context.Context) (l link, err error) {
	if l.release, err = p.a.door(ctx); err != nil {
		return l, err
	}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	token, err := p.a.token("customer", "", p.sub())
	if err != nil {
		return l, err
	}
	var from net.Addr
	if n := p.a.sc.Customers.Sources; n > 1 {
		from = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+p.index%n))} //nolint:gosec // up to 250
	}
	p.mu.Lock()
	addr := cmp.Or(p.to, p.a.addr)
	p.to = ""
	p.mu.Unlock()
	if l.s, err = socket.Dial(ctx, addr, from, p.a.trust); err != nil {
		return l, err
	}
	if p.slow {
		p.dawdle(ctx, l.s)
	}
	if err := p.greet(l.s, token); err != nil {
		p.left()
		l.s.Close()
		return l, err
	}
	l.end = context.AfterFunc(ctx, func() { _ = l.s.Conn.Close() })
	return l, nil
}

// dawdle makes a socket read slowly, as long as the steady time lasts.
func (p *person) dawdle(ctx context.Context, s *socket.Socket) {
	slow := p.a.sc.Customers.Slow
	if t, ok := s.Conn.(*net.TCPConn); ok {
		_ = t.SetReadBuffer(4096) // it is an attempt; without, the system hides how slow they are
	}
	s.Pace = func() int {
		if p.a.brisk.Load() {
			return 0
		}
		p.a.sleep(ctx, p.a.now()+int64(slow.Pause.Duration()))
		return int(slow.Bytes.Value)
	}
}

// listen reads until the connection ends, and lets the person connect again.
func (p *person) listen(ctx context.Context, l link) {
	met, err := p.read(&l)
	p.left()
	l.end()
	l.release()
	l.s.Close()
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	due, hung := p.back, p.hung
	p.hung = false
	p.mu.Unlock()
	switch {
	case hung:
	case met:
		p.a.m.disconnects.Add(1)
		due = p.a.now() + p.pause(0)
	default:
		p.a.m.failed(err)
		due = p.a.now() + p.pause(2)
	}
	p.a.wg.Go(func() { p.live(ctx, due) })
}

// read takes what comes until the connection ends. met tells that the server took it.
func (p *person) read(l *link) (met bool, err error) {
	for {
		msg, err := l.s.Read()
		if err != nil {
			return met, err
		}
		if err := p.message(msg); err != nil {
			return met, err
		}
		if !met && p.there() {
			met = true
			l.release()
		}
	}
}

// message takes the frames of one message.
func (p *person) message(msg []byte) error {
	for len(msg) > 0 {
		var frame []byte
		frame, msg, _ = bytes.Cut(msg, []byte{'\n'})
		if err := p.heard(frame); err != nil {
			return err
		}
	}
	return nil
}

func (p *person) sub() string { return p.a.run + "-" + strconv.Itoa(p.index) }

// greet says hello, and takes up the session that was there before.
func (p *person) greet(s *socket.Socket, token string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	frame := append([]byte(nil), `{"id":1,"hello":{"client":"loadtest","token":"`...)
	frame = append(frame, token...)
	frame = append(frame, '"')
	if p.account.Session != "" {
		frame = fmt.Appendf(frame, `,"resume":[{"session":%q,"epoch":%d,"seq":%d}]`, p.account.Session, p.epoch, p.account.Last())
	}
	p.s, p.stage = s, greeted
	return s.Send(append(frame, `}}`...))
}

// there tells whether the connection can be used, and notes how long it took.
func (p *person) there() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stage != talking && p.stage != idle {
		return false
	}
	what := mConnect
	if p.again {
		what = mReconnect
	}
	if !p.again {
		p.a.ready.Add(1)
	}
	p.again, p.up = true, true
	p.a.m.record(what, p.a.now()-p.wanted)
	p.a.m.sockets.Add(1)
	return true
}

// left is behind the end of a connection.
func (p *person) left() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up {
		p.up = false
		p.a.m.sockets.Add(-1)
	}
	p.s, p.stage = nil, down
	// What is not answered is sent again, with the same key [SW-4.2].
	p.queue = append(slices.Clone(p.flight), p.queue...)
	slices.SortFunc(p.queue, byNumber)
	p.flight = nil
	if p.audit != nil {
		p.audit.end(errors.New("the connection ended"))
		p.audit = nil
	}
}

func byNumber(a, b message) int { return int(a.n) - int(b.n) } //nolint:gosec // they are small

// hangUp ends the connection on purpose, until back.
func (p *person) hangUp(back int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.s == nil || p.stage < idle {
		return
	}
	p.hung, p.back = true, back
	p.a.m.dropped.Add(1)
	_ = p.s.Conn.Close()
}

// say is called when a message is due.
func (p *person) say(due int64, length int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastN++
	p.a.m.due.Add(1)
	p.queue = append(p.queue, message{p.lastN, due, length})
	p.pump()
}

// pump sends what is due, as far as the server takes it. p.mu is held.
func (p *person) pump() {
	switch {
	case p.s == nil || len(p.queue) == 0 || p.rest > p.a.now():
		return
	case p.stage == idle:
		p.open()
		return
	case p.stage != talking:
		return
	}
	for len(p.queue) > 0 && len(p.flight) < p.inflight {
		m := p.queue[0]
		if p.queue = p.queue[1:]; len(p.queue) == 0 {
			p.queue = nil
		}
		p.flight = append(p.flight, m)
		p.account.Send(m.n)
		p.a.m.sent.Add(1)
		buf := frames.Get().(*[32 << 10]byte)
		f := append(buf[:0], `{"id":`...)
		f = strconv.AppendUint(f, m.n+idFirst, 10)
		f = append(f, `,"send":{"session":"`...)
		f = append(f, p.account.Session...)
		f = append(f, `","key":"`...)
		f = strconv.AppendUint(f, m.n, 10)
		f = append(f, `","type":"text","body":{"n":`...)
		f = strconv.AppendUint(f, m.n, 10)
		f = appendText(f, m.length)
		f = append(f, `}}}`...)
		err := p.s.Send(f)
		frames.Put(buf)
		if err != nil {
			_ = p.s.Conn.Close() // the reader hears of it
			return
		}
	}
}

// open asks for a session. p.mu is held.
func (p *person) open() {
	f := []byte(`{"id":2,"open":{"queue":"default"`)
	if p.shop > 0 {
		f = fmt.Appendf(f, `,"shop":"s%d"`, p.shop)
	}
	p.stage = opening
	if p.s.Send(append(f, `}}`...)) != nil {
		_ = p.s.Conn.Close()
	}
}

// ended is called when a conversation has no more to say.
func (p *person) ended() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.talks--
	p.settled()
}

// settled closes the session when the conversation is over. p.mu is held.
func (p *person) settled() {
	if !p.a.sc.Talk.Close || p.talks > 0 || p.stage != talking || len(p.queue)+p.account.Open() > 0 || p.lastN == 0 {
		return
	}
	p.stage = closing
	if p.s.Send(fmt.Appendf(nil, `{"id":3,"close":{"session":%q,"reason":"solved"}}`, p.account.Session)) != nil {
		_ = p.s.Conn.Close()
	}
}

// run takes up what had to rest: the clock calls it.
func (p *person) run(int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pump()
}

// frames are buffers to build a request in.
var frames = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// filler is what texts are made of.
var filler = bytes.Repeat([]byte("Where is my order? I have waited for it for two weeks now. "), 500)

// appendText appends the fields of a body that say n bytes of text, and that they are so many.
func appendText(dst []byte, n int) []byte {
	n = min(max(n, 0), len(filler))
	dst = append(dst, `,"len":`...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	dst = append(dst, `,"text":"`...)
	dst = append(dst, filler[:n]...)
	return append(dst, '"')
}

// intact tells whether the text in a frame, or a body, is what [appendText] has put there.
func intact(frame []byte) bool {
	_, text, _ := bytes.Cut(frame, []byte(`"text":"`))
	text, _, whole := bytes.Cut(text, []byte{'"'})
	return whole && number(socket.Field(frame, `"len":`)) == uint64(len(text)) && bytes.HasPrefix(filler, text)
}

// altered is what does not hold of an entry whose text is another one.
func altered(session string, n, seq uint64) ([]ledger.Fault, int) {
	return []ledger.Fault{{Kind: ledger.Mismatched, Session: session, N: n, Seq: seq, Detail: "its text is not what was sent"}}, 1
}
