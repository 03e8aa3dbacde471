package session

import (
	"slices"
	"testing"

	"switchboard/wire"
)

// An edge that missed the first delivery behind a binding does not know where the deliveries went on: it asks for all, and nothing comes that was
// acknowledged [SW-5.4].
func TestResyncFromTheBeginning(t *testing.T) {
	s, env, d := conversation(t)
	say := &wire.Command{Verb: wire.VerbSend, ID: 3, Conn: aliceConn, Who: principal("alice"), Type: "text", Body: body}
	for range 3 {
		Decide(s, env, say, d)
	}
	done := s.Said
	Decide(s, env, &wire.Command{Verb: wire.VerbAck, Conn: botConn, Who: principal("bot"), AE: s.AE, Seq: done}, d)
	if s.Cursor != done {
		t.Fatalf("acknowledged up to %d; want %d", s.Cursor, done)
	}
	s.Rebind(env, &wire.Rebind{Session: s.ID, Worker: "bot", AE: s.AE, Pool: s.Pool, Conn: botConn, Lease: "l", Window: 16}, d)
	for range 2 {
		Decide(s, env, say, d)
	}
	d.Reset()
	Decide(s, env, &wire.Command{Verb: wire.VerbResync, Conn: botConn, Who: principal("bot"), AE: s.AE, Seq: 1}, d)
	var got []uint64
	for i := range d.Mail {
		if f, ok := d.Mail[i].Mail.(*wire.Frame); ok && f.Kind == wire.FrameDelivery {
			got = append(got, f.Entry.Seq)
		}
	}
	if len(got) != 2 || got[0] != done+1 || got[1] != done+2 {
		t.Fatalf("%v came again; %d is acknowledged, the last is %d", got, done, s.Head)
	}
}

// An edge that gets deliveries of an assignment and knows nothing of it asks without saying from where: the assignment is told once more, and what is not
// acknowledged is delivered behind it. Nobody else is told, and nothing of an assignment before [SW-5.4].
func TestToldAgain(t *testing.T) {
	s, env, d := conversation(t)
	say := &wire.Command{Verb: wire.VerbSend, ID: 3, Conn: aliceConn, Who: principal("alice"), Type: "text", Body: body}
	for range 3 {
		Decide(s, env, say, d)
	}
	Decide(s, env, &wire.Command{Verb: wire.VerbAck, Conn: botConn, Who: principal("bot"), AE: s.AE, Seq: s.Said - 1}, d)
	for _, x := range []struct {
		name string
		conn wire.Conn
		ae   uint64
		want []wire.FrameKind
	}{
		{"its own", botConn, s.AE, []wire.FrameKind{wire.FrameAssigned, wire.FrameDelivery}},
		{"another connection", aliceConn, s.AE, nil},
		{"an assignment before", botConn, s.AE - 1, nil},
	} {
		d.Reset()
		Decide(s, env, &wire.Command{Verb: wire.VerbResync, Conn: x.conn, Who: principal("bot"), AE: x.ae}, d)
		var got []wire.FrameKind
		for i := range d.Mail {
			f := d.Mail[i].Mail.(*wire.Frame)
			got = append(got, f.Kind)
			if f.AE != s.AE || f.Kind == wire.FrameDelivery && f.Entry.Seq != s.Said {
				t.Errorf("%s: there came %+v", x.name, f)
			}
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: there came %v; want %v", x.name, got, x.want)
		}
	}
}
