package journal

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"switchboard/shard/journal/replica"
	"switchboard/shard/journal/seglog"
)

// Journal is the durable log and the rows of all groups of a node. All its methods may be called from any goroutine.
type Journal struct {
	// Fixed after Open.
	cfg    Config
	data   *pebble.DB
	cache  *pebble.Cache
	lock   io.Closer
	wake   chan struct{}    // for commit: something waits
	nudge  chan struct{}    // for watch: look now
	asks   chan ask         // for watch: AcceptLoss
	stop   chan struct{}    // for watch: end
	ended  [3]chan struct{} // closed by commit, by watch and by patrol
	scrubs chan struct{}    // a place for the one Scrub that runs
	began  time.Time        // what leaders are sure up to is counted from here
	// Below freeMin bytes of space Append refuses; after lookBytes of turns watch looks again.
	freeMin   uint64
	lookBytes int64

	// Set by Open; set again by watch, in AcceptLoss, while every group is still read-only.
	log *seglog.Log

	// Owned by commit, and by Open before it runs.
	host    *replica.Host
	out     replica.Batch
	ticker  *time.Ticker // while a group has several replicas
	touched []*Group     // whose owners have something to be told
	takers  []*Group     // that have turns in this round
	pieces  [][]byte
	turns   []lateTurn // that are decided, in apply
	reached []*Group   // by them
	sures   []replica.Sure
	batch   seglog.Batch
	parcels map[uint32][]byte // for other nodes
	waiters map[uint16][]waiter
	orphans map[uint16]int // ticks that are left until a leader without an owner begins anew
	hurried int            // ticks since Hurry
	doing   []*request     // to be answered when the round is done
	// Of this round: bytes that the log took, bytes of turns that were applied, bytes and turns that are off the queue.
	logged, applied, returned int
	landed                    uint64

	// Owned by watch, and by Open and Close when watch does not run.
	fence     *fence
	entries   []entry // as last written
	logBroken error   // why log is nil
	// A truncation of the log found no room for what it writes itself, and is to be made again.
	untruncated bool

	mu sync.Mutex
	// Guarded by mu. Commit changes groups, and reads them without the lock.
	groups    []*Group  // nil for those that are not here
	mailed    int       // bytes of mail in forming
	asksEnded bool      // commit runs no more
	room      sync.Cond // an Append may go on
	waiting   int       // Appends that wait for room
	forming   queue     // the next commit
	held      int       // bytes forming or on their way
	closing   bool
	broken    error         // the first fatal error
	flushing  error         // what the last flush failed with, nil when it worked
	merging   error         // what the last merge failed with, nil when it worked or nobody wants it any more
	merged    time.Time     // when a merge failed last
	flushes   uint64        // how many flushes have begun, one behind another
	unflushed error         // the last error of a flush, for good
	unflushAt uint64        // which flush that was
	trouble   chan struct{} // closed at the next such error
	lying     []string      // damaged files that were told of
	noSpace   bool          // below the mark
	scarce    bool          // below half of it
	squeezed  int64         // bytes of entries that others decided, and that were taken all the same
	noSpare   bool          // no room for another segment of the log
	noFlush   bool          // no room for rows that are to be flushed
	noWrite   bool          // no room for what the log is to write now
	patient   bool          // the committer runs, and waits for that room
	frozen    map[*Frozen]struct{}
	leftRows  []uint16 // groups that were taken off, and whose rows are here

	// Shared.
	late       late
	reads      sync.RWMutex // held shared by reads of data, and for good by Close
	sinceFence atomic.Uint64
	sinceFlush atomic.Int64
	sinceLook  atomic.Int64
	arrivals   atomic.Uint64 // files of snapshots, for their names
	m          counters
}

// Group returns group id, or nil when this node has no replica of it.
func (j *Journal) Group(id int) *Group {
	j.mu.Lock()
	defer j.mu.Unlock()
	if id < 0 || id >= len(j.groups) {
		return nil
	}
	return j.groups[id]
}

// list returns the groups that are here, in order.
func (j *Journal) list() []*Group {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]*Group, 0, len(j.groups))
	for _, g := range j.groups {
		if g != nil {
			list = append(list, g)
		}
	}
	return list
}

