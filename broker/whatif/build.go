package whatif

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"switchboard/broker"
	"switchboard/broker/level"
	"switchboard/broker/routes"
	"switchboard/broker/selector"
	"switchboard/loadtest/scenario"
)

// Config makes a simulation of the day under a tenant's routes. load finds a time zone, as [time.LoadLocation] does. Each
// call gives a configuration of its own: a [Source] can be used once.
func (d *Day) Config(r *routes.Routes, load func(string) (*time.Location, error)) (Config, error) {
	start, err := d.begin(load)
	if err != nil {
		return Config{}, err
	}
	defs := d.Levels
	if len(defs) == 0 {
		defs = LevelsOf(&r.Document)
	}
	set, err := level.Compile(defs, nil, load)
	if err != nil {
		return Config{}, err
	}
	cfg := Config{
		Name: d.Name, Seed: d.Seed, Routes: r.Broker, Levels: set, Start: start.UnixMilli(), End: start.Add(d.Length.Duration()).UnixMilli(),
		Within: d.Within.Duration().Milliseconds(), Assigned: d.Assigned, AwayMS: d.People.Away.Duration().Milliseconds(),
	}
	cfg.Routes.TraceEvery = 0 // why is not asked
	cfg.Routes.Teams = slices.Clone(cfg.Routes.Teams)
	if cfg.Agents, err = d.agents(start); err != nil {
		return Config{}, err
	}
	for _, x := range d.Drops {
		if !slices.ContainsFunc(cfg.Agents, func(a Agent) bool { return a.ID == x.Agent }) {
			return Config{}, fmt.Errorf("drops: there is no agent %s", x.Agent)
		}
		cfg.Hooks = append(cfg.Hooks, Hook{At: cfg.Start + x.At.Duration().Milliseconds(), Do: func(s *Sim) { s.Drop(x.Agent, x.Back.Duration().Milliseconds()) }})
	}
	cfg.Visits, err = d.visits(r, cfg.Start)
	return cfg, err
}

// LevelsOf returns the service levels of a routing document as a node counts them: those that a queue or a shop names. At most
// [level.MaxDefinitions].
func LevelsOf(doc *routes.Document) []level.Definition {
	defs := doc.Definitions()
	return defs[:min(len(defs), level.MaxDefinitions)]
}

// agents returns everybody who works.
func (d *Day) agents(start time.Time) (list []Agent, err error) {
	length := d.Length.Duration()
	whole := []Shift{{start.UnixMilli(), start.Add(length + 24*time.Hour).UnixMilli()}}
	for i := range d.Bots.Count {
		list = append(list, Agent{
			ID: fmt.Sprintf("bot%02d", i+1), Bot: true, Slots: d.Bots.Slots, Queues: d.Bots.Queues, Skills: skillsOf(d.Bots.Skills), Shifts: whole,
		})
	}
	for i := range d.Staff {
		row := &d.Staff[i]
		attributes, err := attributesOf(row.Attributes)
		if err != nil {
			return nil, fmt.Errorf("staff[%d].attributes: %w", i, err)
		}
		for n := range max(row.Count, slices.Max(append([]int{0}, row.Hours...))) {
			list = append(list, Agent{
				ID: fmt.Sprintf("%s%02d", row.Name, n+1), Slots: row.Slots, Queues: row.Queues, Skills: skillsOf(row.Skills), Rating: row.Rating,
				Attributes: attributes, Shifts: row.shifts(n, start, length),
			})
		}
	}
	return list, nil
}

// AgentsFrom returns the staff and bots of the day at another time, by the hours of the clock in zone.
func (d *Day) AgentsFrom(start, end int64, zone *time.Location) ([]Agent, error) {
	other := *d
	other.Length = scenario.Seconds(time.Duration(end-start) * time.Millisecond)
	return other.agents(time.UnixMilli(start).In(zone))
}

func skillsOf(m map[string]float64) (list []Skill) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, Skill{Name: name, Level: m[name]})
	}
	return list
}

