package broker

import (
	"fmt"
	"slices"

	"switchboard/broker/selector"
)

// Who may serve a step.
type Who uint8

// The choices of Who.
const (
	Any Who = iota
	Bots
	Humans
)

// When says what opens a step besides its time.
type When uint8

// The choices of When.
const (
	// Waiting opens the step after AfterMS.
	Waiting When = iota
	// Unstaffed opens it also while nobody who is connected and ready, busy or not, meets an earlier step.
	Unstaffed
)

// Resort is what is done for a customer for whom nobody was found. He goes on waiting: that is his session's to end.
type Resort uint8

// The last resorts.
const (
	NoResort Resort = iota
	LeaveMessage
	Callback
	Ticket
)

var resortNames = [...]string{"", "leave_message", "callback", "ticket"}

// String returns r's name in documents and entries.
func (r Resort) String() string { return resortNames[r] }

// Step is one step of a route. Steps are tried in order: a later one gets a task only when no worker of an earlier one
// can take it at that moment. One that has opened stays open, as long as its hours are.
type Step struct {
	Name    string // for people
	Who     Who
	AfterMS int64 // the step is closed to a task that has waited less; not below the step before
	When    When
	// Hours say when it is open by Calendar, or, without one of its own, by those of its queue and shop together. Its time
	// begins when they open.
	Hours    Hours
	Calendar string
	// Select says which workers are eligible; nil is all. Prefer says who comes before others, whatever the scores.
	Select *selector.Expr
	Prefer *selector.Expr
	// Queues are those whose workers the step asks; default the task's own. Teams restrict it to their members; without Queues
	// these need not have subscribed to anything in common with the task. Who has not subscribed to the task's queue gets
	// it for the reason overflow.
	Queues []string
	Teams  []string
	// OfferN is how many people are asked at once, at most [MaxOffers]: the first who accepts has it. Default 1.
	OfferN     int
	OfferTTLMS int64 // default the queue's
	// Classify makes the step, which must be the first, a question: one of its workers is asked what the session is about,
	// before it is routed by the others. OfferTTLMS is how long that may take in all, default 3,000; Default is a JSON object
	// of attributes that count when nobody answers, or nobody is there.
	Classify bool
	Default  []byte
	// Resort makes the step one of the last, which ask nobody: its session is told what to offer the customer. Of several the
	// first that is open counts.
	Resort Resort
}

// MaxOffers bounds OfferN, MaxSteps the steps of a route, MaxTiers the different delays of a queue's seats.
const (
	MaxOffers = 50
	MaxSteps  = 16
	MaxTiers  = 8
)

// Boost lets the tasks that When selects count as if they had come MS earlier. The largest counts.
type Boost struct {
	When *selector.Expr // of the task alone
	MS   int64
}

// All is the cost of a task that wants a worker for itself: it is given to nobody who has anything else.
const All = -1

// ChannelCost is what a task of a channel costs: slots, or [All].
type ChannelCost struct {
	Channel string
	Cost    int
}

// Weights of the terms of a score. All zero is 0.4, 0.3, 0.3.
type Weights struct{ Skill, Load, Rating float64 }

// Seat is what a queue is to the members of a team.
type Seat struct {
	Queue    string
	Priority int32 // instead of the queue's
	DelayMS  int64 // they get a task only when it has waited so long
}

// Team is a set of workers, by id or by sub, and what they have in common. Who is of several teams has the smallest priority
// and delay of them.
type Team struct {
	Name       string
	Workers    []string
	Attributes selector.Attrs // lists are added to the worker's own; other values count when he has none
	Seats      []Seat
}

// Shop is how one shop shares workers with others, where Config.Fair is set. It goes by the task's attribute shop.
type Shop struct {
	Name   string
	Weight float64 // its share against others that wait too; default 1
	// Floor is the slots below which it comes before others, Cap those from which on it comes behind them. It may borrow
	// beyond its cap what nobody else wants. 0 is none.
	Floor, Cap int
	Calendar   string // its hours, see [Step]; it goes by the task's attribute shop also without Config.Fair
}

// Move says where the tasks of a queue go that is not configured any more.
type Move struct{ From, To string }

func (s *Step) validate(cfg *Config) error {
	switch {
	case s.Who > Humans || s.When > Unstaffed || s.Hours > AnyTime || s.Resort > Ticket || s.AfterMS < 0 || s.OfferTTLMS < 0:
		return fmt.Errorf("has an impossible step")
	case s.Classify && (s.Resort != NoResort || s.AfterMS != 0 || s.OfferN > 1 || s.When != Waiting):
		return fmt.Errorf("classifies, and opens later, asks several or is a last resort")
	case s.OfferN < 0 || s.OfferN > MaxOffers:
		return fmt.Errorf("asks %d at once, the limit is %d", s.OfferN, MaxOffers)
	case s.Resort != NoResort && (s.Select != nil || s.Prefer != nil || s.Who != Any || s.Queues != nil || s.Teams != nil || s.OfferN != 0):
		return fmt.Errorf("has a last resort that also asks workers")
	}
	if !cfg.knows(s.Calendar) {
		return fmt.Errorf("has a step by %q, which is no calendar", s.Calendar)
	}
	for _, name := range s.Queues {
		if !slices.ContainsFunc(cfg.Queues, func(q Queue) bool { return q.Name == name }) {
			return fmt.Errorf("overflows to %q, which is no queue", name)
		}
	}
	for _, name := range s.Teams {
		if !slices.ContainsFunc(cfg.Teams, func(t Team) bool { return t.Name == name }) {
			return fmt.Errorf("asks %q, which is no team", name)
		}
	}
	return nil
}

func (t *Team) validate(cfg *Config) error {
	for _, s := range t.Seats {
		if s.DelayMS < 0 || !slices.ContainsFunc(cfg.Queues, func(q Queue) bool { return q.Name == s.Queue }) {
			return fmt.Errorf("team %q has a seat in %q, which is no queue, or a negative delay", t.Name, s.Queue)
		}
	}
	return nil
}
