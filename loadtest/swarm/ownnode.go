package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"

	"switchboard/edge/secure"
	"switchboard/loadtest/scenario"
)

// OwnNode is a node that a run starts, in a process and a temporary directory of its own, and may kill.
type OwnNode struct {
	// Self is this program, which stands for "switchboard" in the command.
	Self string
	// Exec and Config are those of [scenario.Node]; without, it is `switchboard serve --dev` with limits that let a load through.
	Exec   []string
	Config map[string]any
	// TLS lets the node speak TLS, with a certificate that is made for it.
	TLS bool
	// Dir is where the data directory is made; empty is the system's for temporary files.
	Dir string
	// Env is the environment of the node, and of what is done to it; nil is this process's.
	Env []string
	// Mint makes tokens with the keys of a data directory.
	Mint func(data string) (Mint, error)
	// Stderr takes what the node prints; nil drops it, but the last lines for an error.
	Stderr io.Writer

	addr, data, config string
	links              string   // of a cluster's member, where others reach it
	member             []string // arguments that make it one
	trust              *Trust   // nil without TLS
	wg                 sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
	err  error         // how
}

// tail keeps the end of what was written.
type tail struct {
	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if len(t.b) > 4096 {
		t.b = append(t.b[:0], t.b[len(t.b)-4096:]...)
	}
	return len(b), nil
}

// last returns the last line.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	return lines[len(lines)-1]
}

// Fresh returns a node of the same kind for another run.
func (n *OwnNode) Fresh() *OwnNode {
	return &OwnNode{Self: n.Self, Exec: n.Exec, Config: n.Config, TLS: n.TLS, Dir: n.Dir, Env: n.Env, Mint: n.Mint, Stderr: n.Stderr}
}

// defaultExec is the node that a scenario without one gets.
var defaultExec = []string{"switchboard", "serve", "--dev", "--data", "$DATA", "--listen", "$ADDR", "--config", "$CONFIG", "--free-min", "-1", "--log-level", "error"}

// defaultConfig lets a load through: it is not abuse here.
var defaultConfig = map[string]any{"limits": map[string]any{"rate": 100_000, "burst": 100_000}}

// start starts the node, and returns when it serves.
func (n *OwnNode) start(ctx context.Context) error {
	var err error
	if n.data, err = os.MkdirTemp(n.Dir, "switchboard-load-"); err != nil {
		return fmt.Errorf("making the node's directory: %w", err)
	}
	free, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	n.addr = free.Addr().String()
	_ = free.Close()
	if len(n.Exec) == 0 {
		n.Exec = defaultExec
	}
	if n.Config == nil {
		n.Config = defaultConfig
	}
	cfg := n.Config
	if n.TLS {
		if cfg, err = n.certify(); err != nil {
			return err
		}
	}
	doc, err := yaml.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("writing the node's configuration: %w", err)
	}
	n.config = filepath.Join(n.data, "load.yaml")
	if err := os.WriteFile(n.config, doc, 0o600); err != nil {
		return err
	}
	if err := n.launch(ctx); err != nil {
		return errors.Join(err, n.stop())
	}
	return nil
}

// certify makes a certificate for the node, and returns its configuration with it.
func (n *OwnNode) certify() (map[string]any, error) {
	host, _, err := net.SplitHostPort(n.addr)
	if err != nil {
		return nil, err
	}
	cert, key, err := secure.SelfSigned(certified, host)
	if err != nil {
		return nil, err
	}
	files := map[string]any{"cert": filepath.Join(n.data, "cert.pem"), "key": filepath.Join(n.data, "key.pem")}
	err = errors.Join(os.WriteFile(files["cert"].(string), cert, 0o600), os.WriteFile(files["key"].(string), key, 0o600))
	n.trust = &Trust{CA: string(cert)}
	cfg := maps.Clone(n.Config)
	cfg["tls"] = files
	return cfg, err
}

// certified is longer than any run.
const certified = 30 * 24 * time.Hour

// startMax bounds how long a node takes until it serves.
const startMax = 60 * time.Second

