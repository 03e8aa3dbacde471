package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/edge"
	"switchboard/edge/token"
	"switchboard/loadtest/report"
	"switchboard/loadtest/scenario"
	"switchboard/node"
	"switchboard/wire"
)

// The server's worker pool is told to end, and notices when it wakes the next time; connections for metrics stay a while.
var leftover = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
}

// against runs a scenario against a node in this process.
func against(t *testing.T, doc string, change ...func(*Swarm)) *report.Result {
	t.Helper()
	n, err := node.Start(node.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", Dev: true, FreeMin: -1, Shards: 4, DrainMS: 100,
		Limits: edge.Limits{Rate: 100_000, Burst: 100_000}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	sc, err := scenario.Parse("test.yaml", []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	s := Swarm{Scenario: sc, Doc: doc, Addr: n.Addr(), Log: func(text string) { t.Log(text) }, Mint: func(role, kind, sub string) (string, error) {
		c := token.Claims{Tenant: "demo", Sub: sub, Role: wire.Role(role), Kind: wire.Origin(kind)}
		if c.Role == wire.RoleWorker {
			c.Queues = []string{"*"}
		}
		return n.Mint(c, time.Hour)
	}}
	for _, f := range change {
		f(&s)
	}
	r, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	return r
}

// clean checks that everything that was due was done, and that the books say so.
func clean(t *testing.T, r *report.Result, due float64) {
	t.Helper()
	if !r.Holds() {
		t.Errorf("the gates: %+v", r.Gates)
	}
	f := r.Figures
	if f["due"] < due || f["acked"] != f["due"] || f["unanswered"]+f["unacked"]+f["lost"]+f["duplicated"]+f["reordered"]+f["mismatched"] != 0 {
		t.Errorf("%v are due, and %v", due, f)
	}
	if f["audited"] == 0 {
		t.Error("nothing was compared with its history")
	}
}

func TestChat(t *testing.T) {
	defer goleak.VerifyNone(t, leftover...)
	r := against(t, `
name: chat
about: a small chat
ramp: 100ms
steady: 1s
stop: 20s
customers: {sockets: 60, shops: 3, sources: 2}
talk: {rate: 200/s, arrivals: even, turns: {median: 3}, think: {median: 100ms, sigma: 0.5}}
workers: {bots: {count: 2}}
gates: [unanswered == 0, lost == 0]
`)
	clean(t, r, 100)
	if a := r.Latencies["answer"]; float64(a.Count) != r.Figures["due"] || a.P50 <= 0 || a.Max < a.P99 || a.P99 < a.P50 || len(a.Curve) < 5 {
		t.Errorf("the latency is %+v", a)
	}
	if r.Latencies["connect"].Count != 60 || r.Figures["rss"] == 0 || len(r.Series) == 0 {
		t.Errorf("%+v", r.Figures)
	}
}

func TestHandOff(t *testing.T) {
	t.Parallel()
	r := against(t, `
name: handoff
about: small conversations that begin, move and end
ramp: 100ms
steady: 1s
stop: 20s
audit: 1000
customers: {sockets: 30}
talk: {rate: 120/s, turns: {median: 4}, think: {median: 50ms}, close: true}
workers:
  bots: {count: 2, handoff: {share: 60%, after: 1}}
  humans: {count: 3, slots: 20, accept: {median: 5ms}, after: {median: 5ms}}
gates: [unanswered == 0]
`)
	clean(t, r, 50)
	if r.Figures["handoffs"] == 0 || r.Latencies["handoff"].Count == 0 || r.Latencies["answer_human"].Count == 0 {
		t.Errorf("nobody was handed over: %v", r.Figures)
	}
}

func TestStreamsInAStorm(t *testing.T) {
	t.Parallel()
	r := against(t, `
name: llm
about: a few streams, and connections that are lost
ramp: 100ms
steady: 1s
stop: 20s
audit: 1000
customers: {sockets: 30}
talk: {rate: 60/s}
workers: {bots: {count: 2, reply: stream, after: {median: 10ms, sigma: 0.3}, tokens: {median: 10}, token_rate: 200/s}}
actions: [{at: 200ms, drop: 60%, within: 300ms, back: 50ms, jitter: 100ms}]
gates: [unanswered == 0, disconnects == 0]
`)
	clean(t, r, 30)
	if r.Figures["dropped"] == 0 || r.Latencies["reconnect"].Count == 0 || r.Latencies["token"].Count == 0 || r.Latencies["first_token"].Count == 0 {
		t.Errorf("nothing was lost, or nothing streamed: %v", r.Figures)
	}
	if f := r.Figures; f["tokens"] == 0 || f["tokens"]+f["tokens_lost"] < 10*f["answered"] {
		t.Errorf("of 10 tokens of each of %v answers %v were shown, and %v not", f["answered"], f["tokens"], f["tokens_lost"])
	}
}

// TestStreamsAtTheEnd: when the time is over streams are told no further, and of what was told of them every token is shown or lost.
func TestStreamsAtTheEnd(t *testing.T) {
	t.Parallel()
	r := against(t, `
name: llm
about: streams that are longer than there is time
ramp: 100ms
steady: 1s
stop: 200ms
customers: {sockets: 30}
talk: {rate: 60/s}
workers: {bots: {count: 2, reply: stream, tokens: {median: 4000}, token_rate: 200/s}}
gates: [tokens_lost == 0, disconnects == 0]
`)
	f := r.Figures
	if !r.Holds() || f["unanswered"] == 0 || f["tokens_told"] < 50 || f["tokens"] != f["tokens_told"] {
		t.Errorf("%v messages wait for their answer; %v tokens were told, %v shown and %v lost; %+v", f["unanswered"], f["tokens_told"], f["tokens"], f["tokens_lost"], r.Gates)
	}
	if !strings.Contains(strings.Join(r.Open, "\n"), "streams without their end m") {
		t.Errorf("nobody says which streams ran: %q", r.Open)
	}
}

// TestFails: a gate that cannot hold does not, and the promises are gates that nobody has to write.
func TestFails(t *testing.T) {
	t.Parallel()
	r := against(t, "name: x\nabout: silence\nramp: 0s\nsteady: 100ms\nstop: 0s\ncustomers: {sockets: 5}\ngates: [sockets > 5, p99 < 1s]\n")
	if r.Holds() || len(r.Gates) != 6 || r.Gates[0].Holds || r.Gates[1].Holds || r.Gates[1].Value != nil || !r.Gates[2].Holds {
		t.Errorf("%+v", r.Gates)
	}
	if r.Figures["sockets"] != 5 {
		t.Errorf("%v sockets", r.Figures["sockets"])
	}
}

// TestUnaudited: what there was no time to compare fails the run.
func TestUnaudited(t *testing.T) {
	t.Parallel()
	r := against(t, "name: x\nabout: no time to audit\nramp: 0s\nsteady: 100ms\nstop: 0s\naudit_time: 0s\ncustomers: {sockets: 5, open: true}\n")
	if f := r.Figures; f["audited"] != 0 || f["unaudited"] != 5 || r.Holds() {
		t.Errorf("%v sessions were compared, %v not, and it holds: %t", f["audited"], f["unaudited"], r.Holds())
	}
}

// TestStop: a run that is stopped has a result of the time until then, audited; and one that breaks off has handed out what it knew.
func TestStop(t *testing.T) {
	t.Parallel()
	doc := "name: x\nabout: y\nramp: 0s\nsteady: 10m\nstop: 20s\ncustomers: {sockets: 10}\ntalk: {rate: 100/s}\nworkers: {bots: {count: 2}}\ngates: [unanswered == 0]\n"
	var kept []*report.Result
	keep := func(s *Swarm, begun func()) {
		s.KeepEvery, s.Keep = time.Nanosecond, func(r *report.Result) { kept = append(kept, r) }
		s.Progress = func(p Progress) {
			if p.Phase == "steady" && p.Point.Values["answered"] > 0 {
				begun()
			}
		}
	}
	stop := make(chan struct{})
	r := against(t, doc, func(s *Swarm) {
		s.Stop = stop
		keep(s, sync.OnceFunc(func() { close(stop) }))
	})
	clean(t, r, 1)
	if !r.Stopped || r.Partial || r.Steady <= 0 || r.Steady > 500 || r.Figures["rate"] <= 0 {
		t.Errorf("stopped %t, partial %t, after %v s, at %v/s", r.Stopped, r.Partial, r.Steady, r.Figures["rate"])
	}
	if len(kept) == 0 || !kept[0].Partial || kept[0].Figures["answered"] == 0 {
		t.Errorf("%d results were kept meanwhile", len(kept))
	}
}

// TestRefuses: what makes no sense ends before anything starts.
func TestRefuses(t *testing.T) {
	sc, err := scenario.Parse("t", []byte("name: x\nabout: y\nramp: 0s\nsteady: 1s\ncustomers: {sockets: 5}\n"))
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string, change func(*Swarm)) {
		t.Helper()
		s := Swarm{Scenario: sc, Addr: "127.0.0.1:1", Mint: func(_, _, _ string) (string, error) { return "x", nil }}
		change(&s)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if r, err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v; want %q", r, err, want)
		}
	}
	f("not on loopback", func(s *Swarm) { s.Addr = "192.0.2.1:80" })
	f("host:port", func(s *Swarm) { s.Addr = "here" })
	f("deadline", func(*Swarm) {})
	hasty := *sc
	hasty.Patience, _ = scenario.ParseQuantity("50ms")
	f("nobody could connect to 127.0.0.1:1 within 50ms (the scenario's patience): ", func(s *Swarm) { s.Scenario = &hasty })
	hasty.Workers.Bots.Count = 2
	f("connection refused: see that the node runs there", func(s *Swarm) { s.Scenario = &hasty })
	huge := *sc
	huge.Customers.Sockets = 2_000_000
	f("ulimit -n", func(s *Swarm) { s.Scenario = &huge })
}

