package whatif

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"switchboard/broker/routes"
	"switchboard/broker/selector"
	"switchboard/loadtest/scenario"
)

// choice draws names by their weights.
type choice struct {
	names []string
	upto  []float64 // sums of weights
	all   float64   // at least the last sum; what is above it is no name
}

// choiceOf makes a choice of weights; those of rest leave what they have not given away.
func choiceOf(m map[string]float64, rest bool) choice {
	var c choice
	for _, name := range slices.Sorted(maps.Keys(m)) {
		c.add(name, m[name])
	}
	if rest {
		c.all = max(c.all, 1)
	}
	return c
}

func (c *choice) add(name string, weight float64) {
	c.all += weight
	c.names, c.upto = append(c.names, name), append(c.upto, c.all)
}

// pick returns the index of a name, or −1.
func (c *choice) pick(u float64) int {
	if len(c.names) == 0 {
		return -1
	}
	i, exact := slices.BinarySearch(c.upto, u*c.all)
	if exact {
		i++
	}
	if i >= len(c.names) {
		return -1
	}
	return i
}

func (c *choice) name(i int) string {
	if i < 0 {
		return ""
	}
	return c.names[i]
}

// share of all that has a name.
func (c *choice) share(name string) float64 {
	i := slices.Index(c.names, name)
	if i < 0 || c.all == 0 {
		return 0
	}
	w := c.upto[i]
	if i > 0 {
		w -= c.upto[i-1]
	}
	return w / c.all
}

// stream is arrivals of one kind: of all customers, or of a surge of some.
type stream struct {
	*scenario.Arrivals
	at    time.Duration
	shop  int
	more  bool
	surge *Surge
}

func (s *stream) next() { s.at, s.shop, s.more = s.Next() }

// drawing makes visits.
type drawing struct {
	day     *Day
	start   int64
	streams []stream
	pcg     *rand.PCG
	rng     *rand.Rand
	own     *rand.PCG // of rows: what they draw changes nothing else
	rows    *rand.Rand
	pauses  []int64
	n       uint64

	shops, channels, queues, tiers choice
	others                         []choice
	names                          []string // of others
	kinds                          []selector.Kind
	queue                          string                      // of who names none
	attrs                          map[[13]int8]selector.Attrs // small by then: combinations come again
}

// visits returns a source of the day's sessions.
func (d *Day) visits(r *routes.Routes, start int64) (Source, error) {
	w := &drawing{
		day: d, start: start, queue: r.Broker.Queues[0].Name, pcg: rand.NewPCG(0, 0), own: rand.NewPCG(0, 0), channels: choiceOf(d.Customers.Channels, false), queues: choiceOf(d.Customers.Queues, false),
		tiers: choiceOf(d.Customers.Tiers, true), attrs: map[[13]int8]selector.Attrs{},
	}
	w.rng, w.rows = rand.New(w.pcg), rand.New(w.own) //nolint:gosec // they are to be the same again, not secret
	shops := r.Document.Shops
	n := d.Customers.Shops
	if n == 0 {
		n = len(shops)
	}
	for i := range n {
		name := fmt.Sprintf("s%02d", i+1)
		if i < len(shops) {
			name = shops[i].Name
		}
		w.shops.add(name, math.Pow(float64(i+1), -d.Customers.Zipf))
	}
	if err := w.declare(r); err != nil {
		return nil, err
	}
	if err := w.begin(); err != nil {
		return nil, err
	}
	return w.next, nil
}

// declare reads the attributes that are no choice of the broker's own.
func (w *drawing) declare(r *routes.Routes) error {
	task := map[string]selector.Kind{}
	for name, kind := range r.Document.Attributes.Task {
		task[name], _ = selector.ParseKind(kind)
	}
	schema, _, _ := selector.Standard().Extend(task, nil)
	const most = 8
	for _, name := range slices.Sorted(maps.Keys(w.day.Customers.Attributes)) {
		kind := schema.Task(name)
		if kind == selector.None {
			return fmt.Errorf("customers.attributes: the routes know no attribute %s", name)
		}
		w.names, w.kinds = append(w.names, name), append(w.kinds, kind)
		w.others = append(w.others, choiceOf(w.day.Customers.Attributes[name], true))
	}
	if len(w.names) > most {
		return fmt.Errorf("customers.attributes: at most %d", most)
	}
	for _, c := range append(slices.Clone(w.others), w.channels, w.queues, w.tiers) {
		if len(c.names) > 127 {
			return fmt.Errorf("customers: at most 127 values of one attribute")
		}
	}
	for _, q := range append(slices.Clone(w.queues.names), cmp.Or(w.day.People.To, r.Broker.Queues[0].Name)) {
		if !slices.ContainsFunc(r.Document.Queues, func(x routes.Queue) bool { return x.Name == q }) {
			return fmt.Errorf("the routes have no queue %s", q)
		}
	}
	return nil
}

