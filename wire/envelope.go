package wire

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"switchboard/wire/wirepb"
)

// ErrMail says that bytes are not an envelope of AppendEnvelope, or that mail cannot be written: it is of an unknown kind, or
// a frame in it holds text that is not UTF-8.
var ErrMail = errors.New("not mail of this version")

// LinkVersion numbers what AppendEnvelope writes: it grows with every change of a kind of mail, of its fields or of the words that
// numbers stand for. Two nodes speak the lower of theirs, as long as that is LinkOldest at least: so the nodes of a cluster can be
// replaced by those of the next version one after the other. What a version has brought is said below, and by Roll.Version what is written
// for one that lacks it.
const (
	LinkVersion = 13
	LinkOldest  = 8
)

// leftSince is the version that brought what a shard that is being split says of slots that have left it, in its answer to a census.
const leftSince = 10

// kinSince is the version that brought who else is erased with a customer, what an erasure does about identities that are claimed meanwhile, and which session
// goes on when two customers become one.
const kinSince = 11

// wrapUpsSince is the version that brought wrap-ups that sessions keep.
const wrapUpsSince = 12

// leftWrapUpsSince is the version that brought the wrap-ups among what a shard says of slots that have left it.
const leftWrapUpsSince = 13

// speaks tells whether the reader knows what a version brought. 10 brought why a grant was decided.
func (c *coder) speaks(version uint64) bool { return c.roll.Version == 0 || c.roll.Version >= version }

// kindsOf is the highest kind of mail of a version.
func kindsOf(version uint64) byte {
	switch version {
	case 8:
		return 27 // 9 brought parcels of slots that move
	case 9:
		return 29 // 10 brought the erasure of customers
	case 10:
		return 32 // 11 brought why of offers that nobody took
	case 11:
		return 33 // 12 brought wrap-ups that sessions keep
	}
	return 34
}

// What an envelope says of itself.
const (
	toSlot   = 1 << iota // its address is a slot
	toNode               // its address names a node
	withTerm             // it has a term
)

// The verbs by the number that stands for them between nodes.
var linkVerbs = [...]string{
	1: string(VerbSend),
	string(VerbReply), string(VerbAck), string(VerbDelta), string(VerbTyping), string(VerbNack),
	string(VerbPage), string(VerbResync), string(VerbGone), string(VerbOpen), string(VerbHistory), string(VerbClose),
	string(VerbRate), string(VerbLeave), string(VerbSubscribe), string(VerbAccept), string(VerbDecline), string(VerbPresence),
	string(VerbSlots), string(VerbWrapup), string(VerbTransfer), string(VerbRelease), string(VerbContext), string(VerbHello),
	string(VerbRefresh), string(VerbIdentify),
	string(VerbAttributes), string(VerbJoin), string(VerbTake), string(VerbAssign), string(VerbStats), string(VerbWatch),
	string(VerbIdentities), string(VerbLink),
	string(VerbConfigure), string(VerbDocument), string(VerbExplain),
	string(VerbInvite),
	string(VerbErase),
}

// AppendEnvelope appends e as it goes to another node, and notes in roll the principal it is the first to speak of. It does
// not allocate when dst has room, but for frames of the schema (PB, Streams) and principals that roll has not met. Whoever
// calls must send what was appended, in order, or Clear the roll. It fails with [ErrMail], also for mail that roll.Version has not; dst and
// roll are then as before.
func AppendEnvelope(dst []byte, e *Envelope, roll *Roll) ([]byte, error) {
	c := coder{out: dst, roll: roll}
	flags := byte(0)
	if e.To.Slot {
		flags |= toSlot
	}
	if e.To.Node != 0 {
		flags |= toNode
	}
	if e.Term != 0 {
		flags |= withTerm
	}
	kind := kindOf(e.Mail)
	if roll.Version != 0 && (kind > kindsOf(roll.Version) || roll.Version < 10 && erases(e.Mail)) {
		return dst, ErrMail
	}
	c.out = append(c.out, kind, flags)
	c.out = binary.AppendUvarint(c.out, e.To.ID)
	if e.To.Node != 0 {
		c.out = binary.LittleEndian.AppendUint64(c.out, e.To.Node)
	}
	if e.Term != 0 {
		c.out = binary.AppendUvarint(c.out, e.Term)
	}
	c.mail(e.Mail)
	if c.in.bad {
		return dst, ErrMail
	}
	return c.out, nil
}

