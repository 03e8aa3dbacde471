package wire

import (
	"bytes"
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/proto"
)

// coder writes fields, or reads them: every kind of mail lists its fields once, and the same list serves both
// directions, so they cannot disagree. A group of fields begins with a mask of those that are not zero; only these follow.
type coder struct {
	// What is written, or what is still to be read.
	out []byte
	in  rowReader

	reading bool
	roll    *Roll
	session SessionID // of the frame around an entry

	// Of the group at hand.
	mask, bit uint32
	at        int // where its mask stands in out
}

type group struct {
	mask, bit uint32
	at        int
}

// begin opens a group of at most 32 fields, and returns the one around it for end.
func (c *coder) begin() group {
	g := group{c.mask, c.bit, c.at}
	c.mask, c.bit, c.at = 0, 1, len(c.out)
	if !c.reading {
		c.out = append(c.out, 0, 0, 0, 0)
	} else if b := c.in.next(4); b != nil {
		c.mask = binary.LittleEndian.Uint32(b)
	}
	return g
}

func (c *coder) end(around group) {
	switch {
	case !c.reading:
		binary.LittleEndian.PutUint32(c.out[c.at:], c.mask)
	case c.bit != 0 && c.mask&^(c.bit-1) != 0:
		c.in.bad = true // fields of a newer version
	}
	c.mask, c.bit, c.at = around.mask, around.bit, around.at
}

// has tells whether the next field of the group stands there; when writing, that is for set to say.
func (c *coder) has(set bool) bool {
	bit := c.bit
	c.bit <<= 1
	if c.reading {
		return c.mask&bit != 0 && !c.in.bad
	}
	if set {
		c.mask |= bit
	}
	return set
}

func (c *coder) bool(v *bool) {
	if set := c.has(*v); c.reading { // what is written may be read by others meanwhile
		*v = set
	}
}

func (c *coder) uint(v *uint64) {
	if !c.has(*v != 0) {
		return
	}
	if c.reading {
		*v = c.in.uint()
		return
	}
	c.out = binary.AppendUvarint(c.out, *v)
}

func (c *coder) uint32(v *uint32) {
	w := uint64(*v)
	c.uint(&w)
	if !c.reading {
		return
	}
	if w > math.MaxUint32 {
		c.in.bad = true
	}
	*v = uint32(w) //nolint:gosec // just checked
}

// fixed is uint for numbers that use all their bits.
func (c *coder) fixed(v *uint64) {
	if !c.has(*v != 0) {
		return
	}
	if !c.reading {
		c.out = binary.LittleEndian.AppendUint64(c.out, *v)
	} else if b := c.in.next(8); b != nil {
		*v = binary.LittleEndian.Uint64(b)
	}
}

func (c *coder) int(v *int64) {
	if !c.has(*v != 0) {
		return
	}
	if c.reading {
		*v = c.in.int()
		return
	}
	c.out = binary.AppendVarint(c.out, *v)
}

func (c *coder) int32(v *int32) {
	w := int64(*v)
	c.int(&w)
	if !c.reading {
		return
	}
	if w < math.MinInt32 || w > math.MaxInt32 {
		c.in.bad = true
	}
	*v = int32(w) //nolint:gosec // just checked
}

func (c *coder) float(v *float64) {
	w := math.Float64bits(*v)
	c.fixed(&w)
	if c.reading {
		*v = math.Float64frombits(w)
	}
}

func (c *coder) text(v *string) {
	if !c.has(*v != "") {
		return
	}
	if c.reading {
		*v = c.in.text()
		return
	}
	c.out = appendText(c.out, *v)
}

// word is text for what is most often one of words.
func (c *coder) word(v *string, words []string) {
	if !c.has(*v != "") {
		return
	}
	if c.reading {
		*v = c.in.word(words)
		return
	}
	c.out = appendWord(c.out, words, *v)
}

func (c *coder) bytes(v *[]byte) {
	if !c.has(len(*v) > 0) {
		return
	}
	if c.reading {
		*v = c.in.take()
		return
	}
	c.out = binary.AppendUvarint(c.out, uint64(len(*v)))
	c.out = append(c.out, *v...)
}

