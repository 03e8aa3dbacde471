package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// [SW-2.2] A body is one valid UTF-8 JSON value.
func TestValidJSON(t *testing.T) {
	f := func(text string, valid bool) {
		t.Helper()
		if err := ValidJSON([]byte(text)); (err == nil) != valid {
			t.Errorf("ValidJSON(%q) = %v; want valid %v", text, err, valid)
		}
	}
	f(`{"text":"hi"}`, true)
	f(" [1,-0.5e+3,true,false,null,\"\\u00e9\\n\"]\n", true)
	f(`""`, true)
	f(`0`, true)
	f(``, false)
	f(`{}{}`, false)
	f(`{"a":1,}`, false)
	f(`{a:1}`, false)
	f(`[1,]`, false)
	f(`01`, false)
	f(`-`, false)
	f(`1.`, false)
	f(`nul`, false)
	f(`"\x"`, false)
	f(`"\u12g4"`, false)
	f("\"\n\"", false)
	f("\"\xff\"", false)
	f("\"\xed\xa0\x80\"", false)
	f(strings.Repeat("[", 60)+strings.Repeat("]", 60), true)
	f(strings.Repeat("[", 64)+strings.Repeat("]", 64), true)
	f(strings.Repeat("[", 64)+"1"+strings.Repeat("]", 64), true)
	f(strings.Repeat("[", 65)+strings.Repeat("]", 65), false) // empty, and still the 65th
	f(strings.Repeat("[", 64)+"{}"+strings.Repeat("]", 64), false)
	f(strings.Repeat("[", 65)+"1"+strings.Repeat("]", 65), false)
	f(strings.Repeat("[", 70)+strings.Repeat("]", 70), false)
	f(strings.Repeat("[", 1<<20), false)
}

// What we call valid, the standard library calls valid; what we refuse of its, is bad UTF-8 or too deep.
func FuzzValidJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-7,"x\u0041"]}`, `"\ud83d\ude00"`, "\"\xc3\x28\"", `[[[[]]]]`, "1 \n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := ValidJSON(b)
		if std := json.Valid(b) && utf8.Valid(b); (err == nil) != std && !errors.Is(err, errDepth) {
			t.Fatalf("ValidJSON(%q) = %v; encoding/json and utf8 say %v", b, err, std)
		}
		if err != nil {
			return
		}
		body := AppendBody(nil, b)
		if bytes.ContainsAny(body, "\r\n") || ValidJSON(body) != nil {
			t.Fatalf("AppendBody(%q) = %q", b, body)
		}
		var want, got bytes.Buffer
		if json.Compact(&want, b) != nil || json.Compact(&got, body) != nil || want.String() != got.String() {
			t.Fatalf("AppendBody(%q) = %q: another value", b, body)
		}
	})
}

func FuzzStrings(f *testing.F) {
	for _, s := range []string{"", "hi", "a\"b\\c\n\r\t\x00\x1f", "é漢😀", "\xff\xfe", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := AppendString(nil, text)
		var std string
		if err := json.Unmarshal(b, &std); err != nil {
			t.Fatalf("AppendString(%q) = %s: %v", text, b, err)
		}
		s := scan{b: b}
		got, err := s.str()
		if err != nil || string(got) != std || (std != text && utf8.ValidString(text)) {
			t.Fatalf("%q came back as %q, in the standard library as %q (%v)", text, got, std, err)
		}
	})
}

// Eight bytes are looked at together: whatever stands at any place of them is found as one by one.
func TestStringsAtEveryPlace(t *testing.T) {
	for _, odd := range []string{`"`, `\`, "\x00", "\x1f", "\x20", "\x7f", "\x80", "\xff", "é", "😀", `\"`, `\u00e9`, `\u12g4`, "!", "#", "[", "]"} {
		for before := range 18 {
			for after := range 18 {
				text := `"` + strings.Repeat("x", before) + odd + strings.Repeat("\u00e9", after%3) + strings.Repeat("y", after) + `"`
				want := json.Valid([]byte(text)) && utf8.ValidString(text)
				if err := ValidJSON([]byte(text)); (err == nil) != want {
					t.Fatalf("ValidJSON(%q) = %v; want valid %v", text, err, want)
				}
			}
		}
	}
}

// Any string that the standard library reads, we read the same.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{`"\ud83d\ude00"`, `"\ud83d"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"\/\b\f\n\r\t\"\\"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if ValidJSON(b) != nil {
			return
		}
		var want string
		if json.Unmarshal(b, &want) != nil || bytes.TrimSpace(b)[0] != '"' {
			return
		}
		s := scan{b: b}
		if got, err := s.str(); err != nil || string(got) != want {
			t.Fatalf("%s: %q, %v; want %q", b, got, err, want)
		}
	})
}
