package shard

import (
	"errors"
	"fmt"

	"switchboard/shard/journal"
	"switchboard/wire"
)

// ReadLog gives fn every entry of a session of g in order, whether or not a shard runs on it. fn's error ends it.
func ReadLog(g *journal.Group, id wire.SessionID, fn func(*wire.Entry) error) error {
	var bad error
	last := uint64(0)
	prefix := sessionKey(nil, rowEntry, id)
	err := g.Scan(prefix, after(prefix), false, func(_, v []byte) bool {
		_, _, e, err := parseEntry(id, v)
		if bad = err; bad == nil && e.Seq != last+1 {
			bad = fmt.Errorf("entry %d follows %d", e.Seq, last)
		}
		if bad == nil {
			last = e.Seq
			bad = fn(e)
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
