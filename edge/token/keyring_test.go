package token

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"

	"switchboard/wire"
)

var alice = Claims{Tenant: "demo", Sub: "alice", Role: wire.RoleCustomer}

func now() time.Time { return time.Now() }

// raw makes a token out of JSON texts and a signature over them, which may be nil.
func raw(header, payload string, sign func(text string) []byte) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	if sign == nil {
		return text + "."
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func by(method jwt.SigningMethod, key any) func(string) []byte {
	return func(text string) []byte { return must(method.Sign(text, key)) }
}

// slug is what a client learns: "" when the token was accepted.
func slug(err error) wire.Slug {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e.Slug
	}
	return "not a wire.Error"
}

// rings are a tenant "demo" with one key of each algorithm, and a tenant "other" with another secret under the same kid.
func rings() *Keyring {
	m := made()
	return must(New(map[string][]Key{
		"demo": {
			must(NewSecret("hs", secret)), must(NewKey("rs", &m.rsa.PublicKey)),
			must(NewKey("es", &m.ec.PublicKey)), must(NewKey("ed", m.ed.Public())),
		},
		"other": {must(NewSecret("hs", []byte(strings.Repeat("other", 10))))},
		"lone":  {must(NewKey("rs", &m.rsa.PublicKey))},
		"twin":  {must(NewSecret("", secret)), must(NewSecret("b", []byte(strings.Repeat("b", 32))))},
	}))
}

