package shard

import (
	"bytes"
	"encoding/binary"
	"errors"

	"switchboard/exchange"
	"switchboard/wire"
)

// Leaving says which slots leave a shard, and where they go.
type Leaving struct {
	// To is the number of the shard that takes them.
	To int
	// Slots are not among Config.Slots: nobody serves them until the other shard has all of their rows.
	Slots []wire.Slot
}

const (
	parcelBytes = 128 << 10 // rows that one parcel holds, about
	parcelLook  = 4096      // rows that are looked at for one parcel
	parcelAgain = 500       // ms after which a parcel is sent again that nobody has kept
)

// giving is how far the rows of slots that leave have come. The owner has it; the loader reads.
type giving struct {
	at      cursor
	parcel  wire.Parcel // that is on its way, N 0 before the first
	reading bool
	last    bool // nothing is behind parcel
	sentAt  int64
}

// cursor is a place in the rows of slots: a kind of rows, and within it a slot or, for kinds that are not in the order of slots, none.
type cursor struct {
	kind, slot int
	key        []byte // the last that was read; nil at the beginning
}

// The kinds of rows that belong to slots. Those of sessions begin with their slot, the others are looked through.
var (
	sessionRows = []byte{rowState, rowEntry, rowKey, rowKeyList, rowLive, rowLevel, rowWhy, rowHook}
	otherRows   = []byte{rowCustomer, rowOwes, rowIdentity, rowDocument}
)

// parcelJob is a wish to read the next parcel.
type parcelJob struct {
	at    cursor
	slots []wire.Slot
}

// parcelRead is what came of it.
type parcelRead struct {
	rows []byte
	at   cursor
	last bool
}

// give begins to give away what leaves, once it is durable that it has left.
func (s *Shard) give() {
	if s.cfg.Leaving == nil || s.giving != nil {
		return
	}
	s.giving = &giving{}
	s.log.Info("slots leave the shard", "slots", len(s.cfg.Leaving.Slots), "to", s.cfg.Leaving.To, "shape", s.cfg.Shape)
	s.nextParcel()
}

func (s *Shard) nextParcel() {
	s.giving.reading = true
	s.wish(job{kind: jobParcel, parcel: parcelJob{s.giving.at, s.cfg.Leaving.Slots}})
}

// parcelLoaded sends what was read.
func (s *Shard) parcelLoaded(r *result) {
	g := s.giving
	if g == nil || !g.reading {
		return
	}
	g.reading = false
	if r.err != nil {
		g.sentAt = s.now // it is read again
		s.alarms.add(s.now+parcelAgain, "")
		return
	}
	g.at, g.last = r.given.at, r.given.last
	g.parcel = wire.Parcel{
		Shape: s.cfg.Shape, N: g.parcel.N + 1, Reply: wire.ToSlot(wire.ShardSlot(s.cfg.ID)), Term: s.term, Epoch: s.epoch(), Rows: r.given.rows,
	}
	s.sendParcel()
}

func (s *Shard) sendParcel() {
	m := s.giving.parcel
	s.giving.sentAt = s.now
	s.d.Mail = append(s.d.Mail, wire.Envelope{To: wire.ToSlot(wire.ShardSlot(s.cfg.Leaving.To)), Mail: &m})
	s.alarms.add(s.now+parcelAgain, "")
}

// giveAgain sends a parcel again that may be lost.
func (s *Shard) giveAgain() {
	g := s.giving
	switch {
	case g == nil || g.reading || s.left.Load() == s.cfg.Shape || s.now < g.sentAt+parcelAgain:
	case g.parcel.N == 0 || g.parcel.Rows == nil && !g.last: // it could not be read
		s.nextParcel()
	default:
		s.sendParcel()
	}
}

// parcelKept goes on behind a parcel that is durable with the other shard.
func (s *Shard) parcelKept(m *wire.ParcelKept) {
	g := s.giving
	if g == nil || m.Shape != s.cfg.Shape || m.N != g.parcel.N || m.Term != s.term || g.reading {
		return // it came twice, or is about what another opening has sent
	}
	if g.last {
		g.parcel.Rows = nil
		if s.left.Swap(s.cfg.Shape) != s.cfg.Shape {
			s.log.Info("slots have left the shard", "slots", len(s.cfg.Leaving.Slots), "to", s.cfg.Leaving.To, "shape", s.cfg.Shape, "parcels", m.N)
		}
		return
	}
	g.parcel.Rows = nil
	s.nextParcel()
}

