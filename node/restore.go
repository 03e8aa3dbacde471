package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"switchboard/backup"
	"switchboard/cluster"
	"switchboard/edge/token"
	"switchboard/shard"
	"switchboard/shard/journal"
)

// restoring is a file that stands in a data directory while a backup is put into it. No node starts beside it.
const restoring = "RESTORING"

// refuseHalf refuses a directory that a backup was not put into to the end.
func refuseHalf(data string) error {
	_, err := os.Stat(filepath.Join(data, restoring))
	switch {
	case err == nil:
		return fmt.Errorf("a restore into %s runs, or did not end: run switchboard restore into it again", data)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s is not a directory: name another one with --data", data)
	}
	return fmt.Errorf("looking at the data directory: %w", err)
}

// Restored is what Restore has done.
type Restored struct {
	Backup string    `json:"backup"`
	Taken  time.Time `json:"taken"`
	Data   string    `json:"data"`
	Shards int       `json:"shards"`
	Rows   uint64    `json:"rows"`
	Bytes  uint64    `json:"bytes"`
	// Erased is how many customers are in the backup and were erased since: they are erased in what was restored.
	Erased int `json:"erased,omitempty"`
	// Epoch is that of the positions which are given out from now on [SW-1].
	Epoch uint64 `json:"epoch"`
}

// Restore makes a data directory of a backup: that of a node which is alone, and of which a cluster can be made as of any such node. Every session
// begins a new epoch. data must be missing or empty, or hold what a restore has left that did not end. now gives the epoch its number: see ADR 0028. progress, which may
// be nil, is told each shard that is done.
//
// Until it returns nil the directory is of no use, and says so to whoever starts there. Errors: backup.ErrDamaged and others of it, journal.ErrNoSpace, those of the file system.
func Restore(ctx context.Context, d *backup.Dir, m *backup.Manifest, data string, now time.Time, progress func(shard int)) (*Restored, error) {
	places, err := restorable(m)
	if err != nil {
		return nil, err
	}
	mark, err := beginRestore(data, m.ID)
	if err != nil {
		return nil, err
	}
	defer func() { _ = mark.Close() }() // it is only locked
	r := &Restored{Backup: m.ID, Taken: m.Taken, Data: data, Shards: m.Shards}
	number := max(uint64(max(now.Unix(), 1)), m.Highest()+1) //nolint:gosec // not negative
	r.Epoch = number + 1
	forget, err := forgetting(ctx, d, m)
	if err != nil {
		return nil, fmt.Errorf("looking for customers who were erased since: %w", err)
	}
	r.Erased = forget.Know()
	made, err := journal.Restore(journal.Config{Dir: JournalDir(data), Groups: m.Shards}, number, func(i int, put func(k, v []byte) error) error {
		err := d.Rows(m, i, func(k, v []byte) error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			row, keep, err := forget.Row(k, v)
			if err != nil || !keep {
				return err
			}
			return put(k, row)
		})
		if err == nil && progress != nil {
			progress(i)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("restoring into %s, which is of no use now: %w", data, err)
	}
	r.Rows, r.Bytes = made.Rows, made.Bytes
	if len(m.Keys) > 0 {
		if err := writeKeys(data, m.Keys); err != nil {
			return nil, err
		}
	}
	if len(m.Tenants) > 0 {
		if err := writeDurably(filepath.Join(data, tenantsFile), m.Tenants); err != nil {
			return nil, fmt.Errorf("writing the tenants: %w", err)
		}
	}
	said, err := json.Marshal(struct {
		settings
		Restored *Restored `json:"restored"` // for people
	}{settings{Shards: m.Shards, Placements: places}, r})
	if err != nil {
		return nil, err
	}
	if err := writeSettings(data, said); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(data, restoring)); err != nil {
		return nil, err
	}
	return r, syncDirectory(data)
}

// forgetting looks through a backup for customers who were erased since it was taken, or when it was.
func forgetting(ctx context.Context, d *backup.Dir, m *backup.Manifest) (*shard.Forgetting, error) {
	known, err := d.Erasures()
	if err != nil {
		return nil, err
	}
	f := shard.NewForgetting(func(tenant, customer string) (string, int64, bool) {
		e, ok := known.Of(tenant, customer)
		return e.Mark, e.At, ok
	})
	if len(known.List) == 0 { // a backup notes those that it finds itself
		return f, nil
	}
	for _, look := range []func(k, v []byte) error{f.Look, f.LookAgain} {
		for i := range m.Shards {
			if err := d.Rows(m, i, func(k, v []byte) error {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				return look(k, v)
			}); err != nil {
				return nil, err
			}
		}
		if f.Know() == 0 {
			break
		}
	}
	return f, nil
}

