package member

import (
	"errors"
	"testing"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
)

// What a node has to say to a connection before it has a way to its node is nobody's, and no number is missing for it. When there is a way, that node takes it
// that mail was lost: its workers ask what they have. Otherwise one who was given something just then would never hear of it.
func TestUnheardBeforeTheFirstWay(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a", "b", "c")
		w.settled(3, 3)
		w.kill("b")
		// It comes back as another, and the way to one of the two is cut.
		w.net.part("a", "b", true)
		b, err := w.enter("b")
		if err != nil {
			t.Fatal(err)
		}
		a := w.nodes["a"]
		time.Sleep(time.Second)
		word := wire.Envelope{To: wire.Address{Node: b.x.Node(), ID: 1}, Mail: &wire.Frame{Kind: wire.FrameBye}}
		if err := a.x.Post(word); !errors.Is(err, exchange.ErrNowhere) {
			t.Fatalf("there is a way: %v", err)
		}
		before := b.x.Losses()
		w.net.part("a", "b", false)
		w.await("it is known that something was lost", func() string {
			if b.x.Losses() == before {
				return "not yet"
			}
			return ""
		})
		if err := a.x.Post(word); err != nil {
			t.Fatalf("there is no way: %v", err)
		}
	})
}
