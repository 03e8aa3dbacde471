package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"switchboard/broker/routes"
	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/edge"
	"switchboard/shard"
	"switchboard/wire"
)

// TenantsOp is what a node is asked for by who makes tenants, see member.Operations.Node.
const TenantsOp = "tenants"

// TenantsAsked is a question about tenants [SW-7.12].
type TenantsAsked struct {
	// Action is create, or begin, which is create of one whom nothing is said of, and content with whom there is; empty reads. has asks whether this node serves him.
	Action string `json:"action,omitempty"`
	Tenant string `json:"tenant,omitempty"`
	TenantSettings

	// By is who asks, as a node that passes it on says.
	By string `json:"by,omitempty"`
	// Passed is true when a node has passed it on: whoever gets it leads, or does not know who does.
	Passed bool `json:"passed,omitempty"`
}

// TenantLine is a tenant that a node serves.
type TenantLine struct {
	Tenant string `json:"tenant"`
	// Home is the placement that he lives in, empty on a node that is no member of a cluster.
	Home string `json:"home,omitempty"`
	// File is true when he is in the configuration of the node that was asked.
	File bool `json:"file"`
	// Made says how he was made while nodes ran, nil when he was not.
	Made *TenantMade `json:"made,omitempty"`
}

// TenantsAnswer is what there is afterwards.
type TenantsAnswer struct {
	Changed bool         `json:"changed"`
	Tenants []TenantLine `json:"tenants"`
	// Missing are nodes that were not reached, and serve him when they are.
	Missing []string `json:"missing,omitempty"`
	// Has answers a node.
	Has bool `json:"has,omitempty"`
}

const (
	// everywhereFor is how long the making of a tenant waits for the other nodes, once it is decided.
	everywhereFor = 3 * time.Second
	// hasFor is how long one of them may take to answer.
	hasFor = time.Second
)

// tenantsOver does what an operator asks over HTTP, behind /v1/admin/cluster/tenants [SW-7.12].
func (n *Node) tenantsOver(ctx context.Context, by, path string, body []byte) (any, error) {
	what, tenant, _ := strings.Cut(path, "/")
	if what != TenantsOp {
		return nil, edge.ErrNoOperation
	}
	var said struct {
		Action string `json:"action"`
		TenantSettings
	}
	if body != nil {
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields() // what is misspelt would be another setting for good
		err := d.Decode(&said)
		if _, end := d.Token(); err != nil || !errors.Is(end, io.EOF) || said.Action != "create" || tenant == "" {
			return nil, &wire.Error{Slug: wire.BadRequest, Message: `a tenant is made by {"action":"create",…}, with the settings that he can have`}
		}
	}
	a, err := n.makeTenant(ctx, &TenantsAsked{Action: said.Action, Tenant: tenant, TenantSettings: said.TenantSettings, By: by})
	if err != nil {
		return nil, refusedTenant(err)
	}
	return a, nil
}

func refusedTenant(err error) *wire.Error {
	if errors.Is(err, cluster.ErrRefused) {
		return &wire.Error{Slug: wire.BadRequest, Message: strings.TrimPrefix(err.Error(), cluster.ErrRefused.Error()+": ")}
	}
	return &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
}

// begin makes a tenant whose operator applies his first document. It is edge.Config.Begin.
func (n *Node) begin(ctx context.Context, who *wire.Principal, document []byte, dry bool) ([]byte, error) {
	s := TenantSettings{}
	answer, err := s.tenant(n.cfg.Limits.Body).routed.Preview(who.Tenant, document)
	if err != nil || dry {
		return answer, err
	}
	if _, err := n.makeTenant(ctx, &TenantsAsked{Action: "begin", Tenant: who.Tenant, By: who.Tenant + "/" + who.Sub}); err != nil {
		return nil, refusedTenant(err)
	}
	return nil, nil
}

