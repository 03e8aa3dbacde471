package broker

import (
	"fmt"
	"strings"
	"testing"
)

// A plan is found by its whole name, however long it is, and what is kept stays found.
func TestPlanBook(t *testing.T) {
	b := newPlanBook()
	name := func(i int) []byte { return fmt.Appendf(nil, "%s%d", strings.Repeat("x", i%3*planHead/2), i) }
	const n = 1000
	for i := range n {
		if b.get(name(i)) != nil {
			t.Fatalf("%d was found before it was put", i)
		}
		p := &plan{cost: i}
		p.name(name(i))
		b.put(p)
	}
	b.keep(func(p *plan) bool { return p.cost%2 == 0 })
	if b.n != n/2 {
		t.Fatalf("%d are left", b.n)
	}
	for i := range n {
		switch p := b.get(name(i)); {
		case (p != nil) != (i%2 == 0):
			t.Fatalf("%d: %v", i, p)
		case p != nil && p.cost != i:
			t.Fatalf("%d is %d", i, p.cost)
		}
	}
	key := name(2)
	if allocs := testing.AllocsPerRun(100, func() { b.get(key) }); allocs != 0 {
		t.Fatalf("%v allocations", allocs)
	}
}
