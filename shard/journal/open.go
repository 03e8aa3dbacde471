package journal

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard/journal/replica"
	"switchboard/shard/journal/seglog"
)

// formatVersion is the layout of the directory. A program refuses others; raising it after a release needs a migration
// here. Version 1 had the log in a Pebble store, version 2 no members; neither was ever released.
const (
	formatVersion = 3
	formatName    = "FORMAT"
	lockName      = "LOCK"
)

// Open opens the journal in cfg.Dir, or creates it, and brings the rows up to date with the log. A group that lost data
// does not make Open fail: it comes up read-only and its State says so. Errors: ErrInUse, ErrFormat, ErrDamaged when the
// rows cannot be opened at all, and those of the file system.
func Open(cfg Config) (*Journal, error) {
	j, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	if err := j.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the journal in %s: %w", cfg.Dir, err), j.release())
	}
	j.patient = true
	if j.findRest() {
		j.tell(restDrop{}, j.dropRest)
	}
	go j.commit()
	go j.watch()
	go j.patrol(j.log)
	return j, nil
}

// prepare makes the directory and takes its lock.
func prepare(cfg Config) (*Journal, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := makeDir(cfg.FS, cfg.Dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(cfg)
	if err != nil {
		return nil, err
	}
	return newJournal(cfg, lock), nil
}

func newJournal(cfg Config, lock io.Closer) *Journal {
	j := &Journal{
		cfg:       cfg,
		lock:      lock,
		cache:     newCache(cfg.CacheBytes),
		wake:      make(chan struct{}, 1),
		nudge:     make(chan struct{}, 1),
		trouble:   make(chan struct{}),
		asks:      make(chan ask),
		scrubs:    make(chan struct{}, 1),
		stop:      make(chan struct{}),
		began:     time.Now(),
		lookBytes: math.MaxInt64,
		parcels:   map[uint32][]byte{},
		waiters:   map[uint16][]waiter{},
		orphans:   map[uint16]int{},
	}
	j.room.L = &j.mu
	for i := range j.ended {
		j.ended[i] = make(chan struct{})
	}
	j.host = replica.NewHost(replica.Config{
		Log: stored{j}, UncommittedBytes: 2*uint64(cfg.QueueBytes) + 2*turnSizeMax, //nolint:gosec // not negative
		Warn:  func(group uint16, what string) { cfg.Log.Warn("replication", "group", group, "what", what) },
		Clock: j.clockNow,
	})
	return j
}

// Alone calls fn while nobody has the journal open, and nobody can open it: for what lies beside it. The journal need not be sound. Errors:
// ErrInUse, those of the file system, and fn's.
func Alone(cfg Config, fn func() error) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	lock, err := lockDir(cfg)
	if err != nil {
		return err
	}
	return errors.Join(fn(), lock.Close())
}

