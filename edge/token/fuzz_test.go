package token

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"switchboard/wire"
)

func marshalPublic() ([]byte, error) { return x509.MarshalPKIXPublicKey(made().ed.Public()) }

// Whatever a client brings: no panic, an error that the wire has, and nothing accepted but what was signed.
func FuzzCheck(f *testing.F) {
	ring, at := rings(), time.Unix(1_800_000_000, 0)
	payload := fmt.Sprintf(`{"tenant":"demo","sub":"alice","role":"customer","exp":%d}`, at.Unix()+60)
	m := made()
	signed := map[string]bool{}
	for kid, sign := range map[string]func(string) []byte{
		`HS256","kid":"hs`: by(jwt.SigningMethodHS256, secret), `RS256","kid":"rs`: by(jwt.SigningMethodRS256, m.rsa),
		`ES256","kid":"es`: by(jwt.SigningMethodES256, m.ec), `EdDSA","kid":"ed`: by(jwt.SigningMethodEdDSA, m.ed),
	} {
		token := raw(`{"alg":"`+kid+`"}`, payload, sign)
		signed[token[:strings.LastIndexByte(token, '.')]] = true
		f.Add(token)
	}
	f.Add(raw(`{"alg":"none"}`, payload, nil))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		_, err := ring.Check(token, at)
		switch slug(err) {
		case wire.Unauthenticated:
		case "", wire.TokenExpired:
			if i := strings.LastIndexByte(token, '.'); i < 0 || !signed[token[:i]] {
				t.Errorf("%q was accepted, and nobody signed it", token)
			}
		default:
			t.Errorf("%q: %v", token, err)
		}
	})
}

// Whatever a rightful issuer signs: what is accepted holds to the bounds, and can be minted again.
func FuzzClaims(f *testing.F) {
	ring, at := rings(), time.Unix(1_800_000_000, 0)
	f.Add(`{"tenant":"demo","sub":"alice","role":"customer","exp":1800000060}`)
	f.Add(`{"tenant":"demo","sub":"bob","role":"worker","kind":"bot","exp":1.9e9,"nbf":1,"queues":["*"],"skills":{"a":1},"rating":0.5,"name":"B","shop":"s","tier":"t"}`)
	f.Add(`{"tenant":"demo","exp":1e308}`)
	sign := by(jwt.SigningMethodHS256, secret)
	f.Fuzz(func(t *testing.T, payload string) {
		token := raw(`{"alg":"HS256","kid":"hs"}`, payload, sign)
		c, err := ring.Check(token, at)
		if err != nil {
			if s := slug(err); s != wire.Unauthenticated && s != wire.TokenExpired {
				t.Errorf("%q: %v", payload, err)
			}
			return
		}
		if err := c.validate(); err != nil || !c.Expires.After(at) || c.Expires.Year() > 9999 {
			t.Errorf("%q reads as %+v: %v", payload, c, err)
		}
		if _, err := ring.Mint(c, time.Hour); err != nil && !strings.Contains(err.Error(), "it would be") {
			t.Errorf("%+v can not be minted: %v", c, err)
		}
	})
}

// Whatever an operator writes: no panic, what is read has keys with an algorithm, and the same keys when the file is written as changing it does.
func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"version":1,"tenants":{"demo":{"keys":[{"kid":"s","secret":"a passphrase of at least 32 bytes"}]}}}`))
	for _, private := range []bool{true, false} {
		f.Add(fmt.Appendf(nil, `{"version":1,"tenants":{"demo":{"keys":[%s,%s]}}}`, jwkOf(made().ec, "a", private), jwkOf(made().ed, "b", private)))
		f.Add(jwkOf(made().rsa, "c", private))
	}
	f.Add([]byte(`{"kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(make([]byte, 256)) + `","e":"AQAB","d":"AQ","p":"AA","q":"AA"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var keys []Key
		if k, err := parseJWK(doc); err == nil {
			keys = append(keys, k)
		}
		if ring, err := Parse(doc); err == nil {
			for _, of := range ring.tenants {
				keys = append(keys, of...)
			}
			file := must(parseFile(doc))
			if was, is := must(Lines(doc)), must(Lines(must(json.Marshal(file)))); !slices.Equal(was, is) {
				t.Errorf("the keys were %v and are %v", was, is)
			}
		}
		for _, k := range keys {
			if k.Alg == "" || k.public == nil || k.method() == nil {
				t.Errorf("%v is no key", k)
			}
		}
	})
}

// Whatever an operator has in a PEM file: no panic, and what is read is written as a file that reads as the same key.
func FuzzParsePEM(f *testing.F) {
	m := made()
	for _, private := range []any{m.rsa, m.ec, m.ed} {
		f.Add(must(written(private)))
	}
	for _, public := range []any{m.rsa.Public(), m.ec.Public(), m.ed.Public()} {
		f.Add(must(written(public)))
	}
	f.Add(pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(m.rsa)))
	f.Add(pemOf("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&m.rsa.PublicKey)))
	f.Add(slices.Concat([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"),
		pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(m.ec)))))
	f.Fuzz(func(t *testing.T, doc []byte) {
		k, err := ParsePEM("id", doc)
		if err != nil {
			return
		}
		key := k.public
		if k.Signs() {
			key = k.private
		}
		again, err := written(key)
		if err != nil {
			t.Fatalf("%v can not be written: %v", k, err)
		}
		is, err := ParsePEM("id", again)
		if err != nil || is.Alg != k.Alg || is.Signs() != k.Signs() || !is.public.(interface{ Equal(crypto.PublicKey) bool }).Equal(k.public) {
			t.Fatalf("%v is %v when it is written, %v", k, is, err)
		}
		if k.Signs() && !is.private.(interface{ Equal(crypto.PrivateKey) bool }).Equal(k.private) {
			t.Errorf("%v signs with another key when it is written", k)
		}
	})
}

// written is a key as most programs write it: PKCS #8 or PKIX.
func written(key any) ([]byte, error) {
	if _, private := key.(crypto.Signer); private {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return pemOf("PRIVATE KEY", der), err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	return pemOf("PUBLIC KEY", der), err
}

func BenchmarkCheck(b *testing.B) {
	m := made()
	for _, k := range []Key{must(NewSecret("hs", secret)), must(NewKey("rs", m.rsa)), must(NewKey("es", m.ec)), must(NewKey("ed", m.ed))} {
		b.Run(string(k.Alg), func(b *testing.B) {
			ring := must(New(map[string][]Key{"demo": {k}}))
			token, at := must(ring.Mint(alice, time.Hour)), now()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ring.Check(token, at); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