func attributesOf(m map[string]any) (a selector.Attrs, err error) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		v, ok := selector.ValueOf(m[name])
		if !ok {
			return nil, fmt.Errorf("%s is no word, number, list of words, or true or false", name)
		}
		a = a.With(name, v)
	}
	return a, nil
}

// shifts returns when the n'th of a row works, on all the days that the simulation touches.
func (row *StaffRow) shifts(n int, start time.Time, length time.Duration) (list []Shift) {
	add := func(from, to time.Time) {
		if k := len(list); k > 0 && list[k-1].To >= from.UnixMilli() {
			list[k-1].To = max(list[k-1].To, to.UnixMilli())
			return
		}
		list = append(list, Shift{from.UnixMilli(), to.UnixMilli()})
	}
	end := start.Add(length)
	midnight := func(day int) time.Time {
		return time.Date(start.Year(), start.Month(), start.Day()+day, 0, 0, 0, 0, start.Location())
	}
	last := int(length/(24*time.Hour)) + 1
	for day := -1; day <= last; day++ {
		at := func(clock string) time.Time {
			minutes := minutesOf(clock)
			return time.Date(start.Year(), start.Month(), start.Day()+day, minutes/60, minutes%60, 0, 0, start.Location())
		}
		switch {
		case len(row.Hours) > 0:
			for h, k := range row.Hours {
				if k > n {
					from := time.Date(start.Year(), start.Month(), start.Day()+day, h, 0, 0, 0, start.Location())
					add(from, from.Add(time.Hour))
				}
			}
		case row.From == "" && row.To == "":
			add(midnight(day), midnight(day+1))
		default:
			from, to := at(cmp.Or(row.From, "00:00")), at(cmp.Or(row.To, "24:00"))
			if !to.After(from) {
				to = to.AddDate(0, 0, 1)
			}
			add(from, to)
		}
	}
	for day := -1; day <= last; day++ {
		for _, b := range row.Breaks {
			m, k := minutesOf(b.From), minutesOf(b.To)
			from := time.Date(start.Year(), start.Month(), start.Day()+day, m/60, m%60, 0, 0, start.Location()).UnixMilli()
			to := time.Date(start.Year(), start.Month(), start.Day()+day, k/60, k%60, 0, 0, start.Location()).UnixMilli()
			list = without(list, from, to)
		}
	}
	// Nobody works before the day begins: it is simulated from its start.
	list = slices.DeleteFunc(list, func(x Shift) bool { return x.To <= start.UnixMilli() || x.From >= end.Add(24*time.Hour).UnixMilli() })
	if len(list) > 0 {
		list[0].From = max(list[0].From, start.UnixMilli())
	}
	return list
}

// without cuts a time out of shifts.
func without(list []Shift, from, to int64) (out []Shift) {
	for _, x := range list {
		if x.From < from {
			out = append(out, Shift{x.From, min(x.To, from)})
		}
		if x.To > to {
			out = append(out, Shift{max(x.From, to), x.To})
		}
	}
	return out
}

func minutesOf(clock string) int {
	h, _ := strconv.Atoi(clock[:2])
	m, _ := strconv.Atoi(clock[3:])
	return 60*h + m
}

// Ordered returns routes in which all queues, or those that are named, wait in another order: ageing, fifo, strict or savable_first.
// What is savable_first and has no service level gets within as its own.
func Ordered(cfg broker.Config, mode string, within int64, queues ...string) (broker.Config, error) {
	i := slices.Index([]string{"ageing", "strict", "fifo", "savable_first"}, mode)
	if i < 0 {
		return cfg, fmt.Errorf("there is no order %q: they are ageing, strict, fifo, savable_first", mode)
	}
	cfg.Queues = slices.Clone(cfg.Queues)
	for j := range cfg.Queues {
		q := &cfg.Queues[j]
		if len(queues) > 0 && !slices.Contains(queues, q.Name) {
			continue
		}
		q.Order = broker.Order(i) //nolint:gosec // one of four
		if q.Order == broker.SavableFirst && q.SLAMS == 0 {
			q.SLAMS = within
		}
	}
	return cfg, nil
}
