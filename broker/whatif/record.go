package whatif

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"

	"switchboard/broker"
	"switchboard/broker/level"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// Record is one session of a log: what is known of it, and its entries in order.
type Record struct {
	Session    string
	Tenant     string
	Customer   string
	Shop       string
	Tier       string
	Channel    string
	Attributes []byte // JSON
	Entries    []wire.Entry
}

// ParseRecord reads a line of `switchboard log --all`. It may have passed through a program that writes JSON with other spaces: the bodies
// of its entries come out without any, as the broker writes them, since service levels read them so.
func ParseRecord(line []byte) (*Record, error) {
	var m struct {
		Session, Tenant, Customer, Shop, Tier, Channel string
		Attributes                                     json.RawMessage
		Entries                                        []struct {
			Seq                            uint64
			TS                             int64
			Origin, Kind, Type, Visibility string
			Body                           json.RawMessage
			From                           struct{ ID string }
		}
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, fmt.Errorf("reading a recorded session: %w", err)
	}
	if m.Session == "" {
		return nil, errors.New("reading a recorded session: it has no id; is this from switchboard log --all?")
	}
	r := &Record{Session: m.Session, Tenant: m.Tenant, Customer: m.Customer, Shop: m.Shop, Tier: m.Tier, Channel: m.Channel, Attributes: m.Attributes}
	for i := range m.Entries {
		e := &m.Entries[i]
		if i > 0 && e.Seq <= m.Entries[i-1].Seq {
			return nil, fmt.Errorf("reading %s: entry %d follows %d", m.Session, e.Seq, m.Entries[i-1].Seq)
		}
		var body bytes.Buffer
		if len(e.Body) > 0 {
			if err := json.Compact(&body, e.Body); err != nil {
				return nil, fmt.Errorf("reading %s: the body of entry %d: %w", m.Session, e.Seq, err)
			}
		}
		r.Entries = append(r.Entries, wire.Entry{
			Session: wire.SessionID(m.Session), Seq: e.Seq, TS: e.TS, From: wire.Author{ID: e.From.ID}, Origin: wire.Origin(e.Origin), Kind: e.Kind, Type: e.Type,
			Body: body.Bytes(), Visibility: e.Visibility,
		})
	}
	return r, nil
}

// Recorder makes a day of recorded sessions. It takes them one by one with [Recorder.Add]; [Recorder.Day] gives what they make.
//
// Read from the entries: when each came and when he spoke again, how long each answer took since the one who gave it had the
// session, whether a bot ended it or handed over, transfers, who left while he waited: who lost his place because he was away has left when it was
// given up, as nobody knows since when he did not wait any more, and is another visit when he is back. Not in a log, and so inferred: the patience of
// those who were answered (drawn, without memory, from the mean that fits all waits), how long people think about an
// offer (from when one could have been asked), who was at work (each from his first session to the end of his last, with as
// many slots as he ever used).
type Recorder struct {
	set     *level.Set
	tally   *level.Tally
	out     level.Out
	visits  []Visit
	all     Figures // as it was
	within  int64
	waited  int64 // ms in line, of all
	leavers int
	people  map[string]*span
	bots    map[string]bool
	taken   []taking
	left    map[int]bool // visits whose patience is known
}

// span is a worker's time, and what he had.
type span struct {
	from, to int64
	turns    []int64 // +at when he gets a session, −at when it ends
}

// taking is that a person took a session.
type taking struct {
	worker     string
	queued, at int64
}

// NewRecorder makes one that counts by set, which may be nil, and by answers within so many ms.
func NewRecorder(set *level.Set, within int64) *Recorder {
	return &Recorder{set: set, tally: level.NewTally(set, 0, 0), within: or(within, 180_000), people: map[string]*span{}, bots: map[string]bool{}, left: map[int]bool{}}
}

// reading is one session as its entries are read.
type reading struct {
	v        Visit
	in       bool // a visit is under way
	bot      bool
	with     string // who has it
	since    int64  // when he got it
	wants    int64
	queued   int64
	waited   int64
	open     int64   // since when a word of the customer is open; 0 when none is
	last     int64   // the last answer, 0 before the first
	word     int64   // the last message of whoever spoke last
	asks     []int64 // pauses before what the customer said behind the word that is open
	answered bool
	had      bool // a person has had it
}

// Add reads a session.
func (r *Recorder) Add(rec *Record) {
	conv := level.New(r.set)
	p := &reading{}
	last := int64(0)
	for i := range rec.Entries {
		e := &rec.Entries[i]
		conv.Feed(r.set, e, &r.out)
		last = max(last, e.TS)
		if e.Kind == wire.KindMessage {
			r.message(p, e)
		} else {
			r.event(p, rec, e)
		}
	}
	conv.Tick(r.set, last, &r.out)
	for i := range r.out.Samples {
		r.tally.Add(&r.out.Samples[i])
	}
	r.out.Reset()
	if p.in { // it was under way when the recording ended
		r.finish(p, last, false)
	}
}