// makeTenant makes a tenant, wherever that is decided, and returns who is there then. cluster.ErrRefused says that he was not made, other errors that it is
// not known. When it returns nil the nodes serve him, but for those that it names.
func (n *Node) makeTenant(ctx context.Context, q *TenantsAsked) (*TenantsAnswer, error) {
	switch {
	case q.Action == "":
		return n.tenantsNow(q.Tenant, false), nil
	case q.Action == "has":
		return &TenantsAnswer{Has: n.has(q.Tenant)}, nil
	case n.party == nil:
		return n.makeOwnTenant(q)
	}
	ctx, cancel := context.WithTimeout(ctx, leadFor)
	defer cancel()
	a, err := decided(ctx, q.Passed, func() (*TenantsAnswer, error) { return n.party.makeTenant(ctx, q) })
	if err == nil && !q.Passed {
		a.Missing = n.party.everywhere(ctx, q.Tenant)
		a.Tenants = n.tenantsNow(q.Tenant, false).Tenants
	}
	return a, err
}

// tenantsNow says whom the node serves; of one, or with no name of all.
func (n *Node) tenantsNow(tenant string, changed bool) *TenantsAnswer {
	t := n.tenantry.Load()
	a := &TenantsAnswer{Changed: changed, Tenants: []TenantLine{}}
	var m *member.Map
	if n.party != nil {
		m = n.party.places()
	}
	for _, name := range slices.Sorted(maps.Keys(t.all)) {
		if tenant != "" && tenant != name {
			continue
		}
		_, file := n.cfg.Tenants[name]
		l := TenantLine{Tenant: name, File: file, Made: t.made[name]}
		if m != nil {
			if home := m.Home(name); home != nil {
				l.Home = home.Name
			}
		}
		a.Tenants = append(a.Tenants, l)
	}
	return a
}

// row returns the row of the tenant that q wants, nil when he is there as q wants him.
func (q *TenantsAsked) row(t *tenantry, file bool, now time.Time) ([]byte, error) {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{cluster.ErrRefused}, args...)...)
	}
	if q.Action != "create" && q.Action != "begin" {
		return nil, refuse("with tenants one can create one, and nothing else")
	}
	if !wire.ValidID(q.Tenant) {
		return nil, refuse("%q is no tenant: a name is 1 to 64 of A-Z a-z 0-9 _ . : -", q.Tenant)
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	if q.WrapUpMS > routes.WrapUpMost { // one who was made before that was a mistake is served as he was
		return nil, refuse("wrapup_ms is %d: it must be 0 to %d, an hour", q.WrapUpMS, routes.WrapUpMost)
	}
	switch have := t.made[q.Tenant]; {
	case have != nil && (q.Action == "begin" || have.same(q.TenantSettings)):
		return nil, nil
	case have != nil:
		return nil, refuse("tenant %s was made before, by %s, with other settings: they are changed in the configuration of the nodes", q.Tenant, have.By)
	case file:
		return nil, refuse("tenant %s is in the configuration of the node that leads: give all nodes the same one", q.Tenant)
	case len(t.made) >= tenantsMost:
		return nil, refuse("there are %d tenants that were made while nodes ran, and more are not kept: put this one into the configuration", len(t.made))
	}
	return json.Marshal(&TenantMade{now.UnixMilli(), q.By, q.TenantSettings})
}

// makeOwnTenant makes a tenant on a node that is no member of a cluster.
func (n *Node) makeOwnTenant(q *TenantsAsked) (*TenantsAnswer, error) {
	n.keysTurn <- struct{}{}
	defer func() { <-n.keysTurn }()
	if q.Placement != "" && q.Placement != cluster.Main {
		return nil, fmt.Errorf("%w: the placement is %s, and this node is no member of a cluster", cluster.ErrRefused, q.Placement)
	}
	t := n.tenantry.Load()
	_, file := n.cfg.Tenants[q.Tenant]
	row, err := q.row(t, file, n.cfg.Clock())
	if err != nil {
		return nil, err
	}
	if row != nil {
		rows := maps.Clone(t.rows)
		rows[q.Tenant] = row
		next, err := n.cfg.tenantryOf(rows)
		if err != nil {
			return nil, err
		}
		if err := writeDurably(filepath.Join(n.cfg.Data, tenantsFile), writeTenants(rows)); err != nil {
			return nil, fmt.Errorf("writing the tenants: %w", err)
		}
		n.tenantry.Store(next)
		n.auditTenant(q, nil)
	}
	if err := n.hostAll(); err != nil {
		return nil, err
	}
	return n.tenantsNow(q.Tenant, row != nil), nil
}

