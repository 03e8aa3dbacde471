package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
)

// made are private keys of all kinds, made once: RSA keys take their time.
var made = sync.OnceValue(func() (m struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	ed  ed25519.PrivateKey
},
) {
	var err error
	if m.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		panic(err)
	}
	if m.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		panic(err)
	}
	if _, m.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
		panic(err)
	}
	return m
})

var secret = []byte("0123456789abcdef0123456789abcdef")

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// jwkOf is the JSON Web Key of a private key, or of its public half.
func jwkOf(key crypto.Signer, kid string, private bool) []byte {
	m := map[string]any{"kid": kid, "use": "sig", "x5t": "unknown members are ignored"}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		m["kty"], m["alg"] = "RSA", "RS256"
		m["n"], m["e"] = octets(k.N.Bytes()), octets(big.NewInt(int64(k.E)).Bytes())
		if private {
			m["d"], m["p"], m["q"] = octets(k.D.Bytes()), octets(k.Primes[0].Bytes()), octets(k.Primes[1].Bytes())
		}
	case *ecdsa.PrivateKey:
		point := must(k.PublicKey.Bytes())
		m["kty"], m["crv"], m["x"], m["y"] = "EC", "P-256", octets(point[1:33]), octets(point[33:])
		if private {
			m["d"] = octets(must(k.Bytes()))
		}
	case ed25519.PrivateKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", octets(k[32:])
		if private {
			m["d"] = octets(k.Seed())
		}
	}
	return must(json.Marshal(m))
}

