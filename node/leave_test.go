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
			n := l.next(&a)
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
		l.next(&a)
	}
	if !l.under {
		t.Fatal("nothing is under way")
	}
	a.Left.Holds = 1
	if n := l.next(&a); n != 0 || l.under {
		t.Fatalf("%d go while a replica is left", n)
	}
	a.Left.Holds = 0
	if n := l.next(&a); n != 0 || !l.under {
		t.Fatalf("%d go at once: what was owed before counts", n)
	}
}
