package ledger

import "fmt"

// Hand is the book of one assignment at one worker.
type Hand struct {
	// AE is the assignment's number.
	AE uint64
	// Moves says that the session's shard may get another owner while the worker's connection stays, as in a cluster: what was not
	// acknowledged then follows once more, under the same attempt, and nothing tells the worker why [SW-5.4].
	Moves bool

	last, acked uint64
}

// Delivered enters a customer's message n that the worker was handed as seq, at the attempt, and returns what does not
// hold [SW-5.4]: within an assignment a first attempt is above everything before, or above what was acknowledged where owners move.
func (h *Hand) Delivered(session string, n, seq, attempt uint64) *Fault {
	switch {
	case attempt > 1 || seq > h.last:
		h.last = max(h.last, seq)
		return nil
	case h.Moves && seq > h.acked:
		h.last = seq // those behind it follow as well
		return nil
	}
	kind := Reordered
	if seq == h.last || seq <= h.acked {
		kind = Duplicated
	}
	return &Fault{Kind: kind, Session: session, N: n, Seq: seq, Detail: fmt.Sprintf("assignment %d was handed it in attempt %d, behind seq %d", h.AE, attempt, h.last)}
}

// Acked enters that the acknowledgement of everything up to seq was answered: nothing of it may be handed out again.
func (h *Hand) Acked(seq uint64) { h.acked = max(h.acked, seq) }

// Again enters that the worker has come back, and that what is unacknowledged follows once more [SW-5.7].
func (h *Hand) Again() { h.last = 0 }
