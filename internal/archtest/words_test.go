package archtest

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unsaid are words of the protocol that no black-box test hears, and why.
var unsaid = map[string]string{
	"3004": "internal: nothing fails in this way; a broken invariant ends the process, and what a disk breaks its shard",
	"3014": "rebalance: shards move, and connections stay; a node that drains says 3001",
}

// TestWordsAreHeard holds the protocol's words to black-box tests, those of node, edge and the command: each error, each close code,
// each event of a session's life, and each frame is named by one at least. A clause has many of them; that it is cited says little of each.
func TestWordsAreHeard(t *testing.T) {
	doc := read(t, "docs/protocol.md")
	var heard strings.Builder
	for _, name := range files(t, "_test.go") {
		if strings.HasPrefix(name, "node/") || strings.HasPrefix(name, "edge/") || strings.HasPrefix(name, "cmd/") {
			heard.WriteString(read(t, name))
		}
	}
	tests := heard.String()
	words := map[string]string{} // what it is, by the word
	between := func(from, to string) string {
		t.Helper()
		_, rest, ok := strings.Cut(doc, from)
		text, _, ok2 := strings.Cut(rest, to)
		if !ok || !ok2 {
			t.Fatalf("docs/protocol.md has nothing between %q and %q", from, to)
		}
		return text
	}
	collect := func(what, text string, form *regexp.Regexp, least int) {
		t.Helper()
		n := len(words)
		for _, m := range form.FindAllStringSubmatch(text, -1) {
			words[m[1]] = what
		}
		if len(words)-n < least {
			t.Errorf("only %d words are found that are %s: is the document written in another way?", len(words)-n, what)
		}
	}
	collect("an error", between("\n400 ", "\n6.2"), regexp.MustCompile(`\b([a-z]+(?:_[a-z]+)*)\b`), 28)
	collect("a close code", between("\n6.2", "\n6.3"), regexp.MustCompile(`\b(3\d{3})\b`), 15)
	collect("an event", doc, regexp.MustCompile("`((?:session|worker|participant|channel|level)\\.[a-z_]+)`"), 22)
	collect("a frame", doc, regexp.MustCompile(`[→←] \{(?:"id":\d+,)?"([a-z_]+)":`), 32)
	collect("a verb", doc, regexp.MustCompile("`([a-z_]+)(?: |` `)\\{\""), 6)
	constants := codes(t)
	for _, word := range slices.Sorted(maps.Keys(words)) {
		form := `"` + regexp.QuoteMeta(word) + `"`
		if word[0] == '3' {
			form = `\b` + word + `\b`
		}
		if name := constants[word]; name != "" {
			form += `|wire\.` + name + `\b`
		}
		said := regexp.MustCompile(form).MatchString(tests)
		switch why := unsaid[word]; {
		case why == "" && !said:
			t.Errorf("%s is %s of docs/protocol.md, and no test of node, edge or cmd names it", word, words[word])
		case why != "" && said:
			t.Errorf("%s is said to be heard nowhere (%s), and a test names it", word, why)
		}
	}
	for word := range unsaid {
		if words[word] == "" {
			t.Errorf("%s is said to be heard nowhere, and docs/protocol.md does not have it", word)
		}
	}
}

// codes are the names that the code has for slugs and close codes, by the word.
func codes(t *testing.T) map[string]string {
	t.Helper()
	names := map[string]string{}
	for file, form := range map[string]string{
		"wire/error.go": `(?m)^\s+([A-Z]\w+)\s+(?:Slug\s+)?= "([a-z_]+)"`,
		"wire/close.go": `(?m)^\s+(Close\w+)\s+(?:CloseCode\s+)?= (\d+)`,
	} {
		for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(read(t, file), -1) {
			names[m[2]] = m[1]
		}
	}
	if len(names) < 40 {
		t.Fatalf("only %d names are found in wire", len(names))
	}
	return names
}
