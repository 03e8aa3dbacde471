package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
)

// errUnsupported is a key that is well formed and not for us.
var errUnsupported = errors.New("not a signature key of HS256, RS256, ES256 or EdDSA")

// jwk is a JSON Web Key, public or private, of all the types that we read [RFC 7517, 7518, 8037].
type jwk struct {
	Kty string `json:"kty"`
	Kid string `json:"kid"`
	Use string `json:"use"`
	Alg Alg    `json:"alg"`
	Crv string `json:"crv"`

	K octets `json:"k"` // of a secret
	N octets `json:"n"` // of RSA
	E octets `json:"e"`
	P octets `json:"p"`
	Q octets `json:"q"`
	X octets `json:"x"` // of the curves
	Y octets `json:"y"`
	D octets `json:"d"` // private, of RSA and the curves
}

// octets is base64url without padding in JSON.
type octets []byte

func (o *octets) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	*o = raw
	return err
}

func (o octets) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.RawURLEncoding.EncodeToString(o))
}

// parseJWK reads a JSON Web Key. One that is not for us (for encryption, or of another algorithm) is errUnsupported.
func parseJWK(doc []byte) (Key, error) {
	var j jwk
	if err := json.Unmarshal(doc, &j); err != nil {
		return Key{}, err
	}
	if j.Use != "" && j.Use != "sig" {
		return Key{}, errUnsupported
	}
	var k Key
	var err error
	switch {
	case j.Kty == "oct" && (j.Alg == "" || j.Alg == HS256):
		return NewSecret(j.Kid, j.K)
	case j.Kty == "RSA" && (j.Alg == "" || j.Alg == RS256):
		k, err = j.rsa()
	case j.Kty == "EC" && j.Crv == "P-256" && (j.Alg == "" || j.Alg == ES256):
		k, err = j.ec()
	case j.Kty == "OKP" && j.Crv == "Ed25519" && (j.Alg == "" || j.Alg == EdDSA || j.Alg == "Ed25519"):
		k, err = j.ed25519()
	default:
		return Key{}, errUnsupported
	}
	if err != nil {
		return Key{}, fmt.Errorf("key %q: %w", j.Kid, err)
	}
	return k, nil
}

// rsa [RFC 7518 6.3]. The private form needs its two primes, which every issuer writes.
func (j *jwk) rsa() (Key, error) {
	if len(j.N) > MaxRSA/8 || len(j.E) > 8 || len(j.P) > MaxRSA/8 || len(j.Q) > MaxRSA/8 || len(j.D) > MaxRSA/8 {
		return Key{}, errors.New("an RSA key with numbers that are too long")
	}
	e := new(big.Int).SetBytes(j.E)
	if !e.IsInt64() || e.Int64() < 3 || e.Int64() > math.MaxInt32 || e.Bit(0) == 0 {
		return Key{}, errors.New("an RSA key with a strange exponent")
	}
	public := rsa.PublicKey{N: new(big.Int).SetBytes(j.N), E: int(e.Int64())}
	if len(j.D) == 0 {
		return NewKey(j.Kid, &public)
	}
	private := &rsa.PrivateKey{PublicKey: public, D: new(big.Int).SetBytes(j.D)}
	private.Primes = []*big.Int{new(big.Int).SetBytes(j.P), new(big.Int).SetBytes(j.Q)}
	k, err := NewKey(j.Kid, private)
	if err != nil {
		return Key{}, err
	}
	if err := private.Validate(); err != nil {
		return Key{}, err
	}
	private.Precompute()
	return k, nil
}

// ec [RFC 7518 6.2]. A point that is not on the curve is refused, and so is a private key that is not the public one's.
func (j *jwk) ec() (Key, error) {
	if len(j.X) != 32 || len(j.Y) != 32 {
		return Key{}, errors.New("an EC key with coordinates of the wrong length")
	}
	point := append(append([]byte{4}, j.X...), j.Y...) // uncompressed
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return Key{}, err
	}
	if len(j.D) == 0 {
		return NewKey(j.Kid, public)
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), j.D)
	if err != nil {
		return Key{}, err
	}
	if !private.PublicKey.Equal(public) {
		return Key{}, errors.New("an EC key with the private half of another")
	}
	return NewKey(j.Kid, private)
}

// ed25519 [RFC 8037 2].
func (j *jwk) ed25519() (Key, error) {
	if len(j.D) == 0 {
		return NewKey(j.Kid, ed25519.PublicKey(j.X))
	}
	if len(j.D) != ed25519.SeedSize {
		return Key{}, errors.New("an Ed25519 key of the wrong length")
	}
	private := ed25519.NewKeyFromSeed(j.D)
	if !ed25519.PublicKey(j.X).Equal(private.Public()) {
		return Key{}, errors.New("an Ed25519 key with the private half of another")
	}
	return NewKey(j.Kid, private)
}
