package session

import (
	"slices"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Watched tells whether e, an entry of s, belongs to what who watches [SW-4.10]: he may see it, and it lies in the scope. The
// queue is that in which the session is now; a worker's entries are those that he may see [SW-5.10].
func (s *State) Watched(who *wire.Principal, scope *wirepb.Scope, e *wire.Entry) bool {
	switch {
	case who.Tenant != s.Tenant || who.Shop != "" && who.Shop != s.Shop || !e.VisibleTo(who.Role):
		return false
	case scope.GetShop() != "" && scope.Shop != s.Shop:
		return false
	case scope.GetQueue() != "" && scope.Queue != s.Queue:
		return false
	case scope.GetChannel() != "" && e.Channel != scope.Channel && (e.Kind != wire.KindEvent || !slices.Contains(s.Channels, scope.Channel)):
		return false
	case scope.GetWorker() != "":
		until, ok := s.until(&wire.Principal{Role: wire.RoleWorker, Worker: scope.Worker})
		return ok && (e.Seq <= until || s.Phase == Assigned && s.Owner.Worker == scope.Worker)
	}
	return true
}
