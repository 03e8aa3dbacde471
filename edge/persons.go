package edge

import (
	"slices"
	"sync"

	"switchboard/wire"
)

// persons are the open connections of each customer, the oldest first, where their number is bounded; elsewhere nobody is noted, and it costs
// nothing. The zero persons has none.
type persons struct {
	mu sync.Mutex
	// Guarded by mu.
	of map[person][]*conn
}

// person is one customer of a tenant.
type person struct{ tenant, sub string }

// person returns whose connection c is, if it is one that counts: a customer's. Of services and workers one may well have many.
func (c *conn) person() (p person, ok bool) {
	who := c.who.Load()
	if c.e.cfg.PerCustomer == 0 || who == nil || who.Role != wire.RoleCustomer {
		return person{}, false
	}
	return person{who.Tenant, who.Sub}, true
}

// counts notes a connection of which it is known by now whose it is. When he has more of them than he may, his oldest are told not to come
// again [SW-6.2]: the newest is where he is, and the others may have lost him long ago without a word. Two that came again instead would
// take each other's place for ever.
func (e *Edge) counts(c *conn) {
	p, ok := c.person()
	if !ok {
		return
	}
	e.persons.mu.Lock()
	if e.persons.of == nil {
		e.persons.of = map[person][]*conn{}
	}
	list := append(e.persons.of[p], c)
	n := max(len(list)-e.cfg.PerCustomer, 0)
	over := slices.Clone(list[:n])
	e.persons.of[p] = slices.Delete(list, 0, n)
	e.persons.mu.Unlock()
	for _, old := range over {
		old.bye(wire.CloseConnectionLimit, 0)
	}
}

// uncounts takes off what counts noted. A connection that was never noted, or is not any more, is nobody's.
func (e *Edge) uncounts(c *conn) {
	p, ok := c.person()
	if !ok {
		return
	}
	e.persons.mu.Lock()
	defer e.persons.mu.Unlock()
	list := e.persons.of[p]
	i := slices.Index(list, c)
	switch {
	case i < 0:
	case len(list) == 1:
		delete(e.persons.of, p)
	default:
		e.persons.of[p] = slices.Delete(list, i, i+1)
	}
}
