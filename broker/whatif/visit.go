package whatif

import (
	"switchboard/broker/selector"
)

// Turn is the customer's word that is open, the answer to it, and the pause until his next word. Milliseconds.
type Turn struct {
	Reply int64 // from the moment that somebody who answers sees it
	Think int64 // from the answer to the customer's next word; without meaning in the last turn
	// Asks is how many messages the customer says behind his word, Adds how many follow the answer. Who is answered says no more of
	// the first, and once the customer speaks nothing more of the second is said. Row is where their pauses begin in [Talk.Pauses].
	Asks, Adds, Row int32
}

// Talk is one party's share of a conversation.
type Talk struct {
	Turns []Turn
	// Pauses are before each of the Asks of a turn, and before each of its Adds behind these, ms since the message in front.
	Pauses []int64
	Tail   int64 // from the last answer to the end, ms; of a bot that hands over, from the customer's last word to that
}

// maxRow is how many messages of one party in a row are kept behind the first.
const maxRow = 100

// copyInto makes c the same talk, in memory of its own.
func (t *Talk) copyInto(c *Talk) {
	*c = Talk{append(c.Turns[:0], t.Turns...), append(c.Pauses[:0], t.Pauses...), t.Tail}
}

// row gives turn i pauses, first those of its asks. No turn behind it has any.
func (t *Talk) row(i int, pauses []int64, adds bool) {
	turn := &t.Turns[i]
	if turn.Asks+turn.Adds == 0 {
		turn.Row = int32(len(t.Pauses)) //nolint:gosec // bounded by the turns
	}
	count := &turn.Asks
	if adds {
		count = &turn.Adds
	}
	pauses = pauses[:min(len(pauses), max(maxRow-int(*count), 0))]
	*count += int32(len(pauses)) //nolint:gosec // at most maxRow
	t.Pauses = append(t.Pauses, pauses...)
}

// asks returns the pauses before what the customer says behind his word of turn i.
func (t *Talk) asks(i int) []int64 {
	if i >= len(t.Turns) {
		return nil
	}
	turn := &t.Turns[i]
	return t.Pauses[turn.Row : turn.Row+turn.Asks]
}

// adds returns those before what follows the answer of turn i.
func (t *Talk) adds(i int) []int64 {
	turn := &t.Turns[i]
	return t.Pauses[turn.Row+turn.Asks : turn.Row+turn.Asks+turn.Adds]
}

// Visit is one session that will come, with everything that chance decides about it. The zero patience is endless.
type Visit struct {
	At         int64 // Unix ms
	Customer   string
	Shop       string
	Channel    string
	Tier       string
	Queue      string         // empty is the default queue
	Attributes selector.Attrs // all that routes see, shop, tier, channel and queue among them; shared, never changed
	Priority   int32
	Sticky     string // who served him last, or empty

	Bot      Talk // with a bot; without turns a bot hands over at once
	Alone    bool // a bot deals with it to the end
	Human    Talk
	Patience int64 // ms in line until he leaves, each time anew; 0 is never
	// Transfers is how many of the people who have the session send it on after their first answer, to the queue To, or to
	// the same queue when To is empty.
	Transfers int
	To        string
	Resort    bool // he takes the last resort when it is offered
	Accept    int64
	Miss      bool // the first person who is asked lets the offer pass
	WrapUp    int64
}

// Source gives the visits of a day in the order in which they come. It writes into v, whose slices it may use again at the
// next call: whoever keeps a visit copies its turns and pauses. It returns false when there is none left.
type Source func(v *Visit) bool

// Of returns a source of these visits, which must be in order.
func Of(visits []Visit) Source {
	return func(v *Visit) bool {
		if len(visits) == 0 {
			return false
		}
		*v, visits = visits[0], visits[1:]
		return true
	}
}

// Agent is somebody who works, a person or a bot.
type Agent struct {
	ID         string
	Bot        bool
	Slots      int      // default 1
	Queues     []string // default all
	Skills     []Skill
	Rating     float64
	Attributes selector.Attrs
	Shifts     []Shift // in order, apart from each other
}

// Skill is what somebody can do, 0 to 1.
type Skill = selector.Skill

// Shift is a time at work, Unix ms. At its end the agent takes nothing new, and goes when he has nobody left.
type Shift struct{ From, To int64 }
