package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"switchboard/edge/token"
	scenarios "switchboard/examples/loadtest"
	"switchboard/loadtest/report"
	"switchboard/loadtest/scenario"
	"switchboard/loadtest/swarm"
	"switchboard/wire"
)

// tokenFlags say where tokens come from. They are the same for the load generator's other processes.
type tokenFlags struct {
	data, tenant, command string
}

func (f *tokenFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.data, "data", "", "data directory of the node, for its keys")
	fs.StringVar(&f.tenant, "tenant", "demo", "tenant, with --data")
	fs.StringVar(&f.command, "token-cmd", "", "command that prints a token for $ROLE, $KIND and $SUB")
	instead(fs, "data", "token-cmd")
	instead(fs, "token-cmd", "data")
}

// mint returns what makes tokens.
func (f *tokenFlags) mint(ctx context.Context) (swarm.Mint, error) {
	if f.command != "" {
		return func(role, kind, sub string) (string, error) {
			return tokenFrom(ctx, f.command, wire.Role(role), wire.Origin(kind), sub)
		}, nil
	}
	return mintOf(f.data, f.tenant)
}

// loadTTL is longer than a run of a night.
const loadTTL = 24 * time.Hour

func mintOf(data, tenant string) (swarm.Mint, error) {
	keys, err := token.LoadOrCreate(data)
	if err != nil {
		return nil, err
	}
	return func(role, kind, sub string) (string, error) {
		c := token.Claims{Tenant: tenant, Sub: sub, Role: wire.Role(role), Kind: wire.Origin(kind)}
		if c.Role == wire.RoleWorker {
			c.Queues = []string{"*"}
		}
		return keys.Mint(c, loadTTL)
	}, nil
}

// loadFlags are those of `loadtest run`.
type loadFlags struct {
	tokenFlags
	addr, dir, ca     string
	insecure          bool
	sets              []string
	processes         int
	remote, quiet     bool
	findMax           bool
	steps             int
	repeat            int // of plan measure
	jsonFile, webFile string
}

// errInterrupted is why a run ended that was not let end in order.
var errInterrupted = errors.New("it was interrupted twice, and ended at once")

// stopTwice closes stop at the first signal, and cancels at the second, until ctx ends.
func stopTwice(ctx context.Context, signals <-chan os.Signal, stop chan<- struct{}, cancel context.CancelCauseFunc, out io.Writer) {
	select {
	case <-ctx.Done():
		return
	case <-signals:
	}
	_, _ = fmt.Fprintln(out, "\nstopping: what is under way may end, and is audited; once more ends it at once") // it stops, heard or not
	close(stop)
	select {
	case <-ctx.Done():
	case <-signals:
		cancel(errInterrupted)
	}
}

func newLoadRun() *cobra.Command {
	var f loadFlags
	cmd := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a scenario: a file, or the name of a shipped one",
		Long: `Run a scenario against a node, with real sockets, and say what came of it. A scenario is a YAML file, or the name of
one that comes with the program (see loadtest scenarios). It exits 3 when a gate does not hold, or when an acknowledged
word was lost, duplicated, reordered or altered.

Without --addr and --data a node is started for the run, as a process of its own on loopback with a temporary directory.
The first line says where it plays: SWITCHBOARD_ADDR and SWITCHBOARD_DATA count too, and --addr= --data= --token-cmd=
overrule them. With --data the node of that directory is used, at --addr; with --token-cmd any node. No other worker may
serve the queue "default", and the limits of its connections must let the load through.

Ctrl-C stops it in order: what is under way may end and is audited, and there is a report of the time until then; once more ends it
at once. With --json what was measured so far is written every minute.

The schedule is open: messages are due whether or not earlier ones were answered, and latency counts from then.`,
		Example: `  switchboard loadtest run chat
  switchboard loadtest run chat --set talk.rate=500 --set steady=60s --html report.html --json report.json
  switchboard loadtest run idle --set customers.sockets=40000 --processes 3
  switchboard loadtest run chat --find-max
  switchboard loadtest run ./mine.yaml --data ./data --addr 127.0.0.1:7470`,
		Args: exactly(1, "one scenario: a file, or a name of switchboard loadtest scenarios"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0])
		},
	}
	fs := cmd.Flags()
	f.add(cmd)
	fs.StringVar(&f.addr, "addr", "", "host:port of a running node, or wss://host:port (default 127.0.0.1:7470 with --data; else one is started)")
	fs.StringVar(&f.ca, "ca", "", "PEM file of who vouches for a node that speaks TLS (default: whom the system trusts)")
	fs.BoolVar(&f.insecure, "insecure", false, "speak TLS with whoever answers")
	fs.StringVar(&f.dir, "dir", "", "where the started node's directory is made (default the system's for temporary files)")
	fs.StringArrayVar(&f.sets, "set", nil, "key=value of the scenario, as customers.sockets=500; may be given again")
	fs.IntVar(&f.processes, "processes", 0, "processes of the load generator (default: as many as the limit of open files asks for)")
	fs.BoolVar(&f.remote, "allow-remote", false, "allow a node that is not on loopback")
	fs.BoolVar(&f.quiet, "quiet", false, "say nothing while it runs")
	fs.BoolVar(&f.findMax, "find-max", false, "search the highest rate (or number of sockets, of a scenario that says nothing) at which the gates hold")
	fs.IntVar(&f.steps, "steps", 8, "runs at most, with --find-max")
	fs.StringVar(&f.jsonFile, "json", "", "write the result to this file, for compare")
	fs.StringVar(&f.webFile, "html", "", "write a page with charts to this file")
	return cmd
}

