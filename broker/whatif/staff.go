package whatif

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"switchboard/broker/routes"
	"switchboard/broker/whatif/erlang"
)

// Staffing is how many people each hour of the day needs.
type Staffing struct {
	Format int          `json:"format"`
	Name   string       `json:"name"`
	Policy string       `json:"policy,omitempty"`
	Row    string       `json:"row"`   // of the staff whose number was looked for
	Slots  int          `json:"slots"` // that each of them has
	Within int64        `json:"within"`
	Hours  []HourNeed   `json:"hours"`
	Plans  []TargetPlan `json:"plans"` // by target, ascending
	Cliff  []CliffPoint `json:"cliff"` // around the plan of the target CliffOf
	// CliffOf is the target around whose plan the cliff was looked at.
	CliffOf float64 `json:"cliff_of"`
	Runs    int     `json:"runs"` // simulations
}

// HourNeed is what an hour brings, and what a formula would say.
type HourNeed struct {
	Hour   int     `json:"hour"` // of the clock
	Wanted int     `json:"wanted"`
	Load   float64 `json:"load"` // sessions that people have at a time, when there are enough of them
	// Erlang is how many people the formula of M/M/n asks for, with patience as M/M/n+M, at the target CliffOf: each hour by
	// itself, as if it had no neighbours, all people were alike and routes were a single line.
	Erlang int `json:"erlang"`
}

// TargetPlan is the least staff with which each hour meets a target, as far as a search that changes hours one by one finds it.
type TargetPlan struct {
	Target     float64   `json:"target"`
	People     []int     `json:"people"` // by hour of the clock
	Rates      []float64 `json:"rates"`  // what each hour came to; of several days the worst
	Reached    []bool    `json:"reached"`
	AgentHours float64   `json:"agent_hours"`
	Rate       float64   `json:"rate"` // of the whole day
}

// CliffPoint is the day with the plan's staff times Factor.
type CliffPoint struct {
	Factor   float64 `json:"factor"`
	Agents   float64 `json:"agents"` // hours that people were ready
	Rate     float64 `json:"rate"`
	Worst    float64 `json:"worst"` // hour
	MeanWait int64   `json:"mean_wait"`
	P95      int64   `json:"p95"`
	Left     int     `json:"left"`
	Unserved int     `json:"unserved"`
}

// search looks for staff.
type search struct {
	day      *Day
	routes   *routes.Routes
	load     func(string) (*time.Location, error)
	row      int
	edit     func(*Config) error
	progress func(string)
	runs     int
	zone     *time.Location
	visits   []Visit // of the whole day, unless they are too many to keep
	plenty   int     // people with whom no hour is half full
}

// Staff finds the least number of people of the staff row by hour of the clock, for each target of the day. Other rows
// stay as they are. edit, which may be nil, changes each configuration before it is played; progress, which may be nil, is told
// what is going on. For each target it plays two hours some five times for each hour, and the whole day a few times.
func Staff(d *Day, r *routes.Routes, row string, load func(string) (*time.Location, error), edit func(*Config) error, progress func(string)) (*Staffing, error) {
	s := &search{day: d, routes: r, load: load, edit: edit, progress: progress}
	if row == "" && len(d.Staff) > 0 {
		row = d.Staff[0].Name
	}
	if s.row = slices.IndexFunc(d.Staff, func(x StaffRow) bool { return x.Name == row }); s.row < 0 {
		return nil, fmt.Errorf("there is no staff %q", row)
	}
	start, err := d.begin(load)
	switch {
	case err != nil:
		return nil, err
	case d.Length.Value > daySeconds || start.Minute() != 0:
		return nil, errors.New("staff is looked for by hour: the day must begin with one and be no longer than 24h")
	}
	s.zone = start.Location()
	out := &Staffing{Format: Format, Name: d.Name, Row: row, Slots: max(d.Staff[s.row].Slots, 1), Within: d.Within.Duration().Milliseconds()}
	first, err := s.needs(out)
	if err != nil {
		return nil, err
	}
	out.CliffOf = d.Targets[len(d.Targets)/2]
	for i := range out.Hours {
		out.Hours[i].Erlang = s.formula(&out.Hours[i], out, out.CliffOf)
	}
	var base []int
	for _, t := range d.Targets {
		p, err := s.target(t, out, first)
		if err != nil {
			return nil, err
		}
		out.Plans = append(out.Plans, p)
		if t == out.CliffOf {
			base = p.People
		}
	}
	if err := s.cliff(out, base); err != nil {
		return nil, err
	}
	out.Runs = s.runs
	return out, nil
}

