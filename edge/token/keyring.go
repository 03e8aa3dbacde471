package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"switchboard/wire"
)

// Keyring holds the keys of all tenants. They never change, and it is safe for concurrent use.
type Keyring struct {
	tenants map[string][]Key  // the keys of each in the order they were given
	words   map[string]string // names of tenants and roles, to be shared
	heads   heads
}

// New returns a keyring. Every tenant is an id and has keys with distinct IDs; Mint uses the first that signs.
func New(tenants map[string][]Key) (*Keyring, error) {
	r := &Keyring{tenants: make(map[string][]Key, len(tenants)), words: map[string]string{}}
	for _, role := range [...]wire.Role{wire.RoleCustomer, wire.RoleWorker, wire.RoleSupervisor, wire.RoleOperator, wire.RoleService} {
		r.words[string(role)] = string(role)
	}
	for tenant, keys := range tenants {
		if !wire.ValidID(tenant) {
			return nil, notID(fmt.Sprintf("tenant %q", tenant))
		}
		if len(keys) == 0 {
			return nil, fmt.Errorf("tenant %q has no key", tenant)
		}
		for i, k := range keys {
			if k.public == nil {
				return nil, fmt.Errorf("tenant %q: key %d is empty", tenant, i)
			}
			if slices.ContainsFunc(keys[:i], func(other Key) bool { return other.ID == k.ID }) {
				return nil, fmt.Errorf("tenant %q: two keys with the id %q", tenant, k.ID)
			}
		}
		r.tenants[tenant] = slices.Clone(keys)
		r.words[tenant] = tenant
	}
	return r, nil
}

// Check returns what token says if a key of its tenant has signed it and it is valid at now. Otherwise the error
// holds a [wire.Error], unauthenticated or token_expired, for errors.As; its text is for the log.
func (r *Keyring) Check(token string, now time.Time) (Claims, error) {
	if len(token) > MaxToken {
		return Claims{}, refuse(fmt.Errorf("a token of %d bytes", len(token)))
	}
	if strings.ContainsAny(token, "\r\n") {
		return Claims{}, refuse(errors.New("a line end in a token")) // base64 would pass over it
	}
	var p payload
	if !r.quick(token, &p) {
		p = payload{}
		if err := r.full(token, &p); err != nil {
			return Claims{}, refuse(err)
		}
	}
	// From here on the tenant has said so, and may be told what is wrong with it.
	if p.Exp == nil {
		return Claims{}, tell(errors.New("exp is missing"))
	}
	c := p.claims()
	var isTime bool
	if c.Expires, isTime = date(*p.Exp); !isTime {
		return Claims{}, tell(errors.New("exp is not a time"))
	}
	if !now.Before(c.Expires) {
		return Claims{}, fmt.Errorf("exp has passed: %w", wire.Refuse(wire.TokenExpired))
	}
	if p.Nbf != nil {
		begins, isTime := date(*p.Nbf)
		if !isTime || begins.After(now.Add(Leeway)) {
			return Claims{}, tell(errors.New("nbf is in the future, or not a time"))
		}
	}
	if err := c.validate(); err != nil {
		return Claims{}, tell(err)
	}
	// Whoever connects keeps them for as long as he stays, and all have the same.
	c.Tenant, c.Role = r.words[c.Tenant], wire.Role(r.words[string(c.Role)])
	return c, nil
}

// full reads and verifies a token, and remembers how its header is written.
func (r *Keyring) full(token string, p *payload) error {
	var why error // what find says; the library wraps it in words that may quote the token
	t, err := parser.ParseWithClaims(token, &strict{p}, func(t *jwt.Token) (key any, _ error) {
		key, why = r.find(t, p.Tenant)
		return key, why
	})
	switch {
	case why != nil:
		return why
	case err != nil:
		return reason(err)
	}
	text, _, _ := strings.Cut(token, ".")
	r.heads.learn(text, p.Tenant, t)
	return nil
}

