package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

func serviceOf(sub string) token.Claims { return token.Claims{Sub: sub, Role: wire.RoleService} }

func wechat(id string) obj { return obj{"channel": "wechat", "external_id": id} }

// web asks over HTTP and returns the status and what the answer holds.
func web(t testing.TB, n *node.Node, as token.Claims, method, path string, body any, key string) (int, obj) {
	t.Helper()
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Addr()+path, &b)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+mint(t, n, as))
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got obj
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatalf("%s %s answered %d %q", method, path, res.StatusCode, raw)
	}
	return res.StatusCode, got
}

// entries returns the messages and events of a history.
func entries(h obj) (list []obj) {
	all, _ := h["entries"].([]any)
	for _, e := range all {
		list = append(list, e.(obj))
	}
	return list
}

func typesOf(h obj) (list []string) {
	for _, e := range entries(h) {
		list = append(list, fmt.Sprint(e["type"]))
	}
	return list
}

func sessionsOf(identified obj) (list []string) {
	all, _ := identified["sessions"].([]any)
	for _, id := range all {
		list = append(list, fmt.Sprint(id))
	}
	return list
}

// [SW-5a.6] A service opens and speaks for customers of its channel, and for nobody else.
func TestService(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 4, "window": 16})
	s := login(t, n, serviceOf("connector"))
	li := obj{"channel": "wechat", "external_id": "o6_bmj rE", "name": "Li"}
	o := s.ask("open", obj{"customer": li, "key": "m0"})
	id := o["session"].(string)
	if o["state"] != "new" || num(o["head"]) != 1 {
		t.Fatalf("open %v", o)
	}
	if again := s.ask("open", obj{"customer": li}); again["session"] != id {
		t.Fatalf("the same external id opened %v", again)
	}
	other := s.open(obj{"customer": wechat("somebody else")})
	if other == id {
		t.Fatal("two external ids are one customer")
	}
	if mail := s.open(obj{"customer": obj{"channel": "email", "external_id": "o6_bmj rE"}}); mail == id || mail == other {
		t.Fatal("an external id of another channel is the same customer")
	}
	say := obj{"session": id, "customer": li, "key": "m1", "type": "text", "body": text("nihao")}
	seq := num(s.ask("send", say)["seq"])
	if r := s.ask("send", say); r["duplicate"] != true || num(r["seq"]) != seq { // [SW-4.3]
		t.Fatalf("the same key again: %v", r)
	}
	as := bot.push("assigned")
	if c := as["customer"].(obj); c["name"] != "Li" || c["role"] != "customer" {
		t.Fatalf("assigned %v", as)
	}
	d := bot.push("delivery")
	from := d["from"].(obj)
	if bodyText(d) != "nihao" || from["role"] != "customer" || from["id"] != as["customer"].(obj)["id"] || from["name"] != "Li" || d["origin"] != "customer" || d["channel"] != "wechat" {
		t.Fatalf("delivery %v", d)
	}
	bot.ask("reply", obj{"session": id, "ae": 1, "ack": seq, "body": text("hello Li")})
	bot.ask("reply", obj{"session": id, "ae": 1, "body": text("for staff"), "visibility": "staff"})
	if m := s.said("message"); bodyText(m) != "hello Li" || m["channel"] != "wechat" {
		t.Fatalf("message %v", m)
	}
	h := s.ask("history", obj{"session": id, "customer": li})
	for _, e := range entries(h) {
		if e["channel"] != "wechat" || e["origin"] == nil || e["visibility"] != "public" {
			t.Fatalf("entry %v: channel and origin stand on every one, and staff's are not for services", e)
		}
	}
	// Who is named must be the session's customer, and somebody must be named.
	missing := s.refused("no_session", "history", obj{"session": "s_0000000000000000", "customer": li})
	for _, verb := range []string{"history", "send", "close", "open"} {
		if e := s.refused("no_session", verb, obj{"session": id, "customer": wechat("somebody else"), "body": 1}); fmt.Sprint(e) != fmt.Sprint(missing) {
			t.Fatalf("%s of another's session answers %v, of a missing one %v", verb, e, missing)
		}
		s.refused("no_session", verb, obj{"session": id, "customer": wechat("nobody yet"), "body": 1})
		s.refused("bad_request", verb, obj{"session": id, "body": 1})
		s.refused("bad_request", verb, obj{"session": id, "body": 1, "customer": obj{"channel": "we chat", "external_id": "o"}})
		s.refused("bad_request", verb, obj{"session": id, "body": 1, "customer": obj{"channel": "wechat", "external_id": "o\x00"}})
	}
	s.refused("forbidden", "rate", obj{"session": id, "score": 5})
	s.refused("forbidden", "identify", obj{"token": mint(t, n, customerOf("alice"))})
	alice := login(t, n, customerOf("alice"))
	alice.refused("no_session", "open", obj{"session": id})
	alice.refused("forbidden", "open", obj{"customer": li})
	alice.refused("forbidden", "send", obj{"session": id, "customer": li, "body": 1})
	bot.refused("forbidden", "open", obj{"customer": li})
	foreign := mint(t, n, token.Claims{Tenant: "demo", Sub: "connector", Role: wire.RoleService})
	if foreign == "" {
		t.Fatal("no token")
	}
	// A connection that comes back goes on where it was, when it names the customer again [SW-3.2].
	s2 := dial(t, n)
	hello := s2.ask("hello", obj{"token": foreign, "resume": []obj{
		{"session": id, "epoch": 1, "seq": seq, "customer": li}, {"session": id, "epoch": 1, "seq": seq}, {"session": other, "epoch": 1, "seq": 1, "customer": li},
	}})
	lines := hello["resumed"].([]any)
	if lines[0].(obj)["how"] != "exact" || lines[1].(obj)["error"].(obj)["slug"] != "bad_request" || lines[2].(obj)["error"].(obj)["slug"] != "no_session" {
		t.Fatalf("resumed %v", lines)
	}
	if m := s2.said("message"); bodyText(m) != "hello Li" {
		t.Fatalf("resumed with %v", m)
	}
	s.ask("close", obj{"session": id, "customer": li})
	if next := s.open(obj{"customer": li}); next == id {
		t.Fatal("an open found the closed session")
	}
}

