package whatif

import (
	"switchboard/broker"
	"switchboard/broker/level"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// phase is where a session stands.
type phase uint8

const (
	nowhere phase = iota
	waits         // in the pool, under ticket
	with          // somebody
)

// session is a visit that is under way. It is used again for another one when it has ended.
type session struct {
	visit   Visit
	id      wire.SessionID
	index   int32
	gen     uint32 // grows whenever what was planned for it is void
	state   phase
	queue   string
	ticket  uint64
	version uint64
	ae      uint64
	worker  int32
	since   int64 // enqueued_at: it survives losses and transfers [I10]
	wants   int64 // since when he has waited for a person, or whoever it will be; 0 when he does not
	waited  int64 // of it until a person took it
	human   bool  // only people from now on
	again   bool
	exclude string
	handed  bool   // its owner sent it on
	sticky  string // who had it last
	known   bool   // routing need not ask what it is about
	bot     bool   // a bot has it
	turn    int
	row     uint32  // grows whenever nobody says anything behind his last message
	pauses  []int64 // before each of those that are still to come: of the customer while open, of who has answered otherwise
	open    bool    // the customer's last word has no answer
	moves   int     // transfers that are still to come
	everHad bool    // a person
	lined   int64   // when he came to the line
	asked   int64   // when somebody was first asked to take him; 0 is never
	offers  int     // people who were asked
	told    int     // how often he heard his place
	conv    *level.Conversation
	seq     uint64
	boost   int64
	tickAt  int64
}

// talk returns the talk with whoever has it.
func (p *session) talk() *Talk {
	if p.bot {
		return &p.visit.Bot
	}
	return &p.visit.Human
}

// arrive begins the session of the visit that is due.
func (s *Sim) arrive() {
	var i int32
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		i = int32(len(s.people)) //nolint:gosec // bounded by memory long before
		s.people = append(s.people, session{index: i})
	}
	p := &s.people[i]
	v := &s.next
	bot, human := p.visit.Bot, p.visit.Human
	v.Bot.copyInto(&bot)
	v.Human.copyInto(&human)
	*p = session{index: i, gen: p.gen + 1, row: p.row + 1, visit: *v, since: s.now, worker: -1, moves: v.Transfers, sticky: v.Sticky}
	p.visit.Bot, p.visit.Human = bot, human
	s.count++
	p.id = name(s.count)
	s.recent[s.count%len(s.recent)] = v.Accept
	s.sessions[p.id] = i
	p.queue = v.Queue
	if p.queue == "" {
		p.queue = s.cfg.DefaultQueue
	}
	s.measures.arrived(s.now)
	if s.cfg.Levels.Len() > 0 {
		p.conv = level.New(s.cfg.Levels)
	}
	s.event(p, "session.opened", "channel", v.Channel, "shop", v.Shop)
	s.says(p, wire.OriginCustomer, v.Customer)
	p.open = true
	s.inRow(p, asks, p.visit.Human.asks(0)) // unless a bot takes him, to whom he says less
	s.enqueue(p)
	s.draw()
}

// enqueue lets the session wait, under the next ticket.
func (s *Sim) enqueue(p *session) {
	p.gen++
	p.state, p.worker, p.bot = waits, -1, false
	p.ticket++
	s.event(p, "session.queued", "queue", p.queue, "", "")
	t := s.task(p)
	s.core.Offer(&t, s.now, &s.out)
	if p.wants == 0 {
		p.wants = s.now
	}
	p.asked, p.told, p.lined = 0, 0, s.now
	s.measures.line(s, p, 1)
	if p.visit.Patience > 0 {
		s.at(s.now+p.visit.Patience, leaves, p.index, p.gen)
	}
}

