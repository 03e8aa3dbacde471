package journal

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"maps"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"switchboard/shard/journal/seglog"
)

// Finding is one line of Verify's report.
type Finding struct {
	// Group is the group it is about, or -1 for a file or a store.
	Group int
	// Damaged tells damage from a note that all is well.
	Damaged bool
	// Text says what was found, in words for an operator. It is empty in what only tells how far it is.
	Text string
	// Done and Total are bytes of tables that were read, and of all; with an empty Text only.
	Done, Total uint64
}

// Verify reads a stopped journal from end to end and changes nothing: every block of every table, every record of the
// log with its checksum and its place, the applied indexes, and the fence. It reports what it finds as it goes and
// returns an error that wraps ErrDamaged when anything is damaged, and others (ErrInUse, ErrFormat, I/O) when it could
// not look. It holds the directory's lock meanwhile. A directory without FORMAT in which something was written is damaged; one in which nothing was is no
// journal yet, which is ErrFormat: there is nothing, or its making did not come to its end.
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
		if begun, err := begun(cfg); err != nil || !begun {
			return errors.Join(err, fmt.Errorf("verifying %s: there is no journal: %w", cfg.Dir, ErrFormat))
		}
	}
	lock, err := lockDir(cfg)
	if err != nil {
		return err
	}
	v := &verifier{report: report, fresh: fresh}
	if v.entries, err = v.readFence(cfg); err != nil {
		return errors.Join(err, lock.Close())
	}
	v.j = newJournal(cfg, lock)
	v.j.entries = v.entries
	unmade := false
	if fresh {
		if unmade, err = v.unmade(); err != nil {
			return errors.Join(err, v.j.release())
		}
	}
	if !unmade {
		v.run()
	}
	err = v.j.release()
	switch {
	case fresh && v.damages == 0 && !v.written:
		return errors.Join(err, fmt.Errorf("verifying %s: there is no journal: its first start did not come to its end, and nothing is in it; the next makes it: %w", cfg.Dir, ErrFormat))
	case fresh:
		v.damage(-1, errors.New(formatLost))
	}
	if v.damages > 0 {
		err = errors.Join(err, fmt.Errorf("verifying %s: %d findings: %w", cfg.Dir, v.damages, ErrDamaged))
	}
	return err
}

// begun tells whether a directory has anything of a journal.
func begun(cfg Config) (bool, error) {
	for _, name := range []string{dataDir, logDir, fenceName} {
		switch _, err := cfg.FS.Stat(cfg.FS.PathJoin(cfg.Dir, name)); {
		case err == nil:
			return true, nil
		case !errors.Is(err, iofs.ErrNotExist):
			return false, fmt.Errorf("looking for %s: %w", name, err)
		}
	}
	return false, nil
}

type verifier struct {
	j       *Journal
	entries []entry
	fresh   bool // there is no FORMAT
	written bool // a group has something
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
		if v.fresh { // it is made last but FORMAT
			v.note(-1, "the fence is missing")
			return nil, nil
		}
		v.damage(-1, errors.New("the fence is missing"))
		return nil, nil
	}
	fe := &fence{f: f}
	entries, err := fe.read()
	switch {
	case errors.Is(err, errNoFence) && v.fresh:
		v.noFence = true
		v.note(-1, "%v", err)
		err = nil
	case errors.Is(err, errNoFence):
		v.noFence = true
		v.damage(-1, err)
		err = nil
	case err == nil:
		v.note(-1, "fence: write %d, %d groups", fe.seq, len(entries))
	}
	return entries, errors.Join(err, f.Close())
}

// unmade tells whether a directory without FORMAT is what a first start leaves that was ended before the log had anything: there are no rows, and perhaps not all
// of the stores.
func (v *verifier) unmade() (bool, error) {
	j := v.j
	if slices.ContainsFunc(v.entries, func(e entry) bool { return e.turn > 0 || e.shared != 0 }) {
		return false, nil
	}
	data, err := j.openData(false, true)
	switch {
	case err == nil:
		it, err := data.NewIter(nil)
		if err != nil {
			return false, errors.Join(storeError("reading the data store", err), data.Close())
		}
		rows := it.First()
		err = it.Error()
		if bad := errors.Join(it.Close(), data.Close()); bad != nil && err == nil {
			return false, storeError("closing the data store", bad)
		}
		if rows || err != nil { // run tells what is wrong
			return false, nil
		}
	case !errors.Is(err, pebble.ErrDBDoesNotExist):
		return false, nil
	}
	switch there, err := exists(j.cfg.FS, j.cfg.FS.PathJoin(j.cfg.Dir, logDir)); {
	case err != nil:
		return false, fmt.Errorf("looking for the log: %w", err)
	case !there:
		return true, nil
	}
	log, report, err := j.openLog(true, true)
	if err != nil {
		return false, nil //nolint:nilerr // run tells it
	}
	return report.Batches == 0 && len(report.Damages) == 0, log.Close()
}

