package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"switchboard/loadtest"
)

// Config says what is compared, and for how long.
type Config struct {
	// Binary is the switchboard binary; it is started as a process of its own.
	Binary string
	// Dir is where everybody's data goes; it is the caller's to remove.
	Dir string
	// Token mints a token for a node with its data in data.
	Token func(data, role, sub string) (string, error)
	// Rounds is how often everybody has a turn; default 3.
	Rounds int
	// Customers, Workers and Body are as in loadtest.RoundTrip; default 1,000, 8 and 256.
	Customers, Workers, Body int
	// Warm and Time are how long a turn runs before and while it is measured; default 1.5 s and 4 s.
	Warm, Time time.Duration
	// Progress is told what happens; may be nil.
	Progress func(string)
}

// Row is what one opponent came to: medians over the rounds.
type Row struct {
	Name      string    `json:"name"`
	Promise   string    `json:"promise"`
	PerSecond float64   `json:"round_trips_per_second"`
	P50       float64   `json:"p50_ms"`
	P99       float64   `json:"p99_ms"`
	Ratio     float64   `json:"switchboard_to_it"`
	Rounds    []float64 `json:"rounds"`
}

// Report is the whole comparison.
type Report struct {
	Machine string   `json:"machine"`
	Missing []string `json:"not_installed"`
	Rows    []Row    `json:"rows"`
}

// opponent is somebody who takes turns.
type opponent struct {
	name, promise string
	needs         string // program that must be installed
	turn          func(ctx context.Context, cfg *Config, dir string) (float64, float64, float64, error)
	row           Row
	p50, p99      []float64
}

// Run compares. It ends by itself, and early when ctx does.
func Run(ctx context.Context, cfg Config) (Report, error) {
	cfg.defaults()
	report := Report{Machine: Machine()}
	var field []*opponent
	for _, o := range opponents() {
		if o.needs != "" {
			if _, err := exec.LookPath(o.needs); err != nil {
				report.Missing = append(report.Missing, o.needs)
				continue
			}
		}
		field = append(field, o)
	}
	for round := range cfg.Rounds {
		for _, o := range field {
			if err := ctx.Err(); err != nil {
				return report, err
			}
			dir := filepath.Join(cfg.Dir, fmt.Sprintf("%s-%d", strings.ReplaceAll(o.name, " ", "-"), round))
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return report, fmt.Errorf("making room for %s: %w", o.name, err)
			}
			rate, p50, p99, err := o.turn(ctx, &cfg, dir)
			if err != nil {
				return report, fmt.Errorf("round %d of %s: %w", round+1, o.name, err)
			}
			cfg.Progress(fmt.Sprintf("round %d of %d  %-18s %6.0f/s  p50 %6.2f ms  p99 %6.2f ms", round+1, cfg.Rounds, o.name, rate, p50, p99))
			o.row.Rounds, o.p50, o.p99 = append(o.row.Rounds, rate), append(o.p50, p50), append(o.p99, p99)
			if err := os.RemoveAll(dir); err != nil {
				return report, fmt.Errorf("removing the data of %s: %w", o.name, err)
			}
		}
	}
	for _, o := range field {
		o.row.Name, o.row.Promise = o.name, o.promise
		o.row.PerSecond, o.row.P50, o.row.P99 = median(o.row.Rounds), median(o.p50), median(o.p99)
		o.row.Ratio = field[0].row.PerSecond / o.row.PerSecond
		report.Rows = append(report.Rows, o.row)
	}
	return report, nil
}

