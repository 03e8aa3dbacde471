package written

import (
	"errors"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// refused looks whether a document is refused in these words, with the place where that is; of line 0 whether it is read.
func refused(t *testing.T, doc string, line int, words string) {
	t.Helper()
	file, err := Parse([]byte(doc))
	y := yaml.Error(nil)
	switch {
	case line > 0 && (!errors.As(err, &y) || !strings.Contains(y.GetMessage(), words) || y.GetToken().Position.Line != line):
		t.Errorf("%q: %v; want line %d", doc, err, line)
	case line == 0 && (err != nil || file.Docs[0].Body == nil && file.Docs[len(file.Docs)-1].Body == nil):
		t.Errorf("%q: %v", doc, err)
	}
}

// TestNest: 64 lists and mappings may lie in each other, and one more is refused where it begins, however it is written and however
// much follows.
func TestNest(t *testing.T) {
	f := func(what string, doc func(n int) string) {
		t.Helper()
		if _, err := Parse([]byte(doc(MaxNest))); err != nil {
			t.Errorf("%d of %s: %v", MaxNest, what, err)
		}
		for _, n := range []int{MaxNest + 1, 100_000} {
			_, err := Parse([]byte(doc(n)))
			y := yaml.Error(nil)
			if !errors.As(err, &y) || y.GetMessage() != "it is nested deeper than 64" || y.GetToken() == nil {
				t.Errorf("%d of %s: %v", n, what, err)
			}
		}
	}
	times := strings.Repeat
	f("brackets", func(n int) string { return times("[", n) + times("]", n) })
	f("mappings on a line", func(n int) string { return times("{a: ", n) + "1" + times("}", n) })
	f("entries on a line", func(n int) string { return times("- ", n) + "x" })
	f("brackets in a mapping", func(n int) string { return "a:\n  - b: " + times("[", n-3) + times("]", n-3) })
	f("mappings under each other", func(n int) string {
		var b strings.Builder
		for i := range min(n, 1000) { // 100,000 of them would be ten gigabytes of spaces
			b.WriteString(times(" ", i) + "a:\n")
		}
		return b.String()
	})
	f("lists and mappings under each other", func(n int) string {
		var b strings.Builder
		for i := range min(n, 1000) / 2 {
			b.WriteString(times("    ", i) + "- a:\n")
		}
		if n%2 == 1 {
			b.WriteString(times("    ", min(n, 1000)/2) + "b: 1\n")
		}
		return b.String()
	})

	// What lies beside each other is not in each other, and a bracket in a text is none.
	for what, doc := range map[string]string{
		"long":      times("a:\n  - {b: [1, [2]]}\n  - c:\n      d: 1\n", 1000),
		"text":      "a: 'x" + times("[", 1000) + "'\nb: \"" + times("{", 1000) + "\"\nc: x" + times("[{", 100) + "\nd: |\n  " + times("[", 1000) + "\n",
		"a comment": "a: 1 # " + times("[", 1000) + "\n# " + times("{", 1000) + "\nb: 2\n",
		"lines":     "a:\n" + times("  - x\n", 1000),
		"nothing":   "",
	} {
		if _, err := Parse([]byte(doc)); err != nil && !strings.Contains(err.Error(), "duplicate") && !strings.Contains(err.Error(), "already defined") {
			t.Errorf("%s: %.200v", what, err)
		}
	}
}

// TestNothingStandsForMore: nothing stands for another part of the document, in any of several.
func TestNothingStandsForMore(t *testing.T) {
	for doc, line := range map[string]int{
		"a: &x [1]\nb: *x\n":           1,
		"a: 1\nb: *x\n":                2,
		"a: 1\nb:\n  <<: {c: 1}\n":     3,
		"a: !!binary aGFsbG8=\n":       1,
		"- 1\n---\n- 1\n- &x 2\n":      4,
		"a: [1, {b: &x 2}]\nc: [*x]\n": 1,
	} {
		refused(t, doc, line, "anchors, aliases, tags and merges are not read")
	}
	file, err := Parse([]byte("a: 1\n---\nb: 2\n"))
	if err != nil || len(file.Docs) != 2 {
		t.Errorf("two documents are %+v, %v", file, err)
	}
}

// TestNothingIsHidden: what stands behind a document with nothing in it is refused with its place, as the parser does not see it; what it sees is read.
func TestNothingIsHidden(t *testing.T) {
	for doc, line := range map[string]int{
		"---\n---\na: 1\n":               2,
		"---\n# b\n\n---\na: 1\n":        4,
		"a: 1\n---\n# b\n---\nc: 1\n":    4,
		"a: 1\n---\n---\n":               3,
		"# a\n---\na: 1\n":               0,
		"---\n# b\na: 1\n":               0,
		"a: 1\n---\n":                    0,
		"a: |\n  ---\n  ---\nb: '---'\n": 0,
	} {
		refused(t, doc, line, "nothing in it")
	}
}

// TestEmptyLines: as many empty lines in a row as people write are read, and one more is refused with its place, whatever the lines are of and what is behind them.
func TestEmptyLines(t *testing.T) {
	for _, empty := range []string{"\n", "  \n", "\t\n", "\r\n", "\r", " \t \r\n"} {
		refused(t, "a: |\n"+strings.Repeat(empty, MaxEmpty+1)+"b: 1\n", 2, "empty lines")
		refused(t, "a: |\n"+strings.Repeat(empty, 250_000), 2, "empty lines")
		refused(t, "a: 1\nb: 2\n"+strings.Repeat(empty, MaxEmpty+1)+"c: 1\n", 3, "empty lines")
	}
	refused(t, "a: |\n"+strings.Repeat("\n", MaxEmpty), 0, "")
	refused(t, "a: |\r\n"+strings.Repeat("\r\n", MaxEmpty)+"  x\r\n", 0, "")
	refused(t, "a: |\n"+strings.Repeat(strings.Repeat("\n", MaxEmpty)+"  x\n", 3), 0, "")
}

// TestWide: so many keys of one mapping are read, and one more is refused where it stands; what is another mapping's, or within brackets, is not counted with them.
func TestWide(t *testing.T) {
	f := func(doc string, line int) {
		t.Helper()
		_, err := ParseWithin([]byte(doc), 3)
		y := yaml.Error(nil)
		if (err != nil) != (line > 0) || line > 0 && (!errors.As(err, &y) || y.GetToken().Position.Line != line || !strings.Contains(y.GetMessage(), "more than 3 keys")) {
			t.Errorf("%q: %v; want line %d", doc, err, line)
		}
	}
	f("a: 1\nb: 2\nc: 3\n", 0)
	f("a: 1\nb: 2\nc: 3\nd: 4\n", 4)
	f("a: 1\nb:\n  x: 1\n  y: 2\n  z: 3\nc:\n  x: 1\n  y: 2\n", 0)
	f("a: 1\nb:\n  x: 1\n  y: 2\n  z: 3\n  \"w\": 4\n", 6)
	f("b:\n- x: 1\n  y: 2\n  z: 3\n- x: 1\n  y: 2\n", 0)
	f("b:\n- x: 1\n  y: 2\n  z: 3\n  w: 4\n", 5)
	f("a: {a: 1, b: 2, c: 3, d: 4}\nb: 1\n", 0)
	f("? a\n? b\n? c\n", 0)
	f("? a\n? b\nc: 3\n? d\n", 4)
	f("? a\n: 1\n? b\n: 2\n? c\n: 3\n? d\n: 4\n", 7)
	f("a: 1\nb: 2\n---\nc: 3\nd: 4\n", 0)
	refused(t, strings.Repeat("---\na: 1\n", MaxDocuments), 0, "")
	refused(t, strings.Repeat("---\na: 1\n", MaxDocuments+1), 2*MaxDocuments+1, "documents")
}
