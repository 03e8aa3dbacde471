package routes

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"switchboard/broker"
	"switchboard/broker/level"
	"switchboard/broker/selector"
)

// check finds what is wrong with r's document, and makes the rest of r.
func (p *parsing) check(r *Routes) {
	d := &r.Document
	if d.Version != 1 {
		p.fail("$.version", "version is %d; it must be 1", d.Version)
	}
	p.attributes(&d.Attributes)
	shops := names(p, "$.shops", d.Shops, func(s Shop) string { return s.Name })
	teams := names(p, "$.teams", d.Teams, func(t Team) string { return t.Name })
	calendars := names(p, "$.calendars", d.Calendars, func(c CalendarDoc) string { return c.Name })
	levels := names(p, "$.service_levels", d.ServiceLevels, func(s ServiceLevel) string { return s.Name })
	queues := names(p, "$.queues", d.Queues, func(q Queue) string { return q.Name })
	if len(queues) == 0 {
		p.fail("$", "there are no queues")
	}
	p.hooks(d)
	p.settings(d, queues)
	p.ids("$.shops", shops)
	p.ids("$.queues", queues)
	r.queuesAt = p.place("$.queues", 0, 0)
	r.Calendars, r.Levels = map[string]*Calendar{}, map[string]*ServiceLevel{}
	for i := range d.Calendars {
		c := p.calendar(&d.Calendars[i], fmt.Sprintf("$.calendars[%d]", i))
		r.Calendars[c.Name] = c
		r.Broker.Calendars = append(r.Broker.Calendars, broker.Calendar{Name: c.Name, At: c.Around})
	}
	for i := range d.ServiceLevels {
		p.level(d, &d.ServiceLevels[i], calendars, fmt.Sprintf("$.service_levels[%d]", i))
		r.Levels[d.ServiceLevels[i].Name] = &d.ServiceLevels[i]
	}
	b := &r.Broker
	b.Fair, b.TraceEvery, b.TraceKeep = d.Fair, d.TraceEvery, d.TraceKeep
	b.BotGraceMS, b.HumanGraceMS, b.BarMS = d.GraceBotsMS, d.GraceHumansMS, d.BarMS
	for _, f := range [...]struct {
		name string
		v    int64
	}{{"grace_bots_ms", d.GraceBotsMS}, {"grace_humans_ms", d.GraceHumansMS}, {"bar_ms", d.BarMS}, {"trace_every", int64(d.TraceEvery)}, {"trace_keep", int64(d.TraceKeep)}} {
		p.atLeast("$."+f.name, f.v, 0)
	}
	if d.TraceKeep > 65536 {
		p.fail("$.trace_keep", "trace_keep is %d; the limit is 65536", d.TraceKeep)
	}
	if d.TraceEach > 16 {
		p.fail("$.trace_each", "trace_each is %d; the limit is 16", d.TraceEach)
	}
	p.atLeast("$.trace_each", int64(d.TraceEach), 0)
	if days := d.TraceDays; days != nil && (*days < 0 || *days > 3650) {
		p.fail("$.trace_days", "trace_days is %d; it is 0 to 3650", *days)
	}
	b.Costs = p.costs("$.costs", d.Costs)
	for i, s := range d.Shops {
		path := fmt.Sprintf("$.shops[%d]", i)
		if !broker.IsWeight(s.Weight) || s.Floor < 0 || s.Cap < 0 || s.Cap > 0 && s.Cap < s.Floor {
			p.fail(path, "weight, floor and cap must not be negative, nor the cap below the floor")
		}
		p.known(path+".calendar", "calendar", s.Calendar, calendars)
		p.known(path+".service_level", "service level", s.ServiceLevel, levels)
		b.Shops = append(b.Shops, broker.Shop{Name: s.Name, Weight: s.Weight, Floor: s.Floor, Cap: s.Cap, Calendar: s.Calendar})
	}
	for i := range d.Teams {
		b.Teams = append(b.Teams, p.team(&d.Teams[i], queues, fmt.Sprintf("$.teams[%d]", i)))
	}
	for i := range d.Queues {
		q := &d.Queues[i]
		path := fmt.Sprintf("$.queues[%d]", i)
		p.known(path+".calendar", "calendar", q.Calendar, calendars)
		p.known(path+".service_level", "service level", q.ServiceLevel, levels)
		b.Queues = append(b.Queues, p.queue(r, q, queues, teams, path))
	}
	for _, from := range slices.Sorted(maps.Keys(d.Moves)) {
		to := d.Moves[from]
		if slices.Contains(queues, from) {
			p.fail("$.moves", "%s is still a queue; only queues that are gone move", from)
		} else {
			p.known("$.moves."+from, "queue", to, queues)
			b.Moves = append(b.Moves, broker.Move{From: from, To: to})
		}
	}
}

