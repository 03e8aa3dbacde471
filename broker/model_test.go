package broker_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"switchboard/broker"
	"switchboard/wire"
)

// The model knows the rules of the pool and nothing of how they are kept: maps, and full scans over everybody. It follows
// the effects one by one and checks at each assignment that nobody better could have had the task, and nothing earlier
// could have had the worker; and after every event what must hold then.

type modelWorker struct {
	id, lease string
	had       string // the lease that its client was told last
	turn      uint64 // and the turn
	human     bool
	conn      wire.Conn
	connected bool
	gone      bool
	heard     bool // by this pool
	graceEnd  int64
	presence  broker.Presence
	told      broker.Presence // what he has said, or was told, since he subscribed
	slots     int
	queues    []string
	skill     float64
	rating    float64
	assigned  int
	fuzzy     bool // something of it is due this very moment
}

type modelTask struct {
	broker.Task
	state   string // waiting offered granted held lost wrapup
	worker  string
	offer   string
	lease   string
	ae      uint64
	expires int64
	until   int64 // of wrapup
	kept    bool  // its session keeps that
	over    bool  // and is to hear that it has ended
	bars    map[string]int64
	fuzzy   bool
}

type modelSession struct {
	id      wire.SessionID
	ticket  uint64
	ae      uint64
	waits   uint64 // ticket
	owner   string // under ae
	owned   uint64 // ticket
	since   int64
	pending uint64      // ticket of a transfer
	wish    broker.Task // under waits or pending
	has     broker.Live // while it has an owner
	pool    uint64      // number of the last whom it has heard
	wraps   []modelWrap // that it keeps
	conn    wire.Conn   // where it takes its owner to be, and to know of it
	inbox   []letter
}

// modelWrap is a wrap-up that a session keeps.
type modelWrap struct {
	broker.Live
	until int64
}

// letter is a pool's word to a session.
type letter struct {
	pool uint64
	broker.Effect
}

type model struct {
	t        *rapid.T
	core     *broker.Core
	queues   []broker.Queue
	now      int64
	out      broker.Effects
	workers  map[string]*modelWorker
	tasks    []*modelTask
	sessions []*modelSession
	ended    map[string]string // offer → outcome
	aes      map[string]uint64
	offers   []string
	accept   string // the offer that is being accepted
	number   uint64 // of the pool
	calm     int64  // until then it takes nobody whom it has not heard for away
	taught   taught
	served   int
	conns    uint64
	refs     uint64
	assigns  int
	most     int                                     // tasks that one event puts anew in line
	quiet    bool                                    // nothing is lost any more
	known    map[wire.Conn]map[wire.SessionID]uint64 // the assignments of which the worker there knows, by their ae
	missing  map[wire.Conn]bool                      // something that was said there is lost, and it will be noticed
}

// taught counts what a run has seen of pools that were lost.
type taught struct{ pools, adopted, waiting, awaited, kept, refused, pieces, wraps, over, told int }

func newModel(t *rapid.T) *model {
	m := &model{t: t, now: 1000, number: 1, workers: map[string]*modelWorker{}, ended: map[string]string{}, aes: map[string]uint64{}}
	m.known, m.missing = map[wire.Conn]map[wire.SessionID]uint64{}, map[wire.Conn]bool{}
	m.queues = []broker.Queue{
		{Name: "a"},
		{Name: "b", Steps: []broker.Step{{Who: broker.Bots}, {Who: broker.Humans, AfterMS: 3000}}, Scoring: broker.Weighted, OfferTTLMS: 7000},
		{Name: "c", Steps: []broker.Step{{Who: broker.Humans}, {Who: broker.Any, AfterMS: 2000}}, Order: broker.Strict, Priority: -1},
	}
	m.most = rapid.IntRange(0, 2).Draw(t, "pieces")
	m.core = m.newCore()
	m.core.Open(m.number, nil, m.now, &m.out)
	m.out.Reset()
	return m
}

func (m *model) newCore() *broker.Core {
	return broker.NewInPieces(broker.Config{Queues: m.queues, BarMS: 6000}, m.most)
}

func (m *model) queue(name string) *broker.Queue {
	return &m.queues[slices.IndexFunc(m.queues, func(q broker.Queue) bool { return q.Name == name })]
}

func (m *model) steps(t *modelTask) []broker.Step {
	if t.HumansOnly {
		return []broker.Step{{Who: broker.Humans}}
	}
	if s := m.queue(t.Queue).Steps; len(s) > 0 {
		return s
	}
	return []broker.Step{{Who: broker.Bots}, {Who: broker.Humans}}
}

func (m *model) used(w *modelWorker) (n int) {
	for _, t := range m.tasks {
		if t.worker == w.id {
			n += max(t.Cost, 1)
		}
	}
	return n
}

// owed is used, as sessions know it: what w has of them, whichever pool gave it to him.
func (m *model) owed(w *modelWorker) (n int) {
	for _, s := range m.sessions {
		if s.owner == w.id {
			n += max(s.has.Cost, 1)
		}
		for i := range s.wraps {
			if v := &s.wraps[i]; v.Worker == w.id && v.until > m.now {
				n += max(v.Cost, 1)
			}
		}
	}
	return n
}

// left is how long the session's wrap-up behind ae goes on.
func (m *model) left(s *modelSession, ae uint64) int64 {
	for i := range s.wraps {
		if s.wraps[i].AE == ae {
			return max(s.wraps[i].until-m.now, 0)
		}
	}
	return 0
}

// could tells whether w could take t now, leaving steps aside.
func (m *model) could(w *modelWorker, t *modelTask) bool {
	return w.connected && w.presence == broker.Ready && m.used(w)+max(t.Cost, 1) <= w.slots &&
		slices.Contains(w.queues, t.Queue) && (len(t.Skills) == 0 || w.skill >= t.Skills[0].Level) && t.bars[w.id] == 0
}

func (m *model) opened(s broker.Step, w *modelWorker, t *modelTask) bool {
	return (s.AfterMS == 0 || t.EnqueuedAt+s.AfterMS <= m.now) && (s.Who == broker.Any || (s.Who == broker.Humans) == w.human)
}

func (m *model) matches(w *modelWorker, t *modelTask) bool {
	return m.could(w, t) && slices.ContainsFunc(m.steps(t), func(s broker.Step) bool { return m.opened(s, w, t) })
}