// ParseEnvelope reads what AppendEnvelope wrote into e. Its strings and bytes alias b, which must not change any more; what
// takes no bytes reads as nil. It takes no more memory than 128 times len(b). It fails with [ErrMail]; the
// link is then of no use any more, since roll may have missed something.
func ParseEnvelope(b []byte, e *Envelope, roll *Roll) error {
	c := coder{reading: true, in: rowReader{b: b}, roll: roll}
	*e = Envelope{Mail: newMail(c.in.byte())}
	flags := c.in.byte()
	if e.Mail == nil || flags&^(toSlot|toNode|withTerm) != 0 {
		return ErrMail
	}
	e.To.Slot, e.To.ID = flags&toSlot != 0, c.in.uint()
	if flags&toNode != 0 {
		if b := c.in.next(8); b != nil {
			e.To.Node = binary.LittleEndian.Uint64(b)
		}
	}
	if flags&withTerm != 0 {
		e.Term = c.in.uint()
	}
	c.mail(e.Mail)
	if c.in.bad || len(c.in.b) > 0 {
		return ErrMail
	}
	return nil
}

// erases tells whether m is a command that came with version 10.
func erases(m Mail) bool {
	c, ok := m.(*Command)
	return ok && c.Verb == VerbErase
}

// kindOf returns the number of m's kind, 0 when it has none.
func kindOf(m Mail) byte {
	switch m.(type) {
	case *Command:
		return 1
	case *Frame:
		return 2
	case *Task:
		return 3
	case *Withdraw:
		return 4
	case *Confirm:
		return 5
	case *Declined:
		return 6
	case *Release:
		return 7
	case *Census:
		return 8
	case *CensusAnswer:
		return 9
	case *Grant:
		return 10
	case *Lost:
		return 11
	case *Rebind:
		return 12
	case *NoGrant:
		return 13
	case *Place:
		return 14
	case *Link:
		return 15
	case *Linked:
		return 16
	case *Unite:
		return 17
	case *United:
		return 18
	case *Settings:
		return 19
	case *SettingsKept:
		return 20
	case *Levels:
		return 21
	case *Resort:
		return 22
	case *Resorted:
		return 23
	case *Unbound:
		return 24
	case *Classify:
		return 25
	case *Seek:
		return 26
	case *Found:
		return 27
	case *Parcel:
		return 28
	case *ParcelKept:
		return 29
	case *Purge:
		return 30
	case *Purged:
		return 31
	case *Scrub:
		return 32
	case *Untaken:
		return 33
	case *WrapUpOver:
		return 34
	}
	return 0
}

// newMail returns empty mail of a kind, nil when there is none with that number.
func newMail(kind byte) Mail {
	switch kind {
	case 1:
		return new(Command)
	case 2:
		return new(Frame)
	case 3:
		return new(Task)
	case 4:
		return new(Withdraw)
	case 5:
		return new(Confirm)
	case 6:
		return new(Declined)
	case 7:
		return new(Release)
	case 8:
		return new(Census)
	case 9:
		return new(CensusAnswer)
	case 10:
		return new(Grant)
	case 11:
		return new(Lost)
	case 12:
		return new(Rebind)
	case 13:
		return new(NoGrant)
	case 14:
		return new(Place)
	case 15:
		return new(Link)
	case 16:
		return new(Linked)
	case 17:
		return new(Unite)
	case 18:
		return new(United)
	case 19:
		return new(Settings)
	case 20:
		return new(SettingsKept)
	case 21:
		return new(Levels)
	case 22:
		return new(Resort)
	case 23:
		return new(Resorted)
	case 24:
		return new(Unbound)
	case 25:
		return new(Classify)
	case 26:
		return new(Seek)
	case 27:
		return new(Found)
	case 28:
		return new(Parcel)
	case 29:
		return new(ParcelKept)
	case 30:
		return new(Purge)
	case 31:
		return new(Purged)
	case 32:
		return new(Scrub)
	case 33:
		return new(Untaken)
	case 34:
		return new(WrapUpOver)
	}
	return nil
}

