package edge

import (
	"fmt"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"switchboard/edge/secure"
	"switchboard/wire"
)

// loop serves many sockets with one goroutine: it reads whatever is readable into one buffer, and writes what others have
// left for its connections. A socket is registered once, for its life, for every edge of both directions.
type loop struct {
	// Fixed after openLoops.
	e     *Edge
	p     *poller
	began time.Time
	ended chan struct{}

	// Owned by run.
	slots     []slot
	free      []int32
	more      []*conn // that had more to read than the buffer takes
	again     []*conn // more, of the last round
	hurried   []*conn // whose end has begun, about in the order of their seat.until
	taken     []*conn // marks, of this round
	knockers  []*conn // accepted, in the order of their seat.until; some have asked for something meanwhile
	shaker    shaker
	shutDoor  bool // no descriptors are left for those at the doors
	shutUntil int64
	in        []byte
	plain     []byte // of in, under TLS
	cipher    []byte // of what is written, under TLS
	w         *buffers
	names     names
	commands  []wire.Command // for the next frames: see command

	// Shared.
	asleep  atomic.Bool
	closing atomic.Bool

	waits patience

	mu sync.Mutex
	// Guarded by mu.
	marks []*conn // that want to be visited
}

// slot is what an event names. A descriptor's number comes back for another connection, a slot with its generation never.
type slot struct {
	c   *conn
	gen int32
}

const (
	readMost     = 64 << 10 // bytes that one connection is read at a time
	recordMost   = 16 << 10 // bytes of a TLS record
	turnsMost    = 4        // of a connection before the others have theirs
	eventsMost   = 256
	commandsMade = 6    // at a time: 1,784 bytes of 1,792
	marksKept    = 1024 // room for marks that is kept although they are few
)

// openLoops starts the loops. It starts none when they are switched off.
func (e *Edge) openLoops() error {
	n := e.cfg.Loops
	if n == 0 {
		n = min(max(runtime.GOMAXPROCS(0)/2, 2), 4) // one alone is what everybody waits for, also where there are two processors
	}
	for range n {
		l, err := newLoop(e)
		if err != nil {
			e.closeLoops()
			return fmt.Errorf("opening a loop: %w", err)
		}
		e.loops = append(e.loops, l)
		go l.run()
	}
	return nil
}

func newLoop(e *Edge) (*loop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	return &loop{e: e, p: p, began: time.Now(), ended: make(chan struct{}), in: make([]byte, readMost), plain: make([]byte, recordMost), w: &buffers{}}, nil
}

// closeLoops ends the loops, which have no connections any more, and joins them.
func (e *Edge) closeLoops() {
	for _, l := range e.loops {
		l.endPatience()
		l.closing.Store(true)
		l.wake()
		<-l.ended
	}
}

// seat gives the socket of c to a loop, and reports whether there is one for it. The loop has a descriptor of its own, and the
// runtime's poller, which would wake for every packet too, forgets the socket.
func (e *Edge) seat(c *conn, early []byte) bool {
	t, ok := below(c.src.sock).(*net.TCPConn)
	if !ok || len(e.loops) == 0 {
		return false
	}
	fd, err := duplicate(t)
	if err != nil {
		return false // no descriptor is left: goroutines need none
	}
	if c.tls, ok = c.src.sock.(*secure.Conn); ok {
		_ = c.tls.Take()
	}
	_ = t.Close()
	c.src, c.part = nil, early
	c.seat.fd, c.seat.slot = int32(fd), -1 //nolint:gosec // a descriptor
	c.loop = e.loops[c.id.ID%uint64(len(e.loops))]
	return true
}

func (l *loop) now() int64 { return int64(time.Since(l.began)) }