// TestFindMax searches in a world where the gates hold up to a limit.
func TestFindMax(t *testing.T) {
	f := func(limit, from float64, steps int, low, high float64, runs int) {
		t.Helper()
		n := 0
		best, all, err := FindMax(t.Context(), from, steps, func(_ context.Context, load float64) (*report.Result, error) {
			n++
			if load > 5*limit {
				return nil, fmt.Errorf("%w: 3 of 5 are connected", ErrTooMuch)
			}
			return &report.Result{Gates: []report.Gate{{Holds: load <= limit}}}, nil
		}, nil)
		if err != nil || best < low || best > high || len(all) != n || n > runs {
			t.Errorf("limit %v from %v: %v in %d runs, %v; want %v to %v in %d", limit, from, best, n, err, low, high, runs)
		}
	}
	f(1000, 100, 20, 980, 1000, 12)
	f(1000, 8000, 20, 980, 1000, 12)
	f(1000, 100, 3, 400, 400, 3)
	f(0.5, 100, 20, 0, 0, 8)
	full := errors.New("no space left on device")
	for _, end := range []struct {
		res *report.Result
		err error
	}{{nil, full}, {&report.Result{Stopped: true}, nil}} { // nothing is known about that load: it is not one that does not hold
		best, all, err := FindMax(t.Context(), 100, 20, func(_ context.Context, load float64) (*report.Result, error) {
			if load > 300 {
				return end.res, end.err
			}
			return &report.Result{Gates: []report.Gate{{Holds: true}}}, nil
		}, nil)
		if best != 200 || len(all) != 3 || err == nil || end.err != nil && !errors.Is(err, full) || !strings.Contains(err.Error(), "at 400") {
			t.Errorf("%+v: %v is the best of %d, %v; want 200 of 3, and why", end, best, len(all), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := FindMax(ctx, 1, 3, func(ctx context.Context, _ float64) (*report.Result, error) { return nil, ctx.Err() }, nil); err == nil {
		t.Error("a search that was ended finds something")
	}
}

// TestSlowReaders: the others do not notice, and in the end all is there and verified.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	r := against(t, `
name: slow
about: a few slow readers
ramp: 100ms
steady: 1s
stop: 20s
audit: 1000
customers: {sockets: 20, slow: {share: 40%, pause: 50ms, bytes: 128B}}
talk: {rate: 100/s}
workers: {bots: {count: 2, length: {median: 2KiB}}}
gates: [unanswered == 0, disconnects == 0]
`)
	clean(t, r, 50)
	if n := r.Latencies["answer"].Count; n == 0 || float64(n) >= r.Figures["answered"] {
		t.Errorf("%d latencies of %v answers: those who read slowly are not to be in them", n, r.Figures["answered"])
	}
}
