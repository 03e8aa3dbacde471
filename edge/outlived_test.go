package edge

import (
	"fmt"
	"testing"

	"switchboard/wire"
)

// An owner whose node has not heard yet that another leads says of a worker's session what was before: that it is not his, or not under this ae. The
// worker, to whom the next owner has given it, does not hear that: he is answered by the next, as soon as there is a way to him. What that one refuses he
// hears [SW-5.3].
func TestRefusedByAnOwnerBefore(t *testing.T) {
	for _, slug := range []wire.Slug{wire.StaleAssignment, wire.NoSession} {
		r := newRig(t, nil)
		alice, bot := r.login(wire.JSON, "demo/customer/alice"), r.login(wire.JSON, "demo/worker/bot")
		id := alice.open()
		bot.ask(`"subscribe":{"queues":["default"]}`)
		conn := r.shard.lastConn(wire.VerbSubscribe)
		old := r.shard
		next := old.next(2)
		next.begin(t)
		// Its pool keeps quiet: that it knows of no assignment is not what this is about.
		setFunc(&next.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
		next.assign(id, conn) // it leads, and this node sends to the other one still
		if m := bot.next(); m.GetAssigned().GetAe() != 1 {
			t.Fatalf("first came %v", m)
		}
		setFunc(&old.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbReply })
		refuse := func(by *echo, asked *echo, n int) {
			eventually(t, "the owner is asked", func() bool { return asked.count(wire.VerbReply) >= n })
			asked.mu.Lock()
			request := uint64(0)
			for i := range asked.seen {
				if c := &asked.seen[i]; c.Verb == wire.VerbReply {
					request = c.ID
				}
			}
			asked.mu.Unlock()
			by.post(conn, &wire.Frame{Kind: wire.FrameError, ID: request, Session: id, Verb: wire.VerbReply, Err: wire.Refuse(slug)})
		}
		bot.say(fmt.Sprintf(`{"id":7,"reply":{"session":%q,"ae":1,"body":"mine"}}`, id))
		refuse(old, old, 1)
		refuse(old, old, 2) // it was asked again, and knows no more
		r.x.PlugSlots(allSlots(), next)
		for m := bot.next(); ; m = bot.next() {
			if m.GetError() != nil {
				t.Fatalf("%s: he hears %v", slug, m.GetError())
			}
			if m.Id == 7 {
				if m.GetReply().GetSeq() != 1 {
					t.Fatalf("he is answered %v", m)
				}
				break
			}
		}
		setFunc(&next.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbReply || c.Verb == wire.VerbSubscribe })
		asked := next.count(wire.VerbReply)
		bot.say(fmt.Sprintf(`{"id":8,"reply":{"session":%q,"ae":1,"body":"more"}}`, id))
		refuse(next, next, asked+1)
		for m := bot.next(); m.Id != 8; m = bot.next() {
			if m.GetDelivery() == nil {
				t.Fatalf("came %v", m)
			}
		}
	}
}
