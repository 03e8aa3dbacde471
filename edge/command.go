package edge

import (
	"time"

	"switchboard/wire"
)

// bucket is a token bucket. The zero bucket is full.
type bucket struct {
	spent float64 // tokens that have not come back
	at    int64   // Unix ms
}

// take takes cost tokens, or returns how long it takes until they are there. A clock that is set back brings none, and takes none.
func (b *bucket) take(now int64, cost, rate float64, burst int) (wait time.Duration) {
	b.spent = max(b.spent-float64(max(now-b.at, 0))/1000*rate, 0)
	b.at = now
	if over := b.spent + cost - float64(burst); over > 0 {
		return max(time.Duration(over/rate*float64(time.Second)), time.Millisecond)
	}
	b.spent += cost
	return 0
}

// cost is what a verb takes from the bucket. What a client says about what it was shown is cheap: there may be many
// entries to acknowledge after a pause.
func cost(verb wire.Verb) float64 {
	switch verb {
	case wire.VerbAck, wire.VerbTyping:
		return 0.25
	}
	return 1
}

// abuseMost is how many requests in a row may be refused as too fast before the connection is closed 3013.
const abuseMost = 256

// pace refuses a request of a customer that comes too fast.
func (c *conn) pace(cmd *wire.Command) bool {
	if c.who.Load().Role != wire.RoleCustomer {
		return true
	}
	l := &c.e.cfg.Limits
	wait := c.rate.take(c.lastRead.Load(), cost(cmd.Verb), l.Rate, l.Burst)
	if wait == 0 {
		c.abuse = 0
		return true
	}
	c.fail(cmd, &wire.Error{Slug: wire.RateLimited, RetryAfter: wait})
	if c.abuse++; c.abuse > abuseMost {
		c.bye(wire.CloseRate, 0)
	}
	return false
}

// command checks a request and posts it to whom it concerns.
func (c *conn) command(cmd *wire.Command) {
	who := c.who.Load()
	cmd.Conn, cmd.Who = c.id, who
	if err := c.e.check(cmd); err != nil {
		c.fail(cmd, err)
		return
	}
	switch cmd.Verb {
	case wire.VerbHello:
		c.fail(cmd, &wire.Error{Slug: wire.BadRequest, Message: "hello was said already; refresh takes a new token"})
		return
	case wire.VerbRefresh:
		c.refresh(cmd)
		return
	case wire.VerbIdentify:
		if err := c.e.identify(cmd); err != nil {
			c.fail(cmd, err)
			return
		}
	case wire.VerbSubscribe:
		if !c.subscribe(cmd) {
			return
		}
	case wire.VerbWatch:
		if c.e.draining.Load() {
			c.refuse(cmd, wire.Draining)
			return
		}
		c.startWatch(cmd)
		return
	case wire.VerbDelta, wire.VerbReply, wire.VerbAck, wire.VerbNack, wire.VerbTransfer, wire.VerbRelease, wire.VerbContext, wire.VerbClose, wire.VerbAttributes, wire.VerbTyping:
		if c.ousted.Load() && cmd.GE == 0 { // [SW-5.7] its worker speaks from another connection, under the same ae
			c.refuse(cmd, wire.StaleAssignment)
			return
		}
	case wire.VerbStats:
		c.subscribed.Store(true) // its pool is told when it ends
	case wire.VerbOpen, wire.VerbJoin:
		if !c.room(cmd) {
			c.fail(cmd, &wire.Error{Slug: wire.QuotaExceeded, Message: "the connection follows as many sessions as it may; leave one", RetryAfter: time.Second})
			return
		}
	default:
	}
	if c.e.draining.Load() && cmd.ID != 0 {
		c.refuse(cmd, wire.Draining)
		return
	}
	to, ok := c.e.route(cmd)
	if !ok {
		c.refuse(cmd, wire.NoSession)
		return
	}
	if c.held(cmd) {
		return
	}
	if err := c.pose(cmd, to, 0, c.e.cfg.inflight(who.Role)); err != nil {
		n := c.fail(cmd, err)
		if err.Slug == wire.Overloaded {
			c.holdBack(cmd.Session, n)
		}
	}
}

// refusal is what keeps a session's later requests out: until its answer is written and its sender has had time to read it.
type refusal struct {
	answer uint64 // its number in the outbox
	until  int64  // Unix ms
}

// over tells whether whoever sends now can know of the refusal.
func (c *conn) over(r refusal) bool { return c.written.Load() >= r.answer && c.e.now() >= r.until }

// held refuses what was sent behind a refused request about the same session before its sender could know [SW-4.2]. He is told
// to wait for overloadRetry, so whatever comes before that was on its way already.
func (c *conn) held(cmd *wire.Command) bool {
	r, ok := c.refused[cmd.Session]
	if !ok {
		return false
	}
	if c.over(r) {
		delete(c.refused, cmd.Session)
		return false
	}
	c.holdBack(cmd.Session, c.fail(cmd, overloaded()))
	return true
}

// holdBack makes held refuse everything about session for a while after answer n.
func (c *conn) holdBack(session wire.SessionID, n uint64) {
	if n == 0 || session == "" {
		return
	}
	if c.refused == nil {
		c.refused = map[wire.SessionID]refusal{}
	}
	if len(c.refused) >= maxRefused {
		for id, r := range c.refused {
			if c.over(r) || len(c.refused) >= 2*maxRefused {
				delete(c.refused, id)
			}
		}
	}
	c.refused[session] = refusal{answer: n, until: c.e.now() + overloadRetry.Milliseconds()}
}

