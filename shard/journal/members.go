package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/shard/journal/replica"
	"switchboard/shard/journal/seglog"
)

// ErrRetired says that a replica was on this disk and was taken off: its id never comes back, as it has forgotten what it has
// promised.
var ErrRetired = replica.ErrRetired

// Create makes the first replica of a new group here. All of voters are made with the same call, each on its node, before any of
// them can lead. It is durable when it returns. It does nothing when the replica is here already, and refuses another one
// of the same group, and one that was taken off (ErrRetired). But a group that has been this node's alone gets the new id, when
// that is to be its only voter: so a node that was no member of a cluster brings its groups along.
//
// While the log has no room, it, Join, Remove, Change, Transfer and Confirm wait for nothing, and return ErrNoSpace: what was asked for may come about or not, and
// is to be asked for again.
func (j *Journal) Create(group int, id uint64, voters []uint64) error {
	if g := j.Group(group); g != nil && len(voters) == 1 && voters[0] == id {
		if done, err := j.rename(g, id); done || err != nil {
			return err
		}
	}
	return j.hold(group, id, func() *Group { return j.first(uint16(group), id, voters) }) //nolint:gosec // checked there
}

// rename gives a replica that nobody else knows another id.
func (j *Journal) rename(g *Group, id uint64) (done bool, err error) {
	renamed := false
	err = j.attempt(func() error {
		if g.self == id || g.shared || !alone(g.meta.conf) || j.groups[g.id] != g || g.status.Mode != OK {
			return nil
		}
		j.host.Remove(g.id)
		j.abandon(g)
		g.meta.self, g.meta.conf, g.newMeta = id, &pb.ConfState{Voters: []uint64{id}}, true
		var b seglog.Batch
		if err := errors.Join(g.putMeta(&b), j.record(&b)); err != nil {
			j.fail(err)
			return err
		}
		j.mu.Lock()
		g.self = id
		j.mu.Unlock()
		renamed = true
		return j.add(g)
	})
	return err == nil && renamed, err // where it is not done yet it may be written to
}

// Join makes an empty replica of a group that is elsewhere. It votes for nobody and has no rows until the group's leader has
// made it a member and has sent a snapshot. Otherwise it is as Create.
func (j *Journal) Join(group int, id uint64) error {
	return j.hold(group, id, func() *Group {
		return &Group{j: j, id: uint16(group), self: id, shared: true, meta: meta{self: id, conf: &pb.ConfState{}}} //nolint:gosec // checked
	})
}

func (j *Journal) hold(group int, id uint64, made func() *Group) error {
	if group < 0 || group >= groupsMax || id == 0 {
		return fmt.Errorf("replica %x of group %d cannot be: groups are 0 to %d", id, group, groupsMax-1)
	}
	err := j.attempt(func() error {
		if j.log == nil {
			return fmt.Errorf("group %d cannot be made: %w", group, j.logBroken)
		}
		if g := j.Group(group); g != nil {
			if g.self == id {
				return nil
			}
			return fmt.Errorf("group %d has replica %x here already, and cannot have %x", group, g.self, id)
		}
		if b := j.log.Meta(uint16(group), nil); len(b) > 0 {
			m, err := readMeta(b)
			if err != nil {
				return err
			}
			if m.removed && m.self >= id {
				return fmt.Errorf("replica %x of group %d: %w", id, group, ErrRetired)
			}
		}
		// An end before a removal was flushed leaves rows.
		if err := j.scour(uint16(group)); errors.Is(err, ErrDamaged) || errors.Is(err, errUnflushed) {
			return fmt.Errorf("group %d cannot come as long as rows of the replica before are in the way: %w", group, err)
		} else if err != nil {
			j.fail(err)
			return err
		}
		g := made()
		if err := j.begin([]*Group{g}); err != nil {
			j.fail(err)
			return err
		}
		g.applied.Store(g.at.turn)
		j.m.came.Add(1)
		if err := j.add(g); err != nil {
			return err
		}
		j.put(g)
		return nil
	})
	if err != nil {
		return err
	}
	return j.ask(nil) // the fence knows that it has peers: what is lost of such a replica is not made up
}

// Remove takes a replica off the disk; a tombstone stays. It is durable when it returns. It does nothing when another
// replica of the group is here, or none.
func (j *Journal) Remove(group int, id uint64) error {
	return j.attempt(func() error {
		g := j.Group(group)
		if g == nil || g.self != id && (g.self != 0 || g.status.Mode == OK) { // 0: what it was is lost, too
			return nil
		}
		if j.log == nil {
			return fmt.Errorf("group %d cannot be taken off: %w", group, j.logBroken)
		}
		j.host.Remove(g.id)
		j.abandon(g)
		j.dropWaiters(g.id)
		g.meta = meta{self: id, removed: true, conf: &pb.ConfState{}}
		if err := j.entomb(g); err != nil {
			j.fail(err)
			return err
		}
		j.mu.Lock()
		j.groups[g.id] = nil
		g.status = Status{Mode: Failed, Reason: "the replica was taken off this node"}
		g.barred.Store(true)
		j.mu.Unlock()
		return j.dropRows(g.id)
	})
}