// Close waits until everything that was appended is durable and reported, flushes the data store, rewrites the fence,
// and lets go of the directory. Nothing of the journal runs when it returns. A second call returns nil. When the disk takes no flush it says so; nothing is
// lost by that, as the log has what the store has not.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closing {
		j.mu.Unlock()
		return nil
	}
	j.closing, j.patient = true, false
	j.room.Broadcast()
	j.mu.Unlock()
	poke(j.wake)
	<-j.ended[0]
	close(j.stop)
	<-j.ended[1]
	<-j.ended[2]

	var err error
	if failed := j.failure(); failed == nil {
		if err = j.settle(); err == nil {
			err = j.flushTables()
		}
		if err == nil {
			err = j.keepFence()
		}
	}
	j.reads.Lock() // for good: reads find it held and answer ErrClosed
	return errors.Join(err, j.thaw(), j.release())
}

// Hurry is called before the owners of groups are ended, which wait for what they have appended: from now on nobody waits for a full disk to have room for
// the log. Where it has none the journal fails, and who is told so has not been told that anything was durable. Nor does anybody wait for long for other
// replicas, whose disks may be full: after two seconds owners are told ErrNotLeading.
func (j *Journal) Hurry() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.patient = false
}

// release closes what Open opened, in the opposite order.
func (j *Journal) release() error {
	var errs []error
	if j.data != nil {
		errs = append(errs, storeError("closing the data store", j.data.Close()))
	}
	if j.log != nil {
		errs = append(errs, logError("closing the log", j.log.Close()))
	}
	if j.fence != nil {
		errs = append(errs, j.fence.f.Close())
	}
	if j.cache != nil {
		j.cache.Unref()
	}
	return errors.Join(append(errs, j.lock.Close())...)
}

// fail is the fail-stop. The first error wins; it is handed to Config.Fatal at once, before anybody can be told that
// something is durable.
func (j *Journal) fail(err error) {
	j.mu.Lock()
	first := j.broken == nil
	if first {
		j.broken = fmt.Errorf("%w: %w", ErrFailed, err)
		err = j.broken
	}
	j.room.Broadcast()
	j.mu.Unlock()
	poke(j.wake)
	if first {
		j.cfg.Log.Error("the journal stops", "dir", j.cfg.Dir, "err", err)
		j.cfg.Fatal(err)
	}
}

func (j *Journal) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.broken
}

// Full tells whether turns are refused for lack of disk space. It does not block.
func (j *Journal) Full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.full()
}

// full needs mu.
func (j *Journal) full() bool { return j.noSpace || j.spent() }

// spent tells whether something has found no room, and not only less than there should be. It needs mu.
func (j *Journal) spent() bool { return j.noSpare || j.noFlush || j.noWrite }

// refuseFor notes in one of the fields that full reads what there is no room for: turns are refused from now on.
func (j *Journal) refuseFor(field *bool, what string) {
	j.mu.Lock()
	was := *field
	*field = true
	j.room.Broadcast()
	j.mu.Unlock()
	if !was {
		j.cfg.Log.Warn("the disk is full: turns are refused", "dir", j.cfg.Dir, "no_room_for", what)
	}
}

// noRoom tells whether an error of the file system is the lack of space.
func noRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Healthy returns nil when everything can be written, and otherwise all that is wrong: the fatal error, the lack of
// space, a flush or a merge that failed and has not worked since, and every group that does not take writes: one that has no replica elsewhere that does, and
// one whose other replicas are on full disks, or away.
func (j *Journal) Healthy() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	errs := []error{j.broken}
	if j.full() {
		errs = append(errs, ErrNoSpace)
	}
	if j.flushing != nil {
		errs = append(errs, fmt.Errorf("flushing in the background: %w", j.flushing))
	}
	if j.merging != nil {
		errs = append(errs, fmt.Errorf("merging in the background: %w", j.merging))
	}
	for _, g := range j.groups {
		if g != nil && g.status.Mode != OK && !g.shared {
			errs = append(errs, fmt.Errorf("group %d: %w", g.id, g.status.err()))
		}
		if g != nil && g.lacks && g.lead != 0 {
			errs = append(errs, fmt.Errorf("group %d: a majority of its copies is on full disks, or away: %w", g.id, ErrNoSpace))
		}
	}
	return errors.Join(errs...)
}

// poke leaves a value in a channel of capacity one, if it is empty.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
