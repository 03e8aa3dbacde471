package node_test

import (
	"fmt"
	"testing"

	"switchboard/node"
	"switchboard/wire"
)

// TestRollingUpgrade replaces three nodes of the version before by those of this one, one after the other, and takes the first one back, while customers
// say something at each of them: at every moment nodes of both versions are one cluster. Every word is there, at every node.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	older := func(c *node.Config) { c.SpeakVersion(wire.LinkOldest) }
	once(t)
	w := newTown(t)
	for _, name := range []string{"a", "b", "c"} {
		w.start(name, older)
	}
	w.healthy(w.nodes["a"], 3)
	book := words{}
	step := 0
	all := func() {
		t.Helper()
		for _, name := range []string{"a", "b", "c"} {
			if n := w.nodes[name]; n != nil {
				step++
				w.tell(book, n, fmt.Sprint(name, step))
			}
		}
	}
	all()
	for _, change := range []struct {
		name string
		more []func(*node.Config)
	}{{"a", nil}, {"b", nil}, {"a", []func(*node.Config){older}}, {"c", nil}, {"a", nil}} {
		w.stop(change.name)
		all()
		w.start(change.name, change.more...)
		all()
		w.healthy(w.nodes["b"], 3)
	}
	all()
	book.holds(t, w.nodes["a"], w.nodes["b"], w.nodes["c"])
	if len(book) < 25 {
		t.Fatalf("only %d words were said", len(book))
	}
	w.stopAll()
}