// strict is a payload that the library reads as quick does.
type strict struct{ *payload }

// UnmarshalJSON implements json.Unmarshaler.
func (s strict) UnmarshalJSON(doc []byte) error { return json.Unmarshal(exact(doc), s.payload) }

// Has tells whether a tenant has a key. Without one nobody of his gets in.
func (r *Keyring) Has(tenant string) bool { return len(r.tenants[tenant]) > 0 }

// Mint returns a token that is valid from now on for ttl, rounded down to a whole second; a ttl below zero makes one that
// has expired. It fails when Check would refuse the claims, when the tenant has no key that signs, and
// when the token would be longer than MaxToken. It does not look at c.Expires.
func (r *Keyring) Mint(c Claims, ttl time.Duration) (string, error) {
	if c.Role != wire.RoleWorker {
		c.Kind, c.Queues, c.Skills, c.Rating, c.Attributes = "", nil, nil, 0, nil
	}
	if err := c.validate(); err != nil {
		return "", fmt.Errorf("minting a token: %w", err)
	}
	keys := r.tenants[c.Tenant]
	i := slices.IndexFunc(keys, Key.Signs)
	if i < 0 {
		return "", fmt.Errorf("minting a token: tenant %q has no key that signs", c.Tenant)
	}
	now := time.Now()
	expires := now.Add(ttl)
	if _, isTime := date(float64(expires.Unix())); !isTime {
		return "", fmt.Errorf("minting a token: it would expire in the year %d", expires.Year())
	}
	t := jwt.NewWithClaims(keys[i].method(), c.payload(now, expires))
	if keys[i].ID != "" {
		t.Header["kid"] = keys[i].ID
	}
	signed, err := t.SignedString(keys[i].private)
	if err != nil {
		return "", fmt.Errorf("minting a token: %w", err)
	}
	if len(signed) > MaxToken {
		return "", fmt.Errorf("minting a token: it would be %d bytes; want at most %d", len(signed), MaxToken)
	}
	return signed, nil
}

// parser does not check dates: one leeway for exp and nbf alike is not what we promise.
var parser = jwt.NewParser(
	jwt.WithValidMethods([]string{string(HS256), string(RS256), string(ES256), string(EdDSA)}),
	jwt.WithStrictDecoding(), // or one signature would have several spellings
	jwt.WithoutClaimsValidation(),
)

// What is wrong with a token's key.
var (
	errTenant = errors.New("an unknown tenant")
	errKid    = errors.New("an unknown kid")
	errAlg    = errors.New("an alg that is not the key's")
)

// find returns what to verify t with.
func (r *Keyring) find(t *jwt.Token, tenant string) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("a crit header") // [RFC 7515 4.1.11] it names what must be understood, and we understand none
	}
	kid, isString := t.Header["kid"].(string)
	if _, ok := t.Header["kid"]; ok && !isString {
		return nil, errors.New("a kid that is not a string")
	}
	k, err := r.key(tenant, t.Method, kid, isString)
	if err != nil {
		return nil, err
	}
	return k.public, nil
}

// date returns the time that a number in a token means, without its fraction of a second, and whether it is one: after
// the first second of 1970 and before the year 10000.
func date(v float64) (time.Time, bool) {
	return time.Unix(int64(v), 0), v >= 1 && v < 253402300800
}

// reason returns what the log should say of the library's err, without what it quotes.
func reason(err error) error {
	if errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return errors.New("a wrong signature, or an alg that is no key's")
	}
	return errors.New("not a token")
}

// refuse is an error of which the client only learns that the token is no good.
func refuse(why error) error { return fmt.Errorf("%w: %w", why, wire.Refuse(wire.Unauthenticated)) }

// tell is an error of which the client may learn the reason.
func tell(why error) error {
	return &wire.Error{Slug: wire.Unauthenticated, Message: "the token is not valid: " + why.Error()}
}