// run plays the day with so many people in each hour of the clock, or some of its hours: from the from'th to before the to'th.
func (s *search) run(people []int, from, to int) (*Result, error) {
	d := *s.day
	d.Staff = slices.Clone(d.Staff)
	row := &d.Staff[s.row]
	row.Count, row.From, row.To, row.Breaks, row.Hours = 0, "", "", nil, people
	cfg, err := d.Config(s.routes, s.load)
	if err != nil {
		return nil, err
	}
	cfg.Levels = nil // they change nothing here that is looked at
	if s.edit != nil {
		if err := s.edit(&cfg); err != nil {
			return nil, err
		}
	}
	s.keep(&cfg)
	cfg.cut(cfg.Start+int64(from)*hourMS, min(cfg.Start+int64(to)*hourMS, cfg.End))
	sim, err := New(cfg)
	if err != nil {
		return nil, err
	}
	s.runs++
	return sim.Run()
}

// keptVisits is how many visits are kept in memory, some half a kilobyte each, so that they are drawn once.
const keptVisits = 500_000

// keep lets cfg have the visits of the first run, which do not depend on staff.
func (s *search) keep(cfg *Config) {
	if s.day.Sessions > keptVisits {
		return
	}
	if s.visits == nil {
		var v Visit
		for cfg.Visits(&v) {
			x := v
			x.Bot, x.Human = Talk{}, Talk{}
			v.Bot.copyInto(&x.Bot)
			v.Human.copyInto(&x.Human)
			s.visits = append(s.visits, x)
		}
	}
	cfg.Visits, cfg.all = Of(s.visits), s.visits
}

// cut makes a part of the day of cfg.
func (cfg *Config) cut(from, to int64) {
	if from == cfg.Start && to == cfg.End {
		return
	}
	cfg.Start, cfg.End = from, to
	if cfg.all != nil {
		i, _ := slices.BinarySearchFunc(cfg.all, from, func(v Visit, at int64) int { return cmp.Compare(v.At, at) })
		cfg.Visits = Of(cfg.all[i:])
	}
	come := cfg.Visits
	cfg.Visits = func(v *Visit) bool {
		for come(v) {
			if v.At >= to {
				return false
			}
			if v.At >= from {
				return true
			}
		}
		return false
	}
	for i := range cfg.Agents {
		a := &cfg.Agents[i]
		a.Shifts = slices.DeleteFunc(a.Shifts, func(x Shift) bool { return x.To <= from })
		if len(a.Shifts) > 0 {
			a.Shifts = slices.Clone(a.Shifts)
			a.Shifts[0].From = max(a.Shifts[0].From, from)
		}
	}
	cfg.Hooks = slices.DeleteFunc(cfg.Hooks, func(h Hook) bool { return h.At < from })
}

// clock returns the hour of the clock of a result's hour.
func (s *search) clock(h *Hour) int { return time.UnixMilli(h.At).In(s.zone).Hour() }

// rates returns the worst rate of each hour of the clock. An hour in which nobody wanted anybody is perfect.
func (s *search) rates(r *Result) []float64 {
	list := make([]float64, 24)
	for i := range list {
		list[i] = 1
	}
	for i := range r.Hours {
		h := &r.Hours[i]
		k := s.clock(h)
		list[k] = min(list[k], h.Rate)
	}
	return list
}

// needs plays the day with more people than anybody needs, and notes what each hour brings.
func (s *search) needs(out *Staffing) (*Result, error) {
	s.tell("what each hour brings")
	many := make([]int, 24)
	guess := 1 + s.day.Sessions/24/out.Slots/4
	for {
		for i := range many {
			many[i] = min(guess, maxAgents/2)
		}
		r, err := s.run(many, 0, s.hours())
		if err != nil {
			return nil, err
		}
		full := slices.ContainsFunc(r.Hours, func(h Hour) bool { return h.Occupied > .5 })
		if full && guess < maxAgents/2 {
			guess *= 2
			continue
		}
		out.Hours = make([]HourNeed, 24)
		for i := range r.Hours {
			h := &r.Hours[i]
			k := s.clock(h)
			n := &out.Hours[k]
			n.Wanted, n.Load = max(n.Wanted, h.Wanted), max(n.Load, h.Busy)
		}
		s.plenty = many[0]
		for k := range out.Hours {
			out.Hours[k].Hour = k
		}
		return r, nil
	}
}

// formula is how many people an hour would need if a formula held.
func (s *search) formula(h *HourNeed, out *Staffing, target float64) int {
	if h.Wanted == 0 || h.Load == 0 {
		return 0
	}
	q := erlang.Queue{Rate: float64(h.Wanted) / 3600, Handle: h.Load * 3600 / float64(h.Wanted)}
	if p := &s.day.Customers.Patience; !p.IsZero() {
		q.Patience = p.Mean()
	}
	n := q.ServersFor(target, float64(out.Within)/1000, 1_000_000)
	return (n + out.Slots - 1) / out.Slots
}

