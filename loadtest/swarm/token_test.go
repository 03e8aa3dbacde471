package swarm

import (
	"fmt"
	"strings"
	"testing"

	"switchboard/loadtest/ledger"
	"switchboard/loadtest/scenario"
)

// TestAuditOfABrokenStream: what a stream had told when its bot was lost stands in the history, and is no altered answer; another text is one.
func TestAuditOfABrokenStream(t *testing.T) {
	f := func(want int64, kind, text string) {
		t.Helper()
		book := ledger.Begin("s_1", 1, false)
		p := &person{a: &agent{timeline: newTimeline(), sc: &scenario.Scenario{}, m: newMeters()}, audit: &audit{session: "s_1", book: &book, done: make(chan error, 1)}}
		a := p.audit
		p.page(fmt.Appendf(nil, `{"id":4,"history":{"entries":[{"seq":2,"kind":"message","type":%q,"body":{"n":1,"of":1,"len":3,"text":%q}}]}}`, kind, text))
		if err := <-a.done; err != nil || p.a.m.counts().Mismatched != want || len(a.log) != 1 {
			t.Errorf("%s %q: %v, %d entries, %d mismatched; want %d", kind, text, err, len(a.log), p.a.m.counts().Mismatched, want)
		}
	}
	f(0, "text", string(filler[:3]))
	f(1, "text", "~1.2.3 ")
	f(0, "interrupted", "~1.2.3 ")
}

// TestTokens: a customer's book of what he is shown of a stream, frame by frame; what is missing is a figure, what is otherwise than it was told a fault.
func TestTokens(t *testing.T) {
	text := func(ns ...int) string {
		var b []byte
		for _, n := range ns {
			b = appendToken(b, int64(n+1000)*1e6, n, 7)
		}
		return string(b)
	}
	width := len(text(0))
	delta := func(n int) string {
		return fmt.Sprintf(`{"delta":{"session":"s_1","stream":"m7.1.1","off":%d,"text":"%s"}}`, n*width, text(n))
	}
	anew := func(ns ...int) string {
		return fmt.Sprintf(`{"stream":{"session":"s_1","stream":"m7.1.1","off":"%d","text":"%s"}}`, len(text(ns...)), text(ns...))
	}
	end := `{"message":{"session":"s_1","seq":2,"prev":1,"origin":"bot","kind":"message","type":"text","body":{"n":1,"of":1,"tokens":4,"w":0,"len":0,"text":""},"stream":"m7.1.1"}}`
	f := func(want string, tokens, lost int64, frames ...string) {
		t.Helper()
		p := &person{a: &agent{timeline: newTimeline(), sc: &scenario.Scenario{}, m: newMeters()}, account: ledger.Begin("s_1", 1, false)}
		for _, frame := range append(frames, strings.Replace(end, `"n":1,"of":1,`, "", 1)) {
			if err := p.heard([]byte(frame)); err != nil {
				t.Fatal(err)
			}
		}
		var kinds []string
		for _, e := range p.a.m.evidence {
			kinds = append(kinds, e.Kind)
		}
		if c := p.a.m.counts(); strings.Join(kinds, " ") != want || c.Tokens != tokens || c.TokensLost != lost {
			t.Errorf("%q: %v, %d tokens, %d lost; want %q, %d, %d", frames, p.a.m.evidence, c.Tokens, c.TokensLost, want, tokens, lost)
		}
	}
	if n := len(text(9)); n != width {
		t.Fatalf("tokens are %d and %d bytes long", width, n)
	}
	f("", 4, 0, delta(0), delta(1), delta(2), delta(3))
	f("", 2, 2, delta(0), delta(3))
	f("", 0, 4)
	f("", 4, 0, delta(0), delta(1), anew(0, 1, 2), delta(3))
	f("", 4, 0, anew(), delta(0), anew(0), delta(1), delta(2), delta(3))
	f("duplicated", 3, 1, delta(0), delta(1), delta(1), delta(2))
	f("reordered", 4, 0, delta(0), delta(2), delta(1), delta(3))
	f("mismatched", 3, 1, delta(0), delta(1), strings.Replace(delta(2), "~", "~1", 1), delta(3))
	f("mismatched", 1, 3, delta(0), strings.Replace(delta(1), " ", "", 1))
	f("mismatched", 1, 3, strings.Replace(delta(0), "m7.1.1", "m8.1.1", 1), delta(0)) // a token of another stream
	f("", 0, 4, strings.Replace(delta(0), "s_1", "s_2", 1))
}