// better tells whether a is asked before b.
func (m *model) better(t *modelTask, a, b *modelWorker) bool {
	score := func(w *modelWorker) (load, fit float64) {
		skill := 1.0
		if len(t.Skills) > 0 {
			skill = w.skill
		}
		return float64(m.used(w)) / float64(w.slots), 0.4*skill + 0.3*w.rating
	}
	la, fa := score(a)
	lb, fb := score(b)
	if m.queue(t.Queue).Scoring == broker.Weighted {
		fa, fb = fa-0.3*la, fb-0.3*lb
	} else if la != lb {
		return la < lb
	}
	if fa != fb {
		return fa > fb
	}
	if a.assigned != b.assigned {
		return a.assigned < b.assigned
	}
	return a.id < b.id
}

func (m *model) earlier(a, b *modelTask) bool {
	rank := func(t *modelTask) [4]int64 {
		q := m.queue(t.Queue)
		k := [4]int64{int64(q.Priority), 0, t.EnqueuedAt - t.BoostMS, t.EnqueuedAt}
		if q.Order == broker.Strict {
			k[1] = int64(t.Priority)
		}
		return k
	}
	ra, rb := rank(a), rank(b)
	if ra != rb {
		return slices.Compare(ra[:], rb[:]) < 0
	}
	return a.Session < b.Session
}

// assigning checks that t may go to w, and that it should.
func (m *model) assigning(t *modelTask, w *modelWorker) {
	m.assigns++
	if !w.connected || w.presence != broker.Ready || m.used(w)+max(t.Cost, 1) > w.slots {
		m.t.Fatalf("I3: %s/%d goes to %s, who cannot take it: %+v used %d", t.Session, t.Ticket, w.id, w, m.used(w))
	}
	if m.owed(w)+max(t.Cost, 1) > w.slots {
		m.t.Fatalf("I3: %s/%d goes to %s, who has %d of sessions in %d slots", t.Session, t.Ticket, w.id, m.owed(w), w.slots)
	}
	if t.To != "" {
		if t.To != w.id {
			m.t.Fatalf("a transfer to %s goes to %s", t.To, w.id)
		}
		return
	}
	if !m.could(w, t) {
		m.t.Fatalf("%s/%d goes to %s, who is not eligible", t.Session, t.Ticket, w.id)
	}
	for _, o := range m.tasks {
		if o != t && o.state == "waiting" && o.To == "" && !o.fuzzy && !w.fuzzy && m.matches(w, o) && m.earlier(o, t) {
			m.t.Fatalf("I4/I5: %s/%d goes to %s before %s/%d: %+v, %+v, %+v", t.Session, t.Ticket, w.id, o.Session, o.Ticket, t, o, w)
		}
	}
	if s := m.workers[t.Sticky]; s != nil && m.could(s, t) && (s.human || !t.HumansOnly) && !w.fuzzy && !s.fuzzy {
		if s == w {
			return
		}
		if m.matches(s, t) { // otherwise it became free after t went into line, where only open steps count
			m.t.Fatalf("%s/%d goes to %s though its last worker %s could take it", t.Session, t.Ticket, w.id, s.id)
		}
	}
	for _, s := range m.steps(t) {
		found := false
		for _, o := range m.workers {
			if o.fuzzy || !m.could(o, t) || !m.opened(s, o, t) {
				continue
			}
			found = true
			if o != w && !w.fuzzy && (!m.opened(s, w, t) || m.better(t, o, w)) {
				m.t.Fatalf("%s/%d goes to %s, not to %s", t.Session, t.Ticket, w.id, o.id)
			}
		}
		if found {
			return
		}
	}
	if !w.fuzzy {
		m.t.Fatalf("%s/%d goes to %s by no open step", t.Session, t.Ticket, w.id)
	}
}

func (m *model) find(session wire.SessionID, ticket uint64) *modelTask {
	for _, t := range m.tasks {
		if t.Session == session && t.Ticket == ticket {
			return t
		}
	}
	return nil
}

func (m *model) drop(t *modelTask) {
	m.tasks = slices.DeleteFunc(m.tasks, func(o *modelTask) bool { return o == t })
}

func (m *model) end(t *modelTask, outcome string) {
	if t.offer != "" {
		if old := m.ended[t.offer]; old != "" && old != outcome {
			m.t.Fatalf("I6: offer %s was %s and is %s", t.offer, old, outcome)
		}
		m.ended[t.offer] = outcome
		m.aes[t.offer] = t.ae
	}
}

// unoffer takes an offer back.
func (m *model) unoffer(t *modelTask, outcome string) {
	m.end(t, outcome)
	t.state, t.worker, t.offer = "waiting", "", ""
}

// follow does what the effects say, and checks them.
func (m *model) follow() {
	for _, e := range m.out {
		switch e.Kind {
		case broker.Grant:
			m.granted(&e)
			m.send(e)
		case broker.OfferPush:
			m.offered(&e)
		case broker.OfferEnded:
			i := slices.IndexFunc(m.tasks, func(t *modelTask) bool { return t.state == "offered" && t.offer == e.Offer })
			if i < 0 {
				continue // the event itself ended it
			}
			if e.Reason == "expired" && m.tasks[i].expires > m.now {
				m.t.Fatalf("%s expires early", e.Offer)
			}
			m.unoffer(m.tasks[i], e.Reason)
		case broker.Subscribed:
			m.subscribed(&e)
		case broker.Rebind:
			m.send(e)
		case broker.PresencePush:
			m.workers[e.Worker].presence, m.workers[e.Worker].told = e.State, e.State
		case broker.TransferFailed:
			t := m.find(e.Session, e.Ticket)
			if t == nil || t.To == "" || t.state != "waiting" {
				m.t.Fatalf("a transfer failed that was not pending: %+v", t)
			}
			m.drop(t)
			m.send(e)
		case broker.Lost:
			for _, t := range m.tasks {
				if t.Session == e.Session && t.ae == e.AE && (t.state == "held" || t.state == "lost") {
					t.state = "lost"
				}
			}
			m.send(e)
		case broker.WrapUpOver:
			i := slices.IndexFunc(m.tasks, func(t *modelTask) bool {
				return t.Session == e.Session && t.ae == e.AE && t.over && t.worker == e.Worker
			})
			if i < 0 {
				m.t.Fatalf("a wrap-up is over that was none: %+v", e)
			}
			m.send(e)
		}
	}
	m.out.Reset()
}