// names checks the names of a list, and returns them.
func names[T any](p *parsing, path string, list []T, name func(T) string) (all []string) {
	if len(list) > maxNames {
		p.fail(path, "there are %d, the limit is %d", len(list), maxNames)
		list = list[:maxNames]
	}
	seen := map[string]bool{}
	for i := range list {
		n := name(list[i])
		switch {
		case n == "" || len(n) > 64 || !utf8.ValidString(n) || strings.TrimSpace(n) != n:
			p.fail(fmt.Sprintf("%s[%d].name", path, i), "%q is no name: it has 1 to 64 bytes and no blanks around", n)
		case seen[n]:
			p.fail(fmt.Sprintf("%s[%d].name", path, i), "%s is there twice", n)
		}
		seen[n] = true
		all = append(all, n)
	}
	return all
}

// known checks that name, if there is one, is one of all.
func (p *parsing) known(path, what, name string, all []string) {
	if name != "" && !p.full() && !slices.Contains(all, name) {
		p.fail(path, "there is no %s %q%s", what, name, meant(name, all))
	}
}

// oneOf checks a word, which may be missing, and returns its place.
func (p *parsing) oneOf(path, got string, words ...string) int {
	if got == "" {
		return 0
	}
	i := slices.Index(words, got)
	if i < 0 {
		p.fail(path, "%q is none of %s%s", got, strings.Join(words, ", "), meant(got, words))
	}
	return max(i, 0)
}

func (p *parsing) atLeast(path string, v, least int64) {
	if v < least {
		p.fail(path, "it is %d; it must be at least %d", v, least)
	}
}

// attributes declares what selectors may speak of.
func (p *parsing) attributes(a *Attributes) {
	kinds := func(side string, m map[string]string) map[string]selector.Kind {
		out := map[string]selector.Kind{}
		for _, name := range slices.Sorted(maps.Keys(m)) {
			k, ok := selector.ParseKind(m[name])
			if !ok {
				p.fail("$.attributes."+side, "%s is a %q; it must be string, number, bool or list", name, m[name])
				continue
			}
			out[name] = k
		}
		return out
	}
	if s, name, ok := p.schema.Extend(kinds("task", a.Task), kinds("worker", a.Worker)); ok {
		p.schema = s
	} else {
		p.fail("$.attributes", "%s cannot be declared: it is standard and of another kind, or no word", name)
	}
}

func (p *parsing) level(d *Document, s *ServiceLevel, calendars []string, path string) {
	p.known(path+".calendar", "calendar", s.Calendar, calendars)
	if p.oneOf(path+".preset", s.Preset, level.PresetNames()...); s.Preset == "" || s.FirstReplyMS != 0 {
		p.atLeast(path+".first_reply_ms", s.FirstReplyMS, 1)
	}
	p.atLeast(path+".cap_ms", s.CapMS, 0)
	p.oneOf(path+".clock", s.Clock, level.FirstResponse, level.EveryResponse, level.Waiting, level.Handling)
	p.oneOf(path+".unit", s.Unit, level.Turn, level.Message, level.Session, level.Day, "customer")
	p.oneOf(path+".full_auto", s.FullAuto, level.Skip, level.Run)
	p.oneOf(path+".handover", s.Handover, level.Keep, level.Restart)
	p.oneOf(path+".transfer", s.Transfer, level.Keep, level.Miss)
	p.oneOf(path+".unanswered", s.Unanswered, level.Miss, level.Drop)
	for i, c := range s.Count {
		p.oneOf(fmt.Sprintf("%s.count[%d]", path, i), c, "human", "assist", "bot")
	}
	if s.Target < 0 || s.Target > 1 {
		p.fail(path+".target", "target is %v; it is a share of 0 to 1", s.Target)
	}
	for i, w := range s.WarnAt {
		if w <= 0 || w >= 1 || i > 0 && w <= s.WarnAt[i-1] {
			p.fail(path+".warn_at", "warn_at has fractions between 0 and 1, ascending")
			return
		}
	}
	p.oneOf(path+".closed", s.Closed, "skip", "pause")
	if len(s.Warn) > 0 && len(s.WarnAt) > 0 {
		p.fail(path+".warn_at", "warn says it all: with it there is no warn_at")
		return
	}
	if before := len(p.errs); before == 0 { // what is wrong otherwise was told where it stands
		x := s.definition(d)
		if err := x.Validate(); err != nil {
			p.fail(path, "%v", err)
		}
	}
}

