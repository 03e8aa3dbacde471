package broker

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Scoring is how the best of several workers is found. Skill, load and rating all lie in 0..1; ties go to the worker
// whose last assignment is longest ago, then to the smaller id.
type Scoring uint8

// The scorings.
const (
	// Banded takes the lowest load, and within it the highest 0.4·skill + 0.3·rating. Default: nobody sits idle because
	// somebody else is rated higher.
	Banded Scoring = iota
	// Weighted takes the highest 0.4·skill + 0.3·(1−load) + 0.3·rating.
	Weighted
)

// Order is how tasks of a queue wait. Equal ones go by enqueued_at, then by session id.
type Order uint8

// The orders.
const (
	// Ageing goes by enqueued_at − boost: nobody is overtaken by a task that came more than its boost later. Default.
	Ageing Order = iota
	// Strict goes by priority, the smaller first, then as Ageing: a lower priority may wait for good.
	Strict
	// FIFO goes by enqueued_at alone.
	FIFO
	// SavableFirst goes by enqueued_at − boost among those who have waited less than SLAMS, then among the others by
	// enqueued_at. Of the picks for which both could be had, every Floor-th is the oldest of all.
	SavableFirst
)

// Queue is one waiting line.
type Queue struct {
	Name       string
	Steps      []Step  // default: bots at any time, and humans in its hours when no bot can take it
	OfferTTLMS int64   // how long a human may think about an offer; default 20,000
	Scoring    Scoring // default Banded
	Weights    Weights // default 0.4, 0.3, 0.3
	// SkillBy names an attribute of the task that names a skill, or several: their mean level is the score's skill for
	// tasks that ask for no Skills. Default none: then skill counts as 1.
	SkillBy  string
	Order    Order // default Ageing
	Priority int32 // a worker of several queues serves the smaller one first; default 0
	// Boosts are added to the task's own, all together at most MaxBoostMS when that is set.
	Boosts     []Boost
	MaxBoostMS int64
	SLAMS      int64 // of SavableFirst
	Floor      int   // of SavableFirst; default 4
	// StickyMS is how long a task waits for its last worker alone, while he is there. Default 0: he is preferred when he
	// could take it now, and not waited for.
	StickyMS int64
	// Costs of channels, before the pool's.
	Costs  []ChannelCost
	Weight float64 // its share against other queues, where Config.Fair is set; default 1
	// Calendar names its hours, see [Step]. Default none: it is always open.
	Calendar string
}

// Config is what one pool is made of. Zero means default.
type Config struct {
	Queues       []Queue
	Teams        []Team
	Shops        []Shop
	Calendars    []Calendar
	Costs        []ChannelCost // a task without cost of its own goes by its attribute channel; default 1
	Moves        []Move        // of queues that are not there any more, see [Core.Configure]
	BotGraceMS   int64         // how long a bot without connection keeps its sessions [SW-5.7]; default 5,000
	HumanGraceMS int64         // the same of humans; default 30,000
	// BarMS is how long a task is kept from a worker who declined it, or whom its session excludes. Default 30,000. Then
	// it may come again: better twice to the same than never to anybody.
	BarMS int64
	// MaxTasks bounds the sessions that wait, are offered or assigned; beyond it a task is rejected as overloaded.
	// Default 1,048,576.
	MaxTasks int
	MaxSlots int // the most slots of one worker; more are refused as bad_request; default 10,000
	// Fair shares workers between the queues and shops that wait for them, at equal priority, by their weights. Default:
	// who has waited longest comes first, wherever.
	Fair bool
	// TraceEvery keeps a [Decision] of every n-th assignment, 1 of all; default 0 is none. TraceKeep is how many are
	// kept; default 256.
	TraceEvery, TraceKeep int
}

// Validate tells what is wrong with cfg, or nil.
func (cfg *Config) Validate() error {
	calendars := make(map[string]bool, len(cfg.Calendars))
	for _, c := range cfg.Calendars {
		if c.Name == "" || calendars[c.Name] || c.At == nil {
			return fmt.Errorf("calendar %q is unnamed, named twice, or empty", c.Name)
		}
		calendars[c.Name] = true
	}
	seen := make(map[string]bool, len(cfg.Queues))
	for i := range cfg.Queues {
		q := &cfg.Queues[i]
		if q.Name == "" || seen[q.Name] {
			return fmt.Errorf("queue %q is unnamed or named twice", q.Name)
		}
		seen[q.Name] = true
		if err := q.validate(cfg); err != nil {
			return fmt.Errorf("queue %q %w", q.Name, err)
		}
	}
	teams := make(map[string]bool, len(cfg.Teams))
	for i := range cfg.Teams {
		t := &cfg.Teams[i]
		if t.Name == "" || teams[t.Name] {
			return fmt.Errorf("team %q is unnamed or named twice", t.Name)
		}
		teams[t.Name] = true
		if err := t.validate(cfg); err != nil {
			return err
		}
	}
	shops := make(map[string]bool, len(cfg.Shops))
	for _, s := range cfg.Shops {
		if s.Name == "" || shops[s.Name] || !IsWeight(s.Weight) || s.Floor < 0 || s.Cap < 0 || s.Cap > 0 && s.Cap < s.Floor {
			return fmt.Errorf("shop %q is unnamed, named twice, or has an impossible weight, floor or cap", s.Name)
		}
		if !cfg.knows(s.Calendar) {
			return fmt.Errorf("shop %q goes by %q, which is no calendar", s.Name, s.Calendar)
		}
		shops[s.Name] = true
	}
	for _, m := range cfg.Moves {
		if seen[m.From] || !seen[m.To] {
			return fmt.Errorf("tasks move from %q, which is still a queue, or to %q, which is none", m.From, m.To)
		}
	}
	if cfg.BotGraceMS < 0 || cfg.HumanGraceMS < 0 || cfg.BarMS < 0 || cfg.MaxTasks < 0 || cfg.MaxSlots < 0 || cfg.TraceEvery < 0 || cfg.TraceKeep < 0 {
		return errors.New("a limit of the pool is negative")
	}
	return validateCosts(cfg.Costs)
}

