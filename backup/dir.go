package backup

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// The folders and files of a directory.
const (
	formatName  = "FORMAT"
	lockName    = "LOCK"
	backupsDir  = "backups"
	listsDir    = "lists"
	packsDir    = "packs"
	manifestExt = ".json"
)

// Dir is a directory of backups.
type Dir struct {
	fs   FS
	path string
}

// Open names a directory of backups. fs is nil for the machine's. The directory need not exist; [Dir.Begin] makes it.
func Open(path string, fs FS) *Dir {
	if fs == nil {
		fs = machine{}
	}
	return &Dir{fs: fs, path: path}
}

func (d *Dir) file(parts ...string) string {
	return filepath.Join(append([]string{d.path}, parts...)...)
}

// formatLine is what FORMAT holds.
func formatLine() string { return fmt.Sprintf("switchboard backup %d\n", format) }

// check reads FORMAT. there is false when the directory is empty or missing, which is no error.
func (d *Dir) check() (there bool, err error) {
	b, err := readFile(d.fs, d.file(formatName), 1<<10)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		names, err := d.fs.List(d.path)
		if err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return false, err
		}
		for _, n := range names {
			switch n {
			case lockName, formatName + tempExt, "lost+found":
				continue
			case backupsDir, listsDir, packsDir: // of a first backup that came no further
				if in, err := d.fs.List(d.file(n)); err == nil && len(in) == 0 {
					continue
				}
			}
			return false, fmt.Errorf("%s has %s in it, and is no directory of backups: name an empty one: %w", d.path, n, ErrFormat)
		}
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reading %s: %w", d.file(formatName), err)
	case string(b) != formatLine():
		return false, fmt.Errorf("%s says %q, and this program writes and reads %q: %w", d.file(formatName), strings.TrimSpace(string(b)), strings.TrimSpace(formatLine()), ErrFormat)
	}
	return true, nil
}

// Broken is a backup that cannot be read.
type Broken struct {
	ID  string
	Err error
}

// Backups returns the backups, the oldest first, and those whose manifest cannot be read. Their rows are not looked at: see [Dir.Verify].
func (d *Dir) Backups() (all []*Manifest, broken []Broken, err error) {
	there, err := d.check()
	if err != nil || !there {
		return nil, nil, err
	}
	names, err := d.fs.List(d.file(backupsDir))
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return nil, nil, fmt.Errorf("listing the backups: %w", err)
	}
	slices.Sort(names)
	for _, n := range names {
		id, ok := strings.CutSuffix(n, manifestExt)
		if !ok || !plain(n) {
			continue
		}
		m, err := d.read(id)
		if err != nil {
			broken = append(broken, Broken{id, err})
			continue
		}
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b *Manifest) int { return cmp.Or(a.Taken.Compare(b.Taken), cmp.Compare(a.ID, b.ID)) })
	return all, broken, nil
}

func (d *Dir) read(id string) (*Manifest, error) {
	b, err := readFile(d.fs, d.file(backupsDir, id+manifestExt), manifestMax)
	if err != nil {
		return nil, fmt.Errorf("reading backup %s: %w", id, err)
	}
	return parseManifest(id, b)
}

// Backup returns the backup id, or the latest when that is empty. A latest one that is broken is an error: an older one is taken only by name.
func (d *Dir) Backup(id string) (*Manifest, error) {
	all, broken, err := d.Backups()
	if err != nil {
		return nil, err
	}
	for _, b := range broken {
		if id == b.ID || id == "" && (len(all) == 0 || b.ID > all[len(all)-1].ID) {
			return nil, b.Err
		}
	}
	for _, m := range slices.Backward(all) {
		if id == "" || m.ID == id {
			return m, nil
		}
	}
	if id == "" {
		return nil, fmt.Errorf("%s has no backup in it: %w", d.path, ErrNoBackup)
	}
	return nil, fmt.Errorf("%s has no backup %s: %w", d.path, id, ErrNoBackup)
}

// chunks reads a part's list.
func (d *Dir) chunks(p *Part) (*list, error) {
	if !plain(p.List) {
		return nil, fmt.Errorf("shard %d has a list called %q: %w", p.Group, p.List, ErrDamaged)
	}
	b, err := readFile(d.fs, d.file(listsDir, p.List), listMax)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return nil, fmt.Errorf("%s is missing: %w", d.file(listsDir, p.List), ErrDamaged)
	case err != nil:
		return nil, fmt.Errorf("reading the chunks of shard %d: %w", p.Group, err)
	case hexSum(b) != p.Sum:
		return nil, fmt.Errorf("%s has a wrong checksum: %w", d.file(listsDir, p.List), ErrDamaged)
	}
	l, err := parseList(b)
	if err == nil && len(l.chunks) != p.Chunks {
		err = fmt.Errorf("%s has %d chunks instead of %d: %w", d.file(listsDir, p.List), len(l.chunks), p.Chunks, ErrDamaged)
	}
	return l, err
}

// lock keeps others from writing. A missing directory is made.
func (d *Dir) lock() (io.Closer, error) {
	there, err := d.check()
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{d.path, d.file(backupsDir), d.file(listsDir), d.file(packsDir)} {
		if err := makeDir(d.fs, dir); err != nil {
			return nil, fmt.Errorf("making %s: %w", dir, err)
		}
	}
	if err := d.fs.SyncDir(d.path); err != nil { // who made them may have come no further
		return nil, fmt.Errorf("making the folders in %s: %w", d.path, err)
	}
	l, err := d.fs.Lock(d.file(lockName))
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", d.path, err)
	}
	if !there {
		err = d.putWhole(formatName, []byte(formatLine()))
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// makeDir makes a folder and those above it, and makes the names of new ones durable.
func makeDir(fs FS, dir string) error {
	var above []string
	for p := dir; ; p = filepath.Dir(p) {
		_, err := fs.List(p)
		if err == nil || p == filepath.Dir(p) {
			break
		}
		if !errors.Is(err, iofs.ErrNotExist) {
			return err
		}
		above = append(above, filepath.Dir(p))
	}
	if len(above) == 0 {
		return nil
	}
	if err := fs.MkdirAll(dir); err != nil {
		return err
	}
	for _, p := range slices.Backward(above) {
		if err := fs.SyncDir(p); err != nil {
			return err
		}
	}
	return nil
}

// tempExt ends the names of files that are being written.
const tempExt = ".new"

// putWhole makes a file that is there whole or not at all, also after a power cut.
func (d *Dir) putWhole(name string, b []byte) error {
	path := d.file(name)
	if err := writeFile(d.fs, path+tempExt, b); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := d.fs.Rename(path+tempExt, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := d.fs.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
