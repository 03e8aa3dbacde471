package node_test

import (
	"testing"

	"switchboard/wire"
)

// [SW-2.2] Both codecs are one protocol: whatever the tests of its clauses say in JSON, and are told, holds in Protobuf. Those are
// left out that are about JSON itself, about HTTP, or about bytes.
func TestInProtobuf(t *testing.T) {
	spoken = wire.Protobuf
	defer func() { spoken = wire.JSON }()
	f := func(name string, test func(*testing.T)) {
		t.Helper()
		t.Run(name, test)
	}
	f("hello", TestHello)
	f("customer", TestCustomer)
	f("resume", TestResume)
	f("resume in a stream", TestResumeMidStream)
	f("token's shop", TestTokenShop)
	f("identify", TestIdentify)
	f("identify merges", TestIdentifyMerges)
	f("batch", TestBatch)
	f("history", TestHistoryPages)
	f("opens", TestOpens)
	f("keys", TestKeysOfEveryVerb)
	f("order", TestOrder)
	f("hand-off", TestHandOff)
	f("events", TestLifeInEvents)
	f("nack", TestNackAndDeadLetter)
	f("lease", TestLease)
	f("leases", TestLeases)
	f("window", TestWindow)
	f("streams", TestStreams)
	f("shapes", TestShapesOfWorkers)
	f("offers", TestOffers)
	f("fence", TestFence)
	f("deliveries", TestDeliveries)
	f("acks", TestAcks)
	f("presence", TestPresence)
	f("former owner", TestFormerOwner)
	f("transfer fails", TestTransferFails)
	f("transfer tells", TestTransferTells)
	f("errors", TestErrors)
	f("attributes", TestAttributes)
	f("guests", TestGuests)
	f("take", TestTake)
	f("assign", TestAssign)
	f("stats", TestStats)
	f("watch", TestWatch)
	f("service", TestService)
	f("restart", TestRestart)
}