// hostAll lets every shard of a node that is alone know every tenant, before it takes mail that is sent from now on.
func (n *Node) hostAll() error {
	all, err := n.tenantry.Load().routed(rowsOf(n.hosts.groups), n.newcomers(), n.cfg.Limits.Body)
	if err != nil {
		return err
	}
	n.hosts.each(func(_ int, s *shard.Shard) { s.Host(all) })
	return nil
}

// auditTenant notes who has made whom, or with an error who may have.
func (n *Node) auditTenant(q *TenantsAsked, err error) {
	if err != nil {
		n.cfg.Log.Warn("it is not known whether a tenant is made", "tenant", q.Tenant, "by", q.By, "placement", q.Placement, "err", err)
		return
	}
	n.cfg.Log.Info("a tenant is made", "tenant", q.Tenant, "by", q.By, "placement", q.Placement)
}

// makeTenant lets whoever leads the cluster make a tenant, once.
func (p *party) makeTenant(ctx context.Context, q *TenantsAsked) (*TenantsAnswer, error) {
	var pass *TenantsAsked
	if !q.Passed {
		on := *q
		on.Passed, pass = true, &on
	}
	return lead(ctx, p, TenantsOp, pass, func(term uint64) (*TenantsAnswer, error) { return p.leadTenant(ctx, term, q) })
}

// leadTenant makes a tenant as the leader of the cluster's rows, see lead. First it is decided where he lives, then that he is there: between
// the two he is nobody's yet, and it may be asked for again.
func (p *party) leadTenant(ctx context.Context, term uint64, q *TenantsAsked) (*TenantsAnswer, error) {
	rows, err := tenantRows(p.n.j) // as of this term, or the append is refused
	if err != nil {
		return nil, err
	}
	t, _ := p.n.cfg.tenantryOf(rows)
	_, file := p.n.cfg.Tenants[q.Tenant]
	row, err := q.row(t, file, p.n.cfg.Clock())
	m := p.member.Load()
	if err == nil && row == nil && q.Placement != "" { // where he lives is what somebody has said first
		err = m.Settle(ctx, q.By, map[string]string{q.Tenant: q.Placement})
	}
	if err != nil || row == nil {
		return &TenantsAnswer{}, err
	}
	r, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.understood(ctx, r); err != nil {
		return nil, err
	}
	if err := m.Settle(ctx, q.By, map[string]string{q.Tenant: q.Placement}); err != nil {
		return nil, err
	}
	err = p.rows.put(ctx, term, tenantPrefix+q.Tenant, row)
	p.n.auditTenant(q, err)
	if err != nil {
		return nil, fmt.Errorf("it is not known whether the tenant was made: %w", err)
	}
	p.keep.nudge()
	return &TenantsAnswer{Changed: true}, nil
}

// others returns the nodes that are there, as a report says, but for this one.
func (p *party) others(r *member.Report) (list []*member.NodeReport) {
	for i := range r.Nodes {
		if n := &r.Nodes[i]; n.Up && n.ID != p.self && n.Phase != cluster.Gone {
			list = append(list, n)
		}
	}
	return list
}

