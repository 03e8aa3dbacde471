package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"switchboard/wire"
)

// Of each session the newest task is found, with the others behind it, whatever came and went before.
func TestSessionBook(t *testing.T) {
	b := newSessionBook()
	r := rand.New(rand.NewPCG(1, 2))
	const names = 20_000
	name := func(i int) wire.SessionID { return wire.SessionID(fmt.Sprint("session ", i)) }
	model := map[wire.SessionID][]*task{} // the newest last
	for step := range 400_000 {
		// It fills, thins out, and fills again.
		id := name(r.IntN(names))
		if list := model[id]; len(list) > 0 && r.IntN(200_000) < step%200_000 {
			k := r.IntN(len(list))
			b.remove(list[k])
			list = slices.Delete(list, k, k+1)
			if model[id] = list; len(list) == 0 {
				delete(model, id)
			}
		} else {
			x := &task{session: id, ticket: uint64(step)}
			b.put(x)
			model[id] = append(list, x)
		}
		at := b.get(id)
		for k, want := range slices.Backward(model[id]) {
			if at != want {
				t.Fatalf("step %d: %s has another task than the one that came as number %d", step, id, k)
			}
			at = at.next
		}
		if at != nil {
			t.Fatalf("step %d: %s has a task more", step, id)
		}
	}
	for i := range names {
		if at := b.get(name(i)); (at != nil) != (len(model[name(i)]) > 0) {
			t.Fatalf("%s: %v", name(i), at)
		}
	}
	n := 0
	for x := range b.all {
		if list := model[x.session]; len(list) == 0 || list[len(list)-1] != x {
			t.Fatalf("%s is yielded with a task that is not its newest", x.session)
		}
		n++
	}
	if n != len(model) {
		t.Fatalf("%d sessions are yielded; want %d", n, len(model))
	}
	x, id := &task{session: "one"}, name(1)
	b.put(x)
	b.remove(x)
	if n := testing.AllocsPerRun(100, func() { b.put(x); b.get(id); b.remove(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
