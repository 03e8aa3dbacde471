package client

import (
	"math"

	"switchboard/wire"
)

// feed puts the entries of a followed session in order: every one that the client may see, once, by seq [SW-4.4].
// It is pure; Client.mu guards it. There is one way out of every trouble (a gap, a full queue, an answer whose place
// is uncertain): the feed goes stale, drops what comes, and the reader opens the session again from pos once it has
// read what waits.
type feed struct {
	limit int

	queue line[item]
	pos   wire.Position // of the last entry put into queue
	read  wire.Position // of the last entry taken out
	// loose says that pos is not where the server begins: the first push is taken whatever its prev.
	loose bool
	tail  uint32 // how many entries a loose feed asks for
	head  uint64 // of the log when the session was attached; up to it the past may still be on its way
	stale bool
}

// item is an entry, or a break in the log.
type item struct {
	entry Entry
	reset *Reset
}

// attached begins or continues the feed after the server's answer to an open or a resume: from says whether it named
// pos. head is math.MaxUint64 when it is unknown.
func (f *feed) attached(from bool, how string, at, head, epoch uint64) {
	f.stale, f.head = false, head
	switch {
	case !from && f.tail == 0:
		f.pos = wire.Position{Epoch: epoch, Seq: head}
		f.read = f.pos
	case !from:
		f.loose = head > 0
		if !f.loose {
			f.pos = wire.Position{Epoch: epoch}
		}
	case how == "truncated" && at < f.pos.Seq:
		f.forget(at)
		f.queue.put(item{reset: &Reset{How: how, At: at}})
		f.pos.Seq = at
	case how == "reset" && !f.loose:
		f.queue.put(item{reset: &Reset{How: how}})
		f.loose = head > 0
		if !f.loose {
			f.pos = wire.Position{Epoch: epoch}
		}
	}
}

// forget drops entries after at that the application has not read: the log does not have them any more.
func (f *feed) forget(at uint64) {
	f.queue.trim(func(it *item) bool { return it.reset == nil && it.entry.Seq > at })
}

// verdict is what became of an entry.
type verdict uint8

const (
	taken   verdict = iota // queued
	dropped                // seen before, or the feed is stale
	gap                    // the feed has just gone stale: something before it is missing
	full                   // the feed has just gone stale: the reader is slow
)

// push takes an entry from the server, whose predecessor visible to this client is prev.
func (f *feed) push(e Entry, prev uint64) verdict {
	switch {
	case f.stale:
		return dropped
	case f.loose:
	case e.Seq <= f.pos.Seq:
		if e.Epoch > f.pos.Epoch { // a number used again: the log was cut below us
			f.stale = true
			return gap
		}
		return dropped
	case prev > f.pos.Seq:
		// A lower prev than pos is no gap: pos may be an entry that this client may not see (the head it began at).
		f.stale = true
		return gap
	}
	return f.put(e)
}

// own takes an entry that this client wrote, at the place of the server's answer [SW-4.4]. When that place is not
// certain, because the past is still coming or the answer repeats an earlier one, the log is asked.
func (f *feed) own(e Entry, duplicate bool) verdict {
	switch {
	case f.stale:
		return dropped
	case !f.loose && e.Seq <= f.pos.Seq:
		return dropped
	case f.loose || e.Seq != f.pos.Seq+1 && (duplicate || f.pos.Seq < f.head):
		f.stale = true
		return gap
	}
	return f.put(e)
}

func (f *feed) put(e Entry) verdict {
	if f.queue.len() >= f.limit {
		f.stale = true
		return full
	}
	f.queue.put(item{entry: e})
	f.pos, f.loose = e.At(), false
	return taken
}

// lag notes that the server continues from the log, so that answers may overtake pushes [SW-4.7].
func (f *feed) lag() { f.head = math.MaxUint64 }

// next takes the oldest item out.
func (f *feed) next() (item, bool) {
	it, ok := f.queue.take()
	if ok && it.reset == nil {
		f.read = it.entry.At()
	}
	return it, ok
}