// count is the length of a list whose items take at least least bytes each. What is read is never more than could be there.
func (c *coder) count(n, least int) int {
	if !c.has(n > 0) {
		return 0
	}
	if !c.reading {
		c.out = binary.AppendUvarint(c.out, uint64(n))
		return n
	}
	m := c.in.uint()
	if m > uint64(len(c.in.b)/least) {
		c.in.bad = true
		return 0
	}
	return int(m) //nolint:gosec // at most len
}

func (c *coder) texts(v *[]string) {
	n := c.count(len(*v), 1)
	if c.reading && n > 0 {
		*v = make([]string, n)
	}
	for i := range n {
		if c.reading {
			(*v)[i] = c.in.text()
		} else {
			c.out = appendText(c.out, (*v)[i])
		}
	}
}

func (c *coder) optional(v *Optional) {
	if !c.has(v.Set) {
		return
	}
	if c.reading {
		*v = Some(c.in.uint())
		return
	}
	c.out = binary.AppendUvarint(c.out, v.Value)
}

func (c *coder) conn(v *Conn) {
	c.fixed(&v.Node)
	c.uint(&v.ID)
}

func (c *coder) address(v *Address) {
	c.fixed(&v.Node)
	c.uint(&v.ID)
	c.bool(&v.Slot)
}

// open leaves room for the length of what follows until close, and returns its place.
func (c *coder) open() int {
	c.out = append(c.out, 0, 0, 0, 0)
	return len(c.out)
}

func (c *coder) close(at int) {
	binary.LittleEndian.PutUint32(c.out[at-4:], uint32(len(c.out)-at)) //nolint:gosec // mail is far below 4 GiB
}

// entry stands as its row, and its session only when it is another than the frame's.
func (c *coder) entry(v *Entry) {
	if c.reading {
		if v.Session = c.session; c.in.byte() != 0 {
			v.Session = SessionID(c.in.text())
		}
		if b := c.in.inner(); ParseEntry(b, v) != nil {
			c.in.bad = true
		}
		return
	}
	if v.Session == c.session {
		c.out = append(c.out, 0)
	} else {
		c.out = appendText(append(c.out, 1), string(v.Session))
	}
	at := c.open()
	c.out = AppendEntry(c.out, v)
	c.close(at)
}

// entryLeast is what the shortest entry takes: the mark, the length, and a row's fields of a byte or two each.
const entryLeast = 1 + 4 + 14

func (c *coder) entries(v *[]*Entry) {
	n := c.count(len(*v), entryLeast)
	if c.reading && n > 0 {
		*v = make([]*Entry, n)
	}
	for i := range n {
		if c.reading {
			(*v)[i] = new(Entry)
		}
		c.entry((*v)[i])
	}
}

// message stands as Protobuf. Read, m is empty and gets a copy.
func (c *coder) message(m proto.Message) {
	if c.reading {
		if b := c.in.inner(); c.in.bad || proto.Unmarshal(b, m) != nil {
			c.in.bad = true
		}
		return
	}
	at := c.open()
	b, err := proto.MarshalOptions{}.MarshalAppend(c.out, m)
	if err != nil {
		c.in.bad = true
		return
	}
	c.out = b
	c.close(at)
}

// who stands as its number in the roll, and in full when the roll has it not.
func (c *coder) who(v **Principal) {
	if !c.has(*v != nil) {
		return
	}
	if c.reading {
		n := c.in.uint()
		if n&1 == 0 {
			*v = c.roll.at(n >> 1)
			c.in.bad = c.in.bad || *v == nil
			return
		}
		// The roll keeps it for long, so it has bytes of its own.
		d := coder{reading: true, in: rowReader{b: bytes.Clone(c.in.inner())}}
		p := new(Principal)
		d.principal(p)
		if c.in.bad || d.in.bad || len(d.in.b) > 0 || !c.roll.set(n>>1, p) {
			c.in.bad = true
			return
		}
		*v = p
		return
	}
	if c.in.bad {
		return // the mail is refused: the roll must not hold what is never sent
	}
	n, known := c.roll.number(*v)
	if known {
		c.out = binary.AppendUvarint(c.out, n<<1)
		return
	}
	c.out = binary.AppendUvarint(c.out, n<<1|1)
	at := c.open()
	c.principal(*v)
	c.close(at)
}