// parcel takes rows of slots that are on their way here. It is no harm that they come twice: they change no more. Those of slots that
// are served here by now are late, and all of them are here: they are not taken, and whoever sends them hears so.
func (s *Shard) parcel(m *wire.Parcel) {
	if !s.writable {
		return
	}
	if m.Shape < s.cfg.Shape {
		s.keptParcel(m)
		return
	}
	if s.turn.Size() > 0 {
		s.commit()
	}
	for rows := m.Rows; len(rows) > 0; {
		var k, v []byte
		var ok bool
		if k, rows, ok = cutField(rows); ok {
			v, rows, ok = cutField(rows)
		}
		if !ok || len(k) == 0 || bytes.IndexByte(sessionRows, k[0]) < 0 && bytes.IndexByte(otherRows, k[0]) < 0 {
			s.log.Error("a parcel of rows makes no sense", "shape", m.Shape, "n", m.N)
			s.turn.Reset()
			return
		}
		s.turn.Put(k, v)
	}
	s.stood.term = max(s.stood.term, m.Term>>openingBits)
	s.stood.epoch = max(s.stood.epoch, max(m.Epoch, 1)-1)
	s.putStanding(s.stood.shape)
	s.keptParcel(m)
	s.commit()
}

func (s *Shard) keptParcel(m *wire.Parcel) {
	s.d.Mail = append(s.d.Mail, wire.Envelope{To: m.Reply, Mail: &wire.ParcelKept{Shape: m.Shape, N: m.N, Term: m.Term}})
}

func appendField(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func cutField(b []byte) (f, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n)], b[w+int(n):], true //nolint:gosec // just compared
}

// readParcel reads rows from a place on, until there are enough, or many were looked at.
func (s *Shard) readParcel(j job) result {
	r := result{job: j}
	p := &r.given
	p.at = j.parcel.at
	mine := map[int]bool{}
	for _, slot := range j.parcel.slots {
		mine[slot.Number()] = true
	}
	for looked := 0; len(p.rows) < parcelBytes && looked < parcelLook; {
		var from, to []byte
		switch {
		case p.at.kind < len(sessionRows):
			if p.at.slot == len(j.parcel.slots) {
				p.at = cursor{kind: p.at.kind + 1}
				continue
			}
			from = slotPrefix(sessionRows[p.at.kind], j.parcel.slots[p.at.slot])
			to = after(from)
		case p.at.kind < len(sessionRows)+len(otherRows):
			kind := otherRows[p.at.kind-len(sessionRows)]
			from, to = []byte{kind}, []byte{kind + 1}
		default:
			p.last = true
			return r
		}
		if p.at.key != nil {
			from = append(bytes.Clone(p.at.key), 0)
		}
		full := false
		r.err = s.g.Scan(from, to, false, func(k, v []byte) bool {
			if full = len(p.rows) >= parcelBytes || looked >= parcelLook; full {
				return false
			}
			looked++
			p.at.key = append(p.at.key[:0:0], k...)
			if p.at.kind < len(sessionRows) || mine[numberOf(k)] {
				p.rows = appendField(appendField(p.rows, k), v)
			}
			return true
		})
		if r.err != nil {
			r.err = errors.Join(errParcel, r.err)
			return r
		}
		if full {
			return r
		}
		if p.at.kind < len(sessionRows) {
			p.at = cursor{kind: p.at.kind, slot: p.at.slot + 1}
		} else {
			p.at = cursor{kind: p.at.kind + 1}
		}
		looked++
	}
	return r
}

var errParcel = errors.New("reading rows of slots that leave")

// slotPrefix is how the keys of a kind of rows begin for the sessions of a slot.
func slotPrefix(kind byte, slot wire.Slot) []byte {
	id := wire.NewSessionID(slot.Group(), slot, 0)
	return append([]byte{kind}, id[:6]...)
}

// numberOf returns the number of the slot that a row of otherRows belongs to, by its key.
func numberOf(k []byte) int {
	kind, rest := k[0], k[1:]
	tenant, rest, ok := bytes.Cut(rest, []byte{0})
	if !ok {
		return -1
	}
	switch kind {
	case rowCustomer, rowOwes:
		return exchange.CustomerSlot(string(tenant), string(rest)).Number()
	case rowIdentity:
		channel, external, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return -1
		}
		return exchange.IdentitySlot(string(tenant), string(channel), string(external)).Number()
	case rowDocument:
		return exchange.PoolSlot(string(tenant)).Number()
	}
	return -1
}