// readScenario reads a file, or a shipped scenario.
func readScenario(name string, sets []string) (doc []byte, sc *scenario.Scenario, err error) {
	doc, shipped := scenarios.Read(name)
	file := name
	if !shipped {
		if doc, err = os.ReadFile(name); err != nil {
			if !strings.ContainsAny(name, "./\\") {
				err = fmt.Errorf("there is no scenario %q: the shipped ones are %s", name, strings.Join(scenarios.Names(), ", "))
			}
			return nil, nil, usageError{err}
		}
	} else {
		file += ".yaml"
	}
	if sc, err = scenario.Parse(file, doc, sets...); err != nil {
		return nil, nil, usageError{err}
	}
	return doc, sc, nil
}

func (f *loadFlags) run(ctx context.Context, out, errOut io.Writer, name string) error {
	switch {
	case f.processes < 0:
		return usageError{fmt.Errorf("--processes is %d: it must not be below 0, which is as many as are needed", f.processes)}
	case f.findMax && f.steps < 1:
		return usageError{fmt.Errorf("--steps is %d: a search takes 1 at least", f.steps)}
	}
	doc, sc, err := readScenario(name, f.sets)
	if err != nil {
		return err
	}
	if err := outputs([]output{{"json", f.jsonFile}, {"html", f.webFile}}); err != nil {
		return err
	}
	s := swarm.Swarm{Scenario: sc, Doc: string(doc), Sets: f.sets, Processes: f.processes, Remote: f.remote}
	if err := f.place(ctx, &s); err != nil {
		return err
	}
	if s.Node == nil { // also when it is to be quiet: it is somebody's
		_, _ = fmt.Fprintln(errOut, playsAt(s.Addr, f.data)) // it plays, heard or not
	} else if !f.quiet {
		_, _ = fmt.Fprintln(errOut, playsOwn)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals, stop := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	go stopTwice(ctx, signals, stop, cancel, errOut)
	show := newTeller(errOut, f.quiet)
	s.Progress, s.Log, s.Stop = show.progress, show.say, stop
	if f.findMax {
		return f.search(ctx, out, &s)
	}
	if f.jsonFile != "" {
		s.Keep = func(res *report.Result) {
			if err := f.keep(res); err != nil {
				show.say("what was measured so far could not be kept: " + err.Error())
			}
		}
	}
	res, err := s.Run(ctx)
	show.end()
	if err != nil {
		return err
	}
	return f.tell(out, res)
}

// playsOwn is the first line of a load test that has a node of its own.
const playsOwn = "playing against a node of its own, started for this"

// playsAt is the first line of one that plays against a running node, which may be there because of what a shell still says: the tokens are
// made with the keys of a data directory, or come from a command when there is none.
func playsAt(addr, data string) string {
	tokens := "tokens of --token-cmd"
	if data != "" {
		tokens = "keys of " + data
	}
	return fmt.Sprintf("playing against the node at %s, with the %s; for a node of its own: --addr= --data= --token-cmd=", addr, tokens)
}

// place finds the node, or says how to start one.
func (f *loadFlags) place(ctx context.Context, s *swarm.Swarm) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if err := f.trust(s); err != nil {
		return err
	}
	if f.command != "" && f.data != "" {
		return usageError{errors.New("tokens come from one place: set --data or --token-cmd")}
	}
	agent := func(ctx context.Context, data string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, self, "loadtest", "agent", "--data", data, "--tenant", f.tenant, "--token-cmd", f.command) //nolint:gosec // this program
		cmd.Stderr = os.Stderr
		return cmd
	}
	if f.addr == "" && f.data == "" && f.command == "" {
		s.Node = &swarm.OwnNode{Self: self, Exec: s.Scenario.Node.Exec, Config: s.Scenario.Node.Config, TLS: s.Scenario.Node.TLS, Dir: f.dir, Env: ownEnv(), Mint: func(data string) (swarm.Mint, error) { return mintOf(data, "demo") }}
		s.Spawn = agent
		return nil
	}
	switch {
	case f.command != "" && f.addr == "":
		return usageError{errors.New("--token-cmd is for a running node: set --addr")}
	case f.command == "" && f.data == "":
		return usageError{errors.New("a running node wants tokens: set --data to its directory, or --token-cmd")}
	}
	if s.Scenario.Node.Count > 1 {
		return usageError{errors.New("node.count is for nodes of the test's own: leave out --addr and --data")}
	}
	for _, a := range s.Scenario.Actions {
		if a.Kill || a.Drain {
			return usageError{errors.New("the scenario ends its own node: leave out --addr and --data, or put what ends yours into run")}
		}
	}
	if f.data != "" {
		if _, err := os.Stat(filepath.Join(f.data, token.FileName)); err != nil {
			return usageError{fmt.Errorf("--data is the data directory of the node, and has its keys; this one has none: %w", err)}
		}
	}
	s.Addr = f.addr
	if s.Addr == "" {
		s.Addr = "127.0.0.1:7470"
	}
	s.Spawn = func(ctx context.Context, _ string) *exec.Cmd { return agent(ctx, f.data) }
	s.Mint, err = f.mint(ctx)
	return err
}

