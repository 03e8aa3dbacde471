package node_test

import (
	"testing"

	"switchboard/wire"
)

// Two programs claim as one worker, without sockets and at two nodes: the later one has the worker with everything, under the same ae, and the earlier one is told
// by its next claim, which takes nothing back; what it says meanwhile is stale [SW-5.7].
func TestClaimsAtTwoNodes(t *testing.T) {
	w := newTown(t)
	a := w.start("a")
	b := w.start("b")
	defer func() {
		w.stop("b")
		w.stop("a")
	}()
	first, second := without(t, a, workerOf("bot", wire.OriginBot)), without(t, b, workerOf("bot", wire.OriginBot))
	const claim = "/v1/queues/default/claim"
	m := first.want(200, "", claim+"?wait=0", "")
	alice := login(t, b, customerOf("alice"))
	id := alice.open(obj{})
	alice.ask("send", obj{"session": id, "body": text("hi")})
	assignment(t, first.want(200, "", claim, ""))
	reply := "/v1/assignments/" + id + "/1/reply"
	first.want(201, "", reply, `{"body":1}`)

	as, _ := assignment(t, second.want(200, "", claim, ""))
	if as["session"] != id || num(as["ae"]) != 1 {
		t.Fatalf("the later one has %v", as)
	}
	second.want(201, "", reply, `{"body":2}`)
	first.want(409, "stale_assignment", claim+"?after="+m["cursor"].(string), "") // at once, or as soon as it is heard
	first.want(409, "stale_assignment", reply, `{"body":3}`)
	second.want(201, "", reply, `{"body":4}`)

	// The earlier one insists, and is the later one now.
	as, _ = assignment(t, first.want(200, "", claim, ""))
	if as["session"] != id || num(as["ae"]) != 1 {
		t.Fatalf("who insists has %v", as)
	}
	first.want(201, "", reply, `{"body":5,"ack":2}`)
	second.want(409, "stale_assignment", claim, "")
	second.want(409, "stale_assignment", reply, `{"body":6}`)
	said := 0
	for said < 4 {
		switch v := alice.said("message")["body"].(type) {
		case float64:
			said++
			if want := []float64{1, 2, 4, 5}[said-1]; v != want {
				t.Fatalf("the customer hears %v; want %v", v, want)
			}
		default:
		}
	}
}
