package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard/journal/replica"
)

// Limits that no configuration changes.
const (
	groupsMax   = 4096     // the groups of a host
	turnSizeMax = 16 << 20 // bytes of one turn; well below what a batch of Pebble can hold
	keySizeMax  = 64 << 10 // bytes of one key
)

// The errors that callers tell apart. They come wrapped; test with errors.Is.
var (
	// ErrNotFound says that a group has no row with that key.
	ErrNotFound = errors.New("journal: no such row")
	// ErrClosed says that the journal is closed or closing.
	ErrClosed = errors.New("journal: closed")
	// ErrNoSpace says that the disk has less free space than Config.FreeMin. Nothing was written; reads work; the same
	// call succeeds once space is back.
	ErrNoSpace = errors.New("journal: disk space is below the mark")
	// ErrReadOnly says that the group lost data and refuses to write until AcceptLoss, or is quarantined.
	ErrReadOnly = errors.New("journal: group is read-only")
	// ErrNotLeading says that another replica leads the group, or nobody does just now.
	ErrNotLeading = replica.ErrNotLeading
	// ErrTooLarge says that a turn or a key is over its limit (16 MiB, 64 KiB) and will never fit.
	ErrTooLarge = errors.New("journal: turn is too large")
	// ErrFailed says that a write or sync of the disk failed. The journal is dead; open it again in a new process.
	ErrFailed = errors.New("journal: failed")
	// ErrInUse says that another process, or this one, has the directory open.
	ErrInUse = errors.New("journal: directory is in use")
	// ErrFormat says that the directory was written in a format this program does not know, or is no journal.
	ErrFormat = errors.New("journal: unknown format")
	// ErrDamaged says that something on the disk is not what was written.
	ErrDamaged = errors.New("journal: damaged")
)

// FS is a file system, as the store below has it.
type FS = vfs.FS

// Config says where a journal lives and how much it may use. The zero value of each field means its default.
type Config struct {
	// Dir is the directory, which is created when it does not exist. It has no default.
	Dir string
	// FS is the file system; nil means the machine's. Tests pass one in memory.
	FS vfs.FS
	// Groups is how many groups are made that have this replica alone, numbered from 0; default 1, at most 4096. It may grow
	// between two openings, never shrink. Below zero none is made: groups come by Create and Join.
	Groups int
	// Node is this node's number, of which the ids of its replicas are made; default 1. Never give a node another number, nor
	// the number of a node whose disk was lost.
	Node uint32
	// Ticks is how often the clocks of groups with several replicas move on; default 50 ms. A leader is missed after 10 to
	// 20 of them.
	Tick time.Duration
	// Send sends what Receive takes to another node, or loses it; messages to one node must stay in order. It must not block,
	// nor keep msg. Nil is for a node that is alone.
	Send func(node uint32, msg []byte)
	// Stream starts to send a snapshot to another node: header is for ReceiveSnapshot there, and write writes the rest. It must not
	// block; whatever becomes of it, done is called once, with nil when all of it was taken. Nil is for a node that is alone.
	Stream func(node uint32, header []byte, write func(io.Writer) error, done func(error))
	// Applied is told that rows of a group have become newer, by the committer: it must not block. May be nil.
	Applied func(group int)
	// Decided is shown each entry of a group's log that is decided for good, as it is applied here: at each replica the same under the same index. It is
	// called by the committer, must not block, nor keep data. Nil but in a simulation.
	Decided func(group uint16, index, term uint64, data []byte)
	// Notify is told what becomes of the node's replicas, by the committer: it must not block. May be nil.
	Notify func(replica.Event)
	// QueueTurns is how many turns of one group may wait or be on their way to the disk; default 256. Full means that
	// Append blocks.
	QueueTurns int
	// QueueBytes is how many bytes may wait or be on their way for all groups together; default 32 MiB. Full means that
	// Append blocks. One turn always fits, whatever its size.
	QueueBytes int
	// FlushBytes is how many bytes of turns are applied before the data store is made to flush and the log is truncated
	// behind it; default 40 MiB. It is done earlier when small turns have made the log four times as long. It bounds
	// what an opening replays.
	FlushBytes int64
	// KeepBytes is how much of the log of all groups with several replicas may stay, besides what is not flushed, for replicas
	// that are behind; each group may keep its part, and at least 256 KiB, and no more than 10,000 entries; default 512 MiB. Who is further
	// behind gets a snapshot.
	KeepBytes int64
	// LateBytes is how much of what is decided may wait to be put into the data store together, in the order of its keys, unless
	// somebody reads, or a second has passed; default 2 MiB. Four times as much is the most. 1 lets nothing wait.
	LateBytes int
	// CacheBytes is the memory for cached blocks of the data store; default 64 MiB. They share 128 MiB more with rows that are not flushed yet, which take
	// all of these while much is written.
	CacheBytes int64
	// FenceTurns is after how many turns, of all groups, the fence is written again; default 1000. It is also written
	// every second when there is something new.
	FenceTurns uint64
	// PatrolEvery is how often all of the log and of the rows is read, to find what is damaged and nobody asks for; default 7 days, below zero
	// never. PatrolRate is how many bytes are read a second meanwhile; default 8 MiB.
	PatrolEvery time.Duration
	PatrolRate  int64
	// FreeMin is the free space in bytes below which Append refuses; default 1 GiB, or 5 % of the disk if that is less.
	// Writing resumes at a quarter more. Negative switches the watch off.
	FreeMin int64
	// Free tells the free and total bytes of the disk that holds Dir; nil asks the file system. An error means unknown,
	// and unknown refuses nothing.
	Free func() (free, total uint64, err error)
	// Fatal is called once, from whichever goroutine found it, when a write or sync of the disk failed. It must not
	// return in production; when it returns, every Append fails with ErrFailed. The default panics.
	Fatal func(error)
	// Log takes what an operator should know; default slog.Default.
	Log *slog.Logger

	// SegmentBytes is the size of a file of the log; default 64 MiB. Disks in memory want small ones.
	SegmentBytes int64
}

