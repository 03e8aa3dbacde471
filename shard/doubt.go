package shard

import "time"

// leading is what a shard's group knows of its leading.
type leading interface {
	Sure() bool
	Led(at time.Duration) bool
	Clock() time.Duration
	Listen()
}

// doubt is what of the held mail was there at a moment at which nobody was sure. It leaves as soon as it is known that this owner was the one there was
// at that moment: where the disk or the way to the others is slow that comes, and comes too late to be sure of now.
type doubt struct {
	n  int // of the first that are held; 0 when there was no doubt
	at time.Duration
}

// free returns how many of the held may leave, as far as another owner matters. Who keeps some is woken when there is news of that.
func (d *doubt) free(held int, g leading) int {
	sure := held == 0 || g.Sure()
	if !sure {
		g.Listen() // first: what is heard from here on wakes him, and what was heard before is seen below
		sure = g.Sure()
	}
	switch {
	case sure:
		*d = doubt{}
		return held
	case d.n == 0:
		*d = doubt{held, g.Clock()}
		return 0
	case !g.Led(d.at):
		return 0
	}
	n := min(d.n, held)
	*d = doubt{}
	if n < held {
		*d = doubt{held - n, g.Clock()}
	}
	return n
}
