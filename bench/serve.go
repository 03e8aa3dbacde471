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
	"time"
)

// server is a node as a process of its own.
type server struct {
	addr, data string
	stop       func()
}

// serve starts the binary with limits that let a load through, and waits until it takes connections.
func serve(ctx context.Context, cfg *Config) (*server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	s := &server{addr: ln.Addr().String(), data: filepath.Join(cfg.Dir, "node")}
	if err := ln.Close(); err != nil {
		return nil, err
	}
	file := filepath.Join(cfg.Dir, "load.yaml")
	if err := os.WriteFile(file, []byte("limits: {rate: 100000, burst: 100000, inflight: 100000}\n"), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(cfg.Binary, "serve", "--dev", "--data", s.data, "--listen", s.addr, "--config", file, "--log-level", "warn") //nolint:noctx // ended by stop
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cfg.Binary, err)
	}
	s.stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for range 200 {
		if err := ctx.Err(); err != nil {
			s.stop()
			return nil, err
		}
		if conn, err := net.DialTimeout("tcp", s.addr, time.Second); err == nil {
			return s, conn.Close()
		}
		rest(ctx, 50*time.Millisecond)
	}
	s.stop()
	return nil, errors.New("it does not serve: " + said.String())
}