// [SW-5a.6] [SW-7] The same over HTTP.
func TestServiceOverHTTP(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	svc, li := serviceOf("connector"), wechat("o1")
	code, o := web(t, n, svc, "POST", "/v1/sessions", obj{"customer": li, "queue": "default"}, "")
	id, _ := o["session"].(string)
	if code != 200 || id == "" {
		t.Fatalf("open %d %v", code, o)
	}
	code, r := web(t, n, svc, "POST", "/v1/sessions/"+id+"/messages", obj{"customer": li, "body": text("hi")}, "k1")
	if code != 201 || num(r["seq"]) != 2 {
		t.Fatalf("send %d %v", code, r)
	}
	if code, r = web(t, n, svc, "POST", "/v1/sessions/"+id+"/messages", obj{"customer": li, "body": text("hi")}, "k1"); code != 200 || num(r["seq"]) != 2 {
		t.Fatalf("repeated %d %v", code, r)
	}
	if code, r = web(t, n, svc, "POST", "/v1/sessions/"+id+"/messages", obj{"customer": wechat("o2"), "body": text("hi")}, ""); code != 404 || r["slug"] != "no_session" {
		t.Fatalf("a stranger's send %d %v", code, r)
	}
	if code, r = web(t, n, svc, "GET", "/v1/sessions/"+id+"/messages?channel=wechat&external_id=o1", nil, ""); code != 200 || len(entries(r)) != 3 {
		t.Fatalf("history %d %v", code, r)
	}
	if code, r = web(t, n, svc, "GET", "/v1/sessions/"+id+"/messages", nil, ""); code != 400 {
		t.Fatalf("history of nobody %d %v", code, r)
	}
}

