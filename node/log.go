package node

import (
	"errors"
	"fmt"

	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// ReadLog gives fn every entry of a session in order, from the data directory of a stopped node [SW-8.3]. fn's error
// ends it.
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
	return shard.ReadLog(j.Group(int(slot)%shards), id, fn)
}
