package node

import (
	"errors"
	"time"

	"switchboard/cluster"
	"switchboard/cluster/member"
)

// awayPace is how many connections a second a node that is drained sends to each of the others when the operator has not said a pace: a tenth
// of the TLS handshakes that a processor makes.
const awayPace = 200

// around is what is known of the other nodes.
func (p *party) around() *member.Around {
	if m := p.member.Load(); m != nil {
		if a := m.Around(); a != nil {
			return a
		}
	}
	return &member.Around{}
}

// leaving says that an operator drains this node, or nil: it serves, and nobody new should be sent here. Or that he has taken it out of the cluster.
func (p *party) leaving() error {
	switch a := p.around(); {
	case a.Removed:
		return errors.New("the node was removed from the cluster, and serves nobody any more: stop it")
	case a.Leaving && a.Elsewhere > 0:
		return errors.New("the node is being drained")
	}
	return nil
}

// clients are the connections that the node has, and takes.
func (p *party) clients() member.Clients {
	e := p.n.open.Load()
	if e == nil {
		return member.Clients{}
	}
	return member.Clients{Open: e.Connections(), Most: connections(p.n.cfg.Connections)}
}

// leave paces the connections that leave a node which is drained.
type leave struct {
	ticks int    // since they began to, 0 while they stay
	owed  int    // of a second's connections, in parts of a tick
	upTo  uint64 // the last one that may go
}

// awayTicks are the keeper's ticks in a second, and stayTicks how many of them pass until those who came meanwhile go as well: whoever is brought
// back here by what spreads connections is served for a while before he is sent away again.
const (
	awayTicks = int(time.Second / openAgain)
	stayTicks = 5 * awayTicks
)

// next returns how many connections may go with this tick, of those up to upTo: none before what the node leads and holds has gone, as far as
// others could take it and that is known, and none while there is nobody to go to. What one tick does not use is no other's. latest is the connection
// that came last.
func (l *leave) next(a *member.Around, latest uint64) (n int, upTo uint64) {
	if !a.Leaving || a.Unheard || a.Elsewhere == 0 || a.Left != (cluster.Leaving{}) {
		*l = leave{}
		return 0, 0
	}
	if l.ticks%stayTicks == 0 {
		l.upTo = latest
	}
	l.ticks++
	pace := a.Pace
	if pace == 0 {
		pace = awayPace * a.Elsewhere
	}
	l.owed += pace
	n = l.owed / awayTicks
	l.owed %= awayTicks
	return n, l.upTo
}

// sendAway lets some connections go elsewhere while an operator drains this node. It belongs to the keeper.
func (k *keeper) sendAway() {
	e := k.p.n.open.Load()
	if e == nil {
		return
	}
	a, was := k.p.around(), k.leave.ticks
	n, upTo := k.leave.next(a, e.Latest())
	if k.leave.ticks > 0 && was == 0 {
		k.p.n.cfg.Log.Info("the node is drained: its connections go elsewhere", "connections", e.Connections(), "to", a.URLs)
	}
	if n > 0 {
		e.SendAway(n, upTo, a.URLs)
	}
}
