package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/loadtest/socket"
)

// RoundTrip is the broker's daily bread under load: a customer's message becomes durable, goes to a bot, and the bot's
// answer becomes durable and goes back.
type RoundTrip struct {
	// Addr is host:port of the node.
	Addr string
	// Token mints a token for a role (customer or worker) and a sub.
	Token func(role, sub string) (string, error)
	// Customers and Workers are how many sockets each; default 1,000 and 8.
	Customers, Workers int
	// Body is the size of each body in bytes; default 256.
	Body int
	// Rate is round trips a second, sent on schedule: latency counts from the moment that a message was due. 0 sends the
	// next message when the last was answered, as fast as it goes.
	Rate float64
	// Warm and Time are how long it runs before and while it measures; default 2 s and 5 s.
	Warm, Time time.Duration
	// Keys gives every message an idempotency key.
	Keys bool
	// Progress is told what happens; may be nil.
	Progress func(string)
}

// RoundTripResult is what was measured.
type RoundTripResult struct {
	Customers int     `json:"customers"`
	Workers   int     `json:"workers"`
	Body      int     `json:"body_bytes"`
	Rate      float64 `json:"rate"`
	Sent      uint64  `json:"sent"`
	Answered  uint64  `json:"answered"`
	Late      uint64  `json:"unanswered"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"round_trips_per_second"`
	P50       float64 `json:"p50_ms"`
	P90       float64 `json:"p90_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p999_ms"`
	Max       float64 `json:"max_ms"`
}

