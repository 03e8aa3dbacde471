package broker_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// The policy model draws whole configurations: routes, selectors, teams, costs, orders, shares. It interprets them naively,
// by scans and by the selector as it was written, and holds what must be true after every event against the pool.

type polWorker struct {
	broker.Subscription
	there bool // connected and ready
	conn  bool
	other bool // it has subscribed as somebody else while a configuration was being taken up
}

type polTask struct {
	broker.Task
	offers  map[string]string // worker → offer
	expires int64
	held    string
	cost    int // charged
	bars    map[string]int64
	hold    int64
	maybe   int64 // until then it may wait for its last worker alone, as of when it came into line
	resort  bool
}

type policy struct {
	t       *rapid.T
	core    *broker.Core
	cfg     broker.Config
	now     int64
	out     broker.Effects
	workers map[string]*polWorker
	tasks   []*polTask
	n       int // sessions
	conns   uint64
	done    int // assignments
	wide    int // offers that others got too
	shut    int // times that somebody waited in a closed queue, beside a free worker who may have him in its hours
	over    int
	between int  // events while a configuration was being taken up
	anew    bool // one is, or was overtaken by its end
	lagging bool // pieces are done, or were a moment ago: whether steps are staffed may be as it was when they began
	relined int  // pieces without one: steps opened or closed for more than fit one event
}

var (
	polSelects = []string{
		"", "worker.skills HAS task.intent", "worker.shops HAS task.shop", "worker.skill(task.intent) >= 0.5",
		"task.tier == 'vip' OR worker.level >= 0.5", "NOT worker.shops HAS 's1' AND worker.kind == 'human'", "worker.teams HAS 'east'",
	}
	polPrefers = []string{"", "", "worker.shops HAS task.shop", "worker.level >= 0.5"}
)

func (p *policy) config() broker.Config {
	draw := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(p.t, what) }
	cfg := broker.Config{
		BarMS: 4000, BotGraceMS: 3000, HumanGraceMS: 3000, Fair: draw("fair", 2) == 0, TraceEvery: draw("trace", 3), TraceKeep: 4,
		Costs: []broker.ChannelCost{{Channel: "phone", Cost: broker.All}, {Channel: "mail", Cost: 2}},
		Shops: []broker.Shop{{Name: "s1", Floor: draw("floor", 3)}, {Name: "s2", Weight: 2, Floor: 1, Cap: 2}},
	}
	for i, name := range []string{"day", "shift"} {
		cfg.Calendars = append(cfg.Calendars, periodic(name, int64(2000+1500*draw("on", 3)), int64(1500+700*i), int64(draw("phase", 5000))))
	}
	cfg.Shops[0].Calendar = []string{"", "shift"}[draw("shop hours", 2)]
	names := []string{"a", "b", "c"}[:2+draw("queues", 2)]
	for _, name := range names {
		q := broker.Queue{
			Name: name, Order: broker.Order(draw("order", 4)), Scoring: broker.Scoring(draw("scoring", 2)), SLAMS: 2500, Floor: 2 + draw("floorn", 2),
			OfferTTLMS: 5000, Priority: int32(draw("priority", 2)), StickyMS: int64(draw("sticky", 2)) * 2000,
			Boosts: []broker.Boost{{When: selector.MustParse("task.tier == 'vip'"), MS: 1500}},
		}
		if draw("skillby", 2) == 0 {
			q.SkillBy = "intent"
		}
		q.Calendar = []string{"", "day", "shift"}[draw("calendar", 3)]
		after := int64(0)
		for range 1 + draw("steps", 4) {
			after += int64(draw("after", 3)) * 1500
			s := broker.Step{
				Who: broker.Who(draw("who", 3)), AfterMS: after, When: broker.When(draw("when", 2)), OfferN: 1 + draw("n", 3),
				Select: selector.MustParse(rapid.SampledFrom(polSelects).Draw(p.t, "select")), Prefer: selector.MustParse(rapid.SampledFrom(polPrefers).Draw(p.t, "prefer")),
			}
			s.Hours = []broker.Hours{broker.InHours, broker.InHours, broker.OutOfHours, broker.AnyTime}[draw("hours", 4)]
			s.Calendar = []string{"", "", "", "day"}[draw("own", 4)]
			switch draw("whose", 5) {
			case 0:
				s.Queues = []string{rapid.SampledFrom(names).Draw(p.t, "overflow"), "a"}
			case 1:
				s.Teams = []string{"east"}
			}
			q.Steps = append(q.Steps, s)
		}
		if draw("resort", 2) == 0 {
			q.Steps = append(q.Steps, broker.Step{AfterMS: after + 1000, Resort: broker.Callback, When: broker.When(draw("when", 2)), Hours: broker.Hours(draw("resort hours", 3))})
		}
		cfg.Queues = append(cfg.Queues, q)
	}
	cfg.Teams = []broker.Team{
		{Name: "east", Workers: []string{"h1", "b2"}, Attributes: selector.Attrs{{Name: "shops", Value: selector.ListOf("s2")}}},
		{Name: "west", Workers: []string{"h2", "h3"}, Seats: []broker.Seat{{Queue: "a", Priority: int32(draw("seat", 3)), DelayMS: int64(draw("delay", 2)) * 1000}}},
	}
	for _, name := range []string{"b", "c"} {
		if !slices.Contains(names, name) {
			cfg.Moves = append(cfg.Moves, broker.Move{From: name, To: "a"})
		}
	}
	if err := cfg.Validate(); err != nil {
		p.t.Fatal(err)
	}
	return cfg
}