func (p *parsing) team(t *Team, queues []string, path string) broker.Team {
	b := broker.Team{Name: t.Name, Workers: t.Workers}
	for _, name := range slices.Sorted(maps.Keys(t.Attributes)) {
		at := path + ".attributes." + name
		kind := p.schema.Worker(name)
		switch name {
		case "id", "sub", "name", "kind", "rating", "skills", "queues", "teams":
			p.fail(at, "%s is a worker's own; a team cannot give it", name)
			continue
		}
		v, ok := selector.ValueOf(t.Attributes[name])
		switch {
		case kind == selector.None:
			p.fail(at, "there is no attribute worker.%s; declare it under attributes.worker", name)
		case !ok || v.Kind() != kind:
			p.fail(at, "%s is a %s", name, kind)
		default:
			b.Attributes = b.Attributes.With(name, v)
		}
	}
	for i, s := range t.Seats {
		at := fmt.Sprintf("%s.seats[%d]", path, i)
		p.known(at+".queue", "queue", s.Queue, queues)
		p.atLeast(at+".delay_ms", s.DelayMS, 0)
		b.Seats = append(b.Seats, broker.Seat{Queue: s.Queue, Priority: s.Priority, DelayMS: s.DelayMS})
	}
	return b
}

func (p *parsing) costs(path string, m map[string]Cost) (list []broker.ChannelCost) {
	for _, channel := range slices.Sorted(maps.Keys(m)) {
		if m[channel] == 0 {
			p.fail(path+"."+channel, "a cost is 1 to 10000 slots, or all")
		}
		list = append(list, broker.ChannelCost{Channel: channel, Cost: int(m[channel])})
	}
	return list
}

func (p *parsing) queue(r *Routes, q *Queue, queues, teams []string, path string) broker.Queue {
	b := broker.Queue{
		Name: q.Name, Priority: q.Priority, Weight: q.Weight, OfferTTLMS: q.OfferTTLMS, StickyMS: q.StickyMS, Costs: p.costs(path+".costs", q.Costs),
		Weights: broker.Weights{Skill: q.Scoring.Skill, Load: q.Scoring.Load, Rating: q.Scoring.Rating}, SkillBy: q.Scoring.SkillBy,
		Floor: q.Order.Floor, MaxBoostMS: q.Order.MaxBoostMS, Calendar: q.Calendar,
	}
	b.Order = broker.Order(p.oneOf(path+".order.mode", q.Order.Mode, "ageing", "strict", "fifo", "savable_first"))
	b.Scoring = broker.Scoring(p.oneOf(path+".scoring.mode", q.Scoring.Mode, "banded", "weighted"))
	if !broker.IsWeight(q.Weight) || !broker.IsWeight(q.Scoring.Skill) || !broker.IsWeight(q.Scoring.Load) || !broker.IsWeight(q.Scoring.Rating) {
		p.fail(path, "weights must be finite, and not negative")
	}
	p.atLeast(path+".offer_ttl_ms", q.OfferTTLMS, 0)
	p.atLeast(path+".sticky_ms", q.StickyMS, 0)
	p.atLeast(path+".order.max_boost_ms", q.Order.MaxBoostMS, 0)
	if q.Order.Floor != 0 {
		p.atLeast(path+".order.floor", int64(q.Order.Floor), 2)
	}
	if by := q.Scoring.SkillBy; by != "" && p.schema.Task(by) != selector.String && p.schema.Task(by) != selector.List {
		p.fail(path+".scoring.skill_by", "there is no attribute task.%s that names skills", by)
	}
	if l := r.Levels[q.ServiceLevel]; l != nil {
		b.SLAMS = l.limit()
	} else if b.Order == broker.SavableFirst {
		p.fail(path+".order.mode", "savable_first wants a service_level: it says what can be saved")
	}
	p.handoff(&q.Handoff, queues, path+".handoff")
	p.atLeast(path+".park_ms", q.ParkMS, 0)
	p.atLeast(path+".absent_ms", q.AbsentMS, 0)
	if ms := q.WrapUpMS; ms != nil && (*ms < 0 || *ms > WrapUpMost) {
		p.fail(path+".wrapup_ms", "it is %d; it must be 0 to %d", *ms, WrapUpMost)
	}
	for i, x := range q.Order.Boosts {
		at := fmt.Sprintf("%s.order.boosts[%d]", path, i)
		e := p.selector(at+".when", x.When)
		if e.AsksWorkers() {
			p.fail(at+".when", "a boost is of the session alone; it cannot speak of workers")
		}
		p.atLeast(at+".ms", x.MS, 0)
		b.Boosts = append(b.Boosts, broker.Boost{When: e, MS: x.MS})
	}
	if len(q.Route) > broker.MaxSteps {
		p.fail(path+".route", "there are %d steps, the limit is %d", len(q.Route), broker.MaxSteps)
	}
	for i := range q.Route {
		at := fmt.Sprintf("%s.route[%d]", path, i)
		if i > 0 && q.Route[i-1].Resort != "" && q.Route[i].Resort == "" {
			p.fail(at, "there is a step behind the last resort")
		}
		if q.Route[i].Classify.asks() && i > 0 {
			p.fail(at+".classify", "only the first step can classify")
		}
		s := p.step(&q.Route[i], queues, teams, at)
		p.known(at+".calendar", "calendar", s.Calendar, slices.Sorted(maps.Keys(r.Calendars)))
		for _, o := range b.Steps {
			if s.AfterMS < o.AfterMS && (s.Hours == o.Hours || s.Hours == broker.AnyTime || o.Hours == broker.AnyTime) {
				p.fail(at+".after_ms", "the step opens before one in front of it")
				break
			}
		}
		b.Steps = append(b.Steps, s)
	}
	return b
}

