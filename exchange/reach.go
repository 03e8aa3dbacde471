package exchange

// upper is an inlet that may have no way to where it leads: the link to another node.
type upper interface {
	// Up tells whether it takes mail now. It may be called from any goroutine.
	Up() bool
}

// KnowsNode tells whether mail can be addressed to the connections of a node's incarnation, whether or not it would arrive.
func (x *Exchange) KnowsNode(node uint64) bool {
	if nodes := x.nodes.Load(); nodes != nil {
		_, ok := (*nodes)[node]
		return ok || node == x.node
	}
	return node == x.node
}

// Reaches tells whether mail for the connections of a node's incarnation has a way now: it is this node, or the link to it stands. One that has ended, and
// was started again as another incarnation, is reached never again.
func (x *Exchange) Reaches(node uint64) bool {
	if node == x.node {
		return true
	}
	nodes := x.nodes.Load()
	if nodes == nil {
		return false
	}
	in := (*nodes)[node]
	if u, ok := in.(upper); ok {
		return u.Up()
	}
	return in != nil
}
