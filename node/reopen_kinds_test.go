package node_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// again lets every shard of a node begin again.
func again(t *testing.T, n *node.Node, end func(int) error) {
	t.Helper()
	for i := range 4 {
		if err := end(i); err != nil {
			t.Fatal(err)
		}
	}
}

// What a human has agreed upon with his pool outlives it: his lease and sessions, his slots, that he is away. Offers that were open
// end as rescinded, and come again.
func TestPoolBeginsAgain(t *testing.T) {
	for name, end := range map[string]func(*node.Node) func(int) error{
		"closed": func(n *node.Node) func(int) error { return n.Reopen }, "dropped": func(n *node.Node) func(int) error { return n.Crash },
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, t.TempDir())
			defer stop(t, n)
			bob := login(t, n, workerOf("bob", wire.OriginHuman))
			lease := bob.subscribe(obj{"slots": 1})["lease"]
			bob.ask("slots", obj{"slots": 2})
			var list []*peer
			var ids []string
			for i := range 3 {
				c := login(t, n, customerOf(fmt.Sprintf("c%d", i)))
				ids = append(ids, c.open(obj{}))
				c.ask("send", obj{"session": ids[i], "body": text("hi")})
				list = append(list, c)
			}
			first := bob.push("offer")
			held := bob.ask("accept", obj{"offer": first["offer"]})
			second := bob.push("offer")
			again(t, n, end(n))
			if e := bob.push("offer_ended"); e["offer"] != second["offer"] || e["reason"] != "rescinded" {
				t.Fatalf("the offer ended with %v", e)
			}
			// The offer of the pool that was is gone, what was accepted there is accepted.
			bob.refused("offer_rescinded", "accept", obj{"offer": second["offer"]})
			if a := bob.ask("accept", obj{"offer": first["offer"]}); a["ae"] != held["ae"] || a["session"] != held["session"] {
				t.Fatalf("accepted again with %v; it was %v", a, held)
			}
			third := bob.push("offer") // one slot is left of two
			if third["session"] == held["session"] {
				t.Fatalf("offered %v, which he has", third)
			}
			bob.ask("reply", obj{"session": held["session"], "ae": held["ae"], "ack": 2, "body": text("here I am")})
			bob.ask("presence", obj{"state": "away"})
			again(t, n, end(n))
			bob.ask("release", obj{"session": held["session"], "ae": held["ae"], "outcome": "solved"})
			// Who is away is asked nothing; a second who is ready gets what waits.
			ann := login(t, n, workerOf("ann", wire.OriginHuman))
			ann.subscribe(obj{"slots": 5})
			got := map[any]bool{ann.push("offer")["session"]: true, ann.push("offer")["session"]: true}
			if len(got) != 2 || got[held["session"]] {
				t.Fatalf("ann was offered %v", got)
			}
			if r := bob.subscribe(obj{"slots": 1, "lease": lease}); r["lease"] != lease {
				t.Fatalf("the lease was %v, and is %v", lease, r)
			}
			for _, c := range list {
				c.ask("history", obj{"session": ids[0], "limit": 1})
				break
			}
		})
	}
}

// An event stream, requests without a socket and a worker without one go on.
func TestHTTPOverOwners(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	base := "http://" + n.Addr()
	do := func(method, path, as, body string) (int, obj) {
		t.Helper()
		req, err := http.NewRequest(method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+as)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // a test's
		var m obj
		_ = json.NewDecoder(resp.Body).Decode(&m)
		return resp.StatusCode, m
	}
	alice, bot := mint(t, n, customerOf("alice")), mint(t, n, workerOf("bot", wire.OriginBot))
	_, open := do("POST", "/v1/sessions", alice, `{}`)
	id := open["session"].(string)
	req, _ := http.NewRequest("GET", base+"/v1/sessions/"+id+"/events?from=1:0", nil)
	req.Header.Set("Authorization", "Bearer "+alice)
	stream, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close() //nolint:errcheck // a test's
	lines := bufio.NewScanner(stream.Body)
	last := 0
	event := func(want string) {
		t.Helper()
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var f obj
			if err := json.Unmarshal([]byte(data), &f); err != nil {
				t.Fatal(err)
			}
			m, ok := f["message"].(obj)
			if !ok {
				continue
			}
			if num(m["seq"]) <= last || num(m["prev"]) != last {
				t.Fatalf("%v came behind %d", m, last)
			}
			if last = num(m["seq"]); m["kind"] == "message" {
				if bodyText(m) != want {
					t.Fatalf("the stream told %v; want %s", m, want)
				}
				return
			}
		}
		t.Fatalf("the stream ended before %s: %v", want, lines.Err())
	}
	if status, m := do("POST", "/v1/sessions/"+id+"/messages", alice, `{"body":{"text":"one"}}`); status != 201 {
		t.Fatalf("%d %v", status, m)
	}
	event("one")
	_, claimed := do("POST", "/v1/queues/default/claim?slots=2&wait=5000", bot, "")
	a := claimed["assignments"].([]any)[0].(obj)
	lease := claimed["lease"]
	again(t, n, n.Reopen)
	answer := fmt.Sprintf("/v1/assignments/%s/%d/reply", id, num(a["ae"]))
	if status, m := do("POST", answer, bot, fmt.Sprintf(`{"ack":%d,"body":{"text":"re one"}}`, num(a["deliveries"].([]any)[0].(obj)["seq"]))); status != 201 {
		t.Fatalf("%d %v", status, m)
	}
	event("re one")
	again(t, n, n.Crash)
	if status, m := do("POST", "/v1/sessions/"+id+"/messages", alice, `{"body":{"text":"two"}}`); status != 201 {
		t.Fatalf("%d %v", status, m)
	}
	event("two")
	// The claim shows the new word, under the same assignment and lease, and nothing that was told before.
	_, claimed = do("POST", "/v1/queues/default/claim?wait=5000&after="+claimed["cursor"].(string), bot, "")
	list, ok := claimed["assignments"].([]any)
	if !ok || len(list) != 1 || claimed["lease"] != lease {
		t.Fatalf("claimed %v", claimed)
	}
	if b := list[0].(obj); b["session"] != id || b["ae"] != a["ae"] || len(b["deliveries"].([]any)) != 1 || bodyText(b["deliveries"].([]any)[0].(obj)) != "two" || len(b["tail"].([]any)) > 0 {
		t.Fatalf("claimed %v", b)
	}
}

