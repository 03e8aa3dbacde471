package cluster

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// owners checks that every slot of a placement has one shard, and at most the moving ones serve nowhere.
func owners(t interface {
	Helper()
	Fatalf(string, ...any)
}, p *Placement,
) map[int]uint16 {
	t.Helper()
	has, serves := map[int]uint16{}, 0
	for _, id := range p.Shards {
		last := -1
		for _, slot := range p.Slots(id, slotsAll) {
			if other, twice := has[slot]; twice || slot <= last {
				t.Fatalf("slot %d is of shard %d and of shard %d", slot, other, id)
			}
			has[slot], last = id, slot
		}
		serves += len(p.Serves(id, slotsAll))
	}
	moving := 0
	if p.Split != nil {
		moving = len(p.Split.Moving)
	}
	if len(has) != slotsAll || serves+moving != slotsAll {
		t.Fatalf("%d slots have a shard, %d are served, %d move", len(has), serves, moving)
	}
	return has
}

func TestSplit(t *testing.T) {
	s := with(t, 4, 1, "a z1", "b z1")
	f := func(err error, words string) {
		t.Helper()
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), words) {
			t.Fatalf("got %v; want a refusal with %q", err, words)
		}
	}
	_, err := s.Split(9, "ann", "")
	f(err, "no shard 9")
	_, err = s.PauseSplit(1, true)
	f(err, "not being split")
	if x, err := s.Splittable(1); err != nil || x.To != 4 || len(x.Slots) != 512 || len(s.Shards) != 4 {
		t.Fatalf("%v, %v", x, err)
	}
	_, err = s.Split(1, "ann", "", 1, 2)
	f(err, "no node may hold another shard")
	x, err := s.Split(1, "ann", "it is hot", 2)
	if err == nil && s.Shards[x.To].On(2) != nil {
		t.Fatal("a node that is away gets the new shard")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Split(2, "ann", "")
	f(err, "shard 1 is being split")
	p := s.Placements[Main]
	opened := map[uint16]uint64{}
	next := func(left uint64) { s.NextSplit(Main, func(id uint16) uint64 { return opened[id] }, left, 100) }
	for id := range uint16(5) { // until the last knows of the new shard, nothing moves
		next(0)
		if x.Step != Preparing || len(x.Moving) != 0 {
			t.Fatalf("before shard %d knows: %v", id, x)
		}
		opened[id] = p.Shape
	}
	next(0)
	next(0)
	if x.Step != Moving || len(x.Moving) != 100 || len(p.Serves(1, slotsAll)) != 924 || len(p.Slots(1, slotsAll)) != 1024 {
		t.Fatalf("%v", x)
	}
	next(x.Since - 1) // the word of slots before
	if len(x.Moving) != 100 {
		t.Fatal("slots have arrived that have not left")
	}
	next(x.Since)
	if len(x.Moving) != 0 || x.Moved != 100 || len(p.Slots(4, slotsAll)) != 100 || len(p.Serves(1, slotsAll)) != 924 {
		t.Fatalf("%v", x)
	}
	next(x.Since)
	if len(x.Moving) != 0 {
		t.Fatal("the next slots go before the first are served")
	}
	opened[4] = p.Shape
	if _, err := s.PauseSplit(1, true); err != nil {
		t.Fatal(err)
	}
	next(0)
	if len(x.Moving) != 0 {
		t.Fatal("slots go while it is paused")
	}
	if _, err := s.PauseSplit(1, false); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		next(x.Since)
		opened[4] = p.Shape
	}
	if x.Step != SplitDone || x.Moved != 512 || len(p.Slots(4, slotsAll)) != 512 {
		t.Fatalf("%v", x)
	}
	owners(t, p)
}