// periodic is open for on ms, closed for off ms, and so on.
func periodic(name string, on, off, phase int64) broker.Calendar {
	return broker.Calendar{Name: name, At: func(at int64) (open bool, since, until int64) {
		begin := at - (at+phase)%(on+off)
		if at < begin+on {
			return true, begin, begin + on
		}
		return false, begin + on, begin + on + off
	}}
}

// hours tells whether the i'th step of t's route is in its hours, and since when.
func (p *policy) hours(t *polTask, s *broker.Step) (in bool, since int64) {
	names := []string{p.queue(t.Queue).Calendar}
	shop, _ := t.Attributes.Get("shop").Text()
	for _, x := range p.cfg.Shops {
		if x.Name == shop {
			names = append(names, x.Calendar)
		}
	}
	if s.Calendar != "" {
		names = []string{s.Calendar}
	}
	open, none, opened, closed := true, true, int64(0), int64(math.MaxInt64)
	for _, k := range p.cfg.Calendars {
		if !slices.Contains(names, k.Name) {
			continue
		}
		none = false
		o, at, _ := k.At(p.now)
		if open = open && o; o {
			opened = max(opened, at)
		} else {
			closed = min(closed, at)
		}
	}
	switch {
	case none || s.Hours == broker.AnyTime:
		return true, t.EnqueuedAt
	case s.Hours == broker.OutOfHours:
		return !open, max(t.EnqueuedAt, closed)
	}
	return open, max(t.EnqueuedAt, opened)
}

func (p *policy) queue(name string) *broker.Queue {
	i := slices.IndexFunc(p.cfg.Queues, func(q broker.Queue) bool { return q.Name == name })
	return &p.cfg.Queues[i]
}

// serves tells whether w has named the queue, or one that has moved to it.
func (p *policy) serves(w *polWorker, queue string) bool {
	return slices.Contains(w.Queues, queue) || slices.ContainsFunc(p.cfg.Moves, func(m broker.Move) bool { return m.To == queue && slices.Contains(w.Queues, m.From) })
}

func (p *policy) teams(w *polWorker) (teams []string) {
	for _, t := range p.cfg.Teams {
		if slices.Contains(t.Workers, w.ID) {
			teams = append(teams, t.Name)
		}
	}
	return teams
}

// see makes what selectors see of w.
func (p *policy) see(w *polWorker) *selector.Worker {
	a := w.Attributes.With("id", selector.StringOf(w.ID)).With("kind", selector.StringOf(string(w.Kind))).With("teams", selector.ListOf(p.teams(w)...))
	if slices.Contains(p.teams(w), "east") {
		a = a.With("shops", selector.ListOf(append(slices.Collect(a.Get("shops").Strings), "s2")...))
	}
	var skills []string
	for _, s := range w.Skills {
		skills = append(skills, s.Name)
	}
	byName := slices.SortedStableFunc(slices.Values(w.Skills), func(a, b broker.Skill) int { return strings.Compare(a.Name, b.Name) })
	return &selector.Worker{Attrs: a.With("skills", selector.ListOf(skills...)), Skills: byName}
}

func (p *policy) seat(w *polWorker, queue string) broker.Seat {
	seat := broker.Seat{Queue: queue, Priority: p.queue(queue).Priority}
	if queue == "a" && slices.Contains(p.teams(w), "west") {
		return p.cfg.Teams[1].Seats[0]
	}
	return seat
}