// mail writes or reads m. It calls every kind by its name: through an interface the coder would be memory of its own.
func (c *coder) mail(m Mail) {
	g := c.begin()
	switch m := m.(type) {
	case *Command:
		c.command(m)
	case *Frame:
		c.frame(m)
	case *Task:
		c.task(m)
	case *Withdraw:
		c.withdraw(m)
	case *Confirm:
		c.confirm(m)
	case *Declined:
		c.declined(m)
	case *Release:
		c.release(m)
	case *Census:
		c.census(m)
	case *CensusAnswer:
		c.censusAnswer(m)
	case *Grant:
		c.grant(m)
	case *Lost:
		c.lost(m)
	case *Rebind:
		c.rebind(m)
	case *NoGrant:
		c.noGrant(m)
	case *Resort:
		c.resort(m)
	case *Resorted:
		c.resorted(m)
	case *Classify:
		c.classify(m)
	case *Seek:
		c.seek(m)
	case *Found:
		c.found(m)
	case *Place:
		c.place(m)
	case *Link:
		c.link(m)
	case *Linked:
		c.linked(m)
	case *Unite:
		c.unite(m)
	case *United:
		c.united(m)
	case *Settings:
		c.settings(m)
	case *SettingsKept:
		c.settingsKept(m)
	case *Levels:
		c.levels(m)
	case *Parcel:
		c.parcel(m)
	case *ParcelKept:
		c.parcelKept(m)
	case *Purge:
		c.purge(m)
	case *Purged:
		c.purged(m)
	case *Scrub:
		c.scrub(m)
	case *Untaken:
		c.untaken(m)
	case *WrapUpOver:
		c.wrapUpOver(m)
	case *Unbound:
		c.liveFields(&m.Live)
	default:
		c.in.bad = true
	}
	c.end(g)
}

func (c *coder) command(m *Command) {
	c.word((*string)(&m.Verb), linkVerbs[:])
	c.uint(&m.ID)
	c.conn(&m.Conn)
	c.text((*string)(&m.Session))
	c.text(&m.Key)
	c.word(&m.Type, rowTypes[:])
	c.bytes(&m.Body)
	c.uint(&m.ReplyTo)
	c.word(&m.Visibility, rowSights[:])
	c.text(&m.Stream)
	c.text(&m.Text)
	c.text(&m.Reason)
	c.uint(&m.AE)
	c.uint(&m.GE)
	c.uint(&m.Seq)
	c.uint(&m.Read)
	c.optional(&m.Ack)
	c.optional(&m.Upto)
	c.int(&m.DelayMS)
	c.bool(&m.On)
	c.bool(&m.Resume)
	if c.has(m.PB != nil) {
		if c.reading {
			m.PB = new(wirepb.ClientFrame)
		}
		c.message(m.PB)
	}
	c.external(&m.For)
	c.way(&m.Way)
	c.who(&m.Who) // last: what goes before may refuse the mail
}

func (c *coder) frame(m *Frame) {
	kind := uint32(m.Kind)
	c.uint32(&kind)
	m.Kind = FrameKind(kind) //nolint:gosec // checked below
	if kind > uint32(FrameMoved) {
		c.in.bad = true
	}
	c.word((*string)(&m.Verb), linkVerbs[:])
	c.bool(&m.Duplicate)
	c.bool(&m.Live)
	c.uint32(&m.Attempt)
	c.uint(&m.ID)
	c.text((*string)(&m.Session))
	c.session = m.Session
	if c.has(m.Entry != nil) {
		if c.reading {
			m.Entry = new(Entry)
		}
		c.entry(m.Entry)
	}
	c.entries(&m.Entries)
	c.streams(&m.Streams)
	c.text(&m.Stream)
	c.text(&m.Text)
	c.uint(&m.Seq)
	c.uint(&m.Epoch)
	c.uint(&m.Head)
	c.uint(&m.Prev)
	c.uint(&m.AE)
	c.int(&m.TS)
	if c.has(m.Err != nil) {
		if c.reading {
			m.Err = new(Error)
		}
		c.error(m.Err)
	}
	if c.has(m.PB != nil) {
		if c.reading {
			m.PB = new(wirepb.ServerFrame)
		}
		c.message(m.PB)
	}
}