// begin makes the streams of arrivals.
func (w *drawing) begin() error {
	d := w.day
	length := d.Length.Duration()
	sc := scenario.Scenario{Steady: d.Length, Customers: scenario.Customers{Shops: len(w.shops.names)}}
	sc.Talk.Rate = scenario.Number(1)
	sc.Talk.Turns.Median, sc.Talk.Pace, sc.Talk.Curve = scenario.Number(1), 1, d.Curve
	expected := func(lists [][]scenario.Segment) (sum float64) {
		for _, list := range lists {
			for _, g := range list {
				sum += (g.To - g.From).Seconds() * g.Rate
			}
		}
		return sum
	}
	each := expected(sc.Segments(1)) // of one a second
	if d.Sessions > 0 && each <= 0 {
		return fmt.Errorf("curve: nobody ever comes")
	}
	mean := 0.0
	if d.Sessions > 0 {
		mean = float64(d.Sessions) / each
		sc.Talk.Rate = scenario.Number(mean)
		for i, list := range sc.Segments(1) {
			w.stream(list, uint64(i), nil) //nolint:gosec // few
		}
	}
	for i := range d.Surges {
		s := &d.Surges[i]
		share := 1.0
		for _, x := range []struct {
			name string
			c    *choice
		}{{s.Shop, &w.shops}, {s.Channel, &w.channels}, {s.Tier, &w.tiers}, {s.Queue, &w.queues}} {
			if x.name == "" {
				continue
			}
			k := x.c.share(x.name)
			if k == 0 {
				return fmt.Errorf("surges[%d]: nobody has the %s", i, x.name)
			}
			share *= k
		}
		rate := float64(d.Sessions) / length.Seconds() * share * (s.Times - 1)
		from := s.At.Duration()
		w.stream([]scenario.Segment{{From: from, To: from + s.For.Duration(), Rate: rate}}, uint64(1000+i), s) //nolint:gosec // few
	}
	return nil
}

func (w *drawing) stream(list []scenario.Segment, n uint64, surge *Surge) {
	s := stream{Arrivals: scenario.NewArrivals(list, w.day.Arrivals, rand.New(rand.NewPCG(w.day.Seed, 1<<40+n))), surge: surge} //nolint:gosec // it is to be the same again
	s.next()
	w.streams = append(w.streams, s)
}

// next makes the next visit.
func (w *drawing) next(v *Visit) bool {
	var s *stream
	for i := range w.streams {
		if x := &w.streams[i]; x.more && (s == nil || x.at < s.at) {
			s = x
		}
	}
	if s == nil {
		return false
	}
	w.n++
	w.pcg.Seed(w.day.Seed, w.n)
	bot, human := Talk{Turns: v.Bot.Turns[:0]}, Talk{Turns: v.Human.Turns[:0], Pauses: v.Human.Pauses[:0]}
	*v = Visit{At: w.start + s.at.Milliseconds(), Customer: "c" + strconv.FormatUint(w.n, 10)}
	w.who(v, s)
	d := w.day
	c, p, b := &d.Customers, &d.People, &d.Bots
	v.Alone = w.rng.Float64() < b.Alone.Value
	v.Bot, v.Human = bot, human
	think := &b.Think
	half := think.IsZero()
	if half {
		think = &c.Think
	}
	turns := &b.After
	if v.Alone {
		turns = &b.Turns
	}
	for range max(w.whole(turns), b2i(v.Alone)) {
		ms := w.ms(think)
		if half {
			ms /= 2
		}
		v.Bot.Turns = append(v.Bot.Turns, Turn{Reply: w.ms(&b.Reply), Think: ms})
	}
	w.human(v)
	if !c.Patience.IsZero() {
		v.Patience = max(w.ms(&c.Patience), 1)
	}
	if w.rng.Float64() < c.AtOnce.Value {
		v.Patience = 1 + w.rng.Int64N(5_000)
	}
	v.Resort = w.rng.Float64() < c.Resort.Value
	v.Accept, v.WrapUp = w.ms(&p.Accept), w.ms(&p.WrapUp)
	v.Miss = w.rng.Float64() < p.Miss.Value
	if w.rng.Float64() < p.Transfer.Value {
		v.Transfers, v.To = p.Times, p.To
	}
	if !v.Alone || b.Count == 0 { // people have him
		w.inRows(&v.Human)
	}
	s.next()
	return true
}

// human draws the talk with people.
func (w *drawing) human(v *Visit) {
	c, p := &w.day.Customers, &w.day.People
	first := w.ms(&p.First)
	if !p.Handle.IsZero() {
		all := w.ms(&p.Handle)
		first = min(first, all)
		v.Human.Turns = append(v.Human.Turns, Turn{Reply: first})
		v.Human.Tail = all - first
		return
	}
	v.Human.Turns = append(v.Human.Turns, Turn{Reply: first, Think: w.ms(&c.Think)})
	for range max(w.whole(&c.Turns)-1, 0) {
		v.Human.Turns = append(v.Human.Turns, Turn{Reply: w.ms(&p.Reply), Think: w.ms(&c.Think)})
	}
	v.Human.Tail = w.ms(&p.Close)
}

