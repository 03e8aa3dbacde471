package journal

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/shard/journal/replica"
)

// Group is one shard's part of the journal. Append belongs to its owner; everything else may be called from any
// goroutine.
type Group struct {
	// Fixed.
	j  *Journal
	id uint16

	// Guarded by j.mu.
	lead   uint64 // the term in which this replica leads, 0 while it does not
	last   uint64 // given out
	queued int    // turns forming or on their way
	status Status
	at     applied // changed by commit only, which reads it without the lock
	shared bool    // it has, or had, replicas elsewhere
	self   uint64  // the replica's id
	lacks  bool    // a majority of its replicas takes nothing more

	// Owned by commit, and by Open before it runs.
	meta    meta
	newMeta bool          // it is to be written
	conf    *pb.ConfState // the members of meta, when they were written last
	led     uint64
	next    applied
	flights []flight // what was proposed, or passes in order, and is not applied
	landing int      // of flights, those before are done
	landed  int      // in this round
	touched bool
	taken   []int // of this round's turns
	arrived *arrival
	// How long the pieces of taken are.
	takenBytes int

	// Owned by watch, and by Open and Close when that does not run.
	fenced    entry
	truncated uint64

	// Shared.
	applied atomic.Uint64 // the turn of at
	late    atomic.Int64  // bytes that are decided and not in the store, about
	durable atomic.Pointer[func(index uint64, err error)]
	barred  atomic.Bool  // it is damaged, and others are whole: nobody reads it
	sure    atomic.Int64 // up to when it is sure that it leads, by clockNow; 0 when it is not
	listens atomic.Bool  // its owner wants to be told when that changes
}

// flight is a turn between being proposed and being applied.
type flight struct {
	turn  uint64
	bytes int
}

// Mode is what a group can do.
type Mode uint8

// The modes of a group, from good to bad.
const (
	OK          Mode = iota // reads and writes
	ReadOnly                // data was lost; reads what is left, until AcceptLoss
	Quarantined             // a file is damaged; reads what is readable; restore it from a backup or from a peer
	Failed                  // the disk failed; the whole journal is stopped
)

func (m Mode) String() string {
	return [...]string{"ok", "read-only", "quarantined", "failed"}[m]
}

// Status is how a group is.
type Status struct {
	Mode Mode
	// Reason says in words why the mode is not OK.
	Reason string
	// LossFrom is the first index that was lost; 0 when none is known to be. What is readable is what was written below
	// it, so a group with LossFrom set must never be shown as whole.
	LossFrom uint64
}

func (s Status) err() error {
	return fmt.Errorf("%w (%s): %s", ErrReadOnly, s.Mode, s.Reason)
}

// Start says whom to tell what is durable. The committer calls durable once for each commit that held a turn of this
// group, also for turns without operations, with the highest durable index; its rows can be read by then. It must not
// block, as all groups wait for it: set a number, wake the owner. With an error the index is the last one known to be
// durable and no further call comes; ErrNotLeading says that another replica leads now, and what was appended behind the
// index may come or not. Call Start before the first Append, and again when the replica leads again.
func (g *Group) Start(durable func(index uint64, err error)) { g.durable.Store(&durable) }

// Sure tells whether this replica leads at this moment, so that what its owner knows is all that has been decided: a majority has heard of it less than an
// election's time ago, and lets nobody else lead before that is over. It is false for a while when the disk or the way to the others takes its time, and for
// good when another replica leads. A group that has no other replica is always sure while it leads. Owners ask before they let anybody hear of what they
// know. It may be called from any goroutine.
func (g *Group) Sure() bool {
	until := g.sure.Load()
	return until == int64(replica.Forever) || until > int64(g.j.clockNow())
}

// Led tells whether this replica is known to have led at a moment, by [Group.Clock], or later, however long it took to hear that: what its owner knew
// then was all that had been decided. It becomes true also where the disk or the way to the others takes so long that Sure never is. It may be
// called from any goroutine.
func (g *Group) Led(at time.Duration) bool {
	until := g.sure.Load()
	return until == int64(replica.Forever) || until != 0 && time.Duration(until)-g.j.lease() >= at
}

