package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/edge"
	"switchboard/edge/secure"
	"switchboard/edge/token"
	"switchboard/exchange"
	"switchboard/hook"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// Node is a running broker. Its methods may be called from any goroutine.
type Node struct {
	cfg    Config
	keys   atomic.Pointer[token.Keyring]
	j      *journal.Journal
	hosts  hosts
	party  *party // nil for a node that is no member of a cluster
	frozen *freezer
	hooks  *hook.Sender
	scrub  *scrubber
	edge   *edge.Edge
	open   atomic.Pointer[edge.Edge] // edge, for who runs before there is one
	ln     net.Listener
	cert   *secure.Files // nil without TLS
	served chan error
	// Unix seconds of the last backup that was written whole, 0 when there was none since the start.
	backedUp atomic.Int64
	// Who changes the keys of tokens, or makes a tenant, holds the one place in it.
	keysTurn chan struct{}
	tenantry atomic.Pointer[tenantry]
}

// Start is [StartContext] of a start that nobody takes back.
func Start(cfg Config) (*Node, error) { return StartContext(context.Background(), cfg) }

// StartContext opens everything and serves. What it opened is closed again when it fails. A member of a cluster may wait for others, for a minute
// at most; when ctx ends meanwhile it fails, with the cause. When ctx ends later nothing happens.
func StartContext(ctx context.Context, cfg Config) (n *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := refuseHalf(cfg.Data); err != nil {
		return nil, err
	}
	made := &Node{cfg: cfg, served: make(chan error, 1), keysTurn: make(chan struct{}, 1)}
	made.frozen = newFreezer(func() *journal.Journal { return made.j })
	made.scrub = newScrubber(made)
	defer func() {
		if err != nil {
			err = errors.Join(err, made.undo())
		}
	}()
	n = made
	n.tenantry.Store(&tenantry{all: cfg.Tenants})
	n.openHooks()
	x := exchange.New(incarnation())
	if cfg.Cluster.Listen == "" {
		if err := n.openAlone(x); err != nil {
			return nil, err
		}
	} else if err := n.openMember(ctx, x); err != nil {
		return nil, err
	}
	if most := files(); most < 2*journalFiles {
		cfg.Log.Warn("few files may be open: raise the limit (ulimit -n, LimitNOFILE); a quarter of them is for connections", "limit", most)
	}
	registry := prometheus.NewRegistry()
	ec := edge.Config{
		Tokens: tokens{&n.keys}, Node: cfg.Name, Version: cfg.Version, Limits: cfg.Limits, Connections: connections(cfg.Connections),
		PerIP: cfg.PerIP, PerCustomer: cfg.PerCustomer, Suspended: func(tenant string) bool { return n.tenantry.Load().all[tenant].Suspended }, TenantOrigins: n.origins, Loops: cfg.Edge.Loops,
		AckDelay: time.Duration(cfg.Edge.AckDelayMS) * time.Millisecond,
		Origins:  cfg.Origins, TokenInURL: cfg.TokenInURL, Static: cfg.Static, Now: cfg.Clock, Log: cfg.Log,
		Register: registry, Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	}
	if n.cert, ec.TLS, err = cfg.TLS.open(cfg.Log); err != nil {
		return nil, err
	}
	if n.party != nil || len(cfg.Cluster.Operators) > 0 {
		ec.Operate, ec.Operators = n.operate, cfg.Cluster.Operators
	}
	if n.party != nil && !cfg.Cluster.edge() {
		ec.Elsewhere = func() []string { return n.party.around().URLs }
	}
	ec.Serves, ec.Begin = n.serves, n.begin
	ec.Erasures = n.waitingErasures
	cfg.tune(&journal.Config{}, &ec)
	ec.Ready = n.healthy
	if n.edge, err = edge.Open(x, ec); err != nil {
		return nil, err
	}
	n.open.Store(n.edge)
	n.register(registry)
	if n.party != nil {
		n.party.settle()
	}
	if n.ln, err = cfg.Network.Listen(cfg.Listen); err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	go n.serve()
	n.scrub.start()
	n.keyless()
	cfg.Log.Info("serving", "addr", n.Addr(), "tls", n.Secure(), "data", cfg.Data, "shards", cfg.Shards, "tenants", len(n.tenantry.Load().all))
	return n, nil
}

