package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"switchboard/shard/journal/replica"
)

// queue is what waits for the committer: the turns in the order they came, their bytes in one piece, and what came from
// elsewhere.
type queue struct {
	items []item
	bytes []byte
	mail  []replica.Message // of other replicas
	asks  []*request        // what else touches the groups
	ticks int
}

type item struct {
	g          *Group
	lead, turn uint64 // the term in which its owner decided it, and its number
	from, to   int    // in bytes; equal for a turn without operations
}

func (q *queue) add(it item, ops []byte) {
	it.from = len(q.bytes)
	q.bytes = append(q.bytes, ops...)
	it.to = len(q.bytes)
	q.items = append(q.items, it)
}

func (q *queue) empty() bool { return len(q.items)+len(q.mail)+len(q.asks) == 0 }

// reset empties the queue and keeps its memory, unless a burst has made it large.
func (q *queue) reset() {
	clear(q.items)
	clear(q.mail)
	clear(q.asks)
	q.items, q.bytes, q.mail, q.asks, q.ticks = q.items[:0], q.bytes[:0], q.mail[:0], q.asks[:0], 0
	if cap(q.bytes) > 4<<20 {
		q.bytes = nil
	}
}

// commit is the committer: take everything that waits, hand it to the groups, and do what they ask for. While it syncs,
// the next batch forms. It neither waits for more nor looks at a clock, but for the groups' own: the sync itself is what
// makes batches large when there is much to do and small when there is little.
func (j *Journal) commit() {
	defer close(j.ended[0])
	defer j.clock(false)
	var work queue
	for j.take(&work) {
		if err := j.round(&work); err != nil {
			j.fail(err)
			break
		}
	}
	if err := j.failure(); err != nil {
		for _, g := range j.list() {
			j.touch(g)
		}
		j.report(err)
	}
	j.stopAsks()
}

// take exchanges the empty queue for the one that has formed. It returns false when there is nothing left to do.
func (j *Journal) take(work *queue) bool {
	work.reset()
	for {
		runtime.Gosched() // owners that are ready to decide come along: it costs nothing where nobody is, and a sync less where somebody is
		j.mu.Lock()
		if j.broken != nil || j.closing && len(j.forming.items) == 0 {
			j.mu.Unlock()
			return false
		}
		var tick <-chan time.Time // never, while every group is one of one
		if j.ticker != nil {
			tick = j.ticker.C
		}
		if !j.forming.empty() {
			j.forming, *work = *work, j.forming
			j.mailed = 0
			j.mu.Unlock()
			select {
			case <-tick:
				work.ticks = 1
			default:
			}
			return true
		}
		j.mu.Unlock()
		select {
		case <-j.wake:
		case <-tick:
			work.ticks = 1
			return true
		}
	}
}

// round does what waits, and everything that follows from it now: for a group of one that is until its turns are applied.
func (j *Journal) round(work *queue) error {
	j.logged = 0
	work.asks = slices.DeleteFunc(work.asks, func(r *request) bool {
		if r.anytime { // the round may wait for room that comes of it
			r.reply(r.do())
		}
		return r.anytime
	})
	j.doing = append(j.doing, work.asks...)
	for _, r := range work.asks {
		r.err = r.do()
	}
	for _, m := range work.mail {
		err := j.host.Step(m)
		if errors.Is(err, replica.ErrForgot) {
			j.forgot(m.Group, err)
		}
		if err != nil {
			j.m.strays.Add(1) // it is old, or not for us; whoever sent it says it again
		}
	}
	for range work.ticks {
		j.host.Tick()
		if err := j.adopt(); err != nil {
			return err
		}
		j.letGo()
	}
	j.propose(work)
	j.renew() // whoever hands over is not sure any more, before the other hears of it
	for j.host.Collect(&j.out) {
		j.send(j.out.Send)
		if err := j.apply(j.out.Apply); err != nil {
			return err
		}
		if err := j.write(j.out.Append); err != nil {
			return err
		}
		j.host.Done(&j.out)
		j.renew() // before owners begin
		j.answer(j.out.Reads)
		j.happened(j.out.Events)
	}
	j.renew()
	j.publish(work)
	j.report(nil)
	for _, r := range j.doing {
		r.reply(r.err)
	}
	clear(j.doing)
	j.doing = j.doing[:0]
	return j.failure()
}

// touch notes that the owner of g has something to be told.
func (j *Journal) touch(g *Group) {
	if !g.touched {
		g.touched = true
		j.touched = append(j.touched, g)
	}
}

// propose hands the turns to their groups, in order. The bytes are copied: they are the group's until its followers have them.
func (j *Journal) propose(work *queue) {
	for i := range work.items {
		it := &work.items[i]
		g := it.g
		if it.lead != g.led {
			j.returned += it.to - it.from // of an owner that was told so
			continue
		}
		if len(g.taken) == 0 {
			j.takers = append(j.takers, g)
		}
		g.taken = append(g.taken, i)
		if it.from < it.to {
			g.takenBytes += turnHeader + it.to - it.from
		}
	}
	for _, g := range j.takers {
		j.proposeTo(g, work)
	}
	clear(j.takers)
	j.takers = j.takers[:0]
}

