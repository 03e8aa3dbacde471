package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"switchboard/edge/token"
	"switchboard/internal/written"
	"switchboard/node"
	"switchboard/wire"
)

// nodeFlags are the flags of everything that runs a node.
type nodeFlags struct {
	cfg         node.Config
	file        string
	logJSON     bool
	logLevel    string
	printConfig bool
	profiles    string
}

func (f *nodeFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.cfg.Data, "data", "", "directory of everything durable; created when missing")
	fs.StringVar(&f.cfg.Listen, "listen", "", "host:port to serve on (default 127.0.0.1:7470)")
	fs.StringVar(&f.cfg.TLS.Cert, "tls-cert", "", "PEM file of the certificate, to speak TLS; read again when it changes, and on SIGHUP")
	fs.StringVar(&f.cfg.TLS.Key, "tls-key", "", "PEM file of the certificate's key")
	fs.StringVar(&f.cfg.Name, "name", "", "the node's name (default n1)")
	fs.StringVar(&f.file, "config", "", "YAML file; flags and environment win over it")
	fs.IntVar(&f.cfg.Shards, "shards", 0, "shards of a new data directory (default 16)")
	fs.IntVar(&f.cfg.Connections, "connections", 0, "sockets to hold at most (default 100000, or what the file limit allows)")
	fs.Int64Var(&f.cfg.DrainMS, "drain-ms", 0, "how long a shutdown waits for connections to go (default 10000)")
	fs.Int64Var(&f.cfg.FreeMin, "free-min", 0, "free bytes on the disk below which writes are refused (default 1 GiB or 5 % of the disk)")
	fs.StringVar(&f.profiles, "pprof", "", "loopback host:port to serve Go profiles on (default off)")
	c := &f.cfg.Cluster
	fs.StringVar(&c.Listen, "cluster-listen", "", "host:port for other nodes: makes the node a member of a cluster (default off)")
	fs.StringVar(&c.Advertise, "cluster-advertise", "", "host:port that other nodes are told to dial (default --cluster-listen)")
	fs.StringSliceVar(&c.Join, "join", nil, "host:port of members of the cluster, when the node is new; without it a new node founds one")
	fs.StringVar(&c.TLS, "cluster-tls", "", "directory with ca.crt, NAME.crt and NAME.key (see cluster certs)")
	fs.StringVar(&c.Zone, "zone", "", "where the node is: copies of a shard go to different zones")
	fs.StringToStringVar(&c.Labels, "label", nil, "labels of the node, as disk=ssd; placements may ask for them")
	fs.IntVar(&c.SnapshotRate, "snapshot-rate", 0, "bytes a second that the node sends at most to make copies of shards elsewhere (default 33554432)")
	fs.BoolVar(&f.logJSON, "log-json", false, "log in JSON")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
}

// readConfig reads a node's file, strictly: one document, or none.
func readConfig(file string) (cfg node.Config, err error) {
	doc, err := os.ReadFile(file) //nolint:gosec // the operator's path
	if err != nil {
		return cfg, fmt.Errorf("reading the configuration: %w", err)
	}
	doc = bytes.TrimPrefix(doc, []byte("\ufeff")) // some editors begin a file with a byte order mark
	d := yaml.NewDecoder(bytes.NewReader(doc), yaml.Strict())
	tree, err := written.Parse(doc)
	if err == nil {
		err = written.Whole(tree, &cfg)
	}
	if err == nil {
		err = d.Decode(&cfg)
	}
	if errors.Is(err, io.EOF) {
		err = nil // nothing is in it, or comments alone: everything has its default
	} else if err == nil {
		var more any
		if end := d.Decode(&more); !errors.Is(end, io.EOF) && (end != nil || more != nil) {
			err = errors.New("there is more than one document in it")
		}
	}
	if err != nil {
		return cfg, usageError{fmt.Errorf("%s: %s", file, misread(err))}
	}
	besides(file, cfg.Tenants)
	return cfg, nil
}

