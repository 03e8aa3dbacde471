package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"switchboard/edge"
	"switchboard/edge/token"
	"switchboard/exchange"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// Node is a running broker. Its methods may be called from any goroutine.
type Node struct {
	cfg    Config
	keys   *token.Keyring
	j      *journal.Journal
	hosts  hosts
	edge   *edge.Edge
	ln     net.Listener
	served chan error
}

// Start opens everything and serves. What it opened is closed again when it fails.
func Start(cfg Config) (n *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	made := &Node{cfg: cfg, served: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, made.undo())
		}
	}()
	n = made
	if n.keys, err = Keys(cfg.Data); err != nil {
		return nil, err
	}
	if err := keepShards(cfg.Data, cfg.Shards); err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	jc := journal.Config{Dir: JournalDir(cfg.Data), Groups: cfg.Shards, FreeMin: cfg.FreeMin, Fatal: cfg.Fatal, Log: cfg.Log}
	ec := edge.Config{
		Tokens: tokens{n.keys}, Node: cfg.Name, Version: cfg.Version, Limits: cfg.Limits, Connections: connections(cfg.Connections),
		PerIP: cfg.PerIP, TenantOrigins: func(tenant string) []string { return cfg.Tenants[tenant].Origins }, Loops: cfg.Edge.Loops,
		Origins: cfg.Origins, TokenInURL: cfg.TokenInURL, Static: cfg.Static, Log: cfg.Log,
		Register: registry, Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	}
	cfg.tune(&jc, &ec)
	if n.j, err = journal.Open(jc); err != nil {
		return nil, err
	}
	ec.Ready = n.j.Healthy
	x := exchange.New(incarnation())
	if err := n.openShards(x); err != nil {
		return nil, err
	}
	if n.edge, err = edge.Open(x, ec); err != nil {
		return nil, err
	}
	n.register(registry)
	if n.ln, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	go n.serve()
	cfg.Log.Info("serving", "addr", n.Addr(), "data", cfg.Data, "shards", cfg.Shards, "tenants", len(cfg.Tenants))
	return n, nil
}

func (n *Node) serve() { n.served <- n.edge.Serve(n.ln) }

// Addr returns the address that is listened on.
func (n *Node) Addr() string { return n.ln.Addr().String() }

// Mint makes a token, as `switchboard token` does.
func (n *Node) Mint(c token.Claims, ttl time.Duration) (string, error) { return n.keys.Mint(c, ttl) }

// Connections returns how many sockets are open.
func (n *Node) Connections() int { return n.edge.Connections() }

// Journal returns what the journal has done since it was opened.
func (n *Node) Journal() journal.Metrics { return n.j.Metrics() }

// Close drains: connections are told to come back, until ctx is done; then what was taken becomes durable. Nothing of the
// node runs when it returns.
func (n *Node) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(n.cfg.DrainMS)*time.Millisecond)
	defer cancel()
	n.cfg.Log.Info("draining", "connections", n.edge.Connections())
	n.edge.Drain(ctx)
	err := n.undo()
	n.cfg.Log.Info("stopped")
	return err
}

// undo closes what is open, in the opposite order.
func (n *Node) undo() error {
	var errs []error
	if n.edge != nil {
		errs = append(errs, n.edge.Close())
	}
	if n.ln != nil {
		_ = n.ln.Close()
		errs = append(errs, <-n.served)
	}
	n.hosts.close()
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
}

// Shards returns how many shards the data directory has, or 0 when it is new.
func Shards(data string) (int, error) {
	b, err := os.ReadFile(filepath.Join(data, "node.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var s settings
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the number of shards from %s: %w", filepath.Join(data, "node.json"), err)
	}
	if s.Shards < 1 {
		return 0, fmt.Errorf("%s names no number of shards: restore it from a backup", filepath.Join(data, "node.json"))
	}
	return s.Shards, nil
}

// keepShards writes the number of shards into a new directory, and refuses another number in an old one: keys would be
// looked for where they are not.
func keepShards(data string, shards int) error {
	have, err := Shards(data)
	if err != nil {
		return err
	}
	if have == 0 {
		if _, err := os.Stat(JournalDir(data)); err == nil {
			return fmt.Errorf("%s is missing, and there is a journal: write the number of shards that the directory was made with "+
				`into it, {"shards":N}`, filepath.Join(data, "node.json"))
		}
		b, _ := json.Marshal(settings{shards}) // of a plain field, it cannot fail
		if err := writeDurably(filepath.Join(data, "node.json"), b); err != nil {
			return fmt.Errorf("writing node.json: %w", err)
		}
		return nil
	}
	if have != shards {
		return fmt.Errorf("%s was made with %d shards, and the configuration says %d: set shards to %d", data, have, shards, have)
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

// connections bounds n by the files that the process may open, of which the journal needs some.
func connections(n int) int {
	const reserve = 512
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) == nil && lim.Cur > 2*reserve {
		n = min(n, int(min(lim.Cur, 1<<30))-reserve) //nolint:gosec // bounded
	}
	return n
}

// tokens is a keyring as the edge asks it.
type tokens struct{ keys *token.Keyring }

// Check implements edge.Tokens.
func (t tokens) Check(s string, now time.Time) (wire.Principal, time.Time, error) {
	c, err := t.keys.Check(s, now)
	if err != nil {
		return wire.Principal{}, time.Time{}, err
	}
	return c.Principal(), c.Expires, nil
}
