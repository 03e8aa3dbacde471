package session

import (
	"encoding/binary"
	"errors"
	"math"

	"switchboard/wire"
)

// ErrRow says that a stored row is not one of this package's, or of a newer version.
var ErrRow = errors.New("the row is damaged or of a newer version")

// The first byte of every row is its version. Fields are only ever added at the end, under a new version.
const (
	rowVersion   = 1
	stateVersion = 9 // of a state's row: 2 has what begins with AttributesV, 3 what begins with Holder, 4 Resort, 5 Classified, 6 Invites, 7 Stumbles, 8 Followed, 9 ErasedAt
)

// AppendState appends the row of s: its durable and soft fields, without entries and keys, which have rows of their
// own.
func AppendState(dst []byte, s *State) []byte {
	version := byte(stateVersion)
	if s.ErasedAt == 0 { // so that a node of the version before, which may lead next, reads it
		version--
	}
	w := writer{append(dst, version)}
	w.str(string(s.ID))
	w.str(s.Tenant)
	w.str(s.Shop)
	w.str(s.Queue)
	w.author(s.Customer)
	w.str(s.Tier)
	w.num(uint64(len(s.Channels)))
	for _, c := range s.Channels {
		w.str(c)
	}
	w.bytes(s.Attributes)
	w.num(uint64(s.Phase))
	w.bool(s.HumanOnly)
	w.num(uint64(len(s.Epochs)))
	for _, e := range s.Epochs {
		w.num(e.Epoch)
		w.num(e.First)
	}
	for _, v := range [...]uint64{s.Head, s.Public, s.Said, s.Ticket} {
		w.num(v)
	}
	w.int(s.EnqueuedAt)
	w.requeued(s.Requeued, s.Handed)
	w.str(s.Exclude)
	w.str(s.LastWorker)
	w.num(s.AE)
	w.owner(&s.Owner)
	w.num(uint64(len(s.Past)))
	for _, p := range s.Past {
		w.str(p.Worker)
		w.num(p.Until)
	}
	w.num(s.Transfer.Ticket)
	w.str(s.Transfer.Worker)
	w.str(s.Transfer.Note)
	w.num(s.FailSeq)
	w.num(uint64(s.Attempt))
	w.int(s.HoldUntil)
	w.num(s.ContextV)
	w.bytes(s.Context)
	w.int(s.ClosedAt)
	w.num(s.Pool)
	w.num(s.KeyCount)
	w.num(s.Cursor)
	w.num(s.Delivered)
	w.num(s.Read)
	w.num(s.AttributesV)
	w.str(string(s.Owner.Role))
	w.bool(s.Transfer.Force)
	w.num(uint64(len(s.Guests)))
	for i := range s.Guests {
		g := &s.Guests[i]
		w.num(g.GE)
		w.str(g.Sub)
		w.str(string(g.Role))
		w.str(g.As)
		w.num(g.Conn.Node)
		w.num(g.Conn.ID)
	}
	w.str(s.Holder)
	w.int(s.OpenedAt)
	w.num(s.Resort)
	w.bool(s.Classified)
	w.num(uint64(len(s.Invites)))
	for i := range s.Invites {
		v := &s.Invites[i]
		w.num(v.N)
		for _, x := range [...]string{v.Worker, v.As, v.By, v.Note} {
			w.str(x)
		}
		w.int(v.Until)
	}
	for i := range s.Guests {
		w.str(s.Guests[i].Worker)
	}
	w.num(uint64(s.Stumbles))
	w.bool(s.Followed)
	if s.ErasedAt != 0 {
		w.int(s.ErasedAt)
	}
	return w.b
}

