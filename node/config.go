package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/valyala/fasthttp"

	"switchboard/cluster"
	"switchboard/edge"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// Config is one node. The zero value of a field means its default; a YAML file has the names in the tags.
type Config struct {
	// Data is the directory of everything durable. It is created when missing. It has no default.
	Data string `yaml:"data"`
	// Listen is host:port; default 127.0.0.1:7470. Port 0 takes a free one: Node.Addr tells which.
	Listen string `yaml:"listen"`
	// Name is the node's name in hello; default n1.
	Name string `yaml:"name"`
	// TLS is spoken on Listen when it has files.
	TLS TLS `yaml:"tls"`
	// Dev makes the tenant demo with the queue default, and refuses to listen on anything but loopback.
	Dev bool `yaml:"dev"`
	// Shards is how many shards the node's keys are spread over; default 16. It is written into a new data directory and
	// cannot be changed there.
	Shards int `yaml:"shards"`
	// Cluster makes the node a member of one.
	Cluster Cluster `yaml:"cluster"`
	// Tenants are the merchants.
	Tenants map[string]Tenant `yaml:"tenants"`
	// Limits of connections.
	Limits edge.Limits `yaml:"limits"`
	// Hooks is how tenants' hooks are called.
	Hooks Hooks `yaml:"hooks"`
	// Connections is how many sockets are held; default 100,000, and never more than the process may open files.
	Connections int `yaml:"connections"`
	// Edge is how sockets are served.
	Edge Edge `yaml:"edge"`
	// PerIP is how many of them one peer address may have; 0 is no limit. Behind a proxy all have its address.
	PerIP int `yaml:"per_ip"`
	// PerCustomer is how many of them one customer may have; 0 is no limit. When there is one more his oldest is closed [SW-6.2].
	PerCustomer int `yaml:"per_customer"`
	// Origins are the browsers' origins that may connect; empty means any.
	Origins []string `yaml:"origins"`
	// TokenInURL allows ?token= where a browser cannot send a header.
	TokenInURL bool `yaml:"token_in_url"`
	// DrainMS is how long a shutdown waits for connections to go; default 10,000.
	DrainMS int64 `yaml:"drain_ms"`
	// FreeMin is the free space in bytes below which writes are refused; default 1 GiB or 5 % of the disk.
	FreeMin int64 `yaml:"free_min"`
	// PatrolEveryMS is how often all of the disk is read in the background, to find what is damaged and nobody asks for; default 7 days, below
	// zero never. PatrolRate is how many bytes a second are read for it at most; default 8 MiB.
	PatrolEveryMS int64 `yaml:"patrol_every_ms"`
	PatrolRate    int64 `yaml:"patrol_rate"`

	// Version is told in hello.
	Version string `yaml:"-"`
	// Static serves pages beside the API; may be nil.
	Static func(*fasthttp.RequestCtx) bool `yaml:"-"`
	// Fatal is called when the disk failed and the process must end: nothing may be retried. The default panics.
	Fatal func(error) `yaml:"-"`
	// Log takes what an operator should know; default slog.Default.
	Log *slog.Logger `yaml:"-"`

	// Network is how the node listens and dials; nil means TCP. A simulation has one of its own.
	Network Network `yaml:"-"`
	// Clock says what time it is to shards and clients: entries, leases, offers and tokens go by it; default time.Now. The clocks of nodes
	// may differ. It may be called from any goroutine.
	Clock func() time.Time `yaml:"-"`
	// Disk is the file system of the journal; nil means the machine's. SegmentBytes is that of journal.Config.
	Disk         journal.FS `yaml:"-"`
	SegmentBytes int64      `yaml:"-"`
	// Witness is told what the node's parts do, as they do it. A simulation has one; nil elsewhere.
	Witness *Witness `yaml:"-"`

	// tune changes what the parts are opened with: a test's bad disk, its short patience. It is nil elsewhere.
	tune func(*journal.Config, *edge.Config)
	// linkVersion makes a node one of an earlier version, as far as others can tell. It is 0 but in tests.
	linkVersion uint64
}

// Witness is told what the parts of a node do. Its functions are called by the goroutines that do it: they must return at once, and keep nothing that they are shown.
type Witness struct {
	// Shards are those that the node owns.
	Shards shard.Witness
	// Decided is that of journal.Config.
	Decided func(group uint16, index, term uint64, data []byte)
}

func (c *Config) shardWitness() *shard.Witness {
	if c.Witness == nil {
		return nil
	}
	return &c.Witness.Shards
}

