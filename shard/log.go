package shard

import (
	"errors"
	"fmt"

	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// ReadSessions gives fn the tenant and the id of every session of g, whether or not a shard runs on it. fn's error ends it.
func ReadSessions(g *journal.Group, fn func(tenant string, id wire.SessionID) error) error {
	type place struct {
		tenant string
		id     wire.SessionID
	}
	var list []place
	var bad error
	_, away, err := readStanding(g)
	if err != nil {
		return err
	}
	err = g.Scan([]byte{rowState}, []byte{rowState + 1}, false, func(k, v []byte) bool {
		st := &session.State{}
		if bad = session.ParseState(v, st); bad == nil && !(gone{away}).session(wire.SessionID(k[1:])) {
			list = append(list, place{st.Tenant, wire.SessionID(k[1:])})
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("reading sessions: %w", err)
	}
	for _, p := range list {
		if err := fn(p.tenant, p.id); err != nil {
			return err
		}
	}
	return nil
}

// ReadLog gives fn every entry of a session of g in order, whether or not a shard runs on it. fn's error ends it. A session that has left
// with its slot for another shard is not there.
func ReadLog(g *journal.Group, id wire.SessionID, fn func(*wire.Entry) error) error {
	var bad error
	last := uint64(0)
	prefix := sessionKey(nil, rowEntry, id)
	_, away, err := readStanding(g)
	if err != nil {
		return err
	}
	if (gone{away}).session(id) {
		return fmt.Errorf("session %s has left for another shard", id)
	}
	st := &session.State{}
	if row, err := g.Get(sessionKey(nil, rowState, id), nil); err == nil {
		if err := session.ParseState(row, st); err != nil {
			return fmt.Errorf("reading session %s: %w", id, err)
		}
	} else if !errors.Is(err, journal.ErrNotFound) {
		return fmt.Errorf("reading session %s: %w", id, err)
	}
	err = g.Scan(prefix, after(prefix), false, func(_, v []byte) bool {
		_, _, e, err := parseEntry(id, v)
		if bad = err; bad == nil && e.Seq != last+1 {
			bad = fmt.Errorf("entry %d follows %d", e.Seq, last)
		}
		if bad == nil {
			last = e.Seq
			bad = fn(st.Blank(e))
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("reading session %s: %w", id, err)
	}
	if last == 0 {
		return fmt.Errorf("there is no session %s", id)
	}
	return nil
}
