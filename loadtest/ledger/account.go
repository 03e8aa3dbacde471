package ledger

import (
	"fmt"
	"slices"
)

// The kinds of [Fault].
const (
	Lost       = "lost"
	Duplicated = "duplicated"
	Reordered  = "reordered"
	Mismatched = "mismatched"
)

// Fault is one thing that did not hold, with the evidence.
type Fault struct {
	Kind    string `json:"kind"`
	Session string `json:"session"`
	// N is the customer's message that it is about, which is also its key; 0 for none.
	N uint64 `json:"n,omitempty"`
	// Seq is where it was seen; 0 for nowhere.
	Seq    uint64 `json:"seq,omitempty"`
	Detail string `json:"detail"`
}

// String is one line.
func (f Fault) String() string {
	s := f.Kind + " in " + f.Session
	if f.N > 0 {
		s += fmt.Sprintf(", message %d (key %d)", f.N, f.N)
	}
	if f.Seq > 0 {
		s += fmt.Sprintf(", seq %d", f.Seq)
	}
	return s + ": " + f.Detail
}

// Entry is one entry of the session as the customer was shown it.
type Entry struct {
	Seq uint64
	// Prev is the seq of the entry before, as the server says; not looked at in an audit.
	Prev uint64
	// N is the customer's message that it is, or answers; 0 for an event.
	N uint64
	// Of is the seq that an answer answers; 0 for what is no answer.
	Of uint64
}

// open is a message that is not settled.
type open struct {
	n      uint64
	seq    uint64 // of its acknowledgement; 0 before
	tries  int
	answer bool // it has come
}

// hole are the places between two, neither of them in it, of which nothing was shown when an acknowledgement came from behind them: an
// acknowledgement has no prev. They are of staff, or lost, which the history tells.
type hole struct{ after, before uint64 }

// holesMax bounds what an account remembers of them.
const holesMax = 256

// keptMax bounds what an account remembers for its audit.
const keptMax = 4096

// Account is the book of one session.
type Account struct {
	// Session is its id.
	Session string
	// Answers tells whether every message is to be answered.
	Answers bool
	// Keep makes the account remember what is settled too, for an audit; up to 4,096 messages, from the first.
	Keep bool

	last     uint64 // highest seq seen
	exact    bool   // last was seen, and is not just where the session was when it was opened
	acked    uint64 // highest seq of an acknowledgement
	answered uint64 // highest seq that was answered
	holes    []hole
	opens    []open
	kept     []open
	settled  []open // the latest that were settled, to tell what comes again
	faults   []Fault
	count    int
}

// settledMax bounds how far back a repetition of something settled is recognised as such by its number; older ones are
// recognised by their seq.
const settledMax = 16

// faultsMax bounds the evidence of one account; all are counted.
const faultsMax = 8

// Begin opens the account of a session at its head.
func Begin(session string, head uint64, answers bool) Account {
	return Account{Session: session, last: head, Answers: answers}
}

func (a *Account) fault(kind string, n, seq uint64, format string, args ...any) {
	a.count++
	if len(a.faults) < faultsMax {
		a.faults = append(a.faults, Fault{kind, a.Session, n, seq, fmt.Sprintf(format, args...)})
	}
}

// Faults takes the evidence that has come up since the last call, and how many faults there were.
func (a *Account) Faults() (evidence []Fault, count int) {
	evidence, count = a.faults, a.count
	a.faults, a.count = nil, 0
	return evidence, count
}

// Last is the position from which the session is to be resumed.
func (a *Account) Last() uint64 { return a.last }

// Open is how many messages wait for an acknowledgement or an answer.
func (a *Account) Open() int { return len(a.opens) }

// Unacked returns the messages without acknowledgement, oldest first.
func (a *Account) Unacked() (ns []uint64) {
	for _, o := range a.opens {
		if o.seq == 0 {
			ns = append(ns, o.n)
		}
	}
	return ns
}

// Unanswered returns the messages that were acknowledged and not answered, oldest first.
func (a *Account) Unanswered() (ns []uint64) {
	for _, o := range a.opens {
		if o.seq > 0 {
			ns = append(ns, o.n)
		}
	}
	return ns
}

func (a *Account) find(n uint64) *open {
	for i := range a.opens {
		if a.opens[i].n == n {
			return &a.opens[i]
		}
	}
	return nil
}

// was returns a message that was settled lately.
func (a *Account) was(n uint64) *open {
	for i := range a.settled {
		if a.settled[i].n == n {
			return &a.settled[i]
		}
	}
	return nil
}

// Send enters that message n was sent, or sent again with the same key.
func (a *Account) Send(n uint64) {
	if o := a.find(n); o != nil {
		o.tries++
		return
	}
	a.opens = append(a.opens, open{n: n, tries: 1})
}

// Drop enters that message n was refused, certainly not applied, and will not be sent again [SW-4.2].
func (a *Account) Drop(n uint64) {
	a.opens = slices.DeleteFunc(a.opens, func(o open) bool { return o.n == n && o.seq == 0 })
}