// Splits in any order, of parts of parts, with words that come late or never: every slot has one shard at every moment, slots move once a
// split, and the rows say the same.
func TestSplitModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		if _, err := s.Join(Node{Name: "a", Addr: "x:1", Roles: Roles{Shard: true}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Place(Placement{Name: Main, Copies: 1}, rapid.IntRange(1, 5).Draw(t, "shards")); err != nil {
			t.Fatal(err)
		}
		rows := map[string][]byte{}
		opened := map[uint16]uint64{}
		was := owners(t, s.Placements[Main])
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			p := s.Placements[Main]
			shape := p.Shape
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 5:
				if rapid.IntRange(0, 3).Draw(t, "aborts") == 0 {
					_, _ = s.AbortSplit(uint16(rapid.IntRange(0, 8).Draw(t, "shard"))) //nolint:gosec // small
				}
			case 6:
				s.Tidy(int64(shape), 3)                 //nolint:gosec // small
				for id, l := range maps.Clone(p.Left) { // whoever has them taken off serves none of them
					if p.Split.Open() && l.Clean > 0 {
						t.Fatalf("rows of shard %d go while slots do: %v", id, p.Split)
					}
					s.Cleaned(id, uint64(rapid.IntRange(0, int(p.Shape)).Draw(t, "cleaned"))) //nolint:gosec // small
				}
			case 0:
				_, _ = s.Split(uint16(rapid.IntRange(0, 8).Draw(t, "shard")), "ann", "") //nolint:gosec // small
			case 1, 2:
				for _, id := range p.Shards {
					if rapid.IntRange(0, 3).Draw(t, "opens") > 0 {
						opened[id] = p.Shape
					}
				}
			default:
				left := uint64(rapid.IntRange(0, int(p.Shape)).Draw(t, "left")) //nolint:gosec // small
				if rapid.Bool().Draw(t, "current") && p.Split != nil {
					left = p.Split.Since
				}
				s.NextSplit(Main, func(id uint16) uint64 { return opened[id] }, left, rapid.IntRange(1, 900).Draw(t, "most"))
			}
			s.Rows(func(key string, value []byte) { rows[key] = value })
			back := New()
			for key, value := range rows {
				if err := back.Load(key, value); err != nil {
					t.Fatal(err)
				}
			}
			s = back
			p = s.Placements[Main]
			now := owners(t, p)
			changed := false
			for slot, id := range now {
				if was[slot] != id {
					changed = true
					if p.Split == nil || was[slot] != p.Split.From || id != p.Split.To {
						t.Fatalf("slot %d went from %d to %d: %v", slot, was[slot], id, p.Split)
					}
				}
			}
			if changed && p.Shape == shape {
				t.Fatal("slots have moved and the shape is the same")
			}
			was = now
		}
	})
}

// halfway splits shard 1 until some slots are there.
func halfway(t *testing.T, s *State, lots int) *Split {
	t.Helper()
	x, err := s.Split(1, "ann", "")
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < 3*lots+2 && x.Open() && (x.Moved < 100*lots || len(x.Moving) > 0); n++ {
		s.NextSplit(Main, func(uint16) uint64 { return s.Placements[Main].Shape }, x.Since, 100)
	}
	return x
}