// [SW-3.1] Who has not the key of the tenant can not make a token for it, whatever the header says.
func TestForgeries(t *testing.T) {
	ring, m := rings(), made()
	exp := now().Unix() + 60
	claims := func(tenant string) string {
		return fmt.Sprintf(`{"tenant":%q,"sub":"alice","role":"customer","exp":%d}`, tenant, exp)
	}
	f := func(what string, want wire.Slug, token string) {
		t.Helper()
		if c, err := ring.Check(token, now()); slug(err) != want {
			t.Errorf("%s: %+v, %v; want %q", what, c, err, want)
		}
	}
	hs, rs, es, ed := by(jwt.SigningMethodHS256, secret), by(jwt.SigningMethodRS256, m.rsa), by(jwt.SigningMethodES256, m.ec), by(jwt.SigningMethodEdDSA, m.ed)
	f("HS256 as it should be", "", raw(`{"alg":"HS256","kid":"hs"}`, claims("demo"), hs))
	f("RS256 as it should be", "", raw(`{"alg":"RS256","kid":"rs"}`, claims("demo"), rs))
	f("ES256 as it should be", "", raw(`{"alg":"ES256","kid":"es"}`, claims("demo"), es))
	f("EdDSA as it should be", "", raw(`{"alg":"EdDSA","kid":"ed"}`, claims("demo"), ed))
	f("no kid, and one key", "", raw(`{"alg":"RS256"}`, claims("lone"), rs))
	f("no kid, and a key without", "", raw(`{"alg":"HS256"}`, claims("twin"), hs))
	f("keys that the header brings are not looked at", "", raw(`{"alg":"HS256","kid":"hs","jku":"https://example.com/","x5u":"x","jwk":{"kty":"oct","k":"AA"}}`, claims("demo"), hs))

	const no = wire.Unauthenticated
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "hs256", "HS384", "HS512", "PS256", "RS512", "ES384", "HS256 "} {
		f("alg "+alg+" without a signature", no, raw(fmt.Sprintf(`{"alg":%q,"kid":"hs"}`, alg), claims("demo"), nil))
		f("alg "+alg+" with a good signature", no, raw(fmt.Sprintf(`{"alg":%q,"kid":"hs"}`, alg), claims("demo"), hs))
	}
	f("HS512 under the secret", no, raw(`{"alg":"HS512","kid":"hs"}`, claims("demo"), by(jwt.SigningMethodHS512, secret)))
	f("PS256 under the RSA key", no, raw(`{"alg":"PS256","kid":"rs"}`, claims("demo"), by(jwt.SigningMethodPS256, m.rsa)))
	der := must(x509.MarshalPKIXPublicKey(&m.rsa.PublicKey))
	for what, public := range map[string][]byte{
		"PEM": pemOf("PUBLIC KEY", der), "DER": der, "the modulus": m.rsa.N.Bytes(), "PEM of PKCS1": pemOf("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&m.rsa.PublicKey)),
	} {
		for _, tenant := range []string{"demo", "lone"} {
			f("the public key as a secret, "+what, no, raw(`{"alg":"HS256","kid":"rs"}`, claims(tenant), by(jwt.SigningMethodHS256, public)))
		}
	}
	f("the public Ed25519 key as a secret", no, raw(`{"alg":"HS256","kid":"ed"}`, claims("demo"), by(jwt.SigningMethodHS256, []byte(m.ed[32:]))))
	for _, kid := range []string{"rs", "es", "ed"} {
		f("the secret's signature under kid "+kid, no, raw(fmt.Sprintf(`{"alg":"HS256","kid":%q}`, kid), claims("demo"), hs))
		f("the RSA signature as ES256 under kid "+kid, no, raw(fmt.Sprintf(`{"alg":"ES256","kid":%q}`, kid), claims("demo"), rs))
	}
	for _, kid := range []string{`""`, `"HS"`, `"hs "`, `"../hs"`, `"/dev/null"`, `"hs' OR '1'='1"`, `"https://example.com/k"`, `"other"`, `null`, `7`, `["hs"]`, `{"hs":1}`} {
		f("kid "+kid, no, raw(`{"alg":"HS256","kid":`+kid+`}`, claims("demo"), hs))
	}
	f("no kid, and several keys", no, raw(`{"alg":"HS256"}`, claims("demo"), hs))
	f("the key without kid under another's kid", no, raw(`{"alg":"HS256","kid":"b"}`, claims("twin"), hs))
	f("a foreign tenant's key of the same kid", no, raw(`{"alg":"HS256","kid":"hs"}`, claims("other"), hs))
	for _, tenant := range []string{"", "nobody", "Demo", "demo ", "dеmo", "demo\x00"} {
		f("tenant "+tenant, no, raw(`{"alg":"HS256","kid":"hs"}`, strings.Replace(claims("@"), `"@"`, string(must(json.Marshal(tenant))), 1), hs))
	}
	f("two tenants, the last one counts and has not signed", no, raw(`{"alg":"HS256","kid":"hs"}`, `{"tenant":"demo",`+claims("other")[1:], hs))
	f("a crit header", no, raw(`{"alg":"HS256","kid":"hs","crit":["b64"],"b64":false}`, claims("demo"), hs))

	good := raw(`{"alg":"HS256","kid":"hs"}`, claims("demo"), hs)
	head, rest, _ := strings.Cut(good, ".")
	body, sig, _ := strings.Cut(rest, ".")
	f("no signature", no, head+"."+body+".")
	f("the signature of other claims", no, raw(`{"alg":"HS256","kid":"hs"}`, strings.Replace(claims("demo"), "alice", "bob", 1), func(string) []byte { return must(base64.RawURLEncoding.DecodeString(sig)) }))
	f("a signature with padding", no, good+"=")
	f("a signature in another spelling", no, good[:len(good)-1]+string(next(good[len(good)-1])))
	f("two parts", no, head+"."+body)
	f("four parts", no, good+".x")
	f("parts swapped", no, body+"."+head+"."+sig)
	f("a space before", no, " "+good)
	f("a line end behind", no, good+"\n")
	f("nothing", no, "")
	f("dots", no, strings.Repeat(".", MaxToken))
	f("a megabyte of dots", no, strings.Repeat(".", 1<<20))
	f("a header that is null", no, raw(`null`, claims("demo"), hs))
	f("a header that is a list", no, raw(`[]`, claims("demo"), hs))
	f("an alg that is a number", no, raw(`{"alg":256,"kid":"hs"}`, claims("demo"), hs))
	f("a payload that is null", no, raw(`{"alg":"HS256","kid":"hs"}`, `null`, hs))
	f("a payload that is no JSON", no, raw(`{"alg":"HS256","kid":"hs"}`, claims("demo")+"x", hs))
	long := strings.Replace(claims("demo"), `"role"`, `"filler":"`+strings.Repeat("x", MaxToken)+`","role"`, 1)
	f("a good token that is over-long", no, raw(`{"alg":"HS256","kid":"hs"}`, long, hs))
	for i := range len(good) {
		if good[i] == '.' {
			continue
		}
		f(fmt.Sprintf("byte %d changed", i), no, good[:i]+string(next(good[i]))+good[i+1:])
	}
}

