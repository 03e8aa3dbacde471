package swarm

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"switchboard/loadtest/report"
	"switchboard/loadtest/scenario"
)

// Swarm is one run of a scenario.
type Swarm struct {
	// Scenario to run; Doc and Sets are what it was parsed from, for other processes.
	Scenario *scenario.Scenario
	Doc      string
	Sets     []string
	// Addr is host:port of the node. With Node it is empty.
	Addr string
	// Trust is how the node is believed, when it speaks TLS; nil is in the clear. With Node it is Node's to say.
	Trust *Trust
	// Node starts a node of the run's own; nil for one that runs.
	Node *OwnNode
	// Mint makes tokens.
	Mint Mint
	// Processes of the load generator; 0 is as many as the limit of open files asks for.
	Processes int
	// Spawn returns the command of one such process, which calls [Agent]; it ends with ctx. data is the directory of a node
	// of the run's own, empty otherwise. nil allows one process, inside.
	Spawn func(ctx context.Context, data string) *exec.Cmd
	// Remote allows a node that is not on loopback.
	Remote bool
	// Stop ends the steady time when it is closed: what is under way may end, and is audited, and the result says that it was stopped. nil is never.
	Stop <-chan struct{}
	// Keep is given what was measured so far, once in KeepEvery (0 is a minute) of the steady time, and when a run ends without a result: it is
	// partial, without an audit. May be nil. It is called by one goroutine at a time.
	Keep      func(*report.Result)
	KeepEvery time.Duration
	// Progress is told once a second how it goes; may be nil. It is called by one goroutine at a time.
	Progress func(Progress)
	// Log is told in words what happens; may be nil. It may be called by several goroutines at a time.
	Log func(string)

	nodes []*OwnNode // Node and others like it; none when the node runs already
}

// place returns the node of process i.
func (s *Swarm) place(i int) (addr string, trust *Trust) {
	if len(s.nodes) == 0 {
		return s.Addr, s.Trust
	}
	n := s.nodes[i%len(s.nodes)]
	return n.addr, n.trust
}

// Progress is how it goes.
type Progress struct {
	Phase string  // starting, ramp, steady, stop
	At    float64 // seconds since the steady time began
	Left  float64 // seconds of the phase, at most
	Point report.Point
	// Err is why the last connection could not be made, of those since the last point; "" when all could.
	Err string
}

// spare is how many files a process opens beside its sockets.
const spare = 64

// shares returns how many processes are needed.
func (s *Swarm) shares() (int, error) {
	limit := fileLimit() - spare
	workers := s.Scenario.Workers.Bots.Count + s.Scenario.Workers.Humans.Count
	need := s.Scenario.Customers.Sockets + workers
	if limit < 1 {
		return 0, fmt.Errorf("the limit of open files leaves no room for sockets: raise it with `ulimit -n %d`", need+spare)
	}
	n := s.Processes
	if n == 0 {
		n = (need + limit - 1) / limit
	}
	if s.Spawn == nil {
		n = 1
	}
	if s.Node != nil { // each node has as many
		count := s.Scenario.Node.Count
		n = (n + count - 1) / count * count
		if s.Spawn == nil && count > 1 {
			return 0, errors.New("several nodes take several processes of the load generator")
		}
	} else if s.Scenario.Node.Count > 1 {
		return 0, errors.New("node.count is for nodes of the test's own: leave out --addr and --data")
	}
	if each := (s.Scenario.Customers.Sockets+n-1)/n + (workers+n-1)/n; each > limit {
		return 0, fmt.Errorf("%d sockets in each of %d processes, and a process may open %d files, which it cannot raise itself: use --processes %d, or raise the limit with `ulimit -n %d` (`LimitNOFILE` of a systemd unit)",
			each, n, limit+spare, (need+limit-1)/limit, each+spare)
	}
	return n, nil
}

// local refuses a node of others.
func (s *Swarm) local() error {
	host, _, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return fmt.Errorf("the node's address is %q: it must be host:port", s.Addr)
	}
	if s.Remote || loopback(host) {
		return nil
	}
	return fmt.Errorf("%s is not on loopback: a load test can stop a node; say --allow-remote if it is yours", s.Addr)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// loopback tells whether the node is on this machine.
func (s *Swarm) loopback() bool {
	host, _, err := net.SplitHostPort(s.Addr)
	return err == nil && loopback(host)
}

