package ws

import "encoding/binary"

// mask applies a masking key to b where it lies; twice is nothing [RFC 6455 5.3]. The key is its four bytes read as
// little-endian, so its lowest byte meets b[0].
//
// Eight bytes at a time, four times a round: loads and stores through encoding/binary are single instructions, and a
// longer round saves the loop's own cost on bodies of some hundred bytes.
func mask(b []byte, key uint32) {
	k := uint64(key)<<32 | uint64(key)
	le := binary.LittleEndian
	for len(b) >= 32 {
		le.PutUint64(b, le.Uint64(b)^k)
		le.PutUint64(b[8:], le.Uint64(b[8:])^k)
		le.PutUint64(b[16:], le.Uint64(b[16:])^k)
		le.PutUint64(b[24:], le.Uint64(b[24:])^k)
		b = b[32:]
	}
	for len(b) >= 8 {
		le.PutUint64(b, le.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(k >> (8 * i))
	}
}
