package session

import (
	"reflect"
	"testing"
	"unsafe"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

var (
	policy    = &Policy{ReopenWindowMS: 24 * 3600 * 1000, MaxAttempts: 5, MaxBody: 32 << 10, Queues: map[string]bool{"default": true}, DefaultQueue: "default"}
	aliceConn = wire.Conn{Node: 1, ID: 1}
	botConn   = wire.Conn{Node: 1, ID: 2}
	body      = []byte(`{"text":"hi"}`)
)

// conversation is a session between alice and a bot, both connected.
func conversation(tb testing.TB) (*State, *Env, *Decision) {
	tb.Helper()
	env, d := &Env{Now: 1000, Policy: policy}, &Decision{}
	s := Create(env, &Birth{ID: wire.NewSessionID(0, 1, 1), Tenant: "demo", Queue: "default", Channel: "web", Customer: principal("alice").Author(), Epoch: 1}, d)
	Decide(s, env, &wire.Command{Verb: wire.VerbOpen, ID: 1, Conn: aliceConn, Who: principal("alice"), PB: &wirepb.ClientFrame{}}, d)
	Decide(s, env, &wire.Command{Verb: wire.VerbSend, ID: 2, Conn: aliceConn, Who: principal("alice"), Body: body}, d)
	s.Grant(env, &wire.Grant{Session: s.ID, Ticket: s.Ticket, Pool: 1, Worker: "bot", Sub: "bot", Kind: wire.OriginBot, Conn: botConn, Lease: "l", Window: 16}, d)
	return s, env, d
}

// numbered returns a key that differs every time, without an allocation.
type numbered struct{ b [8]byte }

func (n *numbered) next() {
	for i := len(n.b) - 1; i >= 0; i-- {
		if n.b[i]++; n.b[i] <= 'z' {
			return
		}
		n.b[i] = 'a'
	}
}

func newNumbered() *numbered { return &numbered{[8]byte{'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a'}} }

// talk returns what a customer and its bot do all day. The commands are made once: what is measured is deciding.
func talk(tb testing.TB) (s *State, say, answer, ack func()) {
	s, env, d := conversation(tb)
	send := &wire.Command{Verb: wire.VerbSend, ID: 3, Conn: aliceConn, Who: principal("alice"), Type: "text", Body: body}
	reply := &wire.Command{Verb: wire.VerbReply, ID: 4, Conn: botConn, Who: principal("bot"), AE: s.AE, Type: "text", Body: body}
	plain := &wire.Command{Verb: wire.VerbAck, Conn: botConn, Who: principal("bot"), AE: s.AE}
	must := func(before uint64) {
		if s.Head == before {
			tb.Fatal("nothing was written")
		}
	}
	say = func() {
		d.Reset()
		head := s.Head
		Decide(s, env, send, d)
		must(head)
	}
	answer = func() {
		d.Reset()
		head := s.Head
		reply.Ack = wire.Some(s.Said)
		Decide(s, env, reply, d)
		must(head)
	}
	ack = func() {
		d.Reset()
		plain.Seq = s.Said
		Decide(s, env, plain, d)
	}
	return s, say, answer, ack
}

// The daily bread: the entry. A key costs nothing: its words are copied to where those of others stand. Frames come 32 at a time.
func TestAllocations(t *testing.T) {
	f := func(name string, limit float64, do func()) {
		t.Helper()
		for range 200 {
			do() // memory grows to its bounds
		}
		if n := testing.AllocsPerRun(2000, do); n > limit {
			t.Errorf("%s: %v allocations; want at most %v", name, n, limit)
		} else {
			t.Logf("%s: %v allocations", name, n)
		}
	}
	_, say, answer, ack := talk(t)
	f("send and plain ack", 1, func() { say(); ack() })
	f("send and reply that acks", 3, func() { say(); answer() })

	s, env, d := conversation(t)
	key := newNumbered()
	send := &wire.Command{Verb: wire.VerbSend, ID: 3, Conn: aliceConn, Who: principal("alice"), Type: "text", Body: body}
	f("making a key", 1, func() { key.next(); send.Key = string(key.b[:]) })
	f("send with that key", 2, func() {
		d.Reset()
		key.next()
		send.Key = string(key.b[:]) // the frame's, one of the two
		Decide(s, env, send, d)
		s.acked(s.Head)
		s.trim()
	})
}

// A fact is written, applied and cleared for each message and for its key and its ack, so it stays small; and its place is empty when the
// next one is made there.
func TestFactsAreSmallAndEmptied(t *testing.T) {
	if n := unsafe.Sizeof(Fact{}); n > 160 {
		t.Errorf("a fact has %d bytes; want at most 160", n)
	}
	s, env, d := conversation(t)
	Decide(s, env, &wire.Command{Verb: wire.VerbReply, ID: 3, Conn: botConn, Who: principal("bot"), AE: s.AE, Type: "text", Body: body, Ack: wire.Some(s.Said)}, d)
	Decide(s, env, &wire.Command{Verb: wire.VerbClose, ID: 4, Conn: aliceConn, Who: principal("alice"), Key: "k", PB: &wirepb.ClientFrame{}}, d)
	if len(d.Facts) < 5 {
		t.Fatalf("%d facts", len(d.Facts))
	}
	d.Reset()
	for i, f := range d.Facts[:cap(d.Facts)] {
		if !reflect.ValueOf(f).IsZero() {
			t.Errorf("place %d holds a fact of kind %d after Reset", i, f.Kind)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	_, say, _, ack := talk(b)
	b.ReportAllocs()
	for b.Loop() {
		say()
		ack()
	}
}

func BenchmarkSendAndReply(b *testing.B) {
	_, say, answer, _ := talk(b)
	b.ReportAllocs()
	for b.Loop() {
		say()
		answer()
	}
}

// What a busy node does: thousands of sessions have their turn one after another, each of which has a past, with keys, so that little of it
// is in the processor's caches when its turn comes.
func BenchmarkMany(b *testing.B) {
	const many, past = 2000, 300
	type pair struct{ say, answer func() }
	all := make([]pair, many)
	for i := range all {
		s, env, d := conversation(b)
		key := newNumbered()
		send := &wire.Command{Verb: wire.VerbSend, ID: 3, Conn: aliceConn, Who: principal("alice"), Type: "text", Body: body}
		reply := &wire.Command{Verb: wire.VerbReply, ID: 4, Conn: botConn, Who: principal("bot"), AE: s.AE, Type: "text", Body: body}
		all[i] = pair{
			say: func() {
				d.Reset()
				key.next()
				send.Key = string(key.b[:])
				Decide(s, env, send, d)
			},
			answer: func() {
				d.Reset()
				reply.Ack = wire.Some(s.Said)
				Decide(s, env, reply, d)
			},
		}
		for range past {
			all[i].say()
			all[i].answer()
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p := &all[i%many]
		p.say()
		p.answer()
		i++
	}
}

func BenchmarkRow(b *testing.B) {
	s, _, _ := conversation(b)
	var row []byte
	b.ReportAllocs()
	for b.Loop() {
		row = AppendState(row[:0], s)
	}
	b.ReportMetric(float64(len(row)), "bytes/row")
}
