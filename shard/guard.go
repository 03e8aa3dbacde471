package shard

import (
	"slices"
	"strings"

	"switchboard/wire"
)

// While a customer is being erased nobody gives him external ids: whatever is claimed behind the look through a shard's identities would be there still when it
// is over. So before a shard looks it notes that it keeps claims off, in the turn with which the look begins, and whoever owns it next knows that. What is
// claimed before is found. The note names the erasure. It goes when the customer's shard says that the rows are done with, or when somebody comes with a claim
// and the customer says so: then it does not matter that the letter was lost. It is the shard's and not a slot's, and stays when slots leave: where they go the customer's
// shard asks, too, and whoever was given something there meanwhile comes to him first: see claimedLate.

// guardsOver is how many erasures that are over a shard remembers: what is asked on their behalf is late.
const guardsOver = 256

// overMark is the erasure of a customer, which is over.
type overMark struct {
	of   customerID
	mark string
}

// guards are the customers to whom nothing is given.
type guards struct {
	by   map[customerID]string // the erasure
	over []overMark            // the last of those that are over, which is memory
}

// recoverGuards reads whom the shard guards.
func (s *Shard) recoverGuards() error {
	s.guards.by = map[customerID]string{}
	return s.g.Scan([]byte{rowGuard}, []byte{rowGuard + 1}, false, func(k, v []byte) bool {
		tenant, id, _ := strings.Cut(string(k[1:]), "\x00")
		s.guards.by[customerID{tenant, id}] = string(v)
		return true
	})
}

// guard keeps claims off from now on. It is written each time: the turn that had it may have been refused.
func (s *Shard) guard(k customerID, mark string) {
	s.guards.by[k] = mark
	s.turn.Put(guardKey(k), []byte(mark))
}

// lift ends what guard began, if that was for the same erasure, and remembers that it is over.
func (s *Shard) lift(k customerID, mark string) {
	if !s.writable || mark == "" {
		return
	}
	if s.guards.by[k] == mark {
		delete(s.guards.by, k)
		s.turn.Delete(guardKey(k))
	}
	if s.isOver(k, mark) {
		return
	}
	if s.guards.over = append(s.guards.over, overMark{k, mark}); len(s.guards.over) > guardsOver {
		s.guards.over = slices.Delete(s.guards.over, 0, 1)
	}
}

// isOver tells whether the erasure is known to be over, as far as rows go.
func (s *Shard) isOver(k customerID, mark string) bool {
	return slices.Contains(s.guards.over, overMark{k, mark})
}

// keptOff tells whether c, which claims an identity, must not now, and sends it to the customer then: is he being erased still?
func (s *Shard) keptOff(c *wire.Command) bool {
	k := customerID{c.Who.Tenant, c.Text}
	mark, guarded := s.guards.by[k]
	if !guarded {
		return false
	}
	if c.Way != nil && c.Way.Guard == mark { // he has said that he is not
		s.lift(k, mark)
		return false
	}
	c = begun(c)
	c.Way.Guard = mark
	s.toCustomer(c, wire.StageClaim, k.id)
	return true
}

// toIdentity sends c, which gives somebody an identity, to where it may be claimed.
func (s *Shard) toIdentity(c *wire.Command) {
	c.Way.Stage, c.Way.At = wire.StageClaim, ""
	s.further(c, s.x.IdentitySlot(c.Who.Tenant, c.For.Channel, c.For.ID))
}

// claimedLate is told that an identity was claimed for cu, who is being erased. It was before its shard kept that off, and is found there; but when the slot has
// come to a shard since that had not been asked, it is not: all are asked once more.
func (s *Shard) claimedLate(cu *customer) {
	if e := cu.erasing; e != nil {
		clear(e.peers)
		e.slots = [wire.Slots]bool{}
	}
}

func guardKey(k customerID) []byte {
	key := customerKey(nil, k.tenant, k.id)
	key[0] = rowGuard
	return key
}
