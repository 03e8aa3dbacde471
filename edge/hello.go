package edge

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// resume is a hello whose sessions have not all answered [SW-3.2]. The reader makes it, the writer fills it in.
type resume struct {
	id       uint64
	reply    *wirepb.HelloReply
	sessions []wire.SessionID
	left     int
	by       int64  // Unix ms; then it is answered as it stands
	held     []item // what came meanwhile
	size     int    // of held
}

// hello begins the conversation with a client [SW-3]. It reports whether the connection goes on.
func (c *conn) hello(cmd *wire.Command) bool {
	h := cmd.PB.GetHello()
	token := strings.TrimSpace(h.GetToken())
	var shown showing
	if c.asked != nil {
		shown, c.asked = *c.asked, nil
	}
	if token == "" {
		token = shown.token // [SW-2.9]
	}
	now := c.e.cfg.Now()
	who, until, err := c.e.identity(token, shown.origin)
	if err != nil {
		fault := asError(err)
		c.fail(cmd, fault)
		code := wire.CloseBadToken
		switch {
		case fault == errSuspended:
			code = wire.CloseTenantSuspended
		case fault.Slug == wire.TokenExpired:
			code = wire.CloseTokenExpired
		case fault.Slug == wire.Forbidden:
			code = wire.CloseForbidden
		}
		c.bye(code, 0) // [SW-3.1]
		return false
	}
	if c.loop != nil {
		who.Sub = c.loop.names.keep(who.Sub)
	}
	if who.Worker == "" {
		who.Worker = who.Sub
	}
	c.who.Store(settled(&who))
	c.expires.Store(until.UnixMilli())
	c.e.x.PlugConn(c.id.ID, c)
	c.e.counts(c)
	reply := c.helloReply(c.who.Load(), until.Sub(now))
	r := &resume{id: cmd.ID, reply: reply, by: now.Add(resumeMost).UnixMilli()}
	lines := h.GetResume()
	limit := c.e.cfg.sessions(who.Role)
	for i, line := range lines {
		reply.Resumed = append(reply.Resumed, nil)
		if i >= limit {
			reply.Resumed[i] = refused(line.Session, &wire.Error{Slug: wire.QuotaExceeded, Message: "more sessions than limits.sessions"})
			continue
		}
		r.sessions = append(r.sessions, wire.SessionID(line.Session))
	}
	r.left = len(r.sessions)
	c.often = who.Role == wire.RoleWorker
	c.greeted.Store(true)
	if r.left == 0 {
		c.reply(r.id, &wire.Frame{Kind: wire.FrameAnswer, Verb: wire.VerbHello, PB: helloPB(reply)})
		return true
	}
	c.askAt.Store(r.by + 1)
	c.enqueue(item{f: &wire.Frame{Kind: wire.FrameKeep}, hail: r})
	for i, id := range r.sessions {
		c.resumeLine(i, id, lines[i])
	}
	return true
}

// resumeMost is how long hello waits for the sessions of a resume.
const resumeMost = 3 * time.Second

// resumeLine asks one session's shard to attach the connection from where the client was.
func (c *conn) resumeLine(i int, id wire.SessionID, from *wirepb.Resume) {
	cmd := &wire.Command{
		Verb: wire.VerbOpen, Conn: c.id, Who: c.who.Load(), Session: id, Resume: true,
		PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{
			Session: string(id), From: &wirepb.Position{Epoch: from.Epoch, Seq: from.Seq},
		}}},
		For: wire.ExternalOf(from.Customer),
	}
	err := external(cmd)
	if to, ok := c.e.route(cmd); err == nil && ok && id != "" {
		err = c.pose(cmd, to, i+1, maxPending)
	} else if err == nil {
		err = wire.Refuse(wire.NoSession)
	}
	if err != nil {
		c.enqueue(item{f: &wire.Frame{Kind: wire.FrameError, Session: id, Err: err}, refused: i + 1})
	}
}

func (c *conn) helloReply(who *wire.Principal, left time.Duration) *wirepb.HelloReply {
	l := &c.e.cfg.Limits
	limits := &wirepb.Limits{
		Frame: uint32(l.Frame), Body: uint32(l.Body), Batch: uint32(l.Batch), //nolint:gosec // configured
		Sessions: uint32(c.e.cfg.sessions(who.Role)), Inflight: uint32(c.e.cfg.inflight(who.Role)), //nolint:gosec // configured
	}
	if who.Role == wire.RoleCustomer {
		limits.Rate = []uint32{uint32(l.Rate), uint32(l.Burst)} //nolint:gosec // configured
	}
	return &wirepb.HelloReply{
		Connection: "c_" + strconv.FormatUint(c.id.Node, 36) + "_" + strconv.FormatUint(c.id.ID, 36),
		Tenant:     who.Tenant, Sub: who.Sub, Role: string(who.Role), Node: c.e.cfg.Node, Server: c.e.cfg.Version,
		PingMs: c.e.cfg.ping(who.Role == wire.RoleWorker).Milliseconds(), PongMs: c.e.cfg.Pong.Milliseconds(), ExpiresMs: max(left.Milliseconds(), 0),
		Limits: limits, Features: []string{"stream"},
	}
}

