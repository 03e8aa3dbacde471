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
func ReadLog(data string, id wire.SessionID, fn func(*wire.Entry) error) (err error) {
	shards, err := Shards(data)
	if err != nil {
		return err
	}
	if shards == 0 {
		return fmt.Errorf("%s is no data directory of a node", data)
	}
	_, slot, ok := id.Place()
	if !ok {
		return fmt.Errorf("%q is no session id", id)
	}
	j, err := journal.Open(journal.Config{Dir: JournalDir(data), Groups: shards, FreeMin: -1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	g := j.Group(int(slot) % shards)
	if err := shard.ReadLog(g, id, fn); err != nil {
		return err
	}
	if s := g.State(); s.Mode != journal.OK {
		return fmt.Errorf("shard %d is %s, so what is printed may not be all: %s; see switchboard verify", int(slot)%shards, s.Mode, s.Reason)
	}
	return nil
}
