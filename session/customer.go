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
	// Born counts his sessions: it makes their ids.
	Born uint64
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

// Link makes c an alias of winner, first writer wins, and reports whether winner is his alias now. A customer is not
// his own alias.
func (c *Customer) Link(winner string) bool {
	if c.Alias == "" && winner != c.ID {
		c.Alias = winner
	}
	return c.Alias == winner
}

// AppendCustomer appends the row of c.
func AppendCustomer(dst []byte, c *Customer) []byte {
	w := writer{append(dst, rowVersion)}
	w.str(c.Tenant)
	w.str(c.ID)
	w.str(c.Alias)
	w.num(c.Born)
	w.num(uint64(len(c.Shops)))
	for _, l := range c.Shops {
		w.str(l.Shop)
		w.str(string(l.Session))
	}
	return w.b
}

// ParseCustomer reads a row of AppendCustomer. It copies what it keeps.
func ParseCustomer(b []byte, c *Customer) error {
	r := reader{b: b}
	if r.byte() != rowVersion {
		return ErrRow
	}
	c.Tenant, c.ID, c.Alias, c.Born = r.str(), r.str(), r.str(), r.num()
	c.Shops = make([]Latest, r.count())
	for i := range c.Shops {
		c.Shops[i] = Latest{r.str(), wire.SessionID(r.str())}
	}
	if r.bad || len(r.b) != 0 {
		return ErrRow
	}
	return nil
}

// Identity is who an external id on a channel is: the first customer it was seen as [SW-5a.6].
type Identity struct {
	Tenant, Channel, External string
	Customer                  string
}

// Claim makes customer the one, first writer wins, and returns who it is.
func (i *Identity) Claim(customer string) string {
	if i.Customer == "" {
		i.Customer = customer
	}
	return i.Customer
}

// AppendIdentity appends the row of i.
func AppendIdentity(dst []byte, i *Identity) []byte {
	w := writer{append(dst, rowVersion)}
	for _, s := range [...]string{i.Tenant, i.Channel, i.External, i.Customer} {
		w.str(s)
	}
	return w.b
}

// ParseIdentity reads a row of AppendIdentity. It copies what it keeps.
func ParseIdentity(b []byte, i *Identity) error {
	r := reader{b: b}
	if r.byte() != rowVersion {
		return ErrRow
	}
	*i = Identity{r.str(), r.str(), r.str(), r.str()}
	if r.bad || len(r.b) != 0 {
		return ErrRow
	}
	return nil
}
