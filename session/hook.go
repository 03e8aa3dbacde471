package session

import (
	"strconv"

	"switchboard/wire"
)

// Call is what a hook is told of a session whose route has come to its last step. It is written once, so that every attempt says the same.
type Call struct {
	ID     string // the same for one ticket of one session, whoever calls
	Action string // leave_message, callback or ticket
	Step   string
	At     string // RFC 3339
	// OpensAt is when queue and shop open again, Unix ms; 0 is that they are open, or nobody knows.
	OpensAt int64
}

// AppendCall appends the body of a call, JSON: the type and time of what happened, and what a ticket is made of. Attributes beyond 16 KiB are
// left out.
func (s *State) AppendCall(dst []byte, c *Call) []byte {
	data := object("tenant", s.Tenant, "session", string(s.ID))
	data = objectNum(data, "ticket", s.Ticket)
	data = objectString(objectString(data, "action", c.Action), "step", c.Step)
	data = objectString(data, "queue", s.Queue)
	if s.Shop != "" {
		data = objectString(data, "shop", s.Shop)
	}
	data = objectString(data, "customer", s.Customer.ID)
	if s.Customer.Name != "" {
		data = objectString(data, "customer_name", s.Customer.Name)
	}
	if s.Tier != "" {
		data = objectString(data, "tier", s.Tier)
	}
	data = objectString(data, "channel", s.Channels[0])
	data = objectNum(data, "waiting_since", uint64(max(s.EnqueuedAt, 0))) //nolint:gosec // not negative
	data = objectNum(data, "messages", s.Head)
	if c.OpensAt > 0 {
		data = objectNum(data, "opens_at", uint64(c.OpensAt)) //nolint:gosec // positive
	}
	if n := len(s.Attributes); n > 0 && n <= maxCallAttributes {
		data = objectRaw(data, "attributes", s.Attributes)
	}
	b := object("id", c.ID, "type", EventResort, "timestamp", c.At)
	return append(dst, objectRaw(b, "data", data)...)
}

// maxCallAttributes bounds the attributes that a hook is told, in bytes.
const maxCallAttributes = 16 << 10

// CallID returns the id of the call for a ticket of s.
func (s *State) CallID(ticket uint64) string {
	return "msg_" + string(s.ID) + "_" + strconv.FormatUint(ticket, 10)
}

// Hooked writes what became of a hook's call, for staff: that it was taken, or that it is given up [SW-4.9].
func (s *State) Hooked(env *Env, name string, h *wire.Hooked, d *Decision) {
	typ, body := EventHookDelivered, objectString(nil, "hook", name)
	body = objectNum(objectNum(body, "ticket", h.Ticket), "attempts", uint64(h.Attempt))
	if h.Status > 0 {
		body = objectNum(body, "status", uint64(h.Status)) //nolint:gosec // positive
	}
	if h.Err != "" {
		typ, body = EventHookFailed, objectString(body, "why", h.Err)
	}
	s.event(env, typ, body, d)
}
