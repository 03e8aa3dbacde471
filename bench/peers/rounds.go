package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Config says who is compared, and for how long.
type Config struct {
	// Only names the peers that take part; nil: all.
	Only *regexp.Regexp
	// Dir is the directory on the disk to be measured; everybody's data goes into one of its own under it.
	Dir string
	// Switchboard is the path of the built binary.
	Switchboard string
	// Rounds is how often everybody has a turn at everything.
	Rounds int
	// Customers, Workers and Body (bytes) are the work.
	Customers, Workers, Body int
	// Warm and Time are how long a turn runs before and while it is measured.
	Warm, Time time.Duration
	// Rates are the round trips a second on schedule; 0 is as fast as it goes.
	Rates []float64
	// Others is how many processors others may use during a turn: with more it is taken again, up to Tries times, and the
	// least disturbed one counts.
	Others float64
	Tries  int
	// Patience is how long a turn waits beforehand for such a moment.
	Patience time.Duration
	// Idle is how many customers are connected and say nothing, in a turn of its own; 0: there is none.
	Idle int
	// Watchers is how many hear one speaker's tokens, in a turn of its own; 0: there is none.
	Watchers int
	// Echo are how many messages are in a write of sockets that are only answered, in turns of their own, and Sockets how many
	// of these there are.
	Echo    []int
	Sockets int
	// Progress is told what happens.
	Progress func(string)
}

// Round is what one turn came to.
type Round struct {
	Round int     `json:"round"`
	Rate  float64 `json:"rate"` // on schedule; 0: as fast as it goes
	// PerSecond is answers a second in the window; P50 to P999 are milliseconds, on schedule from when a message was due.
	PerSecond float64 `json:"round_trips_per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p999_ms"`
	Max       float64 `json:"max_ms"`
	// ServerMicros and GeneratorMicros are processor time per round trip; Foreign is how many processors others used.
	ServerMicros    float64 `json:"server_cpu_us"`
	GeneratorMicros float64 `json:"generator_cpu_us"`
	Foreign         float64 `json:"foreign_cpus"`
	// SyncMicros is what a synced write of 4 KiB took just before, over a place that was written: the median of 50.
	SyncMicros float64 `json:"sync_us"`
	// LagP99 is how late the generator itself was, in milliseconds.
	LagP99 float64 `json:"generator_lag_p99_ms"`
	// Resident is the servers' memory at the end in bytes.
	Resident int64 `json:"server_rss_bytes"`
	// Unanswered is messages without an answer 8 s after the end, on schedule. Twice and Disorder count answers.
	Unanswered int    `json:"unanswered"`
	Twice      uint64 `json:"twice"`
	Disorder   uint64 `json:"out_of_order"`
	// Taken is which attempt this was, see Config.Others.
	Taken int `json:"taken"`
	// Fault tells why there is no figure.
	Fault string `json:"fault,omitempty"`
}

// Run compares: for every round and every rate, everybody has a turn.
func Run(ctx context.Context, cfg *Config) (*Report, error) {
	report := newReport(cfg)
	var field []*Row
	for _, p := range peers() {
		if cfg.Only != nil && !cfg.Only.MatchString(p.Name) {
			continue
		}
		path, ok := find(p.Program)
		if p.Program == "switchboard" && cfg.Switchboard != "" {
			path, ok = cfg.Switchboard, isProgram(cfg.Switchboard)
		}
		if !ok {
			report.missing(p)
			continue
		}
		field = append(field, newRow(ctx, p, path))
	}
	for n := range cfg.Rounds {
		for _, row := range field {
			if cfg.Idle > 0 && row.peer.join != nil && ctx.Err() == nil {
				r := idle(ctx, cfg, row, n, cfg.Idle)
				row.Idle = append(row.Idle, r)
				cfg.Progress(r.line(row.Name))
			}
		}
		for _, row := range field {
			if cfg.Watchers > 0 && row.peer.gather != nil && ctx.Err() == nil {
				r := fan(ctx, cfg, row, n, cfg.Watchers)
				row.Fan = append(row.Fan, r)
				cfg.Progress(r.line(row.Name))
			}
		}
		for _, batch := range cfg.Echo {
			for _, row := range field {
				if row.peer.echoes != nil && ctx.Err() == nil {
					r := echo(ctx, cfg, row, n, cfg.Sockets, batch)
					row.Echo = append(row.Echo, r)
					cfg.Progress(r.line(row.Name))
				}
			}
		}
		for _, rate := range cfg.Rates {
			for _, row := range field {
				if row.peer.join == nil {
					continue
				}
				if err := ctx.Err(); err != nil {
					return report, err
				}
				r := take(ctx, cfg, row, n, rate)
				row.Rounds = append(row.Rounds, r)
				cfg.Progress(r.line(row.Name, cfg.Rounds))
			}
		}
	}
	report.Rows = field
	return report, ctx.Err()
}

