package sim_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"switchboard/cluster/member"
)

// TestSplit splits shards while people talk, and machines lose their power, are cut off, or are stopped at whatever moment of it. Every split
// ends, and what holds without holds, but for capacity.
func TestSplit(t *testing.T) { eachSeed(t, runSplit) }

func runSplit(t *testing.T, seed uint64) *ledger {
	p := begin(t, seed)
	p.splits = true
	ended := make(chan struct{})
	p.crew.Go(func() {
		defer close(ended)
		for _, shard := range []uint16{0, 1, 2, 3, 4} { // the last of which is the half of the first
			if !p.split(p.ctx, shard) {
				t.Errorf("shard %d is not split in time", shard)
			}
		}
	})
	for n := range 12 {
		time.Sleep(time.Duration(p.rng.IntN(700)) * time.Millisecond)
		if n%4 == 3 {
			p.fault()
			continue
		}
		up := p.up()
		m := up[p.rng.IntN(len(up))]
		t.Logf("%s: the power of %s fails", time.Now().Format("04:05.000"), m.name)
		p.restart(m, true, time.Duration(p.rng.IntN(700))*time.Millisecond)
	}
	<-ended
	p.parts += 5
	return p.end()
}

// split splits a shard, and reports whether that comes to its end.
func (w *world) split(ctx context.Context, shard uint16) bool {
	begun := false
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		w.mu.Lock()
		names := slices.Clone(w.on)
		w.mu.Unlock()
		for _, name := range names {
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
				w.t.Logf("%s: %v", time.Now().Format("04:05.000"), x)
				return true
			}
		}
	}
	return false
}
