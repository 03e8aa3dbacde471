package ledger

import "slices"

// Verdict is what an audit found about what is open.
type Verdict struct {
	// Late are the messages that are in the log, without an answer that the customer could have heard.
	Late int
	// Unknown are the messages without acknowledgement that are not in the log. Nothing was promised about them.
	Unknown int
}

// Snapshot returns a copy as it is now, without faults. The log that an account is compared with must be read after what the account
// knows: while words are still under way, an acknowledgement that comes behind the reading would look as if it was lost.
func (a *Account) Snapshot() *Account {
	c := *a
	c.opens, c.kept, c.settled = slices.Clone(a.opens), slices.Clone(a.kept), slices.Clone(a.settled)
	c.holes = slices.Clone(a.holes)
	c.faults, c.count = nil, 0
	return &c
}

// Audit compares the account with the whole log of its session, in order. Staff entries may be missing in it. It is for
// the end: what is open then is either in the log, or lost. What the log has in front of an acknowledgement was to be shown before it, and was not
// seen live when it was not.
func (a *Account) Audit(log []Entry) (v Verdict) {
	at := map[uint64]uint64{}      // n → seq of the message
	answers := map[uint64]uint64{} // n → seq of its answer
	seq := uint64(0)
	for _, e := range log {
		if e.Seq <= seq {
			a.fault(Reordered, e.N, e.Seq, "in the history it stands behind seq %d", seq)
		}
		seq = max(seq, e.Seq)
		if e.Of == 0 && slices.ContainsFunc(a.holes, func(h hole) bool { return h.after < e.Seq && e.Seq < h.before }) {
			a.fault(Lost, e.N, e.Seq, "it is in the history, and never came")
		} // an answer is asked for below
		book, what := at, "message"
		switch {
		case e.N == 0:
			continue
		case e.Of > 0:
			book, what = answers, "answer"
		}
		if before, ok := book[e.N]; ok {
			a.fault(Duplicated, e.N, e.Seq, "in the history the %s is also seq %d", what, before)
			continue
		}
		book[e.N] = e.Seq
	}
	if a.last > seq {
		a.fault(Lost, 0, a.last, "the history ends at seq %d", seq)
	}
	for _, o := range slices.Concat(a.kept, a.opens) {
		have, ok := at[o.n]
		switch {
		case o.seq == 0 && !ok:
			v.Unknown++
			continue
		case !ok:
			a.fault(Lost, o.n, o.seq, "it was acknowledged, and is not in the history")
			continue
		case o.seq > 0 && have != o.seq:
			a.fault(Mismatched, o.n, have, "it was acknowledged as seq %d", o.seq)
		}
		answer, ok := answers[o.n]
		switch {
		case o.answer && !ok:
			a.fault(Lost, o.n, have, "its answer came, and is not in the history")
		case !o.answer && ok && answer <= a.last:
			a.fault(Lost, o.n, answer, "its answer is in the history, and never came")
		case !o.answer && a.Answers:
			v.Late++
		}
	}
	return v
}
