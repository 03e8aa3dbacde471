package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/wire"
)

// [SW-8.2] The first use makes the keys, the next finds them, and nobody else can read them.
func TestLoadOrCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	first, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v in the directory; want only the keys", files, err)
	}
	second, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	agreeOnKeys(t, first, second)

	other, err := LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Check(must(first.Mint(alice, time.Hour)), now()); slug(err) != wire.Unauthenticated {
		t.Errorf("another directory's token: %v; want %s", err, wire.Unauthenticated)
	}
}

// agreeOnKeys tells whether a's tokens are good for b.
func agreeOnKeys(t *testing.T, a, b *Keyring) {
	t.Helper()
	token, err := a.Mint(alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Check(token, now()); err != nil {
		t.Errorf("the same file, other keys: %v", err)
	}
}

// However many come first at once, they end with the same keys.
func TestLoadOrCreateAtOnce(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		var rings [8]*Keyring
		var errs [8]error
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range rings {
			all.Go(func() {
				<-start
				rings[i], errs[i] = LoadOrCreate(dir)
			})
		}
		close(start)
		all.Wait()
		for i := range rings {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			agreeOnKeys(t, rings[0], rings[i])
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Fatalf("%v, %v in the directory; want only the keys", files, err)
		}
	}
}

// A file that is there is never replaced, however broken it is: it may be the only copy of somebody's keys.
func TestLoadOrCreateKeepsWhatIsThere(t *testing.T) {
	for _, doc := range []string{"", "{}", `{"version":2,"tenants":{},"more":1}`, "garbage", strings.Repeat(" ", maxFile+1)} {
		dir := t.TempDir()
		path := filepath.Join(dir, FileName)
		if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreate(dir); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%.40q: %v; want an error that names the file", doc, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != doc {
			t.Errorf("%.40q became %.40q, %v", doc, after, err)
		}
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreate(path); err == nil {
		t.Error("a directory that is a file was accepted")
	}
}

// Each bit of a keys file that turns, and each end of it: it is an error that names the file and says what to do, or the keys are the same. A file without
// a checksum, of a version before there were any or of an operator's hand, is read, and gets one when it is written again.
func TestKeysFlips(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	bare := fmt.Appendf(nil, `{"version":1,"tenants":{
  "demo":{"keys":[%s,{"kid":"s","secret":"a passphrase of at least 32 bytes & more"}]},
  "demp":{"keys":[{"kid":"x","secret":"another passphrase of some length"}]}}}`, jwkOf(made().ec, "j", true))
	doc, err := Seal(bare)
	if err != nil {
		t.Fatal(err)
	}
	ring := must(Parse(bare))
	load := func(b []byte) (*Keyring, error) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return LoadOrCreate(dir)
	}
	same := func(o *Keyring) bool {
		return o != nil && maps.EqualFunc(ring.tenants, o.tenants, func(a, b []Key) bool { return slices.EqualFunc(a, b, Key.same) })
	}
	for _, b := range [][]byte{doc, bare} {
		if r, err := load(b); err != nil || !same(r) {
			t.Fatalf("%s: %v", b, err)
		}
	}
	if again := must(Seal(doc)); !same(must(Parse(again))) || !bytes.Contains(again, []byte(`"sum": "`)) {
		t.Fatalf("sealed again it is %s", again)
	}
	if b := must(Bare(doc)); !same(must(Parse(b))) || bytes.Contains(b, []byte(`"sum"`)) {
		t.Fatalf("without a checksum it is %s", b)
	}
	told := 0
	f := func(b []byte, what string, at int) {
		t.Helper()
		r, err := load(b)
		switch {
		case err == nil && !same(r):
			t.Fatalf("%s %d: %s has other keys", what, at, b)
		case err != nil && (!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), putBack)):
			t.Fatalf("%s %d: %v does not name the file, or does not say what to do", what, at, err)
		case err != nil:
			told++
		}
	}
	for i := range len(doc) * 8 {
		b := bytes.Clone(doc)
		b[i/8] ^= 1 << (i % 8)
		f(b, "bit", i)
	}
	if told < len(doc)*8*97/100 { // others are spaces that became others
		t.Errorf("of %d bits %d are told of", len(doc)*8, told)
	}
	told = 0
	for n := range doc {
		f(doc[:n], "end", n)
	}
	if told != len(doc) {
		t.Errorf("of %d ends %d are told of", len(doc), told)
	}
	hand := bytes.Replace(doc, []byte("at least"), []byte("at most "), 1)
	if _, err := load(hand); err == nil || !strings.Contains(err.Error(), `remove "sum" from it`) {
		t.Errorf("changed by hand: %v", err)
	}
	made, err := LoadOrCreate(filepath.Join(dir, "new"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "new", FileName))
	if err != nil || !bytes.Contains(b, []byte(`"sum": "`)) {
		t.Errorf("%s, %v has no checksum", b, err)
	}
	agreeOnKeys(t, made, must(Parse(b)))
	if b, err = Create(b, "shop", "1"); err != nil || bytes.Contains(b, []byte(`"sum"`)) {
		t.Errorf("%v: %s still has the checksum of what it was", err, b)
	}
}

func TestParse(t *testing.T) {
	pemText := must(json.Marshal(string(pemOf("PUBLIC KEY", must(marshalPublic())))))
	doc := fmt.Appendf(nil, `{"version":1,"tenants":{
		"demo":{"keys":[%s,{"kid":"p","pem":%s},{"kid":"s","secret":"a passphrase of at least 32 bytes"}]},
		"other":{"keys":[{"secret":"another passphrase of some length"}]}}}`, jwkOf(made().ec, "j", true), pemText)
	ring, err := Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(ring.tenants); got != `map[demo:["j" (ES256) "p" (EdDSA) "s" (HS256)] other:["" (HS256)]]` {
		t.Errorf("keys are %s", got)
	}
	agreeOnKeys(t, ring, ring)

	f := func(what, doc, want string) {
		t.Helper()
		if _, err := Parse([]byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", what, err, want)
		}
	}
	key := func(k string) string { return `{"version":1,"tenants":{"demo":{"keys":[` + k + `]}}}` }
	f("a newer version", `{"version":2,"tenants":{}}`, "version 2")
	f("a newer version with more in it", `{"version":2,"rings":{}}`, "version 2")
	f("no version", `{"tenants":{}}`, "version 0")
	f("an unknown member", `{"version":1,"tenant":{}}`, "tenant")
	f("an unknown member of a tenant", `{"version":1,"tenants":{"demo":{"key":[]}}}`, "key")
	f("two documents", key(`{"secret":"a passphrase of at least 32 bytes"}`)+`{}`, "more than one")
	f("a tenant without keys", key(``), "no key")
	f("a tenant that is not an id", `{"version":1,"tenants":{"a b":{"keys":[]}}}`, "not an id")
	f("a short secret", key(`{"secret":"short"}`), "5 bytes")
	f("pem and secret", key(`{"secret":"x","pem":"y"}`), "both")
	f("a key that is not for us", key(`{"kty":"RSA","alg":"RSA-OAEP"}`), "not a signature key")
	f("an empty key", key(`{}`), "not a signature key")
}
