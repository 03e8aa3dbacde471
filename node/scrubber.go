package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"switchboard/cluster"
	"switchboard/session"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// The bounds of what a node does for erasures.
const (
	scrubOp       = "scrub"         // what nodes call it when they ask each other
	scrubTogether = 12              // erasures that share one look at all nodes: they fit into a question between nodes
	scrubMost     = 5 * time.Minute // that one attempt may take
	scrubAgain    = time.Second     // after which it is looked again how far the others are
	scrubsKept    = 64              // of those that were done here
	scrubsWait    = 16              // of other nodes
)

// scrubber lets no file of any node hold what rows of erased customers were [SW-7.11]. Its one goroutine does two things: what other nodes and it itself
// ask this node for, and, for the erasures of shards that this node leads, asking every node until all have done it. What it knows is memory: a node
// that starts again finds in its shards' rows what is still to be done.
type scrubber struct {
	n    *Node
	wake chan struct{}
	life context.Context
	end  context.CancelFunc
	over chan struct{}

	// Owned by run.
	round  *scrubRound
	failed string // what was said last

	mu sync.Mutex
	// Guarded by mu.
	lacking scrubLack
	started bool
	asked   []*scrubbing // by whatever node, the oldest first
	done    []scrubDone
}

// scrubDone is a question that was done as asked, if nothing has come from others since.
type scrubDone struct {
	id   string
	came uint64
}

// scrubbing is a question between nodes.
type scrubbing struct {
	Action string    `json:"action"` // leads, scrub, waits
	ID     string    `json:"id,omitempty"`
	Of     []scrubOf `json:"of,omitempty"`
	Tenant string    `json:"tenant,omitempty"` // whose erasures, of waits
}

// scrubOf is somebody who was erased.
type scrubOf struct {
	Tenant   string `json:"t"`
	Customer string `json:"c"`
}

// scrubbed is the answer to a scrubbing.
type scrubbed struct {
	Done  bool             `json:"done,omitempty"`
	Leads map[int]uint64   `json:"leads,omitempty"` // by group, the last turn
	Waits []WaitingErasure `json:"waits,omitempty"`
	Owns  []int            `json:"owns,omitempty"` // shards that have an owner here
}

// scrubRound is one look at all nodes.
type scrubRound struct {
	q    scrubbing
	of   []shard.Erasure
	done map[uint32]bool
	lack []uint32 // nodes that were not, when last asked
	sure bool     // all were done, and are asked once more
}

func newScrubber(n *Node) *scrubber {
	s := &scrubber{n: n, wake: make(chan struct{}, 1), over: make(chan struct{})}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

func (s *scrubber) start() {
	s.mu.Lock()
	s.started = true
	s.mu.Unlock()
	go s.run()
}

// stop ends the goroutine. What it was doing is done again after the next start.
func (s *scrubber) stop() {
	s.end()
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	if started {
		<-s.over
	}
}

// nudge tells it that there is something to do. It does not block.
func (s *scrubber) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *scrubber) run() {
	defer close(s.over)
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case <-s.wake:
		case <-again.C:
		}
		again.Stop()
		err := errors.Join(s.serve(), s.drive())
		if s.life.Err() != nil {
			return
		}
		if err != nil && err.Error() != s.failed {
			s.n.cfg.Log.Warn("an erasure waits for files to be rid of the customer", "err", err)
		}
		if s.failed = ""; err != nil {
			s.failed = err.Error()
		}
		s.tell()
		if err != nil || s.round != nil || s.waits() {
			again.Reset(scrubAgain)
		} else {
			again.Reset(time.Hour)
		}
	}
}

func (s *scrubber) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked) > 0
}

// do answers a node.
func (s *scrubber) do(q *scrubbing) (*scrubbed, error) {
	switch q.Action {
	case "leads":
		return s.leads()
	case "scrub":
		return &scrubbed{Done: s.ask(q)}, nil
	case "waits":
		return s.waitsOf(q.Tenant), nil
	}
	return nil, fmt.Errorf("%w: %q is nothing that a node does for an erasure", cluster.ErrRefused, q.Action)
}

// ask notes what is to be done, and tells whether it is.
func (s *scrubber) ask(q *scrubbing) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.done, func(d scrubDone) bool { return d.id == q.ID }); i >= 0 {
		if s.done[i].came == s.n.j.Came() {
			return true
		}
		s.done = slices.Delete(s.done, i, i+1)
	}
	if len(s.asked) < scrubsWait && !slices.ContainsFunc(s.asked, func(a *scrubbing) bool { return a.ID == q.ID }) {
		s.asked = append(s.asked, q)
		s.nudge()
	}
	return false
}

// leads tells how far the groups are that this node leads, for certain.
func (s *scrubber) leads() (*scrubbed, error) {
	j := s.n.j
	if s.n.party != nil { // others may ask before it has begun
		j = s.n.party.journal.Load()
	}
	if j == nil {
		return nil, errStarting
	}
	a := &scrubbed{Leads: map[int]uint64{}}
	for i := range int(cluster.Meta) + 1 {
		g := j.Group(i)
		if g == nil {
			continue
		}
		if g.Term() != 0 && j.Confirm(i) == nil {
			a.Leads[i] = g.Applied()
		}
	}
	return a, nil
}

