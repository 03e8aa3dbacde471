package shard

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"switchboard/broker/routes"
	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// When a session's route has come to its last step, a hook of its tenant may be called. The task is a row that is written in the turn in
// which the session is told so, so neither is there without the other; it is tried, ever less often, until the receiver has it, or until
// it is given up, which is an entry of the session that staff sees. Somebody else makes the call (Config.Hook): the owner waits for nothing.
//
// In memory is of each task what it takes to know when it is due. That is a hint: the row decides. So a task may be tried again that was
// delivered a moment before the power went; its id is the same, and its receiver knows.

const (
	hookFlying   = 2         // calls of one hook on their way from one shard
	hookBusy     = 1_000     // ms after which a task is tried again for which there was no room
	hookLongest  = 3_600_000 // ms between attempts, at most: it begins with Config.HookFirst, and is twice as long each time
	hookPatience = 60_000    // ms behind its timeout after which a call is forgotten from which nothing was heard
	hookVersion  = 1
)

// HookCall is one attempt to call a hook.
type HookCall struct {
	Tenant, Hook, URL, Secret string
	ID                        string // the same at every attempt
	Body                      []byte
	Timeout                   time.Duration
}

// hookKey is a hook of a tenant.
type hookKey struct{ tenant, name string }

// hookID names a task.
type hookID struct {
	session wire.SessionID
	ticket  uint64
}

// hookTask is a task in memory.
type hookTask struct {
	id      hookID
	of      hookKey
	attempt uint32    // that is next, from 1
	at      int64     // when it is due; of one that is on its way, when that is forgotten
	place   int       // in its line's tasks, from 1; 0 while it is on its way
	ended   bool      // the turn that takes its row out was decided: it is looked whether that has come about
	erased  *customer // who is being erased, and waits for what becomes of it, as it is on its way
}

// hookLine is the tasks of one hook.
type hookLine struct {
	tasks  taskHeap    // by at
	out    []*hookTask // on their way, at most hookFlying
	waitAt int64       // nobody is called before
}

// taskHeap is a heap of tasks.
type taskHeap []*hookTask

