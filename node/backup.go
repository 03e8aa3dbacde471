package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/edge"
	"switchboard/wire"
)

// Opening is a backup that has begun: every shard is frozen, and its rows can be had page by page [SW-7.9].
type Opening struct {
	// Program is the version of the node that was asked.
	Program string `json:"program"`
	// From says in words what it is of.
	From  string       `json:"from"`
	Parts []FrozenPart `json:"parts"`
	// Keys is keys.json.
	Keys []byte `json:"keys"`
	// Tenants are those that were made while the nodes ran, as tenants.json has them; nil without any.
	Tenants []byte `json:"tenants,omitempty"`
	// Cluster are the rows of the cluster, without the keys; nil of a node that is none's member.
	Cluster map[string][]byte `json:"cluster,omitempty"`
}

// backupOp is what nodes call it when they ask each other.
const backupOp = "backup"

// groupsAsked is how many shards are asked of a node at once: a question is short.
const groupsAsked = 400

// operate does what operators ask of a node that is no member of a cluster [SW-7.5]. It is edge.Operate.
func (n *Node) operate(ctx context.Context, by, path string, body []byte) (any, error) {
	if v, err := n.keysOver(ctx, by, path, body); !errors.Is(err, edge.ErrNoOperation) {
		return v, err
	}
	if v, err := n.tenantsOver(ctx, by, path, body); !errors.Is(err, edge.ErrNoOperation) {
		return v, err
	}
	if v, err := n.backup(ctx, by, path, body); !errors.Is(err, edge.ErrNoOperation) || n.party == nil {
		return v, err
	}
	return n.party.operate(ctx, by, path, body)
}

// backup does what is behind /v1/admin/cluster/backup.
func (n *Node) backup(ctx context.Context, by, path string, body []byte) (any, error) {
	parts := strings.Split(path, "/")
	if parts[0] != backupOp {
		return nil, edge.ErrNoOperation
	}
	if body == nil {
		node, q, ok := pagePath(parts[1:])
		if !ok {
			return nil, edge.ErrNoOperation
		}
		if q.Action == "page" {
			p := &Page{}
			return p, n.frozenAt(ctx, node, &q, p)
		}
		return struct{}{}, n.frozenAt(ctx, node, &q, nil)
	}
	var q struct {
		Action string       `json:"action"`
		Parts  []FrozenPart `json:"parts"`
		Whole  bool         `json:"whole"` // it was written, and its manifest is there
	}
	if err := json.Unmarshal(body, &q); err != nil || len(parts) > 1 {
		return nil, &wire.Error{Slug: wire.BadRequest, Message: `a backup begins with {"action":"open"}`}
	}
	switch q.Action {
	case "open":
		return n.openBackup(ctx)
	case "close":
		for _, p := range q.Parts {
			_ = n.frozenAt(ctx, p.Node, &freezing{Action: "close", Handle: p.Handle}, nil) // it goes by itself as well
		}
		if q.Whole {
			n.backedUp.Store(n.cfg.Clock().Unix())
			n.cfg.Log.Info("a backup was written whole", "by", by, "parts", len(q.Parts))
		}
		return struct{}{}, nil
	}
	return nil, &wire.Error{Slug: wire.BadRequest, Message: "a backup can be opened and closed, and nothing else"}
}

// frozenAt asks a node for what it has frozen; 0 is this one.
func (n *Node) frozenAt(ctx context.Context, node uint32, q *freezing, out any) error {
	if node == 0 || n.party != nil && node == n.party.self {
		v, err := n.frozen.do(ctx, q)
		if err != nil {
			return err
		}
		switch out := out.(type) {
		case *Page:
			if p, ok := v.(*Page); ok {
				*out = *p
			}
		case *[]FrozenPart:
			if p, ok := v.([]FrozenPart); ok {
				*out = p
			}
		}
		return nil
	}
	if n.party == nil {
		return &wire.Error{Slug: wire.BadRequest, Message: fmt.Sprintf("there is no node %d: this one is alone", node)}
	}
	return n.party.askNode(ctx, node, q, out)
}

// openBackup freezes every shard, wherever it is led.
func (n *Node) openBackup(ctx context.Context) (*Opening, error) {
	o := &Opening{Program: n.cfg.Version, From: "node " + n.cfg.Name}
	asked := map[uint32][]int{} // which shards of whom
	var shapes map[string]uint64
	if n.party == nil {
		keys, err := readKeys(n.cfg.Data) // those that are damaged would be of no use to a restore
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		o.Keys = keys
		o.Tenants = writeTenants(n.tenantry.Load().rows)
		for i := range n.cfg.Shards {
			asked[0] = append(asked[0], i)
		}
	} else {
		var err error
		if shapes, err = n.party.openBackup(ctx, o, asked); err != nil {
			return nil, err
		}
	}
	for node, groups := range asked {
		for part := range slices.Chunk(groups, groupsAsked) {
			var list []FrozenPart
			if err := n.frozenAt(ctx, node, &freezing{Action: "open", Groups: part}, &list); err != nil {
				n.closeBackup(ctx, o)
				return nil, err
			}
			for i := range list {
				list[i].Node = node
			}
			o.Parts = append(o.Parts, list...)
		}
	}
	if n.party != nil {
		if err := n.party.describe(ctx, o, shapes); err != nil {
			n.closeBackup(ctx, o)
			return nil, err
		}
	}
	slices.SortFunc(o.Parts, func(a, b FrozenPart) int { return a.Group - b.Group })
	return o, nil
}

// closeBackup lets go of what was frozen before something failed. What it cannot tell goes by itself.
func (n *Node) closeBackup(ctx context.Context, o *Opening) {
	for _, p := range o.Parts {
		_ = n.frozenAt(ctx, p.Node, &freezing{Action: "close", Handle: p.Handle}, nil)
	}
}