func TestAbortSplit(t *testing.T) {
	s := with(t, 4, 1, "a z1", "b z1")
	p := s.Placements[Main]
	f := func(err error, words string) {
		t.Helper()
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), words) {
			t.Fatalf("got %v; want a refusal with %q", err, words)
		}
	}
	ended := func(x *Split, moved int) {
		t.Helper()
		for range 4 {
			s.NextSplit(Main, func(uint16) uint64 { return p.Shape }, x.Since, 100)
		}
		if x.Open() || x.Moved != moved || len(p.Slots(x.To, slotsAll)) != moved || !strings.Contains(x.String(), "aborted") {
			t.Fatalf("after the abort: %v", x)
		}
		owners(t, p)
	}
	_, err := s.AbortSplit(1)
	f(err, "not being split")
	// Before anything has moved: the new shard stays, and the next split takes it.
	x, err := s.Split(1, "ann", "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is the same
		if got, err := s.AbortSplit(1); err != nil || got != x {
			t.Fatal(got, err)
		}
	}
	ended(x, 0)
	if len(p.Left) != 0 {
		t.Fatalf("nothing has left, and %v is left", p.Left)
	}
	_, err = s.Split(4, "ann", "")
	f(err, "shard 4 has 0 slots")
	if dry, err := s.Splittable(2); err != nil || dry.To != 4 {
		t.Fatal(dry, err)
	}
	// In the middle: what is there stays there, what is on its way comes.
	x = halfway(t, s, 1)
	if x.To != 4 || len(s.Shards) != 5 || p.Parents[4] != 1 {
		t.Fatalf("%v; %d shards", x, len(s.Shards))
	}
	s.NextSplit(Main, func(uint16) uint64 { return p.Shape }, 0, 100)
	if len(x.Moving) != 100 {
		t.Fatal(x)
	}
	if _, err := s.AbortSplit(1); err != nil {
		t.Fatal(err)
	}
	if len(x.Moving) != 100 || !x.Open() {
		t.Fatalf("slots on their way are nobody's for good: %v", x)
	}
	ended(x, 200)
	if l := p.Left[1]; l.Slots != 200 {
		t.Fatalf("%+v is left", l)
	}
	// The same shard may be split again; on the last of its way it is too late.
	x, err = s.Split(1, "ann", "")
	if err != nil || x.To != 5 {
		t.Fatal(x, err)
	}
	for x.Step == Preparing || len(x.Slots) > 0 {
		s.NextSplit(Main, func(uint16) uint64 { return p.Shape }, x.Since, slotsAll)
	}
	_, err = s.AbortSplit(1)
	f(err, "too late to abort")
}

func TestClean(t *testing.T) {
	s := with(t, 4, 1, "a z1", "b z1")
	p := s.Placements[Main]
	f := func(err error, words string) {
		t.Helper()
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), words) {
			t.Fatalf("got %v; want a refusal with %q", err, words)
		}
	}
	_, err := s.Clean(9, "ann")
	f(err, "no shard 9")
	_, err = s.Clean(1, "ann")
	f(err, "no slot has left shard 1")
	x := halfway(t, s, 2)
	_, err = s.Clean(1, "ann")
	f(err, "is being split")
	s.Tidy(1, 0)
	for x.Open() {
		s.NextSplit(Main, func(uint16) uint64 { return p.Shape }, x.Since, 100)
	}
	shown := p.Left // what others have read of it
	s.Tidy(1_000, 500)
	s.Tidy(1_499, 500)
	if l := p.Left[1]; l.At != 1_000 || l.Clean != 0 || l.Slots != 512 || shown[1].At != 0 {
		t.Fatalf("%+v is left; before %+v", l, shown)
	}
	shape := p.Shape
	s.Tidy(1_500, -1)
	if p.Left[1].Clean != 0 {
		t.Fatal("rows go that are to stay")
	}
	s.Tidy(1_500, 500)
	l := p.Left[1]
	if l.Clean != shape+1 || p.Shape != l.Clean || l.By != ByAge {
		t.Fatalf("%+v is left", l)
	}
	if again, err := s.Clean(1, "ann"); err != nil || again != l {
		t.Fatal(again, err)
	}
	_, err = s.Split(2, "ann", "")
	f(err, "are being taken off")
	s.Cleaned(1, l.Clean-1) // the word of an earlier cleaning
	s.Cleaned(2, l.Clean)
	if len(p.Left) != 1 {
		t.Fatal("it is done by another's word")
	}
	s.Cleaned(1, l.Clean)
	s.Cleaned(1, l.Clean)
	if len(p.Left) != 0 {
		t.Fatalf("%+v is left", p.Left)
	}
	if _, err := s.Split(2, "ann", ""); err != nil {
		t.Fatal(err)
	}
}
