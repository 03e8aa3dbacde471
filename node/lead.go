package node

import (
	"context"
	"errors"
	"time"

	"switchboard/cluster"
	"switchboard/edge/token"
)

// Keys and tenants are rows of the cluster, which one node writes: the one that leads them. What is asked of any node goes this way:
// decided asks until somebody says yes or no, and lead answers here, or passes the question on to the leader, once.

const (
	// leadFor is how long a change of the cluster's rows waits for who leads them.
	leadFor = 10 * time.Second
	// leadAgain is how long it waits between two tries.
	leadAgain = 200 * time.Millisecond
)

var errElsewhere = errors.New("another node leads the cluster, or nobody does")

// decided asks until there is an answer: the change was made, or it is refused. Whoever passes a question on asks again himself, so a passed one is
// asked once. It returns the last error when ctx ends before. A change may have been made although its answer is lost, so what is asked must be a
// change that changes nothing the second time, and is not refused then.
func decided[A any](ctx context.Context, passed bool, ask func() (*A, error)) (*A, error) {
	tick := time.NewTicker(leadAgain)
	defer tick.Stop()
	for {
		a, err := ask()
		if err == nil || errors.Is(err, token.ErrEdit) || errors.Is(err, cluster.ErrRefused) || passed {
			return a, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// lead lets whoever leads the cluster's rows answer: this node by change, one change at a time, with the term in which it leads; or the leader, whom op
// asks with pass. pass is nil when the question was passed on to this node: it does not travel further.
func lead[Q, A any](ctx context.Context, p *party, op string, pass *Q, change func(term uint64) (*A, error)) (*A, error) {
	a, err := leadHere(ctx, p, change)
	if pass == nil || !errors.Is(err, errElsewhere) {
		return a, err
	}
	m := p.member.Load()
	if m == nil {
		return nil, errElsewhere
	}
	r, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	for i := range r.Nodes {
		if node := &r.Nodes[i]; node.ID == r.Leader && node.ID != p.self {
			a := new(A)
			return a, p.lines.Ask(ctx, node.Addr, op, pass, a)
		}
	}
	return nil, errElsewhere
}

func leadHere[A any](ctx context.Context, p *party, change func(term uint64) (*A, error)) (*A, error) {
	select {
	case p.n.keysTurn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-p.n.keysTurn }()
	term := p.rows.leads()
	if term == 0 {
		return nil, errElsewhere
	}
	return change(term)
}
