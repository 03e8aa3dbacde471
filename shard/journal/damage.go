package journal

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard/journal/seglog"
)

// Damage is a replica that takes no part in its group, as something of it is damaged or lost here.
type Damage struct {
	Group int
	ID    uint64 // of the replica; 0 when that is lost, too
	Status
}

// Damaged returns the replicas that take no part in their groups: the other replicas can help, by a new one that takes the place of each
// ([Journal.Remove], [Journal.Join]). Groups that never had a replica elsewhere are not among them. Reads of a damaged replica are
// refused. It may be called from any goroutine.
func (j *Journal) Damaged() (list []Damage) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return nil // nothing is known, and the process ends
	}
	for _, g := range j.groups {
		if g != nil && g.shared && g.status.Mode != OK {
			list = append(list, Damage{int(g.id), g.self, g.status})
		}
	}
	return list
}

// bar refuses reads of a replica whose others have all of it: what is damaged here is nobody's to read. It needs j.mu, or that nobody else
// knows g yet.
func (g *Group) bar() {
	if g.shared && g.status.Mode != OK {
		g.barred.Store(true)
	}
}

// readable says why the group is not read, or nil.
func (g *Group) readable() error {
	if g.barred.Load() {
		return fmt.Errorf("group %d is being repaired: %w", g.id, ErrReadOnly)
	}
	return nil
}

// forgot takes a replica out of its group that has lost entries which it had acknowledged, and which nothing here missed: the end of the log was
// damaged, younger than the fence. It is the committer's.
func (j *Journal) forgot(group uint16, err error) {
	g := j.groups[group]
	j.m.corruptions.Add(1)
	j.cfg.Log.Error("a replica has lost entries that it had acknowledged; it takes no part any more", "group", group, "err", err)
	j.mu.Lock()
	g.status = Status{Mode: Quarantined, Reason: err.Error(), LossFrom: g.at.turn + 1}
	g.bar()
	j.room.Broadcast()
	j.mu.Unlock()
	j.host.Remove(group)
}

// scour removes the rows of a replica that was taken off. When a damaged table is in the way it goes as a whole, together with the rows of
// others that were taken off; as long as it has rows of a group that is here, ErrDamaged says so, and it is tried again when another
// replica is taken off, or comes. Nobody reads such rows meanwhile.
func (j *Journal) scour(group uint16) error {
	err := j.excise(group, group)
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	from, to := group, group
	for from > 0 && j.absent(from-1) {
		from--
	}
	for to < groupsMax-1 && j.absent(to+1) {
		to++
	}
	if from == to {
		return err
	}
	return j.excise(from, to)
}

// absent tells whether a group is not here. It is the committer's.
func (j *Journal) absent(group uint16) bool {
	return int(group) >= len(j.groups) || j.groups[group] == nil
}

// stampName is a file of the directory that says which start opened it last.
const stampName = "START"

// Stamp returns what the last SetStamp has noted in the directory, "" when there is nothing; of what is longer, the first KiB. It is for who
// keeps the same elsewhere: when the two differ, one of them is an old copy, or damaged, which a stamp with a checksum tells by itself. The journal must be closed, or belong to the caller. Only Dir and FS count.
func Stamp(cfg Config) (string, error) {
	if err := cfg.Validate(); err != nil {
		return "", err
	}
	f, err := cfg.FS.Open(cfg.FS.PathJoin(cfg.Dir, stampName))
	if errors.Is(err, iofs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("opening the stamp of a journal: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("reading the stamp of a journal: %w", err)
	}
	return string(b), nil
}

// SetStamp makes the directory say so, durably, whole or not at all.
func SetStamp(cfg Config, stamp string) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if err := makeDir(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	name := cfg.FS.PathJoin(cfg.Dir, stampName)
	f, err := cfg.FS.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("making the stamp of a journal: %w", err)
	}
	_, err = io.WriteString(f, stamp)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing the stamp of a journal: %w", err)
	}
	if err := cfg.FS.Rename(name+".new", name); err != nil {
		return fmt.Errorf("renaming the stamp of a journal: %w", err)
	}
	return syncDir(cfg.FS, cfg.Dir)
}

// PutAside renames the directory of a closed journal that is lost, so that another can be begun in its place, and removes one that was put aside
// before. It returns the new name, "" when there is no directory. Only Dir and FS count.
func PutAside(cfg Config) (string, error) {
	if err := cfg.Validate(); err != nil {
		return "", err
	}
	there, err := exists(cfg.FS, cfg.Dir)
	if err != nil || !there {
		return "", err
	}
	aside := cfg.Dir + asideSuffix
	if _, err := DropAside(cfg, math.MaxInt); err != nil {
		return "", err
	}
	if err := cfg.FS.Rename(cfg.Dir, aside); err != nil {
		return "", fmt.Errorf("putting a journal aside: %w", err)
	}
	return aside, syncDir(cfg.FS, cfg.FS.PathDir(cfg.Dir))
}

const asideSuffix = ".damaged"

// DropAside removes a journal that PutAside has put aside: at most so many of its files at once, as removing large ones takes its time. It says
// whether there is more.
func DropAside(cfg Config, most int) (more bool, err error) {
	if err := cfg.Validate(); err != nil {
		return false, err
	}
	fs, aside := cfg.FS, cfg.Dir+asideSuffix
	there, err := exists(fs, aside)
	if err != nil || !there {
		return false, err
	}
	for _, dir := range []string{logDir, dataDir, arrivalDir} {
		dir = fs.PathJoin(aside, dir)
		names, err := fs.List(dir)
		if err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return true, fmt.Errorf("listing %s: %w", dir, err)
		}
		for _, name := range names {
			if most--; most < 0 {
				return true, nil
			}
			if err := fs.RemoveAll(fs.PathJoin(dir, name)); err != nil {
				return true, fmt.Errorf("removing a journal that was put aside: %w", err)
			}
		}
	}
	if err := fs.RemoveAll(aside); err != nil {
		return true, fmt.Errorf("removing a journal that was put aside: %w", err)
	}
	return false, syncDir(fs, fs.PathDir(cfg.Dir))
}

// passOver passes over damage that truncating the log has met: the point is durable, and a record of another group, which should have been
// copied, cannot be read. That one is found when it is needed.
func (j *Journal) passOver(doing string, err error) error {
	if errors.Is(err, seglog.ErrDamaged) {
		j.cfg.Log.Warn(doing, "dir", j.cfg.Dir, "err", err)
		return nil
	}
	return logError(doing, err)
}

// logDamaged hears that entries cannot be read back. The rows have what they did, if they are applied; so these are made durable soon, and
// the log is needed no more. Followers get a snapshot.
func (j *Journal) logDamaged(group uint16, err error) {
	j.m.corruptions.Add(1)
	j.cfg.Log.Error("entries of the log cannot be read; the rows are flushed, so that they are needed no more", "group", group, "err", err)
	j.sinceFlush.Store(max(j.cfg.FlushBytes, j.sinceFlush.Load()))
	poke(j.nudge)
}