func (p *policy) cost(t *polTask) int {
	if t.Cost > 0 {
		return t.Cost
	}
	switch c, _ := t.Attributes.Get("channel").Text(); c {
	case "phone":
		return broker.All
	case "mail":
		return 2
	}
	return 1
}

func (p *policy) used(w *polWorker) (used int, whole bool) {
	for _, t := range p.tasks {
		if _, asked := t.offers[w.ID]; asked || t.held == w.ID {
			if t.cost == broker.All {
				whole = true
			} else {
				used += t.cost
			}
		}
	}
	return used, whole
}

func (p *policy) room(w *polWorker, cost int) bool {
	used, whole := p.used(w)
	if cost == broker.All {
		return used == 0 && !whole
	}
	return !whole && used+cost <= w.Slots
}

// meets tells whether w meets the i'th step for t, load and time aside.
func (p *policy) meets(t *polTask, i int, w *polWorker) bool {
	s := &p.steps(t)[i]
	if s.Resort != broker.NoResort || s.Who == broker.Bots && w.Kind != wire.OriginBot || s.Who == broker.Humans && w.Kind == wire.OriginBot {
		return false
	}
	if t.HumansOnly && (s.Who == broker.Bots || w.Kind == wire.OriginBot) {
		return false
	}
	switch {
	case s.Queues != nil:
		if !slices.ContainsFunc(s.Queues, func(q string) bool { return p.serves(w, q) }) {
			return false
		}
	case s.Teams != nil:
	default:
		if !p.serves(w, t.Queue) {
			return false
		}
	}
	if s.Teams != nil && !slices.ContainsFunc(s.Teams, func(n string) bool { return slices.Contains(p.teams(w), n) }) {
		return false
	}
	return s.Select.Eval(t.Attributes, p.see(w))
}

// opened tells whether the i'th step is open to t for w.
func (p *policy) opened(t *polTask, i int, w *polWorker) bool {
	steps := p.steps(t)
	s := &steps[i]
	in, since := p.hours(t, s)
	if !in {
		return false
	}
	after, delay := s.AfterMS, int64(0)
	if t.HumansOnly && s.Resort == broker.NoResort {
		first := true // of those that may be open together with it
		for j := range steps[:i] {
			o := steps[j].Hours
			both := o == s.Hours || o == broker.AnyTime || s.Hours == broker.AnyTime
			first = first && (!both || steps[j].Resort != broker.NoResort || p.never(t, j))
		}
		if first {
			after = 0
		}
	}
	if s.Queues == nil && s.Teams == nil && w != nil {
		delay = p.seat(w, t.Queue).DelayMS
	}
	if after+delay == 0 || since+after+delay <= p.now {
		return true
	}
	return s.When == broker.Unstaffed && (delay == 0 || since+delay <= p.now) && (p.lagging || !p.staffed(t, i))
}

// never tells that a step cannot select anybody for t.
func (p *policy) never(t *polTask, i int) bool {
	s := &p.queue(t.Queue).Steps[i]
	return s.Who == broker.Bots || selector.Both(s.Select.Bind(t.Attributes), selector.MustParse("worker.kind == 'human'").Bind(nil)).Never()
}

func (p *policy) staffed(t *polTask, step int) bool {
	for i := range step {
		if in, _ := p.hours(t, &p.steps(t)[i]); !in {
			continue
		}
		for _, w := range p.workers {
			if w.there && p.meets(t, i, w) {
				return true
			}
		}
	}
	return false
}

// may returns the first open step by which w may have t, or -1.
func (p *policy) may(t *polTask, w *polWorker) int {
	if t.bars[w.ID] > p.now {
		return -1
	}
	for i := range p.steps(t) {
		if p.meets(t, i, w) && p.opened(t, i, w) {
			return i
		}
	}
	return -1
}

// steps of t: for humans alone there is always one.
func (p *policy) steps(t *polTask) []broker.Step {
	steps := p.queue(t.Queue).Steps
	if !t.HumansOnly {
		return steps
	}
	for i := range steps {
		if steps[i].Resort == broker.NoResort && !p.never(t, i) {
			return steps
		}
	}
	some := []broker.Step{{Who: broker.Humans}}
	if last := steps[len(steps)-1]; last.Resort != broker.NoResort {
		some = append(some, last)
	}
	return some
}

