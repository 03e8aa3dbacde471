package journal

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// Finding is one line of Verify's report.
type Finding struct {
	// Group is the group it is about, or -1 for a file or a store.
	Group int
	// Damaged tells damage from a note that all is well.
	Damaged bool
	// Text says what was found, in words for an operator.
	Text string
}

// Verify reads a stopped journal from end to end and changes nothing: every block of every table, every record of the
// log with its checksum and its place, the applied indexes, and the fence. It reports what it finds as it goes and
// returns an error that wraps ErrDamaged when anything is damaged, and others (ErrInUse, ErrFormat, I/O) when it could
// not look. It holds the directory's lock meanwhile.
func Verify(cfg Config, report func(Finding)) error {
	cfg.Fatal = func(error) {} // nothing is written, so nothing is unknown after an error; it is in the report
	if err := cfg.Validate(); err != nil {
		return err
	}
	fresh, err := readFormat(cfg)
	if err != nil {
		return err
	}
	if fresh {
		return fmt.Errorf("verifying %s: there is no journal: %w", cfg.Dir, ErrFormat)
	}
	lock, err := lockDir(cfg)
	if err != nil {
		return err
	}
	v := &verifier{report: report}
	if v.entries, err = v.readFence(cfg); err != nil {
		return errors.Join(err, lock.Close())
	}
	cfg.Groups = max(cfg.Groups, len(v.entries))
	v.j = newJournal(cfg, lock)
	v.run()
	err = v.j.release()
	if v.damages > 0 {
		err = errors.Join(err, fmt.Errorf("verifying %s: %d findings: %w", cfg.Dir, v.damages, ErrDamaged))
	}
	return err
}

type verifier struct {
	j       *Journal
	entries []entry
	noFence bool
	report  func(Finding)
	damages int
}

func (v *verifier) damage(group int, err error) {
	v.damages++
	v.report(Finding{Group: group, Damaged: true, Text: err.Error()})
}

func (v *verifier) note(group int, format string, args ...any) {
	v.report(Finding{Group: group, Text: fmt.Sprintf(format, args...)})
}

// readFence reads the fence without opening it for writing.
func (v *verifier) readFence(cfg Config) ([]entry, error) {
	f, err := cfg.FS.Open(cfg.FS.PathJoin(cfg.Dir, fenceName))
	if err != nil {
		if !errors.Is(err, iofs.ErrNotExist) {
			return nil, fmt.Errorf("opening the fence: %w", err)
		}
		v.noFence = true
		v.damage(-1, errors.New("the fence is missing"))
		return nil, nil
	}
	fe := &fence{f: f}
	entries, err := fe.read()
	switch {
	case errors.Is(err, errNoFence):
		v.noFence = true
		v.damage(-1, err)
		err = nil
	case err == nil:
		v.note(-1, "fence: write %d, %d groups", fe.seq, len(entries))
	}
	return entries, errors.Join(err, f.Close())
}

func (v *verifier) run() {
	j := v.j
	var err error
	if j.data, err = j.openData(false, true); err != nil {
		v.damage(-1, err)
	} else {
		v.store(dataDir, j.data)
	}
	if j.log, err = j.openLog(false, true); err != nil {
		j.logBroken = err
		v.damage(-1, err)
	} else {
		v.store(logDir, j.log)
	}
	if j.data == nil {
		return
	}
	for _, g := range j.groups {
		v.group(g)
	}
}

// store checks every block of every live table, and that the tables fit together.
func (v *verifier) store(name string, db *pebble.DB) {
	levels, err := db.SSTables()
	if err != nil {
		v.damage(-1, storeError("listing the tables of "+name, err))
		return
	}
	tables, size := 0, uint64(0)
	for _, level := range levels {
		for _, table := range level {
			file := fmt.Sprintf("%06d.sst", uint64(table.BackingSSTNum))
			if err := v.table(name, file); err != nil {
				v.damage(-1, fmt.Errorf("table %s/%s: %w", name, file, err))
			}
			tables++
			size += table.Size
		}
	}
	if err := db.CheckLevels(nil); err != nil {
		v.damage(-1, storeError("checking the levels of "+name, err))
	}
	v.note(-1, "%s store: %d tables, %d bytes", name, tables, size)
}

func (v *verifier) table(store, file string) error {
	fs := v.j.cfg.FS
	f, err := fs.Open(fs.PathJoin(v.j.cfg.Dir, store, file))
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(fmt.Errorf("opening: %w", err), f.Close())
	}
	o := v.j.storeOptions()
	o.EnsureDefaults()
	r, err := sstable.NewReader(context.Background(), readable, o.MakeReaderOptions())
	if err != nil {
		return errors.Join(fmt.Errorf("reading the footer: %w", err), readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// group checks one group's log, its rows and its fence against each other.
func (v *verifier) group(g *Group) {
	var fenced entry
	if int(g.id) < len(v.entries) {
		fenced = v.entries[g.id]
	}
	r := recovery{g: g, fenced: fenced, fenceLost: v.noFence, dry: true}
	if err := r.run(); err != nil {
		v.damage(int(g.id), err)
		return
	}
	if r.status.Mode != OK {
		v.damage(int(g.id), fmt.Errorf("%s, lost from %d on: %s", r.status.Mode, r.status.LossFrom, r.status.Reason))
	}
	records := v.records(g)
	rows := 0
	if err := g.Scan(nil, nil, false, func(_, _ []byte) bool { rows++; return true }); err != nil {
		v.damage(int(g.id), err)
	}
	v.note(int(g.id), "whole up to %d, fenced at %d, epoch %d, %d records in the log, %d flushed rows",
		r.at.index, fenced.last, r.at.epoch, records, rows)
}

// records checks the checksum of every record of the group, also of those that are flushed already.
func (v *verifier) records(g *Group) (n int) {
	if v.j.log == nil {
		return 0
	}
	it, err := v.j.log.NewIter(&pebble.IterOptions{
		LowerBound: logKey(nil, g.id, 0),
		UpperBound: logKey(nil, g.id, math.MaxUint64),
	})
	if err != nil {
		v.damage(int(g.id), err)
		return 0
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
		if _, err := readRecord(it.Key(), it.Value()); err != nil {
			v.damage(int(g.id), err)
		}
	}
	if err := it.Close(); err != nil {
		v.damage(int(g.id), storeError("reading the log", err))
	}
	return n
}
