package broker

// Scoring says how the best of several workers is found.
type Scoring uint8

// The ways to score. Ties go to whoever was assigned something the longest time ago, then to the lower id.
const (
	// Banded takes the least loaded band first (quarters of the slots in use), and the best score inside it.
	Banded Scoring = iota
	// Weighted is 0.4·skill + 0.3·(1−load) + 0.3·rating.
	Weighted
)

// Order says which of the waiting sessions comes next.
type Order uint8

// The orders. All are first in, first out inside one priority [I4].
const (
	// Ageing serves by the time of queueing less a boost per priority: nobody is overtaken for longer than that [I5].
	Ageing Order = iota
	// Strict serves a higher priority before every lower one.
	Strict
	// FIFO ignores priorities.
	FIFO
)

// Queue is how one queue is served.
type Queue struct {
	Name    string
	Scoring Scoring
	Order   Order
	// BoostMS is the advance of one step of priority under Ageing; default 60,000.
	BoostMS int64
	// OfferTTLMS is how long a human may think about an offer; default 20,000 [SW-5.2].
	OfferTTLMS int64
	// HumansAfterMS is when humans get what ready bots have not taken; default 10,000. Without a ready bot they get it
	// at once.
	HumansAfterMS int64
}

// Config is one pool.
type Config struct {
	Queues        []Queue
	GraceBotsMS   int64 // how long a bot's assignments wait for it to come back; default 5,000 [SW-5.7]
	GraceHumansMS int64 // and a human's; default 30,000
	LeaseMS       int64 // told to workers: a connection silent for longer counts as ended; default 15,000
	RepeatMS      int64 // a grant without an answer is repeated after so long; default 1,000
}

func (c *Config) defaults() {
	set := func(v *int64, otherwise int64) {
		if *v == 0 {
			*v = otherwise
		}
	}
	set(&c.GraceBotsMS, 5_000)
	set(&c.GraceHumansMS, 30_000)
	set(&c.LeaseMS, 15_000)
	set(&c.RepeatMS, 1_000)
	for i := range c.Queues {
		q := &c.Queues[i]
		set(&q.BoostMS, 60_000)
		set(&q.OfferTTLMS, 20_000)
		set(&q.HumansAfterMS, 10_000)
	}
}