// next returns the base64url digit after c: the smallest change that there is.
func next(c byte) byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return digits[(strings.IndexByte(digits, c)+1)%len(digits)]
}

// What a rightful issuer can get wrong. Each row changes one claim of a good token; null takes it away.
func TestClaimsChecked(t *testing.T) {
	ring := rings()
	at := time.Unix(1_800_000_000, 500_000_000)
	good := map[string]any{"tenant": "demo", "sub": "bob", "role": "worker", "kind": "bot", "exp": at.Unix() + 60}
	check := func(name, value string) (Claims, error) {
		m := maps.Clone(good)
		m[name] = json.RawMessage(value)
		if value == "null" {
			delete(m, name)
		}
		return ring.Check(raw(`{"alg":"HS256","kid":"hs"}`, string(must(json.Marshal(m))), by(jwt.SigningMethodHS256, secret)), at)
	}
	f := func(want wire.Slug, name string, values ...string) {
		t.Helper()
		for _, v := range values {
			if c, err := check(name, v); slug(err) != want {
				t.Errorf("%s %.40s: %+v, %v; want %q", name, v, c, err, want)
			}
		}
	}
	const ok, no = wire.Slug(""), wire.Unauthenticated
	list := func(n int) string {
		return strings.TrimSuffix(strings.Repeat(`"q",`, n), ",")
	}
	f(ok, "exp", "1800000001", "1800000001.25", "1.80001e9", "253402300799")
	f(wire.TokenExpired, "exp", "1800000000", "1800000000.9", "1799999999", "1", "1.5e9")
	f(no, "exp", "null", `"1800000060"`, "true", "0", "-1", "253402300800", "1e19", "1e308", "1e999", "[]", "{}")
	f(ok, "nbf", "null", "1", "1800000000", "1800000005")
	f(no, "nbf", "1800000006", "1e308", "-1", `"1"`)
	f(ok, "iat", "null", "1900000000", `"yesterday"`)
	f(ok, "aud", "null", `"x"`, `["x","y"]`)
	f(ok, "sub", `"a"`, `"A_b.c:d-9"`, `"`+strings.Repeat("x", 64)+`"`)
	f(no, "sub", "null", `""`, `"a b"`, `"a/b"`, `"é"`, `"a\u0000"`, `"`+strings.Repeat("x", 65)+`"`, "7", "[]")
	f(ok, "role", `"worker"`, `"customer"`, `"supervisor"`, `"operator"`, `"service"`)
	f(no, "role", "null", `""`, `"system"`, `"Worker"`, `"admin"`, "1")
	f(ok, "kind", `"bot"`, `"human"`)
	f(no, "kind", "null", `""`, `"customer"`, `"assist"`, `"system"`, `"Bot"`, "1")
	f(ok, "name", "null", `""`, `"Bob \u00e4 \ud83d\ude00"`, `"`+strings.Repeat("x", MaxName)+`"`)
	f(no, "name", `"`+strings.Repeat("x", MaxName+1)+`"`, `"a\nb"`, `"a\u0000"`, `"\ud800"`, "1")
	for _, name := range []string{"shop", "tier"} {
		f(ok, name, "null", `""`, `"s17"`)
		f(no, name, `"a b"`, `"`+strings.Repeat("x", 65)+`"`, "1")
	}
	f(ok, "queues", "null", `[]`, `["*"]`, `["default","returns"]`, "["+list(MaxQueues)+"]")
	f(no, "queues", `"default"`, `[""]`, `["a b"]`, `["**"]`, `[1]`, "["+list(MaxQueues+1)+"]")
	f(ok, "skills", "null", `{}`, `{"refund":0}`, `{"refund":1,"de":0.5}`)
	f(no, "skills", `{"refund":1.01}`, `{"refund":-0.1}`, `{"refund":"1"}`, `{"re fund":1}`, `{"":1}`, `["refund"]`, `{"refund":1e999}`)
	many := map[string]float64{}
	for i := range MaxSkills + 1 {
		many[fmt.Sprint("s", i)] = 1
	}
	f(no, "skills", string(must(json.Marshal(many))))
	delete(many, "s0")
	f(ok, "skills", string(must(json.Marshal(many))))
	f(ok, "rating", "null", "0", "1", "0.8")
	f(no, "rating", "1.0001", "-0.0001", `"0.8"`, "1e999")
	f(ok, "unknown", `{"x":1}`)

	if _, err := check("rating", "2"); !strings.Contains(err.Error(), "rating is not within 0 and 1") {
		t.Errorf("an issuer is told %q", err)
	}
	if c, err := check("role", `"customer"`); err != nil || c.Kind != "" {
		t.Errorf("a customer of a kind is %+v, %v; want none", c, err)
	}
}

