package node_test

import (
	"testing"

	"switchboard/wire"
)

// [SW-5a.3] Somebody is asked what a session is about before it is routed. He may answer, in time, and nothing else; when his
// connection ends instead, what stands in counts at once.
func TestClassify(t *testing.T) {
	n := start(t, t.TempDir(), routed(`
version: 1
queues:
  - name: default
    route:
      - {name: what, select: worker.labels HAS 'classifier', classify: {ttl_ms: 600000, default: {intent: other}}}
      - {name: refunds, select: task.intent == 'refund' AND worker.id == 'refunder'}
      - {name: others, select: task.intent == 'other' AND worker.id == 'rest'}
`))
	defer stop(t, n)
	c := workerOf("judge", wire.OriginBot)
	c.Attributes = []byte(`{"labels":["classifier"]}`)
	judge := login(t, n, c)
	judge.subscribe(obj{"slots": 1})
	refunder, rest := login(t, n, workerOf("refunder", wire.OriginBot)), login(t, n, workerOf("rest", wire.OriginBot))
	refunder.subscribe(obj{"slots": 8})
	rest.subscribe(obj{"slots": 8})

	a := login(t, n, customerOf("alice"))
	id := a.open(obj{"attributes": obj{"app": "ios"}})
	a.ask("send", obj{"session": id, "body": text("my money back")})
	q := judge.push("classify")
	tail := q["tail"].([]any)
	if q["session"] != id || num(q["attributes_v"]) != 0 || bodyText(tail[1].(obj)) != "my money back" || num(q["expires_ms"]) < 1000 {
		t.Fatalf("%v", q)
	}
	// His slot is taken: the next waits for him.
	b := login(t, n, customerOf("bob"))
	second := b.open(obj{})
	b.ask("send", obj{"session": second, "body": text("hello")})

	rest.refused("no_session", "attributes", obj{"session": id, "if_v": 0, "patch": obj{"intent": "other"}})
	judge.refused("no_session", "history", obj{"session": id})
	judge.refused("no_session", "reply", obj{"session": id, "ae": 1, "body": text("hi")})
	judge.refused("version_conflict", "attributes", obj{"session": id, "if_v": 4, "patch": obj{"intent": "refund"}})
	judge.ask("attributes", obj{"session": id, "if_v": 0, "patch": obj{"intent": "refund"}})
	if got := refunder.push("assigned"); got["session"] != id || got["attributes"].(obj)["app"] != "ios" || got["attributes"].(obj)["intent"] != "refund" {
		t.Fatalf("%v", got)
	}
	judge.refused("stale_assignment", "attributes", obj{"session": id, "if_v": 1, "patch": obj{"intent": "other"}})

	if q := judge.push("classify"); q["session"] != second {
		t.Fatalf("%v", q)
	}
	_ = judge.ws.Close()
	if got := rest.push("assigned"); got["session"] != second || got["attributes"].(obj)["intent"] != "other" {
		t.Fatalf("%v", got)
	}
}
