package whatif

import (
	"cmp"
	"maps"
	"slices"
)

// Format is the version of a result's JSON form.
const Format = 1

// Result is what a simulation has shown. Times are Unix ms, or ms.
type Result struct {
	Format int    `json:"format"`
	Name   string `json:"name"`
	Policy string `json:"policy,omitempty"`
	Seed   uint64 `json:"seed"`
	Start  int64  `json:"start"`
	End    int64  `json:"end"`
	// Within is how fast an answer is in time; Assigned that being taken counts as one.
	Within   int64 `json:"within"`
	Assigned bool  `json:"assigned,omitempty"`

	// Every session that came is in exactly one of Alone, Served, People.Left, People.Resorted, Rejected and Open.
	Sessions int `json:"sessions"`
	Alone    int `json:"alone"`  // were dealt with by bots
	Served   int `json:"served"` // by people
	Rejected int `json:"rejected"`
	Open     int `json:"open"` // were still under way when the simulation ended
	// Handed is how often a bot handed over, Transfers how often anybody sent a session on, Lost how often somebody who had one
	// was gone, Missed how many offers were let pass.
	Handed    int `json:"handed"`
	Transfers int `json:"transfers"`
	Lost      int `json:"lost"`
	Offers    int `json:"offers"`
	Missed    int `json:"missed"`
	Resorts   int `json:"resorts"` // customers who were offered the last resort
	Told      int `json:"told"`    // messages about the place in line
	// Untold is who was in line for more than two seconds before anybody was asked, and never heard his place: it is told to the
	// first 256 of a line.
	Untold  int `json:"untold"`
	MaxLine int `json:"max_line"`
	// CustomerMessages is what customers have said to whomever, PeopleMessages what people have said to them.
	CustomerMessages int `json:"customer_messages"`
	PeopleMessages   int `json:"people_messages"`

	People     Figures     `json:"people"`
	Hours      []Hour      `json:"hours"`
	Shops      []Figures   `json:"shops,omitempty"`
	Tiers      []Figures   `json:"tiers,omitempty"`
	Channels   []Figures   `json:"channels,omitempty"`
	Queues     []Figures   `json:"queues"`
	Levels     []LevelLine `json:"levels,omitempty"`
	AgentHours float64     `json:"agent_hours"` // that people were ready
	Events     int         `json:"events"`      // of the simulation
	Effects    int         `json:"effects"`     // of the core

	// Was is how the day was, when a recorded one is played again: who plays it sets it.
	Was *Was `json:"as_it_was,omitempty"`
}

// Was is what a recording says of its day by itself, without a simulation.
type Was struct {
	People Figures     `json:"people"`
	Levels []LevelLine `json:"levels,omitempty"` // exact, to the limits of `switchboard levels --data`
}

// Accounted tells whether every session that came is in exactly one of the sums.
func (r *Result) Accounted() bool {
	return r.Sessions == r.Alone+r.Served+r.People.Left+r.People.Resorted+r.Rejected+r.Open
}

// finish makes the result.
func (s *Sim) finish() *Result {
	m := &s.measures
	m.integrate(s.now)
	r := &Result{
		Format: Format, Name: s.cfg.Name, Policy: s.cfg.Policy, Seed: s.cfg.Seed, Start: s.cfg.Start, End: s.cfg.End, Within: s.cfg.Within, Assigned: s.cfg.Assigned,
		Sessions: s.count, Alone: m.alone, Served: m.served, Rejected: m.rejected, Open: len(s.sessions), Handed: m.handed, Transfers: m.transfers,
		Lost: m.lost, Offers: m.offers, Missed: m.missed, Resorts: m.offeredResort, Told: m.told, MaxLine: m.maxWaiting,
		CustomerMessages: m.asks, PeopleMessages: m.answers,
		Events: m.events + m.ticks, Effects: m.effects, AgentHours: float64(m.people) / float64(hourMS),
	}
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		p := s.find(id)
		if p.conv != nil {
			p.conv.Tick(s.cfg.Levels, s.now, &s.levels)
			for i := range s.levels.Samples {
				s.tally.Add(&s.levels.Samples[i])
			}
			s.levels.Reset()
		}
		if p.state == waits {
			m.line(s, p, -1)
		}
		if p.wants > 0 {
			m.note(s, p, unserved)
		}
	}
	r.Untold = m.untold
	m.all.sum()
	r.People = m.all
	for i := range m.hours {
		h := &m.hours[i]
		h.sum()
		length := float64(min(h.At+hourMS, m.end) - h.At)
		h.Agents, h.Busy, h.Bots = float64(m.agentMS[i])/length, float64(m.busyMS[i])/length, float64(m.botMS[i])/length
		if m.slot[i] > 0 {
			h.Occupied = float64(m.busyMS[i]) / float64(m.slot[i])
		}
	}
	r.Hours = m.hours
	r.Shops, r.Tiers, r.Channels, r.Queues = sorted(m.shops), sorted(m.tiers), sorted(m.channels), sorted(m.queues)
	r.Levels = levelLines(s.cfg.Levels, s.tally)
	return r
}

// sorted returns figures by name; a single one without name says nothing.
func sorted(m map[string]*Figures) (list []Figures) {
	if _, ok := m[""]; ok && len(m) == 1 {
		return nil
	}
	for _, name := range slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Compare(a, b) }) {
		m[name].sum()
		list = append(list, *m[name])
	}
	return list
}

// Where tells, for hooks, with whom a session is that is under way: the number of its assignment and the worker, or state waits.
func (s *Sim) Where(n int) (worker string, ae uint64, waiting bool) {
	p := s.find(name(n))
	switch {
	case p == nil:
		return "", 0, false
	case p.state == with:
		return s.workers[p.worker].agent.ID, p.ae, false
	}
	return "", p.ae, true
}
