package node_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// rest is somebody without a socket.
type rest struct {
	t     testing.TB
	n     *node.Node
	token string
}

func without(t testing.TB, n *node.Node, c token.Claims) *rest {
	t.Helper()
	return &rest{t, n, mint(t, n, c)}
}

// post makes one request, and returns its status and its body.
func (r *rest) post(path, body string, header ...string) (int, obj) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "POST", "http://"+r.n.Addr()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var m obj
	if err := json.Unmarshal(b, &m); err != nil {
		r.t.Fatalf("%s was answered %d %q", path, resp.StatusCode, b)
	}
	if m["slug"] != nil && resp.Header.Get("Content-Type") != "application/problem+json" {
		r.t.Fatalf("%s: a problem of type %s", path, resp.Header.Get("Content-Type"))
	}
	return resp.StatusCode, m
}

func (r *rest) want(status int, slug, path, body string, header ...string) obj {
	r.t.Helper()
	got, m := r.post(path, body, header...)
	if got != status || slug != "" && m["slug"] != slug {
		r.t.Fatalf("%s %s was answered %d %v; want %d %s", path, body, got, m, status, slug)
	}
	return m
}

// assignment returns the one assignment of a claim's answer, and its deliveries.
func assignment(t testing.TB, claimed obj) (a obj, deliveries []obj) {
	t.Helper()
	list, _ := claimed["assignments"].([]any)
	if len(list) != 1 {
		t.Fatalf("claimed %v; want one assignment", claimed)
	}
	a = list[0].(obj)
	dl, _ := a["deliveries"].([]any)
	for _, d := range dl {
		deliveries = append(deliveries, d.(obj))
	}
	return a, deliveries
}

// none tells whether v is a list that is there, and empty.
func none(v any) bool {
	list, ok := v.([]any)
	return ok && len(list) == 0
}

// [SW-7.1] A worker without a socket claims, answers, gives back and releases.
func TestClaim(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	w := without(t, n, workerOf("bot", wire.OriginBot))
	const claim = "/v1/queues/default/claim"

	if m := w.want(200, "", claim+"?wait=0", ""); !none(m["assignments"]) || !none(m["revoked"]) || !strings.HasPrefix(m["lease"].(string), "l_") || num(m["lease_ms"]) != 15000 {
		t.Fatalf("a claim of nothing was answered %v", m)
	}
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{"attributes": obj{"plan": "gold"}})
	waits := make(chan obj, 1)
	go func() { // the long poll is answered by what comes while it waits
		_, m := w.post(claim, "")
		waits <- m
	}()
	first := num(a.ask("send", obj{"session": id, "body": text("hi")})["seq"])
	m := <-waits
	as, deliveries := assignment(t, m)
	if as["session"] != id || num(as["ae"]) != 1 || as["reason"] != "route" || as["attributes"].(obj)["plan"] != "gold" || len(as["tail"].([]any)) == 0 {
		t.Fatalf("claimed %v", as)
	}
	if len(deliveries) != 1 || num(deliveries[0]["seq"]) != first || bodyText(deliveries[0]) != "hi" || num(deliveries[0]["attempt"]) != 1 || num(deliveries[0]["ae"]) != 1 {
		t.Fatalf("delivered %v", deliveries)
	}
	cursor := "&after=" + m["cursor"].(string)
	if m := w.want(200, "", claim+"?wait=0"+cursor, ""); !none(m["assignments"]) {
		t.Fatalf("what is known was told again: %v", m)
	}
	if _, d := assignment(t, w.want(200, "", claim+"?wait=0", "")); len(d) != 1 {
		t.Fatalf("whoever lost his cursor is shown what is not acknowledged; came %v", d)
	}
	base := "/v1/assignments/" + id + "/1/"
	// [SW-5.3] [SW-4.5] the fence, and who may know of the session at all
	w.want(409, "stale_assignment", "/v1/assignments/"+id+"/7/reply", `{"body":1}`)
	without(t, n, workerOf("other", wire.OriginBot)).want(404, "no_session", base+"reply", `{"body":1}`)
	without(t, n, customerOf("alice")).want(403, "forbidden", base+"reply", `{"body":1}`)
	w.want(422, "invalid_body", base+"reply", `{"body":`)
	w.want(422, "invalid_body", base+"reply", `{},"ack":{}`)
	w.want(409, "not_delivered", base+"ack", `{"seq":99}`)
	// [SW-5.6] nack brings it again, with the next attempt
	w.want(200, "", base+"nack", `{"seq":`+num2(first)+`}`, "Idempotency-Key", "n1")
	as, deliveries = assignment(t, w.want(200, "", claim+"?x=1"+cursor, ""))
	if len(deliveries) != 1 || num(deliveries[0]["attempt"]) != 2 || len(as["tail"].([]any)) > 0 {
		t.Fatalf("after a nack came %v %v", as, deliveries)
	}
	// [SW-5.5] [SW-4.3]
	reply := `{"type":"text","body":{"text":"hello"},"ack":` + num2(first) + `}`
	r := w.want(201, "", base+"reply", reply, "Idempotency-Key", "r1")
	if again := w.want(200, "", base+"reply", reply, "Idempotency-Key", "r1"); again["duplicate"] != true || num(again["seq"]) != num(r["seq"]) {
		t.Fatalf("the same reply again: %v", again)
	}
	if said := a.said("message"); bodyText(said) != "hello" || said["origin"] != "bot" {
		t.Fatalf("alice heard %v", said)
	}
	second := num(a.ask("send", obj{"session": id, "body": text("more")})["seq"])
	_, deliveries = assignment(t, w.want(200, "", claim+"?x=1"+cursor, ""))
	if last := deliveries[len(deliveries)-1]; num(last["seq"]) != second {
		t.Fatalf("the second message came as %v", deliveries)
	}
	w.want(409, "unanswered", base+"release", `{"outcome":"solved","upto":`+num2(first)+`}`)
	if m := w.want(200, "", base+"ack", `{"seq":`+num2(second)+`}`); num(m["seq"]) != second {
		t.Fatalf("ack %v", m)
	}
	w.want(200, "", base+"release", `{"outcome":"solved"}`, "Idempotency-Key", "done")
	if m := w.want(200, "", base+"release", `{"outcome":"solved"}`, "Idempotency-Key", "done"); m["duplicate"] != true {
		t.Fatalf("release again: %v", m)
	}
	if m := w.want(200, "", claim+"?wait=0"+cursor, ""); !none(m["assignments"]) || !none(m["revoked"]) {
		t.Fatalf("after its own release the worker was told %v", m)
	}
}

