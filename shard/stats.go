package shard

import (
	"log/slog"
	"sync/atomic"
	"time"

	"switchboard/wire"
)

type stats struct {
	mail, turns, entries, abandoned, dropped  atomic.Uint64
	sessions, loaded                          atomic.Int64
	hooksDelivered, hooksRetried, hooksFailed atomic.Uint64
	hooksWaiting                              atomic.Int64
	steps                                     [len(StepBounds) + 1]atomic.Uint64
	stepped                                   atomic.Int64 // ns
}

// StepBounds are the bounds by which the steps of an owner are counted, ascending: a step is all that it does until it looks for mail again.
var StepBounds = [...]time.Duration{
	100 * time.Microsecond, 300 * time.Microsecond, time.Millisecond, 3 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
	30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, time.Second,
}

// step counts a step that took so long.
func (s *stats) step(took time.Duration) {
	i := 0
	for i < len(StepBounds) && took > StepBounds[i] {
		i++
	}
	s.steps[i].Add(1)
	s.stepped.Add(int64(took))
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
	Hooks     HookStats
	Steps     [len(StepBounds) + 1]uint64 // of the owner: so many took at most StepBounds[i], and more than the one before; the last took longer than all
	Stepped   time.Duration               // all of them together, with the time that they waited for the journal to take a turn
}

// HookStats is what came of calls of hooks.
type HookStats struct {
	Delivered, Retried, Failed uint64 // attempts: that were taken, are made again, are given up
	Waiting                    int64  // tasks that are due now, later, or on their way
}

// hook counts a task that is over.
func (s *stats) hook(m *wire.Hooked) {
	if m.Err == "" {
		s.hooksDelivered.Add(1)
	} else {
		s.hooksFailed.Add(1)
	}
}

// Stats returns how busy the shard has been.
func (s *Shard) Stats() Stats {
	st := Stats{
		Mail: s.stats.mail.Load(), Turns: s.stats.turns.Load(), Entries: s.stats.entries.Load(), Abandoned: s.stats.abandoned.Load(),
		Dropped: s.stats.dropped.Load(), Sessions: s.stats.sessions.Load(), Loaded: s.stats.loaded.Load(), Inbox: s.inbox.Len(),
		Hooks:   HookStats{s.stats.hooksDelivered.Load(), s.stats.hooksRetried.Load(), s.stats.hooksFailed.Load(), s.stats.hooksWaiting.Load()},
		Stepped: time.Duration(s.stats.stepped.Load()),
	}
	for i := range st.Steps {
		st.Steps[i] = s.stats.steps[i].Load()
	}
	return st
}

// logger is the shard's log.
type logger struct{ *slog.Logger }