func (c *Config) defaults() {
	set := func(v *int, otherwise int) {
		if *v == 0 {
			*v = otherwise
		}
	}
	set(&c.Rounds, 3)
	set(&c.Customers, 1000)
	set(&c.Workers, 8)
	set(&c.Body, 256)
	if c.Warm == 0 {
		c.Warm = 1500 * time.Millisecond
	}
	if c.Time == 0 {
		c.Time = 4 * time.Second
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
}

func opponents() []*opponent {
	return []*opponent{
		{name: "switchboard", promise: "both ways fsynced before they are heard of", turn: switchboard},
		{name: "nats core", promise: "nothing stored", needs: "nats-server", turn: process(nats{}, func(dir, port string) *exec.Cmd {
			return exec.Command("nats-server", "-a", "127.0.0.1", "-p", port) //nolint:noctx // stopped by the caller
		})},
		{name: "redis always", promise: "both ways fsynced", needs: "redis-server", turn: process(redis{}, func(dir, port string) *exec.Cmd {
			return exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--appendonly", "yes", //nolint:noctx // stopped by the caller
				"--appendfsync", "always", "--save", "", "--auto-aof-rewrite-percentage", "0", "--maxclients", "10000")
		})},
	}
}

// switchboard is our own turn.
func switchboard(ctx context.Context, cfg *Config, dir string) (rate, p50, p99 float64, err error) {
	port, err := freePort()
	if err != nil {
		return 0, 0, 0, err
	}
	file := filepath.Join(dir, "load.yaml")
	if err := os.WriteFile(file, []byte("limits: {rate: 100000, burst: 100000, inflight: 1000}\n"), 0o600); err != nil {
		return 0, 0, 0, err
	}
	data := filepath.Join(dir, "data")
	cmd := exec.Command(cfg.Binary, "serve", "--dev", "--data", data, "--listen", "127.0.0.1:"+port, "--config", file, "--log-level", "warn") //nolint:noctx // stopped below
	stop, err := launch(ctx, cmd, "127.0.0.1:"+port)
	if err != nil {
		return 0, 0, 0, err
	}
	defer stop()
	res, err := loadtest.RoundTrip{
		Addr: "127.0.0.1:" + port, Customers: cfg.Customers, Workers: cfg.Workers, Body: cfg.Body, Warm: cfg.Warm, Time: cfg.Time,
		Token: func(role, sub string) (string, error) { return cfg.Token(data, role, sub) },
	}.Run(ctx)
	return res.PerSecond, res.P50, res.P99, err
}

// process returns the turn of a peer that is a program of its own.
func process(p peer, make func(dir, port string) *exec.Cmd) func(context.Context, *Config, string) (float64, float64, float64, error) {
	return func(ctx context.Context, cfg *Config, dir string) (float64, float64, float64, error) {
		port, err := freePort()
		if err != nil {
			return 0, 0, 0, err
		}
		addr := "127.0.0.1:" + port
		stop, err := launch(ctx, make(dir, port), addr)
		if err != nil {
			return 0, 0, 0, err
		}
		defer stop()
		l := load{addr: addr, peer: p, customers: cfg.Customers, workers: cfg.Workers, body: cfg.Body, warm: cfg.Warm, time: cfg.Time}
		rate, hist, err := l.run(ctx)
		if err != nil {
			return 0, 0, 0, err
		}
		return rate, ms(hist, 50), ms(hist, 99), nil
	}
}

func ms(h *hdrhistogram.Histogram, q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }

// launch starts cmd and waits until addr takes connections.
func launch(ctx context.Context, cmd *exec.Cmd, addr string) (stop func(), err error) {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for range 200 {
		if err := ctx.Err(); err != nil {
			stop()
			return nil, err
		}
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = conn.Close()
			return stop, nil
		}
		wait(ctx, 50*time.Millisecond)
	}
	stop()
	return nil, errors.New("it does not serve: " + said.String())
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	defer func() { _ = ln.Close() }()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, err
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return s[len(s)/2]
}

// Machine returns the facts that a figure needs: processors, memory, kernel.
func Machine() string {
	line := func(path, prefix string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return "unknown"
		}
		for l := range strings.SplitSeq(string(b), "\n") {
			if strings.HasPrefix(l, prefix) {
				_, v, _ := strings.Cut(l, ":")
				if v == "" {
					v = l
				}
				return strings.TrimSpace(v)
			}
		}
		return "unknown"
	}
	return fmt.Sprintf("%d × %s, %s memory, %s, %s", runtime.NumCPU(), line("/proc/cpuinfo", "model name"), line("/proc/meminfo", "MemTotal"),
		line("/proc/sys/kernel/osrelease", ""), runtime.Version())
}
