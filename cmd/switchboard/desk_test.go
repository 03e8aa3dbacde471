package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// What --addr may be, and where the sockets are then.
func TestSocketURL(t *testing.T) {
	f := func(addr, want string) {
		t.Helper()
		if got, err := socketURL(addr); err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", addr, got, err, want)
		}
	}
	f("127.0.0.1:7470", "ws://127.0.0.1:7470/v1/connect")
	f("[::1]:7470", "ws://[::1]:7470/v1/connect")
	f(":7470", "ws://:7470/v1/connect")
	f("shop.example", "ws://shop.example/v1/connect")
	f("http://127.0.0.1:7470", "ws://127.0.0.1:7470/v1/connect")
	f("http://127.0.0.1:7470/", "ws://127.0.0.1:7470/v1/connect")
	f("https://shop.example", "wss://shop.example/v1/connect")
	f("https://shop.example/chat", "wss://shop.example/chat/v1/connect")
	f("wss://shop.example", "wss://shop.example/v1/connect")
	f("ws://127.0.0.1:7470/v1/connect", "ws://127.0.0.1:7470/v1/connect")
	for _, addr := range []string{"", "a b", "a%zz", "h:0", "h:65536", "h:port", "h:1/x", "ftp://h", "://h", "http://", "http://u:p@h", "http://h#x", "1:2:3", "::1"} {
		if got, err := socketURL(addr); err == nil {
			t.Errorf("%q is %q; want an error", addr, got)
		}
	}
}

// The end of input ends a desk, but only when it is known whether its worker was taken: a script is told that he was not.
func TestWorkWithoutInput(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, data := ln.Addr().String(), filepath.Join(t.TempDir(), "data")
	mint := func(args ...string) string {
		r := finish(t, as(t, nil, append([]string{"token", "--data", data}, args...)...))
		return strings.TrimSpace(r.out)
	}
	bob := mint("--role", "worker", "--kind", "human", "--sub", "bob")
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}

	// Nobody serves there yet: he waits until a node does.
	early := as(t, nil, "work", "--addr", "http://"+addr, "--token", bob)
	said := newLines()
	if early.Stderr = said; early.Start() != nil {
		t.Fatal("no worker")
	}
	t.Cleanup(func() { _ = early.Process.Kill() })
	if said.until("trying again") == "" {
		t.Fatalf("the worker: %s", said)
	}
	node, _, _, stderr := up(t, nil, "--listen", addr, "--data", data, "--shards", "2")
	if err := early.Wait(); err != nil || !strings.Contains(said.String(), "waiting for customers in default") {
		t.Errorf("who was there before the node: %v, %s", err, said)
	}

	if r := finish(t, as(t, nil, "work", "--addr", addr, "--token", bob)); r.code != 0 || !strings.Contains(r.err, "waiting for customers in default") {
		t.Errorf("a worker: %+v", r)
	}
	complains(t, 1, "forbidden", nil, "work", "--addr", addr, "--token", mint("--role", "customer", "--sub", "alice"))
	complains(t, 1, "bad_token|unauthenticated", nil, "work", "--addr", addr, "--token", "x")
	terminate(t, node, stderr)
}