// [SW-3.4] A visitor who logs in is one customer from then on; his conversation goes on.
func TestIdentify(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	v := login(t, n, customerOf("visitor"))
	id := v.open(obj{})
	sent := num(v.ask("send", obj{"session": id, "key": "k1", "body": text("hi")})["seq"])
	login(t, n, customerOf("alice"))
	got := v.ask("identify", obj{"token": mint(t, n, customerOf("alice"))})
	if got["customer"] != "alice" || !slices.Equal(sessionsOf(got), []string{id}) {
		t.Fatalf("identify %v; want alice and %s", got, id)
	}
	if again := v.ask("identify", obj{"token": mint(t, n, customerOf("alice"))}); fmt.Sprint(again) != fmt.Sprint(got) {
		t.Fatalf("identify again %v; want %v", again, got)
	}
	// Both subs land in the same session, see all of it, and speak in it.
	a := login(t, n, customerOf("alice"))
	if o := a.ask("open", obj{"from": obj{"epoch": 1, "seq": 0}}); o["session"] != id {
		t.Fatalf("alice opened %v; want %s", o, id)
	}
	if m := a.said("message"); bodyText(m) != "hi" || m["from"].(obj)["id"] != "visitor" {
		t.Fatalf("message %v", m)
	}
	v2 := login(t, n, customerOf("visitor"))
	if o := v2.open(obj{}); o != id {
		t.Fatalf("the visitor opened %s; want %s", o, id)
	}
	a.ask("send", obj{"session": id, "body": text("it is me")})
	if m := v2.said("message"); bodyText(m) != "it is me" || m["from"].(obj)["id"] != "alice" {
		t.Fatalf("message %v", m)
	}
	// [SW-4.3] What was asked for before is not done twice, whichever token comes with it.
	if r := a.ask("send", obj{"session": id, "key": "k1", "body": text("hi")}); r["duplicate"] != true || num(r["seq"]) != sent {
		t.Fatalf("the visitor's key said by alice: %v", r)
	}
	// [SW-4.6] It can be opened again by either.
	v.ask("close", obj{"session": id})
	a.ask("send", obj{"session": id, "body": text("one more thing")})
	if o := v2.ask("open", obj{}); o["session"] != id || o["state"] != "queued" {
		t.Fatalf("after reopening: %v", o)
	}
	a.ask("close", obj{"session": id})
	next := a.open(obj{})
	if next == id {
		t.Fatal("alice found a closed session")
	}
	if o := v2.open(obj{}); o != next {
		t.Fatalf("the visitor opened %s; want %s", o, next)
	}
	if e := v.refused("session_closed", "send", obj{"session": id, "body": 1}); fmt.Sprint(e["detail"]) != fmt.Sprint(obj{"session": next}) {
		t.Fatalf("session_closed %v", e)
	}
	v2.ask("send", obj{"session": next, "body": text("by the visitor's token")})
	if m := a.said("message"); bodyText(m) != "by the visitor's token" {
		t.Fatalf("message %v", m)
	}
	// [SW-4.5] Nobody else sees any of it.
	m := login(t, n, customerOf("mallory"))
	missing := m.refused("no_session", "open", obj{"session": "s_0000000000000000"})
	for _, s := range []string{id, next} {
		for _, verb := range []string{"open", "send", "history", "close"} {
			if e := m.refused("no_session", verb, obj{"session": s, "body": 1}); fmt.Sprint(e) != fmt.Sprint(missing) {
				t.Fatalf("%s answers mallory %v, a missing session %v", verb, e, missing)
			}
		}
	}
	// Whom he has become he stays.
	v.refused("identity_taken", "identify", obj{"token": mint(t, n, customerOf("mallory"))})
	v.refused("forbidden", "identify", obj{"token": mint(t, n, workerOf("bob", wire.OriginHuman))})
	v.refused("unauthenticated", "identify", obj{"token": "nonsense"})
	other, err := n.Mint(token.Claims{Tenant: "demo", Sub: "x", Role: wire.RoleCustomer}, -1)
	if err != nil {
		t.Fatal(err)
	}
	v.refused("token_expired", "identify", obj{"token": other})
	stop(t, n)

	n = start(t, dir)
	defer stop(t, n)
	v = login(t, n, customerOf("visitor"))
	if o := v.open(obj{}); o != next {
		t.Fatalf("after a restart the visitor opened %s; want %s", o, next)
	}
	a = login(t, n, customerOf("alice"))
	if h := a.ask("history", obj{"session": id}); len(entries(h)) == 0 {
		t.Fatalf("after a restart alice reads %v of the visitor's session", h)
	}
}