func (c *coder) streams(v *[]*wirepb.Stream) {
	n := c.count(len(*v), 4)
	if c.reading && n > 0 {
		*v = make([]*wirepb.Stream, n)
	}
	for i := range n {
		if c.reading {
			(*v)[i] = new(wirepb.Stream)
		}
		c.message((*v)[i])
	}
}

func (c *coder) error(e *Error) {
	g := c.begin()
	c.text((*string)(&e.Slug))
	c.text(&e.Message)
	after := int64(e.RetryAfter)
	c.int(&after)
	e.RetryAfter = time.Duration(after)
	c.bytes(&e.Detail)
	c.end(g)
}

func (c *coder) task(m *Task) {
	c.text(&m.Tenant)
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
	c.text(&m.Queue)
	c.int(&m.EnqueuedAt)
	c.int32(&m.Priority)
	c.int(&m.BoostMS)
	c.uint(&m.Version)
	c.text(&m.Shop)
	c.text(&m.Tier)
	c.text(&m.Channel)
	c.bytes(&m.Attributes)
	c.texts(&m.Exclude)
	c.text(&m.Sticky)
	c.text(&m.To)
	c.text(&m.From)
	c.bool(&m.Force)
	c.bool(&m.HumansOnly)
	c.bool(&m.Requeue)
	c.bool(&m.Handed)
	c.bytes(&m.Summary)
	c.bool(&m.Classified)
	c.bool(&m.Present)
	c.uint32(&m.Ahead)
}

func (c *coder) withdraw(m *Withdraw) {
	c.text(&m.Tenant)
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
}

func (c *coder) confirm(m *Confirm) {
	c.text(&m.Tenant)
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
	c.text(&m.Worker)
	c.text(&m.Lease)
	c.uint(&m.AE)
}

func (c *coder) declined(m *Declined) {
	c.text(&m.Tenant)
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
	c.text(&m.Worker)
}

func (c *coder) release(m *Release) {
	c.text(&m.Tenant)
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
	c.text(&m.Worker)
	c.uint(&m.AE)
	c.int(&m.WrapUpMS)
	if c.reading || c.speaks(wrapUpsSince) {
		c.bool(&m.Kept)
	}
}

func (c *coder) wrapUpOver(m *WrapUpOver) {
	c.text((*string)(&m.Session))
	c.uint(&m.Pool)
	c.text(&m.Worker)
	c.uint(&m.AE)
}

func (c *coder) live(m *Live) {
	g := c.begin()
	c.liveFields(m)
	c.end(g)
}

func (c *coder) liveFields(m *Live) {
	c.task(&m.Task)
	c.bool(&m.Assigned)
	c.text(&m.Worker)
	c.word((*string)(&m.Kind), rowOrigins[:])
	c.text(&m.Lease)
	c.text(&m.Offer)
	c.uint(&m.AE)
}

func (c *coder) census(m *Census) {
	c.text(&m.Tenant)
	c.uint(&m.Pool)
	c.uint32(&m.Shard)
	c.address(&m.Reply)
}

