package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"switchboard/shard/journal"
)

// Where chunks end. A chunk is of no fewer bytes than cutMin and of no more than cutMax, but for a row that is larger by itself; in between each byte ends it with
// the same chance, by its row's key. So chunks of rows that have not changed begin and end where they did.
const (
	cutMin  = 4 << 10
	cutMean = 12 << 10 // beyond cutMin
	cutMax  = 128 << 10
)

// Writer is a backup that is being written.
type Writer struct {
	d      *Dir
	lock   io.Closer
	m      Manifest
	before *Manifest // nil for the first, or a full one
	made   []string  // files, to be removed when it comes to nothing
	shard  *Shard
	zip    *zstd.Encoder
	done   bool
}

// Shard takes the rows of a shard.
type Shard struct {
	w    *Writer
	part Part

	known map[[sha256.Size]byte]place // of the backup before, and of this one so far
	was   *Part                       // nil when there is none, or it cannot be read
	list  list

	rows []byte // of the chunk that begins
	n    uint32
	last []byte // the key

	pack   File // nil until something is new
	at     uint64
	zipped []byte
}

type place struct {
	pack   string
	offset uint64
	size   uint32
}

// Begin starts a backup in the directory, which is made if need be, and removes what others have begun there and not ended. full writes everything
// anew, and trusts nothing that is there. Either Commit or Abort ends it. Errors: ErrInUse, ErrFormat, those of the file system.
func (d *Dir) Begin(now time.Time, full bool) (w *Writer, err error) {
	l, err := d.lock()
	if err != nil {
		return nil, err
	}
	w = &Writer{d: d, lock: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	all, broken, err := d.Backups()
	if err != nil {
		return nil, err
	}
	if len(broken) == 0 { // otherwise nobody knows what is needed
		if _, err := d.sweep(all); err != nil {
			return nil, fmt.Errorf("removing what is left of a backup that was not ended: %w", err)
		}
	}
	if len(all) > 0 && !full {
		w.before = all[len(all)-1]
	}
	id := now.UTC().Format("20060102T150405Z")
	packs, err := d.fs.List(d.file(packsDir)) // which later backups may need whose own is removed
	if err != nil {
		return nil, fmt.Errorf("looking for the names of packs: %w", err)
	}
	taken := func(id string) bool {
		return slices.ContainsFunc(packs, func(name string) bool { return strings.HasPrefix(name, id+"-") }) || slices.ContainsFunc(all, func(m *Manifest) bool { return m.ID == id }) || slices.ContainsFunc(broken, func(b Broken) bool { return b.ID == id })
	}
	for n := 2; taken(id); n++ {
		id = fmt.Sprintf("%s-%d", now.UTC().Format("20060102T150405Z"), n)
	}
	w.m = Manifest{Format: format, ID: id, Taken: now.UTC()}
	w.zip, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	return w, err
}

// Shard begins the next shard: they come in order, from 0. The one before is closed.
func (w *Writer) Shard(m journal.Mark) (*Shard, error) {
	if w.done || w.shard != nil || m.Group != len(w.m.Parts) {
		return nil, fmt.Errorf("shard %d follows %d shards, or one that is not closed", m.Group, len(w.m.Parts))
	}
	s := &Shard{w: w, part: Part{Mark: m}, known: map[[sha256.Size]byte]place{}}
	if w.before != nil && m.Group < len(w.before.Parts) {
		was := &w.before.Parts[m.Group]
		if l, err := w.d.chunks(was); err == nil { // otherwise all of it is new
			s.know(was, l)
		}
	}
	w.shard = s
	return s, nil
}

// know notes the chunks of the backup before, as far as their packs are there.
func (s *Shard) know(was *Part, l *list) {
	s.was = was
	sizes := make([]uint64, len(l.packs))
	for i, name := range l.packs {
		if f, err := s.w.d.fs.Open(s.w.d.file(packsDir, name)); err == nil {
			if n, err := f.Size(); err == nil {
				sizes[i] = uint64(n) //nolint:gosec // not negative
			}
			_ = f.Close() // it was read only
		}
	}
	for i := range l.chunks {
		c := &l.chunks[i]
		if c.offset+uint64(c.size) <= sizes[c.pack] {
			s.known[c.sum] = place{l.packs[c.pack], c.offset, c.size}
		}
	}
}

// Put takes rows as [journal.Frozen.Page] tells them: ascending, also from call to call. It copies them.
func (s *Shard) Put(rows []byte) error {
	for len(rows) > 0 {
		key, val, rest, err := journal.NextRow(rows)
		if err != nil {
			return fmt.Errorf("a row of shard %d: %w", s.part.Group, err)
		}
		if s.part.Rows > 0 && bytes.Compare(key, s.last) <= 0 {
			return fmt.Errorf("shard %d has the key %q behind %q", s.part.Group, key, s.last)
		}
		size := len(rows) - len(rest)
		s.rows = append(s.rows, rows[:size]...)
		s.last = append(s.last[:0], key...)
		s.n++
		s.part.Rows++
		s.part.Bytes += uint64(len(key) + len(val))
		rows = rest
		if len(s.rows) >= cutMax || len(s.rows) >= cutMin && xxhash.Sum64(key)%cutMean < uint64(size) { //nolint:gosec // a length
			if err := s.cut(); err != nil {
				return err
			}
		}
	}
	return nil
}

// cut ends a chunk.
func (s *Shard) cut() error {
	if s.n == 0 {
		return nil
	}
	c := chunk{sum: sha256.Sum256(s.rows), raw: uint32(len(s.rows)), rows: s.n} //nolint:gosec // bounded by the size of a row
	if at, ok := s.known[c.sum]; ok {
		c.pack, c.offset, c.size = s.list.name(at.pack), at.offset, at.size
	} else if err := s.store(&c); err != nil {
		return fmt.Errorf("writing shard %d: %w", s.part.Group, err)
	}
	s.list.chunks = append(s.list.chunks, c)
	s.rows, s.n = s.rows[:0], 0
	return nil
}

// store writes a chunk that is new.
func (s *Shard) store(c *chunk) error {
	w := s.w
	name := fmt.Sprintf("%s-%d.pack", w.m.ID, s.part.Group)
	if s.pack == nil {
		f, err := w.d.fs.Create(w.d.file(packsDir, name))
		if err != nil {
			return err
		}
		w.made = append(w.made, w.d.file(packsDir, name))
		s.pack = f
		if _, err := f.Write([]byte(packMagic)); err != nil {
			return err
		}
		s.at = uint64(len(packMagic))
	}
	s.zipped = append(s.zipped[:0], c.sum[:]...)
	s.zipped = binary.BigEndian.AppendUint32(s.zipped, c.raw)
	head := len(s.zipped)
	s.zipped = w.zip.EncodeAll(s.rows, s.zipped)
	if _, err := s.pack.Write(s.zipped); err != nil {
		return err
	}
	at := place{name, s.at + uint64(head), uint32(len(s.zipped) - head)} //nolint:gosec // bounded by the size of a row
	s.at += uint64(len(s.zipped))
	s.known[c.sum] = at
	c.pack, c.offset, c.size = s.list.name(name), at.offset, at.size
	w.m.Added.Rows += uint64(c.rows)
	w.m.Added.Bytes += uint64(c.raw)
	return nil
}

// Close ends the shard. All that it wrote is durable when it returns nil.
func (s *Shard) Close() error {
	w := s.w
	w.shard = nil
	err := s.cut()
	if s.pack != nil {
		if err == nil {
			err = s.pack.Sync()
		}
		err = errors.Join(err, s.pack.Close())
		w.m.Stored += s.at
	}
	if err != nil {
		return fmt.Errorf("writing shard %d: %w", s.part.Group, err)
	}
	s.part.Chunks = len(s.list.chunks)
	if s.was != nil && s.unchanged() {
		s.part.List, s.part.Sum = s.was.List, s.was.Sum
		w.m.Parts = append(w.m.Parts, s.part)
		return nil
	}
	b := s.list.encode()
	s.part.List, s.part.Sum = fmt.Sprintf("%s-%d.list", w.m.ID, s.part.Group), hexSum(b)
	path := w.d.file(listsDir, s.part.List)
	w.made = append(w.made, path)
	if err := writeFile(w.d.fs, path, b); err != nil {
		return fmt.Errorf("writing the chunks of shard %d: %w", s.part.Group, err)
	}
	w.m.Stored += uint64(len(b))
	w.m.Parts = append(w.m.Parts, s.part)
	return nil
}

// unchanged tells whether the list is that of the backup before.
func (s *Shard) unchanged() bool { return s.pack == nil && hexSum(s.list.encode()) == s.was.Sum }

// About is what a manifest says besides its shards.
type About struct {
	Program, From string
	Keys          []byte
	Tenants       []byte
	Cluster       map[string][]byte
}

// Commit makes it a backup. It is durable when it returns nil; on an error there is none, and what was written is removed.
func (w *Writer) Commit(a About) (*Manifest, error) {
	if w.done || w.shard != nil || len(w.m.Parts) == 0 {
		return nil, errors.Join(errors.New("a backup is committed twice, without shards, or within one"), w.Abort())
	}
	w.m.Shards, w.m.Program, w.m.From, w.m.Keys, w.m.Tenants, w.m.Cluster = len(w.m.Parts), a.Program, a.From, a.Keys, a.Tenants, a.Cluster
	err := w.publish()
	if err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	w.done = true
	return &w.m, errors.Join(w.zip.Close(), w.lock.Close())
}

func (w *Writer) publish() error {
	for _, dir := range []string{packsDir, listsDir} { // the names of what the manifest speaks of come first
		if err := w.d.fs.SyncDir(w.d.file(dir)); err != nil {
			return fmt.Errorf("syncing %s: %w", dir, err)
		}
	}
	b, err := w.m.encode()
	if err != nil {
		return err
	}
	name := filepath.Join(backupsDir, w.m.ID+manifestExt)
	w.made = append(w.made, w.d.file(name), w.d.file(name+tempExt))
	return w.d.putWhole(name, b)
}

// Abort removes what was written. Called again, or behind Commit, it does nothing.
func (w *Writer) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	var errs []error
	if w.shard != nil && w.shard.pack != nil {
		errs = append(errs, w.shard.pack.Close())
	}
	// The manifest first, durably: it must never speak of what is gone.
	told := false
	for _, path := range slices.Backward(w.made) {
		manifest := filepath.Dir(path) == w.d.file(backupsDir)
		if told && !manifest {
			if err := w.d.fs.SyncDir(w.d.file(backupsDir)); err != nil {
				errs = append(errs, err)
				break
			}
			told = false
		}
		told = told || manifest
		if err := remove(w.d.fs, path); err != nil {
			errs = append(errs, err)
			break
		}
	}
	return errors.Join(append(errs, w.zip.Close(), w.lock.Close())...)
}