// [SW-3.4] [SW-4.9] Where both have an open session of one shop the younger ends, and says where it goes on.
func TestIdentifyMerges(t *testing.T) {
	for _, visitorFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("visitorFirst=", visitorFirst), func(t *testing.T) {
			n := start(t, t.TempDir())
			defer stop(t, n)
			v, a := login(t, n, customerOf("visitor")), login(t, n, customerOf("alice"))
			older, younger := v, a
			if !visitorFirst {
				older, younger = a, v
			}
			keep := older.open(obj{})
			first := num(older.ask("send", obj{"session": keep, "body": text("older")})["ts"])
			for num(older.ask("send", obj{"session": keep, "body": text("older")})["ts"]) == first { // the clock has ticked
			}
			end := younger.open(obj{})
			younger.ask("send", obj{"session": end, "body": text("younger")})
			shop := v.open(obj{"shop": "s2"}) // only his own
			got := v.ask("identify", obj{"token": mint(t, n, customerOf("alice"))})
			want := []string{keep, shop}
			slices.Sort(want)
			list := sessionsOf(got)
			if slices.Sort(list); got["customer"] != "alice" || !slices.Equal(list, want) {
				t.Fatalf("identify %v; want alice and %v", got, want)
			}
			for {
				m := younger.push("message")
				if m["type"] == "session.merged" {
					if m["session"] != end || m["visibility"] != "public" || fmt.Sprint(m["body"]) != fmt.Sprint(obj{"into": keep}) {
						t.Fatalf("merged %v; want %s into %s", m, end, keep)
					}
					break
				}
			}
			for _, p := range []*peer{v, a, login(t, n, customerOf("visitor")), login(t, n, customerOf("alice"))} {
				if o := p.open(obj{}); o != keep {
					t.Fatalf("opened %s; want %s", o, keep)
				}
				if o := p.open(obj{"shop": "s2"}); o != shop {
					t.Fatalf("opened %s of s2; want %s", o, shop)
				}
				// What has ended stays readable, and positions in it valid.
				if h := p.ask("history", obj{"session": end}); !slices.Contains(typesOf(h), "session.merged") {
					t.Fatalf("history %v", h)
				}
				if o := p.ask("open", obj{"session": end, "from": obj{"epoch": 1, "seq": 1}}); o["state"] != "closed" || o["how"] != "exact" {
					t.Fatalf("open of the merged one: %v", o)
				}
				if e := p.refused("session_closed", "send", obj{"session": end, "body": 1}); fmt.Sprint(e["detail"]) != fmt.Sprint(obj{"session": keep}) {
					t.Fatalf("send to the merged one: %v", e)
				}
				p.ask("send", obj{"session": keep, "body": text("on")})
			}
			mallory := login(t, n, customerOf("mallory"))
			for _, s := range []string{keep, end, shop} {
				mallory.refused("no_session", "history", obj{"session": s})
			}
			sue := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
			if h := sue.ask("history", obj{"session": end}); !slices.Contains(typesOf(h), "session.merged") {
				t.Fatalf("a supervisor reads %v", h)
			}
		})
	}
}

// [SW-3.4] Whoever wants to become whom, in whatever order and at once: they are one customer, and there is no circle.
func TestIdentifyInCircles(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	for round := range 3 {
		name := func(i int) string { return fmt.Sprint("c", round, ".", i) }
		const people = 5
		var list []*peer
		opened := map[string]bool{}
		for i := range people {
			p := login(t, n, customerOf(name(i)))
			opened[p.open(obj{})] = true
			list = append(list, p)
		}
		var wg sync.WaitGroup
		survivors := make([]string, people)
		for i, p := range list {
			tok := mint(t, n, customerOf(name((i+1)%people)))
			wg.Go(func() {
				f := p.answer(p.send("identify", obj{"token": tok}))
				if r, ok := f["identify"].(obj); ok {
					survivors[i] = fmt.Sprint(r["customer"])
				} else {
					t.Errorf("%s: %v", name(i), f)
				}
			})
		}
		wg.Wait()
		one, last := "", ""
		for i, p := range list {
			got := p.ask("identify", obj{"token": mint(t, n, customerOf(name((i+2)%people)))})
			if one == "" {
				one = fmt.Sprint(got["customer"])
			}
			if got["customer"] != one || len(sessionsOf(got)) != 1 {
				t.Fatalf("round %d: %s is %v; want %s and one session", round, name(i), got, one)
			}
			id := p.open(obj{})
			if last == "" {
				last = id
			}
			if id != last || !opened[id] {
				t.Fatalf("round %d: %s opened %s; want %s", round, name(i), id, last)
			}
		}
	}
}