// Network is a way to other machines. Its methods may be called from any goroutine.
type Network interface {
	Listen(addr string) (net.Listener, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// tcp is the usual network.
type tcp struct{}

func (tcp) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

func (tcp) Dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// Edge is how sockets are served.
type Edge struct {
	// Loops is how many goroutines serve the WebSockets of a Linux node; default one per two of GOMAXPROCS, at least 2
	// and at most 4. Below zero each socket has goroutines of its own, as on other systems.
	Loops int `yaml:"loops"`
	// AckDelayMS is for how long the acknowledgement of a customer's message may wait at most to travel with the answer, in ms, where the
	// last one was answered as soon; default 100. Below zero none waits.
	AckDelayMS int `yaml:"ack_delay_ms"`
}

// Validate fills in the defaults and reports what makes no sense. Start calls it.
func (c *Config) Validate() error {
	if c.Data == "" {
		return errors.New("no data directory: set --data")
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:7470"
	}
	if c.Name == "" {
		c.Name = "n1"
	}
	if c.Cluster.Listen != "" && !wire.ValidID(c.Name) { // who is alone may be called anything, as ever
		return fmt.Errorf("name is %q: a node's name is 1 to 64 of A-Z a-z 0-9 _ . : -", c.Name)
	}
	if c.DrainMS == 0 {
		c.DrainMS = 10_000
	}
	if c.Shards == 0 {
		c.Shards = 16
	}
	if c.Shards < 1 || c.Shards > 1024 {
		return fmt.Errorf("shards is %d: it must be 1 to 1024", c.Shards)
	}
	if c.Connections == 0 {
		c.Connections = edge.DefaultConnections
	}
	if err := notNegative(
		amount{"connections", int64(c.Connections)}, amount{"per_ip", int64(c.PerIP)}, amount{"per_customer", int64(c.PerCustomer)},
		amount{"drain_ms", c.DrainMS}, amount{"patrol_rate", c.PatrolRate},
	); err != nil {
		return err
	}
	if err := c.TLS.validate(); err != nil {
		return err
	}
	if err := c.Cluster.validate(); err != nil {
		return err
	}
	if err := c.Hooks.validate(); err != nil {
		return err
	}
	c.Limits.Defaults()
	if err := c.Limits.Validate(); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Fatal == nil {
		c.Fatal = func(err error) { panic(err) }
	}
	if c.Dev {
		if err := loopback(c.Listen); err != nil {
			return err
		}
		if c.Tenants == nil {
			c.Tenants = map[string]Tenant{}
		}
		if _, ok := c.Tenants["demo"]; !ok {
			c.Tenants["demo"] = Tenant{Queues: []Queue{{Name: "default"}}}
		}
		if _, port, _ := net.SplitHostPort(c.Listen); c.Cluster.URL == "" && c.Cluster.Listen != "" && port != "0" {
			scheme := "ws://"
			if c.TLS.Cert != "" {
				scheme = "wss://"
			}
			c.Cluster.URL = scheme + c.Listen + "/v1/connect"
		}
		if c.Cluster.Operators == nil {
			c.Cluster.Operators = []string{"demo"}
		}
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Network == nil {
		c.Network = tcp{}
	}
	if c.tune == nil {
		c.tune = func(*journal.Config, *edge.Config) {}
	}
	if _, err := os.Stat(filepath.Join(c.Data, tenantsFile)); len(c.Tenants) == 0 && err != nil {
		return errors.New("no tenants: name them in the configuration file, or try --dev")
	}
	for name, t := range c.Tenants {
		if err := t.validate(name, c.Limits.Body); err != nil {
			return err
		}
		if c.Cluster.Listen == "" && t.Placement != "" && t.Placement != cluster.Main {
			return fmt.Errorf("tenant %s: placement is %s, and this node is no member of a cluster: set cluster.listen, too", name, t.Placement)
		}
		c.Tenants[name] = t
	}
	return nil
}

// amount is a setting with its name in the file.
type amount struct {
	name string
	v    int64
}

// notNegative refuses the first of all that is below zero.
func notNegative(all ...amount) error {
	for _, a := range all {
		if a.v < 0 {
			return fmt.Errorf("%s is %d: it must be 0 or more; left out it has its default", a.name, a.v)
		}
	}
	return nil
}

// loopback refuses an address that others can reach.
func loopback(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen is %q: it must be host:port: %w", listen, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("--dev hands out tokens, so it listens on loopback only: %q is not; use 127.0.0.1, or configure tenants and keys", listen)
}