// [SW-7.1] [SW-5.1] Who may claim, how much, and that a socket of the same worker takes over.
func TestClaimLimits(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	const claim = "/v1/queues/default/claim"
	without(t, n, customerOf("alice")).want(403, "forbidden", claim, "")
	w := without(t, n, workerOf("bot", wire.OriginBot))
	w.want(404, "no_queue", "/v1/queues/nowhere/claim", "")
	w.want(400, "bad_request", claim+"?slots=many", "")
	w.want(400, "bad_request", claim+"?instance=a%20b", "")
	narrow := workerOf("narrow", wire.OriginBot)
	narrow.Queues = []string{"refunds"}
	without(t, n, narrow).want(403, "forbidden", claim, "")
	(&rest{t, n, "nonsense"}).want(401, "unauthenticated", claim, "")

	w.want(200, "", claim+"?slots=2&wait=0", "")
	ids := map[string]bool{}
	for _, sub := range []string{"a", "b", "c"} {
		c := login(t, n, customerOf(sub))
		id := c.open(obj{})
		c.ask("send", obj{"session": id, "body": 1})
		ids[id] = true
	}
	got := map[string]bool{}
	for cursor := ""; len(got) < 2; {
		m := w.want(200, "", claim+"?after="+cursor, "")
		cursor = m["cursor"].(string)
		list, _ := m["assignments"].([]any)
		for _, v := range list {
			got[v.(obj)["session"].(string)] = true
		}
	}
	for id := range got {
		if !ids[id] {
			t.Fatalf("claimed %s, which nobody opened", id)
		}
		delete(ids, id)
	}
	// [SW-5.1] the third waits: another instance is another worker, and has slots of its own
	as, _ := assignment(t, w.want(200, "", claim+"?instance=two", ""))
	if !ids[as["session"].(string)] {
		t.Fatalf("the second instance claimed %v; want the third session", as)
	}
	w.want(404, "no_session", "/v1/assignments/"+as["session"].(string)+"/1/reply", `{"body":1}`)
	w.want(201, "", "/v1/assignments/"+as["session"].(string)+"/1/reply", `{"body":1}`, "Switchboard-Instance", "two")
	// [SW-5.7] a second subscription of the same worker takes over with everything
	s := login(t, n, workerOf("bot", wire.OriginBot))
	if kept, _ := s.subscribe(obj{"slots": 2})["kept"].([]any); len(kept) != 2 {
		t.Fatalf("the socket kept %v; want two sessions", kept)
	}
	w.want(409, "stale_assignment", claim, "")
}

// [SW-5.7] [SW-7.1] A human who claims has accepted.
func TestClaimByHuman(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	w := without(t, n, workerOf("bob", wire.OriginHuman))
	w.want(200, "", "/v1/queues/default/claim?wait=0", "")
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("hi")})
	if as, d := assignment(t, w.want(200, "", "/v1/queues/default/claim", "")); as["session"] != id || len(d) != 1 {
		t.Fatalf("claimed %v %v", as, d)
	}
	w.want(200, "", "/v1/assignments/"+id+"/1/transfer", `{"to":{"queue":"default"},"note":"for the others"}`)
}

func num2(v int) string {
	b, _ := json.Marshal(v) // of a number, it cannot fail
	return string(b)
}