// serve does what nodes have asked this one for, all of it at once.
func (s *scrubber) serve() error {
	s.mu.Lock()
	list := slices.Clone(s.asked)
	s.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.life, scrubMost)
	defer cancel()
	came := s.n.j.Came()
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	var spans []journal.Span
	for _, q := range list {
		for _, of := range q.Of {
			spans = append(spans, shard.ErasedSpans(s.n.hosts.x, of.Tenant, of.Customer)...)
		}
	}
	if err := s.n.j.Scrub(ctx, spans); err != nil {
		return err
	}
	s.mu.Lock()
	for _, q := range list {
		s.done = append(s.done, scrubDone{q.ID, came})
	}
	s.done = slices.Delete(s.done, 0, max(len(s.done)-scrubsKept, 0))
	s.asked = slices.DeleteFunc(s.asked, func(q *scrubbing) bool { return slices.Contains(list, q) })
	s.mu.Unlock()
	return nil
}

// catchUp waits until this node's replicas have everything that their leaders had when it was called: the rows of an erasure among it.
func (s *scrubber) catchUp(ctx context.Context) error {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	upTo := map[int]uint64{}
	var errs []error
	for _, node := range nodes {
		var a scrubbed
		if err := s.askNode(ctx, node, &scrubbing{Action: "leads"}, &a); err != nil {
			errs = append(errs, err) // it may lead nothing
		}
		for group, turn := range a.Leads {
			upTo[group] = max(upTo[group], turn)
		}
	}
	for group := range int(cluster.Meta) + 1 {
		if _, led := upTo[group]; !led && s.n.j.Group(group) != nil {
			return errors.Join(append(errs, fmt.Errorf("nobody is known to lead shard %d just now", group))...)
		}
	}
	tick := time.NewTicker(scrubAgain / 20)
	defer tick.Stop()
	for group, turn := range upTo {
		for g := s.n.j.Group(group); g != nil && g.Applied() < turn; g = s.n.j.Group(group) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("shard %d is behind on this node: %w", group, ctx.Err())
			case <-tick.C:
			}
		}
	}
	return nil
}

// drive asks all nodes, on behalf of erasures of shards that this node leads.
func (s *scrubber) drive() error {
	if s.round == nil {
		var of []shard.Erasure
		s.n.hosts.each(func(_ int, sh *shard.Shard) {
			for _, e := range sh.Erasures() {
				if e.Stage == session.Blanked {
					of = append(of, e)
				}
			}
		})
		if len(of) == 0 {
			return nil
		}
		var id [12]byte
		_, _ = rand.Read(id[:]) // never fails
		r := &scrubRound{of: of[:min(len(of), scrubTogether)], done: map[uint32]bool{}}
		r.q = scrubbing{Action: "scrub", ID: hex.EncodeToString(id[:])}
		for _, e := range r.of {
			r.q.Of = append(r.q.Of, scrubOf{e.Tenant, e.Customer})
		}
		s.round = r
	}
	r := s.round
	ctx, cancel := context.WithTimeout(s.life, scrubMost)
	defer cancel()
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	// A replica that has moved to a node behind its scrubbing may have brought what another had still. So when all are done they are asked once more,
	// and nothing has come to any of them until then.
	for last := false; !last; {
		last = r.sure
		if all, err := s.askAll(ctx, r, nodes); !all {
			r.sure = false
			return err
		}
		r.sure, r.done = true, map[uint32]bool{}
	}
	for _, e := range r.of {
		_ = s.n.hosts.x.Post(wire.Envelope{
			To: wire.ToSlot(s.n.hosts.x.CustomerSlot(e.Tenant, e.Customer)), Mail: &wire.Scrub{Tenant: e.Tenant, Customer: e.Customer, Mark: e.Mark, Done: true},
		}) // what is lost is done again
	}
	s.round = nil
	return nil
}

// askAll asks the nodes of which it is not known that they are done.
func (s *scrubber) askAll(ctx context.Context, r *scrubRound, nodes []scrubNode) (all bool, err error) {
	var errs []error
	all, r.lack = true, nil
	for _, node := range nodes {
		if r.done[node.id] {
			continue
		}
		var a scrubbed
		if err := s.askNode(ctx, node, &r.q, &a); err != nil {
			errs = append(errs, err)
		}
		if r.done[node.id] = a.Done; !a.Done {
			r.lack, all = append(r.lack, node.id), false
		}
	}
	return all, errors.Join(errs...)
}

// scrubNode is where a node is asked; 0 is this one, when it is alone.
type scrubNode struct {
	id   uint32
	addr string
}

// nodes returns every node of the cluster, also one that is down: what its disk holds counts.
func (s *scrubber) nodes(ctx context.Context) ([]scrubNode, error) {
	p := s.n.party
	if p == nil {
		return []scrubNode{{}}, nil
	}
	m := p.member.Load()
	if m == nil {
		return nil, errStarting
	}
	r, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	if r.Stale {
		return nil, errors.New("the cluster has no leader just now")
	}
	var list []scrubNode
	for i := range r.Nodes {
		list = append(list, scrubNode{r.Nodes[i].ID, r.Nodes[i].Addr})
	}
	return list, nil
}

func (s *scrubber) askNode(ctx context.Context, node scrubNode, q *scrubbing, out *scrubbed) error {
	p := s.n.party
	if p == nil || node.id == p.self {
		a, err := s.do(q)
		if err == nil {
			*out = *a
		}
		return err
	}
	if err := p.lines.Ask(ctx, node.addr, scrubOp, q, out); err != nil {
		return fmt.Errorf("node %d: %w", node.id, err)
	}
	return nil
}

// askedToScrub answers another node.
func (p *party) askedToScrub(body []byte) (any, error) {
	var q scrubbing
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("%w: a question that cannot be understood: %w", cluster.ErrRefused, err)
	}
	return p.n.scrub.do(&q)
}