func (m *model) send(e broker.Effect) {
	s := m.session(e.Session)
	s.inbox = append(s.inbox, letter{m.number, e})
}

func (m *model) granted(e *broker.Effect) {
	t, w := m.find(e.Session, e.Ticket), m.workers[e.Worker]
	if t == nil {
		m.t.Fatalf("grant of nothing: %s/%d", e.Session, e.Ticket)
	}
	switch t.state {
	case "waiting":
		if w.human {
			m.t.Fatalf("human %s was not asked", w.id)
		}
		m.assigning(t, w)
	case "offered":
		if t.offer != m.accept || t.worker != w.id {
			m.t.Fatalf("%s was not accepted by %s", t.offer, w.id)
		}
	case "granted", "held":
		if t.worker != w.id || t.lease != e.Lease {
			m.t.Fatalf("I2: %s/%d is %s's and was granted to %s", t.Session, t.Ticket, t.worker, w.id)
		}
		return
	default:
		m.t.Fatalf("grant of a task that is %s", t.state)
	}
	m.served++
	t.state, t.worker, t.lease, w.assigned = "granted", w.id, w.lease, m.served
}

func (m *model) offered(e *broker.Effect) {
	w := m.workers[e.Worker]
	for _, t := range m.tasks {
		if t.Session != e.Session || t.state != "waiting" && t.state != "offered" {
			continue
		}
		if t.state == "offered" {
			if t.offer != e.Offer || t.worker != w.id || e.Conn != w.conn {
				m.t.Fatalf("I6: a second offer %s of %s/%d", e.Offer, t.Session, t.Ticket)
			}
			return
		}
		if !w.human || slices.Contains(m.offers, e.Offer) || e.ExpiresAt <= m.now {
			m.t.Fatalf("impossible offer %+v", e)
		}
		m.assigning(t, w)
		t.state, t.worker, t.offer, t.expires = "offered", w.id, e.Offer, e.ExpiresAt
		m.offers = append(m.offers, e.Offer)
		return
	}
	m.t.Fatalf("offer of nothing: %+v", e)
}

func (m *model) session(id wire.SessionID) *modelSession {
	return m.sessions[slices.IndexFunc(m.sessions, func(s *modelSession) bool { return s.id == id })]
}

// check is what must hold after every event.
func (m *model) check() {
	for _, w := range m.workers {
		if w.connected && w.told != w.presence {
			m.t.Fatalf("%s is %s, and takes himself for %s", w.id, w.presence, w.told)
		}
	}
	var waiting, offered, assigned int
	for _, t := range m.tasks {
		switch t.state {
		case "waiting":
			waiting++
			if t.To != "" {
				if w := m.workers[t.To]; m.now >= m.calm || w != nil && (w.connected || w.heard && !w.gone) {
					m.t.Fatalf("I7: transfer %s/%d waits for nothing", t.Session, t.Ticket)
				}
				if at, ok := m.core.Next(); !ok || at <= m.now || at > m.calm {
					m.t.Fatalf("I7: transfer %s/%d waits for %s until %d, and the next timer is %d, %v", t.Session, t.Ticket, t.To, m.calm, at, ok)
				}
				m.taught.awaited++
				continue
			}
			for _, w := range m.workers {
				if !m.core.Unfinished() && m.matches(w, t) {
					m.t.Fatalf("I1: %s/%d waits though %s could take it: %+v", t.Session, t.Ticket, w.id, m.core.Explain(t.Session))
				}
			}
			if e := m.core.Explain(t.Session); e.State != "waiting" || e.EnqueuedAt != t.EnqueuedAt {
				m.t.Fatalf("I10: %s/%d has waited since %d; explain says %+v", t.Session, t.Ticket, t.EnqueuedAt, e)
			}
			continue
		case "offered":
			offered++
			if t.expires <= m.now {
				m.t.Fatalf("I7: %s should have expired", t.offer)
			}
		case "granted", "held":
			assigned++
			if w := m.workers[t.worker]; t.state == "held" && (w == nil || w.gone || w.connected && w.lease != t.lease) {
				m.t.Fatalf("%s/%d is held by a worker who is gone", t.Session, t.Ticket)
			}
		}
		if at, ok := m.core.Next(); !ok || at <= m.now {
			m.t.Fatalf("I7: a task is %s, and the next timer is %d, %v", t.state, at, ok)
		}
	}
	var got [3]int
	for q := range m.core.Queues() {
		got[0], got[1], got[2] = got[0]+q.Waiting, got[1]+q.Offered, got[2]+q.Assigned
	}
	if got != [3]int{waiting, offered, assigned} {
		m.t.Fatalf("the pool has %v waiting, offered, assigned; the model %v", got, [3]int{waiting, offered, assigned})
	}
	for w := range m.core.Workers("", "") {
		if want := m.used(m.workers[w.ID]); w.Used != want || w.Connected != m.workers[w.ID].connected {
			m.t.Fatalf("I3: the pool has charged %s with %d, and he has %d: %+v", w.ID, w.Used, want, w)
		}
	}
	for _, w := range m.workers {
		w.fuzzy = false
	}
	for _, t := range m.tasks {
		t.fuzzy = false
	}
	m.accept = ""
	if wrong := m.core.Audit(); wrong != "" {
		m.t.Fatal(wrong)
	}
}

// pick draws one of a list, or nothing.
func pick[T any](m *model, list []T, what string) (v T, ok bool) {
	if len(list) == 0 {
		return v, false
	}
	return list[rapid.IntRange(0, len(list)-1).Draw(m.t, what)], true
}

func (m *model) workerIDs() []string { return slices.Sorted(maps.Keys(m.workers)) }

func (m *model) ref(w *modelWorker) broker.Ref {
	m.refs++
	return broker.Ref{Conn: w.conn, ID: m.refs}
}

