package shard_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"switchboard/shard"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// TestSessionIsReadAsItIs reads sessions of random histories as a shard does that opens, now and then while they grow: with keys on all entries, on few and on
// none, with keys that ride nowhere, and with words so long that few are remembered.
func TestSessionIsReadAsItIs(t *testing.T) {
	n := start(t, t.TempDir(), 1)
	defer n.stop()
	full := 0
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's
		keyed, rated, long := []float64{0, 0.02, 0.2, 0.6, 1}[rnd.IntN(5)], []float64{0, 0.02, 0.3}[rnd.IntN(3)], []float64{0, 0, 0.3}[rnd.IntN(3)]
		alice := n.conn(customer(fmt.Sprint("alice", seed)))
		id := alice.open(&wirepb.Open{})
		for i := range 100 + rnd.IntN(400) {
			key, text := "", "word"
			if rnd.Float64() < keyed {
				key = fmt.Sprint("key", i)
			}
			if rnd.Float64() < long {
				text = strings.Repeat("long ", 1000)
			}
			if rnd.Float64() < rated {
				key = fmt.Sprint("rate", i)
				alice.do(slotOf(id), &wire.Command{Verb: wire.VerbRate, Session: id, Key: key, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Rate{
					Rate: &wirepb.Rate{Session: string(id), Score: 5, Key: key},
				}}})
				alice.next(wire.FrameAnswer)
			} else {
				alice.send(id, key, text)
				alice.next(wire.FrameWrote)
			}
			if rnd.IntN(10) > 0 {
				continue
			}
			keys, err := shard.ReadAlike(n.j.Group(0), id)
			if err != nil {
				t.Fatalf("seed %d, behind %d: %v", seed, i, err)
			}
			if keys == 64 {
				full++
			}
		}
	}
	if full == 0 {
		t.Fatal("no session ever had more keys than belong into memory")
	}
}
