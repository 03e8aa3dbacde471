package session

import "switchboard/wire"

// How one customer becomes another [SW-3.4]. Each has an owner of his own, so it takes mail: the loser notes whom he wants to
// become and says so (Leave); the winner expects him (Take) and answers; then the loser becomes him with one durable record
// (Left). While somebody is leaving he expects nobody, so whoever is expected began to leave before him who expects him: times of
// leaving grow along a chain, and no chain comes back to where it began. Of two who want each other the one who wanted it first
// goes on, and the other, who has given way, tries again later and finds that they are one by then.
//
// Most losers are visitors, whom nobody ever became. They need not ask: the winner expects somebody beforehand (Expect), and the loser becomes him
// where that is known (Become).

// Leaving is whom a customer is about to become.
type Leaving struct {
	To     string
	At     int64 // Unix ms, since when
	Active bool  // he has not given way to another
}

// MaxDepth is how many customers may become each other in a row.
const MaxDepth = 8

// Leave makes c want to become to. It fails with identity_taken when he is, or wants to become, another, and with
// quota_exceeded when the chain of those who became him is at its end.
func (c *Customer) Leave(to string, now int64) (changed bool, err *wire.Error) {
	if err := c.Doomed(); err != nil {
		return false, err
	}
	switch {
	case c.Alias != "", c.Leaving.To != "" && c.Leaving.To != to:
		return false, wire.Refuse(wire.IdentityTaken)
	case c.Leaving.To == to:
		return false, nil
	case c.Depth >= MaxDepth:
		return false, wire.Refuse(wire.QuotaExceeded)
	}
	c.Leaving = Leaving{To: to, At: now, Active: true}
	c.Try++
	return true, nil
}

// Wish returns what c wants to be told to whom he wants to become, or nil. Whoever has given way begins anew with it, which
// changes him.
func (c *Customer) Wish() (l *wire.Link, changed bool) {
	if c.Alias != "" || c.Leaving.To == "" {
		return nil, false
	}
	if !c.Leaving.Active {
		c.Leaving.Active = true
		c.Try++
		changed = true
	}
	return &wire.Link{
		Tenant: c.Tenant, Loser: c.ID, Winner: c.Leaving.To, Try: c.Try, At: c.Leaving.At, Depth: c.Depth,
		Identities: append([]wire.External(nil), c.Identities...),
	}, changed
}

// Expect lets c expect somebody before he is asked whether he wants to become c, so that he may at once: see Become. ok is false when c may not, as
// he is leaving himself or was erased once; then it goes the longer way, by Leave.
func (c *Customer) Expect() (changed, ok bool) {
	if c.Alias != "" || c.Leaving.To != "" || c.Erasure.Stage != NeverErased {
		return false, false
	}
	return c.Joined(), true
}

// Joined notes that somebody has become c, or may, and reports whether that was new.
func (c *Customer) Joined() (changed bool) {
	changed = !c.Linked || c.Depth == 0
	c.Linked, c.Depth = true, max(c.Depth, 1)
	return changed
}

// Become makes c the one who expects him, at once, and reports whether it did. He must be at the beginning of a chain: nobody has become him, nor may
// anybody who was told that he is expected. Such a one closes no circle, whatever others do meanwhile, and makes no chain longer than expecting him
// has made it known. Nor may he have external ids, which only a wish carries.
func (c *Customer) Become(winner string) bool {
	if c.Alias != "" || c.Leaving.To != "" || c.Linked || c.Depth > 0 || len(c.Identities) > 0 || c.Erasure.Stage != NeverErased || winner == c.ID {
		return false
	}
	c.Alias = winner
	return true
}

// Taken is what came of Take.
type Taken uint8

// What can come of Take.
const (
	TakenLater    Taken = iota // c is leaving himself, and wanted it first: say it again
	TakenOnward                // c has become Alias: say it there
	TakenItself                // c is the loser: whom he wants to become has become him before
	TakenExpected              // c expects him
)

// Take decides on somebody's wish to become c.
func (c *Customer) Take(l *wire.Link) (t Taken, changed bool) {
	switch {
	case c.Erasure.Stage == Erasing:
		return TakenLater, false
	case c.Alias != "":
		return TakenOnward, false
	case c.ID == l.Loser:
		return TakenItself, false
	case c.Leaving.Active && (c.Leaving.At < l.At || c.Leaving.At == l.At && c.ID < l.Loser):
		return TakenLater, false
	}
	if c.Leaving.Active { // no answer to this try counts any more
		c.Leaving.Active, changed = false, true
		c.Try++
	}
	if depth := l.Depth + 1; !c.Linked || depth > c.Depth {
		c.Linked, c.Depth, changed = true, max(c.Depth, depth), true
	}
	if c.Erasure.Stage != NeverErased && l.At <= c.Erasure.At { // he may have gone with who was erased, and this be late: his ids are not kept
		return TakenExpected, changed
	}
	for i := range l.Identities { // those beyond the bound are his all the same, and only missing in the list
		if more, _ := c.Know(l.Identities[i].Channel, l.Identities[i].ID); more {
			changed = true
		}
	}
	return TakenExpected, changed
}

// Left takes the answer to c's wish. It reports whether that changed c: he has become the winner, or, when he is that himself,
// wants nothing any more.
func (c *Customer) Left(m *wire.Linked) bool {
	if c.Alias != "" || !c.Leaving.Active || m.Try != c.Try {
		return false
	}
	c.Leaving = Leaving{}
	c.Try++
	if m.Winner != c.ID {
		c.Alias = m.Winner
	}
	return true
}

// Settled notes that the session of a shop is, and reports whether that changed c. It is what one does who has become another.
func (c *Customer) Settled(shop string, id wire.SessionID) bool {
	if c.Alias == "" {
		return false
	}
	for i := range c.Shops {
		if c.Shops[i].Shop == shop && c.Shops[i].Session == id {
			c.Shops = append(c.Shops[:i], c.Shops[i+1:]...)
			return true
		}
	}
	return false
}

// Owes tells whether something is left to be done: until c has become whom he wants to become, or until he is erased.
func (c *Customer) Owes() bool { return c.Becoming() || c.Erasure.Open() }

// Becoming tells whether something is left to be done until c has become whom he wants to become.
func (c *Customer) Becoming() bool { return c.Leaving.To != "" || c.Alias != "" && len(c.Shops) > 0 }
