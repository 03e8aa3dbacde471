package node

import (
	"errors"

	"switchboard/cluster/member"
)

// awayTicks is over how many of the keeper's ticks the connections of a node that is drained leave: ten seconds.
const awayTicks = 100

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

// sendAway lets some connections go elsewhere while an operator drains this node and others are there. It belongs to the keeper.
func (k *keeper) sendAway() {
	e := k.p.n.open.Load()
	if e == nil {
		return
	}
	a := k.p.around()
	if !a.Leaving || a.Elsewhere == 0 {
		k.pace = 0
		return
	}
	if k.pace == 0 {
		k.pace = max(1, e.Connections()/awayTicks)
		k.p.n.cfg.Log.Info("the node is drained: its connections go elsewhere", "connections", e.Connections(), "to", a.URLs)
	}
	e.SendAway(k.pace, a.URLs)
}
