package backup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"

	"github.com/klauspost/compress/zstd"

	"switchboard/shard/journal"
)

// Rows gives fn every row of a shard, ascending. The slices are only valid during the call. Every chunk is checked before its rows are given: on ErrDamaged what
// was given until then is as it was. fn's error ends it.
func (d *Dir) Rows(m *Manifest, shard int, fn func(key, val []byte) error) error {
	if shard < 0 || shard >= len(m.Parts) {
		return fmt.Errorf("backup %s has no shard %d: %w", m.ID, shard, ErrNoBackup)
	}
	p := &m.Parts[shard]
	l, err := d.chunks(p)
	if err != nil {
		return err
	}
	r := &reader{d: d, l: l, packs: make([]File, len(l.packs))}
	if r.zip, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(chunkMax)); err != nil {
		return err
	}
	defer r.zip.Close()
	got := Amount{}
	var last []byte
	for i := range l.chunks {
		rows, err := r.chunk(&l.chunks[i])
		for n := uint32(0); err == nil && len(rows) > 0; n++ {
			var key, val []byte
			if key, val, rows, err = journal.NextRow(rows); err != nil {
				err = fmt.Errorf("%w: %w", ErrDamaged, err)
				break
			}
			if got.Rows > 0 && bytes.Compare(key, last) <= 0 {
				err = fmt.Errorf("shard %d has the key %q behind %q: %w", shard, key, last, ErrDamaged)
				break
			}
			last = append(last[:0], key...)
			got.Rows++
			got.Bytes += uint64(len(key) + len(val))
			err = fn(key, val)
		}
		if err != nil {
			return errors.Join(err, r.close())
		}
	}
	if got != p.Amount {
		err = fmt.Errorf("shard %d has %d rows of %d bytes instead of %d of %d: %w", shard, got.Rows, got.Bytes, p.Rows, p.Bytes, ErrDamaged)
	}
	return errors.Join(err, r.close())
}

// reader reads the chunks of a list.
type reader struct {
	d     *Dir
	l     *list
	packs []File // nil until one is needed
	zip   *zstd.Decoder
	in    []byte
	out   []byte
}

func (r *reader) close() error {
	var errs []error
	for _, f := range r.packs {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// chunk returns the rows of a chunk, which are good until the next call.
func (r *reader) chunk(c *chunk) ([]byte, error) {
	name := r.l.packs[c.pack]
	bad := func(why error) error {
		return fmt.Errorf("%s, %d bytes at %d: %w: %w", r.d.file(packsDir, name), c.size, c.offset, ErrDamaged, why)
	}
	if r.packs[c.pack] == nil {
		f, err := r.d.fs.Open(r.d.file(packsDir, name))
		if errors.Is(err, iofs.ErrNotExist) {
			return nil, fmt.Errorf("%s is missing: %w", r.d.file(packsDir, name), ErrDamaged)
		}
		if err != nil {
			return nil, err
		}
		r.packs[c.pack] = f
	}
	if cap(r.in) < int(c.size) {
		r.in = make([]byte, c.size)
	}
	r.in = r.in[:c.size]
	if _, err := r.packs[c.pack].ReadAt(r.in, int64(c.offset)); err != nil { //nolint:gosec // checked by parseList
		if errors.Is(err, io.EOF) {
			return nil, bad(errors.New("the file ends before"))
		}
		return nil, fmt.Errorf("reading %s: %w", r.d.file(packsDir, name), err)
	}
	var err error
	if r.out, err = r.zip.DecodeAll(r.in, r.out[:0]); err != nil {
		return nil, bad(err)
	}
	if len(r.out) != int(c.raw) || sha256.Sum256(r.out) != c.sum {
		return nil, bad(errors.New("it is not what was written"))
	}
	return r.out, nil
}

// Verify reads a whole backup, and tells what is wrong: nil when nothing is. It says so for every shard, with ErrDamaged.
func (d *Dir) Verify(m *Manifest, report func(shard int, err error)) error {
	bad := 0
	for i := range m.Parts {
		err := d.Rows(m, i, func(_, _ []byte) error { return nil })
		report(i, err)
		switch {
		case errors.Is(err, ErrDamaged):
			bad++
		case err != nil:
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("backup %s: %d of %d shards cannot be restored: %w", m.ID, bad, len(m.Parts), ErrDamaged)
	}
	return nil
}

// remove removes a file that may be gone.
func remove(fs FS, path string) error {
	if err := fs.Remove(path); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	return nil
}