// restorable says why a backup cannot be restored, or nil, and returns the placements of its cluster when it had more than main has without being asked.
func restorable(m *backup.Manifest) ([]*cluster.Placement, error) {
	if len(m.Keys) > 0 {
		if _, err := token.Parse(m.Keys); err != nil {
			return nil, fmt.Errorf("the keys of tokens in backup %s: %w", m.ID, err)
		}
	}
	if _, err := parseTenants(m.Tenants); err != nil {
		return nil, fmt.Errorf("the tenants in backup %s: %w", m.ID, err)
	}
	s, err := stateOf(m.Cluster)
	if err != nil {
		return nil, fmt.Errorf("backup %s has rows of a cluster that this version does not understand: %w", m.ID, err)
	}
	list := slices.SortedFunc(maps.Values(s.Placements), func(a, b *cluster.Placement) int { return int(a.Group) - int(b.Group) })
	if len(list) == 0 {
		return nil, nil
	}
	if err := cluster.Adoptable(list, m.Shards); err != nil {
		return nil, fmt.Errorf("backup %s cannot be restored: %w", m.ID, err)
	}
	if p := list[0]; len(list) == 1 && len(p.Parts) == 0 && (p.Base == 0 || p.Base == m.Shards) && slices.IsSorted(p.Shards) {
		return nil, nil // a node alone has its keys where main has them
	}
	return list, nil
}

// stateOf reads the rows of a cluster.
func stateOf(rows map[string][]byte) (*cluster.State, error) {
	s := cluster.New()
	for key, value := range rows {
		if strings.HasPrefix(key, nodePrefix) {
			continue
		}
		if err := s.Load(key, value); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// beginRestore makes the directory, and marks it.
func beginRestore(data, id string) (mark *os.File, err error) {
	if err := makeDirs(data); err != nil {
		return nil, err
	}
	list, err := os.ReadDir(data)
	if err != nil {
		return nil, err
	}
	half := slices.ContainsFunc(list, func(e os.DirEntry) bool { return e.Name() == restoring })
	for _, e := range list {
		switch name := e.Name(); {
		case name == "lost+found" || name == restoring:
		case !half:
			return nil, fmt.Errorf("%s has %s in it, and a backup is put into an empty directory only: name another one, or move it aside", data, name)
		case name != "journal" && name != token.FileName && name != token.FileName+".tmp" && name != "node.json" && name != "node.json.tmp" && name != tenantsFile && name != tenantsFile+".tmp":
			return nil, fmt.Errorf("%s has %s in it, which no restore has written: move it aside", data, name)
		}
	}
	if mark, err = os.OpenFile(filepath.Join(data, restoring), os.O_CREATE|os.O_RDWR, 0o600); err != nil { //nolint:gosec // the operator's path
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, mark.Close())
		}
	}()
	if err := syscall.Flock(int(mark.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { //nolint:gosec // a descriptor
		return nil, fmt.Errorf("another restore into %s runs: %w", data, err)
	}
	if _, err := fmt.Fprintf(mark, "backup %s is being put here; this directory is of no use until that has ended\n", id); err != nil {
		return nil, err
	}
	if err := errors.Join(mark.Sync(), syncDirectory(data)); err != nil {
		return nil, fmt.Errorf("marking %s: %w", data, err)
	}
	// What an earlier run has left goes before anything else.
	for _, name := range []string{"node.json", "node.json.tmp", token.FileName, token.FileName + ".tmp", tenantsFile, tenantsFile + ".tmp", "journal"} {
		if err := os.RemoveAll(filepath.Join(data, name)); err != nil {
			return nil, fmt.Errorf("removing what a restore that did not end has left: %w", err)
		}
	}
	return mark, nil
}

// makeDirs makes a directory and those above it, and their names durable.
func makeDirs(dir string) error {
	dir = filepath.Clean(dir)
	var above []string
	for p := dir; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil || p == filepath.Dir(p) {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		above = append(above, filepath.Dir(p))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range slices.Backward(above) {
		if err := syncDirectory(p); err != nil {
			return err
		}
	}
	return nil
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's path
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