// Amount tells how much was taken so far, and how much of it was new.
func (w *Writer) Amount() (all, added Amount) {
	all = w.m.Total()
	if s := w.shard; s != nil {
		all.Rows += s.part.Rows
		all.Bytes += s.part.Bytes
	}
	return all, w.m.Added
}

// needed returns the files that backups need.
func (d *Dir) needed(all []*Manifest) (map[string]bool, error) {
	need := map[string]bool{}
	lists := map[string]bool{}
	for _, m := range all {
		need[d.file(backupsDir, m.ID+manifestExt)] = true
		for i := range m.Parts {
			p := &m.Parts[i]
			path := d.file(listsDir, p.List)
			if need[path] = true; lists[path] {
				continue
			}
			lists[path] = true
			l, err := d.chunks(p)
			if err != nil {
				return nil, err
			}
			for _, pack := range l.packs {
				need[d.file(packsDir, pack)] = true
			}
		}
	}
	return need, nil
}

// sweep removes every file that none of the backups needs, and returns how many bytes that were. When one of their lists cannot be read it
// removes nothing.
func (d *Dir) sweep(all []*Manifest) (freed uint64, err error) {
	need, err := d.needed(all)
	if errors.Is(err, ErrDamaged) {
		return 0, nil //nolint:nilerr // verify tells it
	}
	if err != nil {
		return 0, err
	}
	for _, dir := range []string{backupsDir, listsDir, packsDir} {
		names, err := d.fs.List(d.file(dir))
		if err != nil {
			return freed, err
		}
		for _, n := range names {
			path := d.file(dir, n)
			ours := strings.HasSuffix(n, ".pack") || strings.HasSuffix(n, ".list") || strings.HasSuffix(n, manifestExt+tempExt)
			if need[path] || !ours {
				continue
			}
			if f, err := d.fs.Open(path); err == nil {
				if size, err := f.Size(); err == nil {
					freed += uint64(size) //nolint:gosec // not negative
				}
				_ = f.Close() // it was read only
			}
			if err := remove(d.fs, path); err != nil {
				return freed, err
			}
		}
	}
	return freed, nil
}

// Prune removes all but the keep latest backups, and what only they needed. It returns those that are gone. What a damaged backup needs is not known, so there is nothing to
// be pruned beside one: remove its manifest by hand, or keep the directory and begin another.
func (d *Dir) Prune(keep int) (gone []*Manifest, freed uint64, err error) {
	if keep < 1 {
		return nil, 0, errors.New("at least one backup is kept")
	}
	l, err := d.lock()
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	all, broken, err := d.Backups()
	if err != nil {
		return nil, 0, err
	}
	if len(broken) > 0 {
		return nil, 0, fmt.Errorf("nothing was removed: %w", broken[0].Err)
	}
	if _, err := d.needed(all); err != nil {
		return nil, 0, fmt.Errorf("nothing was removed: %w", err)
	}
	gone = all[:max(len(all)-keep, 0)]
	for _, m := range gone {
		if err := remove(d.fs, d.file(backupsDir, m.ID+manifestExt)); err != nil {
			return nil, 0, err
		}
	}
	if err := d.fs.SyncDir(d.file(backupsDir)); err != nil {
		return gone, 0, err
	}
	freed, err = d.sweep(all[len(gone):])
	return gone, freed, err
}