func (p *policy) eligible(t *polTask, w *polWorker) bool {
	for i := range p.steps(t) {
		if in, _ := p.hours(t, &p.steps(t)[i]); in && p.meets(t, i, w) {
			return t.bars[w.ID] <= p.now
		}
	}
	return false
}

func (p *policy) find(session wire.SessionID) *polTask {
	for _, t := range p.tasks {
		if t.Session == session {
			return t
		}
	}
	return nil
}

// follow does what the effects say.
func (p *policy) follow() {
	for len(p.out) > 0 {
		batch := slices.Clone(p.out)
		p.out.Reset()
		for i := range batch {
			p.effect(&batch[i])
		}
	}
}

func (p *policy) effect(e *broker.Effect) {
	t := p.find(e.Session)
	switch e.Kind {
	case broker.OfferPush:
		w := p.workers[e.Worker]
		if t.offers[w.ID] == e.Offer {
			return // shown again after a takeover
		}
		if t.held != "" || !w.there || t.offers[w.ID] != "" {
			p.t.Fatalf("%s is offered to %s: %+v", t.Session, w.ID, t)
		}
		if len(t.offers) > 0 {
			p.wide++
		}
		p.take(t, w)
		t.offers[w.ID], t.expires = e.Offer, e.ExpiresAt
	case broker.OfferEnded:
		if t != nil && t.offers[e.Worker] == e.Offer {
			delete(t.offers, e.Worker)
		}
	case broker.Grant:
		if t.held != "" {
			if t.held != e.Worker {
				p.t.Fatalf("I2: %s is %s's and granted to %s", t.Session, t.held, e.Worker)
			}
		} else {
			if t.offers[e.Worker] == "" {
				p.take(t, p.workers[e.Worker])
			}
			for w := range t.offers { // the others are told in this event; nobody else can have it
				if w != e.Worker && !p.workers[w].conn {
					p.t.Fatalf("%s is offered to %s, who is not there", t.Session, w)
				}
			}
			delete(t.offers, e.Worker)
			t.held = e.Worker
			if e.Reason == "overflow" {
				p.over++
				if e.Offer == "" && p.serves(p.workers[e.Worker], t.Queue) {
					p.t.Fatalf("%s overflows to %s of its own queue", t.Session, e.Worker)
				}
			}
		}
		p.core.Confirm(t.Session, t.Ticket, e.Worker, e.Lease, t.Ticket, p.now, &p.out)
	case broker.PresencePush:
		p.workers[e.Worker].there = false
	case broker.Lost:
		p.core.Release(e.Session, e.AE, 0, false, p.now, &p.out)
		if t != nil {
			p.tasks = slices.DeleteFunc(p.tasks, func(o *polTask) bool { return o == t })
		}
	case broker.LastResort:
		if e.Reason != "callback" {
			p.t.Fatalf("%+v", e)
		}
		t.resort = true
		if len(e.Session)%2 == 0 {
			p.core.Resorted(e.Session, e.Ticket, p.now, &p.out)
		}
	case broker.Reject:
		p.t.Fatalf("%s is rejected: %s", e.Session, e.Slug)
	}
}

// take checks that w has room for t, and that he may have it.
func (p *policy) take(t *polTask, w *polWorker) {
	p.done++
	t.cost = p.cost(t)
	if !w.there || !p.room(w, t.cost) {
		used, whole := p.used(w)
		p.t.Fatalf("I3: %s, which costs %d, goes to %s, who uses %d of %d, %v", t.Session, t.cost, w.ID, used, w.Slots, whole)
	}
	if p.may(t, w) < 0 && (t.Sticky != w.ID || !p.eligible(t, w)) {
		p.t.Fatalf("%s goes to %s, whom no open step selects: %+v in %+v", t.Session, w.ID, t.Task, p.queue(t.Queue))
	}
}

