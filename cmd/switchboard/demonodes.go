package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// crew is a cluster on this machine: processes of this program, each with a page and a bot, which are started again when they end.
type crew struct {
	// Fixed after it is made.
	self  string // the program
	file  string // --config, may be empty
	level string
	free  int64    // --free-min
	also  []string // flags that every node is given as well
	env   []string // of every node: it is told by flags, and by no variable of the shell's
	nodes []crewNode

	// Shared.
	out *crewLog
}

// crewNode is one process of a crew.
type crewNode struct{ name, data, addr, links, join string }

// crewMost is how many nodes fit between the ports of the first and those of its links.
const crewMost = 9

// linksAbove is how far the port of a node's links is above that of its page.
const linksAbove = 100

// newCrew plans n nodes: addresses go up from cfg.Listen, directories are below cfg.Data.
func newCrew(cmd *cobra.Command, f *nodeFlags, n int) (*crew, error) {
	if n > crewMost {
		return nil, usageError{fmt.Errorf("--nodes is %d: up to %d fit on one machine", n, crewMost)}
	}
	listen := f.cfg.Listen
	if listen == "" {
		listen = "127.0.0.1:7470"
	}
	host, port, err := net.SplitHostPort(listen)
	first, bad := strconv.Atoi(port)
	if err != nil || bad != nil || first < 1 || first+linksAbove+n > 1<<16 {
		return nil, usageError{fmt.Errorf("--listen is %q: with --nodes it is host:port of the first, and has room above it", listen)}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the program itself: %w", err)
	}
	also, err := crewFlags(cmd)
	if err != nil {
		return nil, err
	}
	c := &crew{self: self, also: also, env: ownEnv(), file: f.file, level: "warn", free: f.cfg.FreeMin, out: &crewLog{w: cmd.ErrOrStderr()}}
	if cmd.Flags().Changed("log-level") {
		c.level = f.logLevel
	}
	at := func(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
	for i := range n {
		k := crewNode{name: fmt.Sprintf("n%d", i+1), addr: at(first + i), links: at(first + linksAbove + i)}
		k.data = filepath.Join(f.cfg.Data, k.name)
		if i > 0 {
			k.join = at(first + linksAbove)
		}
		c.nodes = append(c.nodes, k)
	}
	return c, nil
}

// crewFlags returns the flags that each node of a crew is given as they are. Those that are about one node, or about TLS, which a crew does not
// speak, are refused when they were given.
func crewFlags(cmd *cobra.Command) (also []string, err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "nodes", "data", "listen", "config", "log-level", "free-min": // newCrew's
		case "connections", "log-json", "shards", "snapshot-rate":
			also = append(also, "--"+f.Name+"="+f.Value.String())
		default:
			if err == nil {
				err = usageError{fmt.Errorf("--nodes starts nodes that take no --%s of yours: leave it out, also as %s, or start them with switchboard serve", f.Name, variable(f))}
			}
		}
	})
	return also, err
}

// room looks whether every address is free. A node that finds its own taken would be started again and again, and whoever serves there, another
// demo as a rule, be taken for it.
func (c *crew) room() error {
	for _, k := range c.nodes {
		for _, addr := range []string{k.addr, k.links} {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return fmt.Errorf("%s has no address: %w: stop what serves there, a demo perhaps, or name another first address with --listen", k.name, err)
			}
			_ = l.Close()
		}
	}
	return nil
}

// run starts the nodes, says where they are, and waits until it is asked to stop.
func (c *crew) run(cmd *cobra.Command) error {
	if err := c.room(); err != nil {
		return err
	}
	asked := untilSignal()
	ctx, stop := context.WithCancel(asked)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for i := range c.nodes {
		k := &c.nodes[i]
		wg.Go(func() { c.keep(ctx, k) })
		if err := k.ready(ctx); err != nil { // one after the other: the first founds the cluster
			if asked.Err() != nil {
				return nil
			}
			return err
		}
	}
	if err := c.tell(cmd.OutOrStdout()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// keep runs a node, and starts it again when it ends by itself, until ctx is done.
func (c *crew) keep(ctx context.Context, k *crewNode) {
	for ctx.Err() == nil {
		err := c.once(ctx, k)
		if ctx.Err() != nil {
			return
		}
		c.out.say(k.name, fmt.Sprintf("it has ended (%v), and is started again in %v", err, crewPause))
		select {
		case <-ctx.Done():
		case <-time.After(crewPause):
		}
	}
}

// crewPause is how long a node that ended stays away: long enough to see what the others do.
const crewPause = 3 * time.Second

// once runs a node until it ends. When ctx is done it is asked to stop.
func (c *crew) once(ctx context.Context, k *crewNode) error {
	args := []string{
		"demo", "--nodes", "1", "--data", k.data, "--name", k.name, "--listen", k.addr, "--cluster-listen", k.links, "--log-level", c.level, "--drain-ms", "1500", "--free-min", strconv.FormatInt(c.free, 10),
	}
	if k.join != "" {
		args = append(args, "--join", k.join)
	}
	if c.file != "" {
		args = append(args, "--config", c.file)
	}
	args = append(args, c.also...)
	p := exec.CommandContext(ctx, c.self, args...) //nolint:gosec // it is this program
	p.Env = c.env
	p.Cancel = func() error { return p.Process.Signal(syscall.SIGTERM) }
	p.WaitDelay = 15 * time.Second
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the crew, which asks in good order
	stderr, err := p.StderrPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		return err
	}
	c.out.say(k.name, fmt.Sprintf("started: kill -9 %d", p.Process.Pid))
	for s := bufio.NewScanner(stderr); s.Scan(); {
		if ctx.Err() == nil { // nodes that stop all at once complain of each other
			c.out.say(k.name, s.Text())
		}
	}
	return p.Wait()
}

// ready waits until the node serves.
func (k *crewNode) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+k.addr+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve at %s: %w", k.name, k.addr, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// tell prints where the nodes are, and tokens that all of them take.
func (c *crew) tell(w io.Writer) error {
	keys, err := node.Keys(c.nodes[0].data)
	if err != nil {
		return err
	}
	out := &crewLog{w: w}
	out.say("", "")
	for _, k := range c.nodes {
		out.say("  "+k.name, fmt.Sprintf("http://%s/  links %s  data %s", k.addr, k.links, k.data))
	}
	out.say("", "")
	for _, claims := range []token.Claims{
		{Tenant: "demo", Sub: "alice", Role: wire.RoleCustomer, Name: "Alice"},
		{Tenant: "demo", Sub: "bob", Role: wire.RoleWorker, Name: "Bob", Kind: wire.OriginHuman, Queues: []string{"*"}},
		{Tenant: "demo", Sub: "op", Role: wire.RoleOperator, Name: "Operator"},
	} {
		t, err := keys.Mint(claims, demoTTL)
		if err != nil {
			return err
		}
		out.say("  "+string(claims.Role), t)
	}
	out.say("", "")
	out.say("", "  Kill one of them, or ask: "+os.Args[0]+" cluster status --at "+c.nodes[0].links)
	out.say("", "  Ctrl-C stops all; start again and every word is there.")
	out.say("", "")
	return out.err
}

// crewLog writes whole lines of several goroutines.
type crewLog struct {
	mu sync.Mutex
	// Guarded by mu.
	w   io.Writer
	err error // the first
}

func (l *crewLog) say(who, text string) {
	if who != "" {
		text = who + "  " + text
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := fmt.Fprintln(l.w, text); err != nil && l.err == nil {
		l.err = err
	}
}
