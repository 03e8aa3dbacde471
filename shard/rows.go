package shard

import (
	"encoding/binary"

	"switchboard/wire"
)

// The first byte of a row's key is its kind. They are part of the data directory's format.
const (
	rowState    = 's' // s <session> → the session's durable fields
	rowEntry    = 'e' // e <session> <seq be64> → marks, a key that rides on it, and an entry
	rowKey      = 'k' // k <session> <fingerprint be64> → the result of an idempotency key that rides on no entry
	rowKeyList  = 'o' // o <session> <n be64> → where the keys up to the n'th are, from the list before on
	rowLive     = 'l' // l <session> → it waits or is owned, or these wrap-ups run after it
	rowCustomer = 'c' // c <tenant> 0 <customer>
	rowIdentity = 'i' // i <tenant> 0 <channel> 0 <external id>
	rowOwes     = 'm' // m <tenant> 0 <customer> → nothing; he has not become another quite
	rowDocument = 'd' // d <tenant> 0 <version be64> → who made it when, and the document
	rowLevel    = 'v' // v <session> → what its service levels had open when it was let go
	rowWhy      = 'w' // w <session> <ticket modulo how many are kept, be64; from 1<<32 offers that nobody took> → how many, until when, and why
	rowHook     = 'h' // h <session> <ticket be64> → a call of a tenant's hook that nobody has taken yet
	rowGuard    = 'q' // q <tenant> 0 <customer> → the erasure because of which nobody gives him external ids here
	rowStanding = 'p' // p → the shape of the placement by which it was opened, and what is added to term and epoch
	rowAway     = 'g' // g <slot be16> → by which shape the slot has left, for which shard, whatever rows of it are still here
	rowFloor    = 'f' // f → the number up to which the feed cannot be told any more, as what it led to has left, and the shape for which it was cleaned
	rowFeed     = 'x' // x <lsn be64 of the first> → a line <session> <seq be64> per entry of a turn
)

// feedLine is the length of one line of a feed row: a session id and a seq.
const feedLine = len("s_0000000000000000") + 8

func sessionKey(dst []byte, kind byte, id wire.SessionID) []byte {
	return append(append(dst[:0], kind), id...)
}

func numberedKey(dst []byte, kind byte, id wire.SessionID, n uint64) []byte {
	return binary.BigEndian.AppendUint64(sessionKey(dst, kind, id), n)
}

func customerKey(dst []byte, tenant, customer string) []byte {
	dst = append(append(dst[:0], rowCustomer), tenant...)
	return append(append(dst, 0), customer...)
}

func owesKey(dst []byte, tenant, customer string) []byte {
	dst = customerKey(dst, tenant, customer)
	dst[0] = rowOwes
	return dst
}

func identityKey(dst []byte, k identityID) []byte {
	dst = append(append(dst[:0], rowIdentity), k.tenant...)
	dst = append(append(dst, 0), k.channel...)
	return append(append(dst, 0), k.external...)
}

func feedKey(dst []byte, lsn uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst[:0], rowFeed), lsn)
}

// lastNumber returns the number at the end of a numbered key.
func lastNumber(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// after returns the first key behind all that begin with prefix, whose last byte is not 0xff.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	end[len(end)-1]++
	return end
}