// openAlone opens the journal and the shards of a node that is no member of a cluster.
func (n *Node) openAlone(x *exchange.Exchange) (err error) {
	cfg := &n.cfg
	keys, err := Keys(cfg.Data)
	if err != nil {
		return err
	}
	n.keys.Store(keys)
	if err := keepShards(cfg.Data, cfg.Shards); err != nil {
		return err
	}
	rows, err := readTenants(cfg.Data)
	if err != nil {
		return err
	}
	t, err := cfg.tenantryOf(rows)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(cfg.Data, tenantsFile), err)
	}
	n.tenantry.Store(t)
	if s, err := readSettings(cfg.Data); err != nil || len(s.Placements) > 0 {
		return errors.Join(err, fmt.Errorf("%s holds the placements of a cluster: start it as a member of a cluster, with cluster.listen", cfg.Data))
	}
	jc := n.journalConfig()
	jc.Groups = cfg.Shards
	if err := sameJournal(cfg.Data, jc); err != nil {
		return err
	}
	if n.j, err = journal.Open(jc); err != nil {
		return err
	}
	if err := begun(cfg.Data); err != nil {
		return err
	}
	return n.openShards(x)
}

// healthy says what of the node does not work, or nil.
func (n *Node) healthy() error {
	err := n.j.Healthy()
	if n.party != nil {
		err = errors.Join(err, n.party.leaving(), n.party.ready())
	}
	return err
}

func (n *Node) journalConfig() journal.Config {
	cfg := &n.cfg
	jc := journal.Config{Dir: JournalDir(cfg.Data), FS: cfg.Disk, SegmentBytes: cfg.SegmentBytes, FreeMin: cfg.FreeMin, PatrolEvery: time.Duration(cfg.PatrolEveryMS) * time.Millisecond, PatrolRate: cfg.PatrolRate, Fatal: cfg.Fatal, Log: cfg.Log}
	if cfg.Witness != nil {
		jc.Decided = cfg.Witness.Decided
	}
	cfg.tune(&jc, &edge.Config{})
	return jc
}

// joinPatience is how long a new node asks to be let in, and for what it must know to serve.
const joinPatience = time.Minute

// openMember opens the journal of a member of a cluster; its shards are opened as it leads them.
func (n *Node) openMember(ctx context.Context, x *exchange.Exchange) error {
	cfg := &n.cfg
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	if err := member.Mend(cfg.Data); err != nil {
		return err
	}
	if len(cfg.Cluster.Join) == 0 { // it brings its shards and keys along, or makes the cluster's
		if _, err := Keys(cfg.Data); err != nil {
			if s, no := readSettings(cfg.Data); no != nil || s == nil || s.Member == nil {
				return err
			} // else the cluster's rows, which are here too, have them: shareKeys
		}
		if err := keepShards(cfg.Data, cfg.Shards); err != nil {
			return err
		}
	}
	id, mc, err := n.enter(ctx, x)
	if err != nil {
		return err
	}
	n.prepareShards(x)
	jc := n.journalConfig()
	n.party.tune(&jc, id.Node)
	if n.j, err = openOwn(ctx, id, mc, jc); err != nil {
		return err
	}
	if err := begun(cfg.Data); err != nil {
		return err
	}
	if err := n.party.open(mc); err != nil {
		return err
	}
	if err := n.party.shareKeys(ctx); err != nil {
		return err
	}
	if err := n.party.shareTenants(); err != nil {
		return err
	}
	if err := n.party.home(ctx); err != nil {
		return err
	}
	keys, err := token.LoadOrCreate(cfg.Data)
	if err == nil {
		n.keys.CompareAndSwap(nil, keys) // the keeper may know newer ones
	}
	return err
}

