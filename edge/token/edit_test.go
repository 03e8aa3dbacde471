package token

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"switchboard/wire"
)

// A keys file is changed key by key. What makes no sense is refused, what is so already changes no byte, and every result is a keys file.
func TestEdit(t *testing.T) {
	doc := []byte(`{"version":1,"tenants":{"a":{"keys":[{"kid":"1","secret":"` + strings.Repeat("s", 32) + `"}]}}}`)
	lines := func() (s string) {
		t.Helper()
		list, err := Lines(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			s += l.Tenant + "/" + l.Kid + " "
		}
		return strings.TrimSpace(s)
	}
	do := func(now []byte, err error) func(want string, changed bool) {
		t.Helper()
		return func(want string, changed bool) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			if same := string(now) == string(doc); same == changed {
				t.Fatalf("changed %v; want %v", !same, changed)
			}
			if doc = now; lines() != want {
				t.Fatalf("the keys are %s; want %s", lines(), want)
			}
		}
	}
	refused := func(now []byte, err error) func(words string) {
		return func(words string) {
			t.Helper()
			if !errors.Is(err, ErrEdit) || !strings.Contains(err.Error(), words) || now != nil {
				t.Fatalf("got %q, %v; want a refusal with %q", now, err, words)
			}
		}
	}
	key := func(kid, c string) json.RawMessage {
		return json.RawMessage(`{"kid":"` + kid + `","secret":"` + strings.Repeat(c, 32) + `"}`)
	}
	do(Add(doc, "a", key("2", "t"), false))("a/1 a/2", true)
	do(Add(doc, "a", key("2", "t"), true))("a/1 a/2", false)
	refused(Add(doc, "a", key("2", "u"), false))("another key with the kid")
	refused(Add(doc, "a", json.RawMessage(`{"kid":"3","secret":"short"}`), false))("a secret of 5 bytes")
	refused(Add(doc, "a b", key("1", "t"), false))("not an id")
	do(Add(doc, "a", key("0", "u"), true))("a/0 a/1 a/2", true)
	do(Add(doc, "b", key("1", "u"), false))("a/0 a/1 a/2 b/1", true)
	do(Create(doc, "a", "new"))("a/new a/0 a/1 a/2 b/1", true)
	do(Create(doc, "a", "new"))("a/new a/0 a/1 a/2 b/1", false)
	do(Create(doc, "c", "1"))("a/new a/0 a/1 a/2 b/1 c/1", true)
	r, err := Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := r.Mint(Claims{Tenant: "a", Sub: "x", Role: wire.RoleCustomer}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	do(Remove(doc, "a", "nobody", false))("a/new a/0 a/1 a/2 b/1 c/1", false)
	do(Remove(doc, "nobody", "1", true))("a/new a/0 a/1 a/2 b/1 c/1", false)
	if r, err = Parse(doc); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Check(tok, time.Now()); err != nil {
		t.Fatal(err)
	}
	do(Remove(doc, "a", "new", false))("a/0 a/1 a/2 b/1 c/1", true)
	if r, err = Parse(doc); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Check(tok, time.Now()); err == nil {
		t.Fatal("a token is good whose key is gone")
	}
	refused(Remove(doc, "b", "1", false))("last key")
	do(Remove(doc, "b", "1", true))("a/0 a/1 a/2 c/1", true)
	if _, err := Add([]byte("{}"), "a", key("1", "t"), false); err == nil {
		t.Fatal("a file that is none is changed")
	}
}
