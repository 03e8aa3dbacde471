package node_test

import (
	"fmt"
	"testing"
	"time"

	"switchboard/wire"
)

// A closed queue: the customer hears when it opens, in the moment and in the log; nobody is asked although somebody is there. When
// the hours are changed he is offered at once. A node that was killed in between tells it again.
func TestHours(t *testing.T) {
	opens := time.Now().UTC().AddDate(0, 0, 3).Truncate(24 * time.Hour)
	doc := func(weekly string) string {
		return fmt.Sprintf(`
version: 1
calendars:
  - {name: people, zone: UTC, weekly: %s, holidays: [{date: "%s", open: [{from: "09:30", to: "10:00"}]}]}
queues:
  - name: default
    calendar: people
    route:
      - {name: bot, who: bots, select: task.intent == 'easy'}
      - {name: people, who: humans}
      - {name: message, hours: closed, resort: leave_message}
`, weekly, opens.Format(time.DateOnly))
	}
	at := float64(opens.Add(9*time.Hour + 30*time.Minute).UnixMilli())
	dir := t.TempDir()
	n := start(t, dir, routed(doc("[]")))
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{})
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("anybody?")})
	for {
		if s := a.push("state"); s["opens_at"] != nil {
			if s["opens_at"] != at || s["state"] != "queued" || num(s["position"]) != 0 {
				t.Fatalf("%v; it opens at %v", s, at)
			}
			break
		}
	}
	for {
		if m := a.push("message"); m["type"] == "session.last_resort" {
			if b := m["body"].(obj); b["action"] != "leave_message" || b["opens_at"] != at {
				t.Fatalf("%v", b)
			}
			break
		}
	}
	// Bots go on at night.
	e := login(t, n, customerOf("eve"))
	easy := e.open(obj{"attributes": obj{"intent": "easy"}})
	e.ask("send", obj{"session": easy, "body": text("hours?")})
	if got := bot.push("assigned"); got["session"] != easy {
		t.Fatalf("%v", got)
	}
	stop(t, n)

	n = start(t, dir, routed(doc("[]")))
	defer stop(t, n)
	bob = login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{})
	a = login(t, n, customerOf("alice"))
	a.open(obj{"session": id})
	for a.push("state")["opens_at"] != at {
	}
	supervisor(t, n).applied(0, doc(`[{days: [mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"}]`))
	o := bob.push("offer")
	if o["session"] != id {
		t.Fatalf("%v is offered", o)
	}
	bob.ask("accept", obj{"offer": o["offer"]})
	if got := bob.push("assigned"); got["session"] != id {
		t.Fatalf("%v", got)
	}
}
