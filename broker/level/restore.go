package level

import (
	"encoding/binary"
	"errors"
	"reflect"
	"slices"

	"switchboard/wire"
)

// ErrRow says that bytes are none of AppendRow's, or of a newer version.
var ErrRow = errors.New("the row of a session's levels is damaged or of a newer version")

const rowVersion = 1

// AppendRow appends c as bytes, from which Restore goes on.
func (c *Conversation) AppendRow(set *Set, dst []byte) []byte {
	w := writer{append(dst, rowVersion)}
	w.num(c.seq)
	w.int(c.now)
	w.num(uint64(c.kind))
	for _, s := range [...]string{c.shop, c.queue, c.customer, c.owner} {
		w.str(s)
	}
	w.num(uint64(len(c.clocks)))
	for i := range c.clocks {
		k := &c.clocks[i]
		w.str(set.defs[i].Name)
		w.flags(k.done, k.counted, k.bad)
		w.int(int64(k.day))
		w.num(uint64(len(k.marks)))
		for j := range k.marks {
			m := &k.marks[j]
			w.int(m.since)
			w.num(m.seq)
			w.num(uint64(m.n)) //nolint:gosec // positive
			w.num(uint64(m.fired))
			w.flags(m.missed, false, false)
		}
	}
	return w.b
}

// Worth tells whether c needs its row: the end of the log alone might not tell what it knows.
func (c *Conversation) Worth(set *Set) bool {
	for i := range c.clocks {
		r, k := &set.defs[i], &c.clocks[i]
		if len(k.marks) > 0 || k.counted && (r.Unit == Session || r.Unit == Day) || r.Clock == FirstResponse && !k.done {
			return true
		}
	}
	return false
}

// Known is what a session's state says of it: what the entries that are at hand may not tell.
type Known struct {
	Shop, Queue, Customer string
	Owner                 string      // the sub of who has it, or empty
	Kind                  wire.Origin // bot or human, of the owner
}

// Restore returns the evaluator of a session that was not in memory: from the row that was written when it was let go, or nil,
// and the end of its log. What the entries bring is taken as counted: whoever restores has counted it, or has lost all counts.
//
// A row followed by entries without a gap is exact. Without one the log's end is all there is: a case that began before it
// begins with it, and a first response is taken as given.
func Restore(set *Set, row []byte, tail []*wire.Entry, known *Known, out *Out) (*Conversation, error) {
	c := New(set)
	err := c.parse(set, row)
	if err != nil {
		c = New(set)
	}
	if len(tail) > 0 && tail[0].Seq > c.seq+1 {
		c = New(set)
		c.guess(tail, known)
	}
	samples, actions := len(out.Samples), len(out.Actions)
	for _, e := range tail {
		c.Feed(set, e, out)
	}
	out.Samples, out.Actions = out.Samples[:samples], out.Actions[:actions]
	return c, err
}

// Succeed returns the evaluator of a session that old has counted by other definitions, before. tail is the end of its log; what of it old was not fed
// is taken as counted. A definition that has its name from before, and makes the same cases, goes on with those that are open: by its new limit
// and hours, from their own beginning, and nothing that was said of one is said again, however long the limit is by now. All others begin as
// [Restore] without a row has them. It leaves old as it is.
func Succeed(set *Set, old *Conversation, before *Set, tail []*wire.Entry, known *Known, out *Out) *Conversation {
	fresh, _ := Restore(set, nil, tail, known, out) // of no row there is nothing to be wrong
	if len(tail) > 0 && tail[0].Seq > old.seq+1 {
		return fresh
	}
	c := *old
	c.clocks = New(set).clocks
	heirs := make([]*rule, set.Len()) // by definition: the one before
	for i := range set.defs {
		j, ok := before.Index(set.defs[i].Name)
		if r := &set.defs[i]; ok && r.inherits(&before.defs[j], old) {
			heirs[i] = &before.defs[j]
			c.clocks[i] = old.clocks[j]
			c.clocks[i].marks = slices.Clone(old.clocks[j].marks) // old may still be fed what was on its way
			for n := range c.clocks[i].marks {
				r.takeOver(&c.clocks[i].marks[n], heirs[i])
			}
		}
	}
	c.now = 0 // what is due by the new definitions, and was not by those before, is said by the next Tick, and not passed over here
	c.settled(set)
	samples, actions := len(out.Samples), len(out.Actions)
	for _, e := range tail {
		c.Feed(set, e, out)
	}
	out.Samples, out.Actions = out.Samples[:samples], out.Actions[:actions]
	c.now = max(c.now, old.now)
	for i, from := range heirs {
		switch k := &c.clocks[i]; {
		case from == nil:
			*k = fresh.clocks[i]
		case !from.sameHours(&set.defs[i]): // which words begin a case is another matter by now
			k.marks = told(k.marks, fresh.clocks[i].marks)
		}
	}
	c.settled(set)
	return &c
}