// What is minted checks as the same, under every algorithm.
func TestMintAndCheck(t *testing.T) {
	m := made()
	full := Claims{
		Tenant: "demo", Sub: "bob", Role: wire.RoleWorker, Name: "Bob <&> ö", Shop: "s17", Tier: "gold", Kind: wire.OriginHuman,
		Queues: []string{"default", AnyQueue}, Skills: map[string]float64{"refund": 0.9, "de": 1}, Rating: 0.8, Attributes: []byte(`{"level":0.5}`),
	}
	for _, k := range []Key{must(NewSecret("hs", secret)), must(NewKey("rs", m.rsa)), must(NewKey("", m.ec)), must(NewKey("ed", m.ed))} {
		// A public key before it does not keep the tenant from minting.
		ring := must(New(map[string][]Key{"demo": {must(NewKey("public", m.ed.Public())), k}}))
		for _, want := range []Claims{full, alice} {
			start := now()
			token, err := ring.Mint(want, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ring.Check(token, now())
			if err != nil {
				t.Fatalf("%v: %v", k, err)
			}
			if left := got.Expires.Sub(start); left <= time.Hour-time.Second || left > time.Hour+time.Minute {
				t.Errorf("%v: expires in %v; want an hour", k, left)
			}
			if _, err := ring.Check(token, got.Expires); slug(err) != wire.TokenExpired {
				t.Errorf("%v: at its end: %v; want %s", k, err, wire.TokenExpired)
			}
			if _, err := ring.Check(token, got.Expires.Add(-1)); err != nil {
				t.Errorf("%v: a moment before its end: %v", k, err)
			}
			want.Expires = got.Expires
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%v: got %+v; want %+v", k, got, want)
			}
			p := got.Principal()
			a := p.Able()
			if p.Tenant != want.Tenant || p.Sub != want.Sub || p.Role != want.Role || a.Rating != want.Rating || string(a.Attributes) != string(want.Attributes) || len(a.Queues) != len(want.Queues) || (p.Ability != nil) != (p.Role == wire.RoleWorker) || p.Worker != "" {
				t.Errorf("%v: principal %+v of %+v", k, p, want)
			}
		}
		token, err := ring.Mint(alice, -time.Nanosecond)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ring.Check(token, now()); slug(err) != wire.TokenExpired {
			t.Errorf("%v: a negative ttl: %v; want %s", k, err, wire.TokenExpired)
		}
	}
}