func (p *policy) check() {
	if wrong := p.core.Audit(); wrong != "" {
		p.t.Fatal(wrong)
	}
	p.follow()
	var waiting, offered, held int
	for _, t := range p.tasks {
		maps.DeleteFunc(t.bars, func(_ string, until int64) bool { return until <= p.now })
		e := p.core.Explain(t.Session)
		state := "waiting"
		switch {
		case t.held != "":
			held++
			state = "held"
		case len(t.offers) > 0:
			offered++
			state = "offered"
			asked := append(slices.Clone(e.Asked), e.Worker)
			slices.Sort(asked)
			if !slices.Equal(asked, slices.Sorted(maps.Keys(t.offers))) {
				p.t.Fatalf("I6: %s is offered to %v; %v were told", t.Session, asked, t.offers)
			}
			if t.expires <= p.now {
				p.t.Fatalf("I7: %s should have expired", t.Session)
			}
		default:
			waiting++
			if !p.core.Unfinished() {
				p.checkWaiting(t)
			}
		}
		if e.State != state || e.EnqueuedAt != t.EnqueuedAt || e.Queue != t.Queue && !p.core.Unfinished() {
			p.t.Fatalf("I10: %s is %s since %d in %s; explain says %+v", t.Session, state, t.EnqueuedAt, t.Queue, e)
		}
		if at, ok := p.core.Next(); state != "waiting" && !ok || ok && at <= p.now {
			p.t.Fatalf("I7: %s is %s and the next timer is %d %v at %d", t.Session, state, at, ok, p.now)
		}
	}
	var got [3]int
	for q := range p.core.Queues() {
		got[0], got[1], got[2] = got[0]+q.Waiting, got[1]+q.Offered, got[2]+q.Assigned
	}
	if got != [3]int{waiting, offered, held} {
		p.t.Fatalf("the pool has %v waiting, offered, assigned; the model %v", got, [3]int{waiting, offered, held})
	}
}

// checkWaiting checks that nobody could have t now.
func (p *policy) checkWaiting(t *polTask) {
	if t.maybe > p.now && p.workers[t.Sticky].there {
		return
	}
	if w := p.workers[t.Sticky]; t.hold > 0 && (t.hold <= p.now || w == nil || !w.there || !p.eligible(t, w)) {
		t.hold = 0
	}
	for _, id := range slices.Sorted(maps.Keys(p.workers)) {
		w := p.workers[id]
		if !w.there || !p.room(w, p.cost(t)) || t.hold > 0 && id != t.Sticky {
			continue
		}
		for i := range p.steps(t) {
			if in, _ := p.hours(t, &p.steps(t)[i]); !in && p.meets(t, i, w) {
				p.shut++
				break
			}
		}
		if step := p.may(t, w); step >= 0 || t.hold > 0 {
			p.t.Fatalf("I1: %s waits though %s could take it by step %d: %+v, queue %+v, %+v", t.Session, id, step, t.Task, p.queue(t.Queue), p.core.Explain(t.Session))
		}
	}
	if steps := p.steps(t); steps[len(steps)-1].Resort != broker.NoResort && !t.resort {
		last := len(steps) - 1
		if in, since := p.hours(t, &steps[last]); in && (since+steps[last].AfterMS <= p.now || steps[last].When == broker.Unstaffed && !p.staffed(t, last) && t.hold == 0) {
			p.t.Fatalf("%s was not told its last resort", t.Session)
		}
	}
}

func (p *policy) attrs() selector.Attrs {
	a := selector.Attrs{}.With("intent", selector.StringOf(rapid.SampledFrom([]string{"x", "y"}).Draw(p.t, "intent")))
	a = a.With("shop", selector.StringOf(rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(p.t, "shop")))
	if rapid.IntRange(0, 3).Draw(p.t, "vip") == 0 {
		a = a.With("tier", selector.StringOf("vip"))
	}
	if c := rapid.SampledFrom([]string{"", "", "", "phone", "mail"}).Draw(p.t, "channel"); c != "" {
		a = a.With("channel", selector.StringOf(c))
	}
	return a
}