// inherits tells whether what r counts of a session is what from has counted: the same words begin and end a case, hours aside.
func (r *rule) inherits(from *rule, c *Conversation) bool {
	return r.Clock == from.Clock && r.Unit == from.Unit && r.FullAuto == from.FullAuto && r.Handover == from.Handover && r.Transfer == from.Transfer &&
		r.kinds == from.kinds && slices.Equal(r.Ignore, from.Ignore) && r.scope(c.shop, c.queue) && from.scope(c.shop, c.queue)
}

// sameHours tells whether the clocks of both stand still, or count nothing, at the same time.
func (r *rule) sameHours(o *rule) bool {
	return r.Closed == o.Closed && reflect.DeepEqual(r.Hours, o.Hours)
}

// takeOver makes an open case of from one of r. What was said of it at a part of the limit is not said again at the same part of the other, or at
// a smaller one.
func (r *rule) takeOver(m *mark, from *rule) {
	if m.missed {
		m.fired, m.due = uint8(len(r.steps)), never //nolint:gosec // few
		return
	}
	done := uint8(0)
	if m.fired > 0 {
		for r.steps[done].part <= from.steps[m.fired-1].part {
			done++
		}
	}
	m.fired, m.due = done, r.due(m.since, r.steps[done].after)
}

// told returns open cases as they are found by other hours, with what was said of those that were open before.
func told(before, now []mark) []mark {
	for i := range now {
		if j := slices.IndexFunc(before, func(m mark) bool { return m.seq == now[i].seq }); j >= 0 {
			now[i] = before[j]
		}
	}
	return now
}

// guess fills in what the lost beginning of a log has said.
func (c *Conversation) guess(tail []*wire.Entry, known *Known) {
	c.shop, c.queue, c.customer = known.Shop, known.Queue, known.Customer
	same := true // the owner had it all the time
	for _, e := range tail {
		switch e.Type {
		case "session.queued", "session.assigned", "session.transferred", "session.closed", "session.released", "worker.lost", "session.taken":
			same = same && e.Kind != wire.KindEvent
		}
	}
	if same {
		c.owner, c.kind = known.Owner, kindOf(known.Kind)
	}
	for i := range c.clocks {
		c.clocks[i].done = true
	}
}

// parse reads a row of AppendRow. Definitions that are gone are left out, new ones begin.
func (c *Conversation) parse(set *Set, row []byte) error {
	if len(row) == 0 {
		return nil
	}
	r := reader{b: row}
	if r.byte() != rowVersion {
		return ErrRow
	}
	c.seq, c.now, c.kind = r.num(), r.int(), kinds(r.num()&uint64(human|bot|assist))
	c.shop, c.queue, c.customer, c.owner = r.str(), r.str(), r.str(), r.str()
	for range r.count() {
		i, ok := set.Index(r.str())
		k := &clock{}
		if ok {
			k = &c.clocks[i]
		}
		k.done, k.counted, k.bad = r.flags()
		k.day = int32(r.int()) //nolint:gosec // it was one
		for range r.count() {
			m := mark{since: r.int(), seq: r.num(), n: int32(r.num()), fired: uint8(r.num())} //nolint:gosec // they were ones
			m.missed, _, _ = r.flags()
			if !ok || r.bad || len(k.marks) == maxMarks || m.n < 1 {
				continue
			}
			c.resume(&set.defs[i], &m)
			k.marks = append(k.marks, m)
		}
	}
	if r.bad || len(r.b) > 0 {
		return ErrRow
	}
	c.settled(set)
	return nil
}

// resume says what is due next of a case that was read. The definition may have other warnings than when it was written.
func (c *Conversation) resume(r *rule, m *mark) {
	last := len(r.steps) - 1
	if m.missed {
		m.fired, m.due = uint8(last+1), never //nolint:gosec // few
		return
	}
	m.fired = min(m.fired, uint8(last)) //nolint:gosec // few
	m.due = r.due(m.since, r.steps[m.fired].after)
}

// writer appends fields.
type writer struct{ b []byte }

func (w *writer) num(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)  { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) str(s string) { w.num(uint64(len(s))); w.b = append(w.b, s...) }

func (w *writer) flags(a, b, c bool) {
	v := byte(0)
	for i, on := range [...]bool{a, b, c} {
		if on {
			v |= 1 << i
		}
	}
	w.b = append(w.b, v)
}

// reader takes fields off the front; after the first that does not fit it is bad, and everything reads as zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) flags() (a, b, c bool) {
	v := r.byte()
	return v&1 != 0, v&2 != 0, v&4 != 0
}

func (r *reader) num() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the length of a list, each item of which takes a byte at least.
func (r *reader) count() int {
	n := r.num()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n) //nolint:gosec // bounded by what is left
}

func (r *reader) str() string {
	n := r.count()
	v := string(r.b[:n])
	r.b = r.b[n:]
	return v
}