// task is the session's word to the pool.
func (s *Sim) task(p *session) broker.Task {
	t := broker.Task{
		Session: p.id, Ticket: p.ticket, Queue: p.queue, EnqueuedAt: p.since, Priority: p.visit.Priority, Sticky: p.sticky,
		HumansOnly: p.human, Requeue: p.again, Handed: p.handed, Classified: p.known, Attributes: p.visit.Attributes, BoostMS: p.boost, Version: p.version,
	}
	if p.exclude != "" {
		t.Exclude, t.Sticky = []string{p.exclude}, ""
	}
	return t
}

// granted makes the pool's word durable, or refuses it.
func (s *Sim) granted(e *broker.Effect) {
	p := s.find(e.Session)
	switch {
	case p == nil:
		s.core.Refuse(e.Session, e.Ticket, e.Worker, s.now, &s.out)
	case p.state == with && p.ticket == e.Ticket: // the pool asks again
		s.core.Confirm(p.id, e.Ticket, e.Worker, e.Lease, p.ae, s.now, &s.out)
	case p.state == waits && p.ticket == e.Ticket:
		w := s.byID[e.Worker]
		p.state, p.worker, p.bot = with, w, e.Origin == wire.OriginBot
		p.sticky, p.exclude = e.Worker, ""
		p.gen++
		p.ae++
		s.measures.line(s, p, -1)
		ticket, worker, lease := e.Ticket, e.Worker, e.Lease
		s.core.Confirm(p.id, ticket, worker, lease, p.ae, s.now, &s.out)
		s.assigned(p)
	default:
		s.core.Refuse(e.Session, e.Ticket, e.Worker, s.now, &s.out)
	}
}

// assigned lets whoever has it now work on it.
func (s *Sim) assigned(p *session) {
	w := &s.workers[p.worker]
	kind := string(wire.OriginHuman)
	if p.bot {
		kind = string(wire.OriginBot)
		p.turn, p.wants = 0, 0
		if p.open && len(p.visit.Bot.Turns) > 0 {
			s.inRow(p, asks, p.visit.Bot.asks(0))
		}
	} else {
		if !p.everHad {
			p.turn = 0
		}
		p.everHad = true
		p.waited = s.now - p.wants
		s.measures.assigned++
	}
	s.event(p, "session.assigned", "kind", kind, "id", w.agent.ID)
	s.loaded(w, 1)
	s.proceed(p)
}

// proceed plans what who has the session does next.
func (s *Sim) proceed(p *session) {
	t := p.talk()
	switch {
	case p.open && p.turn < len(t.Turns):
		s.at(s.now+t.Turns[p.turn].Reply, replies, p.index, p.gen)
	case p.bot && !p.visit.Alone && t.Tail > 0:
		s.at(s.now+t.Tail, hands, p.index, p.gen)
	case p.bot && !p.visit.Alone:
		s.handOver(p)
	case p.turn < len(t.Turns) && p.turn > 0:
		s.at(s.now+t.Turns[p.turn-1].Think, speaks, p.index, p.gen)
	default:
		s.at(s.now+t.Tail, ends, p.index, p.gen)
	}
}

// inRow plans messages that follow each other, or nothing: what was planned so is not said any more.
func (s *Sim) inRow(p *session, what happening, pauses []int64) {
	p.row++
	p.pauses = pauses
	if len(pauses) > 0 {
		s.at(s.now+pauses[0], what, p.index, p.row)
	}
}

// oneMore says the next message of a row.
func (s *Sim) oneMore(p *session, what happening) {
	switch {
	case what == asks:
		s.says(p, wire.OriginCustomer, p.visit.Customer)
	case p.bot:
		s.says(p, wire.OriginBot, s.workers[p.worker].agent.ID)
	default:
		s.says(p, wire.OriginHuman, s.workers[p.worker].agent.ID)
	}
	s.inRow(p, what, p.pauses[1:])
}

