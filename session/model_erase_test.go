package session

import (
	"bytes"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// erase ends the model: wherever its session stands, its customer is forgotten [I14]. Nothing of him or of what was said is left in the row or shown to
// anybody, what was counted is as before, the pool has its room back, and nobody ever writes into it again.
func (m *model) erase() {
	m.t.Helper()
	before := *m.state()
	clear(m.streams)
	facts, mail := m.step(func(w *world) { w.s.Erase(&w.env, "e_mark", &w.d) })
	s := m.state()
	told := false
	for _, e := range mail {
		switch r := e.Mail.(type) {
		case *wire.Release:
			told = told || r.AE == before.AE
		case *wire.Withdraw:
			told = told || r.Ticket == before.Ticket
		}
	}
	if before.Phase == Queued && !told || before.Phase == Assigned && before.Owner.Role == "" && !told {
		m.t.Fatalf("a session that was %s is erased, and its pool is not told", before.Phase)
	}
	m.same()
	m.roundTrip(s)
	m.clean()
	said, last := uint64(0), ""
	for i := range facts {
		if facts[i].Kind == Said {
			said++
			last = facts[i].Entry.Type
		}
	}
	if last != EventErased {
		m.t.Fatalf("the last entry of an erased session is %q [SW-7.11]", last)
	}
	if s.Phase != Closed || s.Head != before.Head+said || s.AE != before.AE || s.Said != before.Said || s.Ticket < before.Ticket || len(s.Guests)+len(s.Invites) > 0 {
		m.t.Fatalf("%+v\nwas erased to\n%+v", before, *s)
	}
	id, head := m.w[0].id, s.Head
	row := AppendState(nil, s)
	for _, c := range m.clients {
		for _, cmd := range []*wire.Command{
			{Verb: wire.VerbSend, Body: text("again")},
			{Verb: wire.VerbReply, AE: s.AE, Body: text("again")},
			{Verb: wire.VerbClose, AE: s.AE},
			{Verb: wire.VerbOpen, PB: openFrame(&wirepb.Open{Session: string(id)})},
			{Verb: wire.VerbTake},
			{Verb: wire.VerbNack, AE: s.AE, Seq: 1},
			{Verb: wire.VerbAttributes, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Attributes{Attributes: &wirepb.Attributes{Patch: []byte(`{"x":1}`)}}}},
			{Verb: wire.VerbContext, AE: s.AE, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Context{Context: &wirepb.Context{Patch: []byte(`{"x":1}`)}}}},
			{Verb: wire.VerbRate, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Rate{Rate: &wirepb.Rate{Score: 1}}}},
			{Verb: wire.VerbTyping, On: true},
			{Verb: wire.VerbDelta, AE: s.AE, Stream: "m1", Text: "x"},
			{Verb: wire.VerbHistory},
		} {
			cmd.ID, cmd.Conn, cmd.Who, cmd.Session = 1, c.conn, c.who, id
			facts, mail := m.step(func(w *world) { Decide(w.s, &w.env, cmd, &w.d) })
			if len(facts) > 0 || s.Head != head || !bytes.Equal(row, AppendState(nil, s)) {
				m.t.Fatalf("%s of %s did something to an erased session: %v", cmd.Verb, c.who.Sub, facts)
			}
			refused := false
			for _, e := range mail {
				f, ok := e.Mail.(*wire.Frame)
				if ok && f.Kind == wire.FrameError {
					refused = f.Err.Slug == wire.NoSession || !frontend(c.who.Role) && f.Err.Slug == wire.SessionClosed
				}
				if ok && f.PB != nil && f.PB.GetOpen() != nil {
					refused = false
				}
			}
			if want := frontend(c.who.Role) || !reads(cmd.Verb); want && !refused {
				m.t.Fatalf("%s of %s was not refused: %d mails", cmd.Verb, c.who.Sub, len(mail))
			}
		}
		for len(m.w[0].loads) > 0 { // histories of those who may still read, and what its owner was about to be delivered
			l := m.w[0].loads[0]
			if l.Kind != LoadPage { // what its owner was still to be given: he is the owner no more
				m.load(false)
				continue
			}
			_, mail := m.step(func(w *world) {
				l := w.loads[0]
				w.loads = w.loads[1:]
				list, more := w.read(&l)
				if l.Kind == LoadBack {
					w.s.Back(&w.env, list, &w.d)
					return
				}
				w.s.Page(&l, list, w.prev(&l, list), more, &w.d)
			})
			for _, e := range mail {
				for _, x := range e.Mail.(*wire.Frame).PB.GetHistory().GetEntries() {
					if x.Kind == wire.KindMessage && (len(x.Body) > 0 || x.Type != TypeErased || x.Stream != "" || x.From.GetName() != "") {
						m.t.Fatalf("%s is shown %v", l.Command.Who.Sub, x)
					}
				}
			}
		}
	}
	if facts, mail := m.step(func(w *world) { w.s.Erase(&w.env, "e_other", &w.d) }); len(facts)+len(mail) > 0 {
		m.t.Fatal("it was erased twice")
	}
	m.seen["erased"]++
}

// clean looks for anything of the customer in the rows, as they are, and as they are made for rows that nobody serves.
func (m *model) clean() {
	m.t.Helper()
	s := m.state()
	rows := [][]byte{AppendState(nil, s)}
	other, err := BlankState(nil, m.before, s.ErasedAt, "e_mark")
	if err != nil {
		m.t.Fatal(err)
	}
	rows = append(rows, other)
	for _, e := range m.w[0].log {
		row, err := BlankRow(nil, s.ID, wire.AppendEntry(AppendMarks(nil, s.Marks(), &Key{N: 1, Key: "alice"}), e))
		if err != nil {
			m.t.Fatal(err)
		}
		again, err := BlankRow(nil, s.ID, row)
		if err != nil || !bytes.Equal(row, again) {
			m.t.Fatalf("an entry that was rewritten is rewritten to something else: %v", err)
		}
		rows = append(rows, row)
	}
	for _, e := range s.Tail() {
		rows = append(rows, wire.AppendEntry(nil, e))
	}
	for _, row := range rows {
		for _, word := range []string{"alice", `"text"`} {
			if bytes.Contains(row, []byte(word)) {
				m.t.Fatalf("%q is left in %q", word, row)
			}
		}
	}
}
