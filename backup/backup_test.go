package backup

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard/journal"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// table is the rows of a shard.
type table map[string]string

// some makes n rows.
func some(rng *rand.Rand, n int) table {
	t := table{}
	for range n {
		t[fmt.Sprintf("e%016x", rng.Uint64())] = strings.Repeat(fmt.Sprintf("%x", rng.Uint64()), 5+rng.IntN(20))
	}
	return t
}

func (t table) clone() table {
	c := table{}
	maps.Copy(c, t)
	return c
}

// page is the rows as they come.
func (t table) page() (rows []byte) {
	keys := make([]string, 0, len(t))
	for k := range t {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		rows = journal.AppendRow(rows, []byte(k), []byte(t[k]))
	}
	return rows
}

// take makes a backup of shards.
func take(d *Dir, at time.Time, full bool, shards ...table) (*Manifest, error) {
	w, err := d.Begin(at, full)
	if err != nil {
		return nil, err
	}
	for i, t := range shards {
		s, err := w.Shard(journal.Mark{Group: i, Turn: uint64(len(t)), Epoch: 3, Term: 7})
		if err == nil {
			err = s.Put(t.page())
		}
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			return nil, errors.Join(err, w.Abort())
		}
	}
	return w.Commit(About{Program: "test", From: "a test", Keys: []byte("secret")})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// whole checks that a backup gives back what was put into it.
func whole(t testing.TB, d *Dir, id string, shards ...table) {
	t.Helper()
	m, err := d.Backup(id)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Parts) != len(shards) {
		t.Fatalf("backup %s has %d shards; want %d", id, len(m.Parts), len(shards))
	}
	for i, want := range shards {
		got := table{}
		must(t, d.Rows(m, i, func(k, v []byte) error {
			got[string(k)] = string(v)
			return nil
		}))
		if len(got) != len(want) {
			t.Fatalf("backup %s, shard %d: %d rows; want %d", m.ID, i, len(got), len(want))
		}
		for k, v := range want {
			if got[k] != v {
				t.Fatalf("backup %s, shard %d: row %s is %q; want %q", m.ID, i, k, got[k], v)
			}
		}
	}
	must(t, d.Verify(m, func(shard int, err error) {
		if err != nil {
			t.Errorf("shard %d: %v", shard, err)
		}
	}))
}

func TestIncremental(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	d := Open(filepath.Join(t.TempDir(), "new", "dir"), nil)
	a, b := some(rng, 20_000), some(rng, 3)
	first, err := take(d, noon, false, a, b, table{})
	must(t, err)
	if first.Added != (Amount{20_003, first.Added.Bytes}) || first.Highest() != 7 || first.Total().Rows != 20_003 {
		t.Fatalf("the first backup: %+v", first)
	}
	// Nothing has changed: nothing is written but the manifest.
	same, err := take(d, noon.Add(time.Hour), false, a, b, table{})
	must(t, err)
	if same.Stored != 0 || same.Added != (Amount{}) || same.Parts[0].List != first.Parts[0].List {
		t.Fatalf("an unchanged backup: %+v", same)
	}
	// A row in a hundred is new, changed or gone: each touches its own chunk.
	next := a.clone()
	for range 10 {
		next[fmt.Sprintf("e%016x", rng.Uint64())] = "new"
	}
	for k := range a {
		if len(next) < 20_000 {
			next[k] = "changed"
			break
		}
		delete(next, k)
	}
	third, err := take(d, noon.Add(2*time.Hour), false, next, b, table{})
	must(t, err)
	if third.Stored == 0 || third.Stored > first.Stored/4 {
		t.Fatalf("a few changes took %d bytes; all took %d", third.Stored, first.Stored)
	}
	full, err := take(d, noon.Add(2*time.Hour), true, next, b, table{})
	must(t, err)
	if full.Stored < first.Stored/2 || full.ID != third.ID+"-2" {
		t.Fatalf("a full backup took %d bytes, and is called %s", full.Stored, full.ID)
	}
	whole(t, d, first.ID, a, b, table{})
	whole(t, d, same.ID, a, b, table{})
	whole(t, d, third.ID, next, b, table{})
	whole(t, d, "", next, b, table{})

	gone, freed, err := d.Prune(3)
	must(t, err)
	if len(gone) != 1 || gone[0].ID != first.ID || freed != 0 { // its packs are needed
		t.Fatalf("%d are gone, %d bytes", len(gone), freed)
	}
	whole(t, d, same.ID, a, b, table{})
	gone, freed, err = d.Prune(1)
	must(t, err)
	if len(gone) != 2 || freed < first.Stored+third.Stored-1000 {
		t.Fatalf("%d are gone, %d bytes of %d", len(gone), freed, first.Stored+third.Stored)
	}
	whole(t, d, "", next, b, table{})
	if _, err := d.Backup(first.ID); !errors.Is(err, ErrNoBackup) {
		t.Fatalf("a pruned backup: %v", err)
	}
	if _, _, err := d.Prune(0); err == nil {
		t.Fatal("all were pruned")
	}
}

