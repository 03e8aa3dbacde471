package session

import (
	"encoding/binary"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"switchboard/wire"
)

// Key is one remembered request: what a verb with an idempotency key, or a reply with an ack, came to [SW-4.3].
type Key struct {
	N      uint64 // its number in the session, from 1
	FP     uint64 // fingerprint of sender and key
	Hash   uint64 // of the payload; 0 when the payload does not count [SW-5.5]
	At     int64  // Unix ms
	Seq    uint64 // the entry whose row tells of it; 0: it has a row of its own
	Sender string
	Key    string // the client's, or one of a name space that no client reaches: see keyName
	Done   Done
}

// Done is the result of a verb that wrote.
type Done struct {
	Seq, Epoch uint64
	TS         int64
	V          uint64 // of the context document
}

// Fingerprint returns the number under which a key is looked up. Two keys may share one; the row tells them apart.
func Fingerprint(sender, key string) uint64 {
	var buf [128]byte // longer ones are allocated
	return xxhash.Sum64(append(append(append(buf[:0], sender...), 0), key...))
}

// keyName returns the name that c is remembered under, and whether its payload counts. A name that is not the client's
// begins with a sign that no id has, so the two never meet.
func keyName(c *wire.Command) (name string, payload bool) {
	switch {
	case c.Verb == wire.VerbOpen:
		// Scoped to the customer and his shop; whoever names the session only attaches, which may be repeated anyway.
		if c.Key == "" || c.Session != "" {
			return "", false
		}
		return "#open:" + c.Key, true
	case c.Key != "":
		return c.Key, true
	case c.Verb == wire.VerbReply && c.Ack.Set: // [SW-5.5] the acked seq is the key, and the payload does not count
		var buf [32]byte
		return string(strconv.AppendUint(append(buf[:0], "#ack:"...), c.Ack.Value, 10)), false
	}
	return "", false
}

// oldKeys tells where keys are that are not in memory any more, and those that are, from the day on that the ring is full: so a
// key that is new needs one look, and not one at all keys of the ring. It is a table with open addressing, a miss of which
// is mostly one cache line.
type oldKeys struct {
	slots []oldKey // a power of two, at most three quarters of them taken
	n     int
	full  bool
}

// oldKey says that a key with this fingerprint is told of by the row of entry rides-1; rides is 0 in an empty slot.
type oldKey struct{ fp, rides uint64 }

// slot returns where fp is, or would be.
func (o *oldKeys) slot(fp uint64) *oldKey {
	mask := uint64(len(o.slots) - 1) //nolint:gosec // a power of two
	for i := fp & mask; ; i = (i + 1) & mask {
		if s := &o.slots[i]; s.rides == 0 || s.fp == fp {
			return s
		}
	}
}

func (o *oldKeys) put(k KeyAt) {
	if o.n >= maxOld {
		o.full = true
		return
	}
	if 4*(o.n+1) > 3*len(o.slots) {
		was := o.slots
		o.slots = make([]oldKey, max(2*len(was), 2*KeysInMemory))
		for _, v := range was {
			if v.rides != 0 {
				*o.slot(v.fp) = v
			}
		}
	}
	s := o.slot(k.FP)
	if s.rides == 0 {
		o.n++
	}
	*s = oldKey{k.FP, k.Seq + 1}
}

// may tells whether there may be a key with that fingerprint, and where. Wide says that only the lists know.
func (o *oldKeys) may(fp uint64) (seq uint64, wide, ok bool) {
	if o.n > 0 {
		if s := o.slot(fp); s.rides != 0 {
			return s.rides - 1, false, true
		}
	}
	return 0, o.full, o.full
}

// payloadHash is what tells two requests with one key apart. It is never 0. The ae is no part of it: it is a fence, and
// who comes back under a new one repeats what it asked for under the old.
func payloadHash(c *wire.Command) uint64 {
	var d xxhash.Digest
	d.Reset()
	var buf [192]byte // a write of eight bytes costs as much as one of a hundred
	b := appendSized(append(buf[:0], c.Verb...), c.Type)
	_, _ = d.Write(binary.LittleEndian.AppendUint64(b, uint64(len(c.Body))))
	_, _ = d.Write(c.Body)
	b = appendSized(appendSized(appendSized(buf[:0], c.Visibility), c.Stream), c.Reason)
	for _, v := range [...]uint64{c.ReplyTo, c.Seq, uint64(c.DelayMS), bit(c.Ack.Set), c.Ack.Value, bit(c.Upto.Set), c.Upto.Value} { //nolint:gosec // bits, not a number
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	_, _ = d.Write(b)
	if c.PB != nil {
		hashCold(&d, c)
	}
	return d.Sum64() | 1
}

// appendSized appends s behind its length.
func appendSized(dst []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(dst, uint64(len(s))), s...)
}

func bit(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

func putUint(b *[8]byte, v uint64) {
	binary.LittleEndian.PutUint64(b[:], v)
}

// hashCold adds what only the frame holds.
func hashCold(d *xxhash.Digest, c *wire.Command) {
	put := func(s string) {
		var n [8]byte
		putUint(&n, uint64(len(s)))
		_, _ = d.Write(n[:])
		_, _ = d.WriteString(s)
	}
	if v := c.PB.GetTransfer(); v != nil {
		put(v.GetTo().GetQueue())
		put(v.GetTo().GetWorker())
		if kind := v.GetTo().GetKind(); kind != "" {
			put(kind)
		}
		put(v.Note)
		_, _ = d.Write(v.Context)
	}
	if v := c.PB.GetRelease(); v != nil {
		put(v.Outcome)
		put(v.Summary)
		for _, t := range v.Tags {
			put(t)
		}
	}
	if v := c.PB.GetContext(); v != nil {
		var n [8]byte
		putUint(&n, v.IfV)
		_, _ = d.Write(n[:])
		_, _ = d.Write(v.Patch)
	}
	if v := c.PB.GetJoin(); v != nil {
		put(v.As)
	}
	if v := c.PB.GetInvite(); v != nil {
		put(v.Worker)
		put(v.As)
		put(v.Note)
	}
	if v := c.PB.GetAssign(); v != nil {
		put(v.Worker)
		var n [8]byte
		putUint(&n, bit(v.Force))
		_, _ = d.Write(n[:])
	}
	if v := c.PB.GetAttributes(); v != nil {
		var n [8]byte
		putUint(&n, v.IfV)
		_, _ = d.Write(n[:])
		_, _ = d.Write(v.Patch)
	}
	if v := c.PB.GetRate(); v != nil {
		put(v.Comment)
		var n [8]byte
		putUint(&n, uint64(v.Score))
		_, _ = d.Write(n[:])
	}
	if v := c.PB.GetOpen(); v != nil {
		put(v.Shop)
		put(v.Queue)
		put(v.Channel)
		_, _ = d.Write(v.Attributes)
	}
}
