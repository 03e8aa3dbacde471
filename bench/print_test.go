package bench

import (
	"strings"
	"testing"
)

// TestPrintBeyond: a page whose limit was measured at a worse moment than what it bounds says so.
func TestPrintBeyond(t *testing.T) {
	f := func(share float64, want bool) {
		t.Helper()
		p := Page{Own: []Figure{{Name: "entries", Value: 5, Unit: "/s", Limit: "synced writes", Share: 0.4}, {Name: "entries, batched", Value: 5, Unit: "/s", Limit: "synced writes", Share: share, disk: true}, {Name: "memory", Share: 3}}}
		var b strings.Builder
		if err := p.Print(&b); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(b.String(), "at another moment"); got != want {
			t.Errorf("a share of %v: %t; want %t\n%s", share, got, want, b.String())
		}
	}
	f(0, false) // a node's socket may take less than another's
	f(0.9, false)
	f(1.1, false)
	f(19.33, true)
}

// TestSeveral: one of a thing is one of it.
func TestSeveral(t *testing.T) {
	f := func(n float64, want string) {
		t.Helper()
		if got := several(n, "turn"); got != want {
			t.Errorf("%v: %q; want %q", n, got, want)
		}
	}
	f(0.2, "0 turns")
	f(0.9, "1 turn")
	f(1, "1 turn")
	f(1.4, "1 turn")
	f(1.6, "2 turns")
	f(8, "8 turns")
}
