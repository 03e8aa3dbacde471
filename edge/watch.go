package edge

import (
	"time"

	"switchboard/wire"
)

// stripes are the parts of the table of connections. tick visits one after the other, so that looking after many
// connections is little work at a time.
const stripes = 16

// visitEvery is how often each connection is visited, and so how late a deadline may be noticed.
const visitEvery = 250 * time.Millisecond

// tick looks after every connection's deadlines, and wakes them when owners change: one goroutine for all.
func (e *Edge) tick() {
	defer e.wg.Done()
	t := time.NewTicker(visitEvery / stripes)
	defer t.Stop()
	var list []*conn
	for i := 0; ; {
		changed := e.x.Changed()
		e.stir()
		select {
		case <-e.stop:
			return
		case <-changed:
		case <-t.C:
			e.rouse()
			list = e.visit(i, list)
			i = (i + 1) % stripes
		}
	}
}

// visit looks after the connections of one stripe. It returns list to be used again.
func (e *Edge) visit(i int, list []*conn) []*conn {
	now := e.now()
	list = e.table[i].list(list[:0])
	for _, c := range list {
		c.watch(now)
	}
	clear(list)
	if i == 0 {
		e.callers.hurry()
		e.settleOrphans(now)
		e.watchDesks(now)
	}
	return list[:0]
}

// watch looks at one connection's deadlines.
func (c *conn) watch(now int64) {
	cfg := &c.e.cfg
	if since := c.writing.Load(); since != 0 && now-since > cfg.Stall.Milliseconds() {
		c.abort(wire.CloseSlow) // [SW-4.7]
		return
	}
	if at := c.byeAt.Load(); at != 0 {
		if now-at > byeMost.Milliseconds() {
			c.cut() // it did not even take the bye
		}
		return
	}
	if since := c.partial.Load(); since != 0 && now-since > cfg.Stall.Milliseconds() {
		c.bye(wire.CloseSlow, 0) // a message that never ends
		return
	}
	if !c.greeted.Load() {
		if now > c.expires.Load() {
			c.bye(wire.CloseNoHello, 0) // [SW-2.8]
		}
		return
	}
	if at := c.expires.Load(); at != 0 && now >= at {
		c.bye(wire.CloseTokenExpired, 0)
		return
	}
	c.watchPing(now)
	if c.unanswered.Load() != 0 {
		c.watchRequests(now)
	}
	c.watchQuiet(now)
	if at := c.askAt.Load(); at != 0 && now >= at || c.restless.Load() || c.seen.Load() != c.e.x.Changes() {
		c.wake()
	} else if at := c.feedAt.Load(); at != 0 && now >= at {
		c.wake()
	}
}

// byeMost is how long a connection may take from its end being decided to the end of its socket.
const byeMost = 5 * time.Second

// pingFrame is every ping: nobody changes it, and who is idle leaves no garbage but its place in the outbox.
var pingFrame = &wire.Frame{Kind: framePing}

// watchPing sends what keeps a quiet connection alive, and ends one that is dead [SW-2.6].
func (c *conn) watchPing(now int64) {
	read := c.lastRead.Load()
	if at := c.pinged.Load(); at != 0 && c.mode != modeSSE {
		switch {
		case read >= at:
			c.pinged.Store(0)
		case c.writing.Load() != 0: // the ping is behind what a slow socket takes: that is Stall's business
			c.pinged.Store(now)
		case now-at > c.e.cfg.Pong.Milliseconds():
			c.bye(wire.CloseNoPong, 0)
		}
		return
	}
	ping := c.e.cfg.ping(c.often).Milliseconds()
	silent := now-c.lastWrite.Load() >= ping
	if c.mode != modeSSE {
		silent = silent || now-read >= ping // who only listens may be dead
	}
	if silent {
		c.pinged.Store(now)
		c.push(pingFrame)
	}
}

// quietMS is after how much silence a connection gives back what it keeps for the next request.
const quietMS = 5000

// watchQuiet lets a connection that has become quiet cost little: the lists of what is unanswered stay as large as they ever were, a
// KB of one that has asked for something once.
func (c *conn) watchQuiet(now int64) {
	last := max(c.lastWrite.Load(), c.lastRead.Load())
	if now-last < quietMS {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending.size() == 0 {
		c.pending = nil
	}
	if len(c.flights) == 0 {
		c.flights, c.spareFlight = nil, nil
	}
	if len(c.queue) == 0 {
		c.queue = nil
	}
	if len(c.dropped) == 0 {
		c.dropped = nil
	}
}

// orphan takes what comes for a connection that ended while it waited for an open: the session that it would have
// followed is told that nobody does.
type orphan struct {
	e     *Edge
	id    wire.Conn
	who   *wire.Principal
	until int64
}

// Put implements exchange.Inlet.
func (o *orphan) Put(env wire.Envelope) bool {
	if f, ok := env.Mail.(*wire.Frame); ok && f.Kind == wire.FrameAttach {
		o.e.gone(o.id, o.who, f.Session)
	}
	return true
}

const maxOrphans = 4096

// adopt leaves an orphan in the place of a connection for as long as a request may take, and as long again.
func (e *Edge) adopt(id wire.Conn, who *wire.Principal) {
	o := &orphan{e: e, id: id, who: who, until: e.now() + 2*e.cfg.Answer.Milliseconds()}
	e.mu.Lock()
	full := len(e.orphans) >= maxOrphans || e.done
	if !full {
		e.orphans = append(e.orphans, o)
	}
	e.mu.Unlock()
	if full {
		e.x.UnplugConn(id.ID)
		return
	}
	e.x.PlugConn(id.ID, o)
}

// settleOrphans forgets orphans whose time is over, and posts once more what found no room.
func (e *Edge) settleOrphans(now int64) {
	e.mu.Lock()
	n := 0
	for _, o := range e.orphans {
		if now < o.until {
			e.orphans[n] = o
			n++
			continue
		}
		e.x.UnplugConn(o.id.ID)
	}
	clear(e.orphans[n:])
	e.orphans = e.orphans[:n]
	again := e.again
	e.again = nil
	e.mu.Unlock()
	for i := range again {
		e.partLater(again[i])
	}
	e.partAgain(now)
}
