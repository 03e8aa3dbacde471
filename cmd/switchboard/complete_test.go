package main

import (
	"strings"
	"testing"
)

// A shell offers what the program knows: scenarios, days, roles.
func TestShellOffers(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		r := finish(t, as(t, nil, append([]string{"__complete"}, args...)...))
		if r.code != 0 || !strings.Contains("\n"+r.out, "\n"+want) {
			t.Errorf("%q: exit %d %s\n%s; want %q", args, r.code, r.err, r.out, want)
		}
	}
	f("saleday\n", "loadtest", "run", "")
	f("storm\n", "loadtest", "show", "")
	f("double11\n", "plan", "run", "")
	f("supervisor\n", "token", "--role", "")
	f("human\n", "token", "--kind", "")
	f("warn\n", "serve", "--log-level", "")
	f(":4\n", "loadtest", "run", "chat", "")
	f("erase\t", "er")
}
