package whatif

import "slices"

// outcome is how a wait for a person ended.
type outcome uint8

const (
	answered outcome = iota
	left
	resorted
	unserved // the day was over
)

// Figures are what became of the waits for a person, of one hour, shop, tier, channel or queue. Times are ms.
type Figures struct {
	Name string `json:"name,omitempty"`
	// Wanted is how many wanted a person: those whom no bot took, or whom one handed over. Who is handed on by a person
	// wants another one.
	Wanted   int `json:"wanted"`
	Answered int `json:"answered"`
	Left     int `json:"left"`     // without having been answered
	Resorted int `json:"resorted"` // took the last resort
	Unserved int `json:"unserved"` // still waited when the simulation ended
	InTime   int `json:"in_time"`
	// Rate is InTime of Wanted; 1 when nobody wanted one.
	Rate float64 `json:"rate"`
	// Wait is until a person took the session, of those who were answered. MeanLine is of all, those who left among them.
	MeanWait int64 `json:"mean_wait"`
	MeanLine int64 `json:"mean_line"`
	P50      int64 `json:"p50"`
	P95      int64 `json:"p95"`
	P99      int64 `json:"p99"`
	MaxWait  int64 `json:"max_wait"`
	// MeanAnswer and AnswerP95 are until the first word of a person.
	MeanAnswer int64 `json:"mean_answer"`
	AnswerP95  int64 `json:"answer_p95"`

	waits, answers []int64
	line           int64
}

// add notes one wait.
func (f *Figures) add(how outcome, waited, answer int64, inTime bool) {
	f.Wanted++
	switch how {
	case answered:
		f.Answered++
		f.waits, f.answers = append(f.waits, waited), append(f.answers, answer)
		f.line += waited
		if inTime {
			f.InTime++
		}
		return
	case left:
		f.Left++
	case resorted:
		f.Resorted++
	case unserved:
		f.Unserved++
	}
	f.line += answer
}

// sum works out what is asked of all that was added.
func (f *Figures) sum() {
	f.Rate = 1
	if f.Wanted > 0 {
		f.Rate = float64(f.InTime) / float64(f.Wanted)
		f.MeanLine = f.line / int64(f.Wanted)
	}
	if len(f.waits) == 0 {
		return
	}
	slices.Sort(f.waits)
	slices.Sort(f.answers)
	f.MeanWait, f.MeanAnswer = mean(f.waits), mean(f.answers)
	f.P50, f.P95, f.P99, f.MaxWait = quantile(f.waits, .5), quantile(f.waits, .95), quantile(f.waits, .99), f.waits[len(f.waits)-1]
	f.AnswerP95 = quantile(f.answers, .95)
}

func mean(list []int64) int64 {
	sum := int64(0)
	for _, v := range list {
		sum += v
	}
	return sum / int64(len(list))
}

// quantile of a sorted list: the least value that a share p does not exceed.
func quantile(list []int64, p float64) int64 {
	return list[min(max(int(p*float64(len(list))+.999999)-1, 0), len(list)-1)]
}

// Hour is one hour of the day.
type Hour struct {
	Figures
	At       int64   `json:"at"`       // Unix ms
	Arrived  int     `json:"arrived"`  // sessions
	Agents   float64 `json:"agents"`   // people who were ready, on average
	Busy     float64 `json:"busy"`     // sessions that people had, on average
	Bots     float64 `json:"bots"`     // and that bots had
	Occupied float64 `json:"occupied"` // the share of their slots
	Line     int     `json:"line"`     // the most who waited at a time
}

// measures is what a simulation writes down.
type measures struct {
	start, end, within int64
	byWait             bool

	all      Figures
	hours    []Hour
	shops    map[string]*Figures
	tiers    map[string]*Figures
	channels map[string]*Figures
	queues   map[string]*Figures

	alone, handed, served, transfers, lost, offeredResort, rejected int
	told, untold, offers, missed, assigned                          int
	asks, answers                                                   int // messages of customers, and of people
	events, ticks, effects                                          int

	// What is integrated over time.
	last                         int64
	agents, busy, bots, slots    int
	waiting, maxWaiting          int
	agentMS, busyMS, botMS, slot []int64 // by hour
	people                       int64   // ms of all agents
}

func (m *measures) begin(cfg *Config) {
	m.start, m.end, m.within, m.byWait, m.last = cfg.Start, cfg.End, cfg.Within, cfg.Assigned, cfg.Start
	n := int((cfg.End - cfg.Start + hourMS - 1) / hourMS)
	m.hours = make([]Hour, n)
	for i := range m.hours {
		m.hours[i].At = cfg.Start + int64(i)*hourMS
	}
	for _, list := range []*[]int64{&m.agentMS, &m.busyMS, &m.botMS, &m.slot} {
		*list = make([]int64, n)
	}
	m.shops, m.tiers, m.channels, m.queues = map[string]*Figures{}, map[string]*Figures{}, map[string]*Figures{}, map[string]*Figures{}
}

// hour returns the one in which a moment lies; what comes behind the end belongs to the last.
func (m *measures) hour(at int64) int { return min(max(int((at-m.start)/hourMS), 0), len(m.hours)-1) }

func (m *measures) arrived(at int64) { m.hours[m.hour(at)].Arrived++ }

// note writes down how a wait ended.
func (m *measures) note(s *Sim, p *session, how outcome) {
	since := s.now - p.wants
	until := since
	if m.byWait {
		until = p.waited
	}
	ok := how == answered && until <= m.within
	for _, f := range [...]*Figures{
		&m.all, &m.hours[m.hour(p.wants)].Figures, of(m.shops, p.visit.Shop), of(m.tiers, p.visit.Tier), of(m.channels, p.visit.Channel), of(m.queues, p.queue),
	} {
		f.add(how, p.waited, since, ok)
	}
}

// toldAfter is how long somebody has been in line, and nobody was asked to take him, who should know his place, ms.
const toldAfter = 2_000

func of(m map[string]*Figures, name string) *Figures {
	f := m[name]
	if f == nil {
		f = &Figures{Name: name}
		m[name] = f
	}
	return f
}

// line notes that one more waits, or one fewer.
func (m *measures) line(s *Sim, p *session, by int) {
	if by < 0 {
		until := s.now
		if p.asked > 0 {
			until = p.asked
		}
		if p.told == 0 && until-p.lined > toldAfter {
			m.untold++
		}
	}
	m.waiting += by
	m.maxWaiting = max(m.maxWaiting, m.waiting)
	h := &m.hours[m.hour(s.now)]
	h.Line = max(h.Line, m.waiting)
}

// integrate brings what is counted over time up to now.
func (m *measures) integrate(now int64) {
	for m.last < now {
		h := m.hour(m.last)
		to := now
		if h < len(m.hours)-1 {
			to = min(now, m.start+int64(h+1)*hourMS)
		}
		if m.last < m.end {
			d := max(min(to, m.end)-m.last, 0)
			m.agentMS[h] += d * int64(m.agents)
			m.busyMS[h] += d * int64(m.busy)
			m.botMS[h] += d * int64(m.bots)
			m.slot[h] += d * int64(m.slots)
		}
		m.people += (to - m.last) * int64(m.agents)
		m.last = to
	}
}
