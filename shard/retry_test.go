package shard

import (
	"math"
	"slices"
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

// heard is a shard that notes what comes.
type heard []wire.Mail

func (h *heard) Put(e wire.Envelope) bool {
	*h = append(*h, e.Mail)
	return true
}

// What waits for a shard that is away is not overtaken by what comes behind it when the shard is there again: where a worker was is not heard of after
// where he is. What is for others does not wait for it.
func TestWaitingMailIsNotOvertaken(t *testing.T) {
	x := exchange.New(1)
	s := &Shard{x: x, sweepAt: math.MaxInt64}
	s.cfg.defaults()
	var away, other heard
	x.PlugSlots([]wire.Slot{2}, &other)
	say := func(slot wire.Slot, id uint64) {
		s.send(wire.Envelope{To: wire.ToSlot(slot), Mail: &wire.Rebind{Conn: wire.Conn{Node: 1, ID: id}}})
	}
	say(1, 1)
	x.PlugSlots([]wire.Slot{1}, &away)
	say(1, 2)
	say(2, 3)
	if len(away) != 0 || len(other) != 1 {
		t.Fatalf("before it is tried again %d came where one waits, %d elsewhere; want none and one", len(away), len(other))
	}
	s.now += retryMS
	s.tick()
	say(1, 4)
	var ids []uint64
	for _, m := range away {
		ids = append(ids, m.(*wire.Rebind).Conn.ID)
	}
	if !slices.Equal(ids, []uint64{1, 2, 4}) || len(s.retry) != 0 {
		t.Fatalf("they came as %v, and %d wait; want 1, 2 and 4", ids, len(s.retry))
	}
}
