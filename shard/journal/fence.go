package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The fence file has two slots, written in turn, so that a torn write leaves the other one whole. A slot is
//
//	magic u64 | sequence u64 | groups u64 | entries | crc32c u32
//
// with an entry for each group that is there, ascending,
//
// and begins at a multiple of slotSize. Readers take the valid slot with the higher sequence.
const (
	fenceName   = "FENCE"
	fenceMagic  = 0x5357_4a46_454e_4332 // SWJFENC2
	slotSize    = 512 << 10
	entrySize   = 10 * 8
	fenceHeader = 3 * 8
)

// entry is what the fence says of one group. All of it was durable before it was written here.
type entry struct {
	group                uint64
	replica, term        uint64
	last, lastTerm, turn uint64 // the log reaches at least so far, all of it decided for good
	epoch                uint64
	lossFrom             uint64 // the first turn that was found lost and is not accepted yet; 0 for none
	shared               uint64 // 1 when the group has, or had, replicas elsewhere
	spare                uint64
}

// fence is the open fence file. It belongs to one goroutine at a time: Open, then watch, then Close.
type fence struct {
	f   vfs.File
	seq uint64
	buf []byte
}

var errNoFence = errors.New("there is no readable fence")

// openFence opens the file and reads it. A missing file is created; a file without a valid slot gives errNoFence and
// can be written.
func openFence(fs vfs.FS, dir string) (*fence, []entry, error) {
	name := fs.PathJoin(dir, fenceName)
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the fence: %w", err)
	}
	fe := &fence{f: f}
	entries, err := fe.read()
	if err != nil && !errors.Is(err, errNoFence) {
		return nil, nil, errors.Join(fmt.Errorf("reading the fence: %w", err), f.Close())
	}
	_ = f.Preallocate(0, 2*slotSize) // it grows with the groups; a write that found the disk full would be the journal's end. Not all file systems can
	return fe, entries, err
}

func (fe *fence) read() ([]entry, error) {
	var entries []entry
	found := false
	for slot := range int64(2) {
		b := make([]byte, slotSize)
		n, err := fe.f.ReadAt(b, slot*slotSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if seq, es, ok := readSlot(b[:n]); ok && (!found || seq > fe.seq) {
			fe.seq, entries, found = seq, es, true
		}
	}
	if !found {
		return nil, errNoFence
	}
	return entries, nil
}

func readSlot(b []byte) (seq uint64, entries []entry, ok bool) {
	if len(b) < fenceHeader || binary.BigEndian.Uint64(b) != fenceMagic {
		return 0, nil, false
	}
	n := binary.BigEndian.Uint64(b[16:])
	if n > groupsMax || fenceHeader+int(n)*entrySize+4 > len(b) {
		return 0, nil, false
	}
	end := fenceHeader + int(n)*entrySize
	if binary.BigEndian.Uint32(b[end:]) != checksum(b[:end]) {
		return 0, nil, false
	}
	entries = make([]entry, n)
	for i := range entries {
		p := b[fenceHeader+i*entrySize:]
		for j, v := range entries[i].fields() {
			*v = binary.BigEndian.Uint64(p[8*j:])
		}
	}
	return binary.BigEndian.Uint64(b[8:]), entries, true
}

// write puts the entries into the older slot and syncs. When it returns an error nobody knows what the disk holds.
func (fe *fence) write(entries []entry) error {
	b := binary.BigEndian.AppendUint64(fe.buf[:0], fenceMagic)
	b = binary.BigEndian.AppendUint64(b, fe.seq+1)
	b = binary.BigEndian.AppendUint64(b, uint64(len(entries)))
	for i := range entries {
		for _, v := range entries[i].fields() {
			b = binary.BigEndian.AppendUint64(b, *v)
		}
	}
	b = binary.BigEndian.AppendUint32(b, checksum(b))
	fe.buf = b
	fe.seq++
	if _, err := fe.f.WriteAt(b, int64(fe.seq%2)*slotSize); err != nil {
		return fmt.Errorf("writing the fence: %w", err)
	}
	if err := fe.f.Sync(); err != nil {
		return fmt.Errorf("syncing the fence: %w", err)
	}
	return nil
}

func (e *entry) fields() [10]*uint64 {
	return [10]*uint64{&e.group, &e.replica, &e.term, &e.last, &e.lastTerm, &e.turn, &e.epoch, &e.lossFrom, &e.shared, &e.spare}
}

func exists(fs vfs.FS, name string) (bool, error) {
	_, err := fs.Stat(name)
	if errors.Is(err, iofs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Made tells of the journal in cfg.Dir, which nobody has open, what it was made with: how many groups that have their only replica here, as the fence says, or 0
// when that is missing or cannot be read. empty is true when there is nothing in Dir that a journal writes. It changes nothing.
func Made(cfg Config) (groups int, empty bool, err error) {
	if err := cfg.Validate(); err != nil {
		return 0, false, err
	}
	names, err := cfg.FS.List(cfg.Dir)
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return 0, false, fmt.Errorf("looking into %s: %w", cfg.Dir, err)
	}
	empty = !slices.ContainsFunc(names, func(name string) bool { return name != lockName && name != "lost+found" })
	if !slices.Contains(names, fenceName) {
		return 0, empty, nil
	}
	f, err := cfg.FS.Open(cfg.FS.PathJoin(cfg.Dir, fenceName))
	if err != nil {
		return 0, empty, fmt.Errorf("opening the fence: %w", err)
	}
	entries, err := (&fence{f: f}).read()
	if errors.Is(err, errNoFence) {
		err = nil
	}
	for _, e := range entries {
		if e.shared == 0 {
			groups++
		}
	}
	return groups, empty, errors.Join(err, f.Close())
}
