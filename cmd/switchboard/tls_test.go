package main

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/edge/secure"
	"switchboard/loadtest/report"
	"switchboard/wire"
)

// certify writes a certificate of its own into two files.
func certify(t *testing.T, cert, key string) {
	t.Helper()
	c, k, err := secure.SelfSigned(time.Hour, "127.0.0.1")
	if err == nil {
		err = errors.Join(os.WriteFile(cert, c, 0o600), os.WriteFile(key, k, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestServeTLS: a node that speaks TLS takes load over it, and a new certificate at SIGHUP, but not half of one.
func TestServeTLS(t *testing.T) {
	dir := t.TempDir()
	data, cert, key := filepath.Join(dir, "data"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, cert, key)
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte("limits: {rate: 100000, burst: 100000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, addr, _, stderr := up(t, []string{"SWITCHBOARD_LISTEN=127.0.0.1:0"}, "--data", data, "--config", config, "--tls-cert", cert, "--tls-key", key)
	serial := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test's
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // a test's
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	run := func(code int, more ...string) {
		t.Helper()
		jsonFile := filepath.Join(dir, "r.json")
		args := append(append([]string{"loadtest", "run", "chat", "--json", jsonFile, "--data", data, "--processes", "2"}, more...),
			small("customers.sockets=30", "talk.rate=100/s", "gates=[unanswered == 0, disconnects == 0]")...)
		r := finish(t, as(t, nil, args...))
		if r.code != code {
			t.Fatalf("%v: exit %d\n%s\n%s", more, r.code, r.out, r.err)
		}
		if code != 0 {
			return
		}
		res, err := report.Read(jsonFile)
		if err != nil {
			t.Fatal(err)
		}
		if f := res.Figures; f["answered"] != f["due"] || f["due"] < 30 || f["rss"] == 0 {
			t.Errorf("%+v", f)
		}
	}
	run(0, "--addr", "wss://"+addr, "--ca", cert)
	run(0, "--addr", addr, "--insecure")
	run(exitUsage, "--addr", "ws://"+addr, "--insecure")
	run(exitUsage, "--addr", "wss://"+addr, "--ca", data)

	if err := os.Rename(key, key+".old"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if stderr.until("is not replaced") == "" || serial() != first {
		t.Fatalf("half of a certificate is taken\n%s", stderr)
	}
	certify(t, cert, key)
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if stderr.until("the certificate was replaced") == "" || serial() == first {
		t.Fatalf("the new certificate is not served\n%s", stderr)
	}
	terminate(t, cmd, stderr)
}

// TestDemoTLS: the bot inside answers also when the demo speaks TLS, with whatever certificate.
func TestDemoTLS(t *testing.T) {
	dir := t.TempDir()
	data, cert, key := filepath.Join(dir, "data"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, cert, key)
	cmd, addr, _, stderr := started(t, nil, "demo", "--free-min", "-1", "--listen", "127.0.0.1:0", "--data", data, "--tls-cert", cert, "--tls-key", key)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, client.Config{
		URL: "wss://" + addr + connectPath, Token: client.StaticToken(minted(t, data, "--sub", "alice")),
		TLS: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a test's
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	s, err := c.Open(ctx, client.OpenOptions{})
	if err == nil {
		_, err = s.Send(ctx, "text", map[string]string{"text": "Where is my order?"})
	}
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := s.Recv(ctx)
		if err != nil {
			t.Fatalf("the bot did not answer: %v\n%s", err, stderr)
		}
		if e.Origin == wire.OriginBot {
			break
		}
	}
	terminate(t, cmd, stderr)
}

// TestLoadTLS: a node of the run's own speaks TLS when it is asked to.
func TestLoadTLS(t *testing.T) {
	r := finish(t, as(t, nil, append([]string{"loadtest", "run", "idle"}, small("customers.sockets=5", "steady=200ms", "node.tls=true", "gates=[sockets == 5]")...)...))
	if r.code != 0 {
		t.Errorf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
}
