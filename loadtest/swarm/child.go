package swarm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime/debug"
	"sync"
	"time"

	"switchboard/loadtest/scenario"
)

// order is what a swarm tells an agent, one JSON object a line.
type order struct {
	Plan *plan `json:"plan,omitempty"` // the first: connect
	Go   int64 `json:"go,omitempty"`   // the second: the moment at which the steady time begins
	Stop bool  `json:"stop,omitempty"` // if it comes: the steady time ends now
	Home bool  `json:"home,omitempty"` // if it comes, the last: nobody waits for anything any more
}

// news is what an agent tells, one JSON object a line.
type news struct {
	Agent  int      `json:"agent"`
	Sample *sample  `json:"sample,omitempty"`
	Ready  bool     `json:"ready,omitempty"`
	Idle   bool     `json:"idle,omitempty"` // its customers wait for nothing any more; those of others may, for its workers
	Done   *finding `json:"done,omitempty"` // the last
	Err    string   `json:"err,omitempty"`  // the last
	Late   bool     `json:"late,omitempty"` // Err says that it took too long
}

// sampling is how often an agent tells how it goes.
const sampling = time.Second

// work is an agent from its plan to its end. When stop is closed the steady time ends, and when home is nobody waits any more. tell is called by
// one goroutine at a time.
func (a *agent) work(ctx context.Context, start <-chan int64, stop, home <-chan struct{}, tell func(news)) {
	ctx, cancel := context.WithCancel(ctx)
	var mu sync.Mutex
	left := false // guarded by mu
	say := func(n news) {
		mu.Lock()
		defer mu.Unlock()
		n.Agent = a.Index
		tell(n)
	}
	sample := func(last bool) {
		mu.Lock() // one that was taken first is told first
		defer mu.Unlock()
		if left {
			return
		}
		left = last // one that was due at the same moment would count those who have gone as lost
		s, err := a.m.sample(a.now())
		if s.Last = last; err == nil {
			tell(news{Agent: a.Index, Sample: &s})
		}
	}
	debug.FreeOSMemory() // what a run before this one left would be there already, and nothing charged to the sockets of this
	var sampler sync.WaitGroup
	sampler.Go(func() {
		for next := a.now(); a.sleep(ctx, next); next += int64(sampling) {
			sample(false)
		}
	})
	err := a.ramp(ctx)
	if err == nil {
		debug.FreeOSMemory() // connecting takes stacks and buffers that holding does not, and would be charged to each socket
		sample(false)
		say(news{Ready: true})
		select {
		case zero := <-start:
			err = a.steady(ctx, zero, stop, func() bool { return a.over(home, say) })
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	sample(true) // with everybody still there
	f := a.m.finding()
	cancel()
	sampler.Wait()
	a.wg.Wait()
	f.Open = a.open
	last := news{Done: &f}
	if err != nil {
		last = news{Err: err.Error(), Late: errors.Is(err, errLate)}
	}
	say(last)
}

// Agent is one process of a swarm: it takes orders from in and tells what it sees on out, until it is done or in ends.
func Agent(ctx context.Context, in io.Reader, out io.Writer, mint Mint) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	read := func() (o order, err error) {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return o, fmt.Errorf("waiting for orders: %w", err)
		}
		if err := json.Unmarshal(line, &o); err != nil {
			return o, fmt.Errorf("an order that is none: %w", err)
		}
		return o, nil
	}
	first, err := read()
	if err != nil {
		return err
	}
	if first.Plan == nil {
		return errors.New("the first order must be a plan: this command is started by `loadtest run`")
	}
	sc, err := scenario.Parse("plan", []byte(first.Plan.Doc), first.Plan.Sets...)
	if err != nil {
		return err
	}
	fileLimit()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	start, stop, home := make(chan int64, 1), make(chan struct{}), make(chan struct{})
	halt, leave := sync.OnceFunc(func() { close(stop) }), sync.OnceFunc(func() { close(home) })
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			switch o, err := read(); {
			case err != nil: // whoever started it has ended
				cancel(err)
				return
			case o.Stop:
				halt()
			case o.Home:
				leave()
			default:
				start <- o.Go
			}
		}
	})
	enc := json.NewEncoder(out)
	a, err := newAgent(*first.Plan, sc, mint)
	if err != nil {
		return err
	}
	a.work(ctx, start, stop, home, func(n news) {
		if err := enc.Encode(n); err != nil {
			cancel(err)
		}
	})
	return nil // the reader of in ends with the process
}

// hand is how a swarm leads one agent.
type hand struct {
	start func(zero int64) error
	stop  func() // ends the steady time; once
	home  func() // tells that nobody waits for anything any more; once
	end   func()
}

// inside starts an agent in this process.
func (s *Swarm) inside(ctx context.Context, wg *sync.WaitGroup, pl plan, tell func(news)) (hand, error) {
	a, err := newAgent(pl, s.Scenario, s.Mint)
	if err != nil {
		return hand{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	start, stop, home := make(chan int64, 1), make(chan struct{}), make(chan struct{})
	wg.Go(func() { a.work(ctx, start, stop, home, tell) })
	return hand{start: func(zero int64) error { start <- zero; return nil }, stop: func() { close(stop) }, home: func() { close(home) }, end: cancel}, nil
}

// outside starts an agent in a process of its own.
func (s *Swarm) outside(ctx context.Context, wg *sync.WaitGroup, pl plan, tell func(news)) (hand, error) {
	data := ""
	if s.Node != nil {
		data = s.nodes[pl.Index%len(s.nodes)].data
	}
	cmd := s.Spawn(ctx, data)
	in, err := cmd.StdinPipe()
	if err != nil {
		return hand{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return hand{}, err
	}
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return hand{}, fmt.Errorf("starting process %d of the load generator: %w", pl.Index, err)
	}
	enc := json.NewEncoder(in)
	wg.Go(func() {
		last := false
		dec := json.NewDecoder(out)
		for {
			var n news
			if dec.Decode(&n) != nil {
				break
			}
			last = n.Done != nil || n.Err != ""
			tell(n)
			if last {
				break
			}
		}
		_ = in.Close()
		err := cmd.Wait()
		if !last {
			tell(news{Agent: pl.Index, Err: fmt.Sprintf("process %d of the load generator ended early: %v", pl.Index, exited(err))})
		}
	})
	if err := enc.Encode(order{Plan: &pl}); err != nil {
		_ = in.Close()
		return hand{}, fmt.Errorf("telling process %d its plan: %w", pl.Index, err)
	}
	say := func(o order) func() { return func() { _ = enc.Encode(o) } } // whoever cannot be told has ended, and that is heard
	return hand{start: func(zero int64) error { return enc.Encode(order{Go: zero}) }, stop: say(order{Stop: true}), home: say(order{Home: true}), end: func() { _ = in.Close() }}, nil
}

func exited(err error) error {
	var e *exec.ExitError
	if errors.As(err, &e) || err == nil {
		return fmt.Errorf("it says why above (%w)", errors.Join(err))
	}
	return err
}
