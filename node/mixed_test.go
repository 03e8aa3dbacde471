package node_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/node"
	"switchboard/wire"
)

// While nodes of two versions are there, whoever of them leads, no shard is split: it is said which node is of which. Replicas move all the same. One that goes
// back to the version before while a shard is being split holds it up at most, and nobody loses a word.
func TestSplitOfTwoVersions(t *testing.T) {
	once(t)
	t.Parallel()
	older := func(c *node.Config) { c.SpeakVersion(wire.LinkOldest) }
	w := newTown(t)
	a := w.start("a")
	w.start("b", older)
	w.start("c", older)
	w.healthy(a, 3)
	op := member.At(w.addrs["a"], member.Seat{Name: "ann", Plain: true})
	for _, dry := range []bool{true, false} {
		_, err := op.Split(t.Context(), "ann", 0, "", "", dry)
		if !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "when all nodes are of one version") {
			t.Fatalf("a split among two versions, dry %v: %v", dry, err)
		}
	}
	book := words{}
	w.tell(book, a, "before")
	for _, name := range []string{"b", "c"} {
		w.stop(name)
		w.start(name)
		w.healthy(a, 3)
	}
	// The last one may be known to be of this version only when it has called everybody.
	var x *cluster.Split
	var last error
	defer func() {
		if t.Failed() {
			t.Log("the last answer:", last)
		}
	}()
	until(t, "a split", func() (ok bool) {
		x, last = op.Split(t.Context(), "ann", 0, "", "", false)
		return last == nil
	})
	w.tell(book, a, "meanwhile")
	w.stop("b") // it is taken back
	w.start("b", older)
	for i := range 3 {
		w.tell(book, w.nodes["b"], fmt.Sprint("back", i))
	}
	w.stop("b")
	w.start("b")
	if x = over(t, op, x.To); x.Moved != wire.Slots/8 { // half of one of four
		t.Fatalf("%v", x)
	}
	w.tell(book, a, "after")
	book.holds(t, a, w.nodes["b"], w.nodes["c"])
	r, err := op.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Shards) != 5 {
		t.Fatalf("%d shards", len(r.Shards))
	}
	w.stopAll()
}
