package session

import (
	"slices"

	"switchboard/wire"
)

// FactKind names a fact.
type FactKind uint8

// The facts of a session. Each is in the log before anybody hears of it.
const (
	Opened      FactKind = iota + 1 // the session exists: the fields of Birth
	Said                            // Entry was appended
	Enqueued                        // it waits under Ticket since At; N says what changed with it
	Granted                         // Owner has it under ae N; since At, when nobody had waited for one
	Failed                          // the delivery of Seq failed Attempt times; the next is at At
	Freed                           // nobody owns it
	Ended                           // it is closed at At
	Reopened                        // it is not closed any more
	Known                           // Key is remembered
	Patched                         // the context document is Doc at version N
	Requested                       // Transfer is pending, or none is
	Attaching                       // it was opened on channel Name too
	PoolSeen                        // N is the pool's number
	Acked                           // the owner's cursor is at Seq
	EpochBegan                      // entries from Seq on are of epoch N; the owner has it without a lease, under another AE
	ResortSeen                      // the last resort was told under Ticket
	Joined                          // Guest is there
	Left                            // the guest N is not any more
	Attributed                      // the attributes are Doc at version N; Ticket is the task's from now on
	Invited                         // Invite holds
	Uninvited                       // that of worker Name does not any more
	Stumbled                        // N turns of its bot have failed in a row
	Adopted                         // its customer has become Name
	WrapUpBegan                     // Owner, who had it under ae N from the queue Name, is busy with it until At
	WrapUpEnded                     // that after the assignment N does not any more
	Erased                          // its customer was erased at At, and Name stands for him
)

// Fact is one thing that happened: the union of what the kinds carry. A message makes three of them, each of which is written, applied and
// cleared, so what only rare kinds carry is pointed to.
type Fact struct {
	Kind      FactKind
	HumanOnly bool
	Requeued  bool
	Handed    bool
	// Classified says, of Attributed, that routing need not ask.
	Classified bool
	// Followed says, of Enqueued, that a connection of the customer follows the session.
	Followed bool
	Attempt  uint32
	At       int64
	Seq      uint64
	N        uint64
	Ticket   uint64
	Entry    *wire.Entry
	Key      *Key
	Owner    *Owner
	Birth    *Birth
	Transfer *Transfer // of Requested; that of ticket 0 is none
	Guest    *Guest
	Invite   *Invite
	Name     string
	Exclude  string
	Doc      []byte
}

// Birth is what a session begins with.
type Birth struct {
	ID         wire.SessionID
	Tenant     string
	Shop       string
	Queue      string
	Channel    string
	Tier       string
	Customer   wire.Author
	Attributes []byte
	Epoch      uint64
	At         int64 // Unix ms
}

