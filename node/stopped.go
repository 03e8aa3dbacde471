package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"switchboard/cluster"
	"switchboard/shard/journal"
)

// StoppedJournal is how the journal of a stopped node is opened, or verified: with the shards that it has, and none is made. It fails
// when data is no data directory of a node.
func StoppedJournal(data string) (cfg journal.Config, err error) {
	s, err := readSettings(data)
	if err != nil {
		return cfg, err
	}
	if s == nil {
		return cfg, fmt.Errorf("%s is no data directory of a node", data)
	}
	if _, err := os.Stat(JournalDir(data)); err != nil {
		return cfg, fmt.Errorf("%s has no journal, it may never have started: %w", filepath.Clean(data), err)
	}
	cfg = journal.Config{Dir: JournalDir(data), Groups: s.Shards, FreeMin: -1}
	if s.Member != nil { // which shards those are the cluster has decided, and the journal knows
		cfg.Groups = -1
	}
	return cfg, nil
}

// WithStopped opens the journal of a stopped node for fn, which is told the shards that have rows there, in order. Of a member of a
// cluster these are copies: the last words may be at other nodes only.
func WithStopped(data string, fn func(j *journal.Journal, shards []int) error) error {
	cfg, err := StoppedJournal(data)
	if err != nil {
		return err
	}
	j, err := journal.Open(cfg)
	if err != nil {
		return err
	}
	var shards []int
	for i := range int(cluster.Meta) {
		if j.Group(i) != nil {
			shards = append(shards, i)
		}
	}
	return errors.Join(fn(j, shards), j.Close())
}
