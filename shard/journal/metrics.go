package journal

import "sync/atomic"

// Metrics is what a journal has done since Open. Turns over Syncs is how many turns shared one sync.
type Metrics struct {
	Commits     uint64 // batches, with or without operations
	Syncs       uint64 // synced batches of the log
	Turns       uint64 // turns that became durable, with or without operations
	Bytes       uint64 // their operations, in bytes
	Waits       uint64 // Appends that found a queue full
	QueueTurns  int    // turns that wait now
	QueueBytes  int    // bytes that wait or are on their way now
	Fences      uint64 // times the fence was written
	Flushes     uint64 // times the data store was made to flush
	Truncations uint64 // times a group's log was truncated
	Replayed    uint64 // records that Open applied
	Stalls      uint64 // times a store held writes back
	Level0      uint64 // what the data store had flushed and not merged yet, up to a second ago, in layers: a read looks at each, and at 64 writes are held back
	CacheBytes  uint64 // blocks of the data store that are in memory, up to a second ago
	CacheHits   uint64 // blocks that were asked for and in memory, likewise
	CacheMisses uint64 // and that were read from the disk, or the system's memory of it
	Troubles    uint64 // flushes and compactions that failed
	Corruptions uint64 // damaged files that were reported
	Strays      uint64 // messages of other replicas that were too old, or for nobody here
	Snapshots   uint64 // that were begun to be sent
	Installed   uint64 // snapshots that were taken
	Patrols     uint64 // passes of reading everything that came to their ends
	PatrolBytes uint64 // that were read by them
	Patrolled   int64  // when the last one came to its end, Unix s; after a start about; 0 when nobody knows
	// PatrolDamages are damaged tables, and groups with damaged entries in the log, that were found by them.
	PatrolDamages uint64
	FreeBytes     uint64 // free space when last looked; 0 when unknown
}

type counters struct {
	commits, syncs, turns, bytes, waits            atomic.Uint64
	fences, flushes, truncations, replayed, stalls atomic.Uint64
	troubles, corruptions, free, strays            atomic.Uint64
	snapshots, installed                           atomic.Uint64
	patrols, patrolBytes, patrolDamages            atomic.Uint64
	patrolled                                      atomic.Int64
	came, level0                                   atomic.Uint64
	cached, hits, misses                           atomic.Uint64
}

// Metrics returns the counters as they are now.
func (j *Journal) Metrics() Metrics {
	j.mu.Lock()
	waiting, held := len(j.forming.items), j.held
	j.mu.Unlock()
	c := &j.m
	return Metrics{
		Commits: c.commits.Load(), Syncs: c.syncs.Load(), Turns: c.turns.Load(), Bytes: c.bytes.Load(),
		Waits: c.waits.Load(), QueueTurns: waiting, QueueBytes: held,
		Fences: c.fences.Load(), Flushes: c.flushes.Load(), Truncations: c.truncations.Load(),
		Replayed: c.replayed.Load(), Stalls: c.stalls.Load(), Level0: c.level0.Load(), Troubles: c.troubles.Load(),
		CacheBytes: c.cached.Load(), CacheHits: c.hits.Load(), CacheMisses: c.misses.Load(),
		Corruptions: c.corruptions.Load(), Strays: c.strays.Load(),
		Snapshots: c.snapshots.Load(), Installed: c.installed.Load(), FreeBytes: c.free.Load(),
		Patrols: c.patrols.Load(), PatrolBytes: c.patrolBytes.Load(), PatrolDamages: c.patrolDamages.Load(), Patrolled: c.patrolled.Load(),
	}
}