// TestOnlyTheOwner: a backup holds secrets.
func TestOnlyTheOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	_, err := take(Open(dir, nil), noon, false, table{"k": "v"})
	must(t, err)
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := e.Info()
		if err == nil && i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", path, i.Mode())
		}
		return err
	}))
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "holiday.jpg"), nil, 0o600))
	if _, err := take(Open(dir, nil), noon, false, table{}); !errors.Is(err, ErrFormat) {
		t.Errorf("a directory with something else: %v", err)
	}
	dir = t.TempDir()
	d := Open(dir, nil)
	if _, err := d.Backup(""); !errors.Is(err, ErrNoBackup) {
		t.Errorf("an empty directory: %v", err)
	}
	w, err := d.Begin(noon, false)
	must(t, err)
	if _, err := Open(dir, nil).Begin(noon, false); !errors.Is(err, ErrInUse) {
		t.Errorf("two at once: %v", err)
	}
	s, err := w.Shard(journal.Mark{})
	must(t, err)
	if err := s.Put([]byte("garbage")); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("garbage: %v", err)
	}
	if err := s.Put((table{"b": "1"}).page()); err != nil {
		t.Error(err)
	}
	if err := s.Put((table{"a": "1"}).page()); err == nil {
		t.Error("rows were taken in the wrong order")
	}
	if _, err := w.Commit(About{}); err == nil {
		t.Error("a backup was committed within a shard")
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	if m, err := d.Backup(""); !errors.Is(err, ErrNoBackup) {
		t.Errorf("an aborted backup is there: %v, %v", m, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, formatName), []byte("switchboard backup 2\n"), 0o600))
	if _, _, err := d.Backups(); !errors.Is(err, ErrFormat) {
		t.Errorf("a newer format: %v", err)
	}
}

// TestDamage flips a bit in every file, in many places, and takes files away: verifying finds all of it.
func TestDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	d := Open(dir, nil)
	a, b := some(rng, 2000), some(rng, 10)
	first, err := take(d, noon, false, a, b)
	must(t, err)
	b["one"] = "more"
	second, err := take(d, noon.Add(time.Hour), false, a, b)
	must(t, err)
	found := func() error {
		all, broken, err := d.Backups()
		for _, b := range broken {
			err = errors.Join(err, b.Err)
		}
		if len(all)+len(broken) != 2 {
			err = errors.Join(err, fmt.Errorf("%d backups and %d broken ones", len(all), len(broken)))
		}
		for _, m := range all {
			err = errors.Join(err, d.Verify(m, func(int, error) {}))
		}
		return err
	}
	must(t, found())
	var files []string
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != lockName {
			files = append(files, path)
		}
		return err
	}))
	if len(files) != 1+2+3+3 {
		t.Fatalf("there are %d files: %q", len(files), files)
	}
	flips := 0
	for _, path := range files {
		was, err := os.ReadFile(path) //nolint:gosec // ours
		must(t, err)
		for n := range 30 {
			at := rng.IntN(len(was))
			if n < 12 { // heads and tails are special
				at = []int{n, len(was) - 1 - n}[n%2] % len(was)
			}
			// What stands before a chunk in its pack is for people alone: the list knows better.
			if strings.HasSuffix(path, ".pack") && at < len(packMagic)+36 {
				at = len(was) - 1
			}
			bad := slices.Clone(was)
			bad[at] ^= 1 << rng.IntN(8)
			must(t, os.WriteFile(path, bad, 0o600))
			switch err := found(); {
			case strings.HasSuffix(path, ".pack") && err == nil && between(d, first, second, path, at):
			case err == nil:
				t.Errorf("a flip at %d of %d in %s was not found", at, len(was), path)
			case !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat):
				t.Errorf("a flip in %s: %v", path, err)
			default:
				flips++
			}
		}
		must(t, os.WriteFile(path, was[:len(was)/2], 0o600))
		if err := found(); err == nil {
			t.Errorf("half of %s is missing, and nobody minds", path)
		}
		must(t, os.Remove(path))
		if err := found(); err == nil {
			t.Errorf("%s is missing, and nobody minds", path)
		}
		must(t, os.WriteFile(path, was, 0o600))
		must(t, found())
	}
	if flips < 30*8 {
		t.Errorf("%d flips were found", flips)
	}
}

