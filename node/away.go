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

// leaving says that an operator drains this node, or nil: it serves, and nobody new should be sent here.
func (p *party) leaving() error {
	if a := p.around(); a.Leaving && a.Elsewhere > 0 {
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
	under bool // way: some may go
	owed  int  // of a second's connections, in parts of a tick
}

// awayTicks are the keeper's ticks in a second.
const awayTicks = int(time.Second / openAgain)

// next returns how many connections may go with this tick: none before what the node leads and holds has gone, as far as others could take
// it, and none while there is nobody to go to. What one tick does not use is no other's.
func (l *leave) next(a *member.Around) int {
	if !a.Leaving || a.Elsewhere == 0 || a.Left != (cluster.Leaving{}) {
		*l = leave{}
		return 0
	}
	pace := a.Pace
	if pace == 0 {
		pace = awayPace * a.Elsewhere
	}
	l.under = true
	l.owed += pace
	n := l.owed / awayTicks
	l.owed %= awayTicks
	return n
}

// sendAway lets some connections go elsewhere while an operator drains this node. It belongs to the keeper.
func (k *keeper) sendAway() {
	e := k.p.n.open.Load()
	if e == nil {
		return
	}
	a, was := k.p.around(), k.leave.under
	n := k.leave.next(a)
	if k.leave.under && !was {
		k.p.n.cfg.Log.Info("the node is drained: its connections go elsewhere", "connections", e.Connections(), "to", a.URLs)
	}
	if n > 0 {
		e.SendAway(n, a.URLs)
	}
}