func (p *parsing) step(s *Step, queues, teams []string, path string) broker.Step {
	b := broker.Step{Name: s.Name, AfterMS: s.AfterMS, Calendar: s.Calendar, Queues: s.Queues, Teams: s.Teams, OfferN: s.Offer.N, OfferTTLMS: s.Offer.TTLMS}
	b.Who = broker.Who(p.oneOf(path+".who", s.Who, "any", "bots", "humans"))
	b.When = broker.When(p.oneOf(path+".when", s.When, "waiting", "unstaffed"))
	if s.Classify.asks() {
		p.classify(s, &b, path)
	}
	b.Hours = broker.Hours(p.oneOf(path+".hours", s.Hours, "open", "closed", "always"))
	if s.Hours == "" && (s.Who == "bots" || s.Resort != "") {
		b.Hours = broker.AnyTime
	}
	if s.Resort != "" {
		i := p.oneOf(path+".resort", s.Resort, "leave_message", "callback", "ticket")
		b.Resort = broker.Resort(i + 1)
		if s.Select != "" || s.Prefer != "" || s.Who != "" || s.Queues != nil || s.Teams != nil || s.Offer != (Offer{}) {
			p.fail(path+".resort", "a last resort asks no workers: it has after_ms and when")
		}
		p.atLeast(path+".after_ms", s.AfterMS, 0)
		return b
	}
	if s.Select != "" {
		b.Select = p.selector(path+".select", s.Select)
	}
	if s.Prefer != "" {
		b.Prefer = p.selector(path+".prefer", s.Prefer)
	}
	p.atLeast(path+".after_ms", s.AfterMS, 0)
	p.atLeast(path+".offer.ttl_ms", s.Offer.TTLMS, 0)
	if s.Offer.N < 0 || s.Offer.N > broker.MaxOffers {
		p.fail(path+".offer.n", "%d are asked at once; it is 1 to %d", s.Offer.N, broker.MaxOffers)
	}
	for i, name := range s.Queues {
		p.known(fmt.Sprintf("%s.queues[%d]", path, i), "queue", name, queues)
	}
	for i, name := range s.Teams {
		p.known(fmt.Sprintf("%s.teams[%d]", path, i), "team", name, teams)
	}
	return b
}

// asks tells whether c was written.
func (c *Classify) asks() bool { return c.TTLMS != 0 || c.Default != nil }

// classify makes b a question.
func (p *parsing) classify(s *Step, b *broker.Step, path string) {
	b.Classify, b.OfferTTLMS = true, s.Classify.TTLMS
	p.atLeast(path+".classify.ttl_ms", s.Classify.TTLMS, 0)
	if s.AfterMS != 0 || s.When == "unstaffed" || s.Offer != (Offer{}) || s.Resort != "" {
		p.fail(path+".classify", "a step that classifies has no after_ms, when, offer or resort")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Classify.Default)) {
		at := path + ".classify.default." + name
		v, ok := selector.ValueOf(s.Classify.Default[name])
		switch kind := p.schema.Task(name); {
		case kind == selector.None:
			p.fail(at, "there is no attribute task.%s; declare it under attributes.task", name)
		case !ok || v.Kind() != kind:
			p.fail(at, "%s is a %s", name, kind)
		}
	}
	if doc, err := json.Marshal(s.Classify.Default); err != nil {
		p.fail(path+".classify.default", "it cannot be written: %v", err)
	} else if s.Classify.Default != nil {
		b.Default = doc
	}
}

// selector parses src, and tells its mistake where it stands.
func (p *parsing) selector(path, src string) *selector.Expr {
	e, err := p.schema.Parse(src)
	if err != nil {
		p.fail(path, "%v", err)
		return nil
	}
	return e
}

// WrapUpMost is the longest wrap-up, in ms: who takes longer is away.
const WrapUpMost = 3_600_000