func TestModel(t *testing.T) {
	total := 0
	var seen taught
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		step := func(f func(*model)) func(*rapid.T) {
			return func(t *rapid.T) {
				m.t = t
				m.now++
				m.due()
				f(m)
				m.follow()
			}
		}
		for range 4 { // an empty pool teaches little
			step((*model).subscribe)(t)
			step((*model).begin)(t)
			m.check()
		}
		t.Repeat(map[string]func(*rapid.T){
			"":          func(t *rapid.T) { m.t = t; m.check() },
			"begin":     step((*model).begin),
			"again":     step((*model).again),
			"close":     step((*model).close),
			"mail":      step((*model).mail),
			"mail2":     step((*model).mail),
			"release":   step((*model).release),
			"release 2": step((*model).release),
			"transfer":  step((*model).transfer),
			"subscribe": step((*model).subscribe),
			"resume":    step((*model).resumeOne),
			"connlost":  step((*model).connLost),
			"presence":  step((*model).setPresence),
			"slots":     step((*model).setSlots),
			"wrapup":    step((*model).wrapUpDone),
			"wrapup 2":  step((*model).wrapUpDone),
			"mail3":     step((*model).mail),
			"accept":    step((*model).acceptOffer),
			"decline":   step((*model).declineOffer),
			"tick":      step((*model).tick),
			"go on":     step((*model).goOn),
			"go on 2":   step((*model).goOn),
			"reopen": func(t *rapid.T) {
				step((*model).reopen)(t)
				step((*model).transfer)(t) // perhaps to somebody of whom the new pool has not heard yet
			},
		})
		m.converge(step)
		total += m.assigns
		seen.told += m.taught.told
		seen.pools += m.taught.pools
		seen.adopted += m.taught.adopted
		seen.waiting += m.taught.waiting
		seen.awaited += m.taught.awaited
		seen.kept += m.taught.kept
		seen.refused += m.taught.refused
		seen.pieces += m.taught.pieces
		seen.wraps += m.taught.wraps
		seen.over += m.taught.over
	})
	if total == 0 {
		t.Fatal("nothing was ever assigned")
	}
	if seen.adopted == 0 || seen.waiting == 0 || seen.awaited == 0 || seen.refused == 0 || seen.pieces == 0 || seen.wraps+seen.over == 0 || seen.told == 0 {
		t.Fatalf("pools were lost, and nobody noticed: %+v", seen)
	}
	t.Logf("%d assignments were checked, and over lost pools %+v", total, seen)
}

// due lets everything ring that is due before the next event, one moment at a time.
func (m *model) due() {
	end := m.now
	for {
		at, ok := m.core.Next()
		if !ok || at > end {
			break
		}
		m.now = at
		m.ring()
	}
	m.now = end
	for _, t := range m.tasks { // of those who wait, that was an event
		maps.DeleteFunc(t.bars, func(_ string, until int64) bool { return until <= m.now })
	}
}

// ring moves the clock to a moment at which something is due.
func (m *model) ring() {
	for _, t := range slices.Clone(m.tasks) {
		if t.state == "wrapup" && t.until <= m.now {
			m.workers[t.worker].fuzzy = true
			m.drop(t)
		}
		for w, until := range t.bars {
			if until <= m.now {
				t.fuzzy = true
				delete(t.bars, w)
			}
		}
		for _, s := range m.steps(t) {
			t.fuzzy = t.fuzzy || t.EnqueuedAt+s.AfterMS == m.now
		}
	}
	for _, id := range m.workerIDs() {
		w := m.workers[id]
		if w.connected || w.gone || w.graceEnd > m.now {
			continue
		}
		w.gone = true
		for _, t := range slices.Clone(m.tasks) {
			switch {
			case t.worker != w.id || t.state != "wrapup":
			case t.kept:
				t.over = true
			default:
				m.drop(t)
			}
		}
	}
	m.core.Tick(m.now, &m.out)
	m.follow()
	m.check()
}

// goOn does the next piece of what a census has left.
func (m *model) goOn() {
	if m.core.Unfinished() {
		m.taught.pieces++
		m.core.Continue(rapid.IntRange(1, 3).Draw(m.t, "most"), m.now, &m.out)
	}
}

func (m *model) tick() {
	m.now += int64(rapid.SampledFrom([]int{1, 50, 999, 2500, 8000, 31000}).Draw(m.t, "ms"))
	m.due()
}

func (m *model) offer(s *modelSession, task broker.Task) {
	t := &modelTask{Task: task, state: "waiting", bars: map[string]int64{}}
	for _, w := range task.Exclude {
		t.bars[w] = m.now + 6000
	}
	for _, o := range slices.Clone(m.tasks) { // a lost release is made up for
		if o.Session == s.id && o.state != "wrapup" && (task.To == "" || o.state == "waiting" || o.state == "offered" || o.state == "granted") {
			m.end(o, map[bool]string{true: "accepted", false: "rescinded"}[o.state == "held" || o.state == "lost"])
			m.drop(o)
		}
	}
	m.tasks = append(m.tasks, t)
	s.wish = task
	m.core.Offer(&task, m.now, &m.out)
}

func (m *model) begin() {
	var s *modelSession
	if idle := slices.DeleteFunc(slices.Clone(m.sessions), func(s *modelSession) bool { return s.waits != 0 || s.owner != "" }); len(idle) > 0 && rapid.Bool().Draw(m.t, "old") {
		s, _ = pick(m, idle, "session")
	} else {
		if len(m.sessions) >= 24 {
			return
		}
		s = &modelSession{id: wire.SessionID(fmt.Sprintf("s%02d", len(m.sessions)))}
		m.sessions = append(m.sessions, s)
	}
	s.since = m.now - int64(rapid.IntRange(0, 4).Draw(m.t, "age"))*1000
	m.enqueue(s, nil)
}

func (m *model) enqueue(s *modelSession, exclude []string) {
	s.ticket++
	s.waits = s.ticket
	task := broker.Task{
		Session: s.id, Ticket: s.ticket, Queue: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(m.t, "queue"), EnqueuedAt: s.since,
		Priority: int32(rapid.IntRange(0, 1).Draw(m.t, "priority")), BoostMS: int64(rapid.IntRange(0, 1).Draw(m.t, "boost")) * 1500,
		Cost: rapid.IntRange(0, 2).Draw(m.t, "cost"), HumansOnly: rapid.IntRange(0, 4).Draw(m.t, "humans") == 0, Exclude: exclude,
	}
	if rapid.IntRange(0, 2).Draw(m.t, "skilled") == 0 {
		task.Skills = []broker.Skill{{Name: "x", Level: 0.5}}
	}
	if rapid.IntRange(0, 3).Draw(m.t, "sticky") == 0 {
		task.Sticky, _ = pick(m, m.workerIDs(), "last")
	}
	m.offer(s, task)
}