func (r *Recorder) message(p *reading, e *wire.Entry) {
	switch {
	case e.Visibility == wire.Staff:
	case e.Origin == wire.OriginCustomer:
		if p.open > 0 {
			p.asks = append(p.asks, max(e.TS-p.word, 0))
			p.word = e.TS
		} else {
			p.open, p.word, p.asks = e.TS, e.TS, p.asks[:0]
			if t := p.talk(); t != nil && len(t.Turns) > 0 && p.last > 0 {
				t.Turns[len(t.Turns)-1].Think = e.TS - p.last
			}
		}
	case p.with == "" || e.Origin == wire.OriginSystem:
	default:
		// What he adds to an answer belongs to the pause behind it.
		t := p.talk()
		if p.open > 0 || p.last == 0 {
			t.Turns = append(t.Turns, Turn{Reply: e.TS - max(p.open, p.since)})
			t.row(len(t.Turns)-1, p.asks, false)
			p.open, p.last, p.asks = 0, e.TS, p.asks[:0]
		} else {
			t.row(len(t.Turns)-1, []int64{max(e.TS-p.word, 0)}, true)
		}
		p.word = e.TS
		if !p.bot && p.wants > 0 {
			r.note(p, answered, e.TS)
		}
	}
}

func (p *reading) talk() *Talk {
	switch {
	case p.with == "":
		return nil
	case p.bot:
		return &p.v.Bot
	}
	return &p.v.Human
}

func (r *Recorder) event(p *reading, rec *Record, e *wire.Entry) {
	switch e.Type {
	case "session.queued":
		queue := field(e.Body, "queue")
		if !p.in {
			open := p.open
			*p = reading{in: true, open: open, word: p.word, asks: p.asks, v: Visit{At: e.TS, Customer: rec.Customer, Shop: rec.Shop, Channel: rec.Channel, Tier: rec.Tier, Queue: queue, Alone: true}}
			if open == 0 {
				p.open, p.word = e.TS, e.TS
			}
			p.v.Attributes = attributesIn(rec, queue)
		}
		r.freed(p, e.TS)
		p.queued = e.TS
		if p.wants == 0 {
			p.wants = e.TS
		}
	case "session.assigned":
		r.freed(p, e.TS)
		if !p.in {
			return
		}
		p.with, p.since, p.bot, p.last = field(e.Body, "id"), e.TS, field(e.Body, "kind") == string(wire.OriginBot), 0
		if p.bot {
			p.wants = 0
			r.bots[p.with] = true
			return
		}
		p.v.Alone, p.had = false, true
		if p.wants > 0 {
			p.waited = e.TS - p.wants
		}
		s := r.people[p.with]
		if s == nil {
			s = &span{from: e.TS}
			r.people[p.with] = s
		}
		s.from = min(s.from, e.TS)
		s.turns = append(s.turns, e.TS)
		r.taken = append(r.taken, taking{p.with, p.queued, e.TS})
	case "session.transferred", "session.dead_lettered":
		if p.in && p.with != "" {
			p.v.Alone = false
			if !p.bot && p.answered {
				p.v.Transfers++
				p.v.To = field(e.Body, "queue")
			}
		}
		r.freed(p, e.TS)
	case "worker.lost":
		r.freed(p, e.TS)
	case "session.released", "session.closed", "session.merged", "session.abandoned":
		if p.in {
			r.finish(p, e.TS, true)
		}
	}
}

// freed ends somebody's having the session.
func (r *Recorder) freed(p *reading, at int64) {
	if p.with == "" {
		return
	}
	t := p.talk()
	if t.Tail = at - max(p.last, p.since); p.bot && p.open > 0 {
		t.Tail = at - max(p.open, p.since)
	}
	if s := r.people[p.with]; s != nil && !p.bot {
		s.to = max(s.to, at)
		s.turns = append(s.turns, -at)
	}
	p.with = ""
}

// finish ends a visit, at its end or that of the recording.
func (r *Recorder) finish(p *reading, at int64, ended bool) {
	waiting := p.with == ""
	p.v.Alone = p.v.Alone && !waiting && p.bot
	r.freed(p, at)
	if p.wants > 0 {
		how := unserved
		switch {
		case waiting && ended:
			how = left
			p.v.Patience = max(at-p.wants, 1)
			r.left[len(r.visits)] = true
			r.leavers++
		case !waiting && ended && p.had: // he was taken, and nobody said a word
			how = answered
		}
		if waiting {
			p.waited = at - p.wants
		}
		r.note(p, how, at)
	}
	if len(p.v.Human.Turns) == 0 {
		p.v.Human.Turns = []Turn{{}}
		p.v.Human.row(0, p.asks, false)
	}
	r.visits = append(r.visits, p.v)
	*p = reading{}
}

func (r *Recorder) note(p *reading, how outcome, at int64) {
	answer := at - p.wants
	r.all.add(how, p.waited, answer, how == answered && answer <= r.within)
	r.waited += p.waited
	if how == answered {
		p.answered = true
	}
	p.wants, p.waited = 0, 0
}

