package session

import (
	"slices"
	"time"

	"switchboard/wire"
)

// doomedRetry is when who is being erased may ask again, as somebody new.
const doomedRetry = 2 * time.Second

// Erasure is how far a customer is forgotten [SW-7.11].
type Erasure struct {
	// Mark names the erasure, and stands for the customer wherever something of him is left: it says nothing of him.
	Mark  string
	At    int64 // Unix ms, when it was asked for
	Stage ErasureStage
	// Sessions is how many sessions of his there were.
	Sessions uint64
	// Kin are the customers who were erased with him, as they were the same person: backups from before that was known have them by their names.
	Kin []string
}

// ErasureStage is a step of an erasure. The numbers are part of stored rows.
type ErasureStage uint8

// The steps of an erasure, in order.
const (
	NeverErased ErasureStage = iota
	Erasing                  // his sessions, his identities and whoever became him are being looked for and erased; he opens nothing meanwhile
	Blanked                  // no row has anything of him; files may
	Completed                // nor has any file
)

var erasureStages = [...]string{"none", "erasing", "erased", "completed"}

// String returns the step's name, as operators are told it.
func (e ErasureStage) String() string { return erasureStages[e] }

// Open tells whether something is left to be done.
func (e *Erasure) Open() bool { return e.Stage == Erasing || e.Stage == Blanked }

// Doom begins to erase c, under mark, and reports whether that changed c: while it is under way it does not begin again. Whatever he wanted to become
// he wants no more.
func (c *Customer) Doom(mark string, now int64) bool {
	if c.Erasure.Stage == Erasing {
		return false
	}
	c.Erasure = Erasure{Mark: mark, At: now, Stage: Erasing}
	if c.Leaving.To != "" {
		c.Leaving = Leaving{}
		c.Try++ // an answer that is on its way is to nothing
	}
	return true
}

// Blank makes c nobody in particular: all that was his is erased. Born stays, as nodes of before make ids of sessions of it; who comes under his id from now on
// is somebody new. Linked stays too: whoever c expected may become him yet, as he was told so before (see [Customer.Become]); he is at the beginning of a
// chain.
func (c *Customer) Blank() {
	c.Alias, c.Shops, c.Identities, c.Depth, c.Leaving = "", nil, nil, min(c.Depth, 1), Leaving{}
	c.Erasure.Stage = Blanked
}

// Complete notes that no file has anything of him, as of the erasure mark, and reports whether that changed c.
func (c *Customer) Complete(mark string) bool {
	if c.Erasure.Stage != Blanked || c.Erasure.Mark != mark {
		return false
	}
	c.Erasure.Stage = Completed
	return true
}

// Becomes tells whether c has become other, or has said that he is about to: then he is the same person.
func (c *Customer) Becomes(other string) bool {
	return c.Alias == other || c.Alias == "" && c.Leaving.To == other
}

func (w *writer) erasure(e *Erasure) {
	w.num(uint64(e.Stage))
	w.str(e.Mark)
	w.int(e.At)
	w.num(e.Sessions)
}

func (r *reader) erasure() Erasure {
	return Erasure{Stage: ErasureStage(min(r.num(), uint64(Completed))), Mark: r.str(), At: r.int(), Sessions: r.num()}
}

func (w *writer) kin(list []string) {
	w.num(uint64(len(list)))
	for _, id := range list {
		w.str(id)
	}
}

func (r *reader) kin() []string {
	list := make([]string, r.count())
	for i := range list {
		list[i] = r.str()
	}
	return list
}

// MaxKin bounds how many others an erasure names.
const MaxKin = 1024

// Know notes who else is erased with self, and reports whether that was new. Those beyond MaxKin are erased all the same.
func (e *Erasure) Know(self string, kin []string) (changed bool) {
	for _, id := range kin {
		if id != self && len(e.Kin) < MaxKin && !slices.Contains(e.Kin, id) {
			e.Kin, changed = append(e.Kin, id), true
		}
	}
	return changed
}

// Doomed tells why nobody may become c now, or open anything as him: he is being erased. It is soon over.
func (c *Customer) Doomed() *wire.Error {
	if c.Erasure.Stage != Erasing {
		return nil
	}
	return &wire.Error{Slug: wire.Unavailable, Message: "the customer is being erased", RetryAfter: doomedRetry}
}
