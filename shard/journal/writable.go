package journal

// Writable returns nil when an Append would be taken, now or after waiting for room, and otherwise what it would say:
// ErrNoSpace, ErrReadOnly, ErrClosed or ErrFailed. An owner asks before it decides, so that it refuses what it could
// not keep.
func (g *Group) Writable() error {
	g.j.mu.Lock()
	defer g.j.mu.Unlock()
	return g.refuse(&Turn{n: 1})
}