// slack is how much longer than its scenario a run may take: to start, connect, audit and end.
const slack = 5 * time.Minute

// ErrTooMuch is why a run has no result when it is about the load: it took too long to connect, or to come to its end.
var ErrTooMuch = errors.New("more than the node, or the load generator, can take")

var errStuck = fmt.Errorf("%w: the run did not come to its end in time", ErrTooMuch)

// Run runs the scenario. It ends by itself: after ramp, steady and stop, and early when ctx does. An error says that there
// is no result; a result whose gates do not hold is none.
func (s *Swarm) Run(ctx context.Context) (res *report.Result, err error) {
	if s.Progress == nil {
		s.Progress = func(Progress) {}
	}
	if s.Log == nil {
		s.Log = func(string) {}
	}
	n, err := s.shares()
	if err != nil {
		return nil, err
	}
	sc := s.Scenario
	ctx, cancel := context.WithTimeoutCause(ctx, sc.Ramp.Duration()+sc.Steady.Duration()+sc.Stop.Duration()+sc.AuditTime.Duration()+slack, errStuck)
	defer cancel()
	if s.Node != nil {
		var started error
		s.nodes, started = s.Node.fleet(ctx, sc.Node.Count, sc.Node.Cluster)
		for _, n := range s.nodes {
			defer func() { err = errors.Join(err, n.stop()) }()
		}
		if started != nil {
			return nil, started
		}
		s.Addr, s.Trust = s.Node.addr, s.Node.trust
		if s.Mint, err = s.Node.Mint(s.Node.data); err != nil {
			return nil, err
		}
	}
	if err := s.local(); err != nil {
		return nil, err
	}
	r := &running{Swarm: s, processes: n, timeline: newTimeline(), total: map[string]*hdrhistogram.Histogram{}, latest: make([]sample, n), first: make([]sample, n), heard: make([]bool, n), fresh: make([]bool, n), over: make([]bool, n)}
	r.started = time.Now()
	for i := range max(len(s.nodes), 1) {
		addr, trust := s.place(i)
		w, err := newWatch(addr, trust)
		if err != nil {
			return nil, err
		}
		r.nodes = append(r.nodes, w)
	}
	if res, err = r.run(ctx); err != nil && r.zero > 0 {
		r.keep()
	}
	return res, err
}

// keepEvery is how often what was measured so far is kept.
const keepEvery = time.Minute

// keep hands out what was measured so far.
func (r *running) keep() {
	r.kept = r.now()
	if r.Keep == nil {
		return
	}
	res := r.result()
	res.Partial = true
	r.Keep(res)
}

// errStopped is what comes of a run that was stopped before there was anything to measure.
var errStopped = errors.New("it was stopped before the steady time began: nothing was measured")

// running is one run.
type running struct {
	*Swarm
	timeline
	// Fixed.
	processes int
	started   time.Time
	nodes     watches

	// Owned by run.
	zero     int64 // 0 before the steady time
	phase    string
	until    int64
	total    map[string]*hdrhistogram.Histogram
	recent   map[string]*hdrhistogram.Histogram // since the last point
	latest   []sample                           // of each agent
	first    []sample
	heard    []bool
	fresh    []bool // they have told something since the last point
	over     []bool // they have ended
	atZero   counts // when the steady time began
	atEnd    counts // when it ended
	cpuZero  float64
	cpuEnd   float64
	busyZero float64 // of the machine, by everybody
	busyEnd  float64
	steadyAt [2]int64 // between which that is
	before   counts   // of the last point
	beforeAt int64
	beforeC  float64
	series   []report.Point
	base     vitals // of the node before the ramp
	vitals   vitals // of the last point
	peak     float64
	cores    float64 // seconds of processor time in the steady time, and of how much of it they are
	watched  float64
	genPeak  float64
	genHeld  float64 // when all are connected
	heldRSS  float64
	heldCPU  float64
	lastRSS  float64 // in the steady time
	findings []finding
	stopped  bool
	kept     int64
}

