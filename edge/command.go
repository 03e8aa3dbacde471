package edge

import (
	"strings"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
)

// command checks a request and posts it to whom it concerns.
func (c *conn) command(cmd *wire.Command) bool {
	now := c.e.cfg.Now()
	if c.who.Role == wire.RoleCustomer && !c.rate.take(now, c.e.cfg.Limits.Rate, c.e.cfg.Limits.Burst) {
		wait := time.Duration(float64(time.Second) / c.e.cfg.Limits.Rate)
		c.fail(cmd, &wire.Error{Slug: wire.RateLimited, RetryAfter: wait})
		return true
	}
	cmd.Conn, cmd.Who = c.id, c.who
	if err := c.check(cmd); err != nil {
		c.fail(cmd, err)
		return true
	}
	switch cmd.Verb {
	case wire.VerbHello:
		c.refuse(cmd, wire.BadRequest)
		return true
	case wire.VerbRefresh:
		c.refresh(cmd)
		return true
	case wire.VerbSubscribe:
		who := *c.who
		who.Worker = who.Sub
		if inst := cmd.PB.GetSubscribe().GetInstance(); inst != "" {
			who.Worker += "/" + inst
		}
		c.who = &who
		cmd.Who = c.who
		c.subscribed.Store(true)
	default:
	}
	to, ok := c.address(cmd)
	if !ok {
		c.refuse(cmd, wire.NoSession)
		return true
	}
	if n, held := c.refused[cmd.Session]; held && cmd.Session != "" {
		if c.written.Load() < n { // [SW-4.2] what was sent behind a refused request is refused too
			c.fail(cmd, &wire.Error{Slug: wire.Overloaded, RetryAfter: 500 * time.Millisecond})
			return true
		}
		delete(c.refused, cmd.Session)
	}
	if !c.admit(cmd, now.UnixMilli()) {
		return true
	}
	if err := c.e.post(to, cmd); err != nil {
		n := c.fail(cmd, err)
		if cmd.Session != "" && n != 0 {
			if c.refused == nil {
				c.refused = map[wire.SessionID]uint64{}
			}
			c.refused[cmd.Session] = n
		}
	}
	return true
}

// admit counts a request that will be answered, or refuses it.
func (c *conn) admit(cmd *wire.Command, ms int64) bool {
	if cmd.ID == 0 {
		return true
	}
	limit := c.e.cfg.Limits.Inflight
	if c.who.Role != wire.RoleCustomer {
		limit = workerInflight
	}
	c.mu.Lock()
	_, twice := c.pending[cmd.ID]
	full := len(c.pending) >= limit
	if !twice && !full {
		if c.pending == nil {
			c.pending = map[uint64]request{}
		}
		c.pending[cmd.ID] = request{at: ms, verb: cmd.Verb}
	}
	c.mu.Unlock()
	switch {
	case twice:
		c.e.m.errors.WithLabelValues(string(wire.BadRequest)).Inc()
		c.bye(wire.CloseBadFrame, 0) // two requests with one id: nobody could tell their answers apart
		return false
	case full:
		c.refuse(cmd, wire.TooManyInflight)
		return false
	}
	return true
}

// address returns whom cmd concerns.
func (c *conn) address(cmd *wire.Command) (wire.Address, bool) {
	switch cmd.Verb {
	case wire.VerbSubscribe, wire.VerbAccept, wire.VerbDecline, wire.VerbPresence, wire.VerbSlots, wire.VerbWrapup:
		return wire.ToSlot(exchange.PoolSlot(c.who.Tenant)), true
	case wire.VerbIdentify:
		return wire.ToSlot(exchange.CustomerSlot(c.who.Tenant, c.who.Sub)), true
	case wire.VerbOpen:
		if cmd.Session == "" {
			return wire.ToSlot(exchange.CustomerSlot(c.who.Tenant, c.who.Sub)), true
		}
	default:
	}
	_, slot, ok := cmd.Session.Place()
	return wire.ToSlot(slot), ok
}