// target finds the people that one target needs, hour by hour from the first: what comes later changes nothing for those
// before. best is the day with more than enough.
func (s *search) target(target float64, out *Staffing, best *Result) (TargetPlan, error) {
	p := TargetPlan{Target: target, Reached: make([]bool, 24)}
	most := s.rates(best)
	p.People = make([]int, 24)
	for k := range p.People { // until an hour's turn comes it has what the formula says, and some more
		if n := s.formula(&out.Hours[k], out, target); n > 0 {
			p.People[k] = n + n/4 + 2
		}
		p.Reached[k] = most[k] >= target
	}
	for i := range best.Hours {
		k := s.clock(&best.Hours[i])
		if out.Hours[k].Wanted == 0 {
			p.People[k] = 0
			continue
		}
		reach, err := s.hour(p.People, i, k, target, most[k])
		if err != nil {
			return p, err
		}
		most[k] = reach
		p.Reached[k] = most[k] >= target
		s.tell(fmt.Sprintf("target %.4g: %02d:00 needs %d", target, k, p.People[k]))
	}
	for round := range repairs {
		r, err := s.run(p.People, 0, len(best.Hours))
		if err != nil {
			return p, err
		}
		p.Rates, p.Rate, p.AgentHours = s.rates(r), r.People.Rate, r.AgentHours
		short := false
		for i := range best.Hours { // an hour may have been good enough only because the next one had more than it needs
			k := s.clock(&best.Hours[i])
			if out.Hours[k].Wanted == 0 || meets(p.Rates[k], target, most[k]) {
				continue
			}
			short = true
			if round < repairs-1 {
				p.People[k]++
			} else {
				p.Reached[k] = false
			}
		}
		if !short {
			break
		}
		s.tell(fmt.Sprintf("target %.4g: some hours are short, %.0f agent hours", target, r.AgentHours))
	}
	return p, nil
}

// repairs bounds how often a plan is played as a whole.
const repairs = 12

// meets says whether an hour's rate is enough for target. An hour that does not meet it with any number of people, most being
// what it comes to then, has enough when more do not help.
func meets(rate, target, most float64) bool { return rate >= min(target, most-.01) }

// hour finds the least number of people for the i'th hour, k of the clock, with the hour before it as it is planned. It returns
// most, or what the hour comes to at the best when that is less: what is left over from planned hours can be in the way of
// those whom only some may serve, however many others there are.
func (s *search) hour(people []int, i, k int, target, most float64) (float64, error) {
	var rate float64
	try := func(n int) (bool, error) {
		people[k] = n
		from := max(i-1, 0)
		r, err := s.run(people, from, i+1)
		if err != nil {
			return false, err
		}
		rate = r.Hours[i-from].Rate
		return meets(rate, target, most), nil
	}
	// From the guess on, in growing steps, until it is bracketed.
	low, high, step := -1, people[k], 1+people[k]/10
	for {
		ok, err := try(high)
		if err != nil {
			return most, err
		}
		if ok {
			break
		}
		if high >= s.plenty {
			low, most = -1, rate
			break
		}
		low, high, step = high, min(high+step, s.plenty), 2*step
	}
	for step = 1 + high/10; low < 0; step *= 2 {
		n := max(high-step, 0)
		ok, err := try(n)
		switch {
		case err != nil:
			return most, err
		case !ok:
			low = n
		case n == 0:
			people[k] = 0
			return most, nil
		default:
			high = n
		}
	}
	for high-low > 1 {
		n := (low + high) / 2
		ok, err := try(n)
		if err != nil {
			return most, err
		}
		if ok {
			high = n
		} else {
			low = n
		}
	}
	people[k] = high
	return most, nil
}

// cliff plays the day with more and with fewer people than the plan has.
func (s *search) cliff(out *Staffing, base []int) error {
	for _, factor := range []float64{.7, .8, .85, .9, .95, 1, 1.05, 1.1, 1.2, 1.3} {
		people := make([]int, 24)
		for k := range people {
			people[k] = int(math.Round(float64(base[k]) * factor))
		}
		r, err := s.run(people, 0, s.hours())
		if err != nil {
			return err
		}
		worst := slices.Min(s.rates(r))
		out.Cliff = append(out.Cliff, CliffPoint{
			Factor: factor, Agents: r.AgentHours, Rate: r.People.Rate, Worst: worst, MeanWait: r.People.MeanLine, P95: r.People.P95, Left: r.People.Left, Unserved: r.People.Unserved,
		})
		s.tell(fmt.Sprintf("the cliff at %.0f %%", factor*100))
	}
	return nil
}

// hours of the day.
func (s *search) hours() int {
	return int((s.day.Length.Duration().Milliseconds() + hourMS - 1) / hourMS)
}

func (s *search) tell(what string) {
	if s.progress != nil {
		s.progress(what)
	}
}
