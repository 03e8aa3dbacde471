package journal

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	iofs "io/fs"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/shard/journal/replica"
	"switchboard/shard/journal/seglog"
)

// A snapshot is all rows of a group as of one entry. It travels as a stream of its own:
//
//	( size of key u32 | size of value u32 | key | value )… | 0xffffffff | crc32c u32
//
// with keys as in the data store, ascending; the row that says how far the rows reach is one of them. The receiver makes tables
// of it beside the store, and swaps them in at once when Raft says so.
const (
	arrivalDir    = "arriving"
	snapshotEnd   = 0xffff_ffff
	snapshotTable = 64 << 20 // bytes of one table
	valueSizeMax  = turnSizeMax
)

// snapshotHeader goes ahead of a snapshot.
type snapshotHeader struct {
	Group    uint16
	From, To uint64 // replicas
	Term     uint64 // of the leader
}

// arrival is a snapshot that is here and not yet part of its group.
type arrival struct {
	files []string
	at    applied
	conf  meta
}

// sendSnapshot begins to send a snapshot to a follower that is too far behind for the log.
func (j *Journal) sendSnapshot(m replica.Message) {
	g, to := j.groups[m.Group], m.To()
	done := func(err error) {
		j.tell(nil, func() error { // once for each follower that one is sent to
			if n := j.host.Snapshot(m.Group, to, err == nil); err != nil && n&(n-1) == 0 { // more and more rarely: a full disk may stay so for days
				j.cfg.Log.Warn("a snapshot was not taken", "group", m.Group, "replica", to, "times", max(n, 1), "err", err)
			}
			return nil
		})
	}
	if j.cfg.Stream == nil {
		done(errors.New("this node sends no snapshots"))
		return
	}
	header, err := json.Marshal(snapshotHeader{m.Group, m.Raft.GetFrom(), to, m.Raft.GetTerm()})
	if err != nil {
		done(err)
		return
	}
	if err := j.settleOf(g); err != nil {
		done(err)
		return
	}
	// As of now: what is applied while it is sent does not show.
	shot := j.data.NewSnapshot()
	conf := g.meta
	j.m.snapshots.Add(1)
	j.cfg.Stream(replica.NodeOf(to), header, func(w io.Writer) error { return writeSnapshot(w, shot, g.id, &conf) }, func(err error) {
		done(errors.Join(err, shot.Close()))
	})
}

func writeSnapshot(w io.Writer, shot *pebble.Snapshot, group uint16, conf *meta) error {
	out := &summer{w: bufio.NewWriterSize(w, 256<<10), sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	lower, upper := dataKey(nil, group, 0, nil), dataKey(nil, group+1, 0, nil)
	it, err := shot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return storeError("reading a snapshot", err)
	}
	members := *conf
	members.self, members.term, members.vote = 0, 0, 0
	value, err := members.put()
	told := false
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err != nil {
			break
		}
		key := it.Key()
		switch {
		case key[2] == tagConf:
			continue // an older one
		case key[2] > tagConf && !told:
			told = true
			out.row(dataKey(nil, group, tagConf, nil), value)
		}
		out.row(key, v)
	}
	if !told && err == nil {
		out.row(dataKey(nil, group, tagConf, nil), value)
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return storeError("reading a snapshot", err)
	}
	out.number(snapshotEnd)
	out.number(out.sum.Sum32())
	return errors.Join(out.err, out.w.Flush())
}

// summer writes and sums. The first error stays.
type summer struct {
	w   *bufio.Writer
	sum hash.Hash32
	err error
}

func (s *summer) write(b []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
		_, _ = s.sum.Write(b) // never fails
	}
}

func (s *summer) number(n uint32) { s.write(binary.BigEndian.AppendUint32(nil, n)) }

func (s *summer) row(k, v []byte) {
	s.number(uint32(len(k))) //nolint:gosec // bounded
	s.number(uint32(len(v))) //nolint:gosec // bounded
	s.write(k)
	s.write(v)
}

