package node_test

import (
	"testing"

	"switchboard/wire"
)

// [SW-4] [SW-4.8] A customer's ack tells the owner, and the customer's other connections, how far it was received and read: for each
// only further, never of what was not said, and not to whoever said so.
func TestReceipts(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 1})
	phone, tablet := login(t, n, customerOf("alice")), login(t, n, customerOf("alice"))
	id := phone.open(obj{})
	asked := num(phone.ask("send", obj{"session": id, "body": text("hi")})["seq"])
	ae := bot.push("assigned")["ae"]
	first := num(bot.ask("reply", obj{"session": id, "ae": ae, "ack": asked, "body": text("hello")})["seq"])
	second := num(bot.ask("reply", obj{"session": id, "ae": ae, "body": text("what is it?")})["seq"])
	if tablet.open(obj{}) != id {
		t.Fatal("another session")
	}
	f := func(p *peer, delivered, read int) {
		t.Helper()
		r := p.push("receipt")
		who, _ := r["who"].(obj)
		if r["session"] != id || num(r["delivered"]) != delivered || num(r["read"]) != read || who["id"] != "alice" || who["role"] != "customer" {
			t.Fatalf("receipt %v; want delivered %d, read %d", r, delivered, read)
		}
	}
	phone.ask("ack", obj{"session": id, "seq": first})
	f(bot, first, 0)
	f(tablet, first, 0)
	tablet.ask("ack", obj{"session": id, "seq": second, "read": first})
	f(bot, second, first)
	f(phone, second, first)
	phone.ask("ack", obj{"session": id, "seq": first}) // it was said already: nobody is told
	phone.refused("not_delivered", "ack", obj{"session": id, "seq": second + 100})
	phone.ask("ack", obj{"session": id, "seq": second, "read": second})
	f(bot, second, second)
	f(tablet, second, second)
	phone.nothing("receipt")

	// The other way round: the owner says how far he has come [SW-5.6].
	asked = num(phone.ask("send", obj{"session": id, "body": text("it is a parcel")})["seq"])
	bot.ask("ack", obj{"session": id, "ae": ae, "seq": asked, "read": asked})
	for _, p := range []*peer{phone, tablet} {
		r := p.push("receipt")
		who, _ := r["who"].(obj)
		if num(r["delivered"]) != asked || num(r["read"]) != asked || who["id"] != "faq" || who["role"] != "worker" {
			t.Fatalf("receipt %v; want %d of the worker", r, asked)
		}
	}
	bot.nothing("receipt")
}