// again repeats a level, sometimes an old one: nothing may come of it.
func (m *model) again() {
	s, ok := pick(m, m.sessions, "session")
	if !ok || len(m.tasks) == 0 {
		return
	}
	for _, t := range m.tasks {
		if t.Session == s.id {
			task := t.Task
			task.Ticket -= uint64(rapid.IntRange(0, int(task.Ticket)).Draw(m.t, "older"))
			m.core.Offer(&task, m.now, &m.out)
			if len(m.out) > 0 {
				m.t.Fatalf("a repeated task has effects: %+v", m.out)
			}
			return
		}
	}
}

func (m *model) close() {
	s, ok := pick(m, m.sessions, "session")
	if !ok || s.waits == 0 {
		return
	}
	if t := m.find(s.id, s.waits); t != nil {
		m.end(t, "rescinded")
		m.drop(t)
	}
	m.core.Withdraw(s.id, s.waits, m.now, &m.out)
	s.waits = 0
}

// mail lets a session handle one piece of mail, or loses it.
func (m *model) mail() {
	full := slices.DeleteFunc(slices.Clone(m.sessions), func(s *modelSession) bool { return len(s.inbox) == 0 })
	s, ok := pick(m, full, "session")
	if !ok {
		return
	}
	m.read(s)
}

// read lets a session handle its next piece of mail, or loses it.
func (m *model) read(s *modelSession) {
	l := s.inbox[0]
	s.inbox = s.inbox[1:]
	if l.pool < s.pool { // the word of a pool that is none any more
		m.taught.refused++
		return
	}
	e := l.Effect
	if e.Kind != broker.TransferFailed && m.loses("loses") {
		if len(s.inbox) > 0 && e.Kind == broker.Rebind && s.inbox[0].Kind == broker.Grant { // said in one breath
			s.inbox = s.inbox[1:]
		}
		return
	}
	switch e.Kind {
	case broker.Grant:
		m.handleGrant(s, &e, l.pool)
	case broker.Rebind:
		switch {
		case s.owner != e.Worker || s.ae != e.AE:
			m.giveBack(s, e.AE, m.left(s, e.AE))
			return
		case e.Fresh && e.Lease == "" && s.conn == e.Conn:
		case e.Fresh:
			m.tells(s, e.Conn)
		default: // by kept
			s.conn = e.Conn
		}
		s.pool = l.pool
		if !m.loses("confirm") {
			m.core.Confirm(s.id, s.owned, s.owner, s.has.Lease, s.ae, m.now, &m.out)
		}
	case broker.TransferFailed:
		if s.pending == e.Ticket {
			s.pending = 0
		}
	case broker.Lost:
		mine := s.owner == e.Worker && s.ae == e.AE
		if mine && s.pending != 0 {
			m.withdrawPending(s)
		}
		if mine {
			s.owner = ""
		}
		m.giveBack(s, e.AE, m.left(s, e.AE))
		if mine {
			m.follow()
			m.enqueue(s, nil)
		}
	case broker.WrapUpOver:
		m.taught.over++
		s.wraps = slices.DeleteFunc(s.wraps, func(v modelWrap) bool { return v.AE == e.AE })
		m.giveBack(s, e.AE, 0)
	}
}

// wrapUpDone is a worker's word that he is done with what came after an assignment, or the same again.
func (m *model) wrapUpDone() {
	t, ok := pick(m, slices.DeleteFunc(slices.Clone(m.tasks), func(t *modelTask) bool { return t.state != "wrapup" || !m.workers[t.worker].connected }), "task")
	if !ok {
		return
	}
	ref := m.ref(m.workers[t.worker])
	m.core.WrapupDone(t.Session, t.ae, t.worker, ref, m.now, &m.out)
	if done := slices.ContainsFunc(m.out, func(e broker.Effect) bool { return e.Kind == broker.Done && e.Ref == ref }); done == t.kept {
		m.t.Fatalf("a wrap-up that is kept %v is done %v", t.kept, done)
	}
	if t.over = t.kept; !t.kept {
		m.drop(t)
	}
}

func (m *model) withdrawPending(s *modelSession) {
	if t := m.find(s.id, s.pending); t != nil {
		m.end(t, "rescinded")
		m.drop(t)
	}
	m.core.Withdraw(s.id, s.pending, m.now, &m.out)
	m.follow()
	s.pending = 0
}

func (m *model) handleGrant(s *modelSession, e *broker.Effect, pool uint64) {
	t := m.find(s.id, e.Ticket)
	switch {
	case s.owner == e.Worker && s.owned == e.Ticket: // again
		s.pool = pool
		if e.Lease == s.has.Lease && e.Conn != s.conn && e.Conn != (wire.Conn{}) {
			m.tells(s, e.Conn)
		}
	case s.waits == e.Ticket || s.pending == e.Ticket && s.pending != 0:
		if s.owner != "" {
			s.owner = ""
			m.giveBack(s, s.ae, 0)
			m.follow()
		}
		s.ae++
		s.owner, s.owned, s.waits, s.pending, s.pool = e.Worker, e.Ticket, 0, 0, pool
		s.has = broker.Live{
			Task: broker.Task{Session: s.id, Ticket: e.Ticket, Queue: s.wish.Queue, EnqueuedAt: s.since, Cost: s.wish.Cost}, Assigned: true,
			Worker: e.Worker, Origin: e.Origin, Lease: e.Lease, Offer: e.Offer, AE: s.ae,
		}
		m.tells(s, e.Conn)
	default:
		if t != nil && t.worker == e.Worker && t.state != "offered" && t.state != "wrapup" {
			m.end(t, map[bool]string{true: "rescinded", false: "accepted"}[t.state == "granted"])
			m.drop(t)
		}
		m.core.Refuse(s.id, e.Ticket, e.Worker, m.now, &m.out)
		return
	}
	if m.loses("confirm") { // the pool says its grant again; what else is missing there is noticed
		m.missing[e.Conn] = true
		return
	}
	if t != nil && t.state == "granted" {
		t.state, t.ae = "held", s.ae
	}
	m.core.Confirm(s.id, e.Ticket, e.Worker, s.has.Lease, s.ae, m.now, &m.out)
}

