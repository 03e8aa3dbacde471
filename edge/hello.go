package edge

import (
	"errors"
	"strconv"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// hello begins the conversation with a client [SW-3].
func (c *conn) hello(cmd *wire.Command) bool {
	h := cmd.PB.GetHello()
	if t := tokenOf(h.GetToken()); t != "" || c.who == nil {
		if !c.authenticate(t) {
			return false
		}
	}
	c.e.x.PlugConn(c.id.ID, c)
	l := &c.e.cfg.Limits
	inflight, sessions := l.Inflight, l.Sessions
	if c.who.Role != wire.RoleCustomer {
		inflight, sessions = workerInflight, workerSessions
	}
	reply := &wirepb.HelloReply{
		Connection: "c_" + strconv.FormatUint(c.id.Node, 36) + "_" + strconv.FormatUint(c.id.ID, 36),
		Tenant:     c.who.Tenant, Sub: c.who.Sub, Role: string(c.who.Role), Node: c.e.cfg.Node, Server: c.e.cfg.Version,
		PingMs: c.e.cfg.Ping.Milliseconds(), PongMs: c.e.cfg.Pong.Milliseconds(),
		ExpiresMs: max(c.expires.Load()-c.e.cfg.Now().UnixMilli(), 0),
		Limits: &wirepb.Limits{
			Frame: uint32(l.Frame), Body: uint32(l.Body), Batch: uint32(l.Batch), Sessions: uint32(sessions), Inflight: uint32(inflight), //nolint:gosec // configured
			Rate: []uint32{uint32(l.Rate), uint32(l.Burst)}, //nolint:gosec // configured
		},
		Features: []string{"stream"},
	}
	c.greeted.Store(true)
	m := &wirepb.ServerFrame{Id: cmd.ID, Verb: &wirepb.ServerFrame_Hello{Hello: reply}}
	if len(h.GetResume()) == 0 {
		c.answer(&wire.Frame{Kind: wire.FrameAnswer, ID: cmd.ID, Verb: wire.VerbHello, PB: m})
		return true
	}
	c.resumeAll(h.GetResume(), m, sessions)
	return true
}

// resumeAll attaches to the sessions of a resume; the writer answers hello when all have answered [SW-3.2].
func (c *conn) resumeAll(lines []*wirepb.Resume, m *wirepb.ServerFrame, limit int) {
	const patience = 3 * time.Second
	reply := m.GetHello()
	r := &resume{reply: m, by: c.e.cfg.Now().Add(patience).UnixMilli()}
	refuse := func(id string, slug wire.Slug) *wirepb.Resumed {
		return &wirepb.Resumed{Session: id, Error: wire.Refuse(slug).ErrorPB()}
	}
	for i, line := range lines {
		if i >= limit {
			reply.Resumed = append(reply.Resumed, refuse(line.Session, wire.QuotaExceeded))
			continue
		}
		r.sessions = append(r.sessions, wire.SessionID(line.Session))
	}
	base := len(reply.Resumed)
	head := make([]*wirepb.Resumed, len(r.sessions), len(r.sessions)+base)
	reply.Resumed = append(head, reply.Resumed...)
	r.left = len(r.sessions)
	c.mu.Lock()
	c.resume = r
	c.mu.Unlock()
	for i, id := range r.sessions {
		cmd := &wire.Command{
			Verb: wire.VerbOpen, ID: idResume | uint64(i), Conn: c.id, Who: c.who, Session: id, Resume: true, //nolint:gosec // an index
			PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{
				Session: string(id), From: &wirepb.Position{Epoch: lines[i].Epoch, Seq: lines[i].Seq},
			}}},
		}
		err := wire.Refuse(wire.NoSession)
		if _, slot, ok := id.Place(); ok && entitled(c.who.Role, wire.VerbOpen) {
			err = c.e.post(wire.ToSlot(slot), cmd)
		}
		if err != nil {
			c.enqueue(&wire.Frame{Kind: wire.FrameError, ID: cmd.ID, Session: id, Err: err})
		}
	}
}

// resumed notes one session's answer to a resume, in the writer. It reports whether f was one.
func (c *conn) resumed(r *resume, f *wire.Frame) bool {
	if f.ID&idResume == 0 {
		return false
	}
	i := int(f.ID &^ idResume) //nolint:gosec // an index
	list := r.reply.GetHello().Resumed
	if i >= len(r.sessions) || list[i] != nil {
		return true
	}
	line := &wirepb.Resumed{Session: string(r.sessions[i])}
	if f.Kind == wire.FrameError {
		line.Error = f.Err.ErrorPB()
	} else {
		o := f.PB.GetOpen()
		line.How, line.Epoch, line.Head, line.At = o.How, o.Epoch, o.Head, o.At
		c.follow(f)
	}
	list[i] = line
	r.left--
	return true
}

// greet writes hello's reply when every session has answered, or its time is over, and then what came for them.
func (c *conn) greet(r *resume, now int64) bool {
	if r.left > 0 && now <= r.by {
		return false
	}
	for i, line := range r.reply.GetHello().Resumed {
		if line == nil {
			r.reply.GetHello().Resumed[i] = &wirepb.Resumed{Session: string(r.sessions[i]), Error: wire.Refuse(wire.Unavailable).ErrorPB()}
		}
	}
	c.encode(&wire.Frame{Kind: wire.FrameAnswer, ID: r.reply.Id, PB: r.reply})
	for _, f := range r.held {
		c.place(f)
	}
	return true
}

func isSlug(err error, slug wire.Slug) bool { return asError(err).Slug == slug }

func asError(err error) *wire.Error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e
	}
	return &wire.Error{Slug: wire.Unauthenticated, Message: err.Error()}
}

func refreshPB(left time.Duration) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Refresh{Refresh: &wirepb.RefreshReply{ExpiresMs: left.Milliseconds()}}}
}