// run starts the processes, hears what they tell, and ends them.
func (r *running) run(ctx context.Context) (*report.Result, error) {
	r.phase, r.until = "ramp", r.now()+int64(r.Scenario.Ramp.Duration())
	r.base = r.nodes.look(ctx)
	r.recent = map[string]*hdrhistogram.Histogram{}
	told := make(chan news, 64)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tell := func(n news) {
		select {
		case told <- n:
		case <-ctx.Done():
		}
	}
	hands, err := r.start(ctx, &wg, tell)
	defer func() {
		for _, h := range hands {
			h.end()
		}
	}()
	if err != nil {
		return nil, err
	}
	var acts sync.WaitGroup
	defer acts.Wait()
	defer cancel()
	ready, idle, stop := 0, 0, r.Stop
	for len(r.findings) < r.processes {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-stop:
			if stop = nil; r.zero == 0 {
				return nil, errStopped
			}
			if r.phase != "steady" {
				continue // it ends by itself
			}
			r.stopped = true
			for _, h := range hands {
				h.stop()
			}
		case n := <-told:
			if err := r.hear(ctx, n); err != nil {
				return nil, err
			}
			if n.Ready {
				ready++
			}
			if n.Idle {
				idle++
			}
			if n.Idle && idle == r.processes {
				for _, h := range hands {
					h.home()
				}
			}
			if n.Ready && ready == r.processes {
				if err := r.begin(ctx, hands, &acts, tell); err != nil {
					return nil, err
				}
			}
		}
	}
	return r.result(), nil
}

// start starts the processes, or the one inside; hands are those that were started, also with an error.
func (r *running) start(ctx context.Context, wg *sync.WaitGroup, tell func(news)) (hands []hand, err error) {
	name := "lt" + strconv.FormatInt(r.now()/1e6, 36)
	start := r.outside
	if r.processes == 1 {
		start = r.inside
	}
	for i := range r.processes {
		pl := plan{Doc: r.Doc, Sets: r.Sets, Index: i, Of: r.processes, Run: name}
		pl.Addr, pl.Trust = r.place(i)
		h, err := start(ctx, wg, pl, tell)
		if err != nil {
			return hands, err
		}
		hands = append(hands, h)
	}
	return hands, nil
}

// hear notes what a process tells. That it is ready is run's.
func (r *running) hear(ctx context.Context, n news) error {
	switch {
	case n.Sample != nil:
		if err := r.take(n.Agent, n.Sample); err != nil {
			return err
		}
		r.fresh[n.Agent] = true
		if r.all() {
			r.point(ctx)
		}
	case n.Late:
		return fmt.Errorf("%w: %s", ErrTooMuch, n.Err)
	case n.Err != "":
		return errors.New(n.Err)
	case n.Done != nil:
		n.Done.count(&r.latest[n.Agent].Counts)
		r.findings = append(r.findings, *n.Done)
		r.over[n.Agent] = true
	}
	return nil
}

// all tells whether everybody who still runs has told something since the last point.
func (r *running) all() bool {
	for i := range r.fresh {
		if !r.fresh[i] && !r.over[i] {
			return false
		}
	}
	return true
}

// begin lets the steady time begin, for all at the same moment.
func (r *running) begin(ctx context.Context, hands []hand, acts *sync.WaitGroup, tell func(news)) error {
	r.vitals = r.nodes.look(ctx)
	r.zero = r.now() + int64(200*time.Millisecond)
	r.Log(fmt.Sprintf("%d customers and %d workers are connected", r.Scenario.Customers.Sockets, r.Scenario.Workers.Bots.Count+r.Scenario.Workers.Humans.Count))
	for _, h := range hands {
		if err := h.start(r.zero); err != nil {
			return fmt.Errorf("telling a process to begin: %w", err)
		}
	}
	r.atZero, r.cpuZero = r.sum()
	r.busyZero, r.steadyAt[0] = busy(), r.now()
	r.genHeld, r.heldRSS, r.heldCPU = r.rss(), r.vitals.rss, r.vitals.cpu
	r.phase, r.until = "steady", r.zero+int64(r.Scenario.Steady.Duration())
	for i := range r.Scenario.Actions {
		act := &r.Scenario.Actions[i]
		if act.Drop.Value > 0 {
			continue // the agents do that
		}
		acts.Go(func() {
			t := time.NewTimer(time.Duration(r.zero + int64(act.At.Duration()) - r.now()))
			defer t.Stop()
			select {
			case <-ctx.Done():
				return
			case <-r.Stop:
				return
			case <-t.C:
			}
			if err := r.act(ctx, act); err != nil {
				tell(news{Err: err.Error()})
			}
		})
	}
	return nil
}

