package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"switchboard/cluster"
	"switchboard/shard/journal/replica"
)

// Damage is what is wrong with a replica on this node's disk.
type Damage struct {
	ID  uint64 // of the replica
	Why string
}

// damage is the same, as members tell it each other.
type damage struct {
	Group uint16 `json:"group"`
	ID    uint64 `json:"id"`
	Why   string `json:"why"`
}

// renewal tells a node that a damaged replica of its is given up: in the meta group for which one, in a shard's so that it is erased. The rows say
// so, too; but who has lost his replica of these cannot read them, and a damaged table may have to go with the rows of all groups in it.
type renewal struct {
	Group uint16 `json:"group"`
	Old   uint64 `json:"old"`
	New   uint64 `json:"new"`
}

// damagesMost bounds what is said at once: a message is smaller than a link takes.
const damagesMost = 4096

// hurt looks at what is damaged here, and returns what others shall know of it.
func (m *Member) hurt() (list []damage) {
	now := m.groups.Damaged()
	for group, d := range now {
		if m.damaged[group] != d {
			m.cfg.Log.Error("member: a replica is damaged and takes no part; it is replaced when its group has a whole majority without it",
				"group", group, "replica", d.ID, "why", d.Why)
		}
	}
	m.damaged = now
	for _, group := range slices.Sorted(maps.Keys(now)) {
		list = append(list, damage{group, now[group].ID, now[group].Why})
	}
	for _, group := range slices.Sorted(maps.Keys(m.retired)) {
		list = append(list, m.retired[group])
	}
	m.ill[m.id.Node] = list[:min(len(list), damagesMost)]
	return m.ill[m.id.Node]
}

// damageOf says what its node has said of a replica, or "".
func (m *Member) damageOf(group uint16, id uint64) string {
	for _, d := range m.ill[replica.NodeOf(id)] {
		if d.Group == group && d.ID == id {
			return d.Why
		}
	}
	if m.state.Forgotten(id) {
		return "the disk that it was on is lost"
	}
	return ""
}

// seeFor is how old a view may be by which a replica is given up. It must have been known as damaged for steadyFor by then: a leader that has
// just lost its majority steps down within that, and is not believed.
const (
	seeFor    = 2 * time.Second
	steadyFor = 4 * time.Second
)

// steady tells whether a replica, or a node's whole disk under its node's number, has been known as lost for long enough. It must be asked
// for again and again: what is not asked for in between begins anew.
func (m *Member) steady(id uint64, now time.Time) bool {
	w := m.wounds[id]
	if w.first.IsZero() || now.Sub(w.last) > steadyFor {
		w.first = now
	}
	w.last = now
	m.wounds[id] = w
	maps.DeleteFunc(m.wounds, func(_ uint64, w wound) bool { return now.Sub(w.last) > steadyFor })
	return now.Sub(w.first) >= steadyFor
}

// wound is since when, and until when, something was known as lost.
type wound struct{ first, last time.Time }

// renew begins to replace replicas that are damaged, on nodes that are there. It is the leader's.
func (m *Member) renew(now time.Time) {
	for _, node := range slices.Sorted(maps.Keys(m.ill)) {
		for _, d := range m.ill[node] {
			if replica.NodeOf(d.ID) != node || !m.here(node) {
				continue
			}
			if d.Group == cluster.Meta {
				if v := m.see(cluster.Meta); len(v) == 1 && m.steady(d.ID, now) {
					m.tell(d.Group, node, m.state.RenewMeta(node, d.ID, &v[0].Seen))
				}
				continue
			}
			m.replace(d.Group, d.ID, d.Why, now)
		}
	}
	for _, shard := range slices.Sorted(maps.Keys(m.state.Shards)) {
		for _, r := range m.state.Shards[shard].Replicas {
			if m.state.Forgotten(r.ID) && m.here(r.Node) {
				m.replace(shard, r.ID, m.damageOf(shard, r.ID), now)
			}
		}
	}
}

// replace asks the State to renew a replica, if what is seen is fresh.
func (m *Member) replace(shard uint16, id uint64, why string, now time.Time) {
	if !m.state.Belonged(shard, id) || !m.steady(id, now) {
		return
	}
	s := m.views[shard]
	if s == nil || now.Sub(s.at) > seeFor {
		return
	}
	j, err := m.state.Renew(shard, id, &s.Seen, why)
	if err == nil {
		m.cfg.Log.Warn("member: a damaged replica is replaced", "group", shard, "replica", id, "by", j.New, "why", why)
	}
	m.tell(shard, replica.NodeOf(id), err)
}

// tell says why a replica is not replaced yet.
func (m *Member) tell(group uint16, node uint32, err error) {
	if err != nil {
		m.cfg.Log.Debug("member: a damaged replica is not replaced yet", "group", group, "node", node, "error", err)
	}
}

