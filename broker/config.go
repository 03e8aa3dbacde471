package broker

import (
	"errors"
	"fmt"
	"slices"
)

// Who may serve a step.
type Who uint8

// The choices of Who.
const (
	Any Who = iota
	Bots
	Humans
)

// Step is one step of a route. Steps are tried in order: a later one gets a task only when no worker of an earlier one
// can take it at that moment.
type Step struct {
	Who     Who
	AfterMS int64 // the step is closed to a task that has waited less; not below the step before
}

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
)

// Queue is one waiting line.
type Queue struct {
	Name       string
	Steps      []Step  // default: bots, and humans when no bot can take it
	OfferTTLMS int64   // how long a human may think about an offer; default 20,000
	Scoring    Scoring // default Banded
	Order      Order   // default Ageing
	Priority   int32   // a worker of several queues serves the smaller one first; default 0
}

// Config is what one pool is made of. Zero means default.
type Config struct {
	Queues       []Queue
	BotGraceMS   int64 // how long a bot without connection keeps its sessions [SW-5.7]; default 5,000
	HumanGraceMS int64 // the same of humans; default 30,000
	// BarMS is how long a task is kept from a worker who declined it, or whom its session excludes. Default 30,000. Then
	// it may come again: better twice to the same than never to anybody.
	BarMS int64
	// MaxTasks bounds the sessions that wait, are offered or assigned; beyond it a task is rejected as overloaded.
	// Default 1,048,576.
	MaxTasks int
	MaxSlots int // the most slots of one worker; more are refused as bad_request; default 10,000
}

// Validate tells what is wrong with cfg, or nil.
func (cfg *Config) Validate() error {
	seen := make(map[string]bool, len(cfg.Queues))
	for _, q := range cfg.Queues {
		if q.Name == "" || seen[q.Name] {
			return fmt.Errorf("queue %q is unnamed or named twice", q.Name)
		}
		seen[q.Name] = true
		if q.OfferTTLMS < 0 || q.Scoring > Weighted || q.Order > FIFO {
			return fmt.Errorf("queue %q has an impossible offer ttl, scoring or order", q.Name)
		}
		if !slices.IsSortedFunc(q.Steps, func(a, b Step) int { return int(min(max(a.AfterMS-b.AfterMS, -1), 1)) }) {
			return fmt.Errorf("queue %q has a step that opens before the one in front of it", q.Name)
		}
		for _, s := range q.Steps {
			if s.Who > Humans || s.AfterMS < 0 {
				return fmt.Errorf("queue %q has an impossible step", q.Name)
			}
		}
	}
	if cfg.BotGraceMS < 0 || cfg.HumanGraceMS < 0 || cfg.BarMS < 0 || cfg.MaxTasks < 0 || cfg.MaxSlots < 0 {
		return errors.New("a limit of the pool is negative")
	}
	return nil
}

func (cfg Config) withDefaults() Config {
	cfg.BotGraceMS = or(cfg.BotGraceMS, 5_000)
	cfg.HumanGraceMS = or(cfg.HumanGraceMS, 30_000)
	cfg.BarMS = or(cfg.BarMS, 30_000)
	cfg.MaxTasks = or(cfg.MaxTasks, 1<<20)
	cfg.MaxSlots = or(cfg.MaxSlots, 10_000)
	cfg.Queues = slices.Clone(cfg.Queues)
	for i := range cfg.Queues {
		q := &cfg.Queues[i]
		q.OfferTTLMS = or(q.OfferTTLMS, 20_000)
		if len(q.Steps) == 0 {
			q.Steps = []Step{{Who: Bots}, {Who: Humans}}
		}
	}
	return cfg
}

func or[T int | int64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}