// Apply changes the durable part of s by one fact. Whoever replays the log calls it alone.
func (s *State) Apply(f *Fact) {
	switch f.Kind {
	case Opened:
		b := f.Birth
		s.ID, s.Tenant, s.Shop, s.Queue, s.Tier, s.Customer, s.Attributes = b.ID, b.Tenant, b.Shop, b.Queue, b.Tier, b.Customer, b.Attributes
		s.OpenedAt = b.At
		s.Channels, s.Epochs, s.Phase = []string{b.Channel}, []EpochStart{{b.Epoch, 1}}, New
		s.AE = numbersFrom(b.Epoch)
	case Said:
		s.said(f.Entry)
	case Enqueued:
		s.Classified = s.Classified && (s.Phase == Queued || f.Requeued) // what comes anew may be about something else
		switch {
		case f.Ticket == s.Ticket: // its queue was moved
		case s.Phase == Queued && s.Queue == f.Name:
			s.goesOn(f.Ticket)
		default:
			s.Resort = 0
		}
		s.Phase, s.Queue, s.Ticket, s.EnqueuedAt = Queued, f.Name, f.Ticket, f.At
		s.HumanOnly, s.Requeued, s.Handed, s.Exclude = f.HumanOnly, f.Requeued, f.Handed, f.Exclude
		s.Followed = f.Followed
	case Granted:
		s.Phase, s.Owner, s.AE, s.LastWorker, s.Transfer = Assigned, *f.Owner, f.N, f.Owner.Worker, Transfer{}
		s.HumanOnly, s.Exclude = f.HumanOnly, ""
		if f.At != 0 {
			s.EnqueuedAt = f.At
		}
	case Failed:
		s.FailSeq, s.Attempt, s.HoldUntil = f.Seq, f.Attempt, f.At
		s.Cursor = min(s.Cursor, f.Seq-1)
	case Freed:
		s.free()
	case Ended:
		s.free()
		s.Phase, s.ClosedAt, s.HumanOnly, s.Exclude, s.EnqueuedAt, s.Requeued, s.Handed = Closed, f.At, false, "", 0, false, false
		s.FailSeq, s.Attempt, s.Cursor = 0, 0, max(s.Cursor, s.Said)
	case Reopened:
		s.Phase, s.ClosedAt = New, 0
	case Known:
		s.remember(f.Key)
	case Patched:
		s.ContextV, s.Context = f.N, f.Doc
	case Requested:
		s.Transfer, s.Ticket = *f.Transfer, max(s.Ticket, f.Transfer.Ticket)
	case Attaching:
		s.Channels = append(s.Channels, f.Name)
	case PoolSeen:
		s.Pool = f.N
		s.seekAnew()
	case Acked:
		s.acked(f.Seq)
	case Joined:
		s.Guests = append(s.Guests, *f.Guest)
	case Left:
		s.left(f.N)
	case Invited:
		s.uninvited(f.Invite.Worker)
		s.Invites = append(s.Invites, *f.Invite)
	case Uninvited:
		s.uninvited(f.Name)
	case Attributed:
		s.goesOn(f.Ticket)
		s.AttributesV, s.Attributes, s.Ticket = f.N, f.Doc, max(s.Ticket, f.Ticket)
		s.Classified = s.Classified || f.Classified
	case Stumbled:
		s.Stumbles = uint32(f.N) //nolint:gosec // counted one by one
	case Adopted:
		s.Holder = f.Name
	case WrapUpBegan:
		s.wrapUpBegan(f)
	case WrapUpEnded:
		s.wrapUpEnded(f.N)
	case Erased:
		s.erased(f.At, f.Name)
	case ResortSeen:
		s.Resort = f.Ticket
	case EpochBegan:
		s.Epochs = append(s.Epochs, EpochStart{f.N, f.Seq})
		s.AE, s.AttributesV = max(s.AE, numbersFrom(f.N)), max(s.AttributesV, numbersFrom(f.N))
		if !s.Owner.taken() { // who took it ends with his connection
			s.Owner.Lease, s.Owner.Offer = "", ""
		}
	}
}

// numbersFrom returns what the numbers that a session gives out in an epoch are above: its assignments' and its attributes' versions. What was
// given out before, and is not in the log any more, is none of them. The first epoch's begin at 1.
func numbersFrom(epoch uint64) uint64 {
	if epoch <= 1 {
		return 0
	}
	return epoch << 20
}

func (s *State) said(e *wire.Entry) {
	s.Head = e.Seq
	if e.Visibility != wire.Staff {
		s.Public = e.Seq
	}
	if e.Origin == wire.OriginCustomer {
		s.Said = e.Seq
	}
	s.tail.add(e)
}

// acked moves the owner's cursor. What failed before and is acknowledged now has not failed.
func (s *State) acked(seq uint64) {
	s.Cursor = max(s.Cursor, seq)
	if s.FailSeq <= s.Cursor {
		s.FailSeq, s.Attempt, s.HoldUntil = 0, 0, 0
	}
}

// goesOn notes that the wait goes on under another ticket: whose last resort was told is not told it again. It is nothing when ticket is none, or the same.
func (s *State) goesOn(ticket uint64) {
	if s.Resort != 0 && ticket > s.Ticket {
		s.Resort = ticket
	}
}

func (s *State) uninvited(worker string) {
	s.Invites = slices.DeleteFunc(s.Invites, func(i Invite) bool { return i.Worker == worker })
}

// left takes a guest out. A worker may read on what he has seen [SW-5.10].
func (s *State) left(ge uint64) {
	i := slices.IndexFunc(s.Guests, func(g Guest) bool { return g.GE == ge })
	if i < 0 {
		return
	}
	if g := &s.Guests[i]; g.Worker != "" {
		s.past(g.Worker)
	}
	s.Guests = slices.Delete(s.Guests, i, i+1)
}

// past notes that worker sees nothing beyond the head any more.
func (s *State) past(worker string) {
	s.Past = slices.DeleteFunc(s.Past, func(p Past) bool { return p.Worker == worker })
	if len(s.Past) == maxPast {
		s.Past = slices.Delete(s.Past, 0, 1)
	}
	s.Past = append(s.Past, Past{worker, s.Head})
}

func (s *State) free() {
	if s.Phase == Assigned {
		s.past(s.Owner.Worker)
	}
	s.Phase, s.Owner, s.Transfer, s.HoldUntil, s.Stumbles = New, Owner{}, Transfer{}, 0, 0
}
