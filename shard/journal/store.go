package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard/journal/seglog"
)

// The folders of the log and of the data store below Config.Dir.
const (
	logDir  = "log"
	dataDir = "data"
)

// storeOptions are what opening and verifying the data store have in common. The format is named explicitly: with an
// older one Pebble drops what stands behind a flipped bit in some of its files and says nothing.
func (j *Journal) storeOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                 orderly{j.cfg.FS, j},
		Cache:              j.cache,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             storeLog{j.cfg.Log, j.fail},
		EventListener: &pebble.EventListener{
			DataCorruption:  j.corrupted,
			BackgroundError: j.troubled,
			FlushBegin:      j.flushBegun,
			FlushEnd:        j.flushed,
			CompactionEnd:   j.mergeEnded,
			WriteStallBegin: func(pebble.WriteStallBeginInfo) { j.m.stalls.Add(1) },
		},
		// The memory of one of these is taken in steps, up to this size.
		MemTableSize:                32 << 20,
		MemTableStopWritesThreshold: 4,
		// An owner of a shard would rather wait for a compaction than a customer for an answer; the default stops at 12.
		L0StopWritesThreshold: 64,
		// A manifest names the first and last key of tables that are gone: it is begun anew as soon as half of it is of such, so that Scrub gets rid of
		// them. The store still weighs that against the work.
		MaxManifestFileSize: 1,
	}
	// The tables of a snapshot are in the manifest when taking them returns: without a write-ahead log nothing else keeps them.
	o.Experimental.DisableIngestAsFlushable = func() bool { return true }
	// Nothing is synced by size or by time: one commit, one sync, when the previous one returns.
	o.WALBytesPerSync, o.WALMinSyncInterval = 0, nil
	return o
}

// orderly is a file system that makes the name of a new manifest durable before Pebble points to it. Pebble leaves that
// to the order in which a file system happens to write its folders; cutting the power in between found it.
//
// And it lets the journal breathe before a table is written, and leaves room behind it for what the manifest says of it: Pebble writes a table again that has
// found none, and ends at a manifest that has not. Pebble compares file systems, so there is no function in it.
type orderly struct {
	vfs.FS
	j *Journal
}

func (fs orderly) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".sst") {
		fs.j.breathe()
		if err := roomBehind(fs.FS, name); err != nil {
			return nil, err
		}
		f, err := fs.FS.Create(name, category)
		if err != nil {
			return nil, err
		}
		return table{f, fs.FS, name}, nil
	}
	f, err := fs.FS.Create(name, category)
	if err != nil || !strings.HasPrefix(fs.PathBase(name), "MANIFEST-") {
		return f, err
	}
	if err := syncDir(fs.FS, fs.PathDir(name)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// manifestRoom is how much space a table must leave: more than a manifest takes that is begun anew.
const manifestRoom = 4 << 20

// roomBehind says that the disk is full when a manifest might not find its room. Where nobody knows how much there is it is there.
func roomBehind(fs vfs.FS, name string) error {
	if u, err := fs.GetDiskUsage(fs.PathDir(name)); err == nil && u.AvailBytes < manifestRoom {
		return fmt.Errorf("%s would leave %d bytes, too few for what is to be noted of it: %w", name, u.AvailBytes, syscall.ENOSPC)
	}
	return nil
}

// table is a file of rows that is being written. It is synced when it is whole.
type table struct {
	vfs.File
	fs   vfs.FS
	name string
}

// Sync implements vfs.File.
func (t table) Sync() error {
	if err := t.File.Sync(); err != nil {
		return err
	}
	return roomBehind(t.fs, t.name)
}

// SyncData implements vfs.File.
func (t table) SyncData() error {
	if err := t.File.SyncData(); err != nil {
		return err
	}
	return roomBehind(t.fs, t.name)
}

// openLog opens the log and says in the node's own log what is damaged in it.
func (j *Journal) openLog(create, readOnly bool) (*seglog.Log, *seglog.Report, error) {
	l, report, err := seglog.Open(seglog.Config{
		Dir: j.cfg.FS.PathJoin(j.cfg.Dir, logDir), FS: j.cfg.FS, SegmentBytes: j.cfg.SegmentBytes, Create: create, ReadOnly: readOnly,
	})
	if err != nil {
		return nil, nil, logError("opening the log", err)
	}
	for _, d := range report.Damages {
		j.cfg.Log.Warn("the log is damaged", "dir", j.cfg.Dir, "where", d.String())
	}
	return l, report, nil
}

// tableBytes is the memory of a table of rows that are not flushed yet. It holds what comes between two flushes that the journal asks for, also when rows are so
// small that half as much again goes to finding them: were it full before, each of these flushes would make one more table of the little that is left.
const tableBytes = 64 << 20

// newCache returns the cache of the data store. Pebble takes the memory of its tables out of its cache's: of the one that is written to, and of one that is being
// flushed, or kept to be used again. So a cache that is no larger than these never holds a block, and each look for a row reads and checks some twenty.
func newCache(blocks int64) *pebble.Cache { return pebble.NewCache(blocks + 2*tableBytes) }

// openData opens the data store. It has no write-ahead log: what it has not flushed comes from the log again. Most
// of its reads ask for keys that are not there (has this been seen before?), which is what the filters are for.
func (j *Journal) openData(create, readOnly bool) (*pebble.DB, error) {
	o := j.storeOptions()
	o.ErrorIfNotExists, o.ReadOnly, o.DisableWAL = !create, readOnly, true
	// Fewer and larger merges: their work is taken from the same cores as the conversations.
	o.L0CompactionThreshold = 16
	o.MemTableSize = tableBytes
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(j.cfg.FS.PathJoin(j.cfg.Dir, dataDir), o)
	return db, openError("opening the data store", err)
}

// logError wraps what the log says, in words of ours.
func logError(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, seglog.ErrDamaged):
		return fmt.Errorf("%s: %w: %w", doing, ErrDamaged, err)
	case errors.Is(err, seglog.ErrFormat):
		return fmt.Errorf("%s: %w: %w", doing, ErrFormat, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// storeError wraps what Pebble says, and says ErrDamaged where it found damage.
func storeError(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pebble.ErrNotFound):
		return ErrNotFound
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%s: %w: %w", doing, ErrDamaged, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// openError wraps why a store does not open. Pebble marks only some of what it finds wrong as damage; whatever the
// operating system did not say, and a file that should be there, is damage too.
func openError(doing string, err error) error {
	var path *iofs.PathError
	var number syscall.Errno
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, iofs.ErrNotExist) && (errors.As(err, &path) || errors.As(err, &number)):
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, ErrDamaged, err)
}

