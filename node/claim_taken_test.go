package node_test

import (
	"testing"

	"switchboard/wire"
)

// A worker without a socket whose place another connection has taken is refused, under the same ae, until he claims again [SW-5.7].
func TestClaimTakenOver(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	w := without(t, n, workerOf("bot", wire.OriginBot))
	const claim = "/v1/queues/default/claim?wait=0"
	w.want(200, "", claim, "")
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("hi")})
	assignment(t, w.want(200, "", "/v1/queues/default/claim", ""))
	base := "/v1/assignments/" + id + "/1/"
	w.want(201, "", base+"reply", `{"body":1}`)

	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"slots": 1})
	bot.push("delivery") // the session is its own by now
	for _, verb := range []string{"reply", "ack", "release"} {
		w.want(409, "stale_assignment", base+verb, `{"body":2,"seq":2}`)
	}
	bot.ask("reply", obj{"session": id, "ae": 1, "body": 3})

	for status := 409; status != 200; { // the first tells him, the next takes it back
		if status, _ = w.post(claim, ""); status != 200 && status != 409 {
			t.Fatal(status)
		}
	}
	if r := bot.push("revoked"); r["reason"] != "takeover" {
		t.Fatalf("%v", r)
	}
	w.want(201, "", base+"reply", `{"body":4,"ack":2}`)
	bot.refused("stale_assignment", "reply", obj{"session": id, "ae": 1, "body": 5})
}