func (v *verifier) run() {
	j := v.j
	var err error
	if j.data, err = j.openData(false, true); err != nil {
		v.damage(-1, err)
	} else {
		v.tables()
	}
	var report *seglog.Report
	if j.log, report, err = j.openLog(false, true); err != nil {
		j.logBroken = err
		v.damage(-1, err)
		v.know()
	} else {
		v.know()
		v.log(report)
	}
	if j.data == nil {
		return
	}
	for _, g := range j.list() {
		v.group(g)
	}
}

// know makes the groups that the directory tells of known.
func (v *verifier) know() {
	all := v.j.known()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		v.j.put(&Group{j: v.j, id: id, fenced: all[id], shared: all[id].shared != 0})
	}
}

// log tells what opening the log has found; it has read all of it. Damage of which everything was saved, or is not needed
// any more, or was accepted, stays in the file until that is recycled; it is told, and is nothing to act on.
func (v *verifier) log(report *seglog.Report) {
	lost := false
	for _, g := range v.j.list() {
		loss := v.j.log.Loss(g.id)
		for _, r := range loss.Ranges {
			v.damage(int(g.id), fmt.Errorf("the log has lost the records %d to %d", r.From, r.To))
		}
		if loss.Unsure {
			v.damage(int(g.id), errors.New("the log has lost batches of which nobody can say what they were"))
		}
		lost = lost || loss.Any()
	}
	for _, d := range report.Damages {
		if lost {
			v.damage(-1, fmt.Errorf("the log: %s", d))
		} else {
			v.note(-1, "the log is not what was written in %s; nothing of it is missing", d)
		}
	}
	if report.Torn {
		v.note(-1, "log: the last write was torn by a power cut, and had not been acknowledged")
	}
	v.note(-1, "log: %d segments, %d batches, %d records", report.Segments, report.Batches, report.Records)
}

// tables checks every block of every live table of the data store, and that the tables fit together.
func (v *verifier) tables() {
	db := v.j.data
	levels, err := db.SSTables()
	if err != nil {
		v.damage(-1, storeError("listing the tables of data", err))
		return
	}
	tables, size, total := 0, uint64(0), uint64(0)
	for _, level := range levels {
		for _, table := range level {
			total += table.Size
		}
	}
	for _, level := range levels {
		for _, table := range level {
			file := fmt.Sprintf("%06d.sst", uint64(table.BackingSSTNum))
			if err := v.table(file); err != nil {
				v.damage(-1, fmt.Errorf("table %s/%s: %w", dataDir, file, err))
			}
			tables++
			size += table.Size
			v.report(Finding{Group: -1, Done: size, Total: total})
		}
	}
	if err := db.CheckLevels(nil); err != nil {
		v.damage(-1, storeError("checking the levels of data", err))
	}
	v.note(-1, "%s: %d tables, %d bytes", dataDir, tables, size)
}

func (v *verifier) table(file string) error {
	fs := v.j.cfg.FS
	f, err := fs.Open(fs.PathJoin(v.j.cfg.Dir, dataDir, file))
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
	fenced := g.fenced
	r := recovery{g: g, fenced: fenced, fenceLost: v.noFence && !v.fresh, dry: true}
	if err := r.run(); err != nil {
		v.damage(int(g.id), err)
		return
	}
	v.written = v.written || r.at.turn > 0 || fenced.turn > 0 || g.shared
	if r.status.Mode != OK {
		v.damage(int(g.id), fmt.Errorf("%s, lost from %d on: %s", r.status.Mode, r.status.LossFrom, r.status.Reason))
	}
	if v.j.log != nil {
		if _, _, last := v.j.log.Bounds(g.id); last < r.at.index && !r.fresh {
			v.damage(int(g.id), fmt.Errorf("the log ends at %d and its rows at %d: its end was damaged; the rows are safe", last, r.at.index))
		}
	}
	records := v.records(g)
	rows := 0
	if err := g.Scan(nil, nil, false, func(_, _ []byte) bool { rows++; return true }); err != nil {
		v.damage(int(g.id), err)
	}
	v.note(int(g.id), "whole up to turn %d, fenced at %d, epoch %d, %d records in the log, %d flushed rows",
		r.at.turn, fenced.turn, r.at.epoch+1, records, rows) // as positions have it: they begin at 1 [SW-1]
}

// records reads every record of the group that is still in the log, also those that are flushed already.
func (v *verifier) records(g *Group) (n int) {
	if v.j.log == nil {
		return 0
	}
	err := v.j.log.Read(g.id, 0, math.MaxUint64, 0, func(x seglog.Record) bool {
		n++
		if _, err := readRecord(x); err != nil {
			v.damage(int(g.id), err)
		}
		return true
	})
	if err != nil {
		v.damage(int(g.id), logError("reading the log", err))
	}
	return n
}