// maxRefused is from how many refusals on those that are over are forgotten.
const maxRefused = 64

// subscribe gives the connection's worker its name [SW-5.7].
func (c *conn) subscribe(cmd *wire.Command) bool {
	who := *cmd.Who
	who.Worker = who.Sub
	if inst := cmd.PB.GetSubscribe().GetInstance(); inst != "" {
		who.Worker += "/" + inst
	}
	if c.subscribed.Load() && who.Worker != cmd.Who.Worker {
		c.fail(cmd, &wire.Error{Slug: wire.BadRequest, Message: "the connection is subscribed under another instance"})
		return false
	}
	c.who.Store(&who)
	cmd.Who = &who
	c.subscribed.Store(true)
	return true
}

// room tells whether the connection may follow one session more.
func (c *conn) room(cmd *wire.Command) bool {
	limit := c.e.cfg.sessions(cmd.Who.Role)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lines.size()+int(c.opens) < limit {
		return true
	}
	l := c.lines.get(cmd.Session)
	return l != nil && l.attached
}

// identify checks the second token [SW-3.4]. The command carries the sub that it names in Text, and no token.
func (e *Edge) identify(cmd *wire.Command) *wire.Error {
	m := cmd.PB.GetIdentify()
	who, _, err := e.bearerOf(m.GetToken())
	if err != nil {
		return asError(err)
	}
	if who.Tenant != cmd.Who.Tenant || who.Role != wire.RoleCustomer {
		return &wire.Error{Slug: wire.Forbidden, Message: "identify takes a customer's token of the same tenant"}
	}
	m.Token = ""
	cmd.Text = who.Sub
	return nil
}

// route returns whom cmd concerns. A session of another placement group than its tenant's is nobody's.
func (e *Edge) route(cmd *wire.Command) (wire.Address, bool) {
	if cmd.For != nil && (cmd.Who.Role == wire.RoleService || cmd.Verb == wire.VerbLink) {
		return wire.ToSlot(e.x.IdentitySlot(cmd.Who.Tenant, cmd.For.Channel, cmd.For.ID)), true // [SW-5a.6]
	}
	switch cmd.Verb {
	case wire.VerbSubscribe, wire.VerbAccept, wire.VerbDecline, wire.VerbPresence, wire.VerbSlots, wire.VerbWrapup, wire.VerbStats:
		return e.poolOf(cmd.Who.Tenant), true
	case wire.VerbConfigure, wire.VerbDocument:
		return e.poolOf(cmd.Who.Tenant), true
	case wire.VerbIdentities, wire.VerbErase:
		return wire.ToSlot(e.x.CustomerSlot(cmd.Who.Tenant, cmd.Text)), true
	case wire.VerbIdentify: // with whom it ends: that is one way less
		return wire.ToSlot(e.x.CustomerSlot(cmd.Who.Tenant, cmd.Text)), true
	case wire.VerbOpen:
		if cmd.Session == "" {
			return wire.ToSlot(e.x.CustomerSlot(cmd.Who.Tenant, cmd.Who.Sub)), true
		}
	default:
	}
	group, slot, ok := cmd.Session.Place()
	return wire.ToSlot(slot), ok && e.x.Hosts(group, cmd.Who.Tenant)
}

// entitled tells whether role may use verb at all; what it may do with a session is the session's business.
func entitled(role wire.Role, verb wire.Verb) bool {
	switch verb {
	case wire.VerbHello, wire.VerbRefresh:
		return true
	case wire.VerbOpen, wire.VerbHistory, wire.VerbLeave:
		return true
	case wire.VerbSend:
		return role == wire.RoleCustomer || role == wire.RoleService
	case wire.VerbRate, wire.VerbIdentify:
		return role == wire.RoleCustomer
	case wire.VerbAck, wire.VerbTyping:
		return role == wire.RoleCustomer || role == wire.RoleWorker || supervises(role)
	case wire.VerbClose:
		return role != wire.RoleSystem
	case wire.VerbReply, wire.VerbNack, wire.VerbTransfer, wire.VerbRelease, wire.VerbContext, wire.VerbDelta, wire.VerbAttributes, wire.VerbInvite, wire.VerbJoin:
		return role == wire.RoleWorker || supervises(role) // who took a session has an owner's verbs [SW-5a.4]
	case wire.VerbWatch, wire.VerbIdentities, wire.VerbLink:
		return supervises(role) || role == wire.RoleService
	case wire.VerbErase:
		return role == wire.RoleOperator
	case wire.VerbTake, wire.VerbAssign, wire.VerbStats, wire.VerbConfigure, wire.VerbDocument:
		return supervises(role)
	case wire.VerbExplain:
		return role == wire.RoleWorker || supervises(role)
	default:
		return role == wire.RoleWorker
	}
}

// supervises tells whether role has the verbs of [SW-5a].
func supervises(role wire.Role) bool { return role == wire.RoleSupervisor || role == wire.RoleOperator }

func overloaded() *wire.Error {
	return &wire.Error{Slug: wire.Overloaded, RetryAfter: overloadRetry}
}

// overloadRetry is after how long a client that met a full inbox tries again: a shard empties its inbox in far less.
const overloadRetry = 500 * time.Millisecond