// loses tells whether a word does not arrive.
func (m *model) loses(what string) bool {
	return !m.quiet && rapid.IntRange(0, 7).Draw(m.t, what) == 0
}

// tells binds s to a connection, and lets the worker there know of the assignment. That may be lost: his edge notices, and asks the pool what he has.
func (m *model) tells(s *modelSession, conn wire.Conn) {
	s.conn = conn
	known := m.known[conn]
	switch {
	case known == nil: // it has ended
	case m.loses("assigned"):
		m.missing[conn] = true
	default:
		known[s.id] = s.ae
	}
}

// resumeOne is an edge's question what its worker has: as something is missing, or may be.
func (m *model) resumeOne() {
	id, ok := pick(m, m.connected(), "worker")
	if ok {
		m.ask(id)
	}
}

func (m *model) ask(id string) {
	delete(m.missing, m.workers[id].conn)
	m.taught.told++
	list := m.resume([]string{id})
	m.core.Subscribe(&list[0], m.now, &m.out)
}

// converge loses nothing any more, and lets edges ask where something is missing. Then every worker who is connected knows of what he has, and its session knows
// where he is [I7].
func (m *model) converge(step func(func(*model)) func(*rapid.T)) {
	t := m.t
	m.quiet = true
	for range 4 {
		for _, id := range m.connected() {
			if m.missing[m.workers[id].conn] {
				step(func(m *model) {
					if m.workers[id].connected {
						m.ask(id)
					}
				})(t)
			}
		}
		step(func(m *model) {
			m.now += 70_000
			m.due()
		})(t)
		for m.core.Unfinished() {
			step((*model).goOn)(t)
		}
		for _, s := range m.sessions {
			for len(s.inbox) > 0 {
				step(func(m *model) {
					if len(s.inbox) > 0 {
						m.read(s)
					}
				})(t)
			}
		}
	}
	for _, s := range m.sessions {
		if t := m.find(s.id, s.owned); s.owner != "" && (t == nil || t.ae != s.ae || t.state != "held" && t.state != "lost") {
			m.t.Fatalf("I7: %s is %s's under %d, and the pool does not know it: %+v", s.id, s.owner, s.ae, t)
		}
		w := m.workers[s.owner]
		if s.owner == "" || !w.connected || w.lease != s.has.Lease {
			continue
		}
		if s.conn != w.conn || m.known[w.conn][s.id] != s.ae {
			t.Fatalf("I7: %s has %s under %d at %v; it takes him to be at %v, and there is known %v", s.owner, s.id, s.ae, w.conn, s.conn, m.known[w.conn])
		}
	}
}

func (m *model) giveBack(s *modelSession, ae uint64, wrapUp int64) {
	kept := slices.ContainsFunc(s.wraps, func(v modelWrap) bool { return v.AE == ae })
	for _, t := range slices.Clone(m.tasks) {
		if t.Session == s.id && t.ae == ae && t.state == "wrapup" && t.over && wrapUp == 0 {
			m.drop(t)
		}
		if t.Session != s.id || t.ae != ae || t.state != "held" && t.state != "lost" {
			continue
		}
		m.end(t, "accepted")
		if there := t.state == "held" && !m.workers[t.worker].gone; wrapUp > 0 && (there || kept) {
			t.state, t.until, t.offer, t.kept, t.over = "wrapup", m.now+wrapUp, "", kept, !there
		} else {
			m.drop(t)
		}
	}
	m.core.Release(s.id, ae, wrapUp, kept, m.now, &m.out)
}

func (m *model) owned() []*modelSession {
	return slices.DeleteFunc(slices.Clone(m.sessions), func(s *modelSession) bool { return s.owner == "" })
}

func (m *model) release() {
	s, ok := pick(m, m.owned(), "session")
	if !ok {
		return
	}
	if s.pending != 0 {
		m.withdrawPending(s)
	}
	last := s.owner
	s.owner = ""
	if rapid.IntRange(0, 9).Draw(m.t, "loses") != 0 {
		wrapUp := int64(rapid.SampledFrom([]int{0, 4000, 40_000, 40_000}).Draw(m.t, "wrapup"))
		if wrapUp > 0 && rapid.IntRange(0, 3).Draw(m.t, "keeps") != 0 {
			m.confirmed(s, last)
			s.wraps = append(s.wraps, modelWrap{s.has, m.now + wrapUp})
		}
		m.giveBack(s, s.ae, wrapUp)
		m.follow()
	} // otherwise the release is lost on its way: the next ticket, or the audit, makes up for it
	if rapid.Bool().Draw(m.t, "back") {
		m.enqueue(s, []string{last})
	}
}

// confirmed is that a session says once more that it took its owner.
func (m *model) confirmed(s *modelSession, owner string) {
	if t := m.find(s.id, s.owned); t != nil && t.state == "granted" {
		t.state, t.ae = "held", s.ae
	}
	m.core.Confirm(s.id, s.owned, owner, s.has.Lease, s.ae, m.now, &m.out)
	m.follow()
}

func (m *model) transfer() {
	s, ok := pick(m, m.owned(), "session")
	if !ok || s.pending != 0 {
		return
	}
	to, _ := pick(m, m.workerIDs(), "to")
	if to == s.owner {
		return
	}
	m.confirmed(s, s.owner)
	s.ticket++
	s.pending = s.ticket
	m.offer(s, broker.Task{Session: s.id, Ticket: s.ticket, Queue: "a", EnqueuedAt: s.since, To: to})
}

