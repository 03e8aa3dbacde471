package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// A list is
//
//	magic | packs u32 | ( size u16, name )… | ( sum | pack u32 | offset u64 | size u32 | raw u32 | rows u32 )…
//
// big-endian, with the chunks of a shard in order.
const (
	listMagic = "SWBLIST1"
	packMagic = "SWBPACK1"
	chunkSize = sha256.Size + 4 + 8 + 4 + 4 + 4
	listMax   = 1 << 32
	chunkMax  = 64 << 20 // bytes of one chunk: a row may be large
)

// chunk is where a piece of a shard is.
type chunk struct {
	sum    [sha256.Size]byte // of the rows
	pack   uint32            // the index of its pack's name
	offset uint64            // there
	size   uint32            // compressed
	raw    uint32
	rows   uint32
}

// list is a shard's chunks.
type list struct {
	packs  []string
	chunks []chunk
}

// name returns the index of a pack's name.
func (l *list) name(pack string) uint32 {
	for i, p := range slices.Backward(l.packs) {
		if p == pack {
			return uint32(i) //nolint:gosec // few
		}
	}
	l.packs = append(l.packs, pack)
	return uint32(len(l.packs) - 1) //nolint:gosec // few
}

func (l *list) encode() []byte {
	b := []byte(listMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.packs))) //nolint:gosec // few
	for _, p := range l.packs {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p))) //nolint:gosec // our own names
		b = append(b, p...)
	}
	for i := range l.chunks {
		c := &l.chunks[i]
		b = append(b, c.sum[:]...)
		b = binary.BigEndian.AppendUint32(b, c.pack)
		b = binary.BigEndian.AppendUint64(b, c.offset)
		b = binary.BigEndian.AppendUint32(b, c.size)
		b = binary.BigEndian.AppendUint32(b, c.raw)
		b = binary.BigEndian.AppendUint32(b, c.rows)
	}
	return b
}

func parseList(b []byte) (*list, error) {
	bad := func(what string) (*list, error) { return nil, fmt.Errorf("a list of chunks %s: %w", what, ErrDamaged) }
	if len(b) < len(listMagic)+4 || string(b[:len(listMagic)]) != listMagic {
		return bad("is none")
	}
	l := &list{}
	n := binary.BigEndian.Uint32(b[len(listMagic):])
	b = b[len(listMagic)+4:]
	for range n {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return bad("ends within a name")
		}
		size := int(binary.BigEndian.Uint16(b))
		name := string(b[2 : 2+size])
		if !plain(name) {
			return bad(fmt.Sprintf("names the pack %q", name))
		}
		l.packs = append(l.packs, name)
		b = b[2+size:]
	}
	if len(b)%chunkSize != 0 {
		return bad("ends within a chunk")
	}
	l.chunks = make([]chunk, 0, len(b)/chunkSize)
	for ; len(b) > 0; b = b[chunkSize:] {
		var c chunk
		f := b[copy(c.sum[:], b):]
		c.pack, c.offset = binary.BigEndian.Uint32(f), binary.BigEndian.Uint64(f[4:])
		c.size, c.raw, c.rows = binary.BigEndian.Uint32(f[12:]), binary.BigEndian.Uint32(f[16:]), binary.BigEndian.Uint32(f[20:])
		if int(c.pack) >= len(l.packs) || c.raw > chunkMax || c.size > chunkMax || c.offset > 1<<62 {
			return bad("has a chunk that cannot be")
		}
		l.chunks = append(l.chunks, c)
	}
	return l, nil
}

// plain tells whether a name stays in its folder.
func plain(name string) bool {
	if name == "" || name[0] == '.' || len(name) > 200 {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return true
}
