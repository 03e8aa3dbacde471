package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Idle is what customers cost who are connected and say nothing.
type Idle struct {
	Round     int `json:"round"`
	Customers int `json:"customers"`
	// Bytes is the servers' resident memory per customer: after all are connected, less before.
	Bytes float64 `json:"server_rss_bytes_per_customer"`
	// ConnectMicros is the servers' processor time for one to connect, log in, and open or subscribe.
	ConnectMicros float64 `json:"server_cpu_us_per_connect"`
	// PerSecond is how many connected a second, one after the other.
	PerSecond float64 `json:"connects_per_second"`
	Foreign   float64 `json:"foreign_cpus"`
	Fault     string  `json:"fault,omitempty"`
}

// idle connects n customers and a worker, and lets them be.
func idle(ctx context.Context, cfg *Config, row *Row, round, n int) (r Idle) {
	r = Idle{Round: round + 1, Customers: n}
	few := *cfg
	few.Customers, few.Workers = n, 1
	t := &Turn{Program: row.path, Workers: 1, Dir: filepath.Join(cfg.Dir, fmt.Sprintf("%s-idle-%d", strings.ReplaceAll(row.Name, " ", "-"), round))}
	quiet(ctx, cfg)
	if err := r.measure(ctx, &few, row, t); err != nil {
		r.Fault = err.Error()
	}
	return r
}

func (r *Idle) measure(ctx context.Context, cfg *Config, row *Row, t *Turn) (err error) {
	defer t.end(&err)
	if err := t.begin(ctx, row); err != nil {
		return err
	}
	l := newLoad(cfg, 0)
	first, empty := t.usage(), t.resident()
	s, err := row.peer.join(ctx, t, l)
	if s != nil {
		defer s.Close()
		defer l.until.Store(1) // what ends from here on is no fault
	}
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	last := t.usage()
	if err := l.wait(ctx, 3*time.Second); err != nil { // buffers of the handshakes go, garbage is collected if it ever is
		return err
	}
	n, took := float64(cfg.Customers), last.at.Sub(first.at).Seconds()
	servers := last.servers - first.servers
	r.Bytes = float64(t.resident()-empty) / n
	r.ConnectMicros = float64(servers.Microseconds()) / n
	r.PerSecond = n / took
	r.Foreign = max((last.whole-first.whole-servers-(last.generator-first.generator)).Seconds(), 0) / took
	return nil
}

func (r *Idle) line(name string) string {
	if r.Fault != "" {
		return fmt.Sprintf("idle  %-20s failed: %s", name, r.Fault)
	}
	return fmt.Sprintf("idle  %-20s %6.1f KB a customer  connect %6.1f us of CPU, %5.0f/s (others %.2f cores)", name, r.Bytes/1000, r.ConnectMicros, r.PerSecond, r.Foreign)
}
