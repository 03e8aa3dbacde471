package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load is the work of one turn, the same for every peer: customers' messages go to exactly one worker each, and the worker's
// answer (the same body) goes back to that customer.
//
// A body begins with 32 hexadecimal digits: 8 of the run, 8 of the customer, 16 of the message's number. So whatever is
// lost, comes twice, comes out of order, or was left over by somebody else is seen.
type Load struct {
	// Fixed before it starts.
	Customers, Workers, Body int
	Warm, Time               time.Duration
	// Rate is round trips a second on schedule, whether or not earlier ones were answered, and latency counts from the
	// moment a message was due. 0: each customer sends the next message when the last was answered.
	Rate float64

	run    string
	swarm  Swarm
	filler []byte
	start  time.Time
	people []*person
	lag    *hdrhistogram.Histogram // of the schedule; owned by pace

	// Shared.
	from, until atomic.Int64 // ns since start: the measured window; 0: not yet
	counted     atomic.Uint64
	twice       atomic.Uint64
	disorder    atomic.Uint64
	strange     atomic.Uint64
	fault       atomic.Pointer[error]
	took        took
}

// took are latencies of all customers: a histogram of his own would cost 139 KB for each.
type took [16]struct {
	mu   sync.Mutex
	hist *hdrhistogram.Histogram // guarded by mu; nil when empty
}

func (t *took) record(i int, d time.Duration) {
	s := &t[i%len(t)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hist == nil {
		s.hist = newHistogram()
	}
	_ = s.hist.RecordValue(min(d.Microseconds(), microsMax)) // bounded: cannot fail
}

// person is one customer.
type person struct {
	index int
	say   sync.Mutex // held while it sends

	mu sync.Mutex
	// Guarded by mu.
	due     []time.Duration // of each message, since start; answered: negative
	last    int             // the highest answer so far, -1: none
	waiting int
}

const (
	answered  = -1
	header    = 32
	drainMax  = 8 * time.Second
	microsMax = 120_000_000
)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, microsMax, 3) }

func newLoad(cfg *Config, rate float64) *Load {
	l := &Load{
		Customers: cfg.Customers, Workers: cfg.Workers, Body: cfg.Body, Warm: cfg.Warm, Time: cfg.Time, Rate: rate,
		run: fmt.Sprintf("%08x", rand.Uint32()), lag: newHistogram(),
	}
	l.filler = make([]byte, max(l.Body-header, 0))
	for i := range l.filler {
		l.filler[i] = 'a' + byte(i%26)
	}
	for i := range l.Customers {
		l.people = append(l.people, &person{index: i, last: -1})
	}
	return l
}

// Measure runs the load over s; sample is called when the measured window begins and when it ends.
func (l *Load) Measure(ctx context.Context, s Swarm, sample func()) error {
	l.swarm, l.start = s, time.Now()
	if l.Rate > 0 {
		return l.onSchedule(ctx, sample)
	}
	for i := range l.people {
		if err := l.say(i, time.Since(l.start)); err != nil {
			return err
		}
	}
	if err := l.wait(ctx, l.Warm); err != nil {
		return err
	}
	sample()
	l.from.Store(int64(time.Since(l.start)))
	if err := l.wait(ctx, l.Time); err != nil {
		return err
	}
	l.until.Store(int64(time.Since(l.start)))
	sample()
	return l.failed()
}

// wait lets it run for d, or until ctx is done or something failed.
func (l *Load) wait(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	for left := d; left > 0; left = time.Until(end) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(left, 100*time.Millisecond)):
		}
		if err := l.failed(); err != nil {
			return err
		}
	}
	return nil
}

// say sends customer i's next message, which was due at due.
func (l *Load) say(i int, due time.Duration) error {
	p := l.people[i]
	p.say.Lock()
	defer p.say.Unlock()
	p.mu.Lock()
	seq := len(p.due)
	p.due = append(p.due, due)
	p.waiting++
	p.mu.Unlock()
	b := make([]byte, 0, header+len(l.filler)) // the client may keep it
	b = append(b, l.run...)
	b = fmt.Appendf(b, "%08x%016x", i, seq)
	b = append(b, l.filler...)
	if err := l.swarm.Say(i, b); err != nil {
		return fmt.Errorf("customer %d sends message %d: %w", i, seq, err)
	}
	return nil
}

// Heard is told by a peer's customer i what came. body is not kept.
func (l *Load) Heard(i int, body []byte) {
	now := time.Since(l.start)
	if len(body) < header || string(body[:8]) != l.run {
		l.strange.Add(1)
		return
	}
	who, err1 := strconv.ParseUint(string(body[8:16]), 16, 32)
	seq, err2 := strconv.ParseUint(string(body[16:32]), 16, 32)
	if err1 != nil || err2 != nil || int(who) != i {
		l.Fail(fmt.Errorf("customer %d heard what was meant for another: %.32s", i, body))
		return
	}
	p := l.people[i]
	p.mu.Lock()
	again := int(seq) >= len(p.due) || p.due[seq] == answered
	if !again {
		l.record(p, now, p.due[seq])
		p.due[seq] = answered
		p.waiting--
		if int(seq) < p.last {
			l.disorder.Add(1)
		}
		p.last = max(p.last, int(seq))
	}
	p.mu.Unlock()
	if again {
		l.twice.Add(1)
		return
	}
	if l.Rate == 0 && l.until.Load() == 0 {
		if err := l.say(i, now); err != nil {
			l.Fail(err)
		}
	}
}

// record counts an answer that belongs to the measured window: in a closed loop when it came in it, on schedule when its
// message was due in it.
func (l *Load) record(p *person, now, due time.Duration) {
	at := now
	if l.Rate > 0 {
		at = due
	}
	from, until := time.Duration(l.from.Load()), time.Duration(l.until.Load())
	if from == 0 || at < from || until > 0 && at >= until {
		return
	}
	l.counted.Add(1)
	l.took.record(p.index, now-due)
}

// Fail ends the turn with err, unless it is over.
func (l *Load) Fail(err error) {
	if err != nil && l.until.Load() == 0 {
		l.fault.CompareAndSwap(nil, &err)
	}
}

func (l *Load) failed() error {
	if err := l.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// waiting counts the messages without an answer.
func (l *Load) waiting() (n int) {
	for _, p := range l.people {
		p.mu.Lock()
		n += p.waiting
		p.mu.Unlock()
	}
	return n
}

// drain waits until all that is under way was answered, or for drainMax.
func (l *Load) drain(ctx context.Context) error {
	for end := time.Now().Add(drainMax); l.waiting() > 0 && time.Now().Before(end); {
		if err := l.wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// latencies returns the latencies of the window in microseconds.
func (l *Load) latencies() *hdrhistogram.Histogram {
	all := newHistogram()
	for i := range l.took {
		s := &l.took[i]
		s.mu.Lock()
		if s.hist != nil {
			all.Merge(s.hist)
		}
		s.mu.Unlock()
	}
	return all
}

var errNone = errors.New("no message of the window was answered within 8 s of its end")
