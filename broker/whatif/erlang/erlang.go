package erlang

import "math"

// Queue is n servers with a line in front.
type Queue struct {
	Rate     float64 // of arrivals, a second
	Handle   float64 // mean time of service, seconds
	Patience float64 // mean time after which who waits leaves, seconds; 0 is that nobody ever does (Erlang C)
	Servers  int
}

// Load is the offered load in Erlangs: how many servers would be busy, were there enough.
func (q Queue) Load() float64 { return q.Rate * q.Handle }

// Stable tells whether the queue has a steady state: with patience always, without it when the servers can do the work.
func (q Queue) Stable() bool {
	return q.Rate >= 0 && q.Handle > 0 && (q.Patience > 0 || q.Load() < float64(q.Servers))
}

// Figures are what a queue does in its steady state.
type Figures struct {
	Waits     float64 // the share of arrivals who find all servers busy
	Abandons  float64 // the share who leave without having been served
	Wait      float64 // the mean time in line of all, those who leave among them, seconds
	Occupancy float64 // the share of the servers' time that is work
}

// Figures returns the figures of q. Without a steady state everybody waits for ever.
func (q Queue) Figures() Figures {
	if !q.Stable() {
		return Figures{Waits: 1, Wait: math.Inf(1), Occupancy: 1}
	}
	if q.Rate == 0 {
		return Figures{}
	}
	w := q.offered()
	f := Figures{Waits: w.mass(func(float64) float64 { return 1 })}
	f.Wait = w.mass(func(x float64) float64 { return x })
	if q.Patience > 0 {
		f.Abandons = w.mass(func(x float64) float64 { return -math.Expm1(-x / q.Patience) })
		f.Wait = f.Abandons * q.Patience // whoever waits leaves at the rate 1/patience
	}
	f.Occupancy = q.Load() * (1 - f.Abandons) / float64(q.Servers)
	return f
}

// Within returns the share of all arrivals who are served after at most t seconds in line. Who leaves is not served.
func (q Queue) Within(t float64) float64 {
	if !q.Stable() {
		return 0
	}
	if q.Rate == 0 {
		return 1
	}
	w := q.offered()
	late := w.mass(func(x float64) float64 {
		if x > t {
			return 1
		}
		if q.Patience > 0 {
			return -math.Expm1(-x / q.Patience)
		}
		return 0
	}, t)
	return 1 - late
}

// ServersFor returns the least number of servers with which the share of arrivals who are served within t seconds is at least
// target, which must be below 1; q.Servers is of no account. It gives up at limit and returns limit.
func (q Queue) ServersFor(target, t float64, limit int) int {
	low, high := 0, min(max(1, int(q.Load())), limit)
	for q.Servers = high; high < limit && q.Within(t) < target; q.Servers = high {
		low, high = high, min(high+high/4+1, limit)
	}
	for low+1 < high {
		q.Servers = (low + high) / 2
		if q.Within(t) < target {
			low = q.Servers
		} else {
			high = q.Servers
		}
	}
	return high
}

// offered is the density of the time that an arrival would have to wait, were his patience endless:
// v(x) = v₀ · exp(λθ(1 − e^(−x/θ)) − nμx), after Baccelli and Hebuterne; without patience v₀ · exp(−(nμ − λ)x).
type offered struct {
	q    Queue
	v0   float64 // the density at 0: λ times the probability that n−1 servers are busy
	peak float64 // of the exponent, taken out so that it does not overflow
	end  float64 // behind it is nothing
}

func (w *offered) exponent(x float64) float64 {
	q := w.q
	n := float64(q.Servers) / q.Handle
	if q.Patience > 0 {
		return q.Rate*q.Patience*-math.Expm1(-x/q.Patience) - n*x
	}
	return -(n - q.Rate) * x
}

func (q Queue) offered() *offered {
	w := &offered{q: q}
	n := float64(q.Servers) / q.Handle
	top := 0.0 // where the density is highest
	if q.Patience > 0 && q.Rate > n {
		top = q.Patience * math.Log(q.Rate/max(n, 1e-300))
		if q.Servers == 0 {
			top = 60 * q.Patience // nobody serves: everybody leaves
		}
	}
	w.peak = w.exponent(top)
	step := q.Handle / max(float64(q.Servers), 1)
	for w.end = top + step; w.exponent(w.end)-w.peak > -40; w.end = top + step {
		step *= 1.3
		if step > 1e12 {
			break
		}
	}
	// The probabilities of 0 to n−1 busy servers are a^j/j! of a common factor; that of n−1 is 1/below of all of these.
	below := 0.0
	a := q.Load()
	for j, term := q.Servers-1, 1.0; j >= 0 && term > 1e-18; j-- {
		below += term
		term *= float64(j) / a
	}
	w.v0 = 1
	waits := w.mass(func(float64) float64 { return 1 }) // in units of v0·exp(peak)
	if q.Servers == 0 {
		w.v0 = 1 / waits
		return w
	}
	// p·below + λ·p·exp(peak)·waits = 1, with p the probability of n−1
	if w.peak > 700 {
		w.v0 = 1 / waits
		return w
	}
	scale := math.Exp(w.peak)
	p := 1 / (below + q.Rate*scale*waits)
	w.v0 = q.Rate * p * scale
	return w
}

// mass integrates the density times f over all positive waits, in pieces that end at the cuts, where f may jump.
func (w *offered) mass(f func(x float64) float64, cuts ...float64) float64 {
	from, sum := 0.0, 0.0
	for _, to := range append(cuts, w.end) {
		if to = min(to, w.end); to > from {
			sum += simpson(func(x float64) float64 { return math.Exp(w.exponent(x)-w.peak) * f(x) }, from, to)
			from = to
		}
	}
	return w.v0 * sum
}

// simpson integrates f over a stretch, its ends taken just inside.
func simpson(f func(float64) float64, from, to float64) float64 {
	const n = 4000
	h := (to - from) / n
	sum := f(from+h*1e-9) + f(to-h*1e-9)
	for i := 1; i < n; i++ {
		k := 4.0
		if i%2 == 0 {
			k = 2
		}
		sum += k * f(from+float64(i)*h)
	}
	return sum * h / 3
}