// ParseState reads a row of AppendState into s, whose volatile fields stay. It copies what it keeps.
func ParseState(b []byte, s *State) error {
	r := reader{b: b}
	version := r.byte()
	if version == 0 || version > stateVersion {
		return ErrRow
	}
	s.ID = wire.SessionID(r.str())
	s.Tenant, s.Shop, s.Queue = r.str(), r.str(), r.str()
	s.Customer = r.author()
	s.Tier = r.str()
	s.Channels = make([]string, r.count())
	for i := range s.Channels {
		s.Channels[i] = r.str()
	}
	s.Attributes = r.bytes()
	s.Phase = Phase(min(r.num(), uint64(Closed)))
	s.HumanOnly = r.bool()
	s.Epochs = make([]EpochStart, r.count())
	for i := range s.Epochs {
		s.Epochs[i] = EpochStart{r.num(), r.num()}
	}
	s.Head, s.Public, s.Said, s.Ticket = r.num(), r.num(), r.num(), r.num()
	s.EnqueuedAt = r.int()
	s.Requeued, s.Handed = r.requeued()
	s.Exclude, s.LastWorker = r.str(), r.str()
	s.AE = r.num()
	s.Owner = r.owner()
	s.Past = make([]Past, r.count())
	for i := range s.Past {
		s.Past[i] = Past{r.str(), r.num()}
	}
	s.Transfer = Transfer{Ticket: r.num(), Worker: r.str(), Note: r.str()}
	s.FailSeq, s.Attempt, s.HoldUntil = r.num(), uint32(min(r.num(), math.MaxUint32)), r.int()
	s.ContextV, s.Context = r.num(), r.bytes()
	s.ClosedAt = r.int()
	s.Pool, s.KeyCount = r.num(), r.num()
	s.Cursor, s.Delivered, s.Read = r.num(), r.num(), r.num()
	if version >= 2 {
		s.AttributesV = r.num()
		s.Owner.Role, s.Transfer.Force = wire.Role(r.str()), r.bool()
		s.Guests = nil
		for range r.count() {
			s.Guests = append(s.Guests, Guest{GE: r.num(), Sub: r.str(), Role: wire.Role(r.str()), As: r.str(), Conn: wire.Conn{Node: r.num(), ID: r.num()}})
		}
	}
	if version >= 3 {
		s.Holder, s.OpenedAt = r.str(), r.int()
	}
	if version >= 4 {
		s.Resort = r.num()
	}
	if version >= 5 {
		s.Classified = r.bool()
	}
	if version >= 6 {
		s.Invites = nil
		for range r.count() {
			s.Invites = append(s.Invites, Invite{N: r.num(), Worker: r.str(), As: r.str(), By: r.str(), Note: r.str(), Until: r.int()})
		}
		for i := range s.Guests {
			s.Guests[i].Worker = r.str()
		}
	}
	if version >= 7 {
		s.Stumbles = uint32(min(r.num(), math.MaxUint32))
	}
	if version >= 8 {
		s.Followed = r.bool()
	}
	if version >= 9 {
		s.ErasedAt = r.int()
	}
	if r.bad || len(r.b) != 0 || len(s.Channels) == 0 || len(s.Epochs) == 0 {
		return ErrRow
	}
	return nil
}

// AppendKey appends the row of k.
func AppendKey(dst []byte, k *Key) []byte {
	w := writer{append(dst, rowVersion)}
	w.num(k.N)
	w.num(k.FP)
	w.num(k.Hash)
	w.int(k.At)
	w.str(k.Sender)
	w.str(k.Key)
	w.num(k.Done.Seq)
	w.num(k.Done.Epoch)
	w.int(k.Done.TS)
	w.num(k.Done.V)
	return w.b
}

// ParseKey reads a row of AppendKey. It copies what it keeps.
func ParseKey(b []byte, k *Key) error {
	r := reader{b: b}
	if r.byte() != rowVersion {
		return ErrRow
	}
	k.N, k.FP, k.Hash, k.At = r.num(), r.num(), r.num(), r.int()
	k.Sender, k.Key = r.str(), r.str()
	k.Done = Done{Seq: r.num(), Epoch: r.num(), TS: r.int(), V: r.num()}
	if r.bad || len(r.b) != 0 {
		return ErrRow
	}
	return nil
}

// writer appends fields.
type writer struct{ b []byte }

func (w *writer) num(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)  { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) str(s string) { w.num(uint64(len(s))); w.b = append(w.b, s...) }
func (w *writer) bytes(b []byte) {
	w.num(uint64(len(b)))
	w.b = append(w.b, b...)
}

func (w *writer) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
		return
	}
	w.b = append(w.b, 0)
}

func (w *writer) author(a wire.Author) {
	w.str(string(a.Role))
	w.str(a.ID)
	w.str(a.Name)
}

func (w *writer) owner(o *Owner) {
	w.bool(o.Worker != "")
	if o.Worker == "" {
		return
	}
	for _, s := range [...]string{o.Worker, o.Sub, o.Name, string(o.Kind), o.Lease, o.Offer} {
		w.str(s)
	}
	w.num(o.Ticket)
	w.num(o.Since)
}

// reader takes fields off the front; after the first that does not fit it is bad, and everything reads as zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// requeued is one byte, in which handed has a bit of its own: who knows of none reads a bool.
func (w *writer) requeued(requeued, handed bool) {
	w.bool(requeued)
	if handed {
		w.b[len(w.b)-1] |= 2
	}
}

func (r *reader) requeued() (requeued, handed bool) {
	v := r.byte()
	return v != 0, v&2 != 0
}

func (r *reader) bool() bool { return r.byte() != 0 }

func (r *reader) num() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) fixed() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the length of a list, each item of which takes a byte at least.
func (r *reader) count() int {
	n := r.num()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n) //nolint:gosec // bounded by what is left
}

func (r *reader) raw() []byte {
	n := r.count()
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) str() string { return string(r.raw()) }

func (r *reader) bytes() []byte {
	if v := r.raw(); len(v) > 0 {
		return append([]byte(nil), v...)
	}
	return nil
}

func (r *reader) author() wire.Author {
	return wire.Author{Role: wire.Role(r.str()), ID: r.str(), Name: r.str()}
}

func (r *reader) owner() Owner {
	if !r.bool() {
		return Owner{}
	}
	return Owner{
		Worker: r.str(), Sub: r.str(), Name: r.str(), Kind: wire.Origin(r.str()), Lease: r.str(), Offer: r.str(),
		Ticket: r.num(), Since: r.num(),
	}
}