// dropRows removes the rows of a replica that was taken off, now or, where that cannot be now, later.
func (j *Journal) dropRows(group uint16) error {
	switch err := j.scour(group); {
	case errors.Is(err, ErrDamaged):
		j.cfg.Log.Warn("rows of a replica that was taken off are in a damaged file; they go with the others in it", "group", group, "err", err)
	case errors.Is(err, errUnflushed):
		j.cfg.Log.Warn("rows of a replica that was taken off stay until they can be flushed", "group", group, "err", err)
		j.mu.Lock()
		j.leftRows = append(j.leftRows, group)
		j.mu.Unlock()
	case err != nil:
		j.fail(err)
		return err
	}
	return nil
}

// findRest looks for rows of replicas that were taken off before the journal ended, which may have been before their rows were gone. It is Open's.
func (j *Journal) findRest() bool {
	if j.log == nil {
		return false
	}
	for id := range uint16(groupsMax) {
		if !j.absent(id) || len(j.log.Meta(id, nil)) == 0 { // what has some and is not here is a tombstone
			continue
		}
		if list, err := j.marks(id, id, false); err != nil || len(list) > 0 {
			j.leftRows = append(j.leftRows, id)
		}
	}
	return len(j.leftRows) > 0
}

// restDrop is what telling of dropRest is about.
type restDrop struct{}

// dropRest goes on where dropRows could not. It is the committer's.
func (j *Journal) dropRest() error {
	j.mu.Lock()
	list := j.leftRows
	j.leftRows = nil
	j.mu.Unlock()
	for _, group := range list {
		if !j.absent(group) {
			continue // another replica has come, when they were gone
		}
		if err := j.dropRows(group); err != nil {
			return err
		}
	}
	return nil
}

// entomb makes the log forget what the group has, but for its tombstone.
func (j *Journal) entomb(g *Group) error {
	var b seglog.Batch
	g.newMeta = true
	if err := g.putMeta(&b); err != nil {
		return err
	}
	prev, _, last := j.log.Bounds(g.id)
	if last > max(prev, g.at.index) { // nobody may think that this was decided
		b.CutSuffix(g.id, max(prev, g.at.index)+1)
	}
	if err := j.record(&b); err != nil {
		return logError("writing a tombstone", err)
	}
	if g.at.index > prev {
		return j.passOver("forgetting a log", j.forget([]seglog.Point{{Group: g.id, UpTo: g.at.index, Term: g.at.term}}))
	}
	return nil
}

// errUnflushed says that rows cannot be removed, as those of them that are in memory alone cannot be flushed: the store flushes them first, and would
// wait, and everybody with it, until there is room on the disk.
var errUnflushed = errors.New("rows cannot be flushed")

// excise removes all rows of the groups from and to and between them, for good when it returns. errUnflushed says that nothing was done.
func (j *Journal) excise(from, to uint16) error {
	if err := j.settle(); err != nil { // it would come back
		return err
	}
	if err := j.table(from, to); err != nil {
		return err
	}
	span := pebble.KeyRange{Start: dataKey(nil, from, 0, nil), End: dataKey(nil, to+1, 0, nil)}
	return storeError("removing the rows of a group", j.data.Excise(context.Background(), span))
}

// table puts those rows of the groups from and to and between them into tables that are in the store's memory alone. errUnflushed says that it could not.
func (j *Journal) table(from, to uint16) error {
	if !j.inMemory(from, to) {
		return nil
	}
	j.mu.Lock()
	full := j.noFlush
	j.mu.Unlock()
	if full { // the store repeats that flush, and one more would make another table in memory
		return fmt.Errorf("%w: %w", errUnflushed, ErrNoSpace)
	}
	if err := j.flushTables(); err != nil {
		return fmt.Errorf("%w: %w", errUnflushed, err)
	}
	return nil
}

// inMemory tells whether rows of the groups from and to and between them may be in the store's memory alone: all that changes them changes how far
// they are, too. Where that cannot be read they may.
func (j *Journal) inMemory(from, to uint16) bool {
	now, err := j.marks(from, to, false)
	if err != nil {
		return true
	}
	durable, err := j.marks(from, to, true)
	return err != nil || !bytes.Equal(now, durable)
}

