package exchange

import (
	"errors"
	"maps"
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
	// ErrMoved says that something else is plugged in at the slot by now than PostTo was to reach.
	ErrMoved = errors.New("another has the slot by now")
)

// Inlet is where mail goes in: the inbox of a shard, the outbox of a connection, or the link to another node.
type Inlet interface {
	// Put takes e, or reports that there is no room. It never blocks and may be called from any goroutine.
	Put(e wire.Envelope) bool
}

// Way is an inlet that is the way to another node.
type Way interface {
	Inlet
	// Up tells whether it takes mail now: without a connection it takes none, however much room there is. It never blocks and may be called from any
	// goroutine.
	Up() bool
}

const stripes = 64

// Exchange is one node's table. All methods may be called from any goroutine.
type Exchange struct {
	// Fixed after New.
	node uint64

	groups [wire.Groups]atomic.Pointer[table] // nil for those of which nothing was ever plugged in
	conns  [stripes]stripe
	places atomic.Pointer[Places]
	nodes  atomic.Pointer[map[uint64]Inlet] // of other nodes, by their incarnation; a new map at every change

	last    atomic.Uint64                 // generation that was given out
	changes atomic.Uint64                 // of slots, that can be seen
	changed atomic.Pointer[chan struct{}] // closed at the next of them
	losses  atomic.Uint64

	mu sync.Mutex
	// Guarded by mu: who may change nodes.
}

// table has the slots of one placement group.
type table [wire.Slots]atomic.Pointer[plug]

// plug is what a slot is connected to. Whoever connects it anew makes a new one.
type plug struct {
	inlet      Inlet
	remote     bool
	generation uint64
}

type stripe struct {
	mu sync.RWMutex
	// Guarded by mu.
	inlets map[uint64]Inlet
	_      [32]byte // keeps neighbours' locks off one cache line
}

// New returns an empty table for the node's incarnation, which is not 0.
func New(node uint64) *Exchange {
	x := &Exchange{node: node}
	changed := make(chan struct{})
	x.changed.Store(&changed)
	for i := range x.conns {
		x.conns[i].inlets = map[uint64]Inlet{}
	}
	return x
}

// Node returns the node's incarnation.
func (x *Exchange) Node() uint64 { return x.node }

// PlugSlots connects in to the slots, in place of what was there: a shard of this node.
func (x *Exchange) PlugSlots(slots []wire.Slot, in Inlet) {
	p := &plug{inlet: in, generation: x.last.Add(1)}
	for _, s := range slots {
		x.row(s).Store(p)
	}
	x.change() // last: who sees it sees the slots
}

// PlugRemote connects link to the slots: a shard of the node behind it. It takes the place of another link, and of nothing;
// slots that a shard of this node has stay as they are, as whoever says that another node has them may be late. Unplug it with
// UnplugSlots. It is called again for the same link when another owner is behind it, or when mail may have been lost on it:
// that begins a new generation, by which those who wait for answers know that they may wait in vain.
func (x *Exchange) PlugRemote(slots []wire.Slot, link Inlet) {
	x.plugRemote(slots, link, func(p *plug) bool { return p == nil || p.remote })
}

// FillRemote is PlugRemote for those of the slots that nothing is plugged into. It may be said again and again.
func (x *Exchange) FillRemote(slots []wire.Slot, link Inlet) {
	x.plugRemote(slots, link, func(p *plug) bool { return p == nil })
}

func (x *Exchange) plugRemote(slots []wire.Slot, link Inlet, free func(*plug) bool) {
	var made *plug
	for _, s := range slots {
		row := x.row(s)
		for {
			p := row.Load()
			if !free(p) {
				break
			}
			if made == nil {
				made = &plug{inlet: link, remote: true, generation: x.last.Add(1)}
			}
			if row.CompareAndSwap(p, made) {
				break
			}
		}
	}
	if made != nil {
		x.change() // last: who sees it sees the slots
	}
}

// UnplugSlots disconnects the slots from in; slots that another inlet has by now stay as they are.
func (x *Exchange) UnplugSlots(slots []wire.Slot, in Inlet) {
	for _, s := range slots {
		if p := x.slot(uint64(s)); p != nil && p.inlet == in {
			x.row(s).CompareAndSwap(p, nil)
		}
	}
	x.change()
}

// Generation returns a number for what is plugged in at slot: another one after each PlugSlots and PlugRemote, larger than all
// before it, and 0 while nothing is. Who has asked something of one generation hears from it or, once there is another,
// perhaps never.
func (x *Exchange) Generation(slot wire.Slot) uint64 {
	if p := x.slot(uint64(slot)); p != nil {
		return p.generation
	}
	return 0
}

// Afar tells whether what is posted to slot leaves the node, so that it may be lost although Post had it.
func (x *Exchange) Afar(slot wire.Slot) bool {
	p := x.slot(uint64(slot))
	return p != nil && p.remote
}

