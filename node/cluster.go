package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/edge/token"
	"switchboard/exchange"
	"switchboard/shard/journal"
	"switchboard/shard/journal/replica"
	"switchboard/wire"
)

// Cluster is how a node is a member of one. A node without Listen is none; it becomes one when it is started with it, and keeps
// all that it has.
type Cluster struct {
	// Listen is host:port at which other nodes reach this one.
	Listen string `yaml:"listen"`
	// Advertise is what others are told to dial; default Listen.
	Advertise string `yaml:"advertise"`
	// Join are addresses of members, of which one must answer when the node is new. Without, a new node founds a cluster.
	Join []string `yaml:"join"`
	// TLS is a directory with ca.crt, NAME.crt and NAME.key, as `switchboard cluster certs` makes them. Without, nodes talk in
	// the clear, which is refused beyond loopback unless Plain says so.
	TLS   string `yaml:"tls"`
	Plain bool   `yaml:"plain"`
	// URL is where clients reach this node when another one that is drained sends them away, as wss://n1.example/v1/connect. Without, they
	// are told to come back and go through what spreads them. With Dev the default is the address of Listen.
	URL string `yaml:"url"`
	// Roles are edge and shard; default both. A node without edge serves no clients, and no client is sent to it: whatever URL says; one without
	// shard has no copies.
	Roles []string `yaml:"roles"`
	// Zone and Labels say where the node is; Weight what it can take beside others, default 100.
	Zone   string            `yaml:"zone"`
	Labels map[string]string `yaml:"labels"`
	Weight int               `yaml:"weight"`
	// Copies is how many replicas a shard of a new cluster shall have; default 3. They come as nodes come.
	Copies int `yaml:"copies"`
	// Operators are the tenants whose operators may look after the cluster over HTTP [SW-7.5]; default none, with Dev the tenant demo.
	// Whoever has a key of such a tenant may take nodes away.
	Operators []string `yaml:"operators"`
	// ReplaceAfterMS is how long a node may be away before others take over its replicas; default 0: when an operator says so.
	ReplaceAfterMS int64 `yaml:"replace_after_ms"`
	// SplitKeepMS is for how long the rows stay on the disks of a shard of slots that a split has moved away: feeds that were away may ask for
	// them. Default 24 h; below zero until an operator has them taken off. What the node says that leads the cluster counts.
	SplitKeepMS int64 `yaml:"split_keep_ms"`
	// SnapshotRate is how many bytes a second this node sends at most to bring replicas of others up to what it has, all of them together; default
	// 32 MiB, at least 64 KiB. A shard that writes as much as that never gets its copy.
	SnapshotRate int `yaml:"snapshot_rate"`
}

func (c *Cluster) validate() error {
	if err := notNegative(amount{"cluster.copies", int64(c.Copies)}, amount{"cluster.weight", int64(c.Weight)}, amount{"cluster.replace_after_ms", c.ReplaceAfterMS}); err != nil {
		return err
	}
	if c.Copies != 0 && !cluster.CopiesAllowed(c.Copies) {
		return fmt.Errorf("cluster.copies is %d: it must be 1, 3, 5 or 7, as a majority decides", c.Copies)
	}
	if c.Weight > cluster.WeightMax {
		return fmt.Errorf("cluster.weight is %d: it must be 1 to %d, 100 is usual", c.Weight, cluster.WeightMax)
	}
	if c.Listen == "" {
		if len(c.Join) > 0 || c.TLS != "" || c.Advertise != "" || len(c.Roles) > 0 {
			return errors.New("cluster.join, cluster.tls, cluster.advertise and cluster.roles are for a member of a cluster: set cluster.listen to host:port, too")
		}
		return nil
	}
	for _, r := range c.Roles {
		if r != "edge" && r != "shard" {
			return fmt.Errorf("cluster.roles has %q: roles are edge and shard", r)
		}
	}
	if u := c.URL; u != "" && !strings.HasPrefix(u, "ws://") && !strings.HasPrefix(u, "wss://") {
		return fmt.Errorf("cluster.url is %q: it must be ws://… or wss://…/v1/connect", u)
	}
	addrs := append([]string{c.Listen}, c.Join...)
	if c.Advertise != "" {
		addrs = append(addrs, c.Advertise)
	}
	for _, a := range addrs {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("%q is no host:port of a cluster: %w", a, err)
		}
	}
	if host, _, _ := net.SplitHostPort(c.Listen); c.TLS == "" && !c.Plain && host != "localhost" {
		if ip := net.ParseIP(host); host == "" || ip != nil && !ip.IsLoopback() {
			return fmt.Errorf("cluster.listen is %q, which others reach: set cluster.tls (switchboard cluster certs makes the files), or cluster.plain when whoever reaches it may be believed", c.Listen)
		}
	}
	if c.SnapshotRate != 0 && c.SnapshotRate < snapshotRateMin {
		return fmt.Errorf("cluster.snapshot_rate is %d: it must be %d bytes a second or more, or 0 for the default", c.SnapshotRate, snapshotRateMin)
	}
	return nil
}

