package archtest

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// elsewhere says what of a clause no test of a single node can hold, and why; the rest of it is tested and cited like any other.
// There is no clause that belongs elsewhere wholly.
var elsewhere = map[string]string{
	"1":    "that the epoch grows when recovery finds the log shorter than it had promised: a replica's story; the loss that an operator accepts is TestAcceptLoss",
	"4.2":  "durable on a majority of the shard's replicas: one node has one copy",
	"4.8":  "owner of the shard and worker fail together: there is no second node that would go on",
	"5.2":  "accepting twice gives the same answer after a failover: on one node, after a restart",
	"5.10": "search and export: there are none yet",
	"6.2":  "3004 internal and 3014 rebalance: the clause itself says why nobody sends them. 3503 kicked: no operator can say so yet",
}

var (
	numbered = regexp.MustCompile(`(?m)(?:^|[.)] )(\d+a?\.\d+a?) [A-Z\x60]`)
	headed   = regexp.MustCompile(`(?m)^## (\d+a?) `)
	cited    = regexp.MustCompile(`\[SW-(\d+a?(?:\.\d+a?)?)\]`)
)

// clauses returns the numbers of docs/protocol.md: of its clauses, and of its sections.
func clauses(t *testing.T) (numbers, sections []string) {
	t.Helper()
	doc := read(t, "docs/protocol.md")
	for _, m := range numbered.FindAllStringSubmatch(doc, -1) {
		numbers = append(numbers, m[1])
	}
	for _, m := range headed.FindAllStringSubmatch(doc, -1) {
		sections = append(sections, m[1])
	}
	return numbers, sections
}

// citations returns where each clause is cited, in files whose names end like suffix.
func citations(t *testing.T, suffix string) map[string]string {
	t.Helper()
	at := map[string]string{}
	for _, name := range files(t, suffix) {
		if path.Base(name) == "clauses_test.go" {
			continue
		}
		for _, m := range cited.FindAllStringSubmatch(read(t, name), -1) {
			at[m[1]] = name
		}
	}
	return at
}

// Every clause of the protocol is cited by a test; whatever is cited exists.
func TestClauses(t *testing.T) {
	numbers, sections := clauses(t)
	for first, want := range map[string]int{"2": 9, "3": 4, "4": 11, "5": 10, "5a": 6, "6": 3, "7": 5, "8": 8} {
		n := 0
		for _, c := range numbers {
			if strings.HasPrefix(c, first+".") {
				n++
			}
		}
		if n < want {
			t.Errorf("%d clauses are found in section %s, which had %d: has one gone, or is it not found any more?", n, first, want)
		}
	}
	if twice := len(numbers) - len(slices.Compact(slices.Sorted(slices.Values(numbers)))); twice != 0 {
		t.Errorf("%d clauses have a number that another has", twice)
	}
	tests := citations(t, "_test.go")
	for _, c := range append(numbers, "1", "3", "4", "5", "7") { // and the sections with words or frames of their own
		if tests[c] == "" {
			t.Errorf("no test cites [SW-%s]", c)
		}
	}
	known := append(slices.Clone(numbers), sections...)
	for c, name := range citations(t, ".go") {
		if !slices.Contains(known, c) {
			t.Errorf("%s cites [SW-%s], which docs/protocol.md does not have", name, c)
		}
	}
	for c := range elsewhere {
		if !slices.Contains(known, c) {
			t.Errorf("clause %s is said to belong elsewhere, and docs/protocol.md does not have it", c)
		}
	}
}