// shapes returns the shapes of the placements, when no shard is being split.
func shapes(list []*cluster.Placement) (map[string]uint64, error) {
	all := map[string]uint64{}
	for _, place := range list {
		if place.Split.Open() { // a slot that goes over just now would be in both, or in none
			return nil, &wire.Error{Slug: wire.Unavailable, Message: fmt.Sprintf("shard %d is being split: take the backup when that is over", place.Split.From)}
		}
		all[place.Name] = place.Shape
	}
	return all, nil
}

// placed are the placements of a report.
func placed(r *member.Report) (list []*cluster.Placement) {
	for i := range r.Places {
		list = append(list, &r.Places[i].Placement)
	}
	return list
}

// describe adds the cluster's rows to a backup whose shards are frozen. It refuses when a shard was split meanwhile, and when this node has not heard yet
// of one that was split before: a shard is not opened by an older shape than it has noted.
func (p *party) describe(ctx context.Context, o *Opening, before map[string]uint64) error {
	r, err := p.member.Load().Status(ctx)
	if err != nil {
		return &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
	}
	after, err := shapes(placed(r))
	if err != nil {
		return err
	}
	if o.Cluster, err = clusterRows(p.n.j); err != nil {
		return &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
	}
	tenants, err := tenantRows(p.n.j)
	if err != nil {
		return &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
	}
	o.Tenants = writeTenants(tenants)
	s, err := stateOf(o.Cluster)
	if err != nil {
		return &wire.Error{Slug: wire.Internal, Message: err.Error()}
	}
	known, err := shapes(slices.Collect(maps.Values(s.Placements)))
	if err != nil {
		return err
	}
	if r.Stale || !maps.Equal(before, after) || !maps.Equal(after, known) {
		return &wire.Error{Slug: wire.Unavailable, Message: "the cluster's placements change just now: try again"}
	}
	return nil
}

// openBackup says who leads which shard, and what else a backup has of a cluster. It returns the shapes of the placements.
func (p *party) openBackup(ctx context.Context, o *Opening, asked map[uint32][]int) (map[string]uint64, error) {
	m := p.member.Load()
	if m == nil {
		return nil, errStarting
	}
	r, err := m.Status(ctx)
	if err != nil {
		return nil, &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
	}
	before, err := shapes(placed(r))
	if err != nil {
		return nil, err
	}
	o.From = fmt.Sprintf("cluster %s, asked at node %s", r.Cluster, p.n.cfg.Name)
	for i := range r.Shards {
		s := &r.Shards[i]
		switch {
		case s.Leader == 0:
			return nil, &wire.Error{Slug: wire.Unavailable, Message: fmt.Sprintf("nobody is known to lead shard %d just now: try again", s.ID)}
		case int(s.ID) != i: // numbers are given once, and none was taken back so far
			return nil, &wire.Error{Slug: wire.Internal, Message: fmt.Sprintf("the cluster has shard %d where shard %d should be", s.ID, i)}
		}
		asked[s.Leader] = append(asked[s.Leader], i)
	}
	if len(r.Shards) == 0 {
		return nil, &wire.Error{Slug: wire.Unavailable, Message: "the cluster's map is not known yet: try again"}
	}
	p.mu.Lock()
	for i := range r.Nodes {
		p.addrs[r.Nodes[i].ID] = r.Nodes[i].Addr
	}
	p.mu.Unlock()
	o.Keys = p.rows.get(keysRow)
	return before, nil
}

// askNode asks another node for what it has frozen.
func (p *party) askNode(ctx context.Context, node uint32, q *freezing, out any) error {
	p.mu.Lock()
	addr := p.addrs[node]
	p.mu.Unlock()
	m := p.member.Load()
	if m == nil {
		return errStarting
	}
	if addr == "" { // another node was asked to begin
		r, err := m.Status(ctx)
		if err != nil {
			return &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
		}
		p.mu.Lock()
		for i := range r.Nodes {
			p.addrs[r.Nodes[i].ID] = r.Nodes[i].Addr
		}
		addr = p.addrs[node]
		p.mu.Unlock()
	}
	if addr == "" {
		return &wire.Error{Slug: wire.BadRequest, Message: fmt.Sprintf("there is no node %d", node)}
	}
	err := p.lines.Ask(ctx, addr, backupOp, q, out)
	if errors.Is(err, cluster.ErrRefused) {
		return &wire.Error{Slug: wire.PositionGone, Message: strings.TrimPrefix(err.Error(), cluster.ErrRefused.Error()+": ")}
	}
	if err != nil {
		return &wire.Error{Slug: wire.Unavailable, Message: fmt.Sprintf("node %d: %v", node, err)}
	}
	return nil
}

// asked answers another node, or whoever has a certificate of the cluster's authority. It is member.Config.Asked.
func (p *party) asked(ctx context.Context, by, op string, body []byte) (any, error) {
	switch {
	case op == KeysOp:
		return p.askedKeys(ctx, by, body)
	case op == TenantsOp && p.n.cfg.linkVersion == 0: // which versions before do not know
		return p.askedTenants(ctx, by, body)
	case op == scrubOp:
		return p.askedToScrub(body)
	}
	if op != backupOp {
		return nil, fmt.Errorf("%w: %q is nothing that a node does", cluster.ErrRefused, op)
	}
	var q freezing
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("%w: a question that cannot be understood: %w", cluster.ErrRefused, err)
	}
	v, err := p.n.frozen.do(ctx, &q)
	var e *wire.Error
	if errors.As(err, &e) && (e.Slug == wire.PositionGone || e.Slug == wire.BadRequest) { // asking again does not help
		return nil, fmt.Errorf("%w: %s", cluster.ErrRefused, e.Message)
	}
	return v, err
}