// Ack enters that the server acknowledged message n as seq. again tells that it said so before (duplicate) [SW-4.3].
func (a *Account) Ack(n, seq uint64, again bool) {
	o := a.find(n)
	switch {
	case o == nil && a.was(n) != nil:
		if before := a.was(n); !again || before.tries < 2 || before.seq != seq {
			a.fault(Duplicated, n, seq, "it was acknowledged as seq %d before", before.seq)
		}
		return
	case o == nil:
		a.fault(Mismatched, n, seq, "an acknowledgement for what was not sent")
		return
	case o.seq > 0 && o.seq != seq:
		a.fault(Duplicated, n, seq, "it was acknowledged as seq %d before", o.seq)
		return
	case o.seq > 0 && o.tries < 2:
		a.fault(Duplicated, n, seq, "it was acknowledged twice")
		return
	case again && o.tries < 2:
		a.fault(Duplicated, n, seq, "the server knew it, and it was sent once")
	case seq <= a.acked && !again:
		a.fault(Reordered, n, seq, "a message sent before it has seq %d", a.acked)
	case seq <= a.last && !again:
		a.fault(Reordered, n, seq, "seq %d had come before it", a.last)
	}
	a.fill(seq)
	o.seq = seq
	a.acked = max(a.acked, seq)
	if !again {
		a.miss(a.last, seq)
	}
	if !again { // what was known before is pushed as well, in its place: the reply to a repetition does not stand for it
		a.last, a.exact = max(a.last, seq), true
	}
	a.settle(o)
}

// miss enters that nothing came between two, as far as that can be remembered.
func (a *Account) miss(after, before uint64) {
	if before > after+1 && len(a.holes) < holesMax {
		a.holes = append(a.holes, hole{after, before})
	}
}

// fill enters that seq came, late: so it is not lost as well. It tells whether it was missing.
func (a *Account) fill(seq uint64) bool {
	for i, h := range a.holes {
		if h.after < seq && seq < h.before {
			a.holes = slices.Delete(a.holes, i, i+1)
			a.miss(h.after, seq)
			a.miss(seq, h.before)
			return true
		}
	}
	return false
}

// Saw enters an entry that was pushed to the customer.
func (a *Account) Saw(e Entry) {
	if e.Seq <= a.last {
		kind, what := Duplicated, "it came again"
		if a.fill(e.Seq) {
			kind, what = Reordered, "it came late"
		}
		if e.N > 0 && e.Of > 0 {
			if o := a.find(e.N); o != nil && !o.answer {
				kind, what = Reordered, "it came late"
				o.answer = true // so it is not lost as well
				a.settle(o)
			}
		}
		a.fault(kind, e.N, e.Seq, "%s, behind seq %d", what, a.last)
		return
	}
	switch {
	case e.Prev == a.last, !a.exact && e.Prev <= a.last:
	case e.Prev > a.last:
		a.fault(Lost, e.N, e.Seq, "the entry before it has seq %d, and the last that came seq %d", e.Prev, a.last)
	default:
		a.fault(Mismatched, e.N, e.Seq, "the entry before it has seq %d, but seq %d came", e.Prev, a.last)
	}
	a.last, a.exact = e.Seq, true
	switch {
	case e.N == 0:
	case e.Of == 0: // the customer's own, after a reconnection: it stands for the acknowledgement
		a.own(e)
	default:
		a.answer(e)
	}
}

func (a *Account) own(e Entry) {
	o := a.find(e.N)
	switch {
	case o == nil && a.was(e.N) != nil:
		a.fault(Duplicated, e.N, e.Seq, "it is in the log once more")
	case o == nil:
		a.fault(Mismatched, e.N, e.Seq, "nobody sent it")
	case o.seq > 0 && o.seq != e.Seq:
		a.fault(Duplicated, e.N, e.Seq, "it was acknowledged as seq %d", o.seq)
	default:
		o.seq = e.Seq
		a.acked = max(a.acked, e.Seq)
		a.settle(o)
	}
}

func (a *Account) answer(e Entry) {
	o := a.find(e.N)
	switch {
	case o == nil && a.was(e.N) != nil, o != nil && o.answer:
		a.fault(Duplicated, e.N, e.Seq, "it answers seq %d, which has its answer", e.Of)
	case o == nil:
		a.fault(Mismatched, e.N, e.Seq, "it answers what was not sent")
	case o.seq > 0 && o.seq != e.Of:
		a.fault(Mismatched, e.N, e.Seq, "it answers seq %d, and the message has seq %d", e.Of, o.seq)
	case e.Of <= a.answered:
		a.fault(Reordered, e.N, e.Seq, "it answers seq %d, behind the answer to seq %d", e.Of, a.answered)
		o.answer = true
		a.settle(o)
	default:
		a.answered = e.Of
		o.answer = true
		a.settle(o)
	}
}

// settle forgets o when nothing of it is open.
func (a *Account) settle(o *open) {
	if o.seq == 0 || a.Answers && !o.answer {
		return
	}
	if a.Keep && len(a.kept) < keptMax {
		a.kept = append(a.kept, *o)
	}
	if len(a.settled) == settledMax {
		a.settled = append(a.settled[:0], a.settled[1:]...)
	}
	a.settled = append(a.settled, *o)
	n := o.n
	a.opens = slices.DeleteFunc(a.opens, func(x open) bool { return x.n == n })
	if len(a.opens) == 0 {
		a.opens = nil
	}
}

// Resumed enters how the server took the session up again [SW-3.2]. With "exact" the entries after Last follow.
func (a *Account) Resumed(how string, at uint64) {
	switch how {
	case "exact":
	case "truncated":
		a.fault(Lost, 0, at, "the log ends at seq %d, and seq %d had come", at, a.last)
		a.last, a.exact = min(a.last, at), false
	default:
		a.fault(Lost, 0, 0, "the session was taken up %q, and not where it was (seq %d)", how, a.last)
		a.exact = false
	}
}