func (c *coder) principal(p *Principal) {
	g := c.begin()
	c.text(&p.Tenant)
	c.word((*string)(&p.Role), rowRoles[:])
	c.text(&p.Sub)
	c.text(&p.Name)
	c.text(&p.Shop)
	c.text(&p.Tier)
	c.word((*string)(&p.Kind), rowOrigins[:])
	c.text(&p.Worker)
	a := p.Able()
	c.texts(&a.Queues)
	c.skills(&a.Skills)
	c.float(&a.Rating)
	c.bytes(&a.Attributes)
	if c.reading && (a.Queues != nil || a.Skills != nil || a.Rating != 0 || a.Attributes != nil) {
		read := a // only who reads pays for it
		p.Ability = &read
	}
	c.end(g)
}

func (c *coder) skills(v *map[string]float64) {
	n := c.count(len(*v), 1+8)
	if !c.reading {
		for name, level := range *v {
			c.out = appendText(c.out, name)
			c.out = binary.LittleEndian.AppendUint64(c.out, math.Float64bits(level))
		}
		return
	}
	if n > 0 {
		*v = make(map[string]float64, n)
	}
	for range n {
		name := c.in.text()
		b := c.in.next(8)
		if b == nil {
			return
		}
		(*v)[name] = math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
}

// next takes n bytes, or none at all.
func (r *rowReader) next(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// inner takes what open and close of a coder stand around.
func (r *rowReader) inner() []byte {
	b := r.next(4)
	if b == nil {
		return nil
	}
	return r.next(int(binary.LittleEndian.Uint32(b)))
}

// rollMax is how many principals a roll holds.
const rollMax = 1 << 14

// Roll numbers the principals that one direction of a link has spoken of, so that each is sent once. The writer's and the
// reader's roll begin empty together and then see the same mail in the same order. It holds at most 16,384; then one that was
// not used of late gives its number away. A Roll belongs to one goroutine, or to whoever holds its lock. The zero Roll is empty.
type Roll struct {
	// Version is the [LinkVersion] that the other side speaks; 0 means this one's.
	Version uint64

	max     int // 0 means rollMax
	numbers map[*Principal]uint64
	seats   []seat
	hand    int
}

type seat struct {
	who  *Principal
	used bool
}

// Clear empties the writer's roll, as when mail was written that never left: whoever is spoken of next is sent in full. The
// reader's roll may keep what it has.
func (r *Roll) Clear() {
	clear(r.numbers)
	clear(r.seats)
	r.seats, r.hand = r.seats[:0], 0
}

// number returns the number of p, and whether the reader knows it already.
func (r *Roll) number(p *Principal) (n uint64, known bool) {
	if n, known = r.numbers[p]; known {
		r.seats[n].used = true
		return n, true
	}
	limit := rollMax
	if r.max > 0 {
		limit = r.max
	}
	if r.numbers == nil {
		r.numbers = map[*Principal]uint64{}
	}
	if len(r.seats) < limit {
		r.seats = append(r.seats, seat{who: p})
		n = uint64(len(r.seats) - 1)
		r.numbers[p] = n
		return n, false
	}
	for r.seats[r.hand].used {
		r.seats[r.hand].used = false
		r.hand = (r.hand + 1) % limit
	}
	delete(r.numbers, r.seats[r.hand].who)
	r.seats[r.hand] = seat{who: p}
	n = uint64(r.hand) //nolint:gosec // an index
	r.numbers[p] = n
	r.hand = (r.hand + 1) % limit
	return n, false
}

// at returns the principal that the writer has given the number n, or nil.
func (r *Roll) at(n uint64) *Principal {
	if n >= uint64(len(r.seats)) {
		return nil
	}
	return r.seats[n].who
}

// set notes that the writer has given n to p, and tells whether it could have: numbers are given without holes.
func (r *Roll) set(n uint64, p *Principal) bool {
	if n > uint64(len(r.seats)) || n >= rollMax {
		return false
	}
	if n == uint64(len(r.seats)) {
		r.seats = append(r.seats, seat{})
	}
	r.seats[n].who = p
	return true
}
