package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"switchboard/bench"
)

// TestBench measures a small page with the binary: each of the node's figures is there, beside its limit. How large they are is the
// machine's.
func TestBench(t *testing.T) {
	r := finish(t, as(t, nil, "bench", "--dir", t.TempDir(), "--time", "200ms", "--customers", "8", "--workers", "2", "--connects", "40", "--rate", "50", "--json"))
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	var page bench.Page
	if err := json.Unmarshal([]byte(r.out), &page); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"node, round trips of 8 customers": true}
	if runtime.GOOS == "linux" {
		want["node, connects in the clear, with token and hello"] = true
		want["node, connects over TLS 1.3, with token and hello"] = true
		want["node, memory of an idle connection"] = true
		want["node, memory of an idle connection over TLS 1.3"] = true
		if len(page.Warnings) != 1 || !strings.Contains(page.Warnings[0], "of 40 sockets") {
			t.Errorf("figures of 40 sockets are shown with %q", page.Warnings)
		}
	}
	for _, f := range page.Own {
		if f.Value <= 0 || f.Share <= 0 || f.Limit == "" {
			t.Errorf("figure %+v", f)
		}
		delete(want, f.Name)
	}
	if len(want) > 0 {
		t.Errorf("%v are missing in %+v", want, page.Own)
	}
}

// TestBenchUsage: what could not measure anything is told before anything is measured.
func TestBenchUsage(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		complains(t, exitUsage, want, nil, append([]string{"bench"}, args...)...)
	}
	f("--customers is -5", "--customers", "-5")
	f("--workers is 0", "--workers", "0")
	f("--connects is 0", "--connects", "0")
	f("--body is 0", "--body", "0")
	f("--rate is -1", "--rate", "-1")
	f("--time is -1s", "--time", "-1s")
}

// TestBenchStopped: who is asked to end in the middle takes his node and his directory with him.
func TestBenchStopped(t *testing.T) {
	dir := t.TempDir()
	cmd := as(t, nil, "bench", "--dir", dir, "--time", "100ms", "--customers", "8", "--workers", "2", "--connects", "15000")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for { // its node, to which thousands connect
		if nodes, err := filepath.Glob(filepath.Join(dir, "*", "plain", "keys.json")); err != nil || len(nodes) > 0 {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v\n%s", err, stderr.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(stderr.String(), "terminated") {
		t.Errorf("exit %d, %v\n%s", cmd.ProcessState.ExitCode(), err, stderr.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
