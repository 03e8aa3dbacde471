package exchange

import (
	"github.com/cespare/xxhash/v2"

	"switchboard/wire"
)

// What kinds of keyed things there are besides sessions, whose id carries their slot. The letter keeps equal names of
// different kinds apart.
const (
	keyCustomer = 'c'
	keyPool     = 'p'
	keyIdentity = 'i'
)

// CustomerSlot returns the slot of a customer of a tenant in group 0, and so of all his sessions. [Exchange.CustomerSlot] knows
// where the tenant lives.
func CustomerSlot(tenant, customer string) wire.Slot { return slotOf(keyCustomer, tenant, customer) }

// PoolSlot returns the slot of the pool of a tenant in group 0.
func PoolSlot(tenant string) wire.Slot { return slotOf(keyPool, tenant, "") }

// IdentitySlot returns the slot of an identity, an external id on a channel, of a tenant in group 0.
func IdentitySlot(tenant, channel, external string) wire.Slot {
	return slotOf(keyIdentity, tenant, channel+"\x00"+external)
}

func slotOf(kind byte, tenant, id string) wire.Slot {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write([]byte{kind})
	_, _ = d.WriteString(tenant)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(id)
	return wire.Slot(d.Sum64() % wire.Slots)
}