// Listen lets the function that Start was handed be called, once, when more is heard of for how long this replica is sure: what Sure and Led say may be another
// thing then. Who has found them to say no calls it, looks once more, and need not look again before. It may be called from any goroutine.
func (g *Group) Listen() { g.listens.Store(true) }

// Clock is the time by which Led goes. It never goes back.
func (g *Group) Clock() time.Duration { return g.j.clockNow() }

// lease is for how long a leader is sure from the moment on at which a majority has heard of it.
func (j *Journal) lease() time.Duration { return time.Duration(j.host.SureTicks()) * j.cfg.Tick }

// clockNow is the time since the journal was opened, whatever is done to the machine's clock.
func (j *Journal) clockNow() time.Duration { return time.Since(j.began) }

// Append queues the turn and returns its index; the turn is durable when Start's function says so, and may be reused at
// once. Indexes grow by one. A turn without operations takes no index and costs no write, but passes the queue in order:
// it returns the index of the turn before it and is reported like any other.
//
// While the group's or the journal's queue is full Append blocks; that is the back-pressure. Errors: ErrNoSpace (try
// again later), ErrNotLeading, ErrReadOnly, ErrTooLarge, ErrClosed, ErrFailed. On an error nothing was queued.
func (g *Group) Append(t *Turn) (index uint64, err error) {
	if t.err != nil {
		return 0, t.err
	}
	j := g.j
	j.mu.Lock()
	for {
		if err := g.refuse(t); err != nil {
			j.mu.Unlock()
			return 0, err
		}
		if g.roomFor(len(t.ops)) {
			break
		}
		j.waiting++
		j.m.waits.Add(1)
		j.room.Wait()
		j.waiting--
	}
	if !t.Empty() {
		g.last++
	}
	index = g.last
	first := j.forming.empty()
	j.forming.add(item{g: g, lead: g.lead, turn: index}, t.ops)
	g.queued++
	j.held += len(t.ops)
	j.mu.Unlock()
	if first {
		poke(j.wake)
	}
	return index, nil
}

// Lacks says whether so many of the group's other replicas are on full disks that no turn would become durable: Append refuses then, with ErrNoSpace, instead
// of letting everybody wait. It may be called from any goroutine.
func (g *Group) Lacks(yes bool) {
	g.j.mu.Lock()
	defer g.j.mu.Unlock()
	g.lacks = yes
	g.j.room.Broadcast()
}

// Ready reports whether an Append of size bytes would neither block nor be refused now. Only this group's owner adds to
// its queue, but the others share the bytes, so a true answer may be outdated at once; an Append then waits a moment.
func (g *Group) Ready(size int) bool {
	g.j.mu.Lock()
	defer g.j.mu.Unlock()
	return g.roomFor(size) && g.refuse(&Turn{n: size}) == nil
}

// refuse says why the group takes no turn now, or nil. It needs j.mu.
func (g *Group) refuse(t *Turn) error {
	j := g.j
	switch {
	case j.broken != nil:
		return j.broken
	case j.closing:
		return ErrClosed
	case g.status.Mode != OK:
		return g.status.err()
	case g.lead == 0:
		return ErrNotLeading
	case g.shared && len(t.ops) > sharedTurn:
		return fmt.Errorf("a turn of %d bytes in a group with several replicas: %w", len(t.ops), ErrTooLarge)
	case (j.full() || g.lacks) && !t.Empty():
		return ErrNoSpace
	}
	return nil
}

// roomFor needs j.mu.
func (g *Group) roomFor(size int) bool {
	return g.queued < g.j.cfg.QueueTurns && (g.j.held == 0 || g.j.held+size <= g.j.cfg.QueueBytes)
}

// Last is the highest index given out, durable or not.
func (g *Group) Last() uint64 {
	g.j.mu.Lock()
	defer g.j.mu.Unlock()
	return g.last
}

// Applied is the highest index that is durable and whose rows can be read.
func (g *Group) Applied() uint64 { return g.applied.Load() }

// Epoch counts how often a loss was accepted; it is part of every record.
func (g *Group) Epoch() uint64 {
	g.j.mu.Lock()
	defer g.j.mu.Unlock()
	return g.at.epoch
}

