package node_test

import (
	"testing"

	"switchboard/wire"
)

// A bot that comes after its customers finds them waiting.
func TestBotComesLate(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text("anybody?")})
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 4})
	if d := bot.said("delivery"); bodyText(d) != "anybody?" {
		t.Fatalf("delivery %v", d)
	}
}
