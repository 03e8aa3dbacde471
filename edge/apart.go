package edge

import (
	"strings"

	"switchboard/wire"
)

// What a connection keeps for its life is allocated among what its hello leaves behind, and memory is given back by the page: a few bytes
// that stay keep a page of garbage. So what stays is put together.

// names is where the names of those who are connected are kept, many in one piece of memory. The zero names is ready. It is not safe for
// concurrent use.
type names struct{ piece *strings.Builder }

const (
	namesPiece = 512 // bytes of a piece; it is there for as long as one of its names
	namesMost  = 64  // bytes of a name that has its place in one
)

// keep returns a copy of name.
func (n *names) keep(name string) string {
	if len(name) > namesMost {
		return strings.Clone(name)
	}
	if n.piece == nil || n.piece.Len()+len(name) > namesPiece {
		n.piece = &strings.Builder{}
		n.piece.Grow(namesPiece)
	}
	at := n.piece.Len()
	n.piece.WriteString(name)
	return n.piece.String()[at:]
}

// apart is a principal in a piece of memory of a size that nothing else of a hello has: those of 144 bytes are what JSON is parsed with.
type apart struct {
	wire.Principal
	_ [16]byte
}

// settled returns a copy of who for the life of a connection.
func settled(who *wire.Principal) *wire.Principal { return &(&apart{Principal: *who}).Principal }