func (c *coder) censusAnswer(m *CensusAnswer) {
	c.text(&m.Tenant)
	c.uint(&m.Pool)
	c.uint32(&m.Shard)
	n := c.count(len(m.Live), 4)
	if c.reading && n > 0 {
		m.Live = make([]Live, n)
	}
	for i := range n {
		c.live(&m.Live[i])
	}
	if !c.reading && !c.speaks(leftSince) {
		return
	}
	c.uint(&m.Shape)
	left := m.Left
	if !c.reading && !c.speaks(leftWrapUpsSince) { // a wrap-up would be somebody who waits
		left = slices.DeleteFunc(slices.Clone(left), func(l Left) bool { return l.LeftMS > 0 })
	}
	n = c.count(len(left), 8)
	if c.reading && n > 0 {
		m.Left = make([]Left, n)
		left = m.Left
	}
	for i := range n {
		c.left(&left[i])
	}
	if !c.reading && !c.speaks(wrapUpsSince) {
		return
	}
	n = c.count(len(m.WrapUps), 8)
	if c.reading && n > 0 {
		m.WrapUps = make([]WrapUp, n)
	}
	for i := range n {
		g := c.begin()
		c.live(&m.WrapUps[i].Live)
		c.int(&m.WrapUps[i].LeftMS)
		c.end(g)
	}
}

func (c *coder) left(m *Left) {
	g := c.begin()
	c.live(&m.Live)
	c.uint(&m.To)
	c.uint(&m.Shape)
	if c.reading || c.speaks(leftWrapUpsSince) {
		c.int(&m.LeftMS)
	}
	c.end(g)
}

func (c *coder) levels(m *Levels) {
	c.text(&m.Tenant)
	c.uint32(&m.Shard)
	c.int(&m.TS)
	c.bytes(&m.Report)
}

func (c *coder) grant(m *Grant) {
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
	c.uint(&m.Pool)
	c.text(&m.Queue)
	c.text(&m.Worker)
	c.text(&m.Sub)
	c.text(&m.Name)
	c.word((*string)(&m.Kind), rowOrigins[:])
	c.conn(&m.Conn)
	c.text(&m.Lease)
	c.uint32(&m.Window)
	c.text(&m.Reason)
	c.text(&m.Offer)
	c.uint(&m.Request)
	if c.reading || c.speaks(10) { // a field that is not there takes no bytes
		c.bytes(&m.Why)
	}
}

func (c *coder) lost(m *Lost) {
	c.text((*string)(&m.Session))
	c.uint(&m.Pool)
	c.text(&m.Worker)
	c.uint(&m.AE)
}

func (c *coder) rebind(m *Rebind) {
	c.text((*string)(&m.Session))
	c.uint(&m.Pool)
	c.text(&m.Worker)
	c.uint(&m.AE)
	c.conn(&m.Conn)
	c.text(&m.Lease)
	c.uint32(&m.Window)
	c.bool(&m.Fresh)
	c.text(&m.Reason)
}

func (c *coder) resort(m *Resort) {
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
	c.uint(&m.Pool)
	c.text(&m.Action)
	c.text(&m.Step)
	c.int(&m.OpensAt)
}

func (c *coder) resorted(m *Resorted) {
	c.text(&m.Tenant)
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
}

func (c *coder) classify(m *Classify) {
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
	c.uint(&m.Pool)
	c.text(&m.Queue)
	c.text(&m.Worker)
	c.conn(&m.Conn)
	c.int(&m.Until)
	c.bytes(&m.Default)
}

func (c *coder) seek(m *Seek) {
	c.text(&m.Tenant)
	c.text((*string)(&m.Session))
	c.uint(&m.N)
	c.text(&m.Worker)
}

func (c *coder) found(m *Found) {
	c.text((*string)(&m.Session))
	c.uint(&m.N)
	c.text(&m.Worker)
	c.conn(&m.Conn)
}

func (c *coder) noGrant(m *NoGrant) {
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
	c.uint(&m.Pool)
	c.text(&m.Why)
}

func (c *coder) untaken(m *Untaken) {
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
	c.uint(&m.Pool)
	c.uint(&m.N)
	c.bytes(&m.Why)
}

func (c *coder) place(m *Place) {
	c.text((*string)(&m.Session))
	c.uint(&m.Ticket)
	c.text(&m.Queue)
	c.uint32(&m.Position)
	c.int(&m.ETAMS[0])
	c.int(&m.ETAMS[1])
	c.int(&m.OpensAt)
}