// asksHas asks a node whether it serves a tenant. One that hangs holds nobody up: others want to change keys meanwhile.
func (p *party) asksHas(ctx context.Context, n *member.NodeReport, tenant string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, hasFor)
	defer cancel()
	a := &TenantsAnswer{}
	err := p.lines.Ask(ctx, n.Addr, TenantsOp, &TenantsAsked{Action: "has", Tenant: tenant, Passed: true}, a)
	return a.Has, err
}

// understood refuses when a node that is there is of a version that would not serve a tenant whom its configuration does not name.
func (p *party) understood(ctx context.Context, r *member.Report) error {
	for _, n := range p.others(r) {
		_, err := p.asksHas(ctx, n, "")
		if errors.Is(err, cluster.ErrRefused) {
			return fmt.Errorf("%w: node %s is of an earlier version, and would not serve him: make tenants when all nodes are of this one", cluster.ErrRefused, n.Name)
		}
	}
	return nil
}

// everywhere waits until all nodes that are there serve a tenant, and returns those that are not heard to.
func (p *party) everywhere(ctx context.Context, tenant string) (missing []string) {
	ctx, cancel := context.WithTimeout(ctx, everywhereFor)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	r, err := p.member.Load().Status(ctx)
	if err != nil {
		return []string{"all others"}
	}
	left := p.others(r)
	for {
		left = slices.DeleteFunc(left, func(n *member.NodeReport) bool {
			has, err := p.asksHas(ctx, n, tenant)
			return err == nil && has
		})
		if len(left) == 0 && p.n.has(tenant) {
			break
		}
		select {
		case <-ctx.Done():
			if !p.n.has(tenant) {
				missing = append(missing, p.n.cfg.Name)
			}
			for _, n := range left {
				missing = append(missing, n.Name)
			}
			p.n.cfg.Log.Warn("a tenant is made, and not all nodes serve him yet", "tenant", tenant, "missing", missing)
			return missing
		case <-tick.C:
		}
	}
	for i := range r.Nodes { // who is not there hears of him when he is back
		if n := &r.Nodes[i]; !n.Up && n.Phase != cluster.Gone && n.ID != p.self {
			missing = append(missing, n.Name)
		}
	}
	return missing
}

// askedTenants answers another node, or whoever has a certificate of the cluster's authority.
func (p *party) askedTenants(ctx context.Context, by string, body []byte) (any, error) {
	if p.member.Load() == nil {
		return nil, errStarting
	}
	var q TenantsAsked
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("%w: a question about tenants that cannot be understood: %w", cluster.ErrRefused, err)
	}
	if !q.Passed || q.By == "" {
		q.By = by
	}
	return p.n.makeTenant(ctx, &q)
}

// takeTenants makes the node serve the tenants of the cluster's rows, when they are others than before. It belongs to the keeper.
func (p *party) takeTenants() {
	if !p.rowsNew.CompareAndSwap(true, false) {
		return
	}
	rows, err := tenantRows(p.n.j)
	if err != nil {
		p.n.cfg.Log.Error("reading the cluster's tenants; it is tried again", "err", err)
		p.rowsNew.Store(true)
		return
	}
	have := p.n.tenantry.Load()
	if rows == nil || maps.EqualFunc(rows, have.rows, func(a, b []byte) bool { return string(a) == string(b) }) {
		return
	}
	t, bad := p.n.cfg.tenantryOf(rows)
	if bad != nil {
		p.n.cfg.Log.Error("rows of tenants make no sense: they are not served", "err", bad)
	}
	p.n.tenantry.Store(t)
}

// shareTenants makes the tenants that were made on a node that was alone those of the cluster that it founds.
func (p *party) shareTenants() error {
	if !p.lonely() {
		return nil
	}
	rows, err := readTenants(p.n.cfg.Data)
	if err != nil {
		return err
	}
	for name, row := range rows {
		p.rows.want(tenantPrefix+name, row)
	}
	t, bad := p.n.cfg.tenantryOf(rows)
	p.brought = map[string]string{}
	for name, m := range t.made {
		p.brought[name] = m.Placement
	}
	return bad
}
