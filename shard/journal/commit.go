package journal

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"switchboard/shard/journal/seglog"
)

// queue is what waits for one commit: the turns in the order they came, and their bytes in one piece.
type queue struct {
	items []item
	bytes []byte
}

type item struct {
	g            *Group
	index, epoch uint64
	from, to     int // in bytes; equal for a turn without operations
}

func (q *queue) add(it item, ops []byte) {
	it.from = len(q.bytes)
	q.bytes = append(q.bytes, ops...)
	it.to = len(q.bytes)
	q.items = append(q.items, it)
}

// reset empties the queue and keeps its memory, unless a burst has made it large.
func (q *queue) reset() {
	clear(q.items)
	q.items, q.bytes = q.items[:0], q.bytes[:0]
	if cap(q.bytes) > 4<<20 {
		q.bytes = nil
	}
}

// commit is the committer: take everything that waits, make it durable with one sync, make it visible, report it. While
// it syncs, the next batch forms. It neither waits for more nor looks at a clock: the sync itself is what makes batches
// large when there is much to do and small when there is little.
func (j *Journal) commit() {
	defer close(j.ended[0])
	var work queue
	for j.take(&work) {
		if err := j.write(&work); err != nil {
			j.fail(err)
			break
		}
		j.publish(&work)
		j.report(nil)
	}
	if err := j.failure(); err != nil {
		j.touched = append(j.touched[:0], j.groups...)
		j.report(err)
	}
}

// take exchanges the empty queue for the one that has formed. It returns false when there is nothing left to do.
func (j *Journal) take(work *queue) bool {
	work.reset()
	for {
		j.mu.Lock()
		if j.broken != nil || j.closing && len(j.forming.items) == 0 {
			j.mu.Unlock()
			return false
		}
		if len(j.forming.items) > 0 {
			j.forming, *work = *work, j.forming
			j.mu.Unlock()
			return true
		}
		j.mu.Unlock()
		<-j.wake
	}
}

// write makes the batch durable and then visible. The rows are applied only after the sync: the data store may flush at
// any time, and must never hold what the log could lose.
func (j *Journal) write(work *queue) error {
	j.touched, j.logged = j.touched[:0], 0
	for i := range work.items {
		it := &work.items[i]
		g := it.g
		if g.turns == 0 {
			j.touched = append(j.touched, g)
			g.written = 0
		}
		g.turns++
		if it.from < it.to {
			g.written, g.lastEpoch = it.index, it.epoch
		}
	}
	if len(work.bytes) == 0 {
		return nil
	}
	if err := j.writeLog(work); err != nil {
		return err
	}
	return j.writeData(work)
}

func (j *Journal) writeLog(work *queue) error {
	b := &j.batch
	b.Reset()
	for i := range work.items {
		it := &work.items[i]
		if it.from == it.to {
			continue
		}
		b.Append(it.g.id, seglog.Record{
			Index: it.index, Term: it.g.term, Epoch: it.epoch, Kind: kindTurn, Body: work.bytes[it.from:it.to],
		})
	}
	if err := j.log.Write(b); err != nil {
		return logError("writing the log", err)
	}
	if err := j.failure(); err != nil {
		return err // of the fence, meanwhile
	}
	j.logged = b.Size()
	j.m.syncs.Add(1)
	return nil
}

func (j *Journal) writeData(work *queue) error {
	b := j.data.NewBatchWithSize(len(work.bytes) + len(work.items)*16)
	for i := range work.items {
		it := &work.items[i]
		if err := applyOps(b, it.g.id, work.bytes[it.from:it.to]); err != nil {
			return err
		}
	}
	for _, g := range j.touched {
		if g.written == 0 {
			continue
		}
		if err := putApplied(b, g.id, applied{index: g.written, term: g.term, epoch: g.lastEpoch}); err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("applying a batch: %w", err)
	}
	if err := j.failure(); err != nil {
		return err
	}
	return closeBatch(b)
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
		if err != nil {
			return err
		}
		ops = rest
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
	}
	return nil
}

func putApplied(b *pebble.Batch, group uint16, a applied) error {
	op := b.SetDeferred(3, appliedSize)
	dataKey(op.Key[:0], group, tagApplied, nil)
	a.put(op.Value, op.Key)
	if err := op.Finish(); err != nil {
		return fmt.Errorf("building a data batch: %w", err)
	}
	return nil
}

// publish publishes what the batch made durable, makes room, and tells watch when it is time.
func (j *Journal) publish(work *queue) {
	size, turns := len(work.bytes), uint64(len(work.items))
	for _, g := range j.touched {
		if g.written != 0 {
			g.applied.Store(g.written)
		}
	}
	j.mu.Lock()
	j.held -= size
	for _, g := range j.touched {
		g.queued -= g.turns
	}
	if j.waiting > 0 {
		j.room.Broadcast()
	}
	j.mu.Unlock()
	j.m.commits.Add(1)
	j.m.turns.Add(turns)
	j.m.bytes.Add(uint64(size))
	fence := j.sinceFence.Add(turns) >= j.cfg.FenceTurns
	flush := j.sinceFlush.Add(int64(max(size, j.logged/4))) >= j.cfg.FlushBytes
	look := j.sinceLook.Add(int64(size)) >= j.lookBytes
	if fence || flush || look || j.logged > 0 && j.log.Hungry() {
		poke(j.nudge)
	}
}

// report tells the owners of this batch how far they have come.
func (j *Journal) report(err error) {
	for _, g := range j.touched {
		g.turns = 0
		if durable := g.durable.Load(); durable != nil {
			(*durable)(g.applied.Load(), err)
		}
	}
}