// correct tells a node that its replica of the meta group is another one, when it has said that it has an earlier one.
func (m *Member) correct(node uint32, has uint64) {
	n := m.state.Nodes[node]
	if n == nil || n.Phase == cluster.Gone || has == 0 || has >= n.Meta {
		return
	}
	m.say(node, &message{Kind: sayRenew, Term: m.term, Renew: &renewal{cluster.Meta, has, n.Meta}})
}

// giveUp tells a node which of the replicas that it has called damaged are being replaced.
func (m *Member) giveUp(node uint32, list []damage) {
	jobs := m.jobs()
	for _, d := range list {
		if j := jobs[d.Group]; j != nil && j.Renews() && j.To == node && j.Old == d.ID {
			m.say(node, &message{Kind: sayRenew, Term: m.term, Renew: &renewal{d.Group, j.Old, j.New}})
		}
	}
}

// renewed hears that a damaged replica is given up.
func (m *Member) renewed(msg *message) {
	r := msg.Renew
	switch {
	case r == nil || msg.Term < m.metaTop:
	case r.Group == cluster.Meta:
		m.renewMeta(r)
	case m.damaged[r.Group].ID == r.Old && m.id.Held[r.Group].ID == r.Old:
		if err := m.erase(r.Group, r.Old); err != nil {
			m.cfg.Log.Error("member: erasing a damaged replica", "group", r.Group, "replica", r.Old, "error", err)
		}
	}
}

// renewMeta takes up another replica of the meta group. The rows of the one before are erased; what was known of them counts until
// the snapshot is here. A crash in the middle is noted: the next start goes on.
func (m *Member) renewMeta(r *renewal) {
	if r.Old != m.id.Meta || replica.NodeOf(r.New) != m.id.Node || r.New <= r.Old {
		return
	}
	m.cfg.Log.Warn("member: this node's replica of the cluster's rows is replaced", "replica", r.Old, "by", r.New)
	err := m.renewOwn(r.Old, r.New)
	if err != nil {
		m.cfg.Log.Error("member: replacing a replica of the cluster's rows", "error", err)
	}
}

func (m *Member) renewOwn(old, id uint64) error {
	m.id.Meta = id
	h := m.id.Held[cluster.Meta]
	h.ID, h.Erasing = old, true
	m.id.Held[cluster.Meta] = h
	m.loaded = nil
	if err := m.erase(cluster.Meta, old); err != nil { // which saves first
		return err
	}
	delete(m.damaged, cluster.Meta)
	return m.takeUp(cluster.Share{Group: cluster.Meta, ID: id})
}

// finish takes up the replica of the meta group that a failure left out.
func (m *Member) finish() error {
	h, held := m.id.Held[cluster.Meta]
	if held && h.Erasing {
		if err := m.erase(cluster.Meta, h.ID); err != nil {
			return err
		}
		held = false
	}
	if held {
		return nil
	}
	delete(m.damaged, cluster.Meta)
	return m.takeUp(cluster.Share{Group: cluster.Meta, ID: m.id.Meta})
}

// renewing is what a node says that has lost its disk.
type renewing struct {
	entering
	By string `json:"by"` // a random number of the request
}

// renewNode lets a node come back that has lost its disk, or has an old copy of it: with new replicas.
func (m *Member) renewNode(body []byte) (any, error) {
	var n renewing
	if err := json.Unmarshal(body, &n); err != nil || n.By == "" {
		return nil, fmt.Errorf("%w: a request that cannot be read: %w", cluster.ErrRefused, err)
	}
	was := m.state.Nodes[n.ID]
	switch {
	case was == nil || was.Phase == cluster.Gone || was.Birth != n.Birth:
		return nil, fmt.Errorf("%w: node %s (number %d) was removed from the cluster: to take part again it needs an empty data directory", cluster.ErrRefused, n.Name, n.ID)
	case m.id.Node == n.ID:
		return nil, fmt.Errorf("%w: node %s leads the cluster, so its disk is not lost", cluster.ErrRefused, n.Name)
	case m.alive(n.ID) && !slices.Contains(n.Starts, was.Start):
		return nil, fmt.Errorf("%w: the directory of node %s is %w, and a node of that name is connected: is it running elsewhere?", cluster.ErrRefused, n.Name, cluster.ErrOldCopy)
	}
	now := time.Now()
	if was.Renewed != n.By && !m.steady(uint64(n.ID), now) {
		return nil, fmt.Errorf("%w: whether the others have all without node %s is being looked at", cluster.ErrRefused, n.Name)
	}
	seen := map[uint16]*cluster.Seen{}
	for shard, s := range m.views {
		if now.Sub(s.at) <= seeFor {
			seen[shard] = &s.Seen
		}
	}
	meta, err := m.state.RenewNode(n.ID, n.By, n.Starts, seen)
	if err != nil {
		return nil, err
	}
	m.cfg.Log.Warn("member: a node begins anew, as its disk is lost or an old copy", "node", n.Name, "replica", meta)
	m.state.Describe(n.ID, n.Node)
	e := entry{Cluster: m.id.Cluster, Node: n.ID, Meta: meta, Peers: peersOf(m.state, n.ID)}
	if k := m.lines.to(n.ID); k != nil {
		e.Born = k.Status().Born + bornLeap
	}
	return e, nil
}