func (p *policy) arrive() {
	if len(p.tasks) >= 14 {
		return
	}
	p.n++
	t := &polTask{offers: map[string]string{}, bars: map[string]int64{}}
	t.Task = broker.Task{
		Session: wire.SessionID(fmt.Sprintf("s%d", p.n)), Ticket: 1, Queue: rapid.SampledFrom(p.cfg.Queues).Draw(p.t, "queue").Name, Version: 1,
		EnqueuedAt: p.now - int64(rapid.IntRange(0, 3).Draw(p.t, "age"))*1000, Priority: int32(rapid.IntRange(0, 1).Draw(p.t, "priority")), Attributes: p.attrs(),
	}
	t.HumansOnly = rapid.IntRange(0, 4).Draw(p.t, "humans") == 0 && slices.ContainsFunc(p.steps(t), func(s broker.Step) bool { return s.Who != broker.Bots && s.Resort == broker.NoResort })
	if ids := slices.Sorted(maps.Keys(p.workers)); len(ids) > 0 && rapid.IntRange(0, 2).Draw(p.t, "sticks") == 0 {
		t.Sticky = rapid.SampledFrom(ids).Draw(p.t, "last")
		switch w := p.workers[t.Sticky]; {
		case !w.there || p.queue(t.Queue).StickyMS == 0:
		case p.core.Unfinished():
			t.maybe = p.now + p.queue(t.Queue).StickyMS
		case p.eligible(t, w):
			t.hold = p.now + p.queue(t.Queue).StickyMS
		}
	}
	p.tasks = append(p.tasks, t)
	best, score, step := p.best(t)
	p.core.Offer(&t.Task, p.now, &p.out)
	if p.core.Unfinished() {
		return // it waits for the others
	}
	first := ""
	if len(p.out) > 0 && (p.out[0].Kind == broker.Grant || p.out[0].Kind == broker.OfferPush) {
		first = p.out[0].Worker
	}
	if s := p.workers[t.Sticky]; s != nil && s.there && p.room(s, p.cost(t)) && p.eligible(t, s) {
		best = []string{s.ID}
	} else if t.hold > 0 {
		best = nil
	}
	if len(best) == 0 && first != "" || len(best) > 0 && !slices.Contains(best, first) {
		p.t.Fatalf("%s goes to %q; the best by step %d are %v with %v", t.Session, first, step, best, score)
	}
}

// best returns who has the best score for t by the first open step that somebody could take it by; ties are not told apart.
func (p *policy) best(t *polTask) (best []string, score [3]float64, step int) {
	q := p.queue(t.Queue)
	steps := p.steps(t)
	for step = range steps {
		for _, id := range slices.Sorted(maps.Keys(p.workers)) {
			w := p.workers[id]
			if !w.there || !p.room(w, p.cost(t)) || !p.meets(t, step, w) || !p.opened(t, step, w) {
				continue
			}
			used, _ := p.used(w)
			load, skill := float64(used)/float64(w.Slots), 1.0
			if q.SkillBy != "" {
				skill = 0
				for _, s := range w.Skills {
					if v, _ := t.Attributes.Get("intent").Text(); v == s.Name {
						skill = s.Level
					}
				}
			}
			s := [3]float64{0, -load, 0.4*skill + 0.3*w.Rating}
			if q.Scoring == broker.Weighted {
				s[1], s[2] = s[2]-0.3*load, 0
			}
			if pr := steps[step].Prefer; pr.String() != "" && pr.Eval(t.Attributes, p.see(w)) {
				s[0] = 1
			}
			switch c := slices.Compare(s[:], score[:]); {
			case len(best) == 0 || c > 0:
				best, score = []string{id}, s
			case c == 0:
				best = append(best, id)
			}
		}
		if len(best) > 0 {
			break
		}
	}
	return best, score, step
}

func (p *policy) subscribe() {
	id := rapid.SampledFrom([]string{"b1", "b2", "h1", "h2", "h3"}).Draw(p.t, "worker")
	w := p.workers[id]
	p.conns++
	s := broker.Subscription{
		ID: id, Sub: id, Kind: wire.OriginBot, Allowed: []string{"*"}, Slots: rapid.IntRange(1, 4).Draw(p.t, "slots"), Rating: 0.5,
		Conn: wire.Conn{Node: 1, ID: p.conns}, NewLease: fmt.Sprint("l", p.conns), Lease: "",
	}
	for _, q := range p.cfg.Queues {
		if rapid.IntRange(0, 2).Draw(p.t, "in") > 0 {
			s.Queues = append(s.Queues, q.Name)
		}
	}
	if len(s.Queues) == 0 {
		s.Queues = []string{"a"}
	}
	if id[0] == 'h' {
		s.Kind = wire.OriginHuman
	}
	for _, name := range []string{"x", "y"} {
		if rapid.Bool().Draw(p.t, name) {
			s.Skills = append(s.Skills, broker.Skill{Name: name, Level: float64(rapid.IntRange(0, 2).Draw(p.t, "level")) / 2})
		}
	}
	s.Attributes = selector.Attrs{}.With("shops", selector.ListOf(rapid.SampledFrom([][]string{nil, {"s1"}, {"s1", "s3"}}).Draw(p.t, "shops")...))
	s.Attributes = s.Attributes.With("level", selector.NumberOf(float64(rapid.IntRange(0, 2).Draw(p.t, "l"))/2))
	switch {
	case w == nil:
		w = &polWorker{}
		p.workers[id] = w
		w.there = true
	case w.conn:
		s.NewLease = w.NewLease // it keeps its lease
		w.there = true
	default:
		w.there = true
	}
	w.Subscription, w.conn, w.other = s, true, p.core.Unfinished()
	p.core.Subscribe(&s, p.now, &p.out)
}

