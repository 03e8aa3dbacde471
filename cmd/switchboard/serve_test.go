package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"switchboard/client"
)

// lines keeps what a process prints, and lets a test wait for a line.
type lines struct {
	mu   sync.Mutex
	all  bytes.Buffer
	more chan struct{}
}

func newLines() *lines { return &lines{more: make(chan struct{}, 1)} }

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.all.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// until returns the first line that holds text, or nothing when the process said that it fails.
func (l *lines) until(text string) string {
	for {
		for line := range strings.SplitAfterSeq(l.String(), "\n") {
			if strings.HasPrefix(line, "switchboard: ") && strings.HasSuffix(line, "\n") {
				return ""
			}
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return line
			}
		}
		<-l.more
	}
}

// [SW-8.1] [SW-8.3] A node from its start to its end, and its log while it runs and after.
func TestServeAndLog(t *testing.T) {
	data := filepath.Join(t.TempDir(), "deep", "data")
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("limits: {rate: 100000, burst: 100000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, addr, _, stderr := up(t, []string{"SWITCHBOARD_LISTEN=127.0.0.1:0"}, "--data", data, "--shards", "2", "--config", config)
	status := func(path string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		return r.StatusCode
	}
	if a, b := status("/healthz"), status("/readyz"); a != 200 || b != 200 {
		t.Errorf("healthz %d, readyz %d", a, b)
	}
	tok := strings.TrimSpace(finish(t, as(t, nil, "token", "--data", data, "--sub", "alice")).out)
	for role, want := range map[string]int{"operator": 200, "supervisor": 403} { // with --dev the tenant demo is in cluster.operators
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/v1/admin/cluster/keys", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(finish(t, as(t, nil, "token", "--data", data, "--role", role, "--sub", "olga")).out))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s is answered %s; want %d", role, resp.Status, want)
		}
	}
	c, err := client.Dial(t.Context(), client.Config{URL: "ws://" + addr + "/v1/connect", Token: client.StaticToken(tok)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), client.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const said = 250 // more than a page
	for i := range said {
		if _, err := s.Send(t.Context(), "text", fmt.Sprintf("%d\nand \u2028 \"more\"", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	running := finish(t, as(t, nil, "log", "--addr", addr, "--token", tok, "--json", s.ID()))
	terminate(t, cmd, stderr)
	stopped := finish(t, as(t, nil, "log", "--data", data, "--json", s.ID()))
	for name, r := range map[string]result{"running": running, "stopped": stopped} {
		if r.code != 0 || r.err != "" {
			t.Fatalf("%s: exit %d, %q", name, r.code, r.err)
		}
		last, words := uint64(0), 0
		for line := range strings.Lines(r.out) {
			var e struct {
				Seq, Prev uint64
				Kind      string
				Body      struct{ Text string }
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %q is not one object: %v", name, line, err)
			}
			if e.Seq <= last || name == "stopped" && e.Seq != last+1 {
				t.Fatalf("%s: %d follows %d", name, e.Seq, last)
			}
			if e.Kind == "message" {
				if want := fmt.Sprintf("%d\nand \u2028 \"more\"", words); e.Body.Text != want {
					t.Fatalf("%s: %q; want %q", name, e.Body.Text, want)
				}
				words++
			}
			last = e.Seq
		}
		if words != said {
			t.Errorf("%s: %d words of %d", name, words, said)
		}
	}
	complains(t, 1, "there is no session", nil, "log", "--data", data, "s_0000000000000000")
	people := finish(t, as(t, nil, "log", "--data", data, s.ID()))
	if people.code != 0 || strings.Count(people.out, "\n") != strings.Count(stopped.out, "\n") {
		t.Errorf("for people it has %d lines; want %d", strings.Count(people.out, "\n"), strings.Count(stopped.out, "\n"))
	}
}

// A node that cannot finish its drain in time ends all the same, with everything durable, and says nothing on standard
// output but the tokens.
func TestDrainEnds(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	cmd, addr, stdout, stderr := up(t, nil, "--data", data, "--listen", "127.0.0.1:0", "--drain-ms", "50", "--log-json=false")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/v1/connect", nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="} {
		req.Header.Set(k, v)
	}
	r, err := http.DefaultClient.Do(req) // and it never says hello
	if err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", r, err)
	}
	defer func() { _ = r.Body.Close() }()
	terminate(t, cmd, stderr)
	if line := stderr.until("msg=draining"); !strings.Contains(line, " connections=") || !strings.Contains(line, " requests=") {
		t.Errorf("of its drain it says %q", line)
	}
	if _, err := io.ReadAll(r.Body); err != nil {
		t.Errorf("the socket ended with %v", err)
	}
	for line := range strings.Lines(stdout.String()) {
		if f := strings.Fields(line); len(f) < 3 || strings.Count(f[len(f)-1], ".") != 2 {
			t.Errorf("on standard output: %q", line)
		}
	}
}