// between tells whether a byte of a pack is in the head of a chunk, which nobody reads.
func between(d *Dir, first, second *Manifest, path string, at int) bool {
	for _, m := range []*Manifest{first, second} {
		for i := range m.Parts {
			l, err := d.chunks(&m.Parts[i])
			if err != nil {
				return false
			}
			for _, c := range l.chunks {
				if l.packs[c.pack] == filepath.Base(path) && at >= int(c.offset) && at < int(c.offset)+int(c.size) {
					return false
				}
			}
		}
	}
	return true
}

// TestDamagedBefore: a backup is not built on what cannot be read, and a broken one does not lose others their files.
func TestDamagedBefore(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	dir := t.TempDir()
	d := Open(dir, nil)
	a := some(rng, 2000)
	first, err := take(d, noon, false, a)
	must(t, err)
	pack := d.file(packsDir, first.ID+"-0.pack")
	was, err := os.ReadFile(pack) //nolint:gosec // ours
	must(t, err)
	must(t, os.WriteFile(pack, was[:len(was)/2], 0o600)) // chunks beyond the end are written again
	_, err = take(d, noon.Add(time.Hour), false, a)
	must(t, err)
	whole(t, d, "", a)
	must(t, os.WriteFile(d.file(listsDir, first.ID+"-0.list"), nil, 0o600))
	second, err := take(d, noon.Add(2*time.Hour), true, a)
	must(t, err)
	whole(t, d, second.ID, a)
	if _, _, err := d.Prune(1); !errors.Is(err, ErrDamaged) {
		t.Errorf("beside a damaged backup it was pruned: %v", err)
	}
	must(t, os.WriteFile(d.file(backupsDir, second.ID+manifestExt), []byte("{}"), 0o600))
	if _, err := d.Backup(""); !errors.Is(err, ErrDamaged) {
		t.Errorf("the latest is broken, and another was taken: %v", err)
	}
	_, err = take(d, noon.Add(3*time.Hour), true, a)
	must(t, err)
	if _, err := os.Stat(d.file(packsDir, second.ID+"-0.pack")); err != nil {
		t.Errorf("the packs of a broken backup are gone: %v", err)
	}
}

func TestParseList(t *testing.T) {
	l := list{packs: []string{"a.pack"}, chunks: []chunk{{size: 1, raw: 2, rows: 3}}}
	b := l.encode()
	if _, err := parseList(b); err != nil {
		t.Fatal(err)
	}
	for n := range len(b) {
		if got, err := parseList(b[:n]); err == nil && len(got.chunks) == 1 {
			t.Errorf("%d of %d bytes were taken for whole", n, len(b))
		}
	}
	for _, name := range []string{"", "..", "../x", "a/b", ".x", "a\x00", strings.Repeat("x", 201)} {
		l.packs[0] = name
		if _, err := parseList(l.encode()); !errors.Is(err, ErrDamaged) {
			t.Errorf("a pack called %q: %v", name, err)
		}
	}
}

// disk is a file system in memory whose n'th step fails. A dead one does nothing any more.
type disk struct {
	fs    vfs.FS
	steps int
	fail  int
	dead  bool // from the failure on
	gone  bool
}

var errDisk = errors.New("the disk is full")

func (d *disk) step() error {
	if d.gone {
		return errDisk
	}
	d.steps++
	if d.steps == d.fail {
		d.gone = d.dead
		return errDisk
	}
	return nil
}

type diskFile struct {
	vfs.File
	d *disk
}

func (f diskFile) Write(b []byte) (int, error) {
	if err := f.d.step(); err != nil {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, err
	}
	return f.File.Write(b)
}

func (f diskFile) Sync() error {
	if err := f.d.step(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f diskFile) Size() (int64, error) {
	s, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return s.Size(), nil
}

func (d *disk) Create(name string) (File, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	f, err := d.fs.Create(name, vfs.WriteCategoryUnspecified)
	return diskFile{f, d}, err
}

func (d *disk) Open(name string) (File, error) {
	f, err := d.fs.Open(name)
	return diskFile{f, d}, err
}

func (d *disk) Rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.fs.Rename(from, to)
}

func (d *disk) Remove(name string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.fs.Remove(name)
}

func (d *disk) List(dir string) ([]string, error) { return d.fs.List(dir) }

func (d *disk) MkdirAll(dir string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.fs.MkdirAll(dir, 0o700)
}

func (d *disk) SyncDir(dir string) error {
	if err := d.step(); err != nil {
		return err
	}
	f, err := d.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *disk) Lock(name string) (io.Closer, error) { return d.fs.Lock(name) }

