package node_test

import (
	"strings"
	"testing"

	"switchboard/edge/token"
	"switchboard/wire"
)

// The document's service levels are counted, warn and let routes go on: a level that nobody meets writes its warning, tells the
// customer by a bot that answers nobody, and opens the next step long before its time. Another document counts at once by other levels.
func TestLevelsOfTheDocument(t *testing.T) {
	doc := func(name string) string {
		return `
version: 1
service_levels:
  - name: ` + name + `
    first_reply_ms: 2000
    holding: one moment
    holding_by: Anna
    count: [bot, human]
    warn:
      - {at: 0.1, do: [next_step, holding_reply]}
      - {at: 0.2, do: [notify]}
  - {name: unused, first_reply_ms: 1000, warn_at: [0.1]}
queues:
  - name: default
    service_level: ` + name + `
    route:
      - {name: bots, who: bots}
      - {name: people, who: humans, after_ms: 3600000}
`
	}
	n := start(t, t.TempDir(), routed(doc("quick")))
	defer stop(t, n)
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{"slots": 8})
	sue := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	sue.ask("watch", obj{})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("hello?")})
	if o := bob.push("offer"); o["session"] != id { // in an hour, but for the level
		t.Fatalf("%v", o)
	}
	if m := a.said("message"); bodyText(m) != "one moment" || m["origin"] != "bot" || m["from"].(obj)["name"] != "Anna" {
		t.Fatalf("%v", m)
	}
	warned := func(level string) {
		t.Helper()
		for {
			if m := sue.push("message"); m["type"] == "level.warned" {
				if b := m["body"].(obj); b["level"] != level {
					t.Fatalf("%v", b)
				}
				return
			}
		}
	}
	warned("quick")
	limits := func(name string) {
		t.Helper()
		if scrape := metrics(t, n); strings.Count(scrape, "switchboard_level_limit_seconds{") != 1 || !strings.Contains(scrape, `switchboard_level_limit_seconds{level="`+name+`",tenant="demo"} 2`) {
			t.Errorf("the limits are not those of %s", name)
		}
	}
	limits("quick")
	supervisor(t, n).applied(0, doc("other"))
	b := login(t, n, customerOf("ben"))
	second := b.open(obj{})
	b.ask("send", obj{"session": second, "body": text("hello?")})
	warned("other")
	limits("other")
	if r := supervisor(t, n); r != nil {
		if status, m := r.apply(1, doc("bad name")); status != 422 {
			t.Fatalf("%d %v", status, m)
		}
	}
}
