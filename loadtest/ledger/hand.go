package ledger

import "fmt"

// Hand is the book of one assignment at one worker.
type Hand struct {
	// AE is the assignment's number.
	AE   uint64
	last uint64
}

// Delivered enters a customer's message n that the worker was handed as seq, at the attempt, and returns what does not
// hold [SW-5.4]: within an assignment a first attempt is above everything before.
func (h *Hand) Delivered(session string, n, seq, attempt uint64) *Fault {
	if attempt <= 1 && seq <= h.last {
		kind := Reordered
		if seq == h.last {
			kind = Duplicated
		}
		return &Fault{Kind: kind, Session: session, N: n, Seq: seq, Detail: fmt.Sprintf("assignment %d was handed it in attempt %d, behind seq %d", h.AE, attempt, h.last)}
	}
	h.last = max(h.last, seq)
	return nil
}

// Again enters that the worker has come back, and that what is unacknowledged follows once more [SW-5.7].
func (h *Hand) Again() { h.last = 0 }
