package session

import (
	"testing"

	"switchboard/wire"
)

// What service levels make of a session is known again by the next owner of its shard, but not how often that changed. What he tells the pool is newer than what
// it has heard, or it would be passed over.
func TestBoostsGrowFromOwnerToOwner(t *testing.T) {
	env := &Env{Now: 1000, Policy: &Policy{Queues: map[string]bool{"a": true}, DefaultQueue: "a"}}
	var d Decision
	s := Create(env, &Birth{ID: "s_0000000000000001", Tenant: "demo", Queue: "a", Channel: "web", Customer: wire.Author{ID: "alice"}, Epoch: 1}, &d)
	s.enqueue(env, "a", waiting{}, &d)
	heard := s.task().Version
	told := func(ms int64, steps uint32) {
		t.Helper()
		d.Reset()
		s.Boost(env, ms, steps, true, &d)
		if len(d.Mail) != 1 {
			t.Fatalf("%d words to the pool; want 1", len(d.Mail))
		}
		task, ok := d.Mail[0].Mail.(*wire.Task)
		if !ok || task.Version <= heard || task.BoostMS != ms || task.Ahead != steps {
			t.Fatalf("it is told %+v; want a version above %d", d.Mail[0].Mail, heard)
		}
		heard = task.Version
	}
	told(5000, 0)
	told(5000, 1) // in the same millisecond
	told(5000, 2)
	env.Now += 30_000
	next := *s
	next.boost, next.ahead, next.boosts = 0, 0, 0
	s = &next
	s.Boost(env, 5000, 2, false, &d)
	env.Now += 30_000
	told(5000, 3)
}