func (j *Journal) proposeTo(g *Group, work *queue) {
	buf := make([]byte, 0, g.takenBytes)
	pieces := j.pieces[:0]
	for _, i := range g.taken {
		it := &work.items[i]
		f := flight{turn: it.turn, bytes: it.to - it.from}
		if it.from < it.to {
			start := len(buf)
			buf = binary.BigEndian.AppendUint64(buf, it.turn)
			buf = append(buf, work.bytes[it.from:it.to]...)
			pieces = append(pieces, buf[start:len(buf):len(buf)])
		}
		g.flights = append(g.flights, f)
	}
	g.taken, g.takenBytes = g.taken[:0], 0
	if len(pieces) > 0 {
		if err := j.host.Propose(g.id, pieces...); err != nil {
			j.abandon(g) // it leads no more, or hands over just now
			j.orphans[g.id] = orphanTicks
		}
	}
	clear(pieces)
	j.pieces = pieces[:0]
	j.land(g)
}

// land ends the flights of turns that are applied.
func (j *Journal) land(g *Group) {
	for len(g.flights) > g.landing && g.flights[g.landing].turn <= g.at.turn {
		j.returned += g.flights[g.landing].bytes
		g.landing++
		j.landed++
		g.landed++
		j.touch(g)
	}
	switch {
	case g.landing == len(g.flights):
		g.flights, g.landing = g.flights[:0], 0
	case g.landing > 64:
		g.flights = g.flights[:copy(g.flights, g.flights[g.landing:])]
		g.landing = 0
	}
}

// abandon tells the owner of g that what it has appended and not heard of may come or not, and that it has to begin again.
func (j *Journal) abandon(g *Group) {
	if g.led == 0 {
		return
	}
	for _, f := range g.flights[g.landing:] {
		j.returned += f.bytes
	}
	g.flights, g.landing = g.flights[:0], 0
	g.led = 0
	g.sure.Store(0)
	j.mu.Lock()
	g.lead, g.queued = 0, 0
	j.room.Broadcast()
	j.mu.Unlock()
	g.landed = 0
	if durable := g.durable.Swap(nil); durable != nil {
		(*durable)(g.applied.Load(), ErrNotLeading)
	}
}

// orphanTicks is how long a replica may lead without an owner: longer than handing over takes.
const orphanTicks = 40

