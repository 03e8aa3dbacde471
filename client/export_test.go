package client

import "time"

// WithJitter returns cfg with its pauses decided by f.
func WithJitter(cfg Config, f func(time.Duration) time.Duration) Config {
	cfg.jitter = f
	return cfg
}

// Pause returns the pause of a client with cfg after the n-th failure in a row, the server's advice added.
func Pause(cfg Config, n int, after time.Duration) (time.Duration, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return 0, err
	}
	return cfg.backoff(n, after), nil
}