func helloPB(r *wirepb.HelloReply) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Hello{Hello: r}}
}

func refused(session string, err *wire.Error) *wirepb.Resumed {
	return &wirepb.Resumed{Session: session, Error: err.ErrorPB()}
}

// await notes what a session answers to a resume, and holds everything else back until hello is answered.
func (c *conn) await(r *resume, it item) {
	f := it.f
	switch f.Kind {
	case wire.FrameBye, frameClose, framePing, framePong:
		c.place(it)
		return
	case wire.FrameMoved: // a line of it may be asked for again, where its session is by now
		c.moved(f)
		return
	case wire.FrameAttach, wire.FrameError:
		if i, q, ok := c.resumeAnswered(it); ok {
			r.answer(i, f)
			if f.Kind == wire.FrameAttach {
				c.follow(f, q, it.term)
			}
			if r.left == 0 {
				c.greet(r)
			}
			return
		}
	default:
	}
	if droppable(f.Kind) && r.size+int(it.size) > c.e.cfg.Outbox {
		c.mu.Lock()
		c.drop(f)
		c.mu.Unlock()
		return
	}
	r.size += int(it.size)
	r.held = append(r.held, it)
}

// resumeAnswered returns which line of the resume f answers, if it does.
func (c *conn) resumeAnswered(it item) (line int, q *request, ok bool) {
	if it.refused != 0 {
		return it.refused - 1, nil, true
	}
	if it.own {
		return 0, nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.pending.get(it.f.ID)
	if asked == nil || asked.line == 0 {
		return 0, nil, false
	}
	r := c.strike(asked)
	return int(r.line) - 1, &r, true
}

func (r *resume) answer(i int, f *wire.Frame) {
	r.left--
	if f.Kind == wire.FrameError {
		r.reply.Resumed[i] = refused(string(r.sessions[i]), f.Err)
		return
	}
	o := f.PB.GetOpen()
	r.reply.Resumed[i] = &wirepb.Resumed{Session: string(r.sessions[i]), How: o.GetHow(), Epoch: o.GetEpoch(), Head: o.GetHead(), At: o.GetAt(), Streams: o.GetStreams()}
}

// greet answers hello when every session has answered, or its time is over, and then writes what came meanwhile.
func (c *conn) greet(r *resume) {
	for i, line := range r.reply.Resumed {
		if line == nil {
			r.reply.Resumed[i] = refused(string(r.sessions[i]), wire.Refuse(wire.Unavailable))
		}
	}
	c.mu.Lock()
	for r := range c.pending.all() {
		if r.line != 0 { // whoever answers from now on is told that nobody follows
			c.strike(r)
		}
	}
	c.mu.Unlock()
	c.resume = nil
	if r.id != 0 {
		c.encode(&wire.Frame{Kind: wire.FrameAnswer, ID: r.id, PB: helloPB(r.reply)})
	}
	for _, it := range r.held {
		c.place(it)
		c.spill()
	}
}

// refresh extends the connection [SW-3.3].
func (c *conn) refresh(cmd *wire.Command) {
	now, old := c.e.cfg.Now(), c.who.Load()
	who, until, err := c.e.bearerOf(cmd.PB.GetRefresh().GetToken())
	if err != nil {
		fault := asError(err)
		c.fail(cmd, fault)
		if fault == errSuspended { // as of hello
			c.bye(wire.CloseTenantSuspended, 0)
		}
		return
	}
	if who.Tenant != old.Tenant || who.Sub != old.Sub || who.Role != old.Role || who.Shop != old.Shop {
		c.fail(cmd, &wire.Error{Slug: wire.Forbidden, Message: "a refresh keeps tenant, sub, role and shop"})
		return
	}
	who.Worker = old.Worker
	c.who.Store(&who)
	c.expires.Store(until.UnixMilli())
	left := max(until.Sub(now).Milliseconds(), 0)
	c.reply(cmd.ID, &wire.Frame{Kind: wire.FrameAnswer, Verb: cmd.Verb, PB: &wirepb.ServerFrame{
		Verb: &wirepb.ServerFrame_Refresh{Refresh: &wirepb.RefreshReply{ExpiresMs: left}},
	}})
}

// asError returns what of err a client may be told.
func asError(err error) *wire.Error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e
	}
	return wire.Refuse(wire.Unauthenticated)
}
