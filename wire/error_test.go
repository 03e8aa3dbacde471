package wire

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// clause returns the text of one numbered clause of the protocol.
func clause(t *testing.T, from, to string) string {
	t.Helper()
	doc, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "\n"+from+" ")
	if !ok {
		t.Fatalf("clause %s not found", from)
	}
	text, _, ok := strings.Cut(rest, "\n"+to+" ")
	if !ok {
		t.Fatalf("clause %s has no end", from)
	}
	return text
}

// [SW-6.1] The table and the document say the same, both ways.
func TestFaultsMatchTheProtocol(t *testing.T) {
	_, list, _ := strings.Cut(clause(t, "6.1", "6.2"), "one table serves WebSocket and HTTP.")
	documented := map[Slug]int{}
	for _, group := range regexp.MustCompile(`(\d{3}) ([a-z_, ]+)`).FindAllStringSubmatch(list, -1) {
		code, _ := strconv.Atoi(group[1])
		for slug := range strings.SplitSeq(group[2], ",") {
			documented[Slug(strings.TrimSpace(slug))] = code
		}
	}
	for _, f := range Faults() {
		if documented[f.Slug] != f.Code {
			t.Errorf("%s is %d here and %d in the document", f.Slug, f.Code, documented[f.Slug])
		}
		delete(documented, f.Slug)
		if f.Message == "" || f.Retry == "" {
			t.Errorf("%s has no message or no retry advice", f.Slug)
		}
	}
	for slug := range documented {
		t.Errorf("%s is in the document only", slug)
	}
}

// [SW-6.2] The same for close codes; the class of each decides whether to reconnect.
func TestClosingsMatchTheProtocol(t *testing.T) {
	text := clause(t, "6.2", "6.3")
	reconnect, terminal, ok := strings.Cut(text, "Terminal:")
	if !ok {
		t.Fatal("no terminal codes in clause 6.2")
	}
	documented := map[CloseCode]string{}
	for part, again := range map[string]bool{reconnect: true, terminal: false} {
		for _, m := range regexp.MustCompile(`(3\d{3}) ([a-z_]+)`).FindAllStringSubmatch(part, -1) {
			code, _ := strconv.ParseUint(m[1], 10, 16)
			documented[CloseCode(code)] = m[2]
			if CloseCode(code).Reconnect() != again {
				t.Errorf("%d: Reconnect() = %v; want %v", code, !again, again)
			}
		}
	}
	for _, c := range Closings() {
		if documented[c.Code] != c.Reason || c.Code.String() != c.Reason {
			t.Errorf("%d is %q here and %q in the document", c.Code, c.Reason, documented[c.Code])
		}
		delete(documented, c.Code)
	}
	for code := range documented {
		t.Errorf("%d is in the document only", code)
	}
}

func TestErrorReadsForPeople(t *testing.T) {
	f := func(e *Error, want string) {
		t.Helper()
		if got := e.Error(); got != want {
			t.Errorf("Error() = %q; want %q", got, want)
		}
	}
	f(Refuse(StaleAssignment), "409 stale_assignment: the session is no longer assigned to you under this ae")
	f(&Error{Slug: TooLarge, Message: "body has 40000 bytes; the limit is 32768"}, "413 too_large: body has 40000 bytes; the limit is 32768")
	f(Refuse("from_the_future"), "500 from_the_future: the server failed; the request may have been applied")
}
