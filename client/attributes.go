package client

import (
	"context"
	"fmt"

	"switchboard/wire/wirepb"
)

// SetAttributes changes what routing sees of the session by a JSON merge patch (RFC 7396), if its attributes are at version
// ifV; otherwise it fails with [wire.VersionConflict]. It returns the new version. A worker's session speaks under its
// assignment, and one that nobody is assigned to is routed again [SW-5a.2]. Customers may not.
func (s *Session) SetAttributes(ctx context.Context, ifV uint64, patch any) (v uint64, err error) {
	b, err := bodyOf(patch)
	if err != nil {
		return 0, fmt.Errorf("changing attributes: %w", err)
	}
	m := &wirepb.Attributes{Session: s.id, Ae: s.ae, IfV: ifV, Patch: b, Key: newKey()}
	f, err := s.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Attributes{Attributes: m}}, nil)
	if err != nil {
		return 0, fmt.Errorf("changing attributes: %w", s.stale(err))
	}
	return f.GetAttributes().GetV(), nil
}