// edge tells whether the node serves clients.
func (c *Cluster) edge() bool { return len(c.Roles) == 0 || slices.Contains(c.Roles, "edge") }

// snapshotRateMin is what a node must send at least: with less, who takes one of several snapshots would hear nothing for so long that it gave up.
const snapshotRateMin = 64 << 10

// party is the node's part in its cluster.
type party struct {
	n     *Node
	lines *member.Lines
	rows  *metaRows
	keep  *keeper
	self  uint32 // the node's number
	// Owned by the keeper: what an earlier repair has put aside is gone; the cluster's keys of tokens that the node goes by.
	tidied   bool
	keysSeen []byte
	// Fixed after enter: others that were known then; until when the certificate that others are shown is good, zero without one.
	peers     []member.Peer
	certUntil time.Time

	brought map[string]string // tenants of a node that was alone before, and the placements that they wish; by shareTenants

	rowsNew atomic.Bool // the rows of the meta group may be others than takeTenants has seen

	// Set while the node starts: what comes before is dropped, and said again.
	journal atomic.Pointer[journal.Journal]
	member  atomic.Pointer[member.Member]

	mu sync.Mutex
	// Guarded by mu.
	addrs map[uint32]string // of the links of nodes that a backup was opened at
}

// enter makes the node known to its cluster, and opens its links. It comes before the journal.
func (n *Node) enter(ctx context.Context, x *exchange.Exchange) (id *member.Identity, cfg member.Config, err error) {
	c := &n.cfg.Cluster
	ln, err := n.cfg.Network.Listen(c.Listen)
	if err != nil {
		return nil, cfg, fmt.Errorf("listening for the cluster: %w", err)
	}
	p := &party{n: n, addrs: map[uint32]string{}}
	addr := c.Advertise
	if addr == "" {
		addr = ln.Addr().String()
	}
	cfg = member.Config{
		Dir: n.cfg.Data, Name: n.cfg.Name, Addr: addr, URL: c.URL, Join: c.Join, Zone: c.Zone, Labels: c.Labels, Weight: c.Weight, Plain: c.Plain,
		Roles:  cluster.Roles{Edge: slices.Contains(c.Roles, "edge"), Shard: slices.Contains(c.Roles, "shard")},
		Shards: n.cfg.Shards, Copies: c.Copies, ReplaceAfter: time.Duration(c.ReplaceAfterMS) * time.Millisecond,
		SplitKeep:   time.Duration(c.SplitKeepMS) * time.Millisecond,
		LinkVersion: n.cfg.linkVersion, StreamRate: c.SnapshotRate, Stream: p.receive, Mapped: func() { p.keep.nudge() }, Asked: p.asked, Clients: p.clients, Dial: n.cfg.Network.Dial, Log: n.cfg.Log,
	}
	if s, err := readSettings(n.cfg.Data); err != nil {
		return nil, cfg, errors.Join(err, ln.Close())
	} else if s != nil {
		cfg.Found = s.Placements
	}
	if c.TLS != "" {
		if cfg.TLS, err = member.LoadTLS(c.TLS, n.cfg.Name); err != nil {
			return nil, cfg, errors.Join(err, ln.Close())
		}
		p.certUntil = member.Expiry(cfg.TLS)
	}
	if id, err = member.Enter(ctx, cfg); err != nil {
		return nil, cfg, errors.Join(err, ln.Close())
	}
	p.self = id.Node
	if p.lines, err = member.Connect(x, ln, id, cfg); err != nil {
		return nil, cfg, errors.Join(err, ln.Close())
	}
	p.rowsNew.Store(true)
	p.rows, p.keep, p.peers = newMetaRows(p), newKeeper(p), id.Peers
	n.party = p
	return id, cfg, nil
}

// receive takes a snapshot.
func (p *party) receive(_ uint32, header []byte, r io.Reader) error {
	j := p.journal.Load()
	if j == nil {
		return errors.New("the node is starting: try again")
	}
	return j.ReceiveSnapshot(header, r)
}

// tune makes the journal that of a member.
func (p *party) tune(jc *journal.Config, node uint32) {
	jc.Groups, jc.Node = -1, node
	jc.Send = func(node uint32, msg []byte) { _ = p.lines.Send(node, msg) } // what is lost is said again
	jc.Stream = p.lines.Push
	jc.Notify = p.keep.tell
	jc.Applied = func(group int) {
		if group == int(cluster.Meta) {
			p.rowsNew.Store(true)
			p.keep.nudge()
			if m := p.member.Load(); m != nil {
				m.Changed()
			}
		}
	}
}

// open takes part, once the journal is open.
func (p *party) open(cfg member.Config) error {
	p.journal.Store(p.n.j)
	m, err := member.Open(p.lines, groups{p}, p.rows, cfg)
	if err != nil {
		return err
	}
	p.member.Store(m)
	p.keep.start()
	return nil
}

// end ends the node's part. The journal and the links are closed after it.
func (p *party) end() {
	if m := p.member.Load(); m != nil {
		m.Close()
	}
	p.keep.stop()
}

// groups are the journal's groups as the member has them.
type groups struct{ p *party }

