package loadtest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"switchboard/client"
	"switchboard/wire"
)

// conversation is one dialogue as it is played: the plan, and what everybody heard.
type conversation struct {
	// Fixed by the plan.
	index        int
	dialogue     *Dialogue
	rounds       []round
	sub          string
	begin        time.Duration
	due          []time.Duration // of the customer's messages
	customerCuts []cut
	workerCuts   []cut
	moveAt       int // the turn at which the bot hands over; −1 for never
	moveAfter    bool
	said         [][]byte   // bodies of the customer's messages
	answers      [][][]byte // bodies of the answers to each
	places       []int      // the turn of each answer, over all turns
	progress     chan struct{}
	disturber    *disturber

	mu sync.Mutex
	// Guarded by mu.
	session string
	tried   int      // turns that the customer has begun to send
	sent    []uint64 // seq that the server acknowledged; 0 for none
	heard   []word   // answers, as the customer received them
	own     []word   // his own words, as he received them
	owners  []*owner
	handled []bool
	moved   bool // a bot has handed over
	history []word
	audited bool
	trouble []string // what went wrong while it was played
	again   int      // messages that came to a worker more than once
	known   int      // words that were sent again, and that the server knew
}

// word is a message as somebody received it.
type word struct {
	seq    uint64
	origin wire.Origin
	body   []byte
}

// owner is what a worker saw under one assignment.
type owner struct {
	ae        uint64
	worker    string
	kind      wire.Origin
	seen      []word // tail, then deliveries
	delivered map[uint64]uint32
}

func wordOf(e *client.Entry) word {
	return word{seq: e.Seq, origin: e.Origin, body: bytes.Clone(e.Body)}
}

// poke wakes the customer, who waits for the end.
func (c *conversation) poke() {
	select {
	case c.progress <- struct{}{}:
	default:
	}
}

// hear records what the customer received.
func (c *conversation) hear(e *client.Entry) {
	if e.Kind != wire.KindMessage {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Own || e.From.Role == wire.RoleCustomer {
		c.own = append(c.own, wordOf(e))
	} else {
		c.heard = append(c.heard, wordOf(e))
	}
	c.poke()
}

// failed records that something could not be done.
func (c *conversation) failed(doing string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.trouble) < 5 {
		c.trouble = append(c.trouble, fmt.Sprintf("%s: %v", doing, err))
	}
}

// owned records an assignment. It is called again when the first call could not know the conversation.
func (c *conversation) owned(s *client.Session, w *desk) *owner {
	a := s.Assignment()
	for _, o := range c.owners {
		if o.ae == a.AE && o.worker == w.sub {
			return o
		}
	}
	o := &owner{ae: a.AE, worker: w.sub, kind: w.kind, delivered: map[uint64]uint32{}}
	for i := range a.Tail {
		if e := &a.Tail[i]; e.Kind == wire.KindMessage {
			o.seen = append(o.seen, wordOf(e))
		}
	}
	c.owners = append(c.owners, o)
	return o
}

// assigned records an assignment with what came with it.
func (c *conversation) assigned(s *client.Session, w *desk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owned(s, w)
}

// delivered records a delivery. fresh is false when a worker has had it before.
func (c *conversation) delivered(s *client.Session, w *desk, e *client.Entry, turn int) (fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh = !c.handled[turn]
	for _, o := range c.owners {
		if _, before := o.delivered[e.Seq]; before {
			fresh = false
		}
	}
	o := c.owned(s, w)
	if attempt, before := o.delivered[e.Seq]; before && attempt >= e.Attempt && len(c.trouble) < 5 {
		c.trouble = append(c.trouble, fmt.Sprintf("%s was handed turn %d twice in the same attempt %d", w.sub, turn, e.Attempt))
	}
	o.delivered[e.Seq] = e.Attempt
	o.seen = append(o.seen, wordOf(e))
	if !fresh {
		c.again++
	}
	return fresh
}

// answered records that a worker is done with a turn.
func (c *conversation) answered(turn int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handled[turn] = true
	c.poke()
}

// complete tells whether everything was said, heard and dealt with.
func (c *conversation) complete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.own) < len(c.said) || len(c.heard) < len(c.places) {
		return false
	}
	for turn := range c.handled {
		if !c.settled(turn) {
			return false
		}
	}
	return true
}

// settled tells whether a turn was dealt with: the worker knows it, or, when he lost the answer to his last word, the
// customer has heard that.
func (c *conversation) settled(turn int) bool {
	if c.handled[turn] {
		return true
	}
	answers := c.answers[turn]
	for i := range c.heard {
		if len(answers) > 0 && bytes.Equal(c.heard[i].body, answers[len(answers)-1]) {
			return true
		}
	}
	return false
}

// standing tells where a conversation stands that does not go on, for whoever looks for the reason.
func (c *conversation) standing(state client.State) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	own, heard := uint64(0), uint64(0)
	if n := len(c.own); n > 0 {
		own = c.own[n-1].seq
	}
	if n := len(c.heard); n > 0 {
		heard = c.heard[n-1].seq
	}
	var text strings.Builder
	fmt.Fprintf(&text, "the session is %q, the last word of the customer seq %d, the last answer seq %d", state.State, own, heard)
	for _, o := range c.owners {
		last := uint64(0)
		for _, w := range o.seen {
			last = max(last, w.seq)
		}
		fmt.Fprintf(&text, "; assignment %d at %s has seen up to seq %d", o.ae, o.worker, last)
	}
	return text.String()
}
