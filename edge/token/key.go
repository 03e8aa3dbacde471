package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Alg is the algorithm of a key, as the alg of a token names it [RFC 7518 3.1].
type Alg string

// The algorithms that a key can have. There is no other, and "none" is none of them.
const (
	HS256 Alg = "HS256"
	RS256 Alg = "RS256"
	ES256 Alg = "ES256"
	EdDSA Alg = "EdDSA"
)

// Bounds of a key. A weaker one is refused; a longer RSA key would make each check slow for whoever sends garbage.
const (
	MinSecret = 32   // bytes of an HS256 secret [RFC 7518 3.2]
	MaxSecret = 4096 // bytes
	MinRSA    = 2048 // bits [RFC 7518 3.3]
	MaxRSA    = 8192 // bits
	MaxKeyID  = 128  // bytes
)

// Key verifies tokens under one algorithm and, unless it is a public key, signs them. It never changes. It does not print
// its secret.
type Key struct {
	ID  string // the kid of its tokens; empty for tokens without
	Alg Alg

	public  any // what the library verifies with
	private any // what it signs with; nil for a public key
}

// Signs tells whether k can mint.
func (k Key) Signs() bool { return k.private != nil }

// String returns the ID and the algorithm.
func (k Key) String() string { return fmt.Sprintf("%q (%s)", k.ID, k.Alg) }

// GoString keeps the secret out of %#v.
func (k Key) GoString() string { return "token.Key{" + k.String() + "}" }

// NewSecret returns an HS256 key of MinSecret to MaxSecret bytes, which are copied.
func NewSecret(id string, secret []byte) (Key, error) {
	if len(secret) < MinSecret || len(secret) > MaxSecret {
		return Key{}, fmt.Errorf("a secret of %d bytes; want %d to %d", len(secret), MinSecret, MaxSecret)
	}
	secret = bytes.Clone(secret)
	return named(Key{ID: id, Alg: HS256, public: secret, private: secret})
}

// NewKey returns a key for what crypto/x509 returns: an RSA key (RS256), an ECDSA key on P-256 (ES256) or an Ed25519 key
// (EdDSA), public or private. It refuses all else.
func NewKey(id string, key any) (Key, error) {
	k := Key{ID: id, public: key}
	switch private := key.(type) {
	case *rsa.PrivateKey:
		k.public, k.private = &private.PublicKey, private
	case *ecdsa.PrivateKey:
		k.public, k.private = &private.PublicKey, private
	case ed25519.PrivateKey:
		if len(private) != ed25519.PrivateKeySize {
			return Key{}, errors.New("an Ed25519 key of the wrong length")
		}
		k.public, k.private = private.Public(), private
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		k.Alg = RS256
		if bits := public.N.BitLen(); bits < MinRSA || bits > MaxRSA {
			return Key{}, fmt.Errorf("an RSA key of %d bits; want %d to %d", bits, MinRSA, MaxRSA)
		}
	case *ecdsa.PublicKey:
		k.Alg = ES256
		if public.Curve != elliptic.P256() {
			return Key{}, fmt.Errorf("an ECDSA key on %s; want P-256", public.Curve.Params().Name)
		}
	case ed25519.PublicKey:
		k.Alg = EdDSA
		if len(public) != ed25519.PublicKeySize {
			return Key{}, errors.New("an Ed25519 key of the wrong length") // or verifying with it would panic
		}
	default:
		return Key{}, fmt.Errorf("a key of type %T, for which there is no algorithm", key)
	}
	return named(k)
}

func named(k Key) (Key, error) {
	if len(k.ID) > MaxKeyID {
		return Key{}, fmt.Errorf("a key id of %d bytes; want at most %d", len(k.ID), MaxKeyID)
	}
	return k, nil
}

// ParsePEM returns the key of a PEM document: a public key (PKIX or PKCS #1) or an unencrypted private one (PKCS #8, PKCS #1
// or SEC 1). The document holds one key; EC parameters before it are skipped.
func ParsePEM(id string, doc []byte) (Key, error) {
	block, rest := pem.Decode(doc)
	for block != nil && block.Type == "EC PARAMETERS" {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return Key{}, errors.New("no PEM block")
	}
	if another, _ := pem.Decode(rest); another != nil {
		return Key{}, errors.New("more than one PEM block")
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return Key{}, fmt.Errorf("a PEM block %q, which is no key that we read", block.Type)
	}
	if err != nil {
		return Key{}, fmt.Errorf("parsing a %s: %w", block.Type, err)
	}
	return NewKey(id, key)
}

// method returns the library's side of k's algorithm.
func (k Key) method() jwt.SigningMethod { return jwt.GetSigningMethod(string(k.Alg)) }