// trust finds out whether the node speaks TLS, and whom to believe.
func (f *loadFlags) trust(s *swarm.Swarm) error {
	scheme, host, is := strings.Cut(f.addr, "://")
	if is {
		f.addr = strings.TrimSuffix(host, "/")
	}
	switch {
	case !is && f.ca == "" && !f.insecure, is && (scheme == "ws" || scheme == "http"):
		if f.ca != "" || f.insecure {
			return usageError{errors.New("--ca and --insecure are about TLS: the address says that there is none")}
		}
		return nil
	case is && scheme != "wss" && scheme != "https":
		return usageError{fmt.Errorf("--addr begins with %q: it must be wss, https, ws, http or nothing", scheme)}
	case f.addr == "" && f.data == "" && f.command == "":
		return usageError{errors.New("--ca and --insecure are for a running node; a node of the test's own has node.tls in the scenario")}
	}
	s.Trust = &swarm.Trust{Insecure: f.insecure}
	if f.ca == "" {
		return nil
	}
	pem, err := os.ReadFile(f.ca)
	if err != nil {
		return usageError{fmt.Errorf("reading --ca: %w", err)}
	}
	s.Trust.CA = string(pem)
	return nil
}

// tell prints and writes what came of a run.
func (f *loadFlags) tell(out io.Writer, res *report.Result) error {
	if _, err := res.WriteTo(out); err != nil {
		return err
	}
	if f.jsonFile != "" {
		if err := f.keep(res); err != nil {
			return err
		}
	}
	if f.webFile != "" {
		if err := writePage(f.webFile, res.WriteHTML); err != nil {
			return err
		}
	}
	switch {
	case res.Stopped && !res.Stained(): // gates are about the time that it was to take
		return fmt.Errorf("stopped after %.0f s of the steady time: there is no verdict but that nothing was lost until then", res.Steady)
	case res.Holds():
		return nil
	}
	return checkError{fmt.Errorf("gates that do not hold: %s", strings.Join(failed(res), ", "))}
}

