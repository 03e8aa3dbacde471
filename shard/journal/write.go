package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/shard/journal/replica"
	"switchboard/shard/journal/seglog"
)

// write makes durable what the groups want written, all of it with one sync.
func (j *Journal) write(list []replica.Append) error {
	b := &j.batch
	b.Reset()
	for i := range list {
		a := &list[i]
		g := j.groups[a.Group]
		if a.Snapshot != nil {
			if err := j.install(g, a.Snapshot); err != nil {
				return err
			}
		}
		if h := a.Hard; h != nil && (h.GetTerm() != g.meta.term || h.GetVote() != g.meta.vote) {
			g.meta.term, g.meta.vote, g.newMeta = h.GetTerm(), h.GetVote(), true
		}
		if err := g.putMeta(b); err != nil {
			return err
		}
		for _, e := range a.Entries {
			r, err := entryRecord(e, g.at.epoch)
			if err != nil {
				return fmt.Errorf("entry %d of group %d: %w", e.GetIndex(), g.id, err)
			}
			b.Append(g.id, seglog.Record{Index: r.index, Term: r.term, Epoch: r.epoch, Kind: r.kind, Body: r.body})
		}
	}
	if b.Empty() {
		return nil
	}
	if err := j.record(b); err != nil {
		return logError("writing the log", err)
	}
	if err := j.failure(); err != nil {
		return err // of the fence, meanwhile
	}
	j.logged += b.Size()
	j.m.syncs.Add(1)
	return nil
}

// recordAgain is how long the committer waits for room before it looks again.
const recordAgain = 100 * time.Millisecond

// record writes b into the log.
func (j *Journal) record(b *seglog.Batch) error {
	return j.withRoom(func() error { return j.log.Write(b) })
}

// withRoom does something to the log. Where there is no room for the segment that it needs, which nobody has foreseen because watch did not get to it,
// nothing is written, and nothing is lost: turns are refused, those that were taken wait for room with everything else of the committer, but for what
// may be asked at any time and for who is told so instead (attempt), and only a journal that is in a hurry, or has failed, does not wait.
func (j *Journal) withRoom(do func() error) error {
	for waited := false; ; waited = true {
		err := do()
		if !errors.Is(err, seglog.ErrNoSpace) {
			if waited {
				j.mu.Lock()
				j.noWrite = false
				j.mu.Unlock()
				j.cfg.Log.Warn("the log goes on", "dir", j.cfg.Dir)
			}
			return err
		}
		j.refuseFor(&j.noWrite, "the log")
		if !j.await() {
			return err
		}
	}
}

// await lets the committer wait for room for a moment, and do meanwhile what does not wait for it: what this round has made durable, or sure, before it came
// to what finds none, its owners are told at once. It returns false in a journal that is in a hurry, and in one that has failed meanwhile: nothing of it is
// written any more.
func (j *Journal) await() bool {
	j.mu.Lock()
	patient := j.patient && j.broken == nil
	j.mu.Unlock()
	if !patient {
		return false
	}
	j.report(nil)
	j.refuseHasty()
	j.meanwhile()
	time.Sleep(recordAgain)
	return true
}

// forget is seglog.Log.Truncate for the committer, which waits for room.
func (j *Journal) forget(points []seglog.Point) error {
	return j.withRoom(func() error { return j.log.Truncate(points) })
}

// putMeta adds what the replica must not forget, when it has changed.
func (g *Group) putMeta(b *seglog.Batch) error {
	if !g.newMeta {
		return nil
	}
	g.newMeta = false
	v, err := g.meta.put()
	if err != nil {
		return err
	}
	b.SetMeta(g.id, v)
	return nil
}

// entryRecord is an entry of Raft's as a record of the log.
func entryRecord(e *pb.Entry, epoch uint64) (record, error) {
	r := record{index: e.GetIndex(), term: e.GetTerm(), epoch: epoch, body: e.GetData()}
	switch {
	case e.GetType() == pb.EntryConfChangeV2:
		r.kind = kindConf
	case e.GetType() != pb.EntryNormal:
		return record{}, fmt.Errorf("it is of type %s: %w", e.GetType(), ErrFormat)
	case len(r.body) == 0:
		r.kind = kindBlank
	case len(r.body) < turnHeader:
		return record{}, fmt.Errorf("it has %d bytes: %w", len(r.body), ErrFormat)
	default:
		r.kind = kindTurn
	}
	return r, nil
}

// recordEntry is the opposite of entryRecord.
func recordEntry(r record) (*pb.Entry, error) {
	e := &pb.Entry{Index: new(r.index), Term: new(r.term), Data: r.body}
	switch r.kind {
	case kindTurn, kindBlank:
	case kindConf:
		e.Type = pb.EntryConfChangeV2.Enum()
	default:
		return nil, fmt.Errorf("record %d of kind %d is no entry: %w", r.index, r.kind, ErrDamaged)
	}
	return e, nil
}

// stored reads entries back for the groups.
type stored struct{ j *Journal }

// Entries implements replica.Log.
func (s stored) Entries(group uint16, lo, hi, maxBytes uint64) ([]*pb.Entry, error) {
	var list []*pb.Entry
	var err error
	next := lo
	readErr := s.j.log.Read(group, lo, hi, int64(min(maxBytes, 1<<30)), func(x seglog.Record) bool { //nolint:gosec // bounded
		x.Body = append([]byte(nil), x.Body...)
		var r record
		if r, err = readRecord(x); err != nil {
			return false
		}
		if r.index != next {
			err = fmt.Errorf("record %d follows %d: %w", r.index, next-1, ErrDamaged)
			return false
		}
		next++
		var e *pb.Entry
		if e, err = recordEntry(r); err == nil {
			list = append(list, e)
		}
		return err == nil
	})
	err = errors.Join(err, logError("reading the log", readErr))
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("the log of group %d has no record %d: %w", group, lo, ErrDamaged)
	}
	if errors.Is(err, ErrDamaged) {
		s.j.logDamaged(group, err)
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

// store sets rows of a group outside of any turn: the applied index of one that begins.
func (j *Journal) storeApplied(group uint16, at applied) error {
	b := j.data.NewBatch()
	if err := putApplied(b, group, at); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("applying a beginning: %w", err)
	}
	return closeBatch(b)
}
