package session

import (
	"encoding/base32"

	"switchboard/wire"
)

// Identity is who an external id on a channel is: the first customer it was seen as [SW-5a.6]. It is a keyed thing of its own.
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

// NewcomerBytes is how much chance there is in the name of a newcomer.
const NewcomerBytes = 16

// Newcomer returns the name of the customer that an external id is when nobody has said otherwise. It is made of chance alone: of what it could be
// computed from, whoever has the name and a list of telephone numbers could find out which it is.
func Newcomer(chance [NewcomerBytes]byte) string { return "x_" + newcomers.EncodeToString(chance[:]) }

var newcomers = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

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

// maxIdentities bounds how many external ids one customer has.
const maxIdentities = 256

// Know notes that an external id is c's. changed tells that it is new to him, ok that there was room.
func (c *Customer) Know(channel, external string) (changed, ok bool) {
	for i := range c.Identities {
		if c.Identities[i].Channel == channel && c.Identities[i].ID == external {
			return false, true
		}
	}
	if len(c.Identities) >= maxIdentities {
		return false, false
	}
	c.Identities = append(c.Identities, wire.External{Channel: channel, ID: external})
	return true, true
}
