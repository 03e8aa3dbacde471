package bench

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Config says what is measured, and for how long.
type Config struct {
	// Binary is the switchboard binary; it is started as a process of its own. Empty: the whole node is left out.
	Binary string
	// Dir is a directory on the disk to be measured; it is the caller's to remove.
	Dir string
	// Token mints a token for a node with its data in data.
	Token func(data, role, sub string) (string, error)
	// Customers and Workers are the sockets of the whole node's figures; default 1,000 and 8. Body is bytes; default 256.
	Customers, Workers, Body int
	// Connects is how many sockets connect and are held to see what that costs, and a quarter of them with TLS; default 4,000.
	Connects int
	// Rate is the round trips a second on schedule; default 1,000.
	Rate float64
	// Time is how long the whole node is measured, after half of it to warm up; default 4 s. An idle connection is watched three
	// times as long, until the node has given back what connecting took. Every other figure takes an eighth of it.
	Time time.Duration
	// Progress is told what is measured next; may be nil.
	Progress func(string)
}

// Figure is one line of the page.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Limit names the limit that bounds it, with its value; empty for the limits themselves.
	Limit string `json:"limit,omitempty"`
	// Share is the figure divided by its limit for rates, the limit divided by the figure for times: 1 is all that there
	// is. It may exceed 1 where the limit was measured in another way.
	Share float64 `json:"share,omitempty"`

	disk bool // it is bounded by what the disk gives, which may be another thing a moment later
}

// Page is what this machine can do.
type Page struct {
	Machine string   `json:"machine"`
	Limits  []Figure `json:"limits"`
	Own     []Figure `json:"own"`
	// Warnings say which figures are not to be quoted, and why.
	Warnings []string `json:"warnings,omitempty"`
}

// Run measures the page. It ends by itself, and early when ctx does.
func Run(ctx context.Context, cfg Config) (Page, error) {
	cfg.defaults()
	page := Page{Machine: Machine()}
	var l limits
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"memory, goroutines", func() error { l.memory(&cfg); return nil }},
		{"loopback", func() error { return l.loopback(ctx, &cfg) }},
		{"accepting, TLS handshakes", func() error { return l.door.measure(ctx, &cfg) }},
		{"the disk", func() error { return l.disk(ctx, &cfg) }},
		{"the codec", func() error { return page.codec(&cfg, &l) }},
		{"the journal", func() error { return page.journal(ctx, &cfg, &l) }},
		{"connecting", func() error { return page.connects(ctx, &cfg, &l) }},
		{"the whole node", func() error { return page.node(ctx, &cfg, &l) }},
	} {
		if err := ctx.Err(); err != nil {
			return page, err
		}
		cfg.Progress("measuring " + step.name)
		if err := step.do(); err != nil {
			return page, fmt.Errorf("measuring %s: %w", step.name, err)
		}
	}
	page.Limits = l.figures(&cfg)
	return page, nil
}

func (c *Config) defaults() {
	set := func(v *int, otherwise int) {
		if *v == 0 {
			*v = otherwise
		}
	}
	set(&c.Customers, 1000)
	set(&c.Workers, 8)
	set(&c.Body, 256)
	set(&c.Connects, 4000)
	if c.Rate == 0 {
		c.Rate = 1000
	}
	if c.Time == 0 {
		c.Time = 4 * time.Second
	}
	if c.Dir == "" {
		c.Dir = os.TempDir()
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
}

// part is how long a figure is measured that is not of the whole node.
func (c *Config) part() time.Duration { return c.Time / 8 }

// synced adds a figure that the disk bounds, as own does.
func (p *Page) synced(name string, value float64, unit, limit string, bound float64, rate bool) {
	p.own(name, value, unit, limit, bound, rate)
	p.Own[len(p.Own)-1].disk = true
}

// own adds a figure with its limit. For rates higher is better, for times lower.
func (p *Page) own(name string, value float64, unit, limit string, bound float64, rate bool) {
	f := Figure{Name: name, Value: value, Unit: unit, Limit: limit}
	switch {
	case rate && bound > 0:
		f.Share = value / bound
	case !rate && value > 0:
		f.Share = bound / value
	}
	p.Own = append(p.Own, f)
}