// marks returns how far the groups from and to and between them are that have rows, by the store, or by its tables alone.
func (j *Journal) marks(from, to uint16, durable bool) (list []byte, err error) {
	it, err := j.data.NewIter(&pebble.IterOptions{LowerBound: dataKey(nil, from, 0, nil), UpperBound: dataKey(nil, to+1, 0, nil), OnlyReadGuaranteedDurable: durable})
	if err != nil {
		return nil, storeError("reading how far groups are", err)
	}
	for ok := it.First(); ok; {
		group := groupOf(it.Key(), 0)
		if it.Key()[2] == tagApplied {
			list = append(append(list, it.Key()...), it.Value()...)
		}
		ok = group < int(to) && it.SeekGE(dataKey(nil, uint16(group+1), 0, nil)) //nolint:gosec // at most to
	}
	return list, storeError("reading how far groups are", it.Close())
}

// Replica tells how a replica is. Errors: replica.ErrNoGroup.
func (j *Journal) Replica(group int) (s replica.Status, err error) {
	if group < 0 || group >= groupsMax {
		return s, replica.ErrNoGroup
	}
	doErr := j.doAnytime(func() error {
		s, err = j.status(uint16(group)) //nolint:gosec // checked
		return err
	})
	return s, doErr
}

// Replicas tells how the replicas of these groups are, as of one moment; groups that have none here are left out.
func (j *Journal) Replicas(groups ...uint16) (map[uint16]replica.Status, error) {
	var all map[uint16]replica.Status
	err := j.doAnytime(func() error {
		all = j.replicas(groups)
		return nil
	})
	return all, err
}

// Look is Replicas for who cannot wait, as while the disk hangs: then is told on the committer's goroutine and must not block. It is not told
// when the journal ends before.
func (j *Journal) Look(groups []uint16, then func(map[uint16]replica.Status)) {
	j.mention(&request{anytime: true, done: make(chan error, 1), do: func() error {
		then(j.replicas(groups))
		return nil
	}})
}

func (j *Journal) replicas(groups []uint16) map[uint16]replica.Status {
	all := make(map[uint16]replica.Status, len(groups))
	for _, id := range groups {
		if s, err := j.status(id); err == nil {
			all[id] = s
		}
	}
	return all
}

// status is how a replica is, with members that are on this disk: of others nobody may hear, as by them replicas are erased that this one needs when it comes
// back without them.
func (j *Journal) status(id uint16) (replica.Status, error) {
	s, err := j.host.Status(id)
	if err == nil && !j.absent(id) {
		s.Conf = j.groups[id].conf
	}
	return s, err
}

// Change asks the group's leader, which has to be here, for another membership. It returns when that is proposed; that it
// has come about is seen in Replica. Errors: ErrNotLeading, and what Raft refuses, as a second change while one is under way.
func (j *Journal) Change(group int, cc *pb.ConfChangeV2) error {
	g := j.Group(group)
	if g == nil {
		return replica.ErrNoGroup
	}
	j.mu.Lock()
	known := g.shared
	g.shared = true
	j.mu.Unlock()
	if !known { // the fence says so before it is so: what is lost of such a replica is not made up
		if err := j.ask(nil); err != nil {
			return err
		}
	}
	return j.attempt(func() error {
		j.clock(true)
		return j.host.Change(g.id, cc)
	})
}

// Transfer asks the leader, which has to be here, to let another replica lead. It returns when that has begun. It takes no turns
// meanwhile: the owner ends first.
func (j *Journal) Transfer(group int, to uint64) error {
	if group < 0 || group >= groupsMax {
		return replica.ErrNoGroup
	}
	return j.attempt(func() error { return j.host.Transfer(uint16(group), to) }) //nolint:gosec // checked
}

// Confirm returns nil when the replica led its group at some moment after the call, so that nothing had been decided elsewhere
// before it. Without a quorum it blocks until the leadership is lost.
func (j *Journal) Confirm(group int) error {
	if group < 0 || group >= groupsMax {
		return replica.ErrNoGroup
	}
	w := waiter{done: make(chan error, 1)}
	err := j.attempt(func() error {
		n, err := j.host.Confirm(uint16(group)) //nolint:gosec // checked
		if err != nil {
			return err
		}
		w.n = n
		j.waiters[uint16(group)] = append(j.waiters[uint16(group)], w) //nolint:gosec // checked
		return nil
	})
	if err != nil {
		return err
	}
	return <-w.done
}

// Gone tells the groups that the process of a node has ended: those that it led look for another leader at once. It does not block.
func (j *Journal) Gone(node uint32) {
	type gone uint32
	j.tell(gone(node), func() error {
		j.host.Gone(node)
		return nil
	})
}

// Size returns about how many bytes a group's rows take on the disk.
func (j *Journal) Size(group int) uint64 {
	if group < 0 || group >= groupsMax || !j.reads.TryRLock() {
		return 0
	}
	defer j.reads.RUnlock()
	n, err := j.data.EstimateDiskUsage(dataKey(nil, uint16(group), 0, nil), dataKey(nil, uint16(group)+1, 0, nil)) //nolint:gosec // checked
	if err != nil {
		return 0 // nothing of it is in tables yet
	}
	return n
}