// field returns a word of the object that the broker wrote as an event's body.
func field(body []byte, name string) string {
	var m map[string]any
	if json.Unmarshal(body, &m) != nil {
		return ""
	}
	s, _ := m[name].(string)
	return s
}

// attributesIn returns what routes see of a recorded session. What cannot be read is left out.
func attributesIn(rec *Record, queue string) selector.Attrs {
	doc := rec.Attributes
	if len(bytes.TrimSpace(doc)) == 0 {
		doc = []byte("{}")
	}
	a, _ := broker.AttributesOf(doc, rec.Shop, rec.Tier) // the error says that these two are all there is
	for _, x := range [...]struct{ name, value string }{{"channel", rec.Channel}, {"queue", queue}} {
		if x.value != "" {
			a = a.With(x.name, selector.StringOf(x.value))
		}
	}
	return a
}

// Recorded is a day as it was.
type Recorded struct {
	Start, End int64
	Visits     []Visit // in order
	Agents     []Agent
	// People is how long those waited who wanted a person, as it was. MeanWait and the quantiles are until one took the session.
	People Figures
	Levels []LevelLine
	// Accept is how long people are taken to think about an offer, Patience the mean that fits the waits; 0 is that nobody left.
	Accept, Patience int64
}

// Day returns the day that the sessions make. seed decides the patience of those who were answered.
func (r *Recorder) Day(seed uint64) (*Recorded, error) {
	if len(r.visits) == 0 {
		return nil, errors.New("nobody was ever queued in this recording")
	}
	d := &Recorded{Levels: levelLines(r.set, r.tally)}
	d.Accept = r.accept()
	if r.leavers > 0 {
		d.Patience = r.waited / int64(r.leavers) // exact for patience without memory, those who were answered being cut off
	}
	d.Visits = slices.Clone(r.visits)
	rng := rand.New(rand.NewPCG(seed, 1<<41)) //nolint:gosec // it is to be the same again
	for i := range d.Visits {
		v := &d.Visits[i]
		v.Accept = d.Accept
		if draw := rng.ExpFloat64(); !r.left[i] && d.Patience > 0 {
			v.Patience = max(int64(draw*float64(d.Patience)), 1)
		}
	}
	slices.SortStableFunc(d.Visits, func(a, b Visit) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Customer, b.Customer)) })
	d.Start = d.Visits[0].At / hourMS * hourMS
	d.End = (d.Visits[len(d.Visits)-1].At/hourMS + 1) * hourMS
	d.Agents = r.agents(d.Start, d.End, d.Accept)
	d.People = r.all
	d.People.sum()
	return d, nil
}

// accept infers how long people think: the mean, without the slowest tenth, of the times from the moment at which one could have been asked (the session was
// in line, and he had got rid of one) to that at which he had it.
func (r *Recorder) accept() int64 {
	ends := map[string][]int64{}
	for id, s := range r.people {
		for _, t := range s.turns {
			if t < 0 {
				ends[id] = append(ends[id], -t)
			}
		}
		slices.Sort(ends[id])
	}
	var list []int64
	for _, t := range r.taken {
		since := t.queued
		if i, _ := slices.BinarySearch(ends[t.worker], t.at+1); i > 0 {
			since = max(since, ends[t.worker][i-1])
		}
		list = append(list, t.at-since)
	}
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return mean(list[:(9*len(list)+9)/10])
}

// agents infers who was at work.
func (r *Recorder) agents(start, end, accept int64) (list []Agent) {
	for _, id := range slices.Sorted(maps.Keys(r.bots)) {
		list = append(list, Agent{ID: id, Bot: true, Slots: 10_000, Shifts: []Shift{{start, end + 24*hourMS}}})
	}
	for _, id := range slices.Sorted(maps.Keys(r.people)) {
		s := r.people[id]
		slices.SortFunc(s.turns, func(a, b int64) int { // at one moment, the end of one comes before the beginning of another
			return cmp.Or(cmp.Compare(max(a, -a), max(b, -b)), cmp.Compare(a, b))
		})
		most, now := 1, 0
		for _, t := range s.turns {
			if t > 0 {
				now++
			} else {
				now--
			}
			most = max(most, now)
		}
		list = append(list, Agent{ID: id, Slots: most, Shifts: []Shift{{max(s.from-accept, start), max(s.to, s.from) + 1}}})
	}
	return list
}

// Config makes a simulation of the day with whoever was there. cfg brings the routes, the levels and what else a recording does not have.
func (d *Recorded) Config(cfg Config) Config {
	cfg.Start, cfg.End = d.Start, d.End
	cfg.Visits = Of(d.Visits)
	if cfg.Agents == nil {
		cfg.Agents = d.Agents
	}
	cfg.Name = cmp.Or(cfg.Name, "recorded-"+strconv.FormatInt(d.Start/1000, 10))
	cfg.Seed = max(cfg.Seed, 1)
	return cfg
}
