package shard

import (
	"log/slog"
	"time"

	"switchboard/wire"
)

// Config says what a shard hosts and how much it may hold. The zero value of a field means its default.
type Config struct {
	// ID is the shard's number on its node, from 0.
	ID int
	// Opening is how often the shard was opened before in the present term of its group: what it says is of a later term then.
	Opening uint16
	// Led is the term of its group in which this node is to lead, as it was heard. When it leads in that no more, [Open] refuses. 0 is a group without other
	// replicas, which leads as soon as it is there.
	Led uint64
	// Slots are the slots that it owns, all of one placement group. It has no default.
	Slots []wire.Slot
	// Shape counts the changes of the placement's map that Slots and Peers are of; it never goes back. 0 where it does not change.
	Shape uint64
	// Leaving are slots that it had and gives to another shard; nil when there are none.
	Leaving *Leaving
	// Clean is the shape of the placement since which the rows are to be taken off that slots have left here which had gone before it; 0 for none.
	Clean uint64
	// Peers holds one slot of every shard that may host sessions of its pools, itself included. It has no default.
	Peers []wire.Slot
	// Tenants are all tenants, by name, as they are when the shard opens. They are shared and never change.
	Tenants map[string]*Tenant
	// Blanked is told when an erasure waits for the files of the nodes: see [Shard.Erasures]. It must not block, and may be nil.
	Blanked func()
	// Inbox is how many pieces of mail may wait; default 8192. A quarter of it is kept for mail of shards.
	Inbox int
	// Parked is how much mail may wait for one session's rows; default 64. Full means overloaded.
	Parked int
	// Idle is how long a session that nobody asks about stays in memory; default 1 min.
	Idle time.Duration
	// Hook calls a hook of a tenant, and calls done once, from any goroutine, with what came of it: what was answered (0 is nothing), why that
	// is no success (empty is a success), after how long it wants to be asked again, and whether never. It must not block; false says that
	// there is no room now. With nil no hooks are called here: they wait.
	Hook func(c *HookCall, done func(status int, why string, retryAfter time.Duration, final bool)) bool
	// HookFirst is how long after its first attempt that has failed a hook is called again, and at least half of that; default 2 s. Each time it
	// is twice as long, up to an hour.
	HookFirst time.Duration
	// Witness is nil but in a simulation.
	Witness *Witness
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Log takes what an operator should know; default slog.Default.
	Log *slog.Logger
}

func (c *Config) defaults() {
	if c.Inbox == 0 {
		c.Inbox = 8192
	}
	if c.Parked == 0 {
		c.Parked = 64
	}
	if c.Idle == 0 {
		c.Idle = time.Minute
	}
	if c.HookFirst <= 0 {
		c.HookFirst = 2 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
}
