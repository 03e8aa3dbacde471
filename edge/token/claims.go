package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"

	"switchboard/wire"
)

// Bounds of a token. They keep what a connection costs for its whole life small.
const (
	MaxToken  = 8 << 10         // bytes of a token
	MaxName   = 256             // bytes of a name
	MaxQueues = 64              // queues of a worker
	MaxSkills = 64              // skills of a worker
	MaxAttrs  = 4 << 10         // bytes of a worker's attributes
	Leeway    = 5 * time.Second // how far nbf may be ahead of our clock; exp has none
)

// AnyQueue among Queues allows them all.
const AnyQueue = "*"

// Claims is what a token says of its bearer [SW-3.1]. A checked one holds to the bounds that the fields name.
type Claims struct {
	Tenant string // an id
	Sub    string // an id
	Role   wire.Role
	Name   string // for people; at most MaxName bytes without control characters, may be empty
	Shop   string // an id, or empty
	Tier   string // an id, or empty

	// Of workers only; zero for all others.
	Kind   wire.Origin        // wire.OriginBot or wire.OriginHuman
	Queues []string           // ids and AnyQueue; at most MaxQueues
	Skills map[string]float64 // id to level 0..1; at most MaxSkills
	Rating float64            // 0..1; 0 when the token has none
	// Attributes are what selectors see of the worker besides: a JSON object of at most MaxAttrs bytes, or nothing.
	Attributes []byte

	// Expires is the instant from which the token is no longer valid. Mint does not read it.
	Expires time.Time
}

// Principal returns c as commands carry it. The queues and skills are shared with c.
func (c *Claims) Principal() wire.Principal {
	p := wire.Principal{Tenant: c.Tenant, Role: c.Role, Sub: c.Sub, Name: c.Name, Shop: c.Shop, Tier: c.Tier, Kind: c.Kind}
	if c.Role == wire.RoleWorker {
		p.Ability = &wire.Ability{Queues: c.Queues, Skills: c.Skills, Rating: c.Rating, Attributes: c.Attributes}
	}
	return p
}

// payload is the JSON of a token. Members that it does not name are ignored. Its dates stand before those of the
// library, which take a string for a number and wrap around when one is too large.
type payload struct {
	jwt.RegisteredClaims
	Exp    *float64           `json:"exp"`
	Iat    unread             `json:"iat,omitempty"`
	Nbf    *float64           `json:"nbf,omitempty"`
	Tenant string             `json:"tenant"`
	Role   wire.Role          `json:"role"`
	Name   string             `json:"name,omitempty"`
	Shop   string             `json:"shop,omitempty"`
	Tier   string             `json:"tier,omitempty"`
	Kind   wire.Origin        `json:"kind,omitempty"`
	Queues []string           `json:"queues,omitempty"`
	Skills map[string]float64 `json:"skills,omitempty"`
	Rating float64            `json:"rating,omitempty"`
	Attrs  json.RawMessage    `json:"attributes,omitempty"`
}

// unread is a date that is written into tokens, and of which nobody asks what others wrote there: the library's costs a reader of its own.
type unread float64

// UnmarshalJSON implements json.Unmarshaler.
func (*unread) UnmarshalJSON([]byte) error { return nil }

// claims returns what p says, without worker's claims for those who are none.
func (p *payload) claims() Claims {
	c := Claims{Tenant: p.Tenant, Sub: p.Subject, Role: p.Role, Name: p.Name, Shop: p.Shop, Tier: p.Tier}
	if p.Role == wire.RoleWorker {
		c.Kind, c.Queues, c.Skills, c.Rating, c.Attributes = p.Kind, p.Queues, p.Skills, p.Rating, p.Attrs
	}
	return c
}

// payload returns the JSON to sign for c.
func (c *Claims) payload(now, expires time.Time) *payload {
	exp := float64(expires.Unix())
	p := &payload{
		Exp: &exp, Tenant: c.Tenant, Role: c.Role, Name: c.Name, Shop: c.Shop, Tier: c.Tier,
		RegisteredClaims: jwt.RegisteredClaims{Subject: c.Sub}, Iat: unread(now.Unix()),
	}
	if c.Role == wire.RoleWorker {
		p.Kind, p.Queues, p.Skills, p.Rating, p.Attrs = c.Kind, c.Queues, c.Skills, c.Rating, c.Attributes
	}
	return p
}

// validate tells what of c does not hold to [SW-3.1]; the dates are not its business.
func (c *Claims) validate() error {
	switch {
	case !wire.ValidID(c.Tenant):
		return notID("tenant")
	case !wire.ValidID(c.Sub):
		return notID("sub")
	case c.Shop != "" && !wire.ValidID(c.Shop):
		return notID("shop")
	case c.Tier != "" && !wire.ValidID(c.Tier):
		return notID("tier")
	case !validName(c.Name):
		return fmt.Errorf("name is longer than %d bytes or has control characters", MaxName)
	}
	switch c.Role {
	case wire.RoleWorker:
		return c.validateWorker()
	case wire.RoleCustomer, wire.RoleSupervisor, wire.RoleOperator, wire.RoleService:
		return nil
	}
	return errors.New("role is none of customer, worker, supervisor, operator and service") // wire.RoleSystem is the broker's own
}

// notID says what an id is, to whom has something else.
func notID(what string) error {
	return fmt.Errorf("%s is not an id: 1 to %d of A-Z a-z 0-9 _ . : -", what, wire.MaxID)
}

func (c *Claims) validateWorker() error {
	switch {
	case c.Kind != wire.OriginBot && c.Kind != wire.OriginHuman:
		return errors.New("kind of a worker is neither bot nor human")
	case len(c.Queues) > MaxQueues:
		return fmt.Errorf("more than %d queues", MaxQueues)
	case len(c.Skills) > MaxSkills:
		return fmt.Errorf("more than %d skills", MaxSkills)
	case !level(c.Rating):
		return errors.New("rating is not within 0 and 1")
	case len(c.Attributes) > MaxAttrs:
		return fmt.Errorf("attributes of more than %d bytes", MaxAttrs)
	case len(c.Attributes) > 0 && (c.Attributes[0] != '{' || wire.ValidJSON(c.Attributes) != nil):
		return errors.New("attributes are no JSON object")
	}
	for _, q := range c.Queues {
		if q != AnyQueue && !wire.ValidID(q) {
			return notID("a queue")
		}
	}
	for name, l := range c.Skills {
		if !wire.ValidID(name) {
			return notID("a skill")
		}
		if !level(l) {
			return errors.New("the level of a skill is not within 0 and 1")
		}
	}
	return nil
}

// level tells whether v is within 0 and 1, which NaN is not.
func level(v float64) bool { return v >= 0 && v <= 1 }

func validName(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return false // the replacement also stands for bytes that are not UTF-8
		}
	}
	return len(s) <= MaxName
}