// take is one turn, or several when others were busy at the time. What fails is told in the Round, so that the rest goes on.
func take(ctx context.Context, cfg *Config, row *Row, n int, rate float64) (best Round) {
	for k := range max(cfg.Tries, 1) {
		quiet(ctx, cfg)
		r := Round{Round: n + 1, Rate: rate, Taken: k + 1}
		if err := turn(ctx, cfg, row, &r); err != nil {
			r.Fault = err.Error()
		}
		if k == 0 || best.Fault != "" || r.Fault == "" && r.Foreign < best.Foreign {
			best = r
		}
		if ctx.Err() != nil || r.Fault == "" && r.Foreign <= cfg.Others {
			break
		}
	}
	return best
}

// quiet waits until nobody uses more than cfg.Others processors, for cfg.Patience at most.
func quiet(ctx context.Context, cfg *Config) {
	const moment = 250 * time.Millisecond
	for end := time.Now().Add(cfg.Patience); time.Now().Before(end); {
		began, used := time.Now(), busy()
		select {
		case <-ctx.Done():
			return
		case <-time.After(moment):
		}
		if float64(busy()-used)/float64(time.Since(began)) <= cfg.Others {
			return
		}
	}
}

func turn(ctx context.Context, cfg *Config, row *Row, r *Round) (err error) {
	t := &Turn{Program: row.path, Workers: cfg.Workers, Dir: filepath.Join(cfg.Dir, fmt.Sprintf("%s-%d-%.0f", strings.ReplaceAll(row.Name, " ", "-"), r.Round, r.Rate))}
	defer t.end(&err)
	if r.SyncMicros, err = syncs(cfg.Dir); err != nil {
		return err
	}
	if err := t.begin(ctx, row); err != nil {
		return err
	}
	l := newLoad(cfg, r.Rate)
	s, err := row.peer.join(ctx, t, l)
	if s != nil {
		defer s.Close()
	}
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	var window []usage
	if err := l.Measure(ctx, s, func() { window = append(window, t.usage()) }); err != nil {
		return err
	}
	r.Resident = t.resident()
	return r.fill(l, window)
}

// fill takes the figures from a load that has been measured.
func (r *Round) fill(l *Load, window []usage) error {
	if len(window) < 2 || l.counted.Load() == 0 {
		return errNone
	}
	took, count := window[1].at.Sub(window[0].at), float64(l.counted.Load())
	if l.Rate > 0 {
		took = l.Time
		r.Unanswered = l.waiting()
		r.LagP99 = float64(l.lag.ValueAtQuantile(99)) / 1000
	}
	r.PerSecond = count / took.Seconds()
	servers, generator := window[1].servers-window[0].servers, window[1].generator-window[0].generator
	r.ServerMicros = float64(servers.Microseconds()) / count
	r.GeneratorMicros = float64(generator.Microseconds()) / count
	whole := window[1].whole - window[0].whole - servers - generator
	r.Foreign = max(whole.Seconds(), 0) / window[1].at.Sub(window[0].at).Seconds()
	h := l.latencies()
	ms := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	r.P50, r.P99, r.P999, r.Max = ms(50), ms(99), ms(99.9), float64(h.Max())/1000
	r.Twice, r.Disorder = l.twice.Load(), l.disorder.Load()
	return nil
}

// line is a turn as it is told while the others wait.
func (r *Round) line(name string, rounds int) string {
	what := "max"
	if r.Rate > 0 {
		what = fmt.Sprintf("%.0f/s", r.Rate)
	}
	if r.Fault != "" {
		return fmt.Sprintf("round %d of %d  %-7s %-20s failed: %s", r.Round, rounds, what, name, r.Fault)
	}
	return fmt.Sprintf("round %d of %d  %-7s %-20s %7.0f/s  p50 %8.3f  p99 %8.3f ms  cpu/rt %5.1f us (generator %5.1f, others %.2f cores, sync %4.0f us)  unanswered %d twice %d disorder %d",
		r.Round, rounds, what, name, r.PerSecond, r.P50, r.P99, r.ServerMicros, r.GeneratorMicros, r.Foreign, r.SyncMicros, r.Unanswered, r.Twice, r.Disorder)
}

// syncs returns what a synced write takes now, in microseconds: disks are shared too.
func syncs(dir string) (_ float64, err error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	took := newHistogram()
	block := make([]byte, 4096)
	for k := range 51 {
		began := time.Now()
		if _, err := f.WriteAt(block, 0); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		if k > 0 { // the first one makes the file longer
			_ = took.RecordValue(min(time.Since(began).Microseconds(), microsMax))
		}
	}
	return float64(took.ValueAtQuantile(50)), nil
}
