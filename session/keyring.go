package session

import "encoding/binary"

// keyRing is the last KeysInMemory keys. Every session has one, so there is no pointer in it: what a key was is a record, and its words
// stand behind those of the others. The fingerprints stand apart so that a miss reads few cache lines.
type keyRing struct {
	fps   []uint64
	recs  []keyRec // in the slots of fps
	names []byte   // sender, key and result of every record, in the order in which they came
	next  int      // the slot of the oldest, once the ring is full
}

// keyStep is for how many keys more there is room when there is none.
const keyStep = 4

// ringResult is about what the result of a key takes in its names.
const ringResult = 1

// keyRec is a Key but for its words, its fingerprint and its result, which is mostly known by the entry that it rides on.
type keyRec struct {
	n, hash, seq           uint64
	at                     int64
	name, mine, done, ends uint32 // in names: where the sender begins, the key, and the result, and where that ends
}

// find returns the key of sender, or nil. It aliases what it was asked for.
func (r *keyRing) find(fp uint64, sender, key string) *Key {
	for i, v := range r.fps {
		if v != fp {
			continue
		}
		k := &r.recs[i]
		if string(r.names[k.mine:k.done]) == key && string(r.names[k.name:k.mine]) == sender {
			found := r.told(i, sender, key)
			return &found
		}
	}
	return nil
}

// told returns the key in a slot, whose words are known.
func (r *keyRing) told(i int, sender, key string) Key {
	k := &r.recs[i]
	return Key{N: k.n, FP: r.fps[i], Hash: k.hash, At: k.at, Seq: k.seq, Sender: sender, Key: key, Done: k.result(r.names[k.done:k.ends])}
}

// appendResult appends what k came to: of a key that rides on its entry the epoch alone.
func appendResult(dst []byte, k *Key) []byte {
	dst = binary.AppendUvarint(dst, k.Done.Epoch)
	if k.Seq != 0 && k.Done == (Done{Seq: k.Seq, Epoch: k.Done.Epoch, TS: k.At}) {
		return dst
	}
	dst = binary.AppendUvarint(dst, k.Done.Seq)
	dst = binary.AppendVarint(dst, k.Done.TS)
	return binary.AppendUvarint(dst, k.Done.V)
}

// result reads what appendResult wrote.
func (k *keyRec) result(b []byte) (d Done) {
	var n int
	d.Epoch, n = binary.Uvarint(b)
	if b = b[n:]; len(b) == 0 {
		d.Seq, d.TS = k.seq, k.at
		return d
	}
	d.Seq, n = binary.Uvarint(b)
	b = b[n:]
	d.TS, n = binary.Varint(b)
	d.V, _ = binary.Uvarint(b[n:])
	return d
}

// All returns the keys, in no order, with words of their own.
func (r *keyRing) All() []Key {
	keys := make([]Key, len(r.recs))
	for i := range keys {
		k := &r.recs[i]
		keys[i] = r.told(i, string(r.names[k.name:k.mine]), string(r.names[k.mine:k.done]))
	}
	return keys
}

// full tells that the next key takes the place of another.
func (r *keyRing) full() bool { return len(r.recs) == KeysInMemory }

// put makes k, whose words it copies, the latest. When there is no room, the oldest is forgotten.
func (r *keyRing) put(k *Key) {
	name := len(r.names)
	r.names = append(append(r.names, k.Sender...), k.Key...)
	done := len(r.names)
	r.names = appendResult(r.names, k)
	rec := keyRec{
		n: k.N, hash: k.Hash, seq: k.Seq, at: k.At,
		name: uint32(name), mine: uint32(name + len(k.Sender)), done: uint32(done), ends: uint32(len(r.names)), //nolint:gosec // bounded by 64 frames
	}
	if !r.full() {
		if len(r.recs) == cap(r.recs) { // few sessions ever have all that they may
			r.recs = append(make([]keyRec, 0, len(r.recs)+keyStep), r.recs...)
			r.fps = append(make([]uint64, 0, len(r.fps)+keyStep), r.fps...)
		}
		r.fps, r.recs = append(r.fps, k.FP), append(r.recs, rec)
		return
	}
	r.fps[r.next], r.recs[r.next] = k.FP, rec
	r.next = (r.next + 1) % KeysInMemory
	r.shrink()
}

// hold makes an empty ring of keys, of which the latest count, without taking memory in steps.
func (r *keyRing) hold(keys []Key) {
	keys = keys[max(len(keys)-KeysInMemory, 0):]
	words := 0
	for i := range keys {
		words += len(keys[i].Sender) + len(keys[i].Key) + ringResult
	}
	*r = keyRing{fps: make([]uint64, 0, len(keys)), recs: make([]keyRec, 0, len(keys)), names: make([]byte, 0, words)}
}

// shrink forgets words whose keys are forgotten, when they are half of all. They are those in front of the oldest key's.
func (r *keyRing) shrink() {
	gone := r.recs[r.next].name
	if int(gone) <= len(r.names)/2 {
		return
	}
	r.names = r.names[:copy(r.names, r.names[gone:])]
	for i := range r.recs {
		k := &r.recs[i]
		k.name, k.mine, k.done, k.ends = k.name-gone, k.mine-gone, k.done-gone, k.ends-gone
	}
}

// latest returns where the n'th last key is, from 1.
func (r *keyRing) latest(n int) KeyAt {
	i := (r.next + len(r.recs) - n) % len(r.recs)
	return KeyAt{r.fps[i], r.recs[i].at, r.recs[i].seq}
}