// check refuses what can be refused without knowing the session.
func (c *conn) check(cmd *wire.Command) *wire.Error {
	if !entitled(c.who.Role, cmd.Verb) {
		return wire.Refuse(wire.Forbidden)
	}
	for _, id := range [...]string{cmd.Key, cmd.Stream, cmd.Type} {
		if id != "" && !wire.ValidID(id) {
			return &wire.Error{Slug: wire.BadRequest, Message: "key, stream and type are 1 to 64 of A-Z a-z 0-9 _ . : -"}
		}
	}
	switch cmd.Verb {
	case wire.VerbSend, wire.VerbReply:
		if len(cmd.Body) == 0 {
			return &wire.Error{Slug: wire.InvalidBody, Message: "body is missing"}
		}
	case wire.VerbSubscribe:
		if inst := cmd.PB.GetSubscribe().GetInstance(); inst != "" && !wire.ValidID(inst) {
			return &wire.Error{Slug: wire.BadRequest, Message: "instance is 1 to 64 of A-Z a-z 0-9 _ . : -"}
		}
	case wire.VerbOpen:
		o := cmd.PB.GetOpen()
		for _, id := range [...]string{o.GetChannel(), o.GetQueue(), o.GetShop()} {
			if id != "" && !wire.ValidID(id) {
				return &wire.Error{Slug: wire.BadRequest, Message: "channel, queue and shop are 1 to 64 of A-Z a-z 0-9 _ . : -"}
			}
		}
		if len(o.GetAttributes()) > c.e.cfg.Limits.Body {
			return wire.Refuse(wire.TooLarge)
		}
		limit := c.e.cfg.Limits.Sessions
		if c.who.Role != wire.RoleCustomer {
			limit = workerSessions
		}
		if int(c.followed.Load()) >= limit {
			return &wire.Error{Slug: wire.QuotaExceeded, Message: "the connection follows as many sessions as it may; leave one", RetryAfter: time.Second}
		}
	default:
	}
	return nil
}

// entitled tells whether role may use verb at all; what it may do with a session is the session's business.
func entitled(role wire.Role, verb wire.Verb) bool {
	switch verb {
	case wire.VerbHello, wire.VerbRefresh, wire.VerbOpen, wire.VerbHistory, wire.VerbLeave:
		return role != wire.RoleService
	case wire.VerbSend, wire.VerbRate, wire.VerbIdentify:
		return role == wire.RoleCustomer
	case wire.VerbAck, wire.VerbTyping, wire.VerbClose:
		return role == wire.RoleCustomer || role == wire.RoleWorker
	default:
		return role == wire.RoleWorker
	}
}

// authenticate checks a token and makes its bearer the connection's. It reports false when the connection ends.
func (c *conn) authenticate(token string) bool {
	who, until, err := c.e.cfg.Tokens.Check(token, c.e.cfg.Now())
	if err != nil {
		code := wire.CloseBadToken
		if isSlug(err, wire.TokenExpired) {
			code = wire.CloseTokenExpired
		}
		c.bye(code, 0) // [SW-3.1]
		return false
	}
	if who.Worker == "" {
		who.Worker = who.Sub
	}
	c.who = &who
	c.expires.Store(until.UnixMilli())
	return true
}

// refresh extends the connection [SW-3.3].
func (c *conn) refresh(cmd *wire.Command) {
	who, until, err := c.e.cfg.Tokens.Check(cmd.PB.GetRefresh().GetToken(), c.e.cfg.Now())
	if err != nil {
		c.fail(cmd, asError(err))
		return
	}
	if who.Tenant != c.who.Tenant || who.Sub != c.who.Sub || who.Role != c.who.Role {
		c.fail(cmd, &wire.Error{Slug: wire.Forbidden, Message: "a refresh keeps tenant, sub and role"})
		return
	}
	who.Worker = c.who.Worker
	c.who = &who
	c.expires.Store(until.UnixMilli())
	c.answer(&wire.Frame{Kind: wire.FrameAnswer, ID: cmd.ID, Verb: cmd.Verb, PB: refreshPB(until.Sub(c.e.cfg.Now()))})
}

func tokenOf(s string) string { return strings.TrimSpace(s) }
