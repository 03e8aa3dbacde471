package whatif

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"switchboard/broker"
	"switchboard/broker/whatif/erlang"
)

const testStart = int64(1_762_819_200_000) // a midnight

// markov is a day of calls without memory, for a queue of people with a slot each.
func markov(q erlang.Queue, seed uint64, hours int) Config {
	rng := rand.New(rand.NewPCG(seed, 1))
	end := testStart + int64(hours)*hourMS
	at := float64(testStart)
	cfg := Config{
		Name: "markov", Start: testStart, End: end, Within: 20_000, Assigned: true,
		Routes: broker.Config{Queues: []broker.Queue{{Name: "q", Steps: []broker.Step{{Who: broker.Humans}}}}},
		Visits: func(v *Visit) bool {
			at += rng.ExpFloat64() / q.Rate * 1000
			*v = Visit{At: int64(at), Human: Talk{Turns: append(v.Human.Turns[:0], Turn{}), Tail: int64(rng.ExpFloat64() * q.Handle * 1000)}}
			if q.Patience > 0 {
				v.Patience = max(int64(rng.ExpFloat64()*q.Patience*1000), 1)
			}
			return v.At < end
		},
	}
	for i := range q.Servers {
		cfg.Agents = append(cfg.Agents, Agent{ID: fmt.Sprintf("a%03d", i), Shifts: []Shift{{testStart, end + 24*hourMS}}})
	}
	return cfg
}

// simulate makes a simulation and runs it to its end, at which everybody who came is accounted for.
func simulate(t testing.TB, cfg Config) (*Sim, *Result) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Run()
	if err != nil {
		t.Fatal(err)
	}
	if !r.Accounted() {
		t.Fatalf("%d sessions came: %d ended with bots, %d with people, %d left, %d resorted, %d rejected, %d open", r.Sessions, r.Alone, r.Served, r.People.Left, r.People.Resorted, r.Rejected, r.Open)
	}
	return s, r
}

func play(t testing.TB, cfg Config) *Result {
	t.Helper()
	_, r := simulate(t, cfg)
	return r
}

// served is servers who take calls in the order in which they come: from when each is free, the earliest first. It is the recursion of Kiefer and Wolfowitz,
// and shares nothing with the simulation.
type served []float64

// wait returns how long a call waits that comes at a time and takes so long, and gives it to who is free first.
func (free served) wait(at, takes float64) float64 {
	start := max(at, free[0])
	free[0] = start + takes
	for i := 0; ; { // a heap: the new time sinks to its place
		least := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < len(free) && free[c] < free[least] {
				least = c
			}
		}
		if least == i {
			return start - at
		}
		free[i], free[least] = free[least], free[i]
		i = least
	}
}

// TestRecursion holds the simulation against a recursion of some lines, call by call: everybody waits as long, to the millisecond. And the recursion against the
// formula, by ten times the calls that a simulation would take long for: within 2 % of the mean wait, also of 28 people at a load of 86 %.
func TestRecursion(t *testing.T) {
	f := func(q erlang.Queue, hours int) {
		t.Helper()
		cfg := markov(q, 7, hours)
		come, free := cfg.Visits, make(served, q.Servers)
		var want []int64
		cfg.Visits = func(v *Visit) bool {
			more := come(v)
			if more {
				want = append(want, int64(free.wait(float64(v.At), float64(v.Human.Tail))))
			}
			return more
		}
		got := play(t, cfg).People.waits // sorted by now
		slices.Sort(want)
		if len(got) < 10_000 || !slices.Equal(got, want) {
			t.Errorf("%+v: %d waited as simulated, %d by the recursion, and not the same", q, len(got), len(want))
		}
	}
	crowd := erlang.Queue{Rate: .4, Handle: 60, Servers: 28}
	f(crowd, 20)
	f(erlang.Queue{Rate: 1.0 / 30, Handle: 60, Servers: 4}, 400)

	const calls = 30_000_000
	rng, free := rand.New(rand.NewPCG(28, 1)), make(served, crowd.Servers)
	var at, all, takes, sum float64
	for range calls {
		at += rng.ExpFloat64() / crowd.Rate
		takes = rng.ExpFloat64() * crowd.Handle
		all += takes
		sum += free.wait(at, takes)
	}
	seen := erlang.Queue{Rate: calls / at, Handle: all / calls, Servers: crowd.Servers} // what chance made of the rates
	want := seen.Figures().Wait
	t.Logf("%d calls waited %.4f s in the mean; the formula says %.4f", calls, sum/calls, want)
	if got := sum / calls; math.Abs(got-want) > .02*want {
		t.Errorf("the mean wait is %.4f s; the formula says %.4f", got, want)
	}
}

// TestErlang holds the simulation against the formulae where both hold: within 2 % of the mean wait, of the share within 20 s, of
// the share who leave, and of how busy everybody is.
func TestErlang(t *testing.T) {
	f := func(q erlang.Queue, hours int, room float64) {
		t.Helper()
		var seen erlang.Queue // what chance made of the rates: the formulae are very sensitive to them
		var line, in, gone, busy, all float64
		const seeds = 4
		for seed := range uint64(seeds) {
			cfg := markov(q, seed+1, hours)
			come := cfg.Visits
			cfg.Visits = func(v *Visit) bool {
				more := come(v)
				if more {
					seen.Rate += 1 / float64(hours*3600*seeds)
					seen.Handle += float64(v.Human.Tail) / 1000
					seen.Patience += float64(v.Patience) / 1000
				}
				return more
			}
			r := play(t, cfg)
			n := float64(r.People.Wanted)
			line += float64(r.People.MeanLine) * n / 1000
			in += float64(r.People.InTime)
			gone += float64(r.People.Left)
			all += n
			for _, h := range r.Hours {
				busy += h.Occupied / float64(len(r.Hours)) / seeds
			}
		}
		seen.Servers, seen.Handle, seen.Patience = q.Servers, seen.Handle/all, seen.Patience/all
		want, within := seen.Figures(), seen.Within(20)
		t.Logf("%+v: wait %.2f s (formula %.2f), within 20 s %.4f (%.4f), left %.4f (%.4f), busy %.4f (%.4f), of %.0f", q, line/all, want.Wait, in/all, within, gone/all, want.Abandons, busy, want.Occupancy, all)
		near := func(what string, got, want, room float64) {
			t.Helper()
			if math.Abs(got-want) > room*want {
				t.Errorf("%+v: %s is %.4f; the formula says %.4f", q, what, got, want)
			}
		}
		near("the wait", line/all, want.Wait, room)
		near("the share within 20 s", in/all, within, .02)
		near("occupancy", busy, want.Occupancy, .02)
		if want.Abandons > .01 {
			near("the share who leave", gone/all, want.Abandons, .02)
		}
	}
	// The wait's own noise is what a sample of 2a/(√n − √a)² calls is worth one of: small queues settle it soon, of large ones the
	// waits are compared in the mean of many days, and so with more room.
	f(erlang.Queue{Rate: 1.0 / 60, Handle: 60, Servers: 2}, 4000, .02)
	f(erlang.Queue{Rate: 1.0 / 30, Handle: 60, Servers: 4}, 2000, .02)
	f(erlang.Queue{Rate: .4, Handle: 60, Servers: 28}, 100, .06)
	f(erlang.Queue{Rate: .3, Handle: 60, Servers: 18, Patience: 180}, 150, .02)
	f(erlang.Queue{Rate: .3, Handle: 60, Servers: 14, Patience: 60}, 100, .02)
}
