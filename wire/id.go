package wire

// MaxID is the longest id in bytes [SW-1].
const MaxID = 64

// ValidID tells whether s is an id: 1 to [MaxID] bytes of [A-Za-z0-9_.:-].
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > MaxID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// Position is a place in a session's log [SW-1]: the last seq seen, and the epoch it was written under.
type Position struct {
	Epoch uint64
	Seq   uint64
}

// Slots is the number of slots of a placement group. It never changes: ids and stored rows name slots.
const Slots = 4096

// Groups is how many placement groups can be told apart. Group 0 is that of everybody who has none of his own.
const Groups = 256

// Nowhere is a group that no placement ever has: keys of a tenant of whom it is not known where he lives are there.
const Nowhere = Groups - 1

// Slot is one of the [Slots] parts of a placement group's key space, with the group: group * Slots + number. The shard map says which
// shard has it.
type Slot uint32

// ShardGroup is a group that no placement ever has either: its slot n is the address of shard n, whatever slots that has.
const ShardGroup = Groups - 2

// ShardSlot returns the address of a shard.
func ShardSlot(shard int) Slot { return At(ShardGroup, shard) }

// At returns slot n of a group; n is below [Slots].
func At(group uint8, n int) Slot { return Slot(group)*Slots + Slot(n) } //nolint:gosec // below Slots

// Group returns the placement group of the slot.
func (s Slot) Group() uint8 { return uint8(s / Slots) } //nolint:gosec // a group

// Number returns the slot's number within its group.
func (s Slot) Number() int { return int(s % Slots) }

// SessionID names a session. It carries the placement group and the slot in which the session was born, never
// a shard, so that it stays true when shards split and move: "s_" and 16 characters of Crockford's base32, the
// first four of which are group (8 bits) and slot (12 bits).
type SessionID string

const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

const sessionIDLen = 2 + 16

// NewSessionID builds the id of a session of group and of the slot of that number. The low 60 bits of n tell sessions of one slot
// apart; whoever calls makes sure that n is new there.
func NewSessionID(group uint8, slot Slot, n uint64) SessionID {
	head := uint32(group)<<12 | uint32(slot)%Slots
	var b [sessionIDLen]byte
	b[0], b[1] = 's', '_'
	for i := 5; i >= 2; i-- {
		b[i] = crockford[head&31]
		head >>= 5
	}
	for i := sessionIDLen - 1; i >= 6; i-- {
		b[i] = crockford[n&31]
		n >>= 5
	}
	return SessionID(b[:])
}

// Place returns the group that id carries, and its slot with the group; ok is false when id is not a session id.
func (id SessionID) Place() (group uint8, slot Slot, ok bool) {
	if len(id) != sessionIDLen || id[0] != 's' || id[1] != '_' {
		return 0, 0, false
	}
	var head uint32
	var bad byte
	for i := 2; i < 6; i++ {
		v := digits[id[i]]
		head, bad = head<<5|uint32(v&31), bad|v
	}
	for i := 6; i < sessionIDLen; i++ {
		bad |= digits[id[i]]
	}
	if bad > 31 {
		return 0, 0, false
	}
	return uint8(head >> 12), Slot(head), true
}

// digits has the value of each lower-case Crockford digit, and 255 for what is none.
var digits = func() (d [256]byte) {
	for i := range d {
		d[i] = 255
	}
	for i := range crockford {
		d[crockford[i]] = byte(i)
	}
	return d
}()
