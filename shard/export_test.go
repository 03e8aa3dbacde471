package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"switchboard/broker"
	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// Rebuilt compares every session and customer in the memory of s, which is closed, with what the rows of g make of it
// [I12]. It returns how many it compared.
func (s *Shard) Rebuilt(g *journal.Group) (n int, err error) {
	other := &Shard{cfg: s.cfg, g: g}
	for id, h := range s.sessions {
		if h.state == nil {
			continue
		}
		r := other.readSession(g, id)
		if r.err != nil || r.state == nil {
			return n, fmt.Errorf("reading session %s: %w", id, r.err)
		}
		if err := other.readLive(g, id, r.state); err != nil {
			return n, fmt.Errorf("reading wrap-ups after session %s: %w", id, err)
		}
		was, is := session.AppendLive(session.AppendState(nil, h.state), h.state), session.AppendLive(session.AppendState(nil, r.state), r.state)
		switch {
		case !bytes.Equal(was, is):
			return n, fmt.Errorf("session %s was\n%+v\nand is\n%+v", id, h.state, r.state)
		case h.state.KeyCount != r.state.KeyCount || !maps.Equal(keysOf(h.state), keysOf(r.state)):
			return n, fmt.Errorf("the %d keys of session %s were\n%v\nand the %d are\n%v", h.state.KeyCount, id, keysOf(h.state), r.state.KeyCount, keysOf(r.state))
		case h.state.Live() != r.state.Live():
			return n, fmt.Errorf("session %s is live %v", id, r.state.Live())
		}
		wasTail, isTail := h.state.Tail(), r.state.Tail()
		for i := range wasTail { // what was read may be longer at its beginning, or shorter by its bounds
			a := wasTail[len(wasTail)-1-i]
			if i >= len(isTail) {
				break
			}
			if b := isTail[len(isTail)-1-i]; !reflect.DeepEqual(a, b) {
				return n, fmt.Errorf("session %s: entry %d was %+v and is %+v", id, a.Seq, a, b)
			}
		}
		n++
	}
	for id, c := range s.customers {
		if c.state == nil {
			continue
		}
		r := other.readCustomer(job{kind: jobCustomer, customer: id})
		if r.err != nil {
			return n, r.err
		}
		if !bytes.Equal(session.AppendCustomer(nil, c.state), session.AppendCustomer(nil, r.cust)) {
			return n, fmt.Errorf("customer %v was %+v and is %+v", id, c.state, r.cust)
		}
		n++
	}
	return n, nil
}

// keysOf returns the remembered keys of st by their numbers: where in its ring a key stands says nothing.
func keysOf(st *session.State) map[uint64]string {
	keys := map[uint64]string{}
	for _, k := range st.Keys.All() {
		keys[k.N] = fmt.Sprintf("%+v", k)
	}
	return keys
}

// Identities returns how many external ids are in the memory of s, which is closed.
func (s *Shard) Identities() int { return len(s.identities) }

// Read returns how much of what the loader has read waits for the owner.
func (s *Shard) Read() int { return s.loaded.Len() }

// RowsThatMove are the kinds of rows that go with their slot when a shard is split; RowsThatStay are the shard's own.
var (
	RowsThatMove = string(sessionRows) + string(otherRows)
	RowsThatStay = string([]byte{rowStanding, rowAway, rowFloor, rowFeed, rowGuard})
)

// RowsOf counts the rows of g that belong to slots which are asked for, by their numbers.
func RowsOf(g *journal.Group, asked func(slot int) bool) (n int) {
	for _, kind := range []byte(RowsThatMove) {
		_ = g.Scan([]byte{kind}, []byte{kind + 1}, false, func(k, _ []byte) bool {
			slot := numberOf(k)
			if bytes.IndexByte(sessionRows, kind) >= 0 {
				_, at, _ := wire.SessionID(k[1:min(len(k), 1+len("s_0000000000000000"))]).Place()
				slot = at.Number()
			}
			if asked(slot) {
				n++
			}
			return true
		})
	}
	return n
}

// Counted lets a pool of a shard as cfg has it begin with answers to its census, and returns how many sessions its one worker has by then.
func Counted(cfg Config, list ...*wire.CensusAnswer) (used int) {
	s := &Shard{cfg: cfg}
	p := &pool{tenant: "demo", number: 1, core: broker.New(cfg.Tenants["demo"].Broker), t: cfg.Tenants["demo"]}
	shards := make([]uint32, len(cfg.Peers))
	for i := range shards {
		shards[i] = uint32(i) //nolint:gosec // few
	}
	p.core.Open(p.number, shards, 1, &p.out)
	for _, a := range list {
		c := *a
		c.Pool = p.number
		p.censusAnswer(s, &c)
	}
	for w := range p.core.Workers("", "") {
		used += w.Used
	}
	return used
}

// KeepsWhy returns t with explanations of all assignments.
func (t *Tenant) KeepsWhy() *Tenant {
	n := *t
	n.Broker.TraceEvery, n.Broker.TraceKeep, n.keeps = 1, traceKeep, keepsWhy{whyDays, whyEach}
	return &n
}

// WhyHead is what a grant says before why it was decided.
func WhyHead(each uint64, until int64) []byte {
	return binary.AppendVarint(binary.AppendUvarint(nil, each), until)
}