func (h taskHeap) Len() int           { return len(h) }
func (h taskHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h taskHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (h *taskHeap) Push(v any) {
	x := v.(*hookTask) //nolint:forcetypeassert // heap hands back what put gave it
	*h = append(*h, x)
	x.place = len(*h)
}

// Pop implements heap.Interface.
func (h *taskHeap) Pop() any {
	old := *h
	last := len(old) - 1
	x := old[last]
	old[last] = nil
	*h, x.place = old[:last], 0
	return x
}

// hooks are the tasks of a shard.
type hooks struct {
	lines map[hookKey]*hookLine
	all   map[hookID]*hookTask
	at    int64 // when something may be due, 0 is never
}

// put puts x, which is new or was on its way or stands in line, in line for at.
func (t *hooks) put(x *hookTask, at int64) {
	if t.all == nil {
		t.all, t.lines = map[hookID]*hookTask{}, map[hookKey]*hookLine{}
	}
	t.all[x.id] = x
	l := t.lines[x.of]
	if l == nil {
		l = &hookLine{}
		t.lines[x.of] = l
	}
	l.out = slices.DeleteFunc(l.out, func(o *hookTask) bool { return o == x })
	if x.at = at; x.place > 0 {
		heap.Fix(&l.tasks, x.place-1)
	} else {
		heap.Push(&l.tasks, x)
	}
	t.soonest(at)
}

// soonest sees to it that the tasks are looked at, at the latest, at that time; 0 is never.
func (t *hooks) soonest(at int64) {
	if at != 0 && (t.at == 0 || at < t.at) {
		t.at = at
	}
}

// landed takes x, of which something was heard, from those that are on their way; ok is false when it is none of them any more.
func (t *hooks) landed(id hookID) (x *hookTask, ok bool) {
	x = t.all[id]
	if x == nil {
		return nil, false
	}
	l := t.lines[x.of]
	i := slices.Index(l.out, x)
	if i < 0 {
		return x, false
	}
	l.out = slices.Delete(l.out, i, i+1)
	t.soonest(l.due())
	return x, true
}

// drop forgets x, which is on its way or stands in its line.
func (t *hooks) drop(x *hookTask) {
	delete(t.all, x.id)
	l := t.lines[x.of]
	if x.place > 0 {
		heap.Remove(&l.tasks, x.place-1)
	}
	l.out = slices.DeleteFunc(l.out, func(o *hookTask) bool { return o == x })
	if len(l.tasks)+len(l.out) == 0 {
		delete(t.lines, x.of)
	}
}

// erase forgets the tasks of a session of cu, who is being erased: their rows go with the session's. It tells whether some are on their way; cu goes on when
// they have come to an end, whatever that is.
func (t *hooks) erase(id wire.SessionID, cu *customer) (flying bool) {
	for _, x := range t.all {
		switch {
		case x.id.session != id:
		case x.place > 0:
			t.drop(x)
		default:
			x.erased, flying = cu, true
		}
	}
	return flying
}

// due returns when something of l is to be done, or 0.
func (l *hookLine) due() (at int64) {
	for _, x := range l.out {
		if at == 0 || x.at < at {
			at = x.at
		}
	}
	if len(l.out) < hookFlying && len(l.tasks) > 0 {
		if next := max(l.tasks[0].at, l.waitAt); at == 0 || next < at {
			at = next
		}
	}
	return at
}

// hookRow is a task as it is stored.
type hookRow struct {
	tenant, name string
	attempt      uint32
	at           int64
	call         string // its id
	body         []byte
}

func appendHook(dst []byte, r *hookRow) []byte {
	dst = append(dst, hookVersion)
	for _, s := range [...]string{r.tenant, r.name, r.call} {
		dst = appendField(dst, []byte(s))
	}
	dst = binary.AppendUvarint(dst, uint64(r.attempt))
	dst = binary.AppendVarint(dst, r.at)
	return append(dst, r.body...)
}

func parseHook(b []byte) (r hookRow, ok bool) {
	if len(b) == 0 || b[0] != hookVersion {
		return r, false
	}
	b = b[1:]
	for _, s := range [...]*string{&r.tenant, &r.name, &r.call} {
		var f []byte
		if f, b, ok = cutField(b); !ok {
			return r, false
		}
		*s = string(f)
	}
	attempt, n := binary.Uvarint(b)
	if n <= 0 || attempt == 0 || attempt > 1<<20 {
		return r, false
	}
	at, m := binary.Varint(b[n:])
	if m <= 0 {
		return r, false
	}
	r.attempt, r.at, r.body = uint32(attempt), at, b[n+m:] //nolint:gosec // bounded above
	return r, true
}

// recoverHooks reads which tasks there are.
func (s *Shard) recoverHooks() error {
	return s.g.Scan([]byte{rowHook}, []byte{rowHook + 1}, false, func(k, v []byte) bool {
		if len(k) <= 9 {
			return true // nobody has written it
		}
		id := hookID{wire.SessionID(k[1 : len(k)-8]), lastNumber(k)}
		_, slot, ok := id.session.Place()
		if r, good := parseHook(v); ok && good && s.owns(slot) {
			s.hooks.put(&hookTask{id: id, of: hookKey{r.tenant, r.name}, attempt: r.attempt}, max(r.at, 1))
		}
		return true
	})
}

// hookOf returns the name of the hook that a last step of a queue calls, or "". The queue may be there no more: its pool has moved those who wait in it, and they
// have not come to note that.
func (m *merchant) hookOf(queue, step string) string { return m.hooks.Of(m.Session.Named(queue), step) }

// callHook makes a task of the last step that h has come to, when its document says so. It is called in the turn in which the session's log
// has it.
func (s *Shard) callHook(h *hosted, m *wire.Resort) {
	st := h.state
	name := s.merchants[st.Tenant].hookOf(st.Queue, m.Step)
	if name == "" {
		return
	}
	r := hookRow{tenant: st.Tenant, name: name, attempt: 1, at: s.now, call: st.CallID(m.Ticket)}
	r.body = st.AppendCall(nil, &session.Call{ID: r.call, Action: m.Action, Step: m.Step, At: time.UnixMilli(s.now).UTC().Format(time.RFC3339Nano), OpensAt: m.OpensAt})
	s.key = numberedKey(s.key, rowHook, h.id, m.Ticket)
	s.turn.Put(s.key, appendHook(nil, &r))
	if id := (hookID{h.id, m.Ticket}); s.hooks.all[id] == nil { // it is, when the turn before was refused
		s.hooks.put(&hookTask{id: id, of: hookKey{r.tenant, name}, attempt: 1}, s.now)
	}
}

// callDue lets the tasks be read and called that are due, once everything that was decided so far is durable: nobody outside hears of a thing
// before the log has it. It is called when a turn has ended.
func (s *Shard) callDue() {
	if n := int64(len(s.hooks.all)); n != s.stats.hooksWaiting.Load() {
		s.stats.hooksWaiting.Store(n)
	}
	if s.cfg.Hook == nil || !s.writable || s.hooks.at == 0 || s.hooks.at > s.now {
		return
	}
	s.hooks.at = 0
	var jobs []job
	for key, l := range s.hooks.lines {
		for _, x := range slices.Clone(l.out) {
			if x.at <= s.now && x.erased != nil {
				s.eraseOn(x)
				s.inbox.Nudge() // this turn has ended: what was decided is for the next, which nothing else may begin for long
			} else if x.at <= s.now { // nothing was heard of it
				l.out = slices.DeleteFunc(l.out, func(o *hookTask) bool { return o == x })
				s.hooks.put(x, s.now+hookBusy)
			}
		}
		for l.waitAt <= s.now && len(l.out) < hookFlying && len(l.tasks) > 0 && l.tasks[0].at <= s.now {
			x := heap.Pop(&l.tasks).(*hookTask) //nolint:forcetypeassert // only tasks are in it
			j := hookJob{id: x.id, attempt: x.attempt, ended: x.ended}
			if t := s.merchants[key.tenant]; t != nil {
				j.hook = t.hooks.Named(key.name)
			}
			x.at = s.now + hookPatience
			l.out = append(l.out, x)
			jobs = append(jobs, job{kind: jobHook, id: x.id.session, call: j})
		}
		s.hooks.soonest(l.due())
	}
	if len(jobs) > 0 {
		s.held = append(s.held, outgoing{index: s.last, jobs: jobs})
	}
}

// hookJob is a task that is to be read and called.
type hookJob struct {
	id      hookID
	attempt uint32
	ended   bool         // it is to be looked whether the row is there, and no more
	hook    *routes.Hook // as the document has it by now; nil when it has none of that name
}

// readHook is the loader's part: it reads a task, and gives it to whoever calls. What comes of it comes as mail.
func (s *Shard) readHook(j job) result {
	r := result{job: j, hooked: &wire.Hooked{Session: j.call.id.session, Ticket: j.call.id.ticket, Attempt: j.call.attempt}}
	row, err := s.g.Get(numberedKey(nil, rowHook, j.call.id.session, j.call.id.ticket), nil)
	if errors.Is(err, journal.ErrNotFound) {
		r.hooked.Gone = true // its turn was refused, or its customer is erased
		return r
	}
	task, ok := parseHook(row)
	switch h := j.call.hook; {
	case err != nil:
		r.hooked.NoRoom = true
	case !ok:
		r.hooked.Gone = true
	case j.call.ended:
		r.hooked.Stays = true
	case h == nil:
		r.hooked.Row, r.hooked.Err = row, "the document has no hook of that name"
	default:
		r.hooked.Row = row
		call := &HookCall{Tenant: task.tenant, Hook: h.Name, URL: h.URL, Secret: h.Secret, ID: task.call, Body: task.body, Timeout: time.Duration(h.TimeoutMS) * time.Millisecond}
		said := *r.hooked
		if s.cfg.Hook(call, func(status int, why string, retryAfter time.Duration, final bool) {
			said.Status, said.Err, said.RetryMS, said.Final = status, why, retryAfter.Milliseconds(), final
			// Should there be no room, or another owner by now, it is called again: its receiver knows it by its id.
			_ = s.inbox.PutReserved(wire.Envelope{To: wire.ToSlot(wire.ShardSlot(s.cfg.ID)), Mail: &said})
		}) {
			r.hooked = nil
		} else {
			r.hooked.NoRoom = true
		}
	}
	return r
}

// hookRead goes on with a task that was not called.
func (s *Shard) hookRead(r *result) {
	switch {
	case r.err != nil: // the loader had no room
		s.hooked(&wire.Hooked{Session: r.call.id.session, Ticket: r.call.id.ticket, Attempt: r.call.attempt, NoRoom: true})
	case r.hooked != nil:
		s.hooked(r.hooked)
	}
}

// hooked takes what came of a call.
func (s *Shard) hooked(m *wire.Hooked) {
	id := hookID{m.Session, m.Ticket}
	switch x := s.hooks.all[id]; {
	case x == nil:
		return // it is over
	case x.ended && !m.Gone && !m.Stays && !m.NoRoom:
		return // it came twice
	case !x.ended && m.Attempt != x.attempt && m.Err != "":
		return // it is tried again already
	}
	if x := s.hooks.all[id]; x.erased != nil {
		s.eraseOn(x)
		return
	}
	x, ok := s.hooks.landed(id)
	switch {
	case m.Gone:
		s.hooks.drop(x)
	case m.Stays: // the turn that was to end it was refused
		x.ended = false
		s.hooks.put(x, s.now)
	case !ok && (m.Err != "" || m.NoRoom): // it is in line already
	case m.NoRoom:
		if l := s.hooks.lines[x.of]; l != nil {
			l.waitAt = s.now + hookBusy/4 // the others of its line need not ask
		}
		s.hooks.put(x, s.now+hookBusy)
	case !s.writable: // it cannot be noted: it is called again
		s.hooks.put(x, s.now+hookBusy)
	case m.Err == "" || m.Final || m.Attempt >= s.hookAttempts(x.of):
		s.hooks.put(x, s.now+hookPatience) // until its end is written
		s.toSession(m.Session, m)
	default:
		s.againHook(x, m)
	}
}

// eraseOn forgets a task that was on its way when its session was erased, so that the next of its line is called, and goes on erasing.
func (s *Shard) eraseOn(x *hookTask) {
	s.hooks.landed(x.id)
	s.hooks.drop(x)
	if cu := x.erased; s.customers[cu.id] == cu && cu.erasing != nil {
		s.nextSession(cu)
	}
}

// againHook puts a task back whose call has failed. Who fails again and again is called ever less often, and all of a hook at once are not.
func (s *Shard) againHook(x *hookTask, m *wire.Hooked) {
	row, ok := parseHook(m.Row)
	if !ok {
		s.hooks.drop(x)
		return
	}
	s.stats.hooksRetried.Add(1)
	wait := min(s.cfg.HookFirst.Milliseconds()<<min(m.Attempt-1, 20), hookLongest)
	wait = max(wait/2+rand.Int64N(wait/2+1), m.RetryMS) //nolint:gosec // so that they do not come together
	if l := s.hooks.lines[x.of]; l != nil && m.RetryMS > 0 {
		l.waitAt = s.now + m.RetryMS
	}
	x.attempt = m.Attempt + 1
	s.hooks.put(x, s.now+wait)
	row.attempt, row.at = x.attempt, x.at
	s.key = numberedKey(s.key, rowHook, m.Session, m.Ticket)
	s.turn.Put(s.key, appendHook(nil, &row))
	s.log.Debug("a hook did not take a call; it is tried again", "tenant", x.of.tenant, "hook", x.of.name, "session", m.Session, "attempt", m.Attempt, "why", m.Err, "again_ms", wait)
}

// endHook writes, in one turn, what became of a task, and that there is none any more.
func (s *Shard) endHook(h *hosted, m *wire.Hooked) {
	x := s.hooks.all[hookID{m.Session, m.Ticket}]
	if x == nil || x.ended {
		return // it came twice
	}
	if h.state.ErasedAt == 0 {
		h.state.Hooked(&s.env, x.of.name, m, &s.d)
	}
	s.forgetHook(x, m)
}

// forgetHook ends a task, whose session may be gone. When the turn is durable it is looked whether its row is: of a turn that was refused it
// is not, and nothing has ended.
func (s *Shard) forgetHook(x *hookTask, m *wire.Hooked) {
	if s.stats.hook(m); m.Err != "" {
		s.log.Error("a hook's call is given up", "tenant", x.of.tenant, "hook", x.of.name, "session", m.Session, "attempts", m.Attempt, "why", m.Err)
	}
	x.ended = true
	s.hooks.put(x, s.now)
	s.key = numberedKey(s.key, rowHook, m.Session, m.Ticket)
	s.turn.Delete(s.key)
}

// hookAttempts returns after how many a task is given up.
func (s *Shard) hookAttempts(of hookKey) uint32 {
	if t := s.merchants[of.tenant]; t != nil {
		if h := t.hooks.Named(of.name); h != nil {
			return uint32(h.Attempts) //nolint:gosec // at most 50
		}
	}
	return hookOrphan
}

// hookOrphan is how often a task is tried whose hook the document does not have: it may come back, or the shard may not have heard of it yet.
const hookOrphan = 12