func TestMintRefuses(t *testing.T) {
	ring := must(New(map[string][]Key{
		"demo": {must(NewSecret("hs", secret))}, "public": {must(NewKey("ed", made().ed.Public()))},
	}))
	f := func(what string, ttl time.Duration, change func(c *Claims)) {
		t.Helper()
		c := alice
		change(&c)
		if token, err := ring.Mint(c, ttl); err == nil {
			t.Errorf("%s was minted: %s", what, token)
		}
	}
	f("a tenant without keys", time.Hour, func(c *Claims) { c.Tenant = "nobody" })
	f("a tenant whose key does not sign", time.Hour, func(c *Claims) { c.Tenant = "public" })
	f("no sub", time.Hour, func(c *Claims) { c.Sub = "" })
	f("the broker's role", time.Hour, func(c *Claims) { c.Role = wire.RoleSystem })
	f("a worker of no kind", time.Hour, func(c *Claims) { c.Role = wire.RoleWorker })
	f("a name that is not UTF-8", time.Hour, func(c *Claims) { c.Name = "\xff" })
	f("a time before 1970", -100*365*24*time.Hour, func(*Claims) {})
	f("a token that is too long", time.Hour, func(c *Claims) {
		c.Role, c.Kind = wire.RoleWorker, wire.OriginBot
		c.Skills = map[string]float64{}
		for i := range MaxSkills {
			c.Queues = append(c.Queues, strings.Repeat("q", 64))
			c.Skills[strings.Repeat("s", 60)+fmt.Sprint(i)] = 0.123456789
		}
	})
}

func TestKeyringRefused(t *testing.T) {
	f := func(what string, tenants map[string][]Key) {
		t.Helper()
		if _, err := New(tenants); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	k := must(NewSecret("k", secret))
	f("a tenant that is not an id", map[string][]Key{"a b": {k}})
	f("a tenant without keys", map[string][]Key{"demo": nil})
	f("an empty key", map[string][]Key{"demo": {{ID: "k", Alg: HS256}}})
	f("two keys of one id", map[string][]Key{"demo": {k, must(NewKey("k", made().ed))}})
}

// A header that was seen is not read again, and nothing else changes: every way in which a token can be wrong is found behind one
// that was good, and what was good for one tenant is not for another.
func TestQuickRefusesWhatFullRefuses(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	payload := func(tenant string) string {
		return fmt.Sprintf(`{"tenant":%q,"sub":"alice","role":"customer","exp":%d}`, tenant, at.Unix()+60)
	}
	sign := by(jwt.SigningMethodHS256, secret)
	const header = `{"alg":"HS256","kid":"hs"}`
	good := raw(header, payload("demo"), sign)
	head, rest, _ := strings.Cut(good, ".")
	claims, sig, _ := strings.Cut(rest, ".")
	tokens := map[string]string{
		"good":                  good,
		"another tenant":        raw(header, payload("other"), sign),
		"an unknown tenant":     raw(header, payload("nobody"), sign),
		"one without that kid":  raw(header, payload("lone"), sign),
		"another secret":        raw(header, payload("demo"), by(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)))),
		"no signature":          head + "." + claims + ".",
		"two parts":             head + "." + claims,
		"four parts":            good + ".x",
		"a padded signature":    good + "=",
		"no base64":             head + ".!" + claims + "." + sig,
		"claims of another":     head + "." + strings.Split(raw(header, payload("twin"), sign), ".")[1] + "." + sig,
		"claims that are none":  raw(header, `[]`, sign),
		"a tenant of no string": raw(header, `{"tenant":1}`, sign),
		"expired":               raw(header, `{"tenant":"demo","sub":"alice","role":"customer","exp":1}`, sign),
		"crit":                  raw(`{"alg":"HS256","kid":"hs","crit":["x"]}`, payload("demo"), sign),
	}
	seen := rings()
	if _, err := seen.Check(good, at); err != nil {
		t.Fatal(err)
	}
	if _, ok := seen.heads.find(head); !ok {
		t.Fatal("the header of a good token is not remembered")
	}
	for name, token := range tokens {
		want, wantErr := rings().Check(token, at)
		got, err := seen.Check(token, at)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v behind a good one; %+v, %v alone", name, got, err, want, wantErr)
		}
		if (err == nil) != (name == "good") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(seen.heads.known); n != 1 {
		t.Errorf("%d headers are remembered; one was good", n)
	}
}