// bornLeap is more starts than others can have met of a node that its leader has not.
const bornLeap = 1 << 10

// Renew asks the cluster to let this node begin anew: what its disk has is lost, or old. Nil says that it may, and that this is noted in
// node.json: the journal is to be put aside ([Identity.PutAside]) before another is opened. It asks until a member lets it, or ctx ends;
// cluster.ErrRefused says that nobody could, and why: as long as no majority is whole without this node an operator must say what is to
// be given up. It is for a node whose [Member] is not open.
func (id *Identity) Renew(ctx context.Context, cfg Config, why string) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	at := id.addresses(&cfg)
	if len(at) == 0 {
		return fmt.Errorf("%w: %s, and this node knows no other from whom it could have it", cluster.ErrRefused, why)
	}
	self := renewing{entering{cfg.self(id.Birth), id.Starts}, draw()}
	self.ID = id.Node
	cfg.Log.Error("member: this node asks to begin anew", "why", why)
	var got *entry
	for got == nil {
		got, err = ask(ctx, &cfg, at, opRenew, self)
		if got != nil {
			break
		}
		cfg.Log.Warn("member: this node may not begin anew yet", "why", why, "error", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s, and this node may not begin anew: %w", why, err)
		case <-time.After(askAgainAfter):
		}
	}
	if got.Cluster != id.Cluster || got.Node != id.Node {
		return fmt.Errorf("%w: asked to begin anew, %v let in node %d of cluster %s", cluster.ErrRefused, at, got.Node, got.Cluster)
	}
	id.heard()
	id.know(got.Peers)
	id.Born = max(id.Born, got.Born)
	id.Meta, id.Held, id.Founder, id.Aside = got.Meta, map[uint16]Held{}, false, why
	return id.save()
}

// PutAside lets move put the journal aside if that was decided, in this start or one before, and then notes that it was done. Move is
// called again when there was a crash in between.
func (id *Identity) PutAside(move func(why string) error) error {
	if id.Aside == "" {
		return nil
	}
	if err := move(id.Aside); err != nil {
		return fmt.Errorf("putting a lost journal aside: %w", err)
	}
	id.Aside, id.Opened, id.Tried = "", "", nil
	return id.save()
}

// Stamp compares what the journal says of its last start with what this node knows. It returns what the journal shall say from now on,
// and why it is another copy than node.json, or may be one, or "". A journal without a stamp is new, or of a version without them.
func (id *Identity) Stamp(journal string) (now, why string) {
	now = id.Starts[len(id.Starts)-1]
	switch {
	case id.Opened == "" || journal == id.Opened || slices.Contains(id.Tried, journal):
		return now, ""
	case journal == "":
		return now, "the journal is gone, or its file START is, or that is empty"
	case !wholeStart(journal):
		return now, "the journal's file START is damaged, so it may be an old copy"
	}
	return now, "the journal is an old copy of itself, or node.json is"
}

// Stamped notes that the journal has the stamp.
func (id *Identity) Stamped(stamp string) error {
	if id.Opened == stamp {
		return nil
	}
	id.Opened, id.Tried = stamp, nil
	return id.save()
}

// Lonely tells whether this node knows no other that could help it.
func (id *Identity) Lonely(cfg *Config) bool { return len(id.addresses(cfg)) == 0 }

// addresses are where others may be: those that are configured, and those that were known.
func (id *Identity) addresses(cfg *Config) []string {
	at := slices.Clone(cfg.Join)
	for _, p := range id.Peers {
		if !slices.Contains(at, p.Addr) {
			at = append(at, p.Addr)
		}
	}
	return at
}

// oldCopy goes on when a member has said that this directory is an old copy of itself.
func (id *Identity) oldCopy(cfg *Config, refused error) error {
	ctx, cancel := context.WithTimeout(context.Background(), renewFor)
	defer cancel()
	if err := id.Renew(ctx, *cfg, "the data directory is an old copy of itself"); err != nil {
		return errors.Join(refused, err)
	}
	return nil
}

// renewFor is how long an old copy asks to be let in anew: longer than a link needs to notice that its other end is gone, and a leader to look
// at all shards.
const renewFor = 15 * time.Second