// Term is the term in which this replica leads its group, and 0 while it does not. It grows with every change of the leader,
// and with every opening; it is durable on a majority before anybody leads in it.
func (g *Group) Term() uint64 {
	g.j.mu.Lock()
	defer g.j.mu.Unlock()
	return g.lead
}

// ID is the group's number.
func (g *Group) ID() int { return int(g.id) }

// State tells how the group is.
func (g *Group) State() Status {
	g.j.mu.Lock()
	defer g.j.mu.Unlock()
	if g.j.broken != nil {
		return Status{Mode: Failed, Reason: g.j.broken.Error(), LossFrom: g.status.LossFrom}
	}
	return g.status
}

// Get appends the value of the row key to buf and returns it, or ErrNotFound. It sees everything up to Applied. It may
// read the disk, so an owner leaves it to a loader.
func (g *Group) Get(key, buf []byte) ([]byte, error) {
	return g.get(key, buf, g.j.settleOf)
}

func (g *Group) get(key, buf []byte, first func(*Group) error) ([]byte, error) {
	j := g.j
	if err := g.readable(); err != nil {
		return nil, err
	}
	if !j.reads.TryRLock() {
		return nil, ErrClosed
	}
	defer j.reads.RUnlock()
	if err := first(g); err != nil {
		return nil, err
	}
	var space [128]byte
	v, done, err := j.data.Get(dataKey(space[:0], g.id, tagRow, key))
	if err != nil {
		return nil, storeError("reading a row", err)
	}
	buf = append(buf, v...)
	return buf, storeError("reading a row", done.Close())
}

// Scan calls fn for the rows from key from up to, not including, key to, in order of their keys or backwards, until fn
// returns false. An empty from means the first row, an empty to means beyond the last. The slices are only valid during
// the call. It sees the rows as they were when it began. While it runs Close waits.
func (g *Group) Scan(from, to []byte, reverse bool, fn func(key, val []byte) bool) error {
	return g.scan(from, to, reverse, fn, g.j.settleOf)
}

func (g *Group) scan(from, to []byte, reverse bool, fn func(key, val []byte) bool, first func(*Group) error) error {
	j := g.j
	if err := g.readable(); err != nil {
		return err
	}
	if !j.reads.TryRLock() {
		return ErrClosed
	}
	defer j.reads.RUnlock()
	if err := first(g); err != nil {
		return err
	}
	lower, upper := g.bounds(from, to)
	it, err := j.data.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return storeError("scanning rows", err)
	}
	begin, next := it.First, it.Next
	if reverse {
		begin, next = it.Last, it.Prev
	}
	for ok := begin(); ok; ok = next() {
		v, err := it.ValueAndErr()
		if err != nil {
			break // Close says it again
		}
		if !fn(it.Key()[3:], v) {
			break
		}
	}
	return storeError("scanning rows", it.Close())
}

// Stored is a group's rows as far as they are in the data store: as they were at some moment, mostly within the last second. It is for who may be told
// something old, as a copy's rows are in any case, and is in a hurry: nothing that is late is put there for him. Its methods may be called from any
// goroutine.
type Stored struct{ g *Group }

// Stored returns the rows of g that are in the data store.
func (g *Group) Stored() Stored { return Stored{g} }

// Get is Group.Get.
func (s Stored) Get(key, buf []byte) ([]byte, error) { return s.g.get(key, buf, s.asIs) }

// Scan is Group.Scan.
func (s Stored) Scan(from, to []byte, reverse bool, fn func(key, val []byte) bool) error {
	return s.g.scan(from, to, reverse, fn, s.asIs)
}

func (Stored) asIs(*Group) error { return nil }

// bounds are the data store's keys for the rows in [from, to).
func (g *Group) bounds(from, to []byte) (lower, upper []byte) {
	lower = dataKey(nil, g.id, tagRow, from)
	if len(to) == 0 {
		return lower, dataKey(nil, g.id, tagEnd, nil)
	}
	return lower, dataKey(nil, g.id, tagRow, to)
}
