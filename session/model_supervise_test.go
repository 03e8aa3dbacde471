package session

import (
	"math"
	"strconv"
	"strings"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// supervise lets supervisors, an operator, and sometimes somebody who may not, do what [SW-5a] has for them.
func (m *model) supervise() {
	c := m.pick("sue", "sue2", "opa")
	if m.rarely("not his business") {
		c = m.pick("alice", "eve", "bot", "bob")
	}
	cmd := &wire.Command{ID: m.id(), Key: m.key()}
	frame := func(verb wire.Verb, pb *wirepb.ClientFrame) {
		if cmd.Key != "" {
			cmd.Key = string(verb) + cmd.Key
		}
		cmd.Verb, cmd.PB = verb, pb
	}
	switch m.n("supervise", 9) {
	case 0:
		as := []string{asMonitor, asAssist, asConsult, asBarge, "king", ""}[m.n("as", 5)]
		if i := m.state().Invites; len(i) > 0 && m.one("an invited one") { // he comes
			c = m.pick(i[m.n("of them", len(i)-1)].Worker)
			as = ""
		}
		frame(wire.VerbJoin, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Join{Join: &wirepb.Join{As: as}}})
	case 1:
		frame(wire.VerbTake, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Take{Take: &wirepb.Take{}}})
	case 2, 3:
		a := &wirepb.Assign{Worker: []string{"bob", "bot", "bot2", ""}[m.n("to", 3)], Force: m.rarely("force")}
		frame(wire.VerbAssign, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Assign{Assign: a}})
	case 4, 5:
		patch := []string{`{"a":1}`, `{"a":null,"b":{"c":2}}`, `[]`, `x`, `{"big":"` + strings.Repeat("x", 5000) + `"}`}[m.n("patch", 4)]
		a := &wirepb.Attributes{IfV: m.state().AttributesV + uint64(m.n("version", 4)/4), Patch: []byte(patch)}
		frame(wire.VerbAttributes, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Attributes{Attributes: a}})
		cmd.AE = m.ae
	case 6:
		cmd.Verb, cmd.Body, cmd.GE = wire.VerbReply, m.body(), uint64(m.n("ge", int(m.state().Head)))
		if g := m.state().guestOf(c.who); g != nil && !m.rarely("another seat") {
			cmd.GE = g.GE
		}
		cmd.GE = max(cmd.GE, 1)
		cmd.Visibility = []string{"", wire.Public, wire.Staff}[m.n("visibility", 2)]
	case 8, 9:
		if m.owner != nil && m.one("the owner") {
			c = m.pick(m.owner.sub)
		}
		i := &wirepb.Invite{Worker: []string{"bob", "bot", "bot2", ""}[m.n("whom", 3)], As: []string{asAssist, asConsult, asBarge, "king"}[m.n("as", 3)]}
		frame(wire.VerbInvite, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Invite{Invite: i}})
		cmd.AE = m.ae
	case 7:
		if c.who.Role == wire.RoleWorker && m.state().guestOf(c.who) == nil {
			return // that its connection ends is the pool's word
		}
		if m.owner != nil && m.owner.conn == c.conn {
			m.owner.gone = true
		}
		m.gone(c)
		return
	}
	before := len(m.w[0].log)
	m.ask(c, cmd)
	if cmd.Verb == wire.VerbReply && len(m.w[0].log) > before {
		m.seen["guest's word"]++
		e := m.entry(uint64(before) + 1)
		if g := m.state().guestOf(c.who); g == nil || g.GE != cmd.GE || e.Visibility != wire.Staff && (g.As == asMonitor || g.As == asAssist) {
			m.t.Fatalf("%s wrote %d under ge %d and is %+v [SW-5a.1]", c.who.Sub, e.Seq, cmd.GE, g)
		}
	}
}

// supervised follows what facts say of it.
func (m *model) supervised(f *Fact) {
	switch f.Kind {
	case Joined:
		m.seen["joined"]++
		for i := range m.shadow.Guests {
			if g := &m.shadow.Guests[i]; g.GE != f.Guest.GE && g.Sub == f.Guest.Sub && g.Role == f.Guest.Role {
				m.t.Fatalf("%s has two seats", g.Sub)
			}
		}
		if w := f.Guest.Worker; w != "" {
			m.seen["invited guest"]++
			m.guests[f.Guest.GE], m.until[w] = w, math.MaxUint64
			if m.owner != nil && m.owner.worker == w {
				m.t.Fatalf("the owner %s is a guest as well", w)
			}
		}
	case Invited:
		m.seen["invited"]++
	case Left:
		m.seen["left"]++
		if w := m.guests[f.N]; w != "" {
			m.until[w] = uint64(len(m.w[0].log))
		}
	case Attributed:
		m.seen["attributes"]++
		if f.N != m.attributes+1 || len(f.Doc) > m.w[0].policy.MaxBody {
			m.t.Fatalf("version %d of the attributes, of %d bytes, follows %d", f.N, len(f.Doc), m.attributes)
		}
		m.attributes = f.N
	case Granted:
		m.pending = false // who was assigned by name has it, or the transfer has its entry
		if f.Owner.taken() {
			m.seen["taken"]++
		}
	default:
	}
}

// checkGuests holds the guests against the log: each has come, and has not gone.
func (m *model) checkGuests() {
	m.t.Helper()
	s, there := m.state(), map[string]bool{}
	for _, e := range m.w[0].log {
		switch e.Type {
		case EventJoined:
			there[strconv.FormatUint(e.Seq, 10)] = true
		case EventLeft:
			_, ge, _ := strings.Cut(string(e.Body), `"ge":`)
			ge = strings.TrimSuffix(ge, "}")
			if !there[ge] {
				m.t.Fatalf("%s left twice, or never came", ge)
			}
			delete(there, ge)
		}
	}
	for i := range s.Invites {
		if !isGuestKind(s.Invites[i].As) || len(s.Invites) > maxGuests || s.Phase == Closed {
			m.t.Fatalf("invited are %+v", s.Invites)
		}
	}
	for i := range s.Guests {
		delete(there, strconv.FormatUint(s.Guests[i].GE, 10))
	}
	if len(there) != 0 || len(s.Guests) > maxGuests {
		m.t.Fatalf("%v came and did not leave; guests are %+v [SW-5a.1]", there, s.Guests)
	}
	if s.Phase == Closed && len(s.Guests) > 0 {
		m.t.Fatal("a closed session has guests")
	}
	if s.lonely() && s.Alarm(m.now) == 0 {
		m.t.Fatal("somebody may be gone, and nobody looks [I7]")
	}
}