func (n *OwnNode) launch(ctx context.Context) error {
	args := make([]string, len(n.Exec), len(n.Exec)+len(n.member))
	for i, a := range n.Exec {
		args[i] = os.Expand(a, func(name string) string {
			switch name {
			case "DATA":
				return n.data
			case "ADDR":
				return n.addr
			case "CONFIG":
				return n.config
			}
			return os.Getenv(name)
		})
	}
	args = append(args, n.member...)
	if args[0] == "switchboard" {
		args[0] = n.Self
	}
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec,noctx // it is what the scenario asks for; stop ends it
	cmd.Env = n.Env
	t := &tail{}
	cmd.Stderr = t
	if n.Stderr != nil {
		cmd.Stderr = io.MultiWriter(t, n.Stderr)
	}
	cmd.WaitDelay = 5 * time.Second
	bound(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the node: %w", err)
	}
	gone := make(chan struct{})
	n.mu.Lock()
	n.cmd, n.gone = cmd, gone
	n.mu.Unlock()
	n.wg.Go(func() {
		err := cmd.Wait()
		n.mu.Lock()
		n.err = err
		n.mu.Unlock()
		close(gone)
	})
	ctx, cancel := context.WithTimeout(ctx, startMax)
	defer cancel()
	for {
		if n.serves(ctx) {
			return nil
		}
		select {
		case <-gone:
			n.mu.Lock()
			defer n.mu.Unlock()
			return fmt.Errorf("the node ended at its start: %w: %s", n.err, t.last())
		case <-ctx.Done():
			return fmt.Errorf("waiting for the node to serve: %w: %s", context.Cause(ctx), t.last())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (n *OwnNode) serves(ctx context.Context) bool {
	client, base, err := n.trust.web(n.addr, 0)
	if err != nil {
		return false
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// kill ends the node at once.
func (n *OwnNode) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
	}
}

// drainMax is how long the node may take to end as it was asked to.
const drainMax = 30 * time.Second

// drain asks the node to end, and waits until it has.
func (n *OwnNode) drain(ctx context.Context) error {
	n.mu.Lock()
	cmd, gone := n.cmd, n.gone
	n.mu.Unlock()
	if cmd == nil {
		return errors.New("there is no node to drain")
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("asking the node to end: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, drainMax)
	defer cancel()
	select {
	case <-ctx.Done():
		return fmt.Errorf("the node did not end within %v of SIGTERM", drainMax)
	case <-gone:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return fmt.Errorf("the node was asked to end, and failed: %w", n.err)
	}
	return nil
}

// stopMax is how long the node may drain; its data is not needed.
const stopMax = 4 * time.Second

// stop ends the node, and removes its directory.
func (n *OwnNode) stop() error {
	n.mu.Lock()
	cmd, gone := n.cmd, n.gone
	n.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(stopMax, n.kill)
		<-gone
		late.Stop()
		n.wg.Wait()
	}
	return os.RemoveAll(n.data)
}

// env is the environment of what is done to the node.
func (n *OwnNode) env() []string {
	if n.Env == nil {
		return os.Environ()
	}
	return slices.Clone(n.Env)
}

func (n *OwnNode) pid() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return ""
	}
	return strconv.Itoa(n.cmd.Process.Pid)
}

// act does what is due: a line of the shell, or an end of the node and its next life.
func (r *running) act(ctx context.Context, act *scenario.Action) error {
	var node *OwnNode
	addr := r.Addr
	if len(r.Swarm.nodes) > 0 {
		node = r.Swarm.nodes[max(act.Node, 1)-1]
		addr = node.addr
	}
	if act.Run != "" {
		r.Log("running " + act.Run)
		cmd := exec.CommandContext(ctx, "sh", "-c", act.Run) //nolint:gosec // it is what the scenario asks for
		cmd.Env = append(os.Environ(), "ADDR="+addr)
		if node != nil {
			cmd.Env = append(node.env(), "ADDR="+addr, "SWITCHBOARD="+node.Self, "DATA="+node.data, "PID="+node.pid(), "LINKS="+node.links)
		}
		cmd.WaitDelay = time.Second
		if out, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("action %q: %w: %.500s", act.Run, err, out)
		}
		return nil
	}
	if node == nil {
		return errors.New("kill and drain are for a node of the test's own: leave out --addr and --data")
	}
	if act.Drain {
		r.Log("asking the node to end")
		if err := node.drain(ctx); err != nil {
			return err
		}
	} else {
		r.Log("killing the node")
		node.kill()
	}
	t := time.NewTimer(act.Restart.Duration())
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-t.C:
	}
	if err := node.launch(ctx); err != nil {
		return err
	}
	r.Log("the node is back")
	return nil
}
