package member

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"

	"switchboard/cluster"
	"switchboard/exchange/link"
)

// Operations are what operators do with a cluster: at a member of this process, or [At] one elsewhere. Whichever member is asked
// forwards to the leader. by is who asks, for the log and the jobs. cluster.ErrRefused says that it was not done, and why;
// [ErrUnavailable] that it is not known. All may be asked for twice, and called from any goroutine.
type Operations struct {
	ask func(ctx context.Context, op, by string, in, out any) error
}

// Seat is who asks from outside.
type Seat struct {
	// Name is who asks, as ids are [SW-1].
	Name string
	// TLS has a certificate for that name, and the authority of the cluster: [LoadTLS] reads it. Nil means a plain connection, which is for
	// loopback unless Plain says otherwise.
	TLS   *tls.Config
	Plain bool
	// Dial connects to an address; default TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// At returns the operations of the cluster that the node listening at addr, for links, is a member of. by is the seat's name,
// whatever else is said. Whoever has a certificate of the cluster's authority may operate.
func At(addr string, seat Seat) *Operations {
	cfg := link.Config{Node: seat.Name, TLS: seat.TLS, Plain: seat.Plain, Dial: seat.Dial}
	return &Operations{func(ctx context.Context, op, _ string, in, out any) error { return askAt(ctx, addr, cfg, op, in, out) }}
}

// askAt asks a member one thing.
func askAt(ctx context.Context, addr string, cfg link.Config, op string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	q, err := json.Marshal(question{Op: op, Body: body})
	if err != nil {
		return err
	}
	_, b, err := link.Ask(ctx, addr, cfg, q)
	if err != nil {
		return err
	}
	var a answer
	if err := json.Unmarshal(b, &a); err != nil {
		return err
	}
	if err := a.err(); err != nil || out == nil {
		return err
	}
	return json.Unmarshal(a.Body, out)
}

// question is what a stranger asks a member.
type question struct {
	Op   string          `json:"op"`
	Body json.RawMessage `json:"body"`
}

// Node asks the node that is asked for something that it does itself, by Config.Asked there; see [Lines.Ask]. It is for operations of [At].
func (o *Operations) Node(ctx context.Context, op string, in, out any) error {
	return o.ask(ctx, askedPrefix+op, "", in, out)
}

// Status reports how the cluster is, by its leader; after 2 s without one, by this node.
func (o *Operations) Status(ctx context.Context) (*Report, error) {
	r := &Report{}
	return r, o.ask(ctx, opStatus, "", asking{}, r)
}

// Nodes reports the nodes, those that are gone too.
func (o *Operations) Nodes(ctx context.Context) ([]NodeReport, error) {
	r, err := o.Status(ctx)
	return r.Nodes, err
}

// Shards reports the shards.
func (o *Operations) Shards(ctx context.Context) ([]ShardReport, error) {
	r, err := o.Status(ctx)
	return r.Shards, err
}

// Move begins to move a replica of a shard from one node to another, for whoever by names. Asked again while it is under way it
// returns the same job.
func (o *Operations) Move(ctx context.Context, by string, shard uint16, from, to uint32, why string) (*cluster.Job, error) {
	j := &cluster.Job{}
	return j, o.ask(ctx, opMove, by, asking{Shard: shard, From: from, To: to, Why: why}, j)
}

// Leadership is what becomes of a request that a node shall lead a shard.
type Leadership struct {
	Shard uint16 `json:"shard"`
	From  uint32 `json:"from"` // node that led it then
	To    uint32 `json:"to"`
	// Leads says that To led it already. Otherwise From was asked to hand over, which takes a moment and may come to nothing: ShardReport.Leader tells.
	Leads bool `json:"leads"`
}

// Lead asks for a shard to be led by a node that has a copy of it which votes. It is refused when that node does not answer, is behind, drains or has a
// full disk, and while the shard is being moved. Evening out leaves the shard there as long as nobody else comes to lead it, or until a
// rebalance is asked for. Asked again it asks again, or says that the node leads.
func (o *Operations) Lead(ctx context.Context, by string, shard uint16, to uint32, why string) (*Leadership, error) {
	l := &Leadership{}
	return l, o.ask(ctx, opLead, by, asking{Shard: shard, To: to, Why: why}, l)
}

// Job pauses, resumes or aborts a move.
func (o *Operations) Job(ctx context.Context, by string, id uint64, action string) (*cluster.Job, error) {
	j := &cluster.Job{}
	return j, o.ask(ctx, opJob, by, asking{Job: id, Action: action}, j)
}

// Balance is what a rebalance is about.
type Balance struct {
	Effort cluster.Effort     `json:"effort"`
	Plan   []cluster.Proposal `json:"plan"`
}

// Rebalance does "run", "pause", "resume" or "abort"; with "dry" nothing. It returns what a plan wants now.
func (o *Operations) Rebalance(ctx context.Context, by, action string) (*Balance, error) {
	b := &Balance{}
	return b, o.ask(ctx, opRebalance, by, asking{Action: action}, b)
}

// Drain makes a node give away what it holds, or takes that back.
func (o *Operations) Drain(ctx context.Context, by string, node uint32, undo bool) error {
	return o.ask(ctx, opDrain, by, asking{Node: node, Undo: undo}, nil)
}

// DrainAt makes a node give away what it holds: what it leads, then its replicas, then its connections, so many a second. 0 leaves that as it
// was said before, or to the node. Asked again it goes on, at the pace that was said last.
func (o *Operations) DrainAt(ctx context.Context, by string, node uint32, pace int) error {
	return o.ask(ctx, opDrain, by, asking{Node: node, Pace: pace}, nil)
}

// Remove takes a node out for good. It is refused while the node has replicas, unless lost says that its disk is gone: then
// others stand in for them, and the shards that are short of a copy until then are returned. It is also refused when a majority of some shard's
// copies would be gone with it.
func (o *Operations) Remove(ctx context.Context, by string, node uint32, lost bool) (short []uint16, err error) {
	return short, o.ask(ctx, opRemove, by, asking{Node: node, Lost: lost}, &short)
}

// GiveUp removes a node whose disk is lost, also when shards are lost with it: nobody serves these any more.
func (o *Operations) GiveUp(ctx context.Context, by string, node uint32) (short []uint16, err error) {
	return short, o.ask(ctx, opRemove, by, asking{Node: node, Lost: true, GiveUp: true}, &short)
}

// Copies says how many copies the shards of a placement shall have.
func (o *Operations) Copies(ctx context.Context, by, placement string, n int) error {
	return o.ask(ctx, opCopies, by, asking{Placing: placement, Copies: n}, nil)
}

// Place makes a placement in the running cluster, with so many shards, on nodes that have the labels p.Require; its name, copies, labels
// and tenants count. Its tenants must live nowhere yet. With dry nothing is made: what is returned says which nodes may hold it, and an
// error why it would be refused.
func (o *Operations) Place(ctx context.Context, by string, p *cluster.Placement, shards int, dry bool) (*PlaceReport, error) {
	r := &PlaceReport{}
	return r, o.ask(ctx, opPlace, by, asking{Place: p, Shards: shards, Dry: dry}, r)
}

// Assign makes a placement the home of tenants who live there already, or nowhere. When one is refused, none is assigned.
func (o *Operations) Assign(ctx context.Context, by, placement string, tenants ...string) error {
	return o.ask(ctx, opAssign, by, asking{Placing: placement, Tenants: tenants}, nil)
}

// Require says which labels the nodes of a placement shall have from now on, none means any: its replicas move there, with everybody who lives in it. What is
// returned says which nodes may hold it then; Misplaced in it are those that do and may not. With dry nothing is changed.
func (o *Operations) Require(ctx context.Context, by, placement string, labels map[string]string, dry bool) (*PlaceReport, error) {
	r := &PlaceReport{}
	return r, o.ask(ctx, opRequire, by, asking{Placing: placement, Labels: labels, Dry: dry}, r)
}

// Settle gives tenants a home who have none: the placement that they wish, or main. A node asks for it before it serves them.
func (o *Operations) Settle(ctx context.Context, by string, wishes map[string]string) error {
	return o.ask(ctx, opSettle, by, asking{Wishes: wishes}, nil)
}

// Clean has the rows taken off that slots have left on the disks of a shard, and returns what is left. Feeds that have not told all of them by
// then are gone. Asked again while it is under way it is the same.
func (o *Operations) Clean(ctx context.Context, by string, shard uint16) (*cluster.Leftover, error) {
	l := &cluster.Leftover{}
	return l, o.ask(ctx, opClean, by, asking{Shard: shard}, l)
}

// Split begins to move half of a shard's slots to a new shard, or with action pauses, resumes or aborts that. Asked again while it is under way it
// returns the same split. With dry nothing is begun: what is returned says what it would be, and an error why it would be refused.
func (o *Operations) Split(ctx context.Context, by string, shard uint16, action, why string, dry bool) (*cluster.Split, error) {
	x := &cluster.Split{}
	return x, o.ask(ctx, opSplit, by, asking{Shard: shard, Action: action, Why: why, Dry: dry}, x)
}