func (m *model) subscribe() {
	id := rapid.SampledFrom([]string{"b1", "b2", "b3", "h1", "h2", "h3"}).Draw(m.t, "worker")
	w := m.workers[id]
	s := broker.Subscription{
		ID: id, Sub: id, Kind: wire.OriginBot, Allowed: []string{"*"}, Slots: rapid.IntRange(1, 4).Draw(m.t, "slots"),
		Queues: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3, rapid.ID[string]).Draw(m.t, "queues"),
		Rating: float64(rapid.IntRange(1, 3).Draw(m.t, "rating")) / 4, Conn: wire.Conn{Node: 1, ID: m.conns + 1},
	}
	m.conns++
	s.NewLease = fmt.Sprintf("l%d", m.conns)
	skill := float64(rapid.IntRange(0, 3).Draw(m.t, "skill")) / 3
	s.Skills = []broker.Skill{{Name: "x", Level: skill}}
	if id[0] == 'h' {
		s.Kind = wire.OriginHuman
	}
	if w != nil && rapid.Bool().Draw(m.t, "lease") {
		s.Lease = w.had
	}
	if w == nil {
		w = &modelWorker{id: id, lease: s.NewLease, human: id[0] == 'h'}
		m.workers[id] = w
	} else if !w.connected && !m.knows(w, s.Lease) {
		if w.gone && !slices.ContainsFunc(m.tasks, func(t *modelTask) bool { return t.worker == id }) {
			w.assigned = 0 // it was forgotten
		}
		w.lease, w.presence = s.NewLease, broker.Ready
	} else if !w.connected {
		w.lease = s.Lease
	} else if w.lease != s.Lease {
		w.presence = broker.Ready // another client
	}
	w.conn, w.connected, w.gone, w.told = s.Conn, true, false, broker.Ready
	w.slots, w.queues, w.skill, w.rating = s.Slots, s.Queues, skill, s.Rating
	m.core.Subscribe(&s, m.now, &m.out)
}

// knows tells whether lease is one under which w, who is not connected, has still something.
func (m *model) knows(w *modelWorker, lease string) bool {
	return lease != "" && !w.gone && (w.lease == lease || slices.ContainsFunc(m.tasks, func(t *modelTask) bool {
		return t.worker == w.id && t.state == "held" && t.lease == lease
	}))
}

// subscribed checks what a worker is told that he has kept.
func (m *model) subscribed(e *broker.Effect) {
	w := m.workers[e.Worker]
	var kept []broker.Kept
	for _, t := range m.tasks {
		if t.worker == w.id && t.state == "held" && t.lease == w.lease {
			kept = append(kept, broker.Kept{Session: t.Session, AE: t.ae})
		}
	}
	got := slices.Clone(e.Kept)
	order := func(a, b broker.Kept) int { return slices.Compare([]byte(a.Session), []byte(b.Session)) }
	slices.SortFunc(kept, order)
	slices.SortFunc(got, order)
	if !slices.Equal(kept, got) || e.Lease != w.lease || e.Conn != w.conn {
		m.t.Fatalf("%s kept %v under %s; want %v under %s", w.id, got, e.Lease, kept, w.lease)
	}
	w.had, w.turn, w.heard = e.Lease, e.Turn, true
	asked := m.known[e.Conn] != nil // by his edge: of what is not named he is told that it has ended, and of what he does not know nothing
	known := map[wire.SessionID]uint64{}
	for _, k := range got {
		if !asked || m.known[e.Conn][k.Session] == k.AE {
			known[k.Session] = k.AE
		}
	}
	m.known[e.Conn] = known
}

func (m *model) connected() []string {
	return slices.DeleteFunc(m.workerIDs(), func(id string) bool { return !m.workers[id].connected })
}

// retract takes w's open offers back, as the event says.
func (m *model) retract(w *modelWorker) {
	for _, t := range m.tasks {
		if t.worker == w.id && t.state == "offered" {
			m.unoffer(t, "rescinded")
		}
	}
}

// grace is how long w has to come back from now on.
func (m *model) grace(w *modelWorker) int64 {
	if w.human {
		return m.now + 30000
	}
	return m.now + 5000
}

func (m *model) connLost() {
	id, ok := pick(m, m.connected(), "worker")
	if !ok {
		return
	}
	w := m.workers[id]
	w.connected, w.graceEnd = false, m.grace(w)
	delete(m.known, w.conn)
	m.retract(w)
	m.core.ConnLost(w.conn, m.now, &m.out)
}

func (m *model) setPresence() {
	id, ok := pick(m, m.connected(), "worker")
	if !ok {
		return
	}
	w := m.workers[id]
	w.presence = broker.Presence(max(rapid.IntRange(-2, 2).Draw(m.t, "presence"), 0))
	if w.presence != broker.Ready {
		m.retract(w)
	}
	w.told = w.presence
	m.core.Presence(id, w.presence, "", m.ref(w), m.now, &m.out)
}

func (m *model) setSlots() {
	id, ok := pick(m, m.connected(), "worker")
	if !ok {
		return
	}
	m.workers[id].slots = rapid.IntRange(1, 5).Draw(m.t, "slots")
	m.core.Slots(id, m.workers[id].slots, m.ref(m.workers[id]), m.now, &m.out)
}

// anOffer draws an offer that was made, and who speaks about it: mostly the one whose it is.
func (m *model) anOffer() (offer string, w *modelWorker, t *modelTask, ok bool) {
	offer, ok = pick(m, m.offers[max(0, len(m.offers)-12):], "offer")
	if !ok {
		return "", nil, nil, false
	}
	if i := slices.IndexFunc(m.tasks, func(t *modelTask) bool { return t.offer == offer }); i >= 0 {
		t = m.tasks[i]
	}
	id, ok := pick(m, m.connected(), "worker")
	if !ok {
		return "", nil, nil, false
	}
	if t != nil && m.workers[t.worker].connected && rapid.IntRange(0, 5).Draw(m.t, "other") != 0 {
		id = t.worker
	}
	return offer, m.workers[id], t, true
}

func (m *model) acceptOffer() {
	offer, w, t, ok := m.anOffer()
	if !ok {
		return
	}
	mine := t != nil && t.worker == w.id
	if mine {
		m.accept = offer
	}
	m.core.Accept(offer, w.id, m.ref(w), m.now, &m.out)
	if len(m.out) == 0 {
		if !mine || t.state != "granted" {
			m.t.Fatalf("accept of %s by %s is not answered", offer, w.id)
		}
		return
	}
	e := &m.out[0]
	switch {
	case mine && t.state == "offered":
		if e.Kind != broker.Grant {
			m.t.Fatalf("accept of an open offer: %+v", e)
		}
	case mine:
		if e.Kind != broker.Accepted || e.AE != t.ae || e.Session != t.Session {
			m.t.Fatalf("I6: accept of what is held under %d: %+v", t.ae, e)
		}
	case e.Kind == broker.Accepted:
		if m.ended[offer] != "accepted" || e.AE != m.aes[offer] {
			m.t.Fatalf("I6: %s was %s under %d: %+v", offer, m.ended[offer], m.aes[offer], e)
		}
	case e.Kind == broker.Fail:
		if e.Slug == wire.OfferExpired && m.ended[offer] != "expired" {
			m.t.Fatalf("I6: %s was %s: %s", offer, m.ended[offer], e.Slug)
		}
	default:
		m.t.Fatalf("accept of %s: %+v", offer, e)
	}
}

