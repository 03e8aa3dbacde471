package whatif

import (
	"switchboard/broker/selector"
)

// Turn is the customer's word that is open, the answer to it, and the pause until his next word. Milliseconds.
type Turn struct {
	Reply int64 // from the moment that somebody who answers sees it
	Think int64 // from the answer to the customer's next word; without meaning in the last turn
}

// Talk is one party's share of a conversation.
type Talk struct {
	Turns []Turn
	Tail  int64 // from the last answer to the end, ms; of a bot that hands over, from the customer's last word to that
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
// next call: whoever keeps a visit copies its turns. It returns false when there is none left.
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
