package session

import "switchboard/wire"

// Customer is what a tenant knows of one end user: which session of each shop is the latest, and who he turned out to
// be. It is a keyed thing of its own and lives on the slot of its sessions.
type Customer struct {
	Tenant string
	ID     string
	// Alias is the customer that he was linked with; from then on everything about this one goes there. Empty: he is himself.
	Alias string
	// Shops is his latest session per shop.
	Shops []Latest
	// Born counts his sessions. Ids were made of it once, and nodes of before still do: it never gets smaller.
	Born uint64
	// Linked says that somebody else may have become this one.
	Linked bool
	// Depth is the longest chain of customers who became this one.
	Depth uint64
	// Leaving is whom he is about to become, if anybody, and Try counts how often that was begun.
	Leaving Leaving
	Try     uint64
	// Identities are his external ids.
	Identities []wire.External
	// Erasure is how far he is forgotten, since somebody asked for it last.
	Erasure Erasure
}

// Latest is the session that an open without session finds [SW-4.1].
type Latest struct {
	Shop    string
	Session wire.SessionID
}

// maxShops bounds what one customer can make us remember.
const maxShops = 256

// Latest returns his latest session of shop, or "".
func (c *Customer) Latest(shop string) wire.SessionID {
	for i := range c.Shops {
		if c.Shops[i].Shop == shop {
			return c.Shops[i].Session
		}
	}
	return ""
}

// SetLatest makes id his latest session of shop, and reports whether there was room.
func (c *Customer) SetLatest(shop string, id wire.SessionID) bool {
	for i := range c.Shops {
		if c.Shops[i].Shop == shop {
			c.Shops[i].Session = id
			return true
		}
	}
	if len(c.Shops) == maxShops {
		return false
	}
	c.Shops = append(c.Shops, Latest{shop, id})
	return true
}

// AppendCustomer appends the row of c.
func AppendCustomer(dst []byte, c *Customer) []byte {
	version := byte(customerVersion)
	switch { // as low as it can be, so that a node of the version before, which may lead next, reads it
	case c.Erasure.Stage == NeverErased:
		version = 2
	case len(c.Erasure.Kin) == 0:
		version = 3
	}
	w := writer{append(dst, version)}
	w.str(c.Tenant)
	w.str(c.ID)
	w.str(c.Alias)
	w.num(c.Born)
	w.num(uint64(len(c.Shops)))
	for _, l := range c.Shops {
		w.str(l.Shop)
		w.str(string(l.Session))
	}
	w.bool(c.Linked)
	w.num(c.Depth)
	w.str(c.Leaving.To)
	w.int(c.Leaving.At)
	w.bool(c.Leaving.Active)
	w.num(c.Try)
	w.num(uint64(len(c.Identities)))
	for i := range c.Identities {
		w.str(c.Identities[i].Channel)
		w.str(c.Identities[i].ID)
	}
	if c.Erasure.Stage != NeverErased {
		w.erasure(&c.Erasure)
	}
	if version >= 4 {
		w.kin(c.Erasure.Kin)
	}
	return w.b
}

// customerVersion is that of a customer's row: 2 has what begins with Linked, 3 Erasure, 4 its Kin.
const customerVersion = 4

// ParseCustomer reads a row of AppendCustomer. It copies what it keeps.
func ParseCustomer(b []byte, c *Customer) error {
	r := reader{b: b}
	version := r.byte()
	if version == 0 || version > customerVersion {
		return ErrRow
	}
	c.Tenant, c.ID, c.Alias, c.Born = r.str(), r.str(), r.str(), r.num()
	c.Shops = make([]Latest, r.count())
	for i := range c.Shops {
		c.Shops[i] = Latest{r.str(), wire.SessionID(r.str())}
	}
	if version >= 2 {
		c.Linked, c.Depth = r.bool(), r.num()
		c.Leaving = Leaving{r.str(), r.int(), r.bool()}
		c.Try = r.num()
		c.Identities = make([]wire.External, r.count())
		for i := range c.Identities {
			c.Identities[i] = wire.External{Channel: r.str(), ID: r.str()}
		}
	}
	c.Erasure = Erasure{}
	if version >= 3 {
		c.Erasure = r.erasure()
		r.bad = r.bad || c.Erasure.Stage == NeverErased
	}
	if version >= 4 {
		c.Erasure.Kin = r.kin()
		r.bad = r.bad || len(c.Erasure.Kin) == 0
	}
	if r.bad || len(r.b) != 0 {
		return ErrRow
	}
	return nil
}
