package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"switchboard/edge/secure"
)

// server is a node as a process of its own.
type server struct {
	addr, data string
	stop       func()

	trust *tls.Config // nil in the clear
	web   http.Client
	base  string // of its pages
}

// serve starts the binary with limits that let a load through, its data under name, and waits until it takes connections.
func serve(ctx context.Context, cfg *Config, name string, secured bool) (*server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	s := &server{addr: ln.Addr().String(), data: filepath.Join(cfg.Dir, name)}
	s.base = "http://" + s.addr
	if err := ln.Close(); err != nil {
		return nil, err
	}
	file, doc := filepath.Join(cfg.Dir, name+".yaml"), "limits: {rate: 100000, burst: 100000, inflight: 100000}\n"
	if secured {
		more, err := s.certify(cfg.Dir)
		if err != nil {
			return nil, err
		}
		doc += more
	}
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(cfg.Binary, "serve", "--dev", "--data", s.data, "--listen", s.addr, "--config", file, "--log-level", "warn") //nolint:noctx // ended by stop
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	bound(cmd)
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

// certify makes the node's certificate, and returns what its configuration says of it.
func (s *server) certify(dir string) (string, error) {
	cert, key, err := secure.SelfSigned(time.Hour, "127.0.0.1")
	if err != nil {
		return "", err
	}
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(os.WriteFile(certFile, cert, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
		return "", err
	}
	s.trust = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	s.trust.RootCAs.AppendCertsFromPEM(cert)
	s.web.Transport, s.base = &http.Transport{TLSClientConfig: s.trust.Clone()}, "https://"+s.addr
	return fmt.Sprintf("tls: {cert: %q, key: %q}\n", certFile, keyFile), nil
}