// What an issuer may write into headers does not grow without bounds, and takes no place from another tenant's.
func TestHeadsAreBounded(t *testing.T) {
	ring, at := rings(), time.Unix(1_800_000_000, 0)
	check := func(header, tenant string, key []byte) {
		t.Helper()
		token := raw(header, fmt.Sprintf(`{"tenant":%q,"sub":"alice","role":"customer","exp":1800000060}`, tenant), by(jwt.SigningMethodHS256, key))
		if _, err := ring.Check(token, at); err != nil {
			t.Fatal(err)
		}
	}
	known := func(want int) {
		t.Helper()
		if n := len(ring.heads.known); n != want {
			t.Errorf("%d headers are remembered; want %d", n, want)
		}
	}
	check(fmt.Sprintf(`{"alg":"HS256","kid":"hs","n":%q}`, strings.Repeat("x", headMost)), "demo", secret)
	known(0)
	for i := range headsMost + 10 {
		for range 2 { // the second time it is known, or read anew
			check(fmt.Sprintf(`{"alg":"HS256","kid":"hs","n":%d}`, i), "demo", secret)
		}
	}
	known(headsMost)
	for i := range headsMost + 10 {
		check(fmt.Sprintf(`{"alg":"HS256","kid":"hs","m":%d}`, i), "other", []byte(strings.Repeat("other", 10)))
	}
	known(2 * headsMost)
	check(`{"alg":"HS256","kid":"hs","n":0}`, "other", []byte(strings.Repeat("other", 10))) // demo's, and as good
}

func TestCheckAllocates(t *testing.T) {
	ring := must(New(map[string][]Key{"demo": {must(NewSecret("hs", secret))}}))
	token, at := must(ring.Mint(alice, time.Hour)), now()
	if n := testing.AllocsPerRun(200, func() { must(ring.Check(token, at)) }); n > 26 {
		t.Errorf("%v allocations to check a token; want at most 26", n)
	}
}

// A node keeps a tenant's name and a role once, however many tokens named them.
func TestWordsAreShared(t *testing.T) {
	ring := must(New(map[string][]Key{"demo": {must(NewSecret("hs", secret))}}))
	a, b := must(ring.Check(must(ring.Mint(alice, time.Hour)), now())), must(ring.Check(must(ring.Mint(alice, time.Hour)), now()))
	if a.Tenant != alice.Tenant || a.Role != alice.Role {
		t.Fatalf("%+v of %+v", a, alice)
	}
	if unsafe.StringData(a.Tenant) != unsafe.StringData(b.Tenant) || unsafe.StringData(string(a.Role)) != unsafe.StringData(string(b.Role)) {
		t.Error("each token has words of its own")
	}
}

// [SW-3.1] A claim is called what it is called. What an issuer lets others write under a name that is merely alike does not count, by whichever way the token is read, and
// wherever else such a word stands it is one.
func TestClaimsAreCalledExactly(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	sign := by(jwt.SigningMethodHS256, secret)
	check := func(ring *Keyring, more string) (Claims, error) {
		doc := fmt.Sprintf(`{"tenant":"demo","sub":"alice","role":"customer","name":"Role","exp":%d%s}`, at.Unix()+60, more)
		return ring.Check(raw(`{"alg":"HS256","kid":"hs"}`, doc, sign), at)
	}
	for _, more := range []string{
		"", `,"Role":"operator"`, `,"ROLE":"operator"`, `,"\u0052ole":"operator"`, `,"Sub":"bob"`, ",\"\u017fub\":\"bob\"", ",\"\u017fhop\":\"s1\"", ",\"s\u212aills\":3", `,"Tenant":"other"`, `,"TENANT":"nobody"`, `,"Exp":1`, `,"Nbf":9999999999`,
		`,"custom":{"Role":"operator","Sub":"bob"}`, `,"x":"\"Role\":\"operator\""`,
	} {
		ring := rings()
		for range 2 { // in full, and quickly
			c, err := check(ring, more)
			if err != nil || c.Tenant != "demo" || c.Sub != "alice" || c.Role != wire.RoleCustomer || c.Shop != "" || c.Name != "Role" || c.Expires.Unix() != at.Unix()+60 {
				t.Errorf("%s: %+v, %v", more, c, err)
			}
		}
	}
	ring := rings()
	if c, err := ring.Check(raw(`{"alg":"HS256","kid":"hs"}`, fmt.Sprintf(`{"Tenant":"demo","sub":"alice","role":"customer","exp":%d}`, at.Unix()+60), sign), at); slug(err) != wire.Unauthenticated {
		t.Errorf("a tenant that is not called so: %+v, %v", c, err)
	}
}