// corrupted replaces Pebble's handler, which ends the process: only the groups whose keys the file held are
// quarantined. Pebble calls it from any goroutine, with its own locks held.
func (j *Journal) corrupted(info pebble.DataCorruptionInfo) {
	j.lies(info.Path, groupOf(info.Bounds.Start, 0), groupOf(info.Bounds.End.Key, groupsMax), info.Details, false)
}

// lies quarantines the groups from and to and between them, which may have rows in a damaged file. Of groups that are here alone, and of which
// nobody has missed anything yet, unread says so, it is only told: what is asked of them may be whole, and nobody could help.
func (j *Journal) lies(path string, from, to int, why error, unread bool) {
	j.m.corruptions.Add(1)
	j.mu.Lock()
	told := slices.Contains(j.lying, path)
	if !told && len(j.lying) < lyingMax {
		j.lying = append(j.lying, path)
	}
	var shared []*Group
	for _, g := range j.groups {
		if g != nil && int(g.id) >= from && int(g.id) <= to && g.status.Mode == OK && (g.shared || !unread) {
			g.status = Status{Mode: Quarantined, Reason: "damaged file " + path}
			if g.shared {
				shared = append(shared, g)
			}
			g.bar()
		}
	}
	j.room.Broadcast()
	j.mu.Unlock()
	if !told { // it is met again and again, until it is gone
		j.cfg.Log.Error("a file is damaged; its groups are quarantined", "file", path, "from", from, "to", to, "unread", unread, "err", why)
	}
	if len(shared) > 0 {
		j.tell(nil, func() error { return j.withdraw(shared) }) // each of them once, until another takes its place
	}
}

// lyingMax is of how many damaged files it is remembered that they were told of.
const lyingMax = 1000

// withdraw lets replicas with damaged rows take no part in their groups any more: the others have whole ones.
func (j *Journal) withdraw(list []*Group) error {
	for _, g := range list {
		if j.groups[g.id] == g {
			j.host.Remove(g.id) // it says Follows, if it led
		}
	}
	return nil
}

func groupOf(key []byte, otherwise int) int {
	if len(key) < 2 {
		return otherwise
	}
	return int(binary.BigEndian.Uint16(key))
}

// troubled hears of everything that fails in the background, and counts it. Of flushes and merges flushed and mergeEnded say more.
func (j *Journal) troubled(err error) {
	if errors.Is(err, pebble.ErrCancelledCompaction) {
		return
	}
	j.m.troubles.Add(1)
	if pebble.IsCorruptionError(err) && inStats() { // corrupted has told
		time.Sleep(statsPause)
	}
}

// tried notes how the last flush or merge went, in the field of its own. Pebble repeats what has failed, and the log or older tables still hold what it wanted
// to write, so this is something to say and not something to stop for.
func (j *Journal) tried(field *error, what string, err error) {
	j.mu.Lock()
	was := *field
	*field = err
	j.mu.Unlock()
	switch {
	case was == nil && err != nil:
		j.cfg.Log.Warn("a store cannot write in the background, and goes on trying", "dir", j.cfg.Dir, "what", what, "err", err.Error())
	case was != nil && err == nil:
		j.cfg.Log.Info("the store writes in the background again", "dir", j.cfg.Dir, "what", what)
	}
}

