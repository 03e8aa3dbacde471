package broker

import (
	"container/heap"

	"switchboard/wire"
)

type timerKind uint8

const (
	endOffer timerKind = iota
	openHumans
	endGrace
	endWrapup
	repeatGrant
	repeatLost
)

// timer is something that is due at a time. What it is about may have ended since: then it means nothing.
type timer struct {
	at      int64
	n       uint64 // breaks ties by order of making
	kind    timerKind
	session wire.SessionID
	ticket  uint64
	worker  string
}

type timers struct {
	list []timer
	n    uint64
}

func (t *timers) add(at int64, v timer) {
	v.at, v.n = at, t.n
	t.n++
	heap.Push(t, v)
}

// Len implements heap.Interface.
func (t *timers) Len() int { return len(t.list) }

// Less implements heap.Interface.
func (t *timers) Less(i, j int) bool {
	a, b := &t.list[i], &t.list[j]
	return a.at < b.at || a.at == b.at && a.n < b.n
}

// Swap implements heap.Interface.
func (t *timers) Swap(i, j int) { t.list[i], t.list[j] = t.list[j], t.list[i] }

// Push implements heap.Interface.
func (t *timers) Push(v any) { t.list = append(t.list, v.(timer)) } //nolint:forcetypeassert // only timers are pushed

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	v := t.list[len(t.list)-1]
	t.list = t.list[:len(t.list)-1]
	return v
}

// Next returns when Tick has something to do, or 0.
func (c *Core) Next() int64 {
	if len(c.due.list) == 0 {
		return 0
	}
	return c.due.list[0].at
}

// Tick does what is due by now.
func (c *Core) Tick(now int64, out *Effects) {
	for len(c.due.list) > 0 && c.due.list[0].at <= now {
		c.fire(heap.Pop(&c.due).(timer), now, out) //nolint:forcetypeassert // only timers are in it
	}
}

func (c *Core) fire(t timer, now int64, out *Effects) {
	switch t.kind {
	case endOffer:
		c.expire(t.worker, now, out)
	case openHumans:
		if k := c.tasks[t.session]; k != nil && k.Ticket == t.ticket {
			k.humans = true
			if k.n >= 0 {
				c.place(k, now, out)
			}
		}
	case endGrace:
		if w := c.workers[t.worker]; w != nil && w.graces == t.ticket && w.conn == (wire.Conn{}) {
			c.giveUp(w, now, out)
			if len(w.holds) == 0 {
				delete(c.workers, w.ID)
			}
		}
	case endWrapup:
		if h := c.holds[t.session]; h != nil && h.wrapup && h.ae == t.ticket {
			c.release(h, 0, now, out)
		}
	case repeatGrant:
		if k := c.tasks[t.session]; k != nil && k.phase == granted && k.Ticket == t.ticket {
			out.add(k.grant)
			c.due.add(now+c.cfg.RepeatMS, timer{kind: repeatGrant, session: t.session, ticket: t.ticket})
		}
	case repeatLost:
		if h := c.holds[t.session]; h != nil && h.lost && h.ae == t.ticket {
			c.lose(h, now, out)
		}
	}
}

// expire ends an offer that nobody answered: its human is away [SW-5.9].
func (c *Core) expire(id string, now int64, out *Effects) {
	o := c.offers[id]
	if o == nil || o.end != "" {
		return
	}
	k, w := o.task, o.worker
	c.endOffer(o, "expired", out)
	w.used--
	c.setState(w, Away, now, out)
	out.add(Effect{Kind: Presence, Conn: w.conn, State: Away, Why: "missed"})
	exclude(k, w)
	c.back(k, "expired", now, out)
}