// Changes returns a number that grows whenever slots are plugged or unplugged. As long as it is the same, so is every
// Generation; looking at it is cheaper than looking at them.
func (x *Exchange) Changes() uint64 { return x.changes.Load() }

// Changed returns a channel that is closed when Changes grows beyond what it was at the call. Take it before looking at Changes:
// then no change is missed.
func (x *Exchange) Changed() <-chan struct{} { return *x.changed.Load() }

func (x *Exchange) change() {
	x.changes.Add(1)
	next := make(chan struct{})
	close(*x.changed.Swap(&next))
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

// Plugged tells whether connection c may still take mail: false is certain, and for good, as ids are never used twice. Of other
// nodes' connections nothing is known here.
func (x *Exchange) Plugged(c wire.Conn) bool { return c.Node != x.node || x.conn(c.ID) != nil }

// PlugNode connects link to all connections of another node, which is named by its incarnation.
func (x *Exchange) PlugNode(incarnation uint64, link Inlet) {
	x.changeNodes(func(nodes map[uint64]Inlet) { nodes[incarnation] = link })
}

// UnplugNode disconnects all connections of another node's incarnation, if link is plugged in there.
func (x *Exchange) UnplugNode(incarnation uint64, link Inlet) {
	x.changeNodes(func(nodes map[uint64]Inlet) {
		if nodes[incarnation] == link {
			delete(nodes, incarnation)
		}
	})
}

func (x *Exchange) changeNodes(change func(nodes map[uint64]Inlet)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	nodes := map[uint64]Inlet{}
	if now := x.nodes.Load(); now != nil {
		maps.Copy(nodes, *now)
	}
	change(nodes)
	x.nodes.Store(&nodes)
}

// Post hands e to the inlet at its address, on this node or behind a link. It never blocks. Nil says that the inlet has it;
// behind a link it may still be lost.
func (x *Exchange) Post(e wire.Envelope) error {
	if e.To.Slot {
		return x.postSlot(e, 0)
	}
	var in Inlet
	if e.To.Node == x.node {
		in = x.conn(e.To.ID)
	} else if nodes := x.nodes.Load(); nodes != nil {
		in = (*nodes)[e.To.Node]
	}
	return put(in, e)
}

// PostTo is Post for a slot, as long as what is plugged in there is of this generation; otherwise it fails with ErrMoved, or
// ErrNowhere, and nobody has e. So what was asked of an owner that has ended is not overtaken by what comes behind it. A [Way] that is not up
// is nobody: it is about to be unplugged, or takes mail again soon, and to whoever may wait that is no lack of room.
func (x *Exchange) PostTo(e wire.Envelope, generation uint64) error { return x.postSlot(e, generation) }

// postSlot posts e to a slot; generation is 0 for any. An inlet that is closed after it was unplugged refuses, which says
// nothing about the one that is there now: only that one's refusal counts.
func (x *Exchange) postSlot(e wire.Envelope, generation uint64) error {
	for {
		p := x.slot(e.To.ID)
		switch {
		case p == nil:
			return ErrNowhere
		case generation != 0 && p.generation != generation:
			return ErrMoved
		case p.inlet.Put(e):
			return nil
		case x.slot(e.To.ID) != p:
		case generation != 0 && p.down():
			return ErrNowhere
		default:
			return ErrOverloaded
		}
	}
}

// down tells whether p is the way to another node, and not up.
func (p *plug) down() bool {
	w, ok := p.inlet.(Way)
	return ok && !w.Up()
}

// Deliver is Post for mail that came over a link. It goes to this node's own inlets only: two nodes that each believe that the
// other has a slot do not send its mail to and fro.
func (x *Exchange) Deliver(e wire.Envelope) error {
	var in Inlet
	if e.To.Slot {
		p := x.slot(e.To.ID)
		switch {
		case p == nil || p.remote:
		case p.inlet.Put(e):
			return nil
		case x.slot(e.To.ID) == p:
			return ErrOverloaded
		} // else it was closed, and its sender asks again
	} else if e.To.Node == x.node {
		in = x.conn(e.To.ID)
	}
	return put(in, e)
}

func put(in Inlet, e wire.Envelope) error {
	if in == nil {
		return ErrNowhere
	}
	if !in.Put(e) {
		return ErrOverloaded
	}
	return nil
}

func (x *Exchange) slot(id uint64) *plug {
	if id >= wire.Slots*wire.Groups {
		return nil
	}
	t := x.groups[id/wire.Slots].Load()
	if t == nil {
		return nil
	}
	return t[id%wire.Slots].Load()
}

// row returns the place of a slot in the table of its group, which it makes.
func (x *Exchange) row(s wire.Slot) *atomic.Pointer[plug] {
	g := &x.groups[s.Group()]
	t := g.Load()
	if t == nil {
		g.CompareAndSwap(nil, new(table))
		t = g.Load()
	}
	return &t[s.Number()]
}

func (x *Exchange) conn(id uint64) Inlet {
	s := &x.conns[id%stripes]
	s.mu.RLock()
	in := s.inlets[id]
	s.mu.RUnlock()
	return in
}
