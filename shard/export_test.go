package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"reflect"

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
		r := other.readSession(id)
		if r.err != nil || r.state == nil {
			return n, fmt.Errorf("reading session %s: %w", id, r.err)
		}
		was, is := session.AppendState(nil, h.state), session.AppendState(nil, r.state)
		switch {
		case !bytes.Equal(was, is):
			return n, fmt.Errorf("session %s was\n%+v\nand is\n%+v", id, h.state, r.state)
		case h.state.KeyCount != r.state.KeyCount || !maps.Equal(keysOf(h.state), keysOf(r.state)):
			return n, fmt.Errorf("the %d keys of session %s were\n%v\nand the %d are\n%v", h.state.KeyCount, id, keysOf(h.state), r.state.KeyCount, keysOf(r.state))
		case h.state.Live() != r.state.Live():
			return n, fmt.Errorf("session %s is live %v", id, r.state.Live())
		}
		for i := range h.state.Tail { // what was read may be longer at its beginning, or shorter by its bounds
			a := h.state.Tail[len(h.state.Tail)-1-i]
			if i >= len(r.state.Tail) {
				break
			}
			if b := r.state.Tail[len(r.state.Tail)-1-i]; !reflect.DeepEqual(a, b) {
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
	list := reflect.ValueOf(st.Keys).FieldByName("keys")
	keys := map[uint64]string{}
	for i := range list.Len() {
		k := list.Index(i)
		keys[k.FieldByName("N").Uint()] = fmt.Sprintf("%+v", k)
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
	RowsThatStay = string([]byte{rowStanding, rowAway, rowFeed})
)

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
func WhyRows(g *journal.Group, id wire.SessionID) (n int, err error) {
	prefix := sessionKey(nil, rowWhy, id)
	bad := error(nil)
	err = g.Scan(prefix, after(prefix), false, func(k, v []byte) bool {
		_, _, record, ok := cutWhy(v)
		var d broker.Decision
		if !ok || broker.ParseDecision(record, &d) != nil || d.Session != id || d.Ticket%whyEach != lastNumber(k) && d.Ticket%3 != lastNumber(k) {
			bad = fmt.Errorf("row %q of session %s holds %q", k, id, v)
		}
		n++
		return true
	})
	return n, errors.Join(err, bad)
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
