package client

import (
	"testing"

	"switchboard/wire"
)

func TestMergePatch(t *testing.T) {
	f := func(doc, patch, want string) {
		t.Helper()
		got, err := mergePatch([]byte(doc), []byte(patch))
		if err != nil || string(got) != want {
			t.Fatalf("mergePatch(%s, %s) = %s, %v; want %s", doc, patch, got, err, want)
		}
	}
	f(`{"a":1}`, `{"b":2}`, `{"a":1,"b":2}`)
	f(`{"a":1,"b":{"c":1,"d":2}}`, `{"a":null,"b":{"c":3}}`, `{"b":{"c":3,"d":2}}`)
	f(``, `{"a":{"b":null}}`, `{"a":{}}`)
	f(`[1]`, `{"a":[2]}`, `{"a":[2]}`)
	f(`{"a":1}`, `[3]`, `[3]`)
}

func TestWholeRunes(t *testing.T) {
	f := func(s string, want int) {
		t.Helper()
		if got := wholeRunes([]byte(s)); got != want {
			t.Fatalf("wholeRunes(%q) = %d; want %d", s, got, want)
		}
	}
	f("", 0)
	f("abc", 3)
	f("é", 2)
	f("a\xc3", 1)
	f("a\xf0\x9f\x98", 1)
	f("😀", 4)
	f("a\xff", 2) // no beginning of anything: it will be replaced
}

func entryAt(seq uint64) Entry { return Entry{Entry: wire.Entry{Seq: seq, Epoch: 1}} }

func TestFeedInDoubt(t *testing.T) {
	newFeed := func(pos, head uint64) *feed {
		f := &feed{limit: 8, pos: wire.Position{Epoch: 1, Seq: pos}}
		f.attached(true, "exact", 0, head, 1)
		return f
	}
	f := func(name string, f *feed, seq uint64, duplicate bool, want verdict) {
		t.Helper()
		if got := f.own(entryAt(seq), duplicate); got != want || (got == gap) != f.stale {
			t.Fatalf("%s: own(%d) = %d, stale %v; want %d", name, seq, got, f.stale, want)
		}
	}
	f("next", newFeed(5, 5), 6, false, taken)
	f("behind a staff entry", newFeed(5, 5), 8, false, taken)
	f("while the past is coming", newFeed(5, 9), 10, false, gap)
	f("next, while the past is coming", newFeed(5, 9), 6, false, taken)
	f("a repetition, further on", newFeed(5, 5), 8, true, gap)
	f("a repetition of what was pushed", newFeed(5, 5), 5, true, dropped)
	lagging := newFeed(5, 5)
	lagging.lag()
	f("after lag", lagging, 8, false, gap)

	cut := newFeed(5, 5)
	e := entryAt(4)
	e.Epoch = 2
	if got := cut.push(e, 3); got != gap {
		t.Fatalf("a seq used again under a new epoch: %d; want a gap", got)
	}
}
