package exchange

import (
	"errors"
	"sync"
	"sync/atomic"

	"switchboard/wire"
)

// The answers of Post that are not nil.
var (
	// ErrOverloaded says that the inlet is full: nothing was queued, try later.
	ErrOverloaded = errors.New("the inlet is full")
	// ErrNowhere says that nothing is plugged in at the address.
	ErrNowhere = errors.New("nobody at this address")
)

// Inlet is where mail goes in: the inbox of a shard, or the outbox of a connection.
type Inlet interface {
	// Put takes e, or reports that there is no room. It never blocks and may be called from any goroutine.
	Put(e wire.Envelope) bool
}

const stripes = 64

// Exchange is one node's table. All methods may be called from any goroutine.
type Exchange struct {
	// Fixed after New.
	node uint64

	slots [wire.Slots]atomic.Pointer[plug]
	conns [stripes]stripe
}

type plug struct{ inlet Inlet }

type stripe struct {
	mu sync.RWMutex
	// Guarded by mu.
	inlets map[uint64]Inlet
	_      [32]byte // keeps neighbours' locks off one cache line
}

// New returns an empty table for the node's incarnation, which is not 0.
func New(node uint64) *Exchange {
	x := &Exchange{node: node}
	for i := range x.conns {
		x.conns[i].inlets = map[uint64]Inlet{}
	}
	return x
}

// Node returns the node's incarnation.
func (x *Exchange) Node() uint64 { return x.node }

// PlugSlots connects in to the slots, in place of what was there.
func (x *Exchange) PlugSlots(slots []wire.Slot, in Inlet) {
	p := &plug{in}
	for _, s := range slots {
		x.slots[s].Store(p)
	}
}

// UnplugSlots disconnects the slots from in; slots that another inlet has by now stay as they are.
func (x *Exchange) UnplugSlots(slots []wire.Slot, in Inlet) {
	for _, s := range slots {
		if p := x.slots[s].Load(); p != nil && p.inlet == in {
			x.slots[s].CompareAndSwap(p, nil)
		}
	}
}

// PlugConn connects in as connection id of this node. Ids are never used twice.
func (x *Exchange) PlugConn(id uint64, in Inlet) {
	s := &x.conns[id%stripes]
	s.mu.Lock()
	s.inlets[id] = in
	s.mu.Unlock()
}

// UnplugConn disconnects connection id.
func (x *Exchange) UnplugConn(id uint64) {
	s := &x.conns[id%stripes]
	s.mu.Lock()
	delete(s.inlets, id)
	s.mu.Unlock()
}

// Post hands e to the inlet at its address. It never blocks.
func (x *Exchange) Post(e wire.Envelope) error {
	in := x.at(e.To)
	if in == nil {
		return ErrNowhere
	}
	if !in.Put(e) {
		return ErrOverloaded
	}
	return nil
}

func (x *Exchange) at(a wire.Address) Inlet {
	if a.Slot {
		if a.ID >= wire.Slots {
			return nil
		}
		if p := x.slots[a.ID].Load(); p != nil {
			return p.inlet
		}
		return nil
	}
	if a.Node != x.node {
		return nil
	}
	s := &x.conns[a.ID%stripes]
	s.mu.RLock()
	in := s.inlets[a.ID]
	s.mu.RUnlock()
	return in
}