// WhyRows counts the explanations of a session, and fails when one is damaged.
func WhyRows(g *journal.Group, id wire.SessionID) (assigned, untaken int, err error) {
	prefix := sessionKey(nil, rowWhy, id)
	bad := error(nil)
	err = g.Scan(prefix, after(prefix), false, func(k, v []byte) bool {
		_, _, record, ok := cutWhy(v)
		var d broker.Decision
		ring, at := uint64(untakenRow), lastNumber(k)
		if at < ring {
			ring = 0
		}
		if !ok || broker.ParseDecision(record, &d) != nil || d.Session != id || (ring > 0) != (d.Ended != "") || ring == 0 && d.Ticket%whyEach != at && d.Ticket%3 != at || at-ring >= whyMost {
			bad = fmt.Errorf("row %q of session %s holds %q", k, id, v)
		}
		if ring > 0 {
			untaken++
		} else {
			assigned++
		}
		return true
	})
	return assigned, untaken, errors.Join(err, bad)
}

// Waits tells how often a session has waited for a worker: the number of its last ticket.
func Waits(g *journal.Group, id wire.SessionID) (uint64, error) {
	row, err := g.Get(sessionKey(nil, rowState, id), nil)
	if err != nil {
		return 0, err
	}
	var st session.State
	err = session.ParseState(row, &st)
	return st.Ticket, err
}

// HookRows counts the calls of hooks that nobody has taken yet.
func HookRows(g *journal.Group) (n int, err error) {
	err = g.Scan([]byte{rowHook}, []byte{rowHook + 1}, false, func(_, v []byte) bool {
		if _, ok := parseHook(v); ok {
			n++
		}
		return true
	})
	return n, err
}

// Copies writes the rows of a live session of g again, for n others of its slot, which are live then, and waits until they are durable. No shard runs on g.
func Copies(g *journal.Group, id wire.SessionID, n int) error {
	type row struct{ key, val []byte }
	var rows []row
	for _, kind := range sessionRows {
		prefix := sessionKey(nil, kind, id)
		if err := g.Scan(prefix, after(prefix), false, func(k, v []byte) bool {
			rows = append(rows, row{bytes.Clone(k), bytes.Clone(v)})
			return true
		}); err != nil {
			return err
		}
	}
	_, slot, _ := id.Place()
	done := make(chan error, 1)
	var last, durable atomic.Uint64
	g.Start(func(index uint64, err error) {
		if durable.Store(index); err != nil || index == last.Load() {
			select {
			case done <- err:
			default:
			}
		}
	})
	var turn journal.Turn
	for i := range n {
		turn.Reset()
		other := wire.NewSessionID(slot.Group(), slot, uint64(i+1)*0x9e3779b97f4a7c15) //nolint:gosec // a number
		for _, r := range rows {
			turn.Put(append(sessionKey(nil, r.key[0], other), r.key[1+len(id):]...), r.val)
		}
		index, err := g.Append(&turn)
		if err != nil {
			return err
		}
		if i == n-1 {
			if last.Store(index); durable.Load() == index {
				return nil
			}
			return <-done
		}
	}
	return nil
}

// ReadAlike reads a session of g as a shard does, and again row by row, all that there are of it, and compares the two. It returns how many keys are in memory.
func ReadAlike(g *journal.Group, id wire.SessionID) (keys int, err error) {
	err = g.View(func(v *journal.View) error {
		s := &Shard{g: g, cfg: Config{Now: time.Now}}
		r := s.readSession(v, id)
		if r.err != nil {
			return r.err
		}
		want, err := readPlainly(v, id)
		if err != nil {
			return err
		}
		if keys = len(want.Keys.All()); !reflect.DeepEqual(r.state, want) {
			return fmt.Errorf("session %s was read as\n%+v\nand is\n%+v", id, r.state, want)
		}
		return nil
	})
	return keys, err
}

// readPlainly reads all rows of a session whose keys are all remembered, and takes from them what belongs into memory.
func readPlainly(g Rows, id wire.SessionID) (*session.State, error) {
	row, err := g.Get(sessionKey(nil, rowState, id), nil)
	if err != nil {
		return nil, err
	}
	st := &session.State{}
	errs := []error{session.ParseState(row, st)}
	scan := func(kind byte, fn func(n uint64, v []byte) error) {
		prefix := sessionKey(nil, kind, id)
		errs = append(errs, g.Scan(prefix, after(prefix), false, func(k, v []byte) bool {
			errs = append(errs, fn(lastNumber(k), v))
			return true
		}))
	}
	var lines []session.KeyAt
	var upTo uint64
	scan(rowKeyList, func(n uint64, v []byte) (err error) {
		upTo = n
		lines, err = session.ParseKeyList(v, lines)
		return err
	})
	keys := map[uint64]session.Key{}
	scan(rowKey, func(_ uint64, v []byte) error {
		var k session.Key
		err := session.ParseKey(bytes.Clone(v), &k)
		keys[k.N] = k
		return err
	})
	var entries []*wire.Entry
	var sizes []int
	var marks session.Marks
	scan(rowEntry, func(_ uint64, v []byte) error {
		m, ride, e, err := parseEntry(id, v)
		if marks = m; ride.N != 0 {
			keys[ride.N] = ride.Known(e)
		}
		entries, sizes = append(entries, e), append(sizes, len(v))
		return err
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	from, size := len(entries), 0
	for from > 0 && len(entries)-from < session.TailEntries && size < session.TailBytes {
		from--
		size += sizes[from]
	}
	numbers := slices.Sorted(maps.Keys(keys))
	listed, _ := slices.BinarySearch(numbers, upTo+1) // so many of them
	if listed != len(lines) {
		return nil, fmt.Errorf("%d of %d keys are listed, in %d lines", listed, len(numbers), len(lines))
	}
	split := min(max(len(numbers)-session.KeysInMemory, 0), listed)
	var latest []session.Key
	for _, n := range numbers[split:] {
		latest = append(latest, keys[n])
	}
	head := uint64(0)
	if len(entries) > 0 {
		head = entries[len(entries)-1].Seq
	}
	st.CatchUp(head, marks, upTo)
	st.Remember(entries[from:], latest, lines[:split], upTo)
	return st, nil
}
