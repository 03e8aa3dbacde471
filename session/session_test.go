package session

import (
	"testing"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

var policy = &Policy{ReopenWindowMS: 24 * 3600 * 1000, MaxAttempts: 5, MaxBody: 32 << 10, Queues: map[string]bool{"default": true}, DefaultQueue: "default"}

func assignedSession(tb testing.TB) (*State, *Env, *Decision) {
	tb.Helper()
	env := &Env{Now: 1000, Policy: policy}
	d := &Decision{}
	s := Create(env, &Birth{ID: wire.NewSessionID(0, 1, 1), Tenant: "demo", Queue: "default", Channel: "web", Customer: wire.Author{Role: wire.RoleCustomer, ID: "alice"}, Epoch: 1}, d)
	Decide(s, env, &wire.Command{Verb: wire.VerbOpen, ID: 1, Conn: aliceConn, Who: alice, PB: &wirepb.ClientFrame{}}, d)
	Decide(s, env, send("k0"), d)
	s.Grant(env, &wire.Grant{Session: s.ID, Ticket: s.Ticket, Pool: 1, Worker: "bot", Sub: "bot", Kind: wire.OriginBot, Conn: botConn, Lease: "l", Window: 16}, d)
	return s, env, d
}

var (
	alice     = &wire.Principal{Tenant: "demo", Role: wire.RoleCustomer, Sub: "alice"}
	bot       = &wire.Principal{Tenant: "demo", Role: wire.RoleWorker, Sub: "bot", Worker: "bot", Kind: wire.OriginBot}
	aliceConn = wire.Conn{Node: 1, ID: 1}
	botConn   = wire.Conn{Node: 1, ID: 2}
)

func send(key string) *wire.Command {
	return &wire.Command{Verb: wire.VerbSend, ID: 2, Conn: aliceConn, Who: alice, Key: key, Type: "text", Body: []byte(`{"text":"hi"}`)}
}

// A message of a customer and the owner's reply with its ack: the broker's daily bread.
func TestMessageAllocations(t *testing.T) {
	s, env, d := assignedSession(t)
	n := testing.AllocsPerRun(1000, func() {
		d.Reset()
		Decide(s, env, send2, d)
		Decide(s, env, &wire.Command{Verb: wire.VerbReply, ID: 3, Conn: botConn, Who: bot, AE: s.AE, Ack: wire.Some(s.Head), Key: "", Body: send2.Body}, d)
	})
	t.Logf("%v allocations for a send and a reply", n)
	if n > 7 {
		t.Fatalf("%v allocations for a send and a reply", n)
	}
}

var send2 = send("")

func BenchmarkSend(b *testing.B) {
	s, env, d := assignedSession(b)
	b.ReportAllocs()
	for b.Loop() {
		d.Reset()
		Decide(s, env, send2, d)
		s.acked(s.Head)
		s.trim()
	}
}

func BenchmarkRow(b *testing.B) {
	s, _, _ := assignedSession(b)
	var row []byte
	b.ReportAllocs()
	for b.Loop() {
		row = AppendState(row[:0], s)
	}
	b.SetBytes(int64(len(row)))
}

func TestRowRoundTrip(t *testing.T) {
	s, _, _ := assignedSession(t)
	row := AppendState(nil, s)
	var got State
	if err := ParseState(row, &got); err != nil {
		t.Fatal(err)
	}
	if again := AppendState(nil, &got); string(again) != string(row) {
		t.Fatalf("row changed:\n%x\n%x", row, again)
	}
	for i := range row {
		var junk State
		_ = ParseState(row[:i], &junk) // must not panic
	}
}