// inRows draws in how many messages each party says what it says in a turn with people. A turn is as long as it would be in one: the customer
// begins earlier by what his messages take, and what follows an answer falls into the pause behind it. Either has half of the pause at
// most.
func (w *drawing) inRows(t *Talk) {
	c, p := &w.day.Customers, &w.day.People
	w.own.Seed(w.day.Seed, 1<<42+w.n)
	before := int64(math.MaxInt64) // the pause before a turn: nobody waits for the first
	for i := range t.Turns {
		behind := t.Turns[i].Think
		if i == len(t.Turns)-1 {
			behind = t.Tail
		}
		span := w.inRow(&c.Messages, &c.Between, before/2)
		if i > 0 {
			t.Turns[i-1].Think -= span
			t.Turns[i].Reply += span
		}
		t.row(i, w.pauses, false)
		w.inRow(&p.Messages, &p.Between, behind/2)
		t.row(i, w.pauses, true)
		before = behind
	}
}

// maxInRow is how many messages of a turn are drawn at most.
const maxInRow = 16

// inRow draws the pauses between as many messages as one says, which take no more than room all together, and returns how long they take.
func (w *drawing) inRow(messages, between *scenario.Dist, room int64) (span int64) {
	w.pauses = w.pauses[:0]
	draw := func(d *scenario.Dist) float64 {
		if d.Sigma == 0 && d.Profile == "" && d.Exponential.Value == 0 {
			return d.Median.Value
		}
		return d.Quantile(w.rows.Float64())
	}
	for range min(int(draw(messages)+.5), maxInRow) - 1 {
		ms := min(int64(draw(between)*1000), room-span)
		span += ms
		w.pauses = append(w.pauses, ms)
	}
	return span
}

// who draws whose session it is, and what routes see of it.
func (w *drawing) who(v *Visit, s *stream) {
	shop, channel, queue, tier := w.shops.pick(w.rng.Float64()), w.channels.pick(w.rng.Float64()), w.queues.pick(w.rng.Float64()), w.tiers.pick(w.rng.Float64())
	if s.shop > 0 {
		shop = s.shop - 1
	}
	if x := s.surge; x != nil {
		set := func(i *int, c *choice, name string) {
			if name != "" {
				*i = slices.Index(c.names, name)
			}
		}
		set(&shop, &w.shops, x.Shop)
		set(&channel, &w.channels, x.Channel)
		set(&queue, &w.queues, x.Queue)
		set(&tier, &w.tiers, x.Tier)
	}
	v.Shop, v.Channel, v.Queue, v.Tier = w.shops.name(shop), w.channels.name(channel), w.queues.name(queue), w.tiers.name(tier)
	key := [13]int8{int8(shop & 127), int8(shop >> 7), int8(channel), int8(tier), 12: int8(queue)} //nolint:gosec // seven bits each
	for i := range w.others {
		key[4+i] = int8(w.others[i].pick(w.rng.Float64())) //nolint:gosec // at most 127
	}
	a, ok := w.attrs[key]
	if !ok {
		a = w.attributes(v, key)
		w.attrs[key] = a
	}
	v.Attributes = a
}

// attributes returns what routes see of a combination.
func (w *drawing) attributes(v *Visit, key [13]int8) (a selector.Attrs) {
	for _, x := range [...]struct{ name, value string }{{"shop", v.Shop}, {"channel", v.Channel}, {"tier", v.Tier}, {"queue", cmp.Or(v.Queue, w.queue)}} {
		if x.value != "" {
			a = a.With(x.name, selector.StringOf(x.value))
		}
	}
	for i, name := range w.names {
		text := w.others[i].name(int(key[4+i]))
		if text == "" {
			continue
		}
		value := selector.StringOf(text)
		switch w.kinds[i] {
		case selector.Bool:
			value = selector.BoolOf(text == "true")
		case selector.Number:
			n, _ := strconv.ParseFloat(text, 64) // what is no number counts as none
			value = selector.NumberOf(n)
		case selector.List:
			value = selector.ListOf(text)
		}
		a = a.With(name, value)
	}
	return a
}

// ms draws a time.
func (w *drawing) ms(d *scenario.Dist) int64 {
	if d.Sigma == 0 && d.Profile == "" && d.Exponential.Value == 0 {
		return int64(d.Median.Value * 1000)
	}
	return int64(d.Quantile(w.rng.Float64()) * 1000)
}

// whole draws a number.
func (w *drawing) whole(d *scenario.Dist) int { return int(d.Quantile(w.rng.Float64()) + .5) }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