// mergeEnded hears of merges that worked, and of those that failed: a flush that works says nothing of them, as it may find the room that they do not. Nor does
// what Pebble calls one and writes no table: a move to another level, or tables that go as all in them was deleted.
func (j *Journal) mergeEnded(info pebble.CompactionInfo) {
	if errors.Is(info.Err, pebble.ErrCancelledCompaction) || pebble.IsCorruptionError(info.Err) { // it begins anew, or corrupted has told
		return
	}
	if info.Err == nil && (info.Reason == "move" || info.Reason == "delete-only") {
		return
	}
	if info.Err != nil {
		j.mu.Lock()
		j.merged = time.Now()
		j.mu.Unlock()
	}
	j.tried(&j.merging, "merge", info.Err)
}

// mergeWanted is for how long a merge that failed is taken to be wanted still. Pebble repeats it at once, or at the first occasion after 30 seconds.
const mergeWanted = time.Minute

// forgetMerge ends the trouble with merges when none is under way and none has failed for long: what was to be merged may be gone, and then none ever works.
func (j *Journal) forgetMerge(underWay bool) {
	j.mu.Lock()
	over := j.merging != nil && !underWay && time.Since(j.merged) > mergeWanted
	j.mu.Unlock()
	if over {
		j.tried(&j.merging, "merge", nil)
	}
}

// breathePause is how long a table waits behind one that could not be written.
const breathePause = 100 * time.Millisecond

// breathe is called before a table is written. Pebble repeats what has failed at once and for ever: with a full disk, or a folder that is gone, that
// would be a core. It holds no lock here.
func (j *Journal) breathe() {
	j.mu.Lock()
	failing := j.flushing != nil || j.merging != nil
	j.mu.Unlock()
	if failing {
		time.Sleep(breathePause)
	}
}

// flushTables puts all rows that the store has into tables, and gives up when a flush fails, whose rows the log has, too. A flush that was under way already
// when this was called is no answer, as what it could not write may have room by now; nor is a merge that fails meanwhile.
func (j *Journal) flushTables() error {
	done, err := j.data.AsyncFlush()
	if err != nil {
		return storeError("beginning a flush of the data store", err)
	}
	j.mu.Lock()
	before := j.flushes
	j.mu.Unlock()
	for {
		j.mu.Lock()
		trouble, failed, err := j.trouble, j.unflushAt, j.unflushed
		j.mu.Unlock()
		if failed > before {
			return fmt.Errorf("flushing the data store: %w", err)
		}
		select {
		case <-done:
			return nil
		case <-trouble: // Pebble repeats it
		}
	}
}

// statsPause is how long Pebble waits, with our help, until it tries again to read the statistics of a table that is damaged. By itself it tries at
// once, for as long as the table is there, and takes a core for that.
const statsPause = time.Second

// inStats tells whether the caller is Pebble's reading of statistics, which holds no lock meanwhile. Others who report trouble do.
func inStats() bool {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, ".scanReadStateTableStats") {
			return true
		}
		if !more {
			return false
		}
	}
}

// nothingFlushed is what Pebble says, as an error without a name, of a flush that worked and made no table, as nothing is left of the rows.
const nothingFlushed = "pebble: empty table"

// flushBegun counts flushes, of which Pebble has one at a time.
func (j *Journal) flushBegun(pebble.FlushInfo) {
	j.mu.Lock()
	j.flushes++
	j.mu.Unlock()
}

// flushed hears of flushes that worked, which is the end of the trouble with them, and of those that had no room: Pebble takes rows until its memory is full of them
// and blocks whoever brings more, so turns are refused before. It repeats such a flush until there is room.
func (j *Journal) flushed(info pebble.FlushInfo) {
	if info.Err != nil && info.Err.Error() != nothingFlushed {
		j.mu.Lock()
		j.unflushed, j.unflushAt = info.Err, j.flushes
		close(j.trouble)
		j.trouble = make(chan struct{})
		j.mu.Unlock()
		j.tried(&j.flushing, "flush", info.Err)
		if noRoom(info.Err) {
			j.refuseFor(&j.noFlush, "the rows")
		}
		return
	}
	j.tried(&j.flushing, "flush", nil)
	j.mu.Lock()
	leftRows := len(j.leftRows) > 0
	j.noFlush = false
	j.mu.Unlock()
	if leftRows {
		j.tell(restDrop{}, j.dropRest)
	}
}

// storeLog takes Pebble's log. What it says of its daily work is dropped; what it would end the process for becomes our
// fail-stop.
type storeLog struct {
	log  *slog.Logger
	fail func(error)
}

func (storeLog) Infof(string, ...any) {}

func (l storeLog) Errorf(format string, args ...any) { l.log.Warn(fmt.Sprintf(format, args...)) }

func (l storeLog) Fatalf(format string, args ...any) { l.fail(fmt.Errorf(format, args...)) }
