package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestClientExamples runs the examples of the Go client, which are run beside it against a model of a server, against a node. What they said is in its log.
func TestClientExamples(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	node, addr, _, stderr := up(t, nil, "--listen", "127.0.0.1:0", "--data", data, "--shards", "2")
	tokens := map[string]string{}
	for sub, args := range map[string][]string{"faq": {"--role", "worker", "--kind", "bot"}, "alice": nil, "ben": nil, "carol": nil} {
		r := finish(t, as(t, nil, append([]string{"token", "--data", data, "--sub", sub}, args...)...))
		if r.code != 0 {
			t.Fatalf("token: %+v", r)
		}
		tokens[sub] = strings.TrimSpace(r.out)
	}
	where, err := json.Marshal(map[string]any{"url": "ws://" + addr + "/v1/connect", "tokens": tokens})
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "^Example", "switchboard/client")
	run.Env = append(os.Environ(), "SWITCHBOARD_EXAMPLES="+string(where))
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "--- PASS: Example"); n < 3 {
		t.Errorf("%d examples were run:\n%s", n, out)
	}
	terminate(t, node, stderr)
	log := finish(t, as(t, nil, "log", "--all", "--data", data))
	for _, said := range []string{"you said: where is my order?", `"two"`, "Let me see: my order"} {
		if !strings.Contains(log.out, said) {
			t.Errorf("the node has heard nothing of %q", said)
		}
	}
}
