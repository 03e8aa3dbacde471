package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"switchboard/edge"
	"switchboard/edge/token"
	"switchboard/loadtest"
	"switchboard/node"
	"switchboard/wire"
)

// replayFlags are where a replay finds its node and its dialogues.
type replayFlags struct {
	addr, data, tenant, tokenCmd string
	file, format                 string
	limit                        int
	asJSON                       bool
}

func newReplay() *cobra.Command {
	var (
		f replayFlags
		r loadtest.Replay
	)
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Play recorded dialogues with hand-offs and lost connections, and compare what arrived with what was sent",
		Long: `Play dialogues through real sockets, faster than they were: each customer has a connection of his own, bots and
humans answer, some dialogues move from the bot to a human in the middle, and connections of both sides are cut. Then
everything that each side received, and the history, is compared with what was sent: byte for byte, in order, once.
It exits 3 when that does not hold, or when a disturbance that was asked for never happened.

Without --addr and --data a node is started inside, on loopback and in a temporary directory. The first line says
where it plays: SWITCHBOARD_ADDR and SWITCHBOARD_DATA count too, and --addr= --data= --token-cmd= overrule them. With
--data the node of that directory is used, at --addr; with --token-cmd any node: the command is run by sh with ROLE (customer or
worker), KIND (bot or human, of workers) and SUB in its environment, and prints a token. No other worker may serve
the queue, and the customers' rate limit must let the speed through.

Dialogues are those that come with the program, or --dialogues: a file, or a folder of the data sets STAR, CrossWOZ and
tau-bench.`,
		Example: `  switchboard loadtest replay
  switchboard loadtest replay --dialogues ./star --limit 500 --disconnects 0.2 --seed 42
  switchboard loadtest replay --data ./data --addr 127.0.0.1:7470 --json`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") && r.Seed == 0 {
				r.Seed = rand.Uint64() >> 1 //nolint:gosec // it is to be different, not secret
			}
			r.Progress = func(s string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), s) }
			if err := f.dialogues(&r); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			res, err := f.run(ctx, &r)
			if err != nil {
				return err
			}
			if err := printReplay(cmd, res, f.asJSON); err != nil {
				return err
			}
			if !res.Holds() {
				return checkError{fmt.Errorf("the replay does not hold; play it again with --seed %d", res.Seed)}
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.addr, "addr", "", "host:port of a running node (default 127.0.0.1:7470 with --data; else one is started)")
	fs.StringVar(&f.data, "data", "", "data directory of the node, for its keys")
	fs.StringVar(&f.tenant, "tenant", "demo", "tenant, with --data")
	fs.StringVar(&f.tokenCmd, "token-cmd", "", "command that prints a token for $ROLE, $KIND and $SUB")
	instead(fs, "data", "token-cmd")
	instead(fs, "token-cmd", "data")
	fs.StringVar(&f.file, "dialogues", "", "file or folder of dialogues (default: those of the program)")
	fs.StringVar(&f.format, "format", "", "own, star, crosswoz or tau (default: guessed)")
	fs.IntVar(&f.limit, "limit", 0, "dialogues to play at most; 0 is all")
	fs.IntVar(&r.Repeat, "repeat", 1, "play each so many times")
	fs.StringVar(&r.Queue, "queue", "default", "queue to play in")
	fs.Float64Var(&r.Speed, "speed", 100, "seconds of a dialogue that pass in one")
	fs.Float64Var(&r.Disconnects, "disconnects", 0.05, "share of turns at which a connection of either side is cut")
	fs.Float64Var(&r.HandOff, "handoff", 0.3, "share of dialogues that move from a bot to a human")
	fs.Uint64Var(&r.Seed, "seed", 0, "decides what happens to whom (default: a new one)")
	fs.IntVar(&r.Concurrency, "concurrency", 64, "dialogues at a time; less when the file limit asks for it")
	fs.IntVar(&r.Bots, "bots", 2, "bots, each with a connection")
	fs.IntVar(&r.Humans, "humans", 3, "humans, each with a connection")
	fs.DurationVar(&r.Timeout, "timeout", 5*time.Minute, "how long it may play")
	fs.DurationVar(&r.Patience, "patience", 30*time.Second, "how long a dialogue may stand still after its last message")
	fs.BoolVar(&f.asJSON, "json", false, "print the verdict as JSON")
	return cmd
}