// Run does it. It ends by itself, and early when ctx does.
func (r RoundTrip) Run(ctx context.Context) (RoundTripResult, error) {
	r.defaults()
	run := &roundTrip{RoundTrip: r, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer run.wg.Wait()
	defer run.closeAll()
	if err := run.connect(ctx); err != nil {
		return RoundTripResult{}, err
	}
	r.Progress(fmt.Sprintf("%d customers and %d workers are connected", r.Customers, r.Workers))
	return run.measure(ctx)
}

func (r *RoundTrip) defaults() {
	set := func(v *int, otherwise int) {
		if *v == 0 {
			*v = otherwise
		}
	}
	set(&r.Customers, 1000)
	set(&r.Workers, 8)
	set(&r.Body, 256)
	if r.Warm == 0 {
		r.Warm = 2 * time.Second
	}
	if r.Time == 0 {
		r.Time = 5 * time.Second
	}
	if r.Progress == nil {
		r.Progress = func(string) {}
	}
}

// roundTrip is one run.
type roundTrip struct {
	RoundTrip
	people []*person
	bots   []*socket.Socket
	done   chan struct{}
	wg     sync.WaitGroup
	from   atomic.Int64 // ns since start: answers before it do not count
	start  time.Time
	sent   atomic.Uint64
	took   latencies
	fault  atomic.Pointer[error] // what ended a worker
}

// errLimited says that the node has kept a customer to its limits.
var errLimited = errors.New("the node's limits are those for people, and refuse the load: start it with limits: {rate: 100000, burst: 100000, inflight: 100000} in its configuration")

// person is one customer's socket.
type person struct {
	index   int
	s       *socket.Socket
	session string
	frame   []byte
	next    uint64

	mu sync.Mutex
	// Guarded by mu.
	due      []time.Duration // when the messages without answer were due, oldest first
	answered uint64
	err      error
}

func (r *roundTrip) connect(ctx context.Context) error {
	for i := range r.Workers {
		s, err := r.login(ctx, "worker", "load-bot-"+strconv.Itoa(i))
		if err != nil {
			return err
		}
		r.bots = append(r.bots, s)
		if err := s.Send([]byte(`{"id":2,"subscribe":{"queues":["default"],"slots":10000,"window":64}}`)); err != nil {
			return err
		}
		if _, err := s.Answer("subscribe"); err != nil {
			return err
		}
		r.wg.Go(func() { r.serve(s) })
	}
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	for i := range r.Customers {
		s, err := r.login(ctx, "customer", "load-"+run+"-"+strconv.Itoa(i))
		if err != nil {
			return err
		}
		if err := s.Send([]byte(`{"id":2,"open":{"queue":"default"}}`)); err != nil {
			return err
		}
		frame, err := s.Answer("open")
		if err != nil {
			return err
		}
		p := &person{index: i, s: s, session: string(socket.Field([]byte(frame), `"session":`)), next: 3}
		r.people = append(r.people, p)
		if i > 0 && i%1000 == 0 {
			r.Progress(fmt.Sprintf("%d of %d customers are connected", i, r.Customers))
		}
	}
	return nil
}

func (r *roundTrip) login(ctx context.Context, role, sub string) (*socket.Socket, error) {
	tok, err := r.Token(role, sub)
	if err != nil {
		return nil, err
	}
	s, err := socket.Dial(ctx, r.Addr, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := s.Hello(tok); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (r *roundTrip) closeAll() {
	close(r.done)
	for _, s := range r.bots {
		s.Close()
	}
	for _, p := range r.people {
		p.s.Close()
	}
}

// serve is a bot: it answers every delivery with a body of the same size, all answers of a message at once.
func (r *roundTrip) serve(s *socket.Socket) {
	body := bytes.Repeat([]byte{'b'}, max(r.Body-2, 1))
	var out []byte
	id := uint64(10)
	for {
		msg, err := s.Read()
		if err != nil {
			r.lost(err)
			return
		}
		out = out[:0]
		for len(msg) > 0 {
			frame := msg
			if i := bytes.IndexByte(msg, '\n'); i >= 0 {
				frame, msg = msg[:i], msg[i+1:]
			} else {
				msg = nil
			}
			if !bytes.HasPrefix(frame, []byte(`{"delivery":`)) || !bytes.Contains(frame, []byte(`"origin":"customer"`)) {
				continue
			}
			id++
			if len(out) > 0 {
				out = append(out, '\n')
			}
			out = append(out, `{"id":`...)
			out = strconv.AppendUint(out, id, 10)
			out = append(out, `,"reply":{"session":"`...)
			out = append(out, socket.Field(frame, `"session":`)...)
			out = append(out, `","ae":`...)
			out = append(out, socket.Field(frame, `"ae":`)...)
			out = append(out, `,"ack":`...)
			out = append(out, socket.Field(frame, `"seq":`)...)
			out = append(out, `,"type":"text","body":"`...)
			out = append(out, body...)
			out = append(out, `"}}`...)
			if len(out) > 48<<10 {
				if err := s.Send(out); err != nil {
					r.lost(err)
					return
				}
				out = out[:0]
			}
		}
		if len(out) > 0 {
			if err := s.Send(out); err != nil {
				r.lost(err)
				return
			}
		}
	}
}

// lost takes note that a worker's connection has ended before the run did: without him there is no result.
func (r *roundTrip) lost(err error) {
	select {
	case <-r.done:
	default:
		err = fmt.Errorf("a worker's connection ended: %w", err)
		r.fault.CompareAndSwap(nil, &err)
	}
}

// say sends p's next message, which was due at due.
func (p *person) say(r *roundTrip, body []byte, due time.Duration) error {
	p.mu.Lock()
	p.due = append(p.due, due)
	p.mu.Unlock()
	f := append(p.frame[:0], `{"id":`...)
	f = strconv.AppendUint(f, p.next, 10)
	f = append(f, `,"send":{"session":"`...)
	f = append(f, p.session...)
	if r.Keys {
		f = append(f, `","key":"k`...)
		f = strconv.AppendUint(f, p.next, 10)
	}
	f = append(f, `","type":"text","body":"`...)
	f = append(f, body...)
	f = append(f, `"}}`...)
	p.frame = f
	p.next++
	r.sent.Add(1)
	return p.s.Send(f)
}

// listen counts the answers of the bots. Without a rate each answer is followed by the next message.
func (r *roundTrip) listen(p *person, body []byte) {
	for {
		msg, err := p.s.Read()
		if err != nil {
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
			return
		}
		n := bytes.Count(msg, []byte(`"origin":"bot"`))
		if bytes.Contains(msg, []byte(`"error":`)) {
			p.mu.Lock()
			if p.err = fmt.Errorf("the server answered %.200s", msg); bytes.Contains(msg, []byte(`"slug":"rate_limited"`)) || bytes.Contains(msg, []byte(`"slug":"too_many_inflight"`)) {
				p.err = errLimited
			}
			p.mu.Unlock()
		}
		for range n {
			now := time.Since(r.start)
			p.mu.Lock()
			var due time.Duration
			if len(p.due) > 0 {
				due = p.due[0]
				p.due = append(p.due[:0], p.due[1:]...)
			}
			if int64(due) >= r.from.Load() && r.from.Load() > 0 {
				p.answered++
				r.took.record(p.index, now-due)
			}
			p.mu.Unlock()
			select {
			case <-r.done:
				return
			default:
			}
			if r.Rate == 0 && p.say(r, body, now) != nil {
				return
			}
		}
	}
}

func (r *roundTrip) measure(ctx context.Context) (RoundTripResult, error) {
	body := bytes.Repeat([]byte{'c'}, max(r.Body-2, 1))
	r.start = time.Now()
	for _, p := range r.people {
		r.wg.Go(func() { r.listen(p, body) })
	}
	if r.Rate == 0 {
		for _, p := range r.people {
			if err := p.say(r, body, time.Since(r.start)); err != nil {
				return RoundTripResult{}, err
			}
		}
		if err := wait(ctx, r.Warm); err != nil {
			return RoundTripResult{}, err
		}
		r.from.Store(int64(time.Since(r.start)))
		if err := wait(ctx, r.Time); err != nil {
			return RoundTripResult{}, err
		}
		return r.result(time.Since(r.start) - time.Duration(r.from.Load()))
	}
	return r.schedule(ctx, body)
}

// schedule sends at the rate, each message from the next customer, whether or not earlier ones were answered.
func (r *roundTrip) schedule(ctx context.Context, body []byte) (RoundTripResult, error) {
	gap := time.Duration(float64(time.Second) / r.Rate)
	end := r.Warm + r.Time
	for i, due := 0, time.Duration(0); due < end; i, due = i+1, due+gap {
		if due >= r.Warm && r.from.Load() == 0 {
			r.from.Store(int64(due))
			r.sent.Store(0)
		}
		if now := time.Since(r.start); now < due {
			if err := wait(ctx, due-now); err != nil {
				return RoundTripResult{}, err
			}
		}
		if err := r.people[i%len(r.people)].say(r, body, due); err != nil {
			return RoundTripResult{}, err
		}
	}
	for range 80 { // what is under way gets up to 8 s
		if r.open() == 0 {
			break
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return RoundTripResult{}, err
		}
	}
	return r.result(r.Time)
}

// open counts the messages without an answer.
func (r *roundTrip) open() (n int) {
	for _, p := range r.people {
		p.mu.Lock()
		n += len(p.due)
		p.mu.Unlock()
	}
	return n
}

func (r *roundTrip) result(took time.Duration) (RoundTripResult, error) {
	out := RoundTripResult{Customers: r.Customers, Workers: r.Workers, Body: r.Body, Rate: r.Rate, Seconds: took.Seconds(), Sent: r.sent.Load()}
	all := r.took.sum()
	var errs []error
	if err := r.fault.Load(); err != nil {
		errs = append(errs, *err)
	}
	for _, p := range r.people {
		p.mu.Lock()
		out.Answered += p.answered
		if r.Rate > 0 {
			out.Late += uint64(len(p.due))
		}
		if p.err != nil && len(errs) < 3 && (!errors.Is(p.err, errLimited) || !slices.Contains(errs, errLimited)) {
			errs = append(errs, p.err)
		}
		p.mu.Unlock()
	}
	out.PerSecond = float64(out.Answered) / took.Seconds()
	ms := func(q float64) float64 { return float64(all.ValueAtQuantile(q)) / 1000 }
	out.P50, out.P90, out.P99, out.P999, out.Max = ms(50), ms(90), ms(99), ms(99.9), float64(all.Max())/1000
	return out, errors.Join(errs...)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
