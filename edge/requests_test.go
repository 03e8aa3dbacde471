package edge

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"switchboard/wire"
)

// TestRequests: whatever is added, found, changed and taken out in whatever order, it is what a map would have, in the order of the numbers.
func TestRequests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q *requests
		model := map[uint64]int64{}
		last := rapid.Uint64Range(0, 1<<40).Draw(t, "from")
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				if q == nil {
					q = &requests{}
				}
				last++
				q.add(&request{n: last, at: 1, cmd: &wire.Command{}})
				model[last] = 1
			},
			"remove": func(t *rapid.T) {
				if len(model) == 0 {
					return
				}
				n := rapid.SampledFrom(slices.Sorted(maps.Keys(model))).Draw(t, "n")
				q.remove(q.get(n))
				delete(model, n)
			},
			"change": func(t *rapid.T) {
				if len(model) == 0 {
					return
				}
				n := rapid.SampledFrom(slices.Sorted(maps.Keys(model))).Draw(t, "n")
				q.get(n).at++
				model[n]++
			},
			"removeSome": func(t *rapid.T) {
				k := rapid.Uint64Range(1, 5).Draw(t, "k")
				for r := range q.all() {
					if r.n%k == 0 {
						delete(model, r.n)
						q.remove(r)
					}
				}
			},
			"get": func(t *rapid.T) {
				n := rapid.Uint64Range(last-min(last, 300), last+3).Draw(t, "n")
				if _, ok := model[n]; (q.get(n) != nil) != ok {
					t.Fatalf("request %d: %v, want it: %v", n, q.get(n), ok)
				}
			},
			"": func(t *rapid.T) {
				if q.size() != len(model) {
					t.Fatalf("%d, want %d", q.size(), len(model))
				}
				want := slices.Sorted(maps.Keys(model))
				for r := range q.all() {
					if len(want) == 0 || r.n != want[0] || r.at != model[r.n] {
						t.Fatalf("there is %d, changed %d times; want %v", r.n, r.at, want)
					}
					want = want[1:]
				}
				if len(want) > 0 {
					t.Fatalf("%v are not there", want)
				}
				if q == nil {
					return
				}
				for i := range q.list {
					if r := &q.list[i]; r.left && r.cmd != nil {
						t.Fatalf("%d has left, and is kept", r.n)
					}
				}
			},
		})
	})
}

// TestRequestsStay: a first one that nobody answers, as it waits for an owner, does not let the list grow with those that come and go behind it.
func TestRequestsStay(t *testing.T) {
	q := &requests{}
	q.add(&request{n: 1})
	for n := uint64(2); n < 100_000; n++ {
		q.add(&request{n: n})
		if n > 8 {
			q.remove(q.get(n - 5))
		}
	}
	if q.get(1) == nil || cap(q.list) > 64 {
		t.Errorf("%d are there, and there is room for %d", q.live, cap(q.list))
	}
}

func BenchmarkRequests(b *testing.B) {
	q := &requests{}
	n := uint64(0)
	for range 64 {
		n++
		q.add(&request{n: n})
	}
	b.ReportAllocs()
	for b.Loop() {
		n++
		q.add(&request{n: n})
		q.remove(q.get(n - 64))
	}
}

func TestRequestsAllocateNothing(t *testing.T) {
	q := &requests{}
	n := uint64(0)
	one := func() {
		n++
		q.add(&request{n: n})
		if n > 64 {
			q.remove(q.get(n - 64))
		}
	}
	for range 1000 {
		one()
	}
	if got := testing.AllocsPerRun(1000, one); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// Who asks for one thing at a time makes one piece of memory for it, once; and what has moved to a longer list is not kept alive where it was.
func TestRequestsAlone(t *testing.T) {
	cmd := &wire.Command{}
	var q *requests
	if n := testing.AllocsPerRun(100, func() {
		q = &requests{}
		for i := range uint64(8) {
			q.add(&request{n: i + 1, cmd: cmd})
			q.remove(q.get(i + 1))
		}
	}); n != 1 {
		t.Errorf("%v allocations; want 1", n)
	}
	q.add(&request{n: 9, cmd: cmd})
	q.add(&request{n: 10, cmd: cmd})
	if q.first[0].cmd != nil || q.get(9) == nil || q.get(9).cmd != cmd || q.get(10) == nil {
		t.Errorf("of two: %+v", q)
	}
}