func (p *policy) one() *polWorker {
	ids := slices.DeleteFunc(slices.Sorted(maps.Keys(p.workers)), func(id string) bool { return !p.workers[id].conn })
	if len(ids) == 0 {
		return nil
	}
	return p.workers[rapid.SampledFrom(ids).Draw(p.t, "who")]
}

func (p *policy) leave() {
	w := p.one()
	if w == nil {
		return
	}
	w.conn, w.there = false, false
	p.rescind(w)
	p.core.ConnLost(w.Conn, p.now, &p.out)
}

func (p *policy) rescind(w *polWorker) {
	for _, t := range p.tasks {
		delete(t.offers, w.ID)
	}
}

func (p *policy) presence() {
	w := p.one()
	if w == nil {
		return
	}
	state := rapid.SampledFrom([]broker.Presence{broker.Ready, broker.Ready, broker.Away}).Draw(p.t, "state")
	w.there = state == broker.Ready
	if !w.there {
		p.rescind(w)
	}
	p.core.Presence(w.ID, state, "", broker.Ref{Conn: w.Conn, ID: 1}, p.now, &p.out)
}

func (p *policy) answer() {
	offered := slices.DeleteFunc(slices.Clone(p.tasks), func(t *polTask) bool { return len(t.offers) == 0 })
	if len(offered) == 0 {
		return
	}
	t := rapid.SampledFrom(offered).Draw(p.t, "offered")
	w := p.workers[rapid.SampledFrom(slices.Sorted(maps.Keys(t.offers))).Draw(p.t, "by")]
	offer, others := t.offers[w.ID], len(t.offers)-1
	ref := broker.Ref{Conn: w.Conn, ID: 1}
	if rapid.Bool().Draw(p.t, "declines") {
		delete(t.offers, w.ID)
		t.bars[w.ID] = p.now + 4000
		p.core.Decline(offer, w.ID, "", ref, p.now, &p.out)
		return
	}
	p.core.Accept(offer, w.ID, ref, p.now, &p.out)
	taken := 0
	for _, e := range p.out {
		if e.Kind == broker.OfferEnded && e.Reason == "taken" && e.Session == t.Session {
			taken++
		}
	}
	if p.out[0].Kind != broker.Grant || taken != others {
		p.t.Fatalf("I6: %s accepts %s, %d others were asked: %+v", w.ID, offer, others, p.out)
	}
}

func (p *policy) finish() {
	if len(p.tasks) == 0 {
		return
	}
	t := rapid.SampledFrom(p.tasks).Draw(p.t, "ends")
	p.tasks = slices.DeleteFunc(p.tasks, func(o *polTask) bool { return o == t })
	if t.held != "" {
		p.core.Release(t.Session, t.Ticket, 0, false, p.now, &p.out)
	} else {
		p.core.Withdraw(t.Session, t.Ticket, p.now, &p.out)
	}
}

func (p *policy) retask() {
	if len(p.tasks) == 0 {
		return
	}
	t := rapid.SampledFrom(p.tasks).Draw(p.t, "retask")
	t.Version++
	t.Attributes = p.attrs()
	p.core.Offer(&t.Task, p.now, &p.out)
	p.follow()
	if !p.core.Unfinished() {
		p.settled(t)
	}
}

func (p *policy) indices(t *polTask) (list []int) {
	for i := range p.steps(t) {
		list = append(list, i)
	}
	return list
}

// settled checks that those who are asked for t may have it. An offer outlives the hours in which it was made.
func (p *policy) settled(t *polTask) {
	for w := range t.offers {
		if p.workers[w].other {
			continue
		}
		if !slices.ContainsFunc(p.indices(t), func(i int) bool { return p.meets(t, i, p.workers[w]) }) {
			p.t.Fatalf("%s stays offered to %s, who may not have it", t.Session, w)
		}
		if t.cost != p.cost(t) {
			p.t.Fatalf("%s stays offered for %d; it costs %d", t.Session, t.cost, p.cost(t))
		}
	}
}

