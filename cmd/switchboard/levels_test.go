package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"switchboard/client"
)

const levelsConfig = `
limits: {rate: 100000, burst: 100000}
tenants:
  demo:
    queues: [{name: default}]
    levels:
      - {name: bots, limit_ms: 60000, count: [bot], target: 0.9}
`

const levelsDocument = `
version: 1
service_levels:
  - {name: ours, preset: taobao, count: [bot], calendar: always}
calendars:
  - name: always
    zone: UTC
    weekly: [{days: [mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"}]
queues:
  - {name: default, service_level: ours}
`

// What a running node has counted, and what its log comes to afterwards, are the same.
func TestLevels(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte(levelsConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, addr, _, stderr := up(t, []string{"SWITCHBOARD_LISTEN=127.0.0.1:0"}, "--data", data, "--shards", "2", "--config", config)
	dial := func(args ...string) client.Config {
		tok := strings.TrimSpace(finish(t, as(t, nil, append([]string{"token", "--data", data}, args...)...)).out)
		return client.Config{URL: "ws://" + addr + "/v1/connect", Token: client.StaticToken(tok)}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() {
		_ = client.Work(ctx, client.WorkerConfig{Config: dial("--role", "worker", "--kind", "bot", "--sub", "echo"), Queues: []string{"default"}}, client.Echo(""))
	})
	defer working.Wait()
	defer cancel()
	c, err := client.Dial(t.Context(), dial("--sub", "alice"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), client.OpenOptions{Shop: "s1"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := s.Ask(t.Context(), "text", "hi"); err != nil {
			t.Fatal(err)
		}
	}
	super := strings.TrimSpace(finish(t, as(t, nil, "token", "--data", data, "--role", "supervisor", "--sub", "sue")).out)
	read := func(out, of string) (met, count int64) {
		for line := range strings.Lines(out) {
			var l levelLine
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if l.Level == "bots" && l.Of == of && (l.Window == "" || l.Window == "total") {
				return l.Met, l.Count
			}
		}
		return 0, 0
	}
	for n := int64(0); n < 3; { // it says so some seconds later
		r := finish(t, as(t, nil, "levels", "--addr", addr, "--token", super, "--json"))
		if r.code != 0 {
			t.Fatalf("exit %d: %s", r.code, r.err)
		}
		met, count := read(r.out, "shop")
		if n = count; met != count {
			t.Fatalf("%d of %d", met, count)
		}
	}
	if out := finish(t, as(t, nil, "levels", "--addr", addr, "--token", super)).out; !strings.Contains(out, "100.00 %") || !strings.Contains(out, "90.00 %") {
		t.Errorf("the table is\n%s", out)
	}
	doc := filepath.Join(t.TempDir(), "routes.yaml")
	if out := finish(t, as(t, nil, "levels", "--addr", addr, "--token", super, "--worker", "echo")).out; !strings.Contains(out, "worker  echo") || strings.Contains(out, "shop") {
		t.Fatalf("of the worker it says\n%s", out)
	}
	complains(t, 2, "not both", nil, "levels", "--addr", addr, "--token", super, "--worker", "echo", "--queue", "default")
	complains(t, 2, "go with --addr", nil, "levels", "--data", data, "--worker", "echo")
	nobody := freeAddr(t) // who asks once is told that nobody answers
	complains(t, 1, "no node answers at "+nobody, nil, "levels", "--addr", nobody, "--token", super)
	complains(t, 1, "no node answers at "+nobody, nil, "floor", "--addr", nobody, "--token", super)
	complains(t, 1, "no node answers at "+nobody, nil, "chat", "--addr", nobody, "--token", super)
	if err := os.WriteFile(doc, []byte(levelsDocument), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := finish(t, as(t, nil, "queues", "apply", "-f", doc, "--addr", addr, "--token", super)); r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	if r := finish(t, as(t, nil, "floor", "--addr", addr, "--token", super)); r.code != 0 || !strings.Contains(r.out, "\necho ") || !strings.Contains(r.out, s.ID()+"  default  assigned  echo") {
		t.Fatalf("the floor: exit %d %s: %s", r.code, r.err, r.out)
	}
	var floor floorJSON
	if r := finish(t, as(t, nil, "floor", "--addr", addr, "--token", super, "--queue", "default", "--json")); json.Unmarshal([]byte(r.out), &floor) != nil ||
		len(floor.Sessions) != 1 || floor.Sessions[0].Shop != "s1" || floor.Queues[0].Assigned != 1 || floor.Workers[0].Used != 1 {
		t.Fatalf("the floor: exit %d %s: %s", r.code, r.err, r.out)
	}
	_ = c.Close()
	cancel()
	working.Wait()
	terminate(t, cmd, stderr)
	r := finish(t, as(t, nil, "levels", "--data", data, "--config", config, "--tenant", "demo", "--json"))
	if met, count := read(r.out, "shop"); r.code != 0 || met != 3 || count != 3 {
		t.Fatalf("exit %d %s: %s", r.code, r.err, r.out)
	}
	if r := finish(t, as(t, nil, "levels", "--data", data, "--config", config, "--tenant", "demo", "--to", "2020-01-01", "--json")); r.code != 0 || r.out != "" {
		t.Fatalf("exit %d %s: %s", r.code, r.err, r.out)
	}
	if r := finish(t, as(t, nil, "levels", "--data", data, "--tenant", "demo", "--json")); r.code != 0 || !strings.Contains(r.out, `"level":"ours","of":"shop","name":"s1","met":3,"count":3`) ||
		strings.Contains(r.out, "taobao") {
		t.Fatalf("by the document that was applied: exit %d %s: %s", r.code, r.err, r.out)
	}
	if r := finish(t, as(t, nil, "levels", "--data", data, "--config", config, "--tenant", "demo", "--json")); !strings.Contains(r.out, `"level":"ours"`) || !strings.Contains(r.out, `"level":"bots"`) {
		t.Fatalf("by both: exit %d %s: %s", r.code, r.err, r.out)
	}
	other := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(other, []byte("tenants: {other: {queues: [{name: default}]}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	complains(t, 2, "has no levels", nil, "levels", "--data", data, "--config", other, "--tenant", "other")
	if r := finish(t, as(t, nil, "levels", "--data", data)); r.code != 0 || !strings.HasPrefix(r.out, "LEVEL") {
		t.Fatalf("exit %d %s: %s", r.code, r.err, r.out)
	}
}

func TestLevelsUsage(t *testing.T) {
	data := t.TempDir()
	f := func(code int, want string, args ...string) {
		t.Helper()
		complains(t, code, want, nil, append([]string{"levels"}, args...)...)
	}
	wrong := filepath.Join(data, "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("tenants: {demo: {queues: [{name: default}], levels: [{preset: ebay}]}, other: {queues: [{name: default}]}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(2, "--data .* or --addr")
	f(2, "goes with --data", "--addr", "127.0.0.1:1", "--preset", "taobao")
	f(2, `no preset "ebay".*taobao`, "--data", data, "--preset", "ebay")
	f(2, "set --tenant", "--data", data, "--config", wrong, "--tenant", "nobody")
	f(2, `no preset "ebay"`, "--data", data, "--config", wrong, "--tenant", "demo")
	f(2, "RFC 3339", "--data", data, "--from", "yesterday")
	f(1, "no data directory", "--data", data)
	complains(t, 2, `no preset "ebay"`, nil, "serve", "--data", filepath.Join(data, "x"), "--config", wrong)
}