func (g groups) Create(group uint16, id uint64, voters []uint64) error {
	return g.p.n.j.Create(int(group), id, voters)
}

func (g groups) Join(group uint16, id uint64) error { return g.p.n.j.Join(int(group), id) }

func (g groups) Remove(group uint16, id uint64) error { return g.p.n.j.Remove(int(group), id) }

func (g groups) Status(list ...uint16) (map[uint16]replica.Status, error) {
	return g.p.n.j.Replicas(list...)
}

// Look implements member.Groups.
func (g groups) Look(list []uint16, then func(map[uint16]replica.Status)) {
	g.p.n.j.Look(list, then)
}

func (g groups) Change(group uint16, cc *pb.ConfChangeV2) error {
	return g.p.n.j.Change(int(group), cc)
}

// Damaged implements member.Groups.
func (g groups) Damaged() map[uint16]member.Damage {
	list := map[uint16]member.Damage{}
	for _, d := range g.p.n.j.Damaged() {
		list[uint16(d.Group)] = member.Damage{ID: d.ID, Why: d.Reason} //nolint:gosec // a group's number
	}
	return list
}

// Full implements member.Groups.
func (g groups) Full() bool { return g.p.n.j.Full() }

func (g groups) Size(group uint16) uint64 { return g.p.n.j.Size(int(group)) }

func (g groups) Sessions(group uint16) int64 {
	if group >= cluster.Meta { // which is no shard
		return 0
	}
	if s := g.p.n.hosts.open[group].Load(); s != nil {
		return s.Stats().Sessions
	}
	return 0
}

func (g groups) Owner(group uint16) uint64 {
	if group >= cluster.Meta { // which is no shard
		return 0
	}
	if s := g.p.n.hosts.open[group].Load(); s != nil {
		return s.Term()
	}
	return 0
}

func (g groups) Standing(group uint16) (shape, left, cleaned uint64) {
	if group >= cluster.Meta { // which is no shard
		return 0, 0, 0
	}
	if s := g.p.n.hosts.open[group].Load(); s != nil {
		st := s.Standing()
		return st.Shape, st.Left, st.Cleaned
	}
	return 0, 0, 0
}

// Transfer lets the owner end first, in good order, so that nothing in flight becomes unknown. It does not wait for that.
func (g groups) Transfer(group uint16, to uint64) error { return g.p.keep.ask(group, to) }

func (g groups) Gone(node uint32) { g.p.n.j.Gone(node) }

func (g groups) Step(from string, msg []byte) {
	if err := g.p.n.j.Receive(msg); err != nil {
		g.p.n.cfg.Log.Error("a message of another node makes no sense", "node", from, "err", err)
	}
}

// keysRow is the row of the meta group with the keys of tokens: every node checks by the same ones.
const keysRow = nodePrefix + "keys"

// shareKeys makes the keys of tokens the cluster's: the first node tells its own, the others take them.
func (p *party) shareKeys(ctx context.Context) error {
	// What cannot be read here the cluster knows.
	mine, here := readKeys(p.n.cfg.Data)
	if errors.Is(here, fs.ErrNotExist) {
		here = nil // it is new
	} else if here == nil {
		shared := p.rows.get(keysRow)
		if shared == nil && p.lonely() || bytes.Equal(shared, mine) {
			p.rows.want(keysRow, mine)
			return nil
		}
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if shared := p.rows.get(keysRow); shared != nil {
			if _, err := token.Parse(shared); err != nil {
				return fmt.Errorf("the cluster's keys of tokens cannot be read: %w", err)
			}
			if here != nil {
				p.n.cfg.Log.Warn("keys.json takes what the cluster knows, as what was in it cannot be read", "err", here)
			}
			return writeKeys(p.n.cfg.Data, shared)
		}
		select {
		case <-ctx.Done():
			err := fmt.Errorf("the cluster has not told its keys of tokens: is a majority of its nodes up? %w", context.Cause(ctx))
			return errors.Join(err, here)
		case <-tick.C:
		}
	}
}

// lonely tells whether nobody else could say what the cluster's rows are.
func (p *party) lonely() bool { return len(p.peers) == 0 }

// ready says why the node cannot serve what it should, or nil: the main placement, and those that are held here. A region that is away
// does not make the others' nodes useless.
func (p *party) ready() error {
	m := p.places()
	if m == nil {
		return errors.New("the cluster's map is not known yet")
	}
	for _, place := range m.Placements {
		if place.Name != cluster.Main && !m.Holds[place.Name] {
			continue
		}
		for _, shard := range place.Shards {
			if p.n.hosts.x.Generation(wire.ShardSlot(int(shard))) == 0 {
				return fmt.Errorf("nobody is known to lead shard %d", shard)
			}
		}
	}
	return nil
}

// settle waits until the node can serve every session, and no longer than settlePatience: then it serves those it can.
func (p *party) settle() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(settlePatience); time.Now().Before(end); <-tick.C {
		if p.ready() == nil {
			return
		}
	}
	p.n.cfg.Log.Warn("not all shards have a leader; serving what there is", "err", p.ready())
}

const settlePatience = 10 * time.Second
