package routes_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"switchboard/broker/routes"
)

// A document that is refused costs no more than its size allows, whatever is wrong with it: who may write one may not fill the node's memory. What a
// library says of a mistake shows the place, and took the square of what stands around it.
func TestMistakesAreCheap(t *testing.T) {
	f := func(what, doc string) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := routes.Parse([]byte(doc))
		runtime.ReadMemStats(&after)
		if errs := routes.Errors(nil); !errors.As(err, &errs) || len(errs) == 0 || errs[0].Line == 0 {
			t.Errorf("%s: %.200v", what, err)
		}
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 256<<20 {
			t.Errorf("%s: %d MiB were taken for a document of %d bytes", what, spent>>20, len(doc))
		}
	}
	times := strings.Repeat
	f("brackets", "a: "+times("[", 100_000))
	f("entries", times("- ", 50_000))
	f("a list on a line that is none", "queues: ["+times("1,", 5_000)+"{nme: x}]")
	var keys strings.Builder
	for i := range 15_000 {
		fmt.Fprintf(&keys, "  q%d: a\n", i)
	}
	f("keys", "version: 1\nqueues: [{name: a}]\nmoves:\n"+keys.String())
	f("empty lines", "a: |\n"+times("\n", 200_000))
	var queues strings.Builder
	for i := range 3_000 {
		fmt.Fprintf(&queues, "{name: q%d}, ", i)
	}
	f("names of nothing", "version: 1\nqueues: ["+queues.String()+"{name: a, route: [{name: s, queues: ["+times("x,", 3_000)+"]}]}]")
}
