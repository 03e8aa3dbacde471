package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/shard/journal/replica"
)

// ledger is what writers were told.
type ledger struct {
	mu sync.Mutex
	// Guarded by mu.
	tried, told int
	kept        map[string]uint64 // by key, the turn it was told to be
}

// TestStorm writes to a group of three from whoever leads, while nodes lose their power, are cut off, come back, and hand
// over. What was told to be durable is on every node in the end, in the order that was told, and the three agree in everything.
func TestStorm(t *testing.T) {
	told := 0
	for seed := range uint64(25) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { told += storm(t, seed) })
		})
	}
	t.Logf("%d turns were told", told)
	if told < 1000 {
		t.Error("the storms were too strong to tell anything")
	}
}

func storm(t *testing.T, seed uint64) (told int) {
	rng := rand.New(rand.NewPCG(seed, 3))
	n := three(t, 1)
	l := &ledger{kept: map[string]uint64{}}
	for range 60 {
		synctest.Wait()
		id := uint32(1 + rng.IntN(3))
		p := n.nodes[id]
		switch k := rng.IntN(20); {
		case p.j == nil:
			n.start(id)
		case k == 0:
			n.stop(id, true, rng)
		case k == 1:
			n.stop(id, false, rng)
		case k == 2:
			n.isolate(id, true)
		case k == 3:
			n.isolate(id, false)
		case k == 4:
			_ = p.j.Transfer(1, replica.ID(1+(id%3), 1)) // most of the time it does not lead
		default:
			for _, p := range n.nodes {
				if p.j != nil && p.j.Group(1).Term() != 0 {
					l.write(t, p.j.Group(1), 1+rng.IntN(20))
				}
			}
		}
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond) // the bubble's clock
	}
	for id, p := range n.nodes {
		n.isolate(id, false)
		if p.j == nil {
			n.start(id)
		}
	}
	p := n.leader(1, 1, 2, 3)
	must(t, p.j.Confirm(1))
	n.until("all are even", func() bool {
		p = n.leader(1, 1, 2, 3)
		for _, q := range n.nodes {
			if q.j.Group(1).Applied() != p.j.Group(1).Last() {
				return false
			}
		}
		return true
	})
	last := p.j.Group(1).Last()
	var first map[string]string
	for id, p := range n.nodes {
		g := p.j.Group(1)
		rows := map[string]string{}
		must(t, g.Scan(nil, nil, false, func(k, v []byte) bool { rows[string(k)] = string(v); return true }))
		if first == nil {
			first = rows
		}
		if fmt.Sprint(rows) != fmt.Sprint(first) {
			t.Errorf("node %d has other rows", id)
		}
		if uint64(len(rows)) != last {
			t.Errorf("node %d has %d rows of %d turns", id, len(rows), last)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, turn := range l.kept {
		if first[k] != fmt.Sprint(turn) {
			t.Errorf("%s was told to be turn %d, and is %q", k, turn, first[k])
		}
	}
	n.close()
	return l.told
}

// write appends turns and notes what the owner is told of them.
func (l *ledger) write(t *testing.T, g *Group, turns int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	pending := map[uint64]string{}
	done := uint64(0)
	g.Start(func(index uint64, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for ; done <= index; done++ {
			if k, ok := pending[done]; ok {
				if turn, twice := l.kept[k]; twice && turn != done {
					t.Errorf("%s is turn %d and %d", k, turn, done)
				}
				l.kept[k] = done
				l.told++
				delete(pending, done)
			}
		}
		if err != nil && !errors.Is(err, ErrNotLeading) {
			t.Errorf("the owner was told: %v", err)
		}
	})
	for range turns {
		l.tried++
		k := fmt.Sprintf("k%06d", l.tried)
		var turn Turn
		next := g.Last() + 1
		turn.Put([]byte(k), fmt.Append(nil, next))
		index, err := g.Append(&turn)
		if err != nil {
			return
		}
		if index != next { // the leadership changed in between: nothing is known of it
			continue
		}
		pending[index] = k
	}
}