// live does what is due for a session.
func (s *Sim) live(p *session, what happening) {
	switch what {
	case asks:
		s.oneMore(p, what)
	case replies, ends, hands, adds:
		switch {
		case !s.workers[p.worker].on:
			gen := p.gen
			if what == adds {
				gen = p.row
			}
			s.at(s.now+1000, what, p.index, gen) // he cannot: he is gone, and may be back
		case what == replies:
			s.reply(p)
		case what == hands:
			s.handOver(p)
		case what == adds:
			s.oneMore(p, what)
		default:
			s.end(p)
		}
	case speaks:
		s.says(p, wire.OriginCustomer, p.visit.Customer)
		p.open = true
		t, turn := p.talk(), p.turn
		if p.bot && turn == len(t.Turns) { // what the bot cannot answer a person will
			t, turn = &p.visit.Human, 0
		}
		s.inRow(p, asks, t.asks(turn))
		s.proceed(p)
	case classifies:
		s.classified(p)
	case leaves:
		s.measures.note(s, p, left)
		s.measures.line(s, p, -1)
		s.core.Withdraw(p.id, p.ticket, s.now, &s.out)
		s.close(p, "customer")
	case ticks:
		s.tick(p)
	}
}

// reply lets the owner answer.
func (s *Sim) reply(p *session) {
	w := &s.workers[p.worker]
	t := p.talk()
	p.open = false
	s.inRow(p, adds, t.adds(p.turn))
	p.turn++
	if p.bot {
		s.says(p, wire.OriginBot, w.agent.ID)
		switch {
		case p.turn < len(t.Turns):
			s.at(s.now+t.Turns[p.turn-1].Think, speaks, p.index, p.gen)
		case p.visit.Alone:
			s.at(s.now+t.Tail, ends, p.index, p.gen)
		default: // what he says next the bot cannot answer
			s.at(s.now+t.Turns[p.turn-1].Think, speaks, p.index, p.gen)
		}
		return
	}
	s.says(p, wire.OriginHuman, w.agent.ID)
	s.answer(p)
	if p.moves > 0 {
		p.moves--
		s.transfer(p, p.visit.To)
		return
	}
	if p.turn < len(t.Turns) {
		s.at(s.now+t.Turns[p.turn-1].Think, speaks, p.index, p.gen)
		return
	}
	s.at(s.now+t.Tail, ends, p.index, p.gen)
}

// answer notes the first word of a person since the customer wanted one.
func (s *Sim) answer(p *session) {
	if p.wants > 0 {
		s.measures.note(s, p, answered)
		p.wants = 0
	}
}

// handOver sends the session from a bot to people.
func (s *Sim) handOver(p *session) {
	s.measures.handed++
	s.transfer(p, "")
}

// transfer gives the session to whoever in the queue has time.
func (s *Sim) transfer(p *session, queue string) {
	s.event(p, "session.transferred", "queue", queue, "from", s.workers[p.worker].agent.ID)
	s.measures.transfers++
	p.exclude, p.again, p.handed, p.known = s.workers[p.worker].agent.ID, true, true, false
	p.human = p.human || p.bot
	if queue != "" && queue != p.queue { // in another queue the bots have their turn
		p.queue, p.human = queue, false
		p.visit.Attributes = p.visit.Attributes.With("queue", selector.StringOf(queue))
	}
	if !p.open { // the next one says that he is there
		p.open = true
		s.inRow(p, adds, nil)
		if !p.bot && p.turn >= len(p.visit.Human.Turns) {
			p.turn = len(p.visit.Human.Turns) - 1
		}
	}
	s.giveBack(p, 0)
	s.enqueue(p)
}

// giveBack ends the assignment.
func (s *Sim) giveBack(p *session, wrapUp int64) {
	w := p.worker
	s.loaded(&s.workers[w], -1)
	p.worker = -1
	s.core.Release(p.id, p.ae, wrapUp, false, s.now, &s.out)
	s.leaving(w)
}

