package shard

import (
	"math"
	"testing"

	"switchboard/exchange"
	"switchboard/wire"
)

// Mail for shards that nobody has for a while is tried again every so often, all of it at once, however long that is and however
// much of it there is. (There was an alarm for each piece, and each alarm tried all and set as many again: two pieces were a million
// alarms after a second.)
func TestMailWaitsUnderOneAlarm(t *testing.T) {
	s := &Shard{x: exchange.New(1), sweepAt: math.MaxInt64}
	s.cfg.defaults()
	const pieces = 5
	for i := range pieces {
		s.send(wire.Envelope{To: wire.ToSlot(wire.Slot(i)), Mail: &wire.Withdraw{Tenant: "demo"}})
	}
	for range 12 {
		s.now += retryMS
		s.tick()
		if len(s.retry) != pieces || len(s.alarms) != 1 {
			t.Fatalf("%d pieces wait under %d alarms; want %d under one", len(s.retry), len(s.alarms), pieces)
		}
	}
}
