package sim_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ear listens to the nodes' logs for what explains a failure: pools that began without having heard of every shard. They go by what they know
// then, and may give a worker more than he has room for; see docs/guarantees.md.
type ear struct {
	slog.Handler
	w *world
}

const withoutAll = "a pool opens although shards have not answered its census"

// Enabled implements slog.Handler.
func (e *ear) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// WithAttrs implements slog.Handler.
func (e *ear) WithAttrs([]slog.Attr) slog.Handler { return e }

// Handle implements slog.Handler.
func (e *ear) Handle(_ context.Context, r slog.Record) error { //nolint:gocritic // the interface has it so
	if r.Message == withoutAll {
		e.w.mu.Lock()
		e.w.soft = append(e.w.soft, time.Now())
		e.w.mu.Unlock()
	}
	return nil
}

// softBefore returns when a pool began without having heard of every shard, within the time that it takes to find out; "" when none did.
func (w *world) softBefore(at time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, s := range w.soft {
		if s.Before(at) && at.Sub(s) < time.Minute {
			list = append(list, s.UTC().Format("04:05.000"))
		}
	}
	return strings.Join(list, ", ")
}

// durably are the files of a data directory that are not on the simulated disk. They are written whole, and synced.
var durably = []string{"node.json", "node.json.copy", "keys.json"}

// keep reads them, as they are at the moment of a power cut: the node, which has not noticed, goes on writing for a while.
func (m *machine) keep() (files map[string][]byte, err error) {
	files = map[string][]byte{}
	for _, name := range durably {
		b, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("reading %s of %s: %w", name, m.name, err)
		}
		if err == nil {
			files[name] = b
		}
	}
	return files, nil
}

// putBack makes them again what they were.
func (m *machine) putBack(files map[string][]byte) error {
	for _, name := range durably {
		path := filepath.Join(m.dir, name)
		b, was := files[name]
		var err error
		if was {
			err = os.WriteFile(path, b, 0o600)
		} else if err = os.Remove(path); os.IsNotExist(err) {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