// Every form of every key is read as the same key: what one private form signs, every public form verifies.
func TestForms(t *testing.T) {
	f := func(alg Alg, private, public []Key) {
		t.Helper()
		for _, k := range private {
			if !k.Signs() || k.Alg != alg {
				t.Errorf("%v: signs %v; want %s that does", k, k.Signs(), alg)
			}
			token, err := must(New(map[string][]Key{"demo": {k}})).Mint(alice, 60e9)
			if err != nil {
				t.Fatalf("%v: %v", k, err)
			}
			for _, p := range public {
				if p.Signs() || p.Alg != alg {
					t.Errorf("%v: signs %v; want %s that does not", p, p.Signs(), alg)
				}
				if _, err := must(New(map[string][]Key{"demo": {p}})).Check(token, now()); err != nil {
					t.Errorf("%v signed, %v: %v", k, p, err)
				}
			}
		}
		if len(private) == 0 || len(public) == 0 {
			t.Error("nothing to test")
		}
	}
	m := made()
	one := func(doc []byte) Key { return must(parseJWK(doc)) }
	pkix := func(k crypto.Signer) Key {
		return must(ParsePEM("k", pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(k.Public())))))
	}
	pkcs8 := func(k crypto.Signer) Key {
		return must(ParsePEM("k", pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(k)))))
	}
	f(RS256,
		[]Key{must(NewKey("k", m.rsa)), pkcs8(m.rsa), must(ParsePEM("k", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(m.rsa)))), one(jwkOf(m.rsa, "k", true))},
		[]Key{must(NewKey("k", &m.rsa.PublicKey)), pkix(m.rsa), must(ParsePEM("k", pemOf("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&m.rsa.PublicKey)))), one(jwkOf(m.rsa, "k", false))})
	params := pemOf("EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7})
	f(ES256,
		[]Key{must(NewKey("k", m.ec)), pkcs8(m.ec), must(ParsePEM("k", append(params, pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(m.ec)))...))), one(jwkOf(m.ec, "k", true))},
		[]Key{must(NewKey("k", &m.ec.PublicKey)), pkix(m.ec), one(jwkOf(m.ec, "k", false))})
	f(EdDSA,
		[]Key{must(NewKey("k", m.ed)), pkcs8(m.ed), one(jwkOf(m.ed, "k", true))},
		[]Key{must(NewKey("k", m.ed.Public())), pkix(m.ed), one(jwkOf(m.ed, "k", false))})
}

func TestKeysRefused(t *testing.T) {
	f := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	g := func(_ any, err error) error { return err }
	m := made()
	weak := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	f("a short secret", g(NewSecret("k", secret[:31])))
	f("a long secret", g(NewSecret("k", make([]byte, MaxSecret+1))))
	f("a long id", g(NewSecret(strings.Repeat("k", MaxKeyID+1), secret)))
	f("an RSA key of 1024 bits", g(NewKey("k", weak)))
	f("an RSA key of 16384 bits", g(NewKey("k", &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 16383), E: 65537})))
	f("a P-384 key", g(NewKey("k", p384)))
	f("a short Ed25519 key", g(NewKey("k", m.ed.Public().(ed25519.PublicKey)[:31])))
	f("a short private Ed25519 key", g(NewKey("k", m.ed[:63])))
	f("a secret as any key", g(NewKey("k", secret)))
	f("no PEM", g(ParsePEM("k", secret)))
	f("two blocks of PEM", g(ParsePEM("k", append(pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(m.ed))), pemOf("PUBLIC KEY", nil)...))))
	f("a certificate", g(ParsePEM("k", pemOf("CERTIFICATE", []byte{1}))))
	f("broken PEM", g(ParsePEM("k", pemOf("PUBLIC KEY", []byte{1}))))

	jwk := func(format string, args ...any) error { return g(parseJWK(fmt.Appendf(nil, format, args...))) }
	x, y := strings.Repeat("A", 43), strings.Repeat("A", 42)+"E"
	f("no JSON", jwk(`keys`))
	f("a set", jwk(`{"keys":[]}`))
	f("a short secret in a JWK", jwk(`{"kty":"oct","k":"c2hvcnQ"}`))
	f("a secret with padding", jwk(`{"kty":"oct","k":"%s="}`, x))
	f("a point off the curve", jwk(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, x, y))
	f("a point of the wrong length", jwk(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`))
	f("a short Ed25519 key in a JWK", jwk(`{"kty":"OKP","crv":"Ed25519","x":"AA"}`))
	f("Ed25519 halves of two keys", jwk(`{"kty":"OKP","crv":"Ed25519","x":%q,"d":%q}`, x, x))
	f("RSA without numbers", jwk(`{"kty":"RSA"}`))
	f("RSA with an even exponent", jwk(`{"kty":"RSA","n":%q,"e":"Ag"}`, strings.Repeat("A", 342)))
	f("RSA without primes", jwk(`{"kty":"RSA","e":"AQAB","d":"AQAB","n":%q}`, must(octets(m.rsa.N.Bytes()).MarshalJSON())))
	f("a key for encryption alone", jwk(`{"kty":"oct","use":"enc","k":%q}`, x))
	for _, alg := range []string{"none", "HS384", "HS512", "RS256", "hs256"} {
		f("a secret for "+alg, jwk(`{"kty":"oct","alg":%q,"k":%q}`, alg, x))
	}
}

// A key of something else is told from one that is malformed.
func TestKeysForOthers(t *testing.T) {
	for _, doc := range []string{`{"kty":"RSA","alg":"RSA-OAEP","n":"AQ"}`, `{"kty":"new"}`, `{"kty":"EC","crv":"P-521"}`, `{"kty":"oct","use":"enc","k":"AA"}`} {
		if _, err := parseJWK([]byte(doc)); !errors.Is(err, errUnsupported) {
			t.Errorf("%s: %v; want %v", doc, err, errUnsupported)
		}
	}
}

// Whoever logs a key does not log the secret.
func TestKeysDoNotPrint(t *testing.T) {
	k := must(NewSecret("k", secret))
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		got := fmt.Sprintf(format, k)
		if strings.Contains(got, "48") || strings.Contains(got, "0x30") || strings.Contains(got, string(secret[:8])) {
			t.Errorf("%s prints %s", format, got)
		}
	}
	if got := must(json.Marshal(k)); string(got) != `{"ID":"k","Alg":"HS256"}` {
		t.Errorf("JSON is %s", got)
	}
}