// misread returns what is wrong in a document, and where, in a line: the library adds a picture of the place, which takes long of a long line.
func misread(err error) string {
	y := yaml.Error(nil)
	if !errors.As(err, &y) {
		what, _, _ := strings.Cut(err.Error(), "\n")
		return what
	}
	what, _, _ := strings.Cut(y.GetMessage(), "\n")
	if t := y.GetToken(); t != nil && t.Position != nil {
		what = fmt.Sprintf("[%d:%d] %s", t.Position.Line, t.Position.Column, what)
	}
	return what
}

// load puts flags, environment and file together: a flag wins over the environment, the environment over the file.
func (f *nodeFlags) load(cmd *cobra.Command) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return usageError{fmt.Errorf("--log-level is %q: it must be debug, info, warn or error", f.logLevel)}
	}
	var h slog.Handler = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	if f.logJSON {
		h = slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	}
	log := slog.New(h)
	if f.file != "" {
		flags := f.cfg
		var err error
		if f.cfg, err = readConfig(f.file); err != nil {
			return err
		}
		f.overlay(cmd, &flags)
	}
	if f.cfg.Shards == 0 && f.cfg.Data != "" {
		have, err := node.Shards(f.cfg.Data)
		if err != nil {
			return err
		}
		f.cfg.Shards = have // 0 when the directory is new: the default
	}
	f.cfg.Version, f.cfg.Log = version, log
	f.cfg.Fatal = func(err error) {
		log.Error("the disk failed: stopping at once; what was acknowledged is on it", "err", err)
		os.Exit(exitFailed)
	}
	return nil
}

// besides makes the documents that tenants name stand beside the file that names them.
func besides(file string, tenants map[string]node.Tenant) {
	for name, t := range tenants {
		if t.RoutesFile != "" && !filepath.IsAbs(t.RoutesFile) {
			t.RoutesFile = filepath.Join(filepath.Dir(file), t.RoutesFile)
			tenants[name] = t
		}
	}
}

// overlay puts the flags that were set over the file.
func (f *nodeFlags) overlay(cmd *cobra.Command, flags *node.Config) {
	for name, set := range map[string]func(){
		"data": func() { f.cfg.Data = flags.Data }, "listen": func() { f.cfg.Listen = flags.Listen }, "name": func() { f.cfg.Name = flags.Name },
		"shards": func() { f.cfg.Shards = flags.Shards }, "connections": func() { f.cfg.Connections = flags.Connections },
		"drain-ms": func() { f.cfg.DrainMS = flags.DrainMS }, "free-min": func() { f.cfg.FreeMin = flags.FreeMin },
		"tls-cert": func() { f.cfg.TLS.Cert = flags.TLS.Cert }, "tls-key": func() { f.cfg.TLS.Key = flags.TLS.Key },
		"dev":            func() { f.cfg.Dev = flags.Dev },
		"cluster-listen": func() { f.cfg.Cluster.Listen = flags.Cluster.Listen }, "cluster-advertise": func() { f.cfg.Cluster.Advertise = flags.Cluster.Advertise },
		"join": func() { f.cfg.Cluster.Join = flags.Cluster.Join }, "cluster-tls": func() { f.cfg.Cluster.TLS = flags.Cluster.TLS },
		"snapshot-rate": func() { f.cfg.Cluster.SnapshotRate = flags.Cluster.SnapshotRate },
		"zone":          func() { f.cfg.Cluster.Zone = flags.Cluster.Zone }, "label": func() { f.cfg.Cluster.Labels = flags.Cluster.Labels },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
}

func newServe() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Run a node until SIGTERM or SIGINT",
		Long: `Run a node. It drains on SIGTERM and SIGINT: connections are told to come back, what was taken
becomes durable, and it exits 0. On SIGHUP it reads its certificate again, which it also does when that changes.

With --cluster-listen it is a member of a cluster: it founds one, brings along what its data directory has, or joins the one
at --join. Every node serves every customer; shards have copies on three nodes as soon as there are three.

With --dev it makes the tenant "demo" with the queue "default", prints ready-made tokens, and listens on
loopback only. Without it, tenants come from --config and their keys from keys.json in the data directory.`,
		Example: `  switchboard serve --data /var/lib/switchboard --config switchboard.yaml
  switchboard serve --data ./data --dev
  switchboard serve --data ./data --config switchboard.yaml --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem
  switchboard serve --data ./n1 --dev --name n1 --cluster-listen 127.0.0.1:7570
  switchboard serve --data ./n2 --dev --name n2 --listen 127.0.0.1:7471 --cluster-listen 127.0.0.1:7571 --join 127.0.0.1:7570`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.load(cmd); err != nil {
				return err
			}
			if f.printConfig {
				return printConfig(cmd, &f.cfg)
			}
			if f.profiles != "" {
				if err := serveProfiles(f.profiles); err != nil {
					return err
				}
			}
			asked := untilSignal() // before anybody can know that it serves
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			n, err := start(asked, f.cfg)
			if err != nil {
				return unlessAsked(asked, f.cfg.Log, err)
			}
			if f.cfg.Dev {
				if err := printTokens(cmd, n); err != nil {
					return errors.Join(err, n.Close(cmd.Context()))
				}
			}
			f.until(asked, hup, n)
			return n.Close(context.Background())
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.cfg.Dev, "dev", false, `tenant "demo", ready-made tokens, loopback only`)
	cmd.Flags().BoolVar(&f.printConfig, "print-config", false, "print the configuration as it would be used, and exit")
	return cmd
}

