package shard

import (
	"log/slog"
	"sync/atomic"
)

type stats struct {
	mail, turns, entries, abandoned, dropped atomic.Uint64
	sessions, loaded                         atomic.Int64
}

// Stats is how busy a shard has been since it was opened.
type Stats struct {
	Mail      uint64 // pieces of mail taken
	Turns     uint64 // turns with rows
	Entries   uint64 // entries written
	Abandoned uint64 // turns that the journal refused
	Dropped   uint64 // mail that found no room, and no room to wait
	Sessions  int64  // sessions with a place in memory, loaded or attached
	Loaded    int64  // those whose state is in memory
	Inbox     int    // pieces of mail that wait
}

// Stats returns how busy the shard has been.
func (s *Shard) Stats() Stats {
	return Stats{
		Mail: s.stats.mail.Load(), Turns: s.stats.turns.Load(), Entries: s.stats.entries.Load(), Abandoned: s.stats.abandoned.Load(),
		Dropped: s.stats.dropped.Load(), Sessions: s.stats.sessions.Load(), Loaded: s.stats.loaded.Load(), Inbox: s.inbox.Len(),
	}
}

// logger is the shard's log.
type logger struct{ *slog.Logger }
