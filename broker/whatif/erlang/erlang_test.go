package erlang

import (
	"math"
	"testing"
)

// erlangC is the textbook's sum, for queues that are small enough for it.
func erlangC(a float64, n int) float64 {
	term, sum := 1.0, 0.0
	for j := range n {
		sum += term
		term *= a / float64(j+1)
	}
	top := term * float64(n) / (float64(n) - a)
	return top / (sum + top)
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s is %v; want %v", what, got, want)
	}
}

func TestErlangC(t *testing.T) {
	f := func(rate, handle float64, n int) {
		t.Helper()
		q := Queue{Rate: rate, Handle: handle, Servers: n}
		c := erlangC(q.Load(), n)
		spare := float64(n)/handle - rate
		x := q.Figures()
		near(t, "the share that waits", x.Waits, c, 1e-6)
		near(t, "the wait", x.Wait, c/spare, 1e-5*(1+c/spare))
		near(t, "within 20 s", q.Within(20), 1-c*math.Exp(-20*spare), 1e-6)
		near(t, "occupancy", x.Occupancy, q.Load()/float64(n), 1e-9)
	}
	f(1.0/120, 240, 3)
	f(0.25, 240, 65)
	f(0.25, 240, 61)
	f(1, 100, 120)
	f(2.3, 715, 1700)
	// A table that every planner knows: 10 Erlangs, 14 servers: 17.41 % wait.
	near(t, "C(14, 10)", Queue{Rate: 10.0 / 180, Handle: 180, Servers: 14}.Figures().Waits, 0.17408, 1e-4)
}

// chain solves M/M/n+M by its states, far enough out.
func chain(q Queue) (waits, abandons, wait float64) {
	mu, theta := 1/q.Handle, 1/q.Patience
	const far = 20_000
	logs := make([]float64, far)
	top := 0.0
	for i := 1; i < far; i++ {
		out := float64(min(i, q.Servers))*mu + float64(max(i-q.Servers, 0))*theta
		logs[i] = logs[i-1] + math.Log(q.Rate/out)
		top = max(top, logs[i])
	}
	sum, line := 0.0, 0.0
	for i, l := range logs {
		p := math.Exp(l - top)
		sum += p
		line += p * float64(max(i-q.Servers, 0))
		if i >= q.Servers {
			waits += p
		}
	}
	line /= sum
	return waits / sum, line * theta / q.Rate, line / q.Rate
}

func TestErlangA(t *testing.T) {
	f := func(rate, handle, patience float64, n int) {
		t.Helper()
		q := Queue{Rate: rate, Handle: handle, Patience: patience, Servers: n}
		waits, abandons, wait := chain(q)
		x := q.Figures()
		near(t, "the share that waits", x.Waits, waits, 1e-5)
		near(t, "the share that leaves", x.Abandons, abandons, 1e-5)
		near(t, "the wait", x.Wait, wait, 1e-5*(1+wait))
	}
	f(0.25, 240, 180, 60)
	f(0.25, 240, 180, 40) // far too few: half of them leave
	f(0.25, 240, 180, 80)
	f(1, 100, 1000, 90)
	f(0.01, 240, 60, 1)
	near(t, "nobody serves", Queue{Rate: 1, Handle: 10, Patience: 50}.Figures().Abandons, 1, 1e-6)
	// Endless patience is Erlang C.
	a, c := Queue{Rate: 0.25, Handle: 240, Patience: 1e9, Servers: 65}, Queue{Rate: 0.25, Handle: 240, Servers: 65}
	near(t, "within 20 s", a.Within(20), c.Within(20), 1e-4)
}

func TestServersFor(t *testing.T) {
	f := func(q Queue, target, within float64) {
		t.Helper()
		n := q.ServersFor(target, within, 20_000)
		q.Servers = n
		if q.Within(within) < target {
			t.Errorf("%d servers do not do: %v", n, q.Within(within))
		}
		q.Servers--
		if n > 1 && q.Within(within) >= target {
			t.Errorf("%d servers would do", n-1)
		}
	}
	f(Queue{Rate: 0.25, Handle: 240}, .95, 180)
	f(Queue{Rate: 0.25, Handle: 240, Patience: 180}, .8, 20)
	f(Queue{Rate: 0.0001, Handle: 240}, .95, 20)
	f(Queue{Rate: 20, Handle: 715}, .95, 180)
	if n := (Queue{Rate: 20, Handle: 715}).ServersFor(.95, 180, 100); n != 100 {
		t.Errorf("beyond its limit it says %d", n)
	}
	if x := (Queue{Rate: 1, Handle: 10, Servers: 5}).Figures(); !math.IsInf(x.Wait, 1) {
		t.Errorf("without a steady state: %+v", x)
	}
}
