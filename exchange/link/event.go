package link

// EventKind tells what has become of a link.
type EventKind uint8

// What can become of a link.
const (
	// Up says that mail goes both ways. It comes again after Down, and for each incarnation.
	Up EventKind = iota + 1
	// Down says that in one direction nothing has been heard for Config.Silence: the node's connections count as closed.
	// It may come Up again with the same incarnation.
	Down
	// Ended says that the incarnation is over: the node has said so or has been removed, or a later incarnation of it has
	// come. Nothing of it is delivered any more. Comes instead of Down, or after it.
	Ended
	// Restarted says that Lost pieces of mail from the node did not arrive, and never will.
	Restarted
	// Cut says that the connection for mail to the node broke: of Lost pieces it is not known whether they arrived.
	Cut
	// Gone says that connections to the node have ended and its machine takes no new ones: its process has ended, as far as
	// can be seen from here. It comes once after Up, before Down.
	Gone
)

// String returns the kind's name in logs.
func (k EventKind) String() string {
	switch k {
	case Up:
		return "up"
	case Down:
		return "down"
	case Ended:
		return "ended"
	case Restarted:
		return "restarted"
	case Cut:
		return "cut"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// Event is what became of the link to one incarnation of a node.
type Event struct {
	Kind        EventKind
	Node        string
	Incarnation uint64
	Lost        uint64 // of Restarted and Cut
}

// emit notes ev, to be told by whoever calls tell next. The caller holds k.mu.
func (k *Link) emit(ev Event) {
	ev.Node = k.node
	if n := len(k.events); n > 0 && ev.Kind == Restarted && k.events[n-1].Kind == Restarted && k.events[n-1].Incarnation == ev.Incarnation {
		k.events[n-1].Lost += ev.Lost
		return
	}
	k.events = append(k.events, ev)
}

// tell hands the noted events to Notify, unless somebody else is about it: then he tells these too. So events keep their
// order without a lock that is held while they are told.
func (k *Link) tell() {
	k.mu.Lock()
	for !k.telling && len(k.events) > 0 {
		k.telling = true
		events := k.events
		k.events = nil
		k.mu.Unlock()
		for _, ev := range events {
			k.all.cfg.Log.Info("link", "node", ev.Node, "is", ev.Kind.String(), "incarnation", ev.Incarnation, "lost", ev.Lost)
			k.all.cfg.Notify(ev)
		}
		k.mu.Lock()
		k.telling = false
	}
	k.mu.Unlock()
}