// failed names the gates of a run that do not hold, with what was measured.
func failed(res *report.Result) (gates []string) {
	for i := range res.Gates {
		if g := &res.Gates[i]; !g.Holds {
			gates = append(gates, fmt.Sprintf("%s (%s)", g.Text, g.Print()))
		}
	}
	return gates
}

// keep writes a result to the file for it.
func (f *loadFlags) keep(res *report.Result) error {
	res.Version = version
	return writeWhole(f.jsonFile, res)
}

// writeWhole writes v to a file in JSON, whole or not at all: it may be read at any moment, and a run may end at any.
func writeWhole(file string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return writeFile(file, append(b, '\n'))
}

// writeFile writes a file whole or not at all.
func writeFile(file string, b []byte) error {
	if st, err := os.Stat(file); err == nil && !st.Mode().IsRegular() { // a pipe, or a terminal
		return os.WriteFile(file, b, 0o600)
	}
	temp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(b)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

func newLoadAgent() *cobra.Command {
	var f tokenFlags
	cmd := &cobra.Command{
		Use: "agent", Short: "One process of a load generator, started by loadtest run", Hidden: true, Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Ignore(syscall.SIGINT, syscall.SIGTERM) // it ends with whoever started it, who lets it end in order
			mint, err := f.mint(cmd.Context())
			if err != nil {
				return err
			}
			return swarm.Agent(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), mint)
		},
	}
	f.add(cmd)
	return cmd
}

func newLoadScenarios() *cobra.Command {
	return &cobra.Command{
		Use: "scenarios", Short: "List the shipped scenarios", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var rows [][2]string
			for _, name := range scenarios.Names() {
				_, sc, err := readScenario(name, nil)
				if err != nil {
					return err
				}
				rows = append(rows, [2]string{name, sc.About})
			}
			rows = append(rows, [2]string{"replay", "Recorded dialogues with hand-offs and lost connections; it is switchboard loadtest replay"})
			return columns(cmd.OutOrStdout(), rows)
		},
	}
}

func newLoadShow() *cobra.Command {
	var metrics bool
	cmd := &cobra.Command{
		Use: "show SCENARIO", Short: "Print a scenario", Args: func(_ *cobra.Command, args []string) error {
			if metrics || len(args) == 1 {
				return nil
			}
			return usageError{errors.New("it takes one scenario; see switchboard loadtest scenarios")}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if metrics {
				var rows [][2]string
				names, about := scenario.Metrics()
				for _, n := range names {
					rows = append(rows, [2]string{n, about[n]})
				}
				return columns(cmd.OutOrStdout(), rows)
			}
			doc, _, err := readScenario(filepath.Clean(args[0]), nil)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(doc)
			return err
		},
	}
	cmd.Flags().BoolVar(&metrics, "figures", false, "print the figures that gates may name instead")
	return cmd
}

// columns prints rows of a name and what is said about it.
func columns(out io.Writer, rows [][2]string) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		if _, err := fmt.Fprintf(t, "%s\t%s\n", r[0], r[1]); err != nil {
			return err
		}
	}
	return t.Flush()
}

// writePage writes a page to a file.
func writePage(file string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return writeFile(file, b.Bytes())
}

func newLoadCompare() *cobra.Command {
	var web string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "compare A.json B.json", Short: "Lay two results of loadtest run beside each other",
		Long: `Lay two results of loadtest run --json beside each other. Differences of more than a tenth are marked as better or
worse; less is what two runs on a shared machine differ by for no reason.`,
		Args: exactly(2, "two files that loadtest run --json wrote"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := report.Read(args[0])
			if err != nil {
				return err
			}
			b, err := report.Read(args[1])
			if err != nil {
				return err
			}
			c := report.Compare(a, b)
			if web != "" {
				if err := writePage(web, c.WriteHTML); err != nil {
					return err
				}
			}
			if asJSON {
				return c.WriteJSON(cmd.OutOrStdout())
			}
			_, err = c.WriteTo(cmd.OutOrStdout())
			return err
		},
	}
	cmd.Flags().StringVar(&web, "html", "", "write a page with both side by side to this file")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON: times in seconds, sizes in bytes")
	return cmd
}
