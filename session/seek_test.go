package session

import (
	"testing"

	"switchboard/wire"
)

// Another pool knows nothing of what the one before was asked: it is asked soon where the invited are, also by a session that has asked ever less often.
func TestAnotherPoolIsAskedSoon(t *testing.T) {
	env := &Env{Now: 1000, Policy: &Policy{Queues: map[string]bool{"default": true}, DefaultQueue: "default"}}
	var d Decision
	s := Create(env, &Birth{ID: "s_0000000000000001", Tenant: "demo", Queue: "default", Channel: "web", Customer: wire.Author{ID: "alice"}, Epoch: 1}, &d)
	s.Apply(&Fact{Kind: Invited, Invite: &Invite{N: 3, Worker: "ann", Until: 1_000_000}})
	asked := func() (n int) {
		for _, e := range d.Mail {
			if m, ok := e.Mail.(*wire.Seek); ok && m.Worker == "ann" && m.N == 3 {
				n++
			}
		}
		return n
	}
	for range 10 { // nobody finds her
		env.Now = s.Alarm(env.Now)
		d.Reset()
		if s.Wake(env, &d); asked() != 1 {
			t.Fatalf("at %d the pool is asked %d times", env.Now, asked())
		}
	}
	if due := s.Alarm(env.Now); due != env.Now+seekAgainMostMS {
		t.Fatalf("it is asked again in %d ms", due-env.Now)
	}
	for pool := uint64(5); pool < 7; pool++ {
		s.Introduce(pool, &d)
		s.Introduce(pool, &d) // says nothing new
		if due := s.Alarm(env.Now); due > env.Now+seekAgainMS {
			t.Fatalf("another pool is asked in %d ms", due-env.Now)
		}
		env.Now += seekAgainMS
		d.Reset()
		s.Wake(env, &d)
		s.Wake(env, &d)
		if due := s.Alarm(env.Now); asked() != 1 || due != env.Now+seekAgainMS {
			t.Fatalf("it is asked %d times, and again in %d ms", asked(), due-env.Now)
		}
	}
}
