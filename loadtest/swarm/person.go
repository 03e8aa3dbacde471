package swarm

import (
	"bytes"
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
	old      []ledger.Account // of closed sessions, of those that are audited
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
	audit    *audit
}

// live is the person until ctx ends: it connects at due, and again whenever the connection is lost.
func (p *person) live(ctx context.Context, due int64) {
	rng := rand.New(rand.NewPCG(p.a.sc.Seed, uint64(p.index))) //nolint:gosec // it is to be the same every time
	for tries := 0; ; {
		if !p.a.sleep(ctx, due) {
			return
		}
		p.mu.Lock()
		if tries == 0 {
			p.wanted = due // and not when it was tried the last time
		}
		p.mu.Unlock()
		met, err := p.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		hung, back := p.hung, p.back
		p.hung = false
		p.mu.Unlock()
		switch {
		case hung:
			due, tries = back, 0
			continue
		case met:
			p.a.m.disconnects.Add(1)
			tries = 0
		default:
			p.a.m.failed(err)
			tries++
		}
		// Waiting begins at 100 ms, doubles up to 3.2 s, and is a half to one and a half of that.
		due = p.a.now() + int64((50+rng.Float64()*100)*float64(time.Millisecond))<<min(tries, 5)
	}
}

// attempt connects and listens until the connection ends. met tells that the server took it.
func (p *person) attempt(ctx context.Context) (met bool, err error) {
	release, err := p.a.door(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	token, err := p.a.token("customer", "", p.sub())
	if err != nil {
		return false, err
	}
	var from net.Addr
	if n := p.a.sc.Customers.Sources; n > 1 {
		from = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+p.index%n))} //nolint:gosec // up to 250
	}
	s, err := socket.Dial(ctx, p.a.addr, from)
	if err != nil {
		return false, err
	}
	if p.slow {
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
	end := context.AfterFunc(ctx, func() { _ = s.Conn.Close() })
	defer end()
	defer s.Close()
	if err := p.greet(s, token); err != nil {
		return false, err
	}
	defer p.left()
	for {
		msg, err := s.Read()
		if err != nil {
			return met, err
		}
		for len(msg) > 0 {
			var frame []byte
			frame, msg, _ = bytes.Cut(msg, []byte{'\n'})
			if err := p.heard(frame); err != nil {
				return met, err
			}
		}
		if !met && p.there() {
			met = true
			release()
		}
	}
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
		f = append(f, `,"text":"`...)
		f = appendText(f, m.length)
		f = append(f, `"}}}`...)
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

func appendText(dst []byte, n int) []byte {
	return append(dst, filler[:min(max(n, 0), len(filler))]...)
}
