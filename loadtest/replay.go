package loadtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"switchboard/client"
	"switchboard/wire"
)

// Replay plays dialogues through real sockets and compares what everybody received with what was sent. The zero value
// of a field means its default.
type Replay struct {
	// Addr is host:port of the node.
	Addr string
	// Token mints a token for a role, and for workers a kind.
	Token func(role wire.Role, kind wire.Origin, sub string) (string, error)
	// Dialogues to play, each Repeat times (default 1).
	Dialogues []Dialogue
	Repeat    int
	// Queue that customers wait in and workers serve; default "default". Nobody else may serve it.
	Queue string
	// Speed is how many seconds of a dialogue pass in one; default 100.
	Speed float64
	// Disconnects is the share of turns, 0 to 1, at which a connection of the customer is cut, and independently one of
	// the worker who answers.
	Disconnects float64
	// HandOff is the share of dialogues, 0 to 1, that move from a bot to a human.
	HandOff float64
	// Seed decides what happens to whom. The same seed and dialogues plan the same.
	Seed uint64
	// Concurrency is how many dialogues are played at a time; default 64. It is scaled down to what the process may open.
	Concurrency int
	// Bots and Humans are the workers, each with a connection of its own; default 2 and 3.
	Bots, Humans int
	// SameProcess says that the node runs in this process, so that each connection takes two of its files.
	SameProcess bool
	// Timeout bounds the play; default 5 minutes. (The workers before it have 30 seconds to be there.) Patience is how long a dialogue may stand still
	// after its last message; default 30 seconds.
	Timeout, Patience time.Duration
	// Progress is told what happens; may be nil.
	Progress func(string)

	tamper func(answer []byte, turn, part int) [][]byte // tests: what a worker says instead
}

// Validate fills in the defaults and reports what makes no sense. Run calls it.
func (r *Replay) Validate() error {
	set := func(v *int, otherwise int) {
		if *v <= 0 {
			*v = otherwise
		}
	}
	set(&r.Repeat, 1)
	set(&r.Concurrency, 64)
	set(&r.Bots, 2)
	set(&r.Humans, 3)
	if r.Queue == "" {
		r.Queue = "default"
	}
	if r.Speed == 0 {
		r.Speed = 100
	}
	if r.Timeout == 0 {
		r.Timeout = 5 * time.Minute
	}
	if r.Patience == 0 {
		r.Patience = 30 * time.Second
	}
	if r.Progress == nil {
		r.Progress = func(string) {}
	}
	share := func(v float64) bool { return v >= 0 && v <= 1 }
	switch {
	case r.Addr == "" || r.Token == nil:
		return errors.New("a replay needs an address and tokens")
	case len(r.Dialogues) == 0:
		return errors.New("a replay needs dialogues")
	case !share(r.Disconnects) || !share(r.HandOff):
		return errors.New("disconnects and handoff are shares: they must be between 0 and 1")
	case r.Speed < 0.01 || r.Speed > 1e6:
		return errors.New("the speed must be between 0.01 and 1,000,000")
	}
	return nil
}

// replay is one run.
type replay struct {
	Replay
	name  string // of the run: tells its customers from those of others
	all   []*conversation
	start time.Time
	m     meters

	wg      sync.WaitGroup // workers
	workers []*desk

	mu sync.Mutex
	// Guarded by mu.
	done int   // conversations
	err  error // of a worker that was refused for good
}

// Run does it. The error is about the run itself; the verdict is in the result. It ends by itself, and early, with
// an error, when ctx does.
func (r Replay) Run(ctx context.Context) (*ReplayResult, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	run := &replay{Replay: r, name: strconv.FormatInt(time.Now().UnixNano(), 36)}
	run.m.init()
	if err := run.fit(); err != nil {
		return nil, err
	}
	lanes := run.plan()
	res := run.result()
	working, dismiss := context.WithCancel(ctx)
	defer dismiss()
	if err := run.employ(working); err != nil {
		dismiss()
		run.wg.Wait()
		return nil, err
	}
	run.Progress(fmt.Sprintf("playing %d dialogues, %d at a time, with %d bots and %d humans; seed %d", len(run.all), len(lanes), r.Bots, r.Humans, r.Seed))
	run.play(working, lanes)
	took := time.Since(run.start)
	dismiss()
	run.wg.Wait()
	if err := errors.Join(ctx.Err(), run.err); err != nil {
		return nil, err
	}
	run.Progress("comparing with the history")
	run.audit(ctx)
	run.judge(res, took)
	return res, ctx.Err()
}

// play plays the lanes, each one dialogue after the other.
func (r *replay) play(ctx context.Context, lanes [][]*conversation) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	var playing sync.WaitGroup
	r.start = time.Now()
	for _, lane := range lanes {
		playing.Go(func() {
			for _, c := range lane {
				r.converse(ctx, c)
				r.mu.Lock()
				r.done++
				r.mu.Unlock()
			}
		})
	}
	over := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { r.tell(over) })
	playing.Wait()
	close(over)
	telling.Wait()
}

// tell tells how far it is.
func (r *replay) tell(over chan struct{}) {
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-over:
			return
		case <-t.C:
		}
		r.mu.Lock()
		done := r.done
		r.mu.Unlock()
		r.Progress(fmt.Sprintf("%d of %d dialogues, %d messages, %.0f s", done, len(r.all), r.m.messages(), time.Since(r.start).Seconds()))
	}
}

// config is how every client of the replay connects.
func (r *replay) config(token string, d *disturber, number int) client.Config {
	return client.Config{
		URL: "ws://" + r.Addr + "/v1/connect", Token: client.StaticToken(token), Client: "loadtest", Dial: d.dial,
		Protobuf: number%2 == 1, // half of them speak each
		// A connection that dies within half of BackoffMax makes the next pause longer. Time is compressed, and a worker is cut
		// several times a second: with a usual maximum the workers would be away most of the time.
		BackoffMin: 5 * time.Millisecond, BackoffMax: 100 * time.Millisecond, Tries: 100,
	}
}

// until waits for a moment of the schedule. It reports whether ctx still lives.
func (r *replay) until(ctx context.Context, due time.Duration) bool {
	if left := due - time.Since(r.start); left > 0 {
		return wait(ctx, left) == nil
	}
	return ctx.Err() == nil
}