// TestEveryStep lets every step of a backup fail, and every step be the last before a power cut. There is never half a backup, those before stay, and the
// next run goes on as if nothing had been. So with every step of the removal of an old one.
func TestEveryStep(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	a, b := some(rng, 1500), some(rng, 10)
	next := a.clone()
	next["e8"] = "new"
	for _, dead := range []bool{false, true} {
		ended := false
		for step := 1; !ended; step++ {
			mem := vfs.NewCrashableMem()
			fs := &disk{fs: mem}
			d := Open("/backups/of", fs)
			first, err := take(d, noon, false, a, b)
			must(t, err)
			fs.steps, fs.fail, fs.dead = 0, step, dead
			_, err = take(d, noon.Add(time.Hour), false, next, b)
			if err == nil {
				_, _, err = d.Prune(1)
			}
			ended = err == nil && fs.steps < step
			if err == nil && !ended && !dead {
				t.Fatalf("step %d failed, and nobody was told", step)
			}
			fs.fail, fs.gone = 0, false
			if dead { // the power is cut: nothing is there that was not synced
				d = Open("/backups/of", &disk{fs: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50}[step%2], RNG: rng})})
			}
			all, broken, err := d.Backups()
			if err != nil || len(broken) > 0 || len(all) == 0 {
				t.Fatalf("step %d, dead %v: %d backups, %v, %v", step, dead, len(all), broken, err)
			}
			for _, m := range all {
				if m.ID == first.ID {
					whole(t, d, m.ID, a, b)
				} else {
					whole(t, d, m.ID, next, b)
				}
			}
			if !ended && !dead && len(all) == 1 && all[0].ID == first.ID { // what it had written is gone
				if packs, err := d.fs.List(d.file(packsDir)); err != nil || len(packs) > 3 {
					t.Fatalf("step %d left %q, %v", step, packs, err)
				}
			}
			_, err = take(d, noon.Add(2*time.Hour), false, next, b)
			must(t, err)
			whole(t, d, "", next, b)
			if step > 100 {
				t.Fatal("it never ends")
			}
		}
	}
}

// TestFirstBackup lets the very first backup of a directory fail, or the power, at each of its steps: the next begins all the same.
func TestFirstBackup(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	a := some(rng, 100)
	for _, dead := range []bool{false, true} {
		ended := false
		for step := 1; !ended; step++ {
			mem := vfs.NewCrashableMem()
			fs := &disk{fs: mem, fail: step, dead: dead}
			d := Open("/backups/of", fs)
			_, err := take(d, noon, false, a)
			ended = err == nil && fs.steps < step
			fs.fail, fs.gone = 0, false
			if dead {
				d = Open("/backups/of", &disk{fs: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[step%3], RNG: rng})})
			}
			if _, err := take(d, noon.Add(time.Hour), false, a); err != nil {
				t.Fatalf("dead %v: after step %d: %v", dead, step, err)
			}
			whole(t, d, "", a)
		}
	}
}

// TestNameOfPacks: the name of a backup that is removed is not given again while others need its packs.
func TestNameOfPacks(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	a := some(rng, 1500)
	d := Open("/backups/of", &disk{fs: vfs.NewCrashableMem()})
	_, err := take(d, noon, false, a)
	must(t, err)
	_, err = take(d, noon.Add(time.Hour), false, a)
	must(t, err)
	_, _, err = d.Prune(1)
	must(t, err)
	b := a.clone()
	b["e8"] = "new"
	_, err = take(d, noon, true, b) // a clock that was set back
	must(t, err)
	all, broken, err := d.Backups()
	if err != nil || len(broken) > 0 || len(all) != 2 {
		t.Fatalf("%d backups, %v, %v", len(all), broken, err)
	}
	for _, m := range all {
		if m.Taken.Equal(noon) {
			whole(t, d, m.ID, b)
		} else {
			whole(t, d, m.ID, a)
		}
	}
}

// BenchmarkPut takes rows that are all new, and all known.
func BenchmarkPut(b *testing.B) {
	rows := some(rand.New(rand.NewPCG(7, 8)), 20_000).page()
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprintf("known=%v", known), func(b *testing.B) {
			d := Open(b.TempDir(), nil)
			b.SetBytes(int64(len(rows)))
			for i := 0; b.Loop(); i++ {
				w, err := d.Begin(noon.Add(time.Duration(i)*time.Second), !known)
				must(b, err)
				s, err := w.Shard(journal.Mark{})
				must(b, err)
				must(b, s.Put(rows))
				must(b, s.Close())
				if _, err := w.Commit(About{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
