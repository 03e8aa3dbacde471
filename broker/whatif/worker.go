package whatif

import (
	"fmt"
	"slices"

	"switchboard/broker"
	"switchboard/wire"
)

// worker is an agent at work, or at home.
type worker struct {
	agent  *Agent
	conn   wire.Conn
	lease  string
	due    bool // his shift is on
	on     bool // connected
	leaves bool // his shift is over, and he still has somebody
	away   bool // he missed an offer
	busy   int  // sessions that he has
	ready  bool // as the measures know him
	there  bool
	gen    uint32
}

// offer is one that a person thinks about.
type offer struct {
	id     string
	worker int32
}

// hire makes an agent known and plans his shifts.
func (s *Sim) hire(a *Agent) error {
	if _, twice := s.byID[a.ID]; twice || a.ID == "" {
		return fmt.Errorf("agent %q is unnamed, or there twice", a.ID)
	}
	if len(s.workers) == maxAgents {
		return fmt.Errorf("there are more than %d agents", maxAgents)
	}
	if n := or(s.cfg.Routes.MaxSlots, 10_000); a.Slots > n || a.Slots < 0 {
		return fmt.Errorf("agent %s has %d slots, the routes allow %d", a.ID, a.Slots, n)
	}
	i := int32(len(s.workers)) //nolint:gosec // bounded
	s.byID[a.ID] = i
	s.workers = append(s.workers, worker{agent: a})
	for _, q := range a.Queues {
		if !slices.ContainsFunc(s.cfg.Routes.Queues, func(x broker.Queue) bool { return x.Name == q }) {
			return fmt.Errorf("agent %s works in the queue %s, and there is none", a.ID, q)
		}
	}
	last := int64(-1 << 62)
	for _, x := range a.Shifts {
		if x.From < last || x.To <= x.From {
			return fmt.Errorf("the shifts of %s overlap, or end before they begin", a.ID)
		}
		last = x.To
		s.agenda.push(event{at: x.From, who: i, what: begins})
		s.agenda.push(event{at: x.To, who: i, what: goes})
	}
	return nil
}

// work does what is due for a worker.
func (s *Sim) work(e event) {
	w := &s.workers[e.who]
	switch e.what {
	case begins:
		w.gen++
		w.due = true
		if w.on { // he was about to go
			w.leaves = false
			s.presence(w, broker.Ready)
			s.duty(w)
			return
		}
		s.connect(e.who, "")
	case goes:
		w.gen++
		w.due = false
		if w.on {
			s.goHome(e.who)
		}
	case returns:
		if w.on && w.gen == e.gen {
			w.away = false
			s.presence(w, broker.Ready)
			s.duty(w)
		}
	case drops:
		s.disconnect(w)
	case reconnects:
		if !w.on {
			s.connect(e.who, w.lease)
			if !w.due { // he only ends what he has
				s.goHome(e.who)
			}
		}
	}
}

func (s *Sim) presence(w *worker, p broker.Presence) {
	w.away = p == broker.Away
	s.core.Presence(w.agent.ID, p, "", broker.Ref{Conn: w.conn}, s.now, &s.out)
}

// connect lets a worker subscribe, with the lease that he had, if any.
func (s *Sim) connect(i int32, lease string) {
	w := &s.workers[i]
	a := w.agent
	s.conns++
	s.leases++
	w.conn, w.on, w.leaves, w.away = wire.Conn{Node: 1, ID: s.conns}, true, false, false
	kind := wire.OriginHuman
	if a.Bot {
		kind = wire.OriginBot
	}
	s.core.Subscribe(&broker.Subscription{
		ID: a.ID, Sub: a.ID, Name: a.ID, Kind: kind, Queues: a.Queues, Allowed: []string{"*"}, All: len(a.Queues) == 0, Slots: a.Slots,
		Skills: a.Skills, Attributes: a.Attributes, Rating: a.Rating, Conn: w.conn, Lease: lease, NewLease: fmt.Sprintf("l%d", s.leases),
	}, s.now, &s.out)
	s.duty(w)
}