// adopt begins anew with replicas that have lost their owner to a hand-over which then came to nothing. They lead in a
// higher term then, if they do: an owner must not begin twice in one.
func (j *Journal) adopt() error {
	for id, left := range j.orphans {
		if j.orphans[id] = left - 1; left > 1 {
			continue
		}
		delete(j.orphans, id)
		if g := j.groups[id]; g != nil && g.status.Mode == OK {
			j.host.Remove(id)
			if err := j.add(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// hurryTicks is for how long owners wait, once the journal is in a hurry, until other replicas have what they have appended.
const hurryTicks = 40

// letGo tells owners who have waited for so long in a journal that is in a hurry that it may come or not: replicas on full disks answer, so that this one goes on
// leading, and take nothing.
func (j *Journal) letGo() {
	j.mu.Lock()
	patient := j.patient
	j.mu.Unlock()
	if patient {
		return
	}
	if j.hurried++; j.hurried < hurryTicks {
		return
	}
	for _, g := range j.groups {
		if g != nil && len(g.flights) > g.landing {
			j.abandon(g)
		}
	}
}

// apply takes what is decided for good. It is on this disk by then: the data store, which gets the rows later, may flush at any time,
// and must never hold what the log could lose.
func (j *Journal) apply(list []replica.Apply) error {
	if len(list) == 0 {
		return nil
	}
	turns, groups := j.turns[:0], j.reached[:0]
	for i := range list {
		g := j.groups[list[i].Group]
		g.next = g.at
	}
	for i := range list {
		a := &list[i]
		g := j.groups[a.Group]
		at := g.next // a group may have several pieces
		for _, e := range a.Entries {
			r, err := entryRecord(e, at.epoch)
			if err == nil {
				err = r.follows(at)
			}
			if err != nil {
				return fmt.Errorf("applying entry %d of group %d: %w", e.GetIndex(), g.id, err)
			}
			if j.cfg.Decided != nil {
				j.cfg.Decided(g.id, r.index, r.term, e.GetData())
			}
			if r.kind == kindTurn {
				_, ops := r.turn()
				j.applied += len(ops)
				turns = append(turns, lateTurn{g, ops})
			}
			at = at.next(r)
		}
		g.next = at
		groups = append(groups, g)
		if a.Conf != nil {
			g.meta.conf, g.meta.confAt, g.newMeta = a.Conf, at.index, true
		}
	}
	if err := j.writeMembers(list); err != nil {
		return err
	}
	j.late.add(turns, groups)
	clear(turns)
	clear(groups)
	j.turns, j.reached = turns[:0], groups[:0]
	if j.late.size.Load() >= lateMost*int64(j.cfg.LateBytes) { // watch does not get to it
		if err := j.settle(); err != nil {
			return err
		}
	}
	if err := j.failure(); err != nil {
		return err
	}
	for i := range list {
		g := j.groups[list[i].Group]
		j.reach(g, g.next)
		j.land(g)
		if j.cfg.Applied != nil {
			j.cfg.Applied(int(g.id))
		}
	}
	return nil
}

// writeMembers makes changes of members durable before anybody, the fence or the rows, says that they are decided: a replica that
// comes back behind such a change must know of it.
func (j *Journal) writeMembers(list []replica.Apply) error {
	j.batch.Reset()
	for i := range list {
		if list[i].Conf != nil {
			if err := j.groups[list[i].Group].putMeta(&j.batch); err != nil {
				return err
			}
		}
	}
	if j.batch.Empty() {
		return nil
	}
	if err := j.record(&j.batch); err != nil {
		return logError("writing the members of a group", err)
	}
	for i := range list {
		if g := j.groups[list[i].Group]; list[i].Conf != nil {
			g.conf = g.meta.conf
		}
	}
	return nil
}

// reach says how far the rows of g are.
func (j *Journal) reach(g *Group, at applied) {
	j.mu.Lock()
	g.at = at
	j.mu.Unlock()
	g.applied.Store(at.turn)
}

func closeBatch(b *pebble.Batch) error {
	if err := b.Close(); err != nil {
		return fmt.Errorf("closing a batch: %w", err)
	}
	return nil
}

// applyOps adds a turn's operations to a batch of the data store.
func applyOps(b *pebble.Batch, group uint16, ops []byte) error {
	for len(ops) > 0 {
		kind, key, val, rest, err := nextOp(ops)
		if err == nil {
			err = putOp(b, group, kind, key, val)
		}
		if err != nil {
			return err
		}
		ops = rest
	}
	return nil
}

// putOp adds an operation to a batch of the data store.
func putOp(b *pebble.Batch, group uint16, kind byte, key, val []byte) (err error) {
	switch kind {
	case opPut:
		op := b.SetDeferred(3+len(key), len(val))
		dataKey(op.Key[:0], group, tagRow, key)
		copy(op.Value, val)
		err = op.Finish()
	case opDelete:
		op := b.DeleteDeferred(3 + len(key))
		dataKey(op.Key[:0], group, tagRow, key)
		err = op.Finish()
	case opDeleteRange:
		lower, upper := (&Group{id: group}).bounds(key, val)
		if bytes.Compare(lower, upper) < 0 {
			err = b.DeleteRange(lower, upper, nil)
		}
	}
	if err != nil {
		return fmt.Errorf("building a data batch: %w", err)
	}
	return nil
}

func putApplied(b *pebble.Batch, group uint16, at applied) error {
	op := b.SetDeferred(3, appliedSize)
	dataKey(op.Key[:0], group, tagApplied, nil)
	at.put(op.Value, op.Key)
	if err := op.Finish(); err != nil {
		return fmt.Errorf("building a data batch: %w", err)
	}
	return nil
}

// publish counts what is done, and tells watch when it is time.
func (j *Journal) publish(work *queue) {
	if len(work.items) > 0 {
		j.m.commits.Add(1)
	}
	j.m.turns.Add(j.landed)
	j.m.bytes.Add(uint64(j.applied)) //nolint:gosec // a length
	fence := j.sinceFence.Add(j.landed) >= j.cfg.FenceTurns
	flush := j.sinceFlush.Add(int64(max(j.applied, j.logged/4))) >= j.cfg.FlushBytes
	look := j.sinceLook.Add(int64(j.applied)) >= j.lookBytes
	late := j.late.size.Load() >= int64(j.cfg.LateBytes)
	if fence || flush || look || late || j.logged > 0 && j.log.Hungry() {
		poke(j.nudge)
	}
	j.landed, j.applied = 0, 0
}

// report makes room for what is done, and tells the owners of this round how far they have come. It may be called in the middle of a round: what is
// durable then stays so.
func (j *Journal) report(err error) {
	j.mu.Lock()
	j.held -= j.returned
	for _, g := range j.touched {
		g.queued -= g.landed
		g.landed = 0
	}
	if j.waiting > 0 {
		j.room.Broadcast()
	}
	j.mu.Unlock()
	j.returned = 0
	for _, g := range j.touched {
		g.touched = false
		if durable := g.durable.Load(); durable != nil {
			(*durable)(g.applied.Load(), err)
		}
	}
	clear(j.touched)
	j.touched = j.touched[:0]
}
