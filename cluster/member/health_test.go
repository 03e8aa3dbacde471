package member

import (
	"fmt"
	"testing"
	"time"
)

func TestTrail(t *testing.T) {
	var tr trail
	begin := time.Unix(1000, 0)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	f := func(s int, match uint64, want time.Duration) {
		t.Helper()
		if got := tr.behind(at(s), match); got != want {
			t.Fatalf("after %d s a copy that has %d is %v behind; want %v", s, match, got, want)
		}
	}
	f(0, 0, 0)
	tr.note(at(0), 10, 10)
	f(0, 10, 0)
	f(0, 9, 0) // it is on its way
	f(3, 9, 3*time.Second)
	tr.note(at(1), 20, 10)
	f(5, 10, 4*time.Second)
	f(5, 20, 0)
	tr.note(at(2), 20, 10)
	f(5, 10, 4*time.Second) // nothing new was written
	tr.note(at(6), 30, 20)
	f(8, 20, 2*time.Second)
	tr.note(at(7), 30, 30)
	f(8, 30, 0)

	// A copy that never comes back: its age is exact, and what is remembered is bounded.
	for s := 8; s < 5000; s++ {
		tr.note(at(s), uint64(30+s), 30)
		f(s, 30, time.Duration(s-8)*time.Second)
	}
	if len(tr.ends) > trailMax {
		t.Fatalf("%d ends are remembered", len(tr.ends))
	}
	for i, e := range tr.ends[1:] {
		if e.index <= tr.ends[i].index || e.at.Before(tr.ends[i].at) {
			t.Fatalf("out of order: %v", tr.ends)
		}
	}
}

// What is missing is counted by who leads, and what nobody leads by everybody who is there.
func TestHealth(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		health := func(what string, ok func(name string, h Health) bool) {
			t.Helper()
			w.await(what, func() string {
				for _, name := range w.names() {
					if a := w.nodes[name].m.Around(); a == nil || !ok(name, a.Health) {
						return fmt.Sprintf("%s sees %+v", name, a)
					}
				}
				return ""
			})
		}
		short := func() (n int) {
			for _, name := range w.names() {
				n += w.nodes[name].m.Around().Health.Short
			}
			return n
		}
		w.start("a", "b", "c")
		w.settled(3, 3)
		health("all is well", func(_ string, h Health) bool {
			return h.Led && h.Leaderless == 0 && h.Short == 0
		})

		w.kill("c")
		health("each shard has a leader", func(_ string, h Health) bool { return h.Led && h.Leaderless == 0 })
		w.await("each shard lacks a copy", func() string {
			if n := short(); n != 4 {
				return fmt.Sprint(n, " are short")
			}
			return ""
		})
		w.write()
		behind := func() Lag {
			return w.nodes["a"].m.Around().Health.Lag["c"].max(w.nodes["b"].m.Around().Health.Lag["c"])
		}
		w.await("c grows old", func() string {
			if l := behind(); l.Entries == 0 || l.Behind < 20*time.Second {
				return fmt.Sprintf("%+v", l)
			}
			return ""
		})
		health("a and b are not behind", func(name string, h Health) bool {
			return h.Lag["a"].Entries == 0 && h.Lag["b"].Entries == 0
		})

		w.kill("b")
		health("nobody leads", func(_ string, h Health) bool {
			return !h.Led && h.Leaderless == 4 && h.Short == 0 && len(h.Lag) == 0
		})

		w.start("b", "c")
		w.settled(3, 3)
		health("all is well again", func(_ string, h Health) bool {
			return h.Led && h.Leaderless == 0 && h.Short == 0 && h.Lag["c"] == Lag{}
		})
	})
}
