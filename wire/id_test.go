package wire

import (
	"strings"
	"testing"
)

// [SW-1] All ids match [A-Za-z0-9_.:-]{1,64}.
func TestValidID(t *testing.T) {
	f := func(s string, want bool) {
		t.Helper()
		if got := ValidID(s); got != want {
			t.Errorf("ValidID(%q) = %v; want %v", s, got, want)
		}
	}
	f("a", true)
	f("Shop_17.eu:west-1", true)
	f(strings.Repeat("x", 64), true)
	f(strings.Repeat("x", 65), false)
	f("", false)
	f("a b", false)
	f("a/b", false)
	f("é", false)
	f("a\x00", false)
}

func TestSessionIDCarriesItsPlace(t *testing.T) {
	for _, group := range []uint8{0, 1, 127, 255} {
		for slot := range Slot(Slots) {
			id := NewSessionID(group, slot, uint64(slot)*0x9e3779b97f4a7c15)
			g, s, ok := id.Place()
			if !ok || g != group || s != At(group, int(slot)) || s.Group() != group || s.Number() != int(slot) || !ValidID(string(id)) {
				t.Fatalf("%s: Place() = %d, %d, %v; want %d, %d", id, g, s, ok, group, slot)
			}
		}
	}
	if a, b := NewSessionID(0, 7, 1), NewSessionID(0, 7, 2); a == b {
		t.Errorf("two sessions share the id %s", a)
	}
}

func FuzzSessionIDPlace(f *testing.F) {
	for _, s := range []string{"", "s_", "s_0000000000000000", "s_zzzzzzzzzzzzzzzz", "s_000000000000000i", "S_0000000000000000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		group, slot, ok := SessionID(s).Place()
		if !ok {
			return
		}
		if slot.Group() != group {
			t.Fatalf("%q: slot %d", s, slot)
		}
		if again := NewSessionID(group, slot, 0); string(again[:6]) != s[:6] {
			t.Fatalf("%q: built again as %s", s, again)
		}
	})
}
