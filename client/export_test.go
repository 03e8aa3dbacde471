package client

import "time"

// WithJitter returns cfg with its pauses decided by f.
func WithJitter(cfg Config, f func(time.Duration) time.Duration) Config {
	cfg.jitter = f
	return cfg
}