// take merges what an agent has seen.
func (r *running) take(i int, s *sample) error {
	for name, text := range s.Hist {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("a histogram of process %d: %w", i, err)
		}
		h, err := hdrhistogram.Decode(b)
		if err != nil {
			return fmt.Errorf("a histogram of process %d: %w", i, err)
		}
		merge(r.total, name, h)
		merge(r.recent, name, h)
	}
	if !r.heard[i] {
		r.heard[i], r.first[i] = true, *s
	}
	r.latest[i] = *s
	r.genPeak = max(r.genPeak, r.rss())
	return nil
}

func merge(into map[string]*hdrhistogram.Histogram, name string, h *hdrhistogram.Histogram) {
	if have := into[name]; have != nil {
		have.Merge(h)
		return
	}
	into[name] = h.Clone()
}

// sum is what all agents have told last.
func (r *running) sum() (c counts, cpu float64) {
	for i := range r.latest {
		c = c.add(r.latest[i].Counts)
		cpu += r.latest[i].CPU
	}
	return c, cpu
}

func (r *running) rss() (sum float64) {
	for i := range r.latest {
		sum += float64(r.latest[i].RSS)
	}
	return sum
}

// shortest is the time of a point at least: processor time is told in hundredths of a second, and a rate over one of them would be noise.
const shortest = 200 * time.Millisecond

// point closes a second.
func (r *running) point(ctx context.Context) {
	now := r.now()
	if r.phase == "steady" && (r.stopped || now >= r.until) {
		r.phase, r.until = "stop", min(now, r.until)+int64(r.Scenario.Stop.Duration())
		r.atEnd, r.cpuEnd = r.sum()
		r.busyEnd, r.steadyAt[1] = busy(), r.now()
	}
	c, cpu := r.sum()
	v := r.nodes.look(ctx)
	clear(r.fresh)
	at := int64(0) // when they told it, on average: rates are of that time, and not of when it was heard
	for i := range r.latest {
		at += (r.latest[i].At - r.unix) / int64(len(r.latest))
	}
	at += r.unix
	span := float64(at-r.beforeAt) / 1e9
	switch {
	case r.beforeAt == 0 || span <= 0:
		span = 1
	case span < shortest.Seconds(): // the steady time began or ended: the next takes it with it
		return
	}
	zero := r.zero
	if zero == 0 {
		zero = at
		if r.phase == "ramp" {
			zero = r.until
		}
	}
	p := report.Point{At: float64(at-zero) / 1e9, Values: map[string]float64{
		"sockets": float64(c.Sockets), "due": float64(c.Due-r.before.Due) / span, "acked": float64(c.Acked-r.before.Acked) / span,
		"answered": float64(c.Answered-r.before.Answered) / span, "refused": float64(c.Refused-r.before.Refused) / span,
		"errors": float64(c.Errors-r.before.Errors+c.Disconnects-r.before.Disconnects) / span, "tokens": float64(c.Tokens-r.before.Tokens) / span,
		"open": float64(c.Due - c.Acked), "gen_rss": r.rss(), "gen_cpu": max(cpu-r.beforeC, 0) / span,
	}, Latency: map[string][]float64{}}
	for name, h := range r.recent {
		p.Latency[name] = []float64{float64(h.ValueAtQuantile(50)) / 1e6, float64(h.ValueAtQuantile(99)) / 1e6, float64(h.Max()) / 1e6}
	}
	v.fill(p.Values, r.vitals, span)
	if slices.ContainsFunc(r.latest, func(s sample) bool { return s.Last }) {
		delete(p.Values, "connections") // they are being closed while the node is asked
	}
	if r.phase == "steady" {
		r.peak = max(r.peak, v.rss)
		if v.ok {
			r.lastRSS = v.rss
		}
		if v.ok && r.vitals.ok && v.cpu >= r.vitals.cpu { // it counts anew after a restart
			r.cores += v.cpu - r.vitals.cpu
			r.watched += span
		}
	}
	r.recent = map[string]*hdrhistogram.Histogram{}
	r.before, r.beforeAt, r.beforeC, r.vitals = c, at, cpu, v
	r.series = append(r.series, p)
	if every := cmp.Or(r.KeepEvery, keepEvery); r.phase == "steady" && now-max(r.kept, r.zero) >= int64(every) {
		r.keep()
	}
	why := ""
	for i := range r.latest {
		if p.Values["errors"] > 0 && r.latest[i].Err != "" {
			why = r.latest[i].Err
		}
	}
	r.Progress(Progress{Phase: r.phase, Err: why, At: p.At, Left: max(float64(r.until-now)/1e9, 0), Point: p})
}
