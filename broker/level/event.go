package level

import (
	"bytes"
	"encoding/json"
	"slices"

	"switchboard/wire"
)

// event is what happened to the session.
func (c *Conversation) event(set *Set, e *wire.Entry, out *Out) {
	switch e.Type {
	case "session.opened":
		keepBytes(&c.shop, field(e.Body, `"shop"`))
	case "session.queued":
		keepBytes(&c.queue, field(e.Body, `"queue"`))
		c.leave(set, e, out)
		if c.early != 0 && c.early+1 == e.Seq { // what he said a moment ago is of this queue
			for i := range c.clocks {
				if r := &set.defs[i]; r.replies && len(r.Queues) > 0 && len(c.clocks[i].marks) == 0 && !slices.Contains(r.Ignore, c.earlyType) {
					c.begin(set, i, c.early, out)
				}
			}
		}
		c.early = 0
		for i := range c.clocks {
			if r := &set.defs[i]; r.Clock == Waiting && len(c.clocks[i].marks) == 0 {
				c.begin(set, i, e.Seq, out)
			}
		}
	case "session.assigned":
		c.leave(set, e, out)
		c.kind = kindOf(wire.Origin(field(e.Body, `"kind"`)))
		keepBytes(&c.last, field(e.Body, `"id"`))
		c.owner = c.last
		c.assigned(set, e, out)
	case "session.transferred", "session.released", "session.dead_lettered", "session.taken", "session.parked", "worker.lost":
		c.leave(set, e, out)
	case "session.closed":
		c.close(set, e, true, out)
	case "session.abandoned": // he gave up: what he waited for was not done
		c.giveUp(set, true, out)
	case "session.merged": // what is open goes on in the other session
		c.close(set, e, false, out)
	case "session.reopened":
		for i := range c.clocks {
			c.clocks[i].done = false
		}
	}
}

// assigned ends waiting and begins handling.
func (c *Conversation) assigned(set *Set, e *wire.Entry, out *Out) {
	for i := range c.clocks {
		r, k := &set.defs[i], &c.clocks[i]
		switch {
		case r.Clock == Waiting:
			c.answered(r, i, c.kind, c.owner, out)
		case r.Clock == Handling && r.kinds&c.kind != 0:
			k.marks = k.marks[:0]
			c.begin(set, i, e.Seq, out)
		}
	}
}

// leave ends somebody's having the session.
func (c *Conversation) leave(set *Set, e *wire.Entry, out *Out) {
	if c.kind == 0 {
		return
	}
	was := c.kind
	c.kind = 0 // what was held is due now
	for i := range c.clocks {
		r, k := &set.defs[i], &c.clocks[i]
		switch {
		case r.Clock == Handling:
			for j := range k.marks {
				c.stop(r, i, &k.marks[j], c.owner, out)
			}
			k.marks = k.marks[:0]
		case !r.replies:
		case was == bot && r.skip && r.Handover == Restart:
			c.restart(r, k, e.Seq)
		case was == human && r.Transfer == Miss && e.Type == "session.transferred":
			for j := range k.marks {
				c.end(r, i, &k.marks[j], out)
			}
			c.restart(r, k, e.Seq)
		case was == bot && r.skip:
			c.unhold(r, i, out)
		}
	}
	c.owner = ""
}

// unhold does at once what would have been due while a bot had the session.
func (c *Conversation) unhold(r *rule, i int, out *Out) {
	k := &c.clocks[i]
	for j := range k.marks {
		for m := &k.marks[j]; m.due <= c.now; {
			m.due = c.now // it was not due before: nothing was known then
			c.fire(r, i, j, m, out)
		}
	}
}

// restart lets what is open begin anew.
func (c *Conversation) restart(r *rule, k *clock, seq uint64) {
	for j := range k.marks {
		k.marks[j] = mark{since: c.now, seq: seq, n: k.marks[j].n, due: r.due(c.now, r.steps[0].after)}
	}
}

// close ends what is open. Without counting it is dropped.
func (c *Conversation) close(set *Set, e *wire.Entry, counted bool, out *Out) {
	c.giveUp(set, counted, out)
	for i := range c.clocks {
		if set.defs[i].Clock != Handling {
			c.clocks[i].done = true
		}
	}
	c.leave(set, e, out)
}

// giveUp ends what is open and not answered, but for what somebody handles.
func (c *Conversation) giveUp(set *Set, counted bool, out *Out) {
	for i := range c.clocks {
		r, k := &set.defs[i], &c.clocks[i]
		if r.Clock == Handling {
			continue // leave ends it
		}
		if !c.held(r) && counted {
			for j := range k.marks {
				if m := &k.marks[j]; m.missed || r.Unanswered == Miss {
					c.end(r, i, m, out)
				}
			}
		}
		k.marks = k.marks[:0]
	}
}

func keepBytes(s *string, b []byte) {
	if string(b) != *s {
		*s = string(b)
	}
}

// field returns the string that stands for a name, which is written with its quotes, in the object that the broker wrote as
// the body of an event. It does not allocate unless the string has escapes.
func field(body []byte, name string) []byte {
	for rest := body; ; {
		i := bytes.Index(rest, []byte(name))
		if i < 0 {
			return nil
		}
		before, after := rest[:i], rest[i+len(name):]
		rest = after
		// A name stands behind { or a comma, and a colon follows; inside of a string its quotes would be escaped.
		if n := len(before); n == 0 || before[n-1] != '{' && before[n-1] != ',' || len(after) < 2 || after[0] != ':' || after[1] != '"' {
			continue
		}
		value := after[2:]
		end := bytes.IndexAny(value, `"\`)
		if end < 0 {
			return nil
		}
		if value[end] == '"' {
			return value[:end]
		}
		var all map[string]any
		if json.Unmarshal(body, &all) != nil {
			return nil
		}
		v, _ := all[name[1:len(name)-1]].(string)
		return []byte(v)
	}
}
