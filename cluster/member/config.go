package member

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"switchboard/cluster"
	"switchboard/exchange/link"
	"switchboard/wire"
)

// Config is a node as a member. The zero value of a field means its default.
type Config struct {
	// Dir is the data directory; node.json in it says who the node is.
	Dir string
	// Name is the node's name, and with TLS that of its certificate: 1 to 64 bytes as ids are [SW-1]. It never changes.
	Name string
	// Addr is host:port at which others reach the node's links.
	Addr string
	// URL is where clients reach the node, when another sends them there; may be empty.
	URL string
	// Roles, Zone, Labels and Weight are what the cluster knows of the node; roles default to both, weight to 100. A change counts
	// from the next start on.
	Roles  cluster.Roles
	Zone   string
	Labels map[string]string
	Weight int
	// Join are addresses of members. Without, an empty directory founds a cluster. In a directory that was used it says nothing.
	Join []string
	// Shards and Copies are those of the main placement when a cluster is founded; default 16 and 3. Copies come as nodes come.
	Shards, Copies int
	// Found are the placements of a cluster that is founded by a node which has all their shards, as a backup has brought them; default main alone.
	Found []*cluster.Placement
	// Tick is how often the leader of the meta group looks at what moves; default 200 ms.
	Tick time.Duration
	// Balance is how often leaders are evened out; default 10 s, below zero never.
	Balance time.Duration
	// ReplaceAfter is how long a node may be away before others stand in for its replicas; default 0: when an operator says so.
	ReplaceAfter time.Duration
	// SplitKeep is for how long the rows stay on a shard's disks of slots that have left it: feeds that were away may ask for what was said there.
	// Default 24 h; below zero they stay until an operator has them taken off.
	SplitKeep time.Duration
	// AskFor is how long a request may wait for the leader of the meta group when its context has no end; default 10 s.
	AskFor time.Duration

	// TLS, Plain, Dial, Silence and StreamRate are those of link.Config.
	TLS        *tls.Config
	Plain      bool
	Dial       func(ctx context.Context, addr string) (net.Conn, error)
	Silence    time.Duration
	StreamRate int
	// LinkVersion is link.Config.Version.
	LinkVersion uint64
	// Stream takes a stream that a node opened; see link.Config.
	Stream func(node uint32, header []byte, r io.Reader) error
	// Asked answers what is asked for by [Lines.Ask], or by whoever has a certificate of the cluster, and is nothing that the cluster does. by is who asks. nil
	// refuses. It may be called from any goroutine, also before the Member is open.
	Asked func(ctx context.Context, by, op string, body []byte) (any, error)
	// Clients tells how many connections of clients the node has, and takes; may be nil. It is called from one goroutine, and must not block.
	Clients func() Clients
	// Notify is told what becomes of links, as link.Config.Notify is; may be nil.
	Notify func(link.Event)
	// Mapped is told that Member.Map has changed, from any goroutine; it must not block. May be nil.
	Mapped func()
	// Log takes what an operator should know; default slog.Default.
	Log *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Dir == "":
		return c, errors.New("member: no data directory")
	case !wire.ValidID(c.Name):
		return c, errors.New("member: a node's name is 1 to 64 bytes of [A-Za-z0-9_.:-]")
	case c.Addr == "":
		return c, errors.New("member: no address for links")
	case c.Tick < 0 || c.ReplaceAfter < 0 || c.Shards < 0 || c.Copies < 0 || c.AskFor < 0:
		return c, errors.New("member: Tick, ReplaceAfter, AskFor, Shards or Copies is negative")
	}
	if c.Roles == (cluster.Roles{}) {
		c.Roles = cluster.Roles{Edge: true, Shard: true}
	}
	if c.Shards == 0 {
		c.Shards = 16
	}
	if c.Copies == 0 {
		c.Copies = 3
	}
	if c.Tick == 0 {
		c.Tick = 200 * time.Millisecond
	}
	if c.Balance == 0 {
		c.Balance = 10 * time.Second
	}
	if c.SplitKeep == 0 {
		c.SplitKeep = 24 * time.Hour
	}
	if c.AskFor == 0 {
		c.AskFor = 10 * time.Second
	}
	if c.Clients == nil {
		c.Clients = func() Clients { return Clients{} }
	}
	if c.Notify == nil {
		c.Notify = func(link.Event) {}
	}
	if c.Mapped == nil {
		c.Mapped = func() {}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c, nil
}

// self is what the node says of itself.
func (c *Config) self(birth string) cluster.Node {
	return cluster.Node{Name: c.Name, Addr: c.Addr, URL: c.URL, Roles: c.Roles, Zone: c.Zone, Labels: c.Labels, Weight: c.Weight, Birth: birth}
}

func (c *Config) link() link.Config {
	return link.Config{Node: c.Name, Version: c.LinkVersion, TLS: c.TLS, Plain: c.Plain, Dial: c.Dial, Silence: c.Silence, StreamRate: c.StreamRate, Log: c.Log}
}