// dialogues reads what is to be played.
func (f *replayFlags) dialogues(r *loadtest.Replay) (err error) {
	r.Dialogues = loadtest.ShippedDialogues()
	if f.file != "" {
		if r.Dialogues, err = loadtest.ReadDialogues(f.file, f.format, f.limit); err != nil {
			return usageError{err}
		}
	}
	if f.limit > 0 && len(r.Dialogues) > f.limit {
		r.Dialogues = r.Dialogues[:f.limit]
	}
	return nil
}

// run finds or starts the node, and plays.
func (f *replayFlags) run(ctx context.Context, r *loadtest.Replay) (*loadtest.ReplayResult, error) {
	switch {
	case f.tokenCmd != "" && f.data != "":
		return nil, usageError{errors.New("tokens come from one place: set --data or --token-cmd")}
	case f.tokenCmd != "":
		if f.addr == "" {
			return nil, usageError{errors.New("--token-cmd is for a running node: set --addr")}
		}
		r.Token = func(role wire.Role, kind wire.Origin, sub string) (string, error) {
			return tokenFrom(ctx, f.tokenCmd, role, kind, sub)
		}
	case f.data != "":
		keys, err := token.LoadOrCreate(f.data)
		if err != nil {
			return nil, err
		}
		r.Token = mintWith(f.tenant, keys.Mint)
		if f.addr == "" {
			f.addr = "127.0.0.1:7470"
		}
	case f.addr != "":
		return nil, usageError{errors.New("a running node wants tokens: set --data to its directory, or --token-cmd")}
	default:
		r.Progress(playsOwn)
		return replayInside(ctx, r)
	}
	r.Progress(playsAt(f.addr, f.data))
	r.Addr = f.addr
	return replay(ctx, r)
}

// replay is Replay.Run with what makes no sense as a wrong call.
func replay(ctx context.Context, r *loadtest.Replay) (*loadtest.ReplayResult, error) {
	if err := r.Validate(); err != nil {
		return nil, usageError{err}
	}
	return r.Run(ctx)
}

// replayInside plays against a node in this process, which lives as long as the replay.
func replayInside(ctx context.Context, r *loadtest.Replay) (res *loadtest.ReplayResult, err error) {
	dir, err := os.MkdirTemp("", "switchboard-replay-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	n, err := start(ctx, node.Config{
		Data: dir, Listen: "127.0.0.1:0", Dev: true, FreeMin: -1, DrainMS: 1000, Version: version,
		Limits: edge.Limits{Rate: 100_000, Burst: 100_000}, // compressed time is not abuse
		Log:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Close(context.WithoutCancel(ctx))) }()
	r.Addr, r.SameProcess, r.Token = n.Addr(), true, mintWith("demo", n.Mint)
	return replay(ctx, r)
}

func mintWith(tenant string, mint func(token.Claims, time.Duration) (string, error)) func(wire.Role, wire.Origin, string) (string, error) {
	return func(role wire.Role, kind wire.Origin, sub string) (string, error) {
		c := token.Claims{Tenant: tenant, Sub: sub, Role: role, Kind: kind}
		if role == wire.RoleWorker {
			c.Queues = []string{"*"}
		}
		return mint(c, time.Hour)
	}
}

// tokenFrom asks a command for a token.
func tokenFrom(ctx context.Context, command string, role wire.Role, kind wire.Origin, sub string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", command) //nolint:gosec // it is what the user asked for
	cmd.Env = append(os.Environ(), "ROLE="+string(role), "KIND="+string(kind), "SUB="+sub)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("--token-cmd: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func printReplay(cmd *cobra.Command, r *loadtest.ReplayResult, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
	}
	_, err := r.WriteTo(cmd.OutOrStdout())
	return err
}
