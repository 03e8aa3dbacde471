package level_test

import (
	"testing"
	"time"

	"switchboard/broker/level"
	"switchboard/wire"
)

// A level of some queues counts the first word too, which comes a moment before the session has its queue; one of shops or queues
// counts what is of either; how many steps are opened ahead follows what has fired.
func TestScope(t *testing.T) {
	f := func(want int32, steps uint32, d level.Definition, shop, queue, typ string) {
		t.Helper()
		d.Name, d.LimitMS = "x", 1000
		d.Warn = []level.Warning{{At: 0.1, Do: []string{level.NextStep}}, {At: 0.2, Do: []string{level.Notify}}, {At: 0.5, Do: []string{level.NextStep}}}
		set, err := level.Compile([]level.Definition{d}, nil, time.LoadLocation)
		if err != nil {
			t.Fatal(err)
		}
		c, out := level.New(set), level.Out{}
		event := func(seq uint64, typ, body string) {
			c.Feed(set, &wire.Entry{Seq: seq, TS: 1000, Origin: wire.OriginSystem, Kind: wire.KindEvent, Type: typ, Body: []byte(body)}, &out)
		}
		event(1, "session.opened", `{"channel":"web","shop":"`+shop+`"}`)
		c.Feed(set, &wire.Entry{Seq: 2, TS: 1000, Origin: wire.OriginCustomer, Kind: wire.KindMessage, Type: typ}, &out)
		event(3, "session.queued", `{"queue":"`+queue+`"}`)
		c.Tick(set, 1300, &out)
		if want > 0 && c.Steps() != 1 {
			t.Fatalf("%d steps are opened at 300 ms", c.Steps())
		}
		c.Tick(set, 1900, &out)
		if c.Steps() != steps {
			t.Fatalf("%d steps are opened; want %d", c.Steps(), steps)
		}
		c.Feed(set, &wire.Entry{Seq: 4, TS: 1950, Origin: wire.OriginHuman, Kind: wire.KindMessage, Type: "text", From: wire.Author{ID: "ann"}}, &out)
		n := int32(0)
		for _, s := range out.Samples {
			n += s.Met
		}
		if n != want || c.Steps() != 0 {
			t.Fatalf("%d were in time, %d steps are open; want %d and none", n, c.Steps(), want)
		}
	}
	f(1, 2, level.Definition{Queues: []string{"q"}}, "s", "q", "text")
	f(0, 0, level.Definition{Queues: []string{"q"}}, "s", "r", "text")
	f(0, 0, level.Definition{Queues: []string{"q"}, Ignore: []string{"ad"}}, "s", "q", "ad")
	f(0, 0, level.Definition{Queues: []string{"q"}, Shops: []string{"t"}}, "s", "q", "text")
	f(1, 2, level.Definition{Either: true, Queues: []string{"q"}, Shops: []string{"t"}}, "s", "q", "text")
	f(1, 2, level.Definition{Either: true, Queues: []string{"q"}, Shops: []string{"s"}}, "s", "r", "text")
	f(0, 0, level.Definition{Either: true, Queues: []string{"q"}, Shops: []string{"t"}}, "s", "r", "text")
	f(1, 2, level.Definition{}, "s", "r", "text")
}
