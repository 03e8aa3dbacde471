package whatif

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the figures of the scenarios anew instead of comparing them")

// golden compares what a scenario has come to with testdata/NAME.txt, to the last session and millisecond: a change of the core that changes who is
// served when shows there, also when every bound still holds. With -rewrite it is written; read the difference before committing it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if runtime.GOARCH != "amd64" {
		t.Logf("%s is not compared: it is that of amd64, and %s may round draws otherwise", path, runtime.GOARCH)
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s says\n%sand it came to\n%s-rewrite takes it over", path, want, got)
	}
}

// figures are what came of a scenario, a line for everybody and one for each of its parts.
func figures(what string, r *Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d sessions, %d with bots, %d with people; %d handed, %d transfers, %d lost, %d offers, %d missed; longest line %d, %d told\n",
		what, r.Sessions, r.Alone, r.Served, r.Handed, r.Transfers, r.Lost, r.Offers, r.Missed, r.MaxLine, r.Told)
	line := func(kind string, f *Figures) {
		fmt.Fprintf(&b, "  %s%s: %d of %d in time, %d left; waited %d ms in the mean, %d p50, %d p95, %d at most\n", kind, f.Name, f.InTime, f.Wanted, f.Left, f.MeanWait, f.P50, f.P95, f.MaxWait)
	}
	line("people", &r.People)
	for i := range r.Shops {
		line("shop ", &r.Shops[i])
	}
	for i := range r.Tiers {
		line("tier ", &r.Tiers[i])
	}
	for _, l := range r.Levels {
		if l.Shop == "" {
			fmt.Fprintf(&b, "  level %s: %d of %d, mean %d ms\n", l.Level, l.Met, l.Count, l.MeanMS)
		}
	}
	return b.String()
}
