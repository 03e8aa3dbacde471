package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// readSnapshot makes tables of a stream. What it returns names the tables that were made, also with an error: they are the caller's to remove.
func (j *Journal) readSnapshot(h *snapshotHeader, r *bufio.Reader) (a *arrival, err error) {
	a = &arrival{}
	if err := makeDir(j.cfg.FS, j.cfg.FS.PathJoin(j.cfg.Dir, arrivalDir)); err != nil {
		return a, err
	}
	t := arrivalTables{j: j, h: h, a: a}
	defer func() { err = errors.Join(err, t.end()) }()
	s := rowStream{
		r: r, sum: crc32.New(crc32.MakeTable(crc32.Castagnoli)), group: h.Group,
		lower: string(dataKey(nil, h.Group, 0, nil)), upper: string(dataKey(nil, h.Group+1, 0, nil)),
	}
	for {
		k, v, err := s.next()
		if err != nil {
			return a, err
		}
		if k == nil {
			break
		}
		if v, err = a.note(k, v); err != nil {
			return a, err
		}
		if err := t.put(k, v); err != nil {
			return a, err
		}
	}
	if err := s.end(); err != nil {
		return a, err
	}
	if a.at.index == 0 || len(a.conf.conf.GetVoters()) == 0 {
		return a, fmt.Errorf("a snapshot does not say what it is of: %w", ErrFormat)
	}
	return a, nil
}

// note keeps what a row says of the snapshot itself, and returns the row's value as it is kept here.
func (a *arrival) note(k, v []byte) (_ []byte, err error) {
	switch k[2] {
	case tagApplied:
		a.at, err = readApplied(k, v)
	case tagConf:
		if a.conf, err = readMeta(v); err != nil {
			return nil, err
		}
		a.conf.confAt = a.at.index
		return a.conf.put()
	}
	return v, err
}

// rowStream reads the rows of a snapshot, each behind the one before and all of one group, and sums what it reads.
type rowStream struct {
	r            *bufio.Reader
	sum          hash.Hash32
	group        uint16
	lower, upper string // around its keys
	last         []byte
}

func (s *rowStream) bytes(n uint32) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.r, b); err != nil {
		return nil, fmt.Errorf("reading a snapshot: %w", err)
	}
	_, _ = s.sum.Write(b) // never fails
	return b, nil
}

func (s *rowStream) number() (uint32, error) {
	b, err := s.bytes(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

// next returns the next row. Behind the last one it returns nil.
func (s *rowStream) next() (k, v []byte, err error) {
	nk, err := s.number()
	if err != nil || nk == snapshotEnd {
		return nil, nil, err
	}
	nv, err := s.number()
	if err != nil {
		return nil, nil, err
	}
	if nk > keySizeMax+3 || nv > valueSizeMax {
		return nil, nil, fmt.Errorf("a snapshot has a row of %d and %d bytes: %w", nk, nv, ErrFormat)
	}
	if k, err = s.bytes(nk); err != nil {
		return nil, nil, err
	}
	if v, err = s.bytes(nv); err != nil {
		return nil, nil, err
	}
	if string(k) <= string(s.last) || string(k) < s.lower || string(k) >= s.upper {
		return nil, nil, fmt.Errorf("a snapshot of group %d has a row that does not belong there: %w", s.group, ErrFormat)
	}
	s.last = k
	return k, v, nil
}

// end reads the checksum behind the rows. It is not part of what it sums; the mark of the end is.
func (s *rowStream) end() error {
	want := s.sum.Sum32()
	got, err := s.number()
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("a snapshot has the checksum %08x instead of %08x: %w", got, want, ErrDamaged)
	}
	return nil
}

// arrivalTables makes tables of ascending rows, and names them in the arrival.
type arrivalTables struct {
	j    *Journal
	h    *snapshotHeader
	a    *arrival
	w    *sstable.Writer // of the table that is being made, or nil
	size int             // of its rows
	// Bytes of rows since it was looked whether the disk is full.
	blind int
}

// arrivalLook is after how many bytes of rows it is looked whether the disk is full.
const arrivalLook = 256 << 10

// room says ErrNoSpace when the disk is full by now: a snapshot may be larger than what is left, and what the node has besides needs that more. What is written
// here counts as turns do, so that watch looks in time.
func (t *arrivalTables) room(bytes int) error {
	if t.blind += bytes; t.blind < arrivalLook {
		return nil
	}
	if t.j.sinceLook.Add(int64(t.blind)) >= t.j.lookBytes {
		poke(t.j.nudge)
	}
	t.blind = 0
	if t.j.Full() {
		return ErrNoSpace
	}
	return nil
}

func (t *arrivalTables) begin() error {
	fs := t.j.cfg.FS
	name := fs.PathJoin(t.j.cfg.Dir, arrivalDir, fmt.Sprintf("%d-%x-%d.sst", t.h.Group, t.h.To, t.j.arrivals.Add(1)))
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("making a table of a snapshot: %w", err)
	}
	t.a.files = append(t.a.files, name)
	o := t.j.storeOptions()
	o.EnsureDefaults()
	t.w, t.size = sstable.NewWriter(objstorageprovider.NewFileWritable(f), o.MakeWriterOptions(0, t.j.data.TableFormat())), 0
	return nil
}

func (t *arrivalTables) put(k, v []byte) error {
	if err := t.room(len(k) + len(v)); err != nil {
		return err
	}
	if t.w == nil {
		if err := t.begin(); err != nil {
			return err
		}
	}
	if err := t.w.Set(k, v); err != nil {
		return fmt.Errorf("writing a table of a snapshot: %w", err)
	}
	if t.size += len(k) + len(v); t.size >= snapshotTable {
		return t.end()
	}
	return nil
}

// end completes the table that is being made.
func (t *arrivalTables) end() error {
	if t.w == nil {
		return nil
	}
	err := t.w.Close()
	t.w = nil
	if err != nil {
		return fmt.Errorf("writing a table of a snapshot: %w", err)
	}
	return nil
}