// lost takes the session from somebody who does not come back.
func (s *Sim) lost(e *broker.Effect) {
	p := s.find(e.Session)
	if p == nil || p.state != with || p.ae != e.AE {
		s.core.Release(e.Session, e.AE, 0, false, s.now, &s.out)
		return
	}
	s.event(p, "worker.lost", "worker", e.Worker, "", "")
	s.measures.lost++
	s.loaded(&s.workers[p.worker], -1)
	p.again, p.handed, p.exclude = true, false, ""
	p.visit.Attributes = p.visit.Attributes.With("last_worker", selector.StringOf(p.sticky))
	if !p.open {
		p.open = true
		s.inRow(p, adds, nil)
	}
	if !p.bot {
		p.turn = max(min(p.turn, len(p.visit.Human.Turns)-1), 0)
	}
	p.gen++
	s.core.Release(p.id, p.ae, 0, false, s.now, &s.out)
	s.enqueue(p)
}

// end closes a session that somebody has dealt with.
func (s *Sim) end(p *session) {
	if p.bot {
		s.measures.alone++
	} else {
		s.answer(p)
		s.measures.served++
	}
	wrapUp := int64(0)
	if !p.bot {
		wrapUp = p.visit.WrapUp
	}
	s.giveBack(p, wrapUp)
	s.close(p, "worker")
}

// close forgets the session.
func (s *Sim) close(p *session, by string) {
	s.event(p, "session.closed", "by", by, "", "")
	s.measures.integrate(s.now)
	delete(s.sessions, p.id)
	p.gen++
	p.row++
	p.state, p.conv = nowhere, nil
	s.free = append(s.free, p.index)
}

// resorted offers the customer what the route has at its end.
func (s *Sim) resorted(e *broker.Effect) {
	s.core.Resorted(e.Session, e.Ticket, s.now, &s.out)
	p := s.find(e.Session)
	if p == nil || p.state != waits || p.ticket != e.Ticket {
		return
	}
	s.measures.offeredResort++
	if p.visit.Resort {
		s.measures.note(s, p, resorted)
		s.measures.line(s, p, -1)
		s.core.Withdraw(p.id, p.ticket, s.now, &s.out)
		s.close(p, "customer")
	}
}

// questioned lets a bot say what the session is about, after the time of an answer.
func (s *Sim) questioned(e *broker.Effect) {
	p := s.find(e.Session)
	if p == nil || p.state != waits || p.ticket != e.Ticket {
		return
	}
	after := int64(0)
	if t := p.visit.Bot.Turns; len(t) > 0 {
		after = t[0].Reply
	}
	s.at(s.now+after, classifies, p.index, p.gen)
}

// unanswered goes on with what stands in for what nobody has said.
func (s *Sim) unanswered(e *broker.Effect) {
	p := s.find(e.Session)
	if p == nil || p.state != waits || p.ticket != e.Ticket || p.known {
		return
	}
	if standIn, err := selector.ParseAttrs(e.Default); err == nil {
		for _, a := range standIn {
			if p.visit.Attributes.Get(a.Name).Kind() == selector.None {
				p.visit.Attributes = p.visit.Attributes.With(a.Name, a.Value)
			}
		}
	}
	s.classified(p)
}

// classified tells the pool that there is nothing more to ask.
func (s *Sim) classified(p *session) {
	if p.known || p.state != waits {
		return
	}
	p.known = true
	p.ticket++
	t := s.task(p)
	s.core.Offer(&t, s.now, &s.out)
}

// rejected counts a customer for whom nobody will be found.
func (s *Sim) rejected(e *broker.Effect) {
	p := s.find(e.Session)
	if p == nil || p.state != waits || p.ticket != e.Ticket {
		return
	}
	s.measures.rejected++
	s.measures.line(s, p, -1)
	s.close(p, "system")
}

// placed tells a customer his place.
func (s *Sim) placed(e *broker.Effect) {
	if p := s.find(e.Session); p != nil && p.state == waits && p.ticket == e.Ticket {
		p.told++
		s.measures.told++
	}
}