// Validate fills in the defaults and reports a field that makes no sense. Open and Verify call it.
func (c *Config) Validate() error {
	if c.Dir == "" {
		return errors.New("journal: Config.Dir is empty")
	}
	c.Groups = or(c.Groups, 1)
	c.Groups = max(or(c.Groups, 1), 0)
	if c.Groups > groupsMax {
		return fmt.Errorf("journal: Config.Groups is %d; it must be at most %d", c.Groups, groupsMax)
	}
	if c.QueueTurns < 0 || c.QueueBytes < 0 || c.FlushBytes < 0 || c.LateBytes < 0 || c.CacheBytes < 0 || c.KeepBytes < 0 || c.PatrolRate < 0 {
		return errors.New("journal: a size in Config is negative")
	}
	c.Node = or(c.Node, 1)
	c.Tick = or(c.Tick, 50*time.Millisecond)
	c.QueueTurns = or(c.QueueTurns, 256)
	c.QueueBytes = or(c.QueueBytes, 32<<20)
	c.FlushBytes = or(c.FlushBytes, 40<<20)
	c.KeepBytes = or(c.KeepBytes, 512<<20)
	c.LateBytes = or(c.LateBytes, 2<<20)
	c.CacheBytes = or(c.CacheBytes, 64<<20)
	c.FenceTurns = or(c.FenceTurns, 1000)
	c.PatrolEvery = or(c.PatrolEvery, 7*24*time.Hour)
	c.PatrolRate = or(c.PatrolRate, 8<<20)
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Free == nil {
		fs, dir := c.FS, c.Dir
		c.Free = func() (uint64, uint64, error) {
			u, err := fs.GetDiskUsage(dir)
			return u.AvailBytes, u.TotalBytes, err
		}
	}
	if c.Fatal == nil {
		c.Fatal = func(err error) { panic(err) }
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