// [SW-7] Who else a customer is.
func TestIdentitiesOverHTTP(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	svc, sue := serviceOf("crm"), token.Claims{Sub: "sue", Role: wire.RoleSupervisor}
	path := func(c string) string { return "/v1/customers/" + c + "/identities" }
	if code, r := web(t, n, sue, "GET", path("alice"), nil, ""); code != 200 || r["customer"] != "alice" || len(r["identities"].([]any)) != 0 {
		t.Fatalf("%d %v", code, r)
	}
	code, r := web(t, n, svc, "POST", path("alice"), wechat("o1"), "")
	if code != 201 || r["customer"] != "alice" || fmt.Sprint(r["identities"]) != fmt.Sprint([]any{wechat("o1")}) {
		t.Fatalf("%d %v", code, r)
	}
	if code, r = web(t, n, sue, "POST", path("alice"), wechat("o1"), ""); code != 200 || r["duplicate"] != true {
		t.Fatalf("again: %d %v", code, r)
	}
	code, r = web(t, n, svc, "POST", path("bob"), wechat("o1"), "")
	if code != 409 || r["slug"] != "identity_taken" || fmt.Sprint(r["detail"]) != fmt.Sprint(obj{"customer": "alice"}) {
		t.Fatalf("somebody else's: %d %v", code, r)
	}
	if _, r = web(t, n, svc, "GET", path("bob"), nil, ""); len(r["identities"].([]any)) != 0 {
		t.Fatalf("bob has %v", r)
	}
	// A linked external id is alice, whoever speaks.
	alice := login(t, n, customerOf("alice"))
	id := alice.open(obj{})
	s := login(t, n, svc)
	if o := s.open(obj{"customer": wechat("o1")}); o != id {
		t.Fatalf("the service opened %s; want alice's %s", o, id)
	}
	s.ask("send", obj{"session": id, "customer": wechat("o1"), "body": text("from wechat")})
	if m := alice.said("message"); bodyText(m) != "from wechat" || m["channel"] != "wechat" || m["from"].(obj)["id"] != "alice" {
		t.Fatalf("message %v", m)
	}
	// One that a service brought is a customer of its own, and his who becomes him.
	x := s.open(obj{"customer": wechat("o2")})
	h := s.ask("history", obj{"session": x, "customer": wechat("o2")})
	if len(entries(h)) == 0 {
		t.Fatalf("history %v", h)
	}
	if code, r = web(t, n, svc, "POST", path("alice"), wechat("o2"), ""); code != 409 {
		t.Fatalf("%d %v", code, r)
	}
	newcomer := fmt.Sprint(r["detail"].(obj)["customer"])
	if _, r = web(t, n, svc, "GET", path(newcomer), nil, ""); fmt.Sprint(r["identities"]) != fmt.Sprint([]any{wechat("o2")}) {
		t.Fatalf("the newcomer has %v", r)
	}
	p := login(t, n, customerOf(newcomer))
	if got := p.ask("identify", obj{"token": mint(t, n, customerOf("alice"))}); got["customer"] != "alice" || !slices.Equal(sessionsOf(got), []string{id}) {
		t.Fatalf("identify %v; want alice and %s", got, id)
	}
	if o := s.open(obj{"customer": wechat("o2")}); o != id {
		t.Fatalf("the service opened %s; want %s", o, id)
	}
	for _, c := range []string{"alice", newcomer} {
		if _, r = web(t, n, sue, "GET", path(c), nil, ""); r["customer"] != "alice" || fmt.Sprint(r["identities"]) != fmt.Sprint([]any{wechat("o1"), wechat("o2")}) {
			t.Fatalf("%s has %v", c, r)
		}
	}
	if code, r = web(t, n, svc, "POST", path(newcomer), wechat("o1"), ""); code != 200 {
		t.Fatalf("%d %v", code, r)
	}
	for _, as := range []token.Claims{customerOf("alice"), workerOf("bob", wire.OriginHuman), {Sub: "tom", Role: wire.RoleSupervisor, Shop: "s1"}} {
		if code, r = web(t, n, as, "GET", path("alice"), nil, ""); code != 403 {
			t.Fatalf("%s: %d %v", as.Sub, code, r)
		}
		if code, r = web(t, n, as, "POST", path("alice"), wechat("o9"), ""); code != 403 {
			t.Fatalf("%s: %d %v", as.Sub, code, r)
		}
	}
	if code, r = web(t, n, svc, "POST", path("alice"), obj{"channel": "wechat"}, ""); code != 400 {
		t.Fatalf("%d %v", code, r)
	}
	if code, r = web(t, n, svc, "POST", path("al%20ice"), wechat("o3"), ""); code != 400 {
		t.Fatalf("%d %v", code, r)
	}
}
