package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// Fan is what it costs to tell many watchers the tokens of one speaker: a language model's answer, read by all who follow it. Nobody
// stores a token.
type Fan struct {
	Round    int `json:"round"`
	Watchers int `json:"watchers"`
	// PerSecond is tokens told a second, each to one watcher, with at most window tokens under way.
	PerSecond float64 `json:"tokens_told_per_second"`
	// ServerMicros is the servers' processor time for one token told to one watcher; GeneratorMicros the same of ours.
	ServerMicros    float64 `json:"server_cpu_us"`
	GeneratorMicros float64 `json:"generator_cpu_us"`
	// Merged is how many tokens came in one WebSocket message, on average; 0 is not known.
	Merged float64 `json:"tokens_per_message"`
	// Missing is the share of the tokens that did not come within a second.
	Missing float64 `json:"missing"`
	Foreign float64 `json:"foreign_cpus"`
	Fault   string  `json:"fault,omitempty"`
}

// Audience is a peer's speaker and watchers, connected.
type Audience interface {
	// Speak tells everybody the next token. It is called by one goroutine, and must not wait until they have it.
	Speak(token []byte) error
	Close()
}

// hall counts what watchers hear.
type hall struct {
	watchers int
	tokens   atomic.Int64 // heard, of all watchers
	messages atomic.Int64
	fault    atomic.Pointer[error]
	over     atomic.Bool
}

// tokenMark is in every token once.
const tokenMark = '~'

// heard takes one message of the server, at one watcher.
func (h *hall) heard(msg []byte) {
	if n := bytes.Count(msg, []byte{tokenMark}); n > 0 {
		h.tokens.Add(int64(n))
		h.messages.Add(1)
	}
}

// fail ends the turn with err, unless it is over.
func (h *hall) fail(err error) {
	if err != nil && !h.over.Load() {
		h.fault.CompareAndSwap(nil, &err)
	}
}

const (
	fanWindow  = 16 // tokens under way
	fanPatient = time.Second
)

// fan lets one speak to n watchers.
func fan(ctx context.Context, cfg *Config, row *Row, round, n int) (r Fan) {
	r = Fan{Round: round + 1, Watchers: n}
	t := &Turn{Program: row.path, Workers: 1, Dir: filepath.Join(cfg.Dir, fmt.Sprintf("%s-fan-%d", strings.ReplaceAll(row.Name, " ", "-"), round))}
	quiet(ctx, cfg)
	if err := r.measure(ctx, cfg, row, t); err != nil {
		r.Fault = err.Error()
	}
	return r
}

func (r *Fan) measure(ctx context.Context, cfg *Config, row *Row, t *Turn) (err error) {
	defer t.end(&err)
	if err := t.begin(ctx, row); err != nil {
		return err
	}
	h := &hall{watchers: r.Watchers}
	a, err := row.peer.gather(ctx, t, h)
	if a != nil {
		defer a.Close()
		defer h.over.Store(true)
	}
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	said, lost := int64(0), int64(0)
	speak := func(d time.Duration) error {
		for end := time.Now().Add(d); time.Now().Before(end); {
			if err := a.Speak(fmt.Appendf(nil, "%ctok%07d ", tokenMark, said)); err != nil {
				return err
			}
			said++
			missed, err := h.await(ctx, (said-fanWindow)*int64(r.Watchers)-lost)
			if err != nil {
				return err
			}
			lost += missed
		}
		return nil
	}
	if err := speak(cfg.Warm); err != nil {
		return err
	}
	first, tokens, messages, was := t.usage(), h.tokens.Load(), h.messages.Load(), said
	if err := speak(cfg.Time); err != nil {
		return err
	}
	last, told, in := t.usage(), float64(h.tokens.Load()-tokens), float64(h.messages.Load()-messages)
	if told == 0 {
		return errors.New("no watcher heard anything")
	}
	took, servers, generator := last.at.Sub(first.at).Seconds(), last.servers-first.servers, last.generator-first.generator
	r.PerSecond, r.Merged, r.Missing = told/took, told/in, float64(lost)/float64((said-was)*int64(r.Watchers))
	r.ServerMicros, r.GeneratorMicros = float64(servers.Microseconds())/told, float64(generator.Microseconds())/told
	r.Foreign = max((last.whole-first.whole-servers-generator).Seconds(), 0) / took
	return nil
}

// await waits until so many tokens were heard, and returns how many of them were given up.
func (h *hall) await(ctx context.Context, want int64) (missed int64, err error) {
	for last, since := h.tokens.Load(), time.Now(); ; {
		if err := h.fault.Load(); err != nil {
			return 0, *err
		}
		have := h.tokens.Load()
		switch {
		case have >= want:
			return 0, ctx.Err()
		case have != last:
			last, since = have, time.Now()
		case time.Since(since) > fanPatient:
			return want - have, ctx.Err()
		}
		time.Sleep(50 * time.Microsecond)
	}
}

func (r *Fan) line(name string) string {
	if r.Fault != "" {
		return fmt.Sprintf("fan   %-20s failed: %s", name, r.Fault)
	}
	return fmt.Sprintf("fan   %-20s %8.0f tokens told/s to %d watchers  %6.2f us of server CPU a token (generator %5.2f)  %4.1f tokens a message  %.2f %% missing (others %.2f cores)",
		name, r.PerSecond, r.Watchers, r.ServerMicros, r.GeneratorMicros, r.Merged, r.Missing*100, r.Foreign)
}

// fan writes the table of the watchers: the middle of each figure over the rounds.
func (r *Report) fan(b *strings.Builder) {
	var lines []string
	for _, row := range r.Rows {
		var kept []Fan
		for _, f := range row.Fan {
			if f.Fault != "" {
				fmt.Fprintf(b, "no figure: %s, watchers, round %d: %s\n", row.Name, f.Round, f.Fault)
				continue
			}
			kept = append(kept, f)
		}
		if len(kept) == 0 {
			continue
		}
		middle := func(what func(*Fan) float64) float64 {
			var v []float64
			for i := range kept {
				v = append(v, what(&kept[i]))
			}
			slices.Sort(v)
			return v[len(v)/2]
		}
		lines = append(lines, fmt.Sprintf("%s\t%.0f/s\t%.2f us\t%.1f\t%.2f %%\t%.2f\t", row.Name, middle(func(f *Fan) float64 { return f.PerSecond }), middle(func(f *Fan) float64 { return f.ServerMicros }),
			middle(func(f *Fan) float64 { return f.Merged }), 100*middle(func(f *Fan) float64 { return f.Missing }), middle(func(f *Fan) float64 { return f.Foreign })))
	}
	if len(lines) == 0 {
		return
	}
	fmt.Fprintln(b, "\nOne speaker's tokens, heard by all watchers: told a second, server CPU for one told to one, tokens in a message, missing, others' cores")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, l := range lines {
		_, _ = fmt.Fprintln(w, l)
	}
	_ = w.Flush()
}
