package shard

import (
	"fmt"
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// Whoever has asked for a worker who is not there is told once when he comes, without asking again, and nobody else is.
func TestSoughtIsToldWhenHeComes(t *testing.T) {
	s := &Shard{}
	p := &pool{tenant: "demo", core: broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})}
	s.pools = map[string]*pool{"demo": p}
	p.core.Open(1, []uint32{0}, 0, &p.out)
	p.out.Reset() // the census is asked for
	told := func(what string, want ...wire.Found) {
		t.Helper()
		if len(s.said.Mail) != len(want) {
			t.Fatalf("%s: %d are told; want %d", what, len(s.said.Mail), len(want))
		}
		for i := range want {
			if got, ok := s.said.Mail[i].Mail.(*wire.Found); !ok || *got != want[i] {
				t.Fatalf("%s: %+v; want %+v", what, s.said.Mail[i].Mail, want[i])
			}
		}
		s.said.Mail = nil
	}
	const one, two, three = "s_0001000000000001", "s_0001000000000002", "s_0001000000000003"
	here := wire.Conn{Node: 1, ID: 5}
	come := func() {
		p.core.Subscribe(&broker.Subscription{ID: "ann", Sub: "ann", Kind: wire.OriginHuman, Queues: []string{"default"}, Allowed: []string{"*"}, Conn: here}, 0, &p.out)
		p.tell(s)
	}
	s.poolMail(&wire.Seek{Tenant: "demo", Session: one, N: 3, Worker: "ann"})
	told("who works there is not known yet")
	p.core.CensusAnswer(1, 0, nil, 0, &p.out)
	p.tell(s)
	p.seek(s, &wire.Seek{Session: two, N: 4, Worker: "ann"})
	p.seek(s, &wire.Seek{Session: two, N: 7, Worker: "ann"}) // invited anew
	p.seek(s, &wire.Seek{Session: three, N: 1, Worker: "bob"})
	told("nobody is there", wire.Found{Session: two, N: 4, Worker: "ann"}, wire.Found{Session: two, N: 7, Worker: "ann"}, wire.Found{Session: three, N: 1, Worker: "bob"})
	come()
	told("she comes", wire.Found{Session: one, N: 3, Worker: "ann", Conn: here}, wire.Found{Session: two, N: 7, Worker: "ann", Conn: here})
	p.seek(s, &wire.Seek{Session: two, N: 7, Worker: "ann"})
	told("she is there", wire.Found{Session: two, N: 7, Worker: "ann", Conn: here})
	come()
	told("she comes again")
}

// What a pool notes of those who look for workers who are not there is bounded, counted once however often it is asked, and makes room when nobody asks any more.
func TestSoughtIsBounded(t *testing.T) {
	var q sought
	ask := func(i int, now int64) {
		q.note(&wire.Seek{Session: wire.SessionID(fmt.Sprint("s", i)), N: 1, Worker: fmt.Sprint("w", i%7)}, now)
	}
	held := func(want int) {
		t.Helper()
		n := 0
		for _, asked := range q.by {
			n += len(asked)
		}
		if n != want || q.n != want {
			t.Fatalf("%d are noted, and counted as %d; want %d", n, q.n, want)
		}
	}
	for i := range maxSought / 2 {
		ask(i, 1)
		ask(i, 2)
	}
	held(maxSought / 2)
	for i := range 2 * maxSought {
		ask(i, 60_000)
	}
	held(maxSought)
	for i := range maxSought / 2 { // the others are not asked about any more
		ask(i, 120_000)
	}
	ask(-1, 60_000+soughtMS+1)
	held(maxSought/2 + 1)
}