func (s *Sim) disconnect(w *worker) {
	if w.on {
		w.on, w.leaves = false, false
		s.core.ConnLost(w.conn, s.now, &s.out)
		s.duty(w)
	}
}

// goHome lets a worker end what he has, and take nothing new.
func (s *Sim) goHome(i int32) {
	w := &s.workers[i]
	w.leaves = true
	s.presence(w, broker.Draining)
	s.duty(w)
	s.leaving(i)
}

// leaving sends a worker home whose shift is over and who has nobody left.
func (s *Sim) leaving(i int32) {
	if w := &s.workers[i]; w.leaves && w.busy == 0 {
		s.disconnect(w)
		w.lease = ""
	}
}

// Drop cuts an agent's connection now; after a time he is back with what he had, as a program that starts again within its grace.
// It is for hooks. An agent who is not there stays so.
func (s *Sim) Drop(agent string, back int64) {
	i, ok := s.byID[agent]
	if !ok || !s.workers[i].on {
		return
	}
	s.disconnect(&s.workers[i])
	s.at(s.now+back, reconnects, i, 0)
}

// asked lets a person think about an offer.
func (s *Sim) asked(e *broker.Effect) {
	p, w := s.find(e.Session), s.byID[e.Worker]
	s.measures.offers++
	if p == nil {
		return
	}
	if p.asked == 0 {
		p.asked = s.now
	}
	after := p.visit.Accept
	if p.offers > 0 { // another one, who takes the time that others took: a slow visit does not make everybody slow
		after = s.recent[(s.count+7*p.offers)%len(s.recent)]
	}
	p.offers++
	if p.visit.Miss {
		p.visit.Miss = false // the next one looks
		return               // he looks elsewhere: it will expire
	}
	var i int32
	if n := len(s.freeOff); n > 0 {
		i, s.freeOff = s.freeOff[n-1], s.freeOff[:n-1]
	} else {
		i = int32(len(s.offers)) //nolint:gosec // bounded by memory long before
		s.offers = append(s.offers, offer{})
	}
	s.offers[i] = offer{e.Offer, w}
	s.at(s.now+after, accepts, i, 0)
}

// accept takes an offer; when it is gone by now, nothing comes of it.
func (s *Sim) accept(i int32) {
	o := s.offers[i]
	s.offers[i] = offer{}
	s.freeOff = append(s.freeOff, i)
	if w := &s.workers[o.worker]; w.on {
		s.core.Accept(o.id, w.agent.ID, broker.Ref{Conn: w.conn}, s.now, &s.out)
	}
}

// missed brings somebody back whom the pool has set away.
func (s *Sim) missed(e *broker.Effect) {
	if e.State != broker.Away {
		return
	}
	i := s.byID[e.Worker]
	w := &s.workers[i]
	s.measures.missed++
	if w.leaves {
		s.presence(w, broker.Draining)
		return
	}
	w.away = true
	s.duty(w)
	s.at(s.now+s.cfg.AwayMS, returns, i, w.gen)
}

// duty notes whether a worker is there and takes new sessions, after that may have changed.
func (s *Sim) duty(w *worker) {
	if w.agent.Bot {
		return
	}
	m := &s.measures
	m.integrate(s.now)
	note := func(is bool, was *bool, sum *int, by int) {
		switch {
		case is && !*was:
			*sum += by
		case !is && *was:
			*sum -= by
		}
		*was = is
	}
	note(w.on && !w.leaves && !w.away, &w.ready, &m.agents, 1)
	note(w.on, &w.there, &m.slots, max(w.agent.Slots, 1))
}

// loaded notes that a worker has one session more, or one fewer.
func (s *Sim) loaded(w *worker, by int) {
	m := &s.measures
	m.integrate(s.now)
	w.busy += by
	if w.agent.Bot {
		m.bots += by
	} else {
		m.busy += by
	}
}