func (q *Queue) validate(cfg *Config) error {
	w := q.Weights
	switch {
	case q.OfferTTLMS < 0 || q.Scoring > Weighted || q.Order > SavableFirst:
		return errors.New("has an impossible offer ttl, scoring or order")
	case !IsWeight(w.Skill) || !IsWeight(w.Load) || !IsWeight(w.Rating) || !IsWeight(q.Weight):
		return errors.New("has a weight that is negative, infinite or no number")
	case q.SLAMS < 0 || q.Floor < 0 || q.Floor == 1 || q.StickyMS < 0 || q.MaxBoostMS < 0:
		return errors.New("has an impossible sla, floor, sticky time or boost")
	case q.Order == SavableFirst && q.SLAMS == 0:
		return errors.New("is savable_first and has no sla")
	case len(q.Steps) > MaxSteps:
		return fmt.Errorf("has %d steps, the limit is %d", len(q.Steps), MaxSteps)
	case !cfg.knows(q.Calendar):
		return fmt.Errorf("goes by %q, which is no calendar", q.Calendar)
	}
	for i := range q.Steps {
		if err := q.Steps[i].validate(cfg); err != nil {
			return err
		}
		if q.Steps[i].Classify && i > 0 {
			return errors.New("has a step that classifies and is not the first")
		}
		for j := range q.Steps[:i] {
			if a, b := &q.Steps[j], &q.Steps[i]; a.Hours.overlaps(b.Hours) && a.AfterMS > b.AfterMS {
				return errors.New("has a step that opens before the one in front of it")
			}
		}
		if i > 0 && q.Steps[i-1].Resort != NoResort && q.Steps[i].Resort == NoResort {
			return errors.New("has a step behind its last resort")
		}
	}
	for _, b := range q.Boosts {
		if b.MS < 0 {
			return errors.New("has a negative boost")
		}
	}
	if n := len(tiers(cfg, q.Name)); n > MaxTiers {
		return fmt.Errorf("has %d different delays, the limit is %d", n, MaxTiers)
	}
	return validateCosts(q.Costs)
}

// IsWeight tells whether somebody can be compared by x: it is finite and not negative.
func IsWeight(x float64) bool { return x >= 0 && x <= math.MaxFloat64 }

// knows tells whether there is a calendar of that name. No name is none.
func (cfg *Config) knows(calendar string) bool {
	return calendar == "" || slices.ContainsFunc(cfg.Calendars, func(c Calendar) bool { return c.Name == calendar })
}

func validateCosts(costs []ChannelCost) error {
	for _, c := range costs {
		if c.Cost < 1 && c.Cost != All {
			return fmt.Errorf("a task of channel %q costs %d slots", c.Channel, c.Cost)
		}
	}
	return nil
}

// tiers returns the different delays with which workers take tasks of a queue, ascending, 0 first.
func tiers(cfg *Config, queue string) []int64 {
	list := []int64{0}
	for i := range cfg.Teams {
		for _, s := range cfg.Teams[i].Seats {
			if s.Queue == queue {
				list = append(list, s.DelayMS)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (cfg Config) withDefaults() Config {
	cfg.BotGraceMS = or(cfg.BotGraceMS, 5_000)
	cfg.HumanGraceMS = or(cfg.HumanGraceMS, 30_000)
	cfg.BarMS = or(cfg.BarMS, 30_000)
	cfg.MaxTasks = or(cfg.MaxTasks, 1<<20)
	cfg.MaxSlots = or(cfg.MaxSlots, 10_000)
	cfg.TraceKeep = or(cfg.TraceKeep, 256)
	cfg.Queues = slices.Clone(cfg.Queues)
	for i := range cfg.Queues {
		q := &cfg.Queues[i]
		q.OfferTTLMS = or(q.OfferTTLMS, 20_000)
		q.Floor = or(q.Floor, 4)
		q.Weight = or(q.Weight, 1)
		if (q.Weights == Weights{}) {
			q.Weights = Weights{Skill: 0.4, Load: 0.3, Rating: 0.3}
		}
		if len(q.Steps) == 0 {
			q.Steps = []Step{{Who: Bots, Hours: AnyTime}, {Who: Humans}}
		}
	}
	return cfg
}

func or[T int | int64 | float64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}
