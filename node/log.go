package node

import (
	"errors"
	"fmt"

	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// ReadLog gives fn every entry of a session in order, from the data directory of a stopped node [SW-8.3]. fn's error
// ends it. When the session's shard has lost data, what is left is given to fn, and then the error says so.
func ReadLog(data string, id wire.SessionID, fn func(*wire.Entry) error) error {
	_, slot, ok := id.Place()
	if !ok {
		return fmt.Errorf("%q is no session id", id)
	}
	return WithStopped(data, func(j *journal.Journal, shards []int) error {
		if cfg, err := StoppedJournal(data); err == nil && cfg.Groups > 0 { // a node alone: every shard is here
			shards = []int{slot.Number() % cfg.Groups}
		}
		missing := fmt.Errorf("there is no session %s", id)
		for _, i := range shards {
			g, any := j.Group(i), false
			err := shard.ReadLog(g, id, func(e *wire.Entry) error {
				any = true
				return fn(e)
			})
			s := g.State()
			lost := fmt.Errorf("shard %d is %s, so what is printed may not be all: %s; see switchboard verify", i, s.Mode, s.Reason)
			switch {
			case !any && s.Mode == journal.OK:
				continue
			case !any: // it may be there, and may have been
				missing = errors.Join(missing, lost)
				continue
			case err != nil:
				return err
			case s.Mode != journal.OK:
				return lost
			}
			return nil
		}
		return missing
	})
}