func lockDir(cfg Config) (io.Closer, error) {
	lock, err := cfg.FS.Lock(cfg.FS.PathJoin(cfg.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w by another process: stop it first (%w)", cfg.Dir, ErrInUse, err)
	}
	return lock, nil
}

// load opens the stores, recovers every group, and makes the new terms durable.
func (j *Journal) load() error {
	fresh, err := readFormat(j.cfg)
	if err != nil {
		return err
	}
	if j.data, err = j.openData(fresh, false); err != nil {
		return err
	}
	if j.log, _, err = j.openLog(fresh, false); err != nil {
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		// The rows are readable without the log: come up, say what is missing, and let an operator decide.
		j.logBroken = err
		j.cfg.Log.Error("the log cannot be opened; all groups are read-only", "dir", j.cfg.Dir, "err", err)
	}
	j.fence, j.entries, err = openFence(j.cfg.FS, j.cfg.Dir)
	fenceLost := errors.Is(err, errNoFence) && !fresh
	if err != nil && !errors.Is(err, errNoFence) {
		return err
	}
	if j.logBroken != nil && j.cfg.Groups == 0 && !slices.ContainsFunc(j.entries, func(e entry) bool { return e.shared == 0 }) {
		return j.logBroken // all that is here others have, too: nothing would be gained by coming up without the log
	}
	if err := j.dropArrivals(); err != nil {
		return err
	}
	if err := j.recover(fenceLost); err != nil {
		return err
	}
	if fresh {
		if err := j.checkFresh(); err != nil {
			return err
		}
	}
	j.measure()
	j.look()
	if err := j.lead(); err != nil {
		return err
	}
	if err := j.keepFence(); err != nil {
		return err
	}
	if fresh {
		return writeFormat(j.cfg)
	}
	return j.failure()
}

// known is every group that the disk or the configuration knows of, with what the fence says of it.
func (j *Journal) known() map[uint16]entry {
	all := map[uint16]entry{}
	for id := range j.cfg.Groups {
		all[uint16(id)] = entry{group: uint64(id)} //nolint:gosec // bounded by Validate
	}
	if j.log != nil {
		for id := range uint16(groupsMax) {
			if b := j.log.Meta(id, nil); len(b) > 0 {
				if m, err := readMeta(b); err == nil && m.removed {
					delete(all, id)
					continue
				}
				all[id] = entry{group: uint64(id)}
			}
		}
	}
	for _, e := range j.entries {
		id := uint16(e.group) //nolint:gosec // as written
		if j.log != nil {
			if m, err := readMeta(j.log.Meta(id, nil)); err == nil && m.removed {
				continue
			}
		}
		all[id] = e
	}
	return all
}

// recover brings all groups up to date.
func (j *Journal) recover(fenceLost bool) error {
	all := j.known()
	var fresh []*Group
	for _, id := range slices.Sorted(maps.Keys(all)) {
		e := all[id]
		g := &Group{j: j, id: id, fenced: e, shared: e.shared != 0}
		r := recovery{g: g, fenced: e, fenceLost: fenceLost}
		if err := r.run(); err != nil {
			return fmt.Errorf("recovering group %d: %w", id, err)
		}
		if r.fresh && r.status.Mode == OK {
			self := replica.ID(j.cfg.Node, uint32(id)+1)
			g = j.first(id, self, []uint64{self})
			fresh = append(fresh, g)
			j.put(g)
			continue
		}
		g.at, g.status = r.at, r.status
		g.at.epoch = max(e.epoch, r.at.epoch)
		g.last = g.at.turn
		g.applied.Store(g.at.turn)
		g.bar()
		j.put(g)
		if g.status.Mode != OK {
			j.cfg.Log.Error("a group does not take writes", "group", g.id, "mode", g.status.Mode.String(),
				"reason", g.status.Reason, "loss_from", g.status.LossFrom)
		}
	}
	if len(fresh) > 0 {
		if err := j.begin(fresh); err != nil {
			return err
		}
	}
	return j.align()
}

// align makes the log end and go on where the rows are. It ends before them when its last batch was damaged after the rows of it
// were flushed, and both when a snapshot was taken and the log not told.
func (j *Journal) align() error {
	if j.log == nil {
		return nil
	}
	var points []seglog.Point
	var b seglog.Batch
	for _, g := range j.groups {
		if g == nil || g.status.Mode != OK || g.at.index == 0 {
			continue
		}
		prev, _, last := j.log.Bounds(g.id)
		term, known := j.log.Term(g.id, g.at.index)
		switch {
		case last < g.at.index:
			if alone(g.meta.conf) {
				j.cfg.Log.Warn("the end of the log was damaged; its rows are safe", "group", g.id, "log", last, "rows", g.at.index)
			}
		case known && term != g.at.term && last > prev:
			b.CutSuffix(g.id, prev+1)
		default:
			continue
		}
		points = append(points, seglog.Point{Group: g.id, UpTo: g.at.index, Term: g.at.term})
	}
	if !b.Empty() {
		if err := j.log.Write(&b); err != nil {
			return logError("cutting the log behind a snapshot", err)
		}
	}
	if len(points) == 0 {
		return nil
	}
	return logError("aligning the log with the rows", j.log.Truncate(points))
}

// lead takes up the replicas. Those that are alone lead, in a new term, when it returns.
func (j *Journal) lead() error {
	for _, g := range j.list() {
		if !g.shared {
			g.sure.Store(int64(replica.Forever)) // whatever is lost of it, nobody else has more
		}
		if g.status.Mode != OK {
			continue
		}
		if err := j.add(g); err != nil { // what is on the disk makes no sense: it is this group's loss, and not the others'
			j.m.corruptions.Add(1)
			j.cfg.Log.Error("a group cannot be taken up", "group", g.id, "err", err)
			j.mu.Lock()
			g.status = Status{Mode: Quarantined, Reason: err.Error()}
			g.bar()
			j.mu.Unlock()
		}
	}
	return j.round(&queue{})
}

// formatLost is said of a directory without FORMAT in which something was written.
const formatLost = "the file " + formatName + " is missing but there is data; put it back from a copy, or restore the directory from a backup"

// checkFresh refuses to call a directory new that only lost its FORMAT file.
func (j *Journal) checkFresh() error {
	for _, g := range j.groups {
		if g != nil && (g.at.turn > 0 || g.fenced.turn > 0 || g.shared) {
			return fmt.Errorf("%s: %w: %w", formatLost, ErrFormat, ErrDamaged)
		}
	}
	return nil
}

// readFormat checks the FORMAT file. It is written last, so a directory without one is new, or was never finished.
func readFormat(cfg Config) (fresh bool, err error) {
	name := cfg.FS.PathJoin(cfg.Dir, formatName)
	f, err := cfg.FS.Open(name)
	if errors.Is(err, iofs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("opening %s: %w", name, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err := errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("reading %s: %w", name, err)
	}
	var version int
	if _, err := fmt.Sscanf(string(b), "switchboard journal %d ", &version); err != nil || string(b) != formatLine(version) {
		return false, fmt.Errorf("%s is not what a journal writes; restore the directory from a backup: %w: %w", name, ErrFormat, ErrDamaged)
	}
	if version < formatVersion {
		return false, fmt.Errorf("%s says format %d, which was never released, and this program knows %d; there is no migration: "+
			"start with an empty directory, or use the program that made this one: %w", name, version, formatVersion, ErrFormat)
	}
	if version != formatVersion {
		return false, fmt.Errorf("%s says format %d and this program knows %d; start the program version that wrote it, "+
			"or restore a backup made with this one: %w", name, version, formatVersion, ErrFormat)
	}
	return false, nil
}

func formatLine(version int) string {
	s := fmt.Sprintf("switchboard journal %d", version)
	return fmt.Sprintf("%s %08x\n", s, checksum([]byte(s)))
}

func writeFormat(cfg Config) error {
	// The names of the fence, the log and the store first: a journal that says it is finished must have them after a power cut.
	if err := syncDir(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	name := cfg.FS.PathJoin(cfg.Dir, formatName)
	f, err := cfg.FS.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	_, err = io.WriteString(f, formatLine(formatVersion))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := cfg.FS.Rename(name+".new", name); err != nil {
		return fmt.Errorf("renaming %s: %w", name, err)
	}
	return syncDir(cfg.FS, cfg.Dir)
}

// makeDir creates dir and syncs every folder above it that got a new name: without that a power cut takes the whole
// directory away, synced files and all.
func makeDir(fs vfs.FS, dir string) error {
	var above []string
	for p := dir; ; p = fs.PathDir(p) {
		there, err := exists(fs, p)
		if err != nil {
			return fmt.Errorf("looking for %s: %w", p, err)
		}
		if there || p == fs.PathDir(p) {
			break
		}
		above = append(above, fs.PathDir(p))
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	for _, p := range above {
		if err := syncDir(fs, p); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return fmt.Errorf("syncing the folder %s: %w", dir, err)
	}
	return nil
}
