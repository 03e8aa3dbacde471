package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Line is what may be told of a key: nothing of its secret.
type Line struct {
	Tenant string `json:"tenant"`
	Kid    string `json:"kid"`
	Alg    Alg    `json:"alg"`
	Signs  bool   `json:"signs"` // it can mint; a public key cannot
}

// ErrEdit says that a keys file is not changed as somebody wants, and why.
var ErrEdit = errors.New("refused")

// Lines returns the keys of a keys file's content, by tenant, each tenant's in their order: the first that signs mints.
func Lines(doc []byte) ([]Line, error) {
	r, err := Parse(doc)
	if err != nil {
		return nil, err
	}
	list := []Line{}
	for _, tenant := range slices.Sorted(maps.Keys(r.tenants)) {
		for _, k := range r.tenants[tenant] {
			list = append(list, Line{tenant, k.ID, k.Alg, k.Signs()})
		}
	}
	return list, nil
}

// Add returns a keys file's content with one more key of a tenant, who need not have had any: a JSON Web Key, {"kid","pem"} or
// {"kid","secret"}. First puts it before the others, so that it mints. The same key under the same kid changes nothing; another one under it
// is [ErrEdit].
func Add(doc []byte, tenant string, key json.RawMessage, first bool) ([]byte, error) {
	k, err := parseEntry(key)
	if err != nil {
		return nil, fmt.Errorf("%w: the key: %w", ErrEdit, err)
	}
	return edit(doc, func(f *file) error {
		have := f.Tenants[tenant].Keys
		at, err := position(have, k.ID)
		if err != nil {
			return err
		}
		if at >= 0 {
			if was, err := parseEntry(have[at]); err != nil || !was.same(k) {
				return fmt.Errorf("%w: tenant %q has another key with the kid %q: choose another kid, or remove that one first", ErrEdit, tenant, k.ID)
			}
			return nil
		}
		var keys []json.RawMessage
		if keys = append(slices.Clone(have), key); first {
			keys = append([]json.RawMessage{key}, have...)
		}
		f.Tenants[tenant] = ofFile{keys}
		return nil
	})
}

// Create returns a keys file's content with a new random secret of a tenant, before his others, so that it mints. When he has a key with that
// kid, nothing is changed.
func Create(doc []byte, tenant, kid string) ([]byte, error) {
	secret := make([]byte, MinSecret)
	rand.Read(secret) // does not fail
	key, err := json.Marshal(map[string]any{"kty": "oct", "kid": kid, "alg": HS256, "k": octets(secret)})
	if err != nil {
		return nil, err
	}
	f, err := parseFile(doc)
	if err != nil {
		return nil, err
	}
	if at, err := position(f.Tenants[tenant].Keys, kid); err != nil || at >= 0 {
		return doc, err
	}
	return Add(doc, tenant, key, true)
}

// Remove returns a keys file's content without a key of a tenant; when there is none with that kid nothing is changed. The last one of a tenant
// goes only when last says so: nobody of his gets in then.
func Remove(doc []byte, tenant, kid string, last bool) ([]byte, error) {
	return edit(doc, func(f *file) error {
		have := f.Tenants[tenant].Keys
		switch at, err := position(have, kid); {
		case err != nil:
			return err
		case at < 0:
			return nil
		case len(have) == 1 && !last:
			return fmt.Errorf("%w: %q is the last key of tenant %q, and nobody of his would get in: add another one first, or say that it is the last", ErrEdit, kid, tenant)
		case len(have) == 1:
			delete(f.Tenants, tenant)
			return nil
		default:
			f.Tenants[tenant] = ofFile{slices.Delete(slices.Clone(have), at, at+1)}
			return nil
		}
	})
}

// edit returns doc with what change does to it: the same bytes when that is nothing, and otherwise others without a checksum.
func edit(doc []byte, change func(f *file) error) ([]byte, error) {
	f, err := parseFile(doc)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	if err := change(f); err != nil {
		return nil, err
	}
	after, err := json.Marshal(f)
	if err != nil || bytes.Equal(before, after) {
		return doc, err
	}
	if after, err = f.text(); err != nil {
		return nil, err
	}
	if len(after) > maxFile-sumRoom {
		return nil, fmt.Errorf("%w: the keys would be more than %d bytes", ErrEdit, maxFile)
	}
	if _, err := Parse(after); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEdit, err)
	}
	return after, nil
}

// parseFile reads what Parse accepts, with its keys as they are written, and without the checksum.
func parseFile(doc []byte) (*file, error) {
	if _, err := Parse(doc); err != nil {
		return nil, err
	}
	f := &file{}
	if err := json.Unmarshal(doc, f); err != nil {
		return nil, err
	}
	f.Sum = ""
	if f.Tenants == nil {
		f.Tenants = map[string]ofFile{}
	}
	return f, nil
}

// position returns where the key with a kid is, -1 when it is nowhere.
func position(keys []json.RawMessage, kid string) (int, error) {
	for i, raw := range keys {
		k, err := parseEntry(raw)
		if err != nil {
			return -1, err
		}
		if k.ID == kid {
			return i, nil
		}
	}
	return -1, nil
}

// same tells whether two keys verify and sign the same.
func (k Key) same(o Key) bool {
	if k.ID != o.ID || k.Alg != o.Alg || k.Signs() != o.Signs() {
		return false
	}
	if a, ok := k.public.([]byte); ok {
		b, ok := o.public.([]byte)
		return ok && bytes.Equal(a, b)
	}
	switch a := k.public.(type) {
	case *rsa.PublicKey:
		return a.Equal(o.public)
	case *ecdsa.PublicKey:
		return a.Equal(o.public)
	case ed25519.PublicKey:
		return a.Equal(o.public)
	}
	return false
}
