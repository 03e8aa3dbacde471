package whatif

import (
	"slices"

	"switchboard/broker/level"
	"switchboard/wire"
)

// event writes what happened to the session, as its log would have it, for the service levels.
func (s *Sim) event(p *session, typ, key, value, key2, value2 string) {
	if p.conv == nil {
		return
	}
	s.feed(p, &wire.Entry{Origin: wire.OriginSystem, Kind: wire.KindEvent, Type: typ, Body: s.body(key, value, key2, value2), Visibility: wire.Staff})
}

// says writes a message.
func (s *Sim) says(p *session, by wire.Origin, who string) {
	switch by {
	case wire.OriginCustomer:
		s.measures.asks++
	case wire.OriginHuman:
		s.measures.answers++
	}
	if p.conv == nil {
		return
	}
	s.feed(p, &wire.Entry{From: wire.Author{ID: who}, Origin: by, Kind: wire.KindMessage, Type: "text", Visibility: wire.Public})
}

// body returns the object of these names and values. They are few and come again.
func (s *Sim) body(key, value, key2, value2 string) []byte {
	name := [...]string{key, value, key2, value2}
	b, ok := s.bodies[name]
	if !ok {
		b = append(wire.AppendString([]byte("{"), key), ':')
		b = wire.AppendString(b, value)
		if value2 != "" {
			b = append(wire.AppendString(append(b, ','), key2), ':')
			b = wire.AppendString(b, value2)
		}
		b = append(b, '}')
		s.bodies[name] = b
	}
	return b
}

func (s *Sim) feed(p *session, e *wire.Entry) {
	p.seq++
	e.Session, e.Seq, e.TS = p.id, p.seq, s.now
	p.conv.Feed(s.cfg.Levels, e, &s.levels)
	s.counted(p)
}

// counted takes what came of feeding.
func (s *Sim) counted(p *session) {
	for i := range s.levels.Samples {
		s.tally.Add(&s.levels.Samples[i])
	}
	s.levels.Reset()
	if !s.boosts {
		return
	}
	if b := p.conv.BoostMS(); b != p.boost && p.state == waits {
		p.boost = b
		p.version++
		t := s.task(p)
		s.core.Offer(&t, s.now, &s.out)
	}
	if at, ok := p.conv.Next(); ok && at != p.tickAt {
		p.tickAt = at
		s.at(at, ticks, p.index, 0)
	}
}

// tick tells the levels that time has passed. It may be another session's by now: that one is then told too early, which
// changes nothing.
func (s *Sim) tick(p *session) {
	if p.conv != nil {
		p.tickAt = 0
		p.conv.Tick(s.cfg.Levels, s.now, &s.levels)
		s.counted(p)
	}
}

// LevelLine is what a definition has counted of a shop; an empty shop is all of them.
type LevelLine struct {
	Level   string  `json:"level"`
	Shop    string  `json:"shop,omitempty"`
	Count   int64   `json:"count"`
	Met     int64   `json:"met"`
	Rate    float64 `json:"rate"`
	Target  float64 `json:"target,omitempty"`
	LimitMS int64   `json:"limit_ms"`
	MeanMS  int64   `json:"mean_ms"`
	P95MS   int64   `json:"p95_ms"`
}

// levelLines returns what was counted: all shops of each definition first.
func levelLines(set *level.Set, tally *level.Tally) (list []LevelLine) {
	all := make([]level.Counts, set.Len())
	for _, l := range tally.Lines() {
		i, _ := set.Index(l.Level)
		all[i].Merge(&l.Counts)
		if l.Shop != "" {
			list = append(list, lineOf(set.Definition(i), l.Shop, &l.Counts))
		}
	}
	for i := range all {
		list = slices.Insert(list, i, lineOf(set.Definition(i), "", &all[i]))
	}
	return list
}

func lineOf(d *level.Definition, shop string, c *level.Counts) LevelLine {
	l := LevelLine{Level: d.Name, Shop: shop, Count: c.Count, Met: c.Met, Target: d.Target, LimitMS: d.LimitMS, MeanMS: c.Mean(), P95MS: c.Percentile(.95)}
	if l.Count > 0 {
		l.Rate = float64(l.Met) / float64(l.Count)
	}
	return l
}