func (n *Node) serve() {
	err := n.edge.Serve(n.ln)
	if err != nil { // somebody has to hear of it before the node ends
		n.cfg.Log.Error("nobody is accepted any more", "err", err)
	}
	n.served <- err
}

// Addr returns the address that is listened on.
func (n *Node) Addr() string { return n.ln.Addr().String() }

// Mint makes a token, as `switchboard token` does.
func (n *Node) Mint(c token.Claims, ttl time.Duration) (string, error) {
	return n.keys.Load().Mint(c, ttl)
}

// Connections returns how many sockets are open.
func (n *Node) Connections() int { return n.edge.Connections() }

// Journal returns what the journal has done since it was opened.
func (n *Node) Journal() journal.Metrics { return n.j.Metrics() }

// Close drains: connections are told to come back, until ctx is done; then what was taken becomes durable. Nothing of the
// node runs when it returns.
func (n *Node) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(n.cfg.DrainMS)*time.Millisecond)
	defer cancel()
	n.cfg.Log.Info("draining", "connections", n.edge.Connections(), "requests", n.edge.Requests())
	n.edge.Drain(ctx)
	n.j.Hurry() // what follows waits for what was appended
	if n.party != nil {
		n.party.keep.handOver(ctx)
	}
	err := n.undo()
	n.cfg.Log.Info("stopped")
	return err
}

// undo closes what is open, in the opposite order.
func (n *Node) undo() error {
	var errs []error
	if n.j != nil {
		n.j.Hurry()
	}
	if n.edge != nil {
		errs = append(errs, n.edge.Close())
	}
	if n.ln != nil {
		_ = n.ln.Close()
		errs = append(errs, <-n.served)
	}
	n.scrub.stop()
	if n.party != nil {
		n.party.end()
	}
	n.hosts.close()
	if n.hooks != nil {
		n.hooks.Close()
	}
	n.frozen.close()
	if n.party != nil && n.party.lines != nil { // streams read and write the journal
		errs = append(errs, n.party.lines.Close())
	}
	if n.j != nil {
		errs = append(errs, n.j.Close())
	}
	return errors.Join(errs...)
}

// JournalDir returns where the journal of a data directory lives.
func JournalDir(data string) string { return filepath.Join(data, "journal") }

// incarnation is a number that no other start of a node has had.
func incarnation() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])>>1 | 1
}

// settings is what a data directory was made with and cannot change.
type settings struct {
	Shards int `json:"shards"`
	// Placements are those of the cluster whose backup was restored here, when it had more than main.
	Placements []*cluster.Placement `json:"placements,omitempty"`
	// Member is there when the node is one of a cluster, whose rows say how many shards there are.
	Member json.RawMessage `json:"member,omitempty"`

	sealed bool // it has a checksum
}

// mendSettings is what to do with a node.json that cannot be read.
const mendSettings = "put it back from a copy, or write the number of shards that the directory was made with into it, " + settingsByHand

const settingsByHand = `{"shards":N}`

// readSettings returns nil when the directory is new.
func readSettings(data string) (*settings, error) {
	if err := refuseHalf(data); err != nil {
		return nil, err
	}
	path := filepath.Join(data, "node.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s := &settings{}
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the number of shards from %s: %w: %s", path, err, mendSettings)
	}
	if s.sealed, err = member.Sealed(b); err != nil {
		return nil, fmt.Errorf("reading the number of shards from %s: %w: it is damaged, or was changed by hand: %s", path, err, mendSettings)
	}
	if s.Shards < 1 && s.Member == nil {
		return nil, fmt.Errorf("%s names no number of shards: %s", path, mendSettings)
	}
	return s, nil
}

// Shards returns how many shards the data directory has, or 0 when it is new or its cluster knows.
func Shards(data string) (int, error) {
	s, err := readSettings(data)
	if s == nil {
		return 0, err
	}
	return s.Shards, err
}