func (m *model) declineOffer() {
	offer, w, t, ok := m.anOffer()
	if !ok {
		return
	}
	open := t != nil && t.worker == w.id && t.state == "offered"
	if open {
		m.unoffer(t, "declined")
		t.bars[w.id] = m.now + 6000
	}
	m.core.Decline(offer, w.id, "", m.ref(w), m.now, &m.out)
	if len(m.out) == 0 || open && m.out[0].Kind != broker.Done {
		m.t.Fatalf("decline of %s: %+v", offer, m.out)
	}
}

// reopen loses the pool and opens the next, which knows nothing but what it is told: by sessions what they have and wait for, by
// edges who is there. Words of the lost one may be under way. The next does the same with the same in the same order [I13].
func (m *model) reopen() {
	m.number++
	m.calm = m.now + 30_000
	m.taught.pools++
	m.tasks, m.served = nil, 0
	var live []string
	for _, id := range m.workerIDs() {
		w := m.workers[id]
		if w.connected && rapid.IntRange(0, 3).Draw(m.t, "there") != 0 {
			live = append(live, id)
		}
		w.connected, w.gone, w.heard, w.assigned, w.graceEnd = false, true, false, 0, 0
	}
	var doubled broker.Effects
	m.core = m.newCore()
	twin := m.newCore()
	do := func(f func(*broker.Core, *broker.Effects)) {
		f(m.core, &m.out)
		f(twin, &doubled)
	}
	answers := [3][]broker.Live{}
	order := rapid.Permutation([]uint32{0, 1, 2}).Draw(m.t, "order")
	resumed := m.resume(live)
	do(func(c *broker.Core, out *broker.Effects) { c.Open(m.number, []uint32{0, 1, 2}, m.now, out) })
	for _, shard := range order {
		for i, s := range m.sessions {
			if i%len(answers) == int(shard) {
				answers[shard] = append(answers[shard], m.tell(s)...)
			}
		}
	}
	for i := range resumed {
		r := &resumed[i]
		w := m.workers[r.ID]
		w.lease, w.presence, w.connected, w.gone = r.Lease, r.Presence, true, false
	}
	for i, shard := range order {
		do(func(c *broker.Core, out *broker.Effects) {
			before := len(*out)
			c.CensusAnswer(m.number-1, shard, []broker.Live{{Task: broker.Task{Session: "old", Ticket: 1, Queue: "a"}}}, m.now, out) // to the pool before
			if i > 0 {
				c.CensusAnswer(m.number, order[i-1], answers[shard], m.now, out) // one has answered twice
			}
			if len(*out) > before || c.Settled() {
				m.t.Fatalf("I12: answers to nobody's question: %+v", (*out)[before:])
			}
			for n := range resumed {
				if n%len(order) == i {
					c.Subscribe(&resumed[n], m.now, out)
				}
			}
			c.CensusAnswer(m.number, shard, slices.Clone(answers[shard]), m.now, out)
		})
	}
	if !reflect.DeepEqual(m.out, doubled) {
		m.t.Fatalf("I13: of the same came\n%+v\nand\n%+v", m.out, doubled)
	}
	found := 0
	for i := range m.out {
		if m.out[i].Kind == broker.Subscribed {
			found++
			m.taught.kept += len(m.out[i].Kept)
		}
	}
	if !m.core.Settled() || found != len(resumed) {
		m.t.Fatalf("I12: of %d who resume %d are back, settled %v", len(resumed), found, m.core.Settled())
	}
}

// tell is what a session knows, for the pool that has asked it. Lower numbers are refused from now on.
func (m *model) tell(s *modelSession) (live []broker.Live) {
	if s.owner != "" {
		w := m.workers[s.owner]
		if w.gone { // the first who names him names his lease
			w.gone, w.lease, w.presence, w.graceEnd = false, s.has.Lease, broker.Ready, m.grace(w)
		}
		m.tasks = append(m.tasks, &modelTask{Task: s.has.Task, state: "held", worker: s.owner, offer: s.has.Offer, lease: s.has.Lease, ae: s.ae, bars: map[string]int64{}})
		live = append(live, s.has)
		m.taught.adopted++
	}
	if s.waits != 0 || s.pending != 0 {
		t := &modelTask{Task: s.wish, state: "waiting", bars: map[string]int64{}}
		for _, w := range s.wish.Exclude {
			t.bars[w] = m.now + 6000
		}
		m.tasks = append(m.tasks, t)
		live = append(live, broker.Live{Task: s.wish})
		m.taught.waiting++
	}
	for i := range s.wraps {
		v := s.wraps[i]
		if v.until <= m.now {
			continue
		}
		w := m.workers[v.Worker]
		if w.gone {
			w.gone, w.lease, w.presence, w.graceEnd = false, v.Lease, broker.Ready, m.grace(w)
		}
		v.WrapUpMS = v.until - m.now
		m.tasks = append(m.tasks, &modelTask{Task: v.Task, state: "wrapup", worker: v.Worker, lease: v.Lease, ae: v.AE, until: v.until, kept: true, bars: map[string]int64{}})
		live = append(live, v.Live)
		m.taught.wraps++
	}
	if len(live) > 0 {
		s.pool = m.number
	}
	return live
}

// resume is what edges say of those who are connected still.
func (m *model) resume(ids []string) (list []broker.Subscription) {
	for _, id := range ids {
		w := m.workers[id]
		list = append(list, broker.Subscription{
			ID: id, Sub: id, Kind: wire.OriginBot, Allowed: []string{"*"}, Slots: w.slots, Queues: w.queues, Rating: w.rating, Conn: w.conn,
			Skills: []broker.Skill{{Name: "x", Level: w.skill}}, Lease: w.had, NewLease: "l_" + id, Resumed: true, Presence: w.presence, Turn: w.turn,
		})
		if w.human {
			list[len(list)-1].Kind = wire.OriginHuman
		}
	}
	return list
}