// until waits until the process is asked to stop. At each SIGHUP the certificate is read again, and meanwhile the heap is kept.
func (f *nodeFlags) until(asked context.Context, hup <-chan os.Signal, n *node.Node) {
	keeper := newHeapKeeper()
	look := time.NewTicker(heapEvery)
	defer look.Stop()
	for {
		select {
		case <-asked.Done():
			return
		case <-look.C:
			keeper.look()
		case <-hup:
			if err := n.Reload(); err != nil {
				f.cfg.Log.Error("the certificate is not replaced: the one before stays", "err", err)
			}
		}
	}
}

// scheme is what a browser calls the node's protocol.
func scheme(n *node.Node) string {
	if n.Secure() {
		return "https"
	}
	return "http"
}

// start is node.StartContext with a wrong configuration as a wrong call.
func start(ctx context.Context, cfg node.Config) (*node.Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, usageError{err}
	}
	n, err := node.StartContext(ctx, cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: stop what serves there, a demo perhaps, or name another address with --listen", err)
	}
	return n, err
}

// unlessAsked returns why a node did not start, or nil when that was because the process was asked to stop.
func unlessAsked(asked context.Context, log *slog.Logger, err error) error {
	if asked.Err() == nil || !errors.Is(err, context.Cause(asked)) && !errors.Is(err, context.Canceled) {
		return err
	}
	log.Info("stopped before it served")
	return nil
}

func printConfig(cmd *cobra.Command, cfg *node.Config) error {
	if err := cfg.Validate(); err != nil {
		return usageError{err}
	}
	doc, err := yaml.Marshal(cfg)
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(doc)
	return err
}

// untilSignal returns what is done when the process is asked to stop. A second signal ends it at once, but not one that comes together with the
// first: timeout(1) and others signal a process, and then the group that it is in.
func untilSignal() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { time.AfterFunc(signalsTogether, stop) })
	return ctx
}

// signalsTogether is for how long signals are one: shorter than a person's second thoughts.
const signalsTogether = 500 * time.Millisecond

// printTokens prints one token per role, for whoever tries things out.
func printTokens(cmd *cobra.Command, n *node.Node) error {
	const ttl = 24 * time.Hour
	for _, c := range []token.Claims{
		{Tenant: "demo", Sub: "alice", Role: wire.RoleCustomer, Name: "Alice"},
		{Tenant: "demo", Sub: "faq", Role: wire.RoleWorker, Name: "FAQ bot", Kind: wire.OriginBot, Queues: []string{"*"}},
		{Tenant: "demo", Sub: "bob", Role: wire.RoleWorker, Name: "Bob", Kind: wire.OriginHuman, Queues: []string{"*"}},
		{Tenant: "demo", Sub: "sue", Role: wire.RoleSupervisor, Name: "Sue"},
	} {
		t, err := n.Mint(c, ttl)
		if err != nil {
			return err
		}
		who := string(c.Role)
		if c.Kind != "" {
			who += " " + string(c.Kind)
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-14s %-6s %s\n", who, c.Sub, t); err != nil {
			return err
		}
	}
	return nil
}