// Supervisors who watch, count, join and take go on; streams are told anew.
func TestSupervisionOverOwners(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	boss := login(t, n, token.Claims{Sub: "boss", Role: wire.RoleSupervisor})
	boss.ask("watch", obj{})
	boss.ask("stats", obj{"every_ms": 1000})
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"slots": 4})
	alice := login(t, n, customerOf("alice"))
	id := alice.open(obj{})
	alice.ask("send", obj{"session": id, "body": text("one")})
	ae := bot.push("assigned")["ae"]
	if m := boss.said("message"); bodyText(m) != "one" || m["cursor"] == nil {
		t.Fatalf("watched %v", m)
	}
	guest := login(t, n, token.Claims{Sub: "guest", Role: wire.RoleSupervisor})
	ge := guest.ask("join", obj{"session": id, "as": "barge"})["ge"]
	bot.write(obj{"delta": obj{"session": id, "ae": ae, "stream": "m1", "off": 0, "text": "Your order"}})
	if d := alice.push("delta"); d["text"] != "Your order" {
		t.Fatalf("streamed %v", d)
	}
	again(t, n, n.Crash)
	// [SW-4.8] Whoever follows hears what there is of the stream, and its worker where to begin.
	if s := alice.push("stream"); s["stream"] != "m1" || num(s["off"]) != 0 || s["text"] != nil && s["text"] != "" {
		t.Fatalf("of the stream came %v", s)
	}
	bot.write(obj{"delta": obj{"session": id, "ae": ae, "stream": "m1", "off": 10, "text": " moved"}})
	if r := bot.push("rewind"); r["stream"] != "m1" || num(r["off"]) != 0 {
		t.Fatalf("rewound %v", r)
	}
	bot.write(obj{"delta": obj{"session": id, "ae": ae, "stream": "m1", "off": 0, "text": "Your order moved"}})
	if d := alice.push("delta"); d["text"] != "Your order moved" || num(d["off"]) != 0 {
		t.Fatalf("streamed %v", d)
	}
	if s := boss.push("stats"); s["queues"] == nil {
		t.Fatalf("counted %v", s)
	}
	guest.ask("reply", obj{"session": id, "ge": ge, "body": text("may I?")})
	if m := alice.said("message"); bodyText(m) != "may I?" {
		t.Fatalf("alice heard %v", m)
	}
	if m := boss.said("message"); bodyText(m) != "may I?" {
		t.Fatalf("watched %v", m)
	}
	took := guest.ask("take", obj{"session": id})["ae"]
	guest.push("assigned")
	again(t, n, n.Reopen)
	alice.ask("send", obj{"session": id, "body": text("two")})
	for d := guest.said("delivery"); bodyText(d) != "two"; d = guest.said("delivery") {
		if d["ae"] != took || bodyText(d) != "one" { // [SW-5.4] unacknowledged, so it comes again
			t.Fatalf("delivered %v", d)
		}
	}
	guest.ask("reply", obj{"session": id, "ae": took, "body": text("re two")})
	m := alice.said("message")
	if m["type"] == "interrupted" { // the bot's stream, when it was taken from him
		m = alice.said("message")
	}
	if bodyText(m) != "re two" {
		t.Fatalf("alice heard %v", m)
	}
}
