package sim_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/client"
	"switchboard/edge/token"
	"switchboard/wire"
)

// TestSnapshotRate gives a shard its two other copies, when there are three nodes: its rows travel no faster than the node may send them that has them.
func TestSnapshotRate(t *testing.T) {
	const rate, words, size = 64 << 10, 64, 8 << 10 // bytes a second; bytes of a word
	f := func(rate int) (took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorldOf(t, 1, 0, 1, time.Millisecond, oneQueue)
			w.snapshotRate = rate
			w.add()
			cfg := w.config("out", token.Claims{Sub: "ann", Role: wire.RoleCustomer})
			cfg.Dial = w.from("out")
			c, err := client.Dial(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.Open(t.Context(), client.OpenOptions{Queue: "default"})
			for i := 0; i < words && err == nil; i++ {
				_, err = s.Send(t.Context(), "text", strings.Repeat("x", size))
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			w.add()
			from := time.Now()
			w.add()
			for ; w.whole() != "" && took < time.Minute; time.Sleep(100 * time.Millisecond) {
				took = time.Since(from)
			}
			for _, m := range w.up() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				if err := m.n.Close(ctx); err != nil {
					t.Error(err)
				}
				cancel()
			}
			time.Sleep(11 * time.Second) // a goroutine of fasthttp's looks around every ten
		})
		return took
	}
	least := 2 * words * size / rate * time.Second
	if took := f(rate); took < least || took >= time.Minute {
		t.Fatalf("twice %d bytes are there after %v, at %d bytes a second", words*size, took, rate)
	}
	if took := f(0); took >= least {
		t.Fatalf("twice %d bytes are there after %v, at the rate that nobody has set", words*size, took)
	}
}