// run is the loop. It waits only for sockets and for marks, and for the time of who is hurried.
func (l *loop) run() {
	defer close(l.ended)
	defer l.p.close()
	for !l.closing.Load() {
		l.round()
	}
	for i := range l.slots {
		if c := l.slots[i].c; c != nil { // it has not asked for anything: all others have left
			l.unseat(c)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.marks {
		if c.seat.fd >= 0 {
			l.unseat(c) // accepted by another loop, and not listened to yet
		}
	}
}

// round waits until there is something to do, and does it: all that can be read first, so that what it causes at once is
// written with the rest.
func (l *loop) round() {
	if l.idle() {
		l.sleep()
	} else {
		l.p.poll()
	}
	for i, ev := range l.p.events() {
		l.ahead(i)
		l.dispatch(ev)
	}
	l.readMore()
	l.expire()
	l.impatient()
	l.reopen()
	l.visitMarked()
}

// dispatch finds whom an event is for. One that was taken before its connection left is for nobody.
func (l *loop) dispatch(ev syscall.EpollEvent) {
	if ev.Fd < 0 {
		l.e.mu.Lock()
		d := l.e.doors[doorSlot(0)-ev.Fd]
		l.e.mu.Unlock()
		l.accept(d)
		return
	}
	if s := &l.slots[ev.Fd]; s.c != nil && s.gen == ev.Pad {
		l.event(s.c, ev.Events)
	}
}

// idle tells that nothing is left to do but what the poller knows.
func (l *loop) idle() bool {
	if len(l.more) > 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.marks) == 0
}

// sleep waits until a socket is ready, somebody marks a connection, or a hurried one's time is over.
func (l *loop) sleep() {
	l.p.arm(l.patience())
	l.asleep.Store(true)
	if l.idle() && !l.closing.Load() {
		l.p.wait()
	} else { // marked before it could be seen that the loop sleeps
		l.p.poll()
	}
	l.asleep.Store(false)
	l.p.disarm()
	runtime.Gosched() // who marks one connection is about to mark others
}

// patience is how long the loop may sleep; 0 is for ever.
func (l *loop) patience() time.Duration {
	until := int64(math.MaxInt64)
	if len(l.hurried) > 0 {
		until = l.hurried[0].seat.until
	}
	if len(l.knockers) > 0 {
		until = min(until, l.knockers[0].seat.until)
	}
	if l.shutDoor {
		until = min(until, l.shutUntil)
	}
	if until == math.MaxInt64 {
		return 0
	}
	return max(time.Duration(until-l.now()), 1)
}

// wake ends the loop's sleep.
func (l *loop) wake() {
	if l.asleep.Load() && l.asleep.CompareAndSwap(true, false) {
		l.p.wake()
	}
}

// mark lets the loop visit c soon. It may be called from any goroutine.
func (l *loop) mark(c *conn) {
	if c.seat.marked.Swap(true) {
		return
	}
	l.mu.Lock()
	l.marks = append(l.marks, c)
	l.mu.Unlock()
	l.wake()
}

// command returns room for the next command. Those of a loop stand together, as one allocation for six costs the collector and the loop
// less than six: who keeps one keeps five more, so only those are taken that nobody keeps for long (see took).
func (l *loop) command() *wire.Command {
	if len(l.commands) == 0 {
		l.commands = make([]wire.Command, commandsMade)
	}
	return &l.commands[0]
}

// took returns what was parsed where command said. A cold one, which a shard or the connection may keep, stands alone.
func (l *loop) took(cmd *wire.Command) *wire.Command {
	if cmd.Hot() {
		l.commands = l.commands[1:]
		return cmd
	}
	alone := *cmd
	*cmd = wire.Command{}
	return &alone
}

// cut lets the loop end c at once. It may be called from any goroutine.
func (l *loop) cut(c *conn) {
	c.seat.severed.Store(true)
	l.mark(c)
}

// visitMarked visits everybody who was marked.
func (l *loop) visitMarked() {
	l.mu.Lock()
	l.taken, l.marks = l.marks, l.taken[:0]
	l.mu.Unlock()
	for _, c := range l.taken {
		l.visit(c)
	}
	clear(l.taken)
	if cap(l.taken) > marksKept && len(l.taken) < cap(l.taken)/4 {
		l.taken = nil
	}
	l.w.trim()
}

func (l *loop) visit(c *conn) {
	c.seat.marked.Store(false)
	if c.seat.fd < 0 {
		return // it has left
	}
	if c.seat.slot < 0 {
		l.admit(c)
	}
	if c.seat.knocking {
		return
	}
	if c.seat.severed.Load() {
		l.sever(c)
	}
	if c.seat.rest == nil {
		l.write(c)
	}
}

// admit begins to listen to a new connection.
func (l *loop) admit(c *conn) {
	if len(l.free) == 0 {
		l.slots = append(l.slots, slot{})
		l.free = append(l.free, int32(len(l.slots)-1)) //nolint:gosec // as many as there are descriptors
	}
	n := len(l.free) - 1
	c.seat.slot = l.free[n]
	l.free = l.free[:n]
	s := &l.slots[c.seat.slot]
	s.c = c
	if err := l.p.add(c.seat.fd, c.seat.slot, s.gen); err != nil {
		l.e.cfg.Log.Error("a socket cannot be watched: raise fs.epoll.max_user_watches", "err", err)
		c.seat.severed.Store(true)
		if c.seat.knocking {
			l.unseat(c)
		}
		return
	}
	if c.seat.knocking {
		l.greet(c)
		return
	}
	if early := c.part; len(early) > 0 {
		c.part = nil
		l.take(c, early)
	}
	if c.tls != nil {
		l.open(c, nil) // its goodbye may have come with the request, and no event would tell
	}
}

// unseat closes the descriptor of c, with which the listening to it ends. Its number may come back at once; c never uses it again.
func (l *loop) unseat(c *conn) {
	l.empty(c)
	_ = syscall.Close(int(c.seat.fd))
	c.seat.fd = -1
	l.entered(c)
}

// vacate ends the listening to c, whose descriptor stays.
func (l *loop) vacate(c *conn) {
	if c.seat.slot >= 0 {
		l.p.remove(c.seat.fd)
	}
	l.empty(c)
}

// empty gives the slot of c to the next. Events that name it are for nobody.
func (l *loop) empty(c *conn) {
	if c.seat.slot >= 0 {
		s := &l.slots[c.seat.slot]
		s.c = nil
		s.gen++
		l.free = append(l.free, c.seat.slot)
		c.seat.slot = -1
	}
}

// hurry gives c a moment to come to its end.
func (l *loop) hurry(c *conn) {
	c.seat.until = l.now() + int64(hurryMost)
	if !c.seat.hurrying {
		c.seat.hurrying = true
		l.hurried = append(l.hurried, c)
	}
}

// expire ends those whose time is over: first their reading, then, a moment later, themselves.
func (l *loop) expire() {
	if len(l.hurried) == 0 {
		return
	}
	now := l.now()
	for len(l.hurried) > 0 && (l.hurried[0].seat.fd < 0 || l.hurried[0].seat.until <= now) {
		c := l.hurried[0]
		l.hurried[0] = nil
		l.hurried = l.hurried[1:]
		c.seat.hurrying = false
		switch {
		case c.seat.fd < 0:
		case c.seat.until > now:
			c.seat.hurrying = true
			l.hurried = append(l.hurried, c)
		case !c.seat.ended:
			l.end(c)
		default:
			l.sever(c)
			l.write(c)
		}
	}
	if len(l.hurried) == 0 {
		l.hurried = nil
	}
}
