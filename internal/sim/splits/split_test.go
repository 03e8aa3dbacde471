package splits_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/client"
	"switchboard/cluster/member"
	"switchboard/edge/token"
	"switchboard/wire"
)

// TestSplit splits shards while customers and a bot talk, and machines lose their power, are cut off, or are stopped at whatever moment of it.
// Every word that was acknowledged is there once, in order, and every split ends.
func TestSplit(t *testing.T) {
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runSplit(t, seed) })
		})
	}
}

func runSplit(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	time.Sleep(15 * time.Second) // copies come
	l := &ledger{sent: map[string][]string{}, heard: map[string][]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := client.Work(ctx, client.WorkerConfig{
			Config: w.config(token.Claims{Sub: "bot", Role: wire.RoleWorker, Kind: wire.OriginBot, Queues: []string{"*"}}),
			Queues: []string{"default"}, Slots: 50,
		}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			if e.Text() == "" {
				return nil
			}
			_, err := s.Reply(ctx, "text", "re "+e.Text(), client.WithAck(e.Seq))
			return err
		})
		if ctx.Err() == nil {
			t.Errorf("the bot gave up: %v", err)
		}
	})
	for i := range 12 {
		wg.Go(func() {
			if err := w.talk(ctx, l, fmt.Sprintf("c%d", i)); err != nil {
				t.Errorf("customer %d gave up: %v", i, err)
			}
		})
	}
	time.Sleep(2 * time.Second)
	ended := make(chan struct{})
	wg.Go(func() {
		defer close(ended)
		for _, shard := range []uint16{0, 1, 2, 3, 4} { // the last of which is the half of the first
			if !w.split(ctx, shard) {
				t.Errorf("shard %d is not split in time", shard)
			}
		}
	})
	for n := range 12 {
		time.Sleep(time.Duration(w.rng.IntN(700)) * time.Millisecond)
		if n%4 == 3 {
			w.fault()
			continue
		}
		name := []string{"a", "b", "c"}[w.rng.IntN(3)]
		w.t.Logf("%s: the power of %s fails", time.Now().Format("05.000"), name)
		w.off(name, true)
		time.Sleep(time.Duration(w.rng.IntN(700)) * time.Millisecond)
		w.start(name)
	}
	<-ended
	time.Sleep(20 * time.Second)
	cancel()
	wg.Wait()
	w.check(l)
	for _, name := range []string{"a", "b", "c"} {
		w.off(name, false)
	}
	time.Sleep(11 * time.Second) // a goroutine of fasthttp's looks around every ten
}

// split splits a shard, and reports whether that comes to its end.
func (w *world) split(ctx context.Context, shard uint16) bool {
	begun := false
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		for _, name := range []string{"a", "b", "c"} {
			op := member.At(name+":7570", member.Seat{Name: "ann", Plain: true, Dial: w.net.Host("out").Dial})
			ask, cancel := context.WithTimeout(ctx, 2*time.Second)
			if !begun {
				_, err := op.Split(ask, "ann", shard, "", "", false)
				begun = err == nil
			}
			r, err := op.Status(ask)
			cancel()
			if err != nil || !begun {
				continue
			}
			if x := r.Places[0].Split; x != nil && x.From == shard && !x.Open() {
				w.t.Logf("%s: %v", time.Now().Format("05.000"), x)
				return true
			}
		}
	}
	return false
}