// ReceiveSnapshot takes what Config.Stream was handed on another node, and makes it the state of the replica that it is for. It
// returns nil when that is durable, or when the replica has no use for it any more. It fails on anything that is not a whole
// snapshot; nothing has changed then. It may be called from any goroutine, for one group at a time.
func (j *Journal) ReceiveSnapshot(header []byte, r io.Reader) error {
	var h snapshotHeader
	if err := json.Unmarshal(header, &h); err != nil {
		return fmt.Errorf("the header of a snapshot cannot be read: %w: %w", ErrFormat, err)
	}
	g := j.Group(int(h.Group))
	if g == nil {
		return fmt.Errorf("a snapshot of group %d: %w", h.Group, replica.ErrNoGroup)
	}
	j.mu.Lock()
	full, self := j.full(), g.self
	j.mu.Unlock()
	switch {
	case full:
		return ErrNoSpace
	case self != h.To:
		return fmt.Errorf("a snapshot for replica %x came to %x: %w", h.To, self, replica.ErrNoGroup)
	}
	j.m.came.Add(1)
	defer j.m.came.Add(1) // whoever has scrubbed meanwhile has not seen what came
	a, err := j.readSnapshot(&h, bufio.NewReaderSize(r, 256<<10))
	if err == nil { // so that the committer need not wait for it
		err = j.flush()
	}
	if err == nil {
		err = j.do(func() error {
			if j.Group(int(h.Group)) != g || g.arrived != nil {
				return fmt.Errorf("the replica is gone, or takes another snapshot: %w", replica.ErrNoGroup)
			}
			if prev, _, _ := j.log.Bounds(h.Group); a.at.index < prev {
				return fmt.Errorf("a snapshot at %d, and an earlier replica had forgotten up to %d here: a later one will do", a.at.index, prev)
			}
			if err := errors.Join(j.settleOf(g), j.table(g.id, g.id)); err != nil { // as install would wait for it
				return err
			}
			g.arrived = a
			index, term := a.at.index, a.at.term
			return j.host.Step(replica.Message{Group: h.Group, Raft: &pb.Message{
				Type: pb.MsgSnap.Enum(), From: new(h.From), To: new(h.To), Term: new(h.Term),
				Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{ConfState: a.conf.conf, Index: &index, Term: &term}},
			}})
		})
		// Installed, it is nil by now.
		_ = j.do(func() error {
			if g.arrived == a {
				g.arrived = nil
			}
			return nil
		})
	}
	return errors.Join(err, j.removeFiles(a.files))
}

// flush makes the rows that are applied durable by themselves.
func (j *Journal) flush() error {
	if !j.reads.TryRLock() {
		return ErrClosed
	}
	defer j.reads.RUnlock()
	if err := j.settle(); err != nil {
		return err
	}
	return j.flushTables()
}

// install makes a snapshot that has arrived the state of its group. The rows change at once; the log follows, and a restart
// between the two finishes it.
func (j *Journal) install(g *Group, s *pb.Snapshot) error {
	a := g.arrived
	if a == nil || a.at.index != s.GetMetadata().GetIndex() {
		return fmt.Errorf("group %d takes a snapshot at %d that is not here", g.id, s.GetMetadata().GetIndex())
	}
	if err := j.settleOf(g); err != nil { // what is late is older
		return err
	}
	if err := j.tableInTime(g); err != nil {
		return err
	}
	span := pebble.KeyRange{Start: dataKey(nil, g.id, 0, nil), End: dataKey(nil, g.id+1, 0, nil)}
	if _, err := j.data.IngestAndExcise(context.Background(), a.files, nil, nil, span); err != nil {
		return storeError("taking the tables of a snapshot", err)
	}
	a.files = nil
	g.arrived = nil
	var b seglog.Batch
	g.meta.conf, g.meta.confAt, g.newMeta = a.conf.conf, a.at.index, true
	prev, _, last := j.log.Bounds(g.id)
	if end := max(prev, g.at.index); last > end { // what the rows had may be truncated before this is written
		b.CutSuffix(g.id, end+1)
	}
	if err := g.putMeta(&b); err != nil {
		return err
	}
	if err := j.record(&b); err != nil {
		return logError("cutting the log behind a snapshot", err)
	}
	g.conf = g.meta.conf
	if err := j.passOver("beginning the log behind a snapshot", j.forget([]seglog.Point{{Group: g.id, UpTo: a.at.index, Term: a.at.term}})); err != nil {
		return err
	}
	j.reach(g, a.at)
	if j.cfg.Applied != nil {
		j.cfg.Applied(int(g.id))
	}
	j.m.installed.Add(1)
	return nil
}

// tableInTime is table for a snapshot that Raft has taken already: it waits until the rows that are replaced can be flushed, as the store would, but not with
// everybody else, and not in a journal that is in a hurry.
func (j *Journal) tableInTime(g *Group) error {
	for {
		err := j.table(g.id, g.id)
		if !errors.Is(err, errUnflushed) || !j.await() {
			return err
		}
	}
}

// storedConf returns the members that came with the last snapshot, if one did.
func (j *Journal) storedConf(group uint16) (meta, error) {
	v, done, err := j.data.Get(dataKey(nil, group, tagConf, nil))
	if errors.Is(err, pebble.ErrNotFound) {
		return meta{}, nil
	}
	if err != nil {
		return meta{}, storeError("reading the members of a group", err)
	}
	m, err := readMeta(v)
	return m, errors.Join(err, storeError("reading the members of a group", done.Close()))
}

// dropArrivals removes what arrived before the last end and was not taken.
func (j *Journal) dropArrivals() error {
	fs := j.cfg.FS
	dir := fs.PathJoin(j.cfg.Dir, arrivalDir)
	names, err := fs.List(dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing %s: %w", dir, err)
	}
	for i := range names {
		names[i] = fs.PathJoin(dir, names[i])
	}
	return j.removeFiles(names)
}

func (j *Journal) removeFiles(names []string) error {
	var errs []error
	for _, name := range names {
		if err := j.cfg.FS.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing what is left of a snapshot: %w", err))
		}
	}
	return errors.Join(errs...)
}
