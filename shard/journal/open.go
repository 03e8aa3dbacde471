package journal

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard/journal/seglog"
)

// formatVersion is the layout of the directory. A program refuses others; raising it after a release needs a migration
// here. Version 1 had the log in a Pebble store, and was never released.
const (
	formatVersion = 2
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
	go j.commit()
	go j.watch()
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
		cache:     pebble.NewCache(cfg.CacheBytes),
		wake:      make(chan struct{}, 1),
		nudge:     make(chan struct{}, 1),
		asks:      make(chan ask),
		stop:      make(chan struct{}),
		truncated: make([]uint64, cfg.Groups),
		lookBytes: math.MaxInt64,
	}
	j.room.L = &j.mu
	for i := range j.ended {
		j.ended[i] = make(chan struct{})
	}
	for id := range cfg.Groups {
		j.groups = append(j.groups, &Group{j: j, id: uint16(id)})
	}
	return j
}

func lockDir(cfg Config) (io.Closer, error) {
	lock, err := cfg.FS.Lock(cfg.FS.PathJoin(cfg.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w by another process or journal; stop it first: %w", cfg.Dir, ErrInUse, err)
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
	var fenced []entry
	j.fence, fenced, err = openFence(j.cfg.FS, j.cfg.Dir)
	fenceLost := errors.Is(err, errNoFence) && !fresh
	if err != nil && !errors.Is(err, errNoFence) {
		return err
	}
	if len(fenced) > j.cfg.Groups {
		return fmt.Errorf("the journal has %d groups, more than the %d asked for: %w", len(fenced), j.cfg.Groups, ErrFormat)
	}
	j.entries = append(fenced, make([]entry, j.cfg.Groups-len(fenced))...)
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
	if err := j.keepFence(); err != nil {
		return err
	}
	if fresh {
		return writeFormat(j.cfg)
	}
	return j.failure()
}

// recover brings all groups up to date.
func (j *Journal) recover(fenceLost bool) error {
	for _, g := range j.groups {
		e := &j.entries[g.id]
		r := recovery{g: g, fenced: *e, fenceLost: fenceLost}
		if err := r.run(); err != nil {
			return fmt.Errorf("recovering group %d: %w", g.id, err)
		}
		g.term = max(e.term, r.at.term) + 1
		g.epoch = max(e.epoch, r.at.epoch)
		g.last, g.openLast, g.openTerm = r.at.index, r.at.index, r.at.term
		g.applied.Store(r.at.index)
		if g.status = r.status; g.status.Mode != OK {
			j.cfg.Log.Error("a group does not take writes", "group", g.id, "mode", g.status.Mode.String(),
				"reason", g.status.Reason, "loss_from", g.status.LossFrom)
		}
	}
	return j.align()
}

// align lets the log go on where the rows are. It ends before them when its last batch was damaged after the rows of it were
// flushed.
func (j *Journal) align() error {
	if j.log == nil {
		return nil
	}
	var points []seglog.Point
	for _, g := range j.groups {
		if _, _, last := j.log.Bounds(g.id); g.status.Mode == OK && last < g.last {
			j.cfg.Log.Warn("the end of the log was damaged; its rows are safe", "group", g.id, "log", last, "rows", g.last)
			points = append(points, seglog.Point{Group: g.id, UpTo: g.last, Term: g.openTerm})
		}
	}
	if len(points) == 0 {
		return nil
	}
	return logError("aligning the log with the rows", j.log.Truncate(points))
}

// checkFresh refuses to call a directory new that only lost its FORMAT file.
func (j *Journal) checkFresh() error {
	for _, g := range j.groups {
		if g.last != 0 || j.entries[g.id].last != 0 {
			return fmt.Errorf("the file %s is missing but there is data: %w", formatName, ErrFormat)
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
	if err := fs.MkdirAll(dir, 0o750); err != nil {
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
