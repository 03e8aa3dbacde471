package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/broker/routes"
)

// runs is the command, asked about one node.
type runs struct {
	t   *testing.T
	env []string
}

func (r *runs) want(code int, out, errs string, args ...string) result {
	r.t.Helper()
	e := finish(r.t, as(r.t, r.env, args...))
	if e.code != code || !strings.Contains(e.out, out) || !strings.Contains(e.err, errs) {
		r.t.Fatalf("%v ended with %d, said\n%s\nand complained\n%s\nit was to end with %d, say %q and complain %q", args, e.code, e.out, e.err, code, out, errs)
	}
	return e
}

// [SW-8.6] The shipped example serves; its document is got, compared, changed and kept, also when the node is killed right behind the
// answer; who is wrong is told with the exit codes of [SW-8.4].
func TestQueues(t *testing.T) {
	t.Setenv("SWITCHBOARD_TEST_MAIN", "1") // the test binary is the command
	bin, addr := os.Args[0], freeAddr(t)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	config, err := filepath.Abs("../../examples/merchant.yaml")
	if err != nil {
		t.Fatal(err)
	}
	merchant, err := os.ReadFile("../../examples/merchant-53-shops.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := serveWith(t, bin, data, addr, config)
	mint := func(args ...string) string { return run(t, bin, append([]string{"token", "--data", data}, args...)...) }
	r := &runs{t: t, env: []string{"SWITCHBOARD_ADDR=" + addr, "SWITCHBOARD_TOKEN=" + mint("--role", "supervisor", "--sub", "sue")}}
	write := func(name, doc string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}

	if e := r.want(0, "", "", "queues", "get"); e.out != string(merchant) {
		t.Fatalf("it serves another document than the example: %d bytes, not %d", len(e.out), len(merchant))
	}
	same := write("same.yaml", string(merchant))
	r.want(0, "", "", "queues", "diff", "-f", same)
	r.want(0, "demo: version 0 already says so", "", "queues", "apply", "-f", same)
	r.want(0, "2 queues, 19 teams, 53 shops", "", "queues", "validate", "-f", same)
	if e := r.want(0, "", "", "queues", "schema"); e.out != string(routes.Schema()) {
		t.Fatal("another schema is printed")
	}

	bad := write("bad.yaml", strings.Replace(string(merchant), "mode: savable_first", "mode: savable_frist", 1))
	for _, verb := range []string{"validate", "apply", "diff"} {
		e := r.want(exitCheck, "", "has a mistake", "queues", verb, "-f", bad)
		if !strings.HasPrefix(e.out, bad+":123:13: ") || !strings.Contains(e.out, "did you mean savable_first?") || strings.Count(e.err, "\n") != 1 {
			t.Fatalf("%s tells\n%s", verb, e.out)
		}
	}
	for _, verb := range []string{"validate", "apply", "diff"} { // for programs: the same, and the same exit code
		e := r.want(exitCheck, "", "has a mistake", "queues", verb, "-f", bad, "--json")
		var m struct {
			File   string
			Errors []mistake
		}
		if err := json.Unmarshal([]byte(e.out), &m); err != nil || m.File != bad || len(m.Errors) != 1 || m.Errors[0].Line != 123 || m.Errors[0].Column != 13 || m.Errors[0].Path == "" {
			t.Fatalf("%s --json tells\n%s\n%v", verb, e.out, err)
		}
	}
	r.want(0, `"queues":2,"teams":19,"shops":53,"errors":[]}`, "", "queues", "validate", "-f", same, "--json")
	r.want(0, `"version":0,"changes":[]}`, "", "queues", "diff", "-f", same, "--json")
	more := write("more.yaml", strings.Replace(string(merchant), "queues:\n", "queues:\n  - {name: night}\n", 1))
	r.want(exitCheck, `+ queues[night].name: "night"`, "differs from version 0", "queues", "diff", "-f", more)
	r.want(exitCheck, `{"path":"queues[night].name","is":"night"}]}`, "differs from version 0", "queues", "diff", "-f", more, "--json")
	if e := r.want(0, `"dry_run":true`, "", "queues", "apply", "-f", more, "--dry-run", "--json"); !json.Valid([]byte(e.out)) {
		t.Fatalf("apply --json says %s", e.out)
	}
	r.want(0, "changes would be made to version 0", "", "queues", "apply", "-f", more, "--dry-run")
	r.want(exitFailed, "", "is at version 0 by now", "queues", "apply", "-f", more, "--follows", "7")
	r.want(0, "demo: version 1 counts", "", "queues", "apply", "-f", more)
	p.kill() // right behind the answer
	p = serveWith(t, bin, data, addr, config)
	defer p.kill()
	if e := r.want(0, "", "", "queues", "get"); !strings.Contains(e.out, "{name: night}") {
		t.Fatal("what was applied is gone")
	}
	r.want(exitCheck, same+":119:3: $.queues: the queue night is gone", "nothing was changed", "queues", "apply", "-f", same)
	gone := write("gone.yaml", string(merchant)+"\nmoves: {night: service}\n")
	r.want(0, "demo: version 2 counts", "", "queues", "apply", "-f", gone)
	r.want(0, "sue", "", "queues", "versions")
	r.want(0, `"version":1`, "", "queues", "versions", "--json")
	r.want(0, "{name: night}", "", "queues", "get", "--version", "1")
	r.want(exitFailed, "", "410 position_gone", "queues", "get", "--version", "9")

	r.want(exitUsage, "", "no document: set -f", "queues", "apply")
	r.want(exitUsage, "", "names no tenant", "queues", "get", "--token", "x")
	r.want(exitUsage, "", "it must be a version", "queues", "apply", "-f", same, "--follows", "x")
	r.want(exitFailed, "", "no such file", "queues", "apply", "-f", same+".not")
	r.want(exitFailed, "", "403 forbidden", "queues", "get", "--token", mint("--role", "customer", "--sub", "alice"))
	r.want(exitUsage, "", "is no session id", "explain", "x")
	r.want(exitFailed, "", "404 no_session", "explain", "s_0000000000000000")

	// A session of it is explained.
	id := openByHTTP(t, addr, mint("--role", "customer", "--sub", "alice", "--shop", "s01"))
	r.want(0, "in queue service; it is the next.", "", "explain", id)
	r.want(0, `"state":"queued"`, "", "explain", id, "--json")
}

// openByHTTP opens a session, says something there, and returns its id.
func openByHTTP(t *testing.T, addr, token string) string {
	t.Helper()
	post := func(path, body string) []byte {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 300 {
			t.Fatalf("%s was answered %d %s %v", path, resp.StatusCode, b, err)
		}
		return b
	}
	var open struct{ Session string }
	if err := json.Unmarshal(post("/v1/sessions", "{}"), &open); err != nil {
		t.Fatal(err)
	}
	post("/v1/sessions/"+open.Session+"/messages", `{"body":{"text":"hi"}}`)
	return open.Session
}

// Shells are told what there is.
func TestCompletion(t *testing.T) {
	r := &runs{t: t}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r.want(0, "switchboard", "", "completion", shell)
	}
	r.want(0, "apply\t", "", "__complete", "queues", "")
	r.want(0, "yaml\nyml\njson\n", "", "__complete", "queues", "apply", "-f", "")
	r.want(0, "--dry-run\t", "", "__complete", "queues", "apply", "--d")
}

// A worker's token may say what conditions see of him; what is no object is refused.
func TestTokenAttributes(t *testing.T) {
	r := &runs{t: t}
	data := t.TempDir()
	worker := []string{"token", "--data", data, "--role", "worker", "--sub", "ann"}
	r.want(0, ".", "", append(worker, "--attributes", `{"level":0.8}`)...)
	r.want(exitUsage, "", "no JSON object", append(worker, "--attributes", `[1]`)...)
}
