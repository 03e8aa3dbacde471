package shard

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"switchboard/broker/routes"
	"switchboard/wire"
)

// Host makes the shard know tenants that it was not opened with, of those who live where it stands: it serves them from its next turn on, and nobody else
// waits for that. tenants has all whom the shard does not serve, by [Shard.Hosts]: what was said before and is not taken yet does not count any more. Who is
// not among them stays, and of who is known already nothing changes. It must not be changed any more. It may be called from any goroutine, and
// does not block.
func (s *Shard) Host(tenants map[string]*Tenant) {
	s.hostable.Store(&tenants)
	s.inbox.Nudge()
}

// Hosts tells whether the shard serves a tenant by now, or never is to, as he lives elsewhere. It may be called from any goroutine.
func (s *Shard) Hosts(tenant string) bool {
	if len(s.cfg.Slots) == 0 || !s.x.Hosts(s.place, tenant) {
		return true
	}
	_, ok := s.LevelSets()[tenant]
	return ok
}

// newcomers takes who is new of those that Host has named last.
func (s *Shard) newcomers() {
	list := s.hostable.Load()
	if list == s.hosting {
		return
	}
	s.hosting = list
	for _, name := range slices.Sorted(maps.Keys(*list)) {
		if s.merchants[name] == nil {
			s.newcomer(name, (*list)[name])
		}
	}
}

// newcomer begins to serve a tenant. As a rule he has nothing here; he has when the node that opened the shard had not heard of him yet, and one
// that led it before had.
func (s *Shard) newcomer(name string, t *Tenant) {
	s.merchants[name] = t.merchant()
	s.relevel(name, t.levels)
	s.countsBy(name, LevelSet{t.Document.Version, t.Levels, t.origins})
	if s.owns(s.x.PoolSlot(name)) {
		s.openPool(name, t)
	}
	s.goesByOf(name)
	for _, h := range s.sessions {
		if h.state != nil && h.state.Tenant == name && s.surround(h) {
			s.ask(h)
			s.schedule(h)
		}
	}
	s.displaced()
	s.log.Info("a tenant is new here", "tenant", name, "version", t.Document.Version)
}

// strange refuses what is asked of a tenant whom the shard does not know, though the node that lets his people in does: this one has not heard of him
// yet, or has other tenants in its configuration.
func (s *Shard) strange(c *wire.Command) {
	s.d.Fail(c, &wire.Error{Slug: wire.Unavailable, Message: "the node that leads here has not heard of the tenant yet"})
}

// Preview returns what a change from t's document to text is answered, without making it, or why it would be refused.
func (t *Tenant) Preview(tenant string, text []byte) (answer []byte, err error) {
	next, err := t.told(text)
	if list, ok := errors.AsType[routes.Errors](err); ok {
		return nil, refuseDocument(list)
	}
	if err != nil {
		return nil, err
	}
	changes := t.changes(next)
	return json.Marshal(configured{Tenant: tenant, Version: t.Document.Version, DryRun: true, Changes: tellChanges(changes), Changed: len(changes)})
}