func (p *policy) configure() {
	p.reconfigure(p.core.Configure)
	p.anew = p.core.Unfinished()
	for _, w := range p.workers {
		w.other = false
	}
	for _, t := range p.tasks {
		p.settled(t)
	}
}

// begin does not wait until the configuration is taken up.
func (p *policy) begin() {
	p.reconfigure(p.core.Reconfigure)
	p.anew = true
}

// goOn takes some more of it up.
func (p *policy) goOn() {
	if !p.core.Unfinished() {
		return
	}
	p.between++
	if !p.anew {
		p.relined++
	}
	p.core.Continue(rapid.IntRange(1, 4).Draw(p.t, "most"), p.now, &p.out)
	p.follow()
	if p.core.Unfinished() {
		return
	}
	p.anew = false
	for _, t := range p.tasks {
		p.settled(t)
	}
	for _, w := range p.workers {
		w.other = false
	}
}

func (p *policy) reconfigure(by func(broker.Config, int64, *broker.Effects)) {
	before := map[wire.SessionID]string{}
	for _, t := range p.tasks {
		before[t.Session] = t.held
	}
	p.cfg = p.config()
	by(p.cfg, p.now, &p.out)
	names := map[string]bool{}
	for _, q := range p.cfg.Queues {
		names[q.Name] = true
	}
	for _, t := range p.tasks {
		if !names[t.Queue] {
			t.Queue = "a"
		}
	}
	p.follow()
	for _, t := range p.tasks {
		if held := before[t.Session]; held != "" && held != t.held {
			p.t.Fatalf("%s was %s's and is %q's", t.Session, held, t.held)
		}
	}
}

func (p *policy) tick() {
	end := p.now + int64(rapid.SampledFrom([]int{1, 700, 1500, 4000}).Draw(p.t, "ms"))
	for {
		at, ok := p.core.Next()
		if !ok || at > end {
			break
		}
		p.now = at
		p.core.Tick(p.now, &p.out)
		p.check()
	}
	p.now = end
}

func TestPolicies(t *testing.T) {
	var done, wide, over, shut, between, relined int
	for range 10 { // a model that saw too little proves nothing: it goes on
		rapid.Check(t, func(t *rapid.T) {
			p := &policy{t: t, now: 10_000, workers: map[string]*polWorker{}}
			p.cfg = p.config()
			p.core = broker.NewInPieces(p.cfg, rapid.IntRange(0, 2).Draw(t, "pieces"))
			p.core.Open(1, nil, p.now, &p.out)
			p.out.Reset()
			step := func(f func(*policy)) func(*rapid.T) {
				return func(t *rapid.T) {
					p.t, p.lagging = t, p.core.Unfinished()
					f(p)
					p.follow()
					p.lagging = p.core.Unfinished()
				}
			}
			for range 3 {
				step((*policy).subscribe)(t)
				step((*policy).arrive)(t)
				p.check()
			}
			t.Repeat(map[string]func(*rapid.T){
				"":          func(t *rapid.T) { p.t = t; p.check() },
				"arrive":    step((*policy).arrive),
				"arrive2":   step((*policy).arrive),
				"subscribe": step((*policy).subscribe),
				"leave":     step((*policy).leave),
				"presence":  step((*policy).presence),
				"answer":    step((*policy).answer),
				"finish":    step((*policy).finish),
				"retask":    step((*policy).retask),
				"configure": step((*policy).configure),
				"begin":     step((*policy).begin),
				"go on":     step((*policy).goOn),
				"go on 2":   step((*policy).goOn),
				"tick":      step((*policy).tick),
			})
			done, wide, over, shut = done+p.done, wide+p.wide, over+p.over, shut+p.shut
			between, relined = between+p.between, relined+p.relined
		})
		if t.Failed() || done > 0 && wide > 0 && over > 0 && shut > 0 && between > 0 && relined > 0 {
			break
		}
	}
	if done == 0 || wide == 0 || over == 0 || shut == 0 || between == 0 || relined == 0 {
		t.Fatalf("%d assignments, %d further offers, %d overflows, %d kept out by hours, %d pieces, %d of lines alone: the model saw too little", done, wide, over, shut, between, relined)
	}
	t.Logf("%d assignments, %d further offers, %d overflows, %d kept out by hours, and %d pieces, %d of lines alone, were checked", done, wide, over, shut, between, relined)
}
