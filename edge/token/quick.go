package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

// heads are the first parts of tokens that were good, as they were written. An issuer writes the same one for every token of a key,
// so there are few; what one says need not be read again. A header does not say whose it is: what one tenant's tokens have taught
// serves another's that begin with the same bytes. Safe for concurrent use.
type heads struct {
	mu sync.RWMutex
	// Guarded by mu.
	known map[string]head
	of    map[string]int // how many of them each tenant's tokens have taught
}

// head is what the header of a good token said.
type head struct {
	method jwt.SigningMethod
	kid    string
	kidded bool
}

// What is remembered is bounded for each tenant, so that an issuer who writes a new header into every token makes nobody slow but
// himself: every key may sign, and a header may be written in some ways. There are as many tenants as the operator has given keys to.
const (
	headsMost = 16  // of a tenant
	headMost  = 512 // bytes of one; those of others are read anew each time
)

func (h *heads) find(text string) (head, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	known, ok := h.known[text]
	return known, ok
}

// learn remembers the head of a token that was good, and is tenant's.
func (h *heads) learn(text, tenant string, t *jwt.Token) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.known[text]; ok || len(text) > headMost || h.of[tenant] >= headsMost {
		return
	}
	if h.known == nil {
		h.known, h.of = map[string]head{}, map[string]int{}
	}
	kid, kidded := t.Header["kid"].(string)
	h.known[strings.Clone(text)] = head{t.Method, kid, kidded}
	h.of[strings.Clone(tenant)]++
}

// encoding is that of a token's parts; a signature has one spelling.
var encoding = base64.RawURLEncoding.Strict()

// quick reads a token whose header was seen before, and verifies it with the library's own method. When it reports false the
// token may still be good: whoever asked looks at it in full, and finds out what is wrong with it.
func (r *Keyring) quick(token string, p *payload) bool {
	text, rest, _ := strings.Cut(token, ".")
	h, ok := r.heads.find(text)
	if !ok {
		return false
	}
	claims, sig, ok := strings.Cut(rest, ".")
	if !ok {
		return false
	}
	doc, err := encoding.DecodeString(claims)
	if err != nil || json.Unmarshal(exact(doc), p) != nil {
		return false
	}
	key, err := r.key(p.Tenant, h.method, h.kid, h.kidded)
	if err != nil {
		return false
	}
	signature, err := encoding.DecodeString(sig)
	return err == nil && h.method.Verify(token[:len(token)-len(sig)-1], signature, key.public) == nil
}

// key returns the key of a tenant by which a token of these must be signed. [SW-3.1] The key decides the algorithm, and the token
// can only agree.
func (r *Keyring) key(tenant string, method jwt.SigningMethod, kid string, kidded bool) (*Key, error) {
	keys := r.tenants[tenant]
	i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == kid })
	if i < 0 && !kidded && len(keys) == 1 {
		i = 0
	}
	switch {
	case keys == nil:
		return nil, errTenant
	case i < 0:
		return nil, errKid
	case method.Alg() != string(keys[i].Alg):
		return nil, errAlg
	}
	return &keys[i], nil
}

// claimNames are the members of a token that count.
var claimNames = [...]string{"sub", "exp", "nbf", "tenant", "role", "name", "shop", "tier", "kind", "queues", "skills", "rating", "attributes"}

// exact returns the claims of a token without members whose names are only alike to those that count. RFC 7519 tells large letters from small ones, and package json
// takes either: of an issuer that writes "role", and lets somebody else say what "Role" is, the latter would count.
func exact(doc []byte) []byte {
	if !alike(doc) {
		return doc
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(doc, &all) != nil {
		return doc // nobody else can read it either
	}
	for name := range all {
		if slices.ContainsFunc(claimNames[:], func(n string) bool { return n != name && strings.EqualFold(n, name) }) {
			delete(all, name)
		}
	}
	doc, _ = json.Marshal(all) // of what was just read, it cannot fail
	return doc
}

// longS and kelvin are letters that are alike to s and k, and the only ones beyond ASCII that are alike to some of it.
var longS, kelvin = []byte("\u017f"), []byte("\u212a")

// alike tells whether there may be such members: something in quotes is, or is written so that it has to be read first.
func alike(doc []byte) bool {
	if bytes.IndexByte(doc, '\\') >= 0 || bytes.Contains(doc, longS) || bytes.Contains(doc, kelvin) {
		return true
	}
	for {
		i := slices.IndexFunc(doc, func(c byte) bool { return 'A' <= c && c <= 'Z' })
		if i < 0 {
			return false
		}
		begin := bytes.LastIndexByte(doc[:i], '"') + 1 // of the word that has it
		end := bytes.IndexByte(doc[i:], '"')
		if end < 0 {
			return false
		}
		word := doc[begin : i+end]
		if slices.ContainsFunc(claimNames[:], func(n string) bool { return len(n) == len(word) && strings.EqualFold(n, string(word)) }) {
			return true
		}
		doc = doc[i+end:]
	}
}
