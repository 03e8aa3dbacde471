package node

import (
	"testing"

	"switchboard/cluster"
	"switchboard/cluster/member"
)

// The connections of a node that is drained go when its shards and replicas have, and no faster than the pace: in no second, whenever it begins,
// are there more of them, and in the long run there are as many.
func TestLeavePace(t *testing.T) {
	f := func(want int, a member.Around) {
		t.Helper()
		var l leave
		var gone []int
		total := 0
		for range 60 * awayTicks {
			n, _ := l.next(&a, 1)
			gone = append(gone, n)
			total += n
		}
		if total != 60*want {
			t.Errorf("%+v: %d go in a minute; want %d", a, total, 60*want)
		}
		for i := range len(gone) - awayTicks {
			second := 0
			for _, n := range gone[i : i+awayTicks] {
				second += n
			}
			if second > want {
				t.Fatalf("%+v: %d go in the second after tick %d; want %d at most", a, second, i, want)
			}
		}
	}
	leads, holds := cluster.Leaving{Leads: 1}, cluster.Leaving{Holds: 1}
	f(0, member.Around{Elsewhere: 2})
	f(0, member.Around{Leaving: true})
	f(0, member.Around{Leaving: true, Elsewhere: 2, Left: leads})
	f(0, member.Around{Leaving: true, Elsewhere: 2, Left: holds, Pace: 50})
	f(0, member.Around{Leaving: true, Elsewhere: 2, Unheard: true})
	f(1, member.Around{Leaving: true, Elsewhere: 2, Pace: 1})
	f(33, member.Around{Leaving: true, Elsewhere: 2, Pace: 33})
	f(awayPace, member.Around{Leaving: true, Elsewhere: 1})
	f(3*awayPace, member.Around{Leaving: true, Elsewhere: 3})
}

// A drain that has to wait again, as something has come back, begins anew.
func TestLeaveWaits(t *testing.T) {
	var l leave
	a := member.Around{Leaving: true, Elsewhere: 1, Pace: 9}
	for range awayTicks - 1 {
		l.next(&a, 7)
	}
	a.Left.Holds = 1
	if n, upTo := l.next(&a, 8); n != 0 || upTo != 0 {
		t.Fatalf("%d up to %d go while a replica is left", n, upTo)
	}
	a.Left.Holds = 0
	if n, upTo := l.next(&a, 9); n != 0 || upTo != 9 {
		t.Fatalf("%d up to %d go at once: what was owed before counts, or who has come since does not", n, upTo)
	}
}

// Whoever comes back to the node, as what spreads connections does not know better, stays a while before he is sent away again: else a few
// clients come and go all the time, at the whole pace.
func TestLeaveLate(t *testing.T) {
	const clients, pace = 20, 400
	var l leave
	a := member.Around{Leaving: true, Elsewhere: 1, Pace: pace}
	came := map[uint64]int{} // the node's connections → tick of their coming
	latest := uint64(0)
	for range clients {
		latest++
		came[latest] = -stayTicks
	}
	told := 0
	for tick := range 60 * awayTicks {
		n, upTo := l.next(&a, latest)
		back := 0
		for id, at := range came {
			if id > upTo || back == n {
				continue
			}
			if at >= 0 && tick-at > 2*stayTicks {
				t.Fatalf("who came at tick %d is there at %d", at, tick)
			}
			delete(came, id)
			back++
		}
		for range back {
			latest++
			came[latest] = tick
		}
		told += back
	}
	if most := clients * 60 * awayTicks / stayTicks; told > most || told < clients {
		t.Fatalf("%d clients are sent away %d times in a minute; want %d at most", clients, told, most)
	}
}