// keepShards writes the number of shards into a new directory, and refuses another number in an old one: keys would be
// looked for where they are not.
func keepShards(data string, shards int) error {
	s, err := readSettings(data)
	if err != nil {
		return err
	}
	have := 0
	if s != nil {
		have = s.Shards
	}
	if have == 0 && s != nil { // a member's that has joined: its cluster knows
		return nil
	}
	if have == 0 {
		if _, err := os.Stat(JournalDir(data)); err == nil {
			return fmt.Errorf("%s is missing, and there is a journal: write the number of shards that the directory was made with into it, %s",
				filepath.Join(data, "node.json"), settingsByHand)
		}
		if err := writeDurably(filepath.Join(data, beginning), []byte("the journal is being made\n")); err != nil {
			return fmt.Errorf("writing %s: %w", beginning, err)
		}
		b, _ := json.Marshal(settings{Shards: shards}) // of a plain field, it cannot fail
		return writeSettings(data, b)
	}
	if have != shards {
		return fmt.Errorf("%s was made with %d shards, and the configuration says %d: set shards to %d", data, have, shards, have)
	}
	if s.sealed {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(data, "node.json")) // from before there were checksums, or by hand
	if err != nil {
		return fmt.Errorf("reading node.json: %w", err)
	}
	return writeSettings(data, b)
}

// beginning is there from before node.json until the first journal is. Without it, a node.json without a journal is one whose journal is gone.
const beginning = "BEGINNING"

// sameJournal refuses a journal that is not the one which node.json speaks of: one that is gone, as when its disk is not mounted, and one of another number
// of shards. Both would be served as if nothing had been said yet.
func sameJournal(data string, jc journal.Config) error {
	groups, empty, err := journal.Made(jc)
	if err != nil {
		return err
	}
	if groups > 0 && groups != jc.Groups {
		return fmt.Errorf("the journal in %s has %d shards, and %s says %d: write %d into it, {\"shards\":%d}",
			jc.Dir, groups, filepath.Join(data, "node.json"), jc.Groups, groups, groups)
	}
	if !empty {
		return nil
	}
	if _, err := os.Stat(filepath.Join(data, beginning)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%s is missing, and a node has run in %s: mount its disk, or put a backup into another directory (to give up all that was said, remove %s)",
		jc.Dir, data, filepath.Join(data, "node.json"))
}

// begun notes that the directory has a journal.
func begun(data string) error {
	if err := os.Remove(filepath.Join(data, beginning)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("noting that the journal is there: %w", err)
	}
	return nil
}

// writeSettings makes node.json say b, which has no checksum yet.
func writeSettings(data string, b []byte) error {
	b, err := member.Seal(b)
	if err == nil {
		err = writeDurably(filepath.Join(data, "node.json"), b)
	}
	if err != nil {
		return fmt.Errorf("writing node.json: %w", err)
	}
	return nil
}

// writeDurably makes path hold b, whole or not at all.
func writeDurably(path string, b []byte) error {
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// connections bounds n by the files that the process may open.
func connections(n int) int {
	return connectionsOf(n, files())
}

// files returns how many files the process may open.
func files() uint64 {
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) != nil {
		return math.MaxUint64
	}
	return lim.Cur
}

// journalFiles are kept of the files that the process may open: for the journal, and for who has connected and not said anything yet.
const journalFiles = 512

// connectionsOf bounds n by a limit of files: a socket takes one. Of few it takes a quarter.
func connectionsOf(n int, files uint64) int {
	if files < 2*journalFiles {
		return min(n, int(files/4)) //nolint:gosec // small
	}
	return min(n, int(min(files-journalFiles, 1<<30))) //nolint:gosec // bounded
}

// tokens is a keyring as the edge asks it. It may be exchanged at any time.
type tokens struct {
	keys *atomic.Pointer[token.Keyring]
}

// Check implements edge.Tokens.
func (t tokens) Check(s string, now time.Time) (wire.Principal, time.Time, error) {
	c, err := t.keys.Load().Check(s, now)
	if err != nil {
		return wire.Principal{}, time.Time{}, err
	}
	return c.Principal(), c.Expires, nil
}
