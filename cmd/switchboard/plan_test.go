package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"switchboard/broker/whatif"
)

// A real node serves a load of bots and people; what it has recorded is exported, and played again: the same sessions, of which the same
// number wanted a person. Times are the machine's, and not compared here.
func TestPlanReplay(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	config := write("config.yaml", "tenants: {demo: {queues: [{name: default}]}}\n")
	doc := write("routes.yaml", "version: 1\nqueues: [{name: default}]\nservice_levels: [{name: said, first_reply_ms: 60000, everywhere: true}]\n")
	load := write("load.yaml", `
name: people
about: few people, and a bot that hands everything over
ramp: 1s
steady: 4s
stop: 20s
customers: {sockets: 30}
talk: {rate: 30/s, turns: {median: 3}, think: {median: 200ms}, close: true}
workers:
  bots: {count: 1, handoff: {share: 50%, after: 1}}
  humans: {count: 3, slots: 3, accept: {median: 50ms}, after: {median: 50ms}}
`)
	cmd, addr, _, stderr := up(t, []string{"SWITCHBOARD_LISTEN=127.0.0.1:0"}, "--data", data, "--shards", "2", "--config", config)
	if r := finish(t, as(t, nil, "loadtest", "run", load, "--data", data, "--addr", addr, "--quiet")); r.code != 0 {
		t.Fatalf("exit %d: %s\n%s", r.code, r.err, r.out)
	}
	terminate(t, cmd, stderr)

	r := finish(t, as(t, nil, "log", "--all", "--data", data))
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	queued, handed := 0, 0
	for line := range strings.Lines(r.out) {
		rec, err := whatif.ParseRecord([]byte(line))
		if err != nil || rec.Tenant != "demo" || rec.Customer == "" {
			t.Fatalf("%+v: %v", rec, err)
		}
		came, had := 0, 0
		for i := range rec.Entries {
			switch rec.Entries[i].Type {
			case "session.queued":
				came = 1
			case "session.transferred":
				had = 1
			}
		}
		queued, handed = queued+came, handed+had
	}
	if queued == 0 || handed == 0 {
		t.Fatalf("%d sessions, %d of them handed over", queued, handed)
	}
	tape := write("day.jsonl", r.out)
	for _, from := range []string{"--log=" + tape, "--data=" + data} {
		r := finish(t, as(t, nil, "plan", "replay", from, "--routes", doc, "--json"))
		var res whatif.Result
		if err := json.Unmarshal([]byte(r.out), &res); err != nil || r.code != 0 {
			t.Fatalf("exit %d %s: %v", r.code, r.err, err)
		}
		// Who left the real line has the same patience here, and those who did not may have less than they showed.
		if res.Sessions != queued || res.Served+res.People.Left != handed || res.Handed != handed || res.Alone != queued-handed || !res.Accounted() {
			t.Errorf("%s: %d sessions, %d handed over; played again %+v", from, queued, handed, res)
		}
		// How it was is no guess: each of those who were handed over and answered had a turn with a person, which the log shows.
		if w := res.Was; w == nil || w.People.Wanted != handed || len(w.Levels) == 0 || w.Levels[0].Level != "said" || int(w.Levels[0].Count) < w.People.Answered || w.People.Answered == 0 {
			t.Errorf("%s: %d handed over; as it was %+v", from, handed, w)
		}
	}
	out := finish(t, as(t, nil, "plan", "replay", "--log", tape, "--routes", doc, "--order", "savable_first", "--within", "2s"))
	if out.code != 0 || !strings.Contains(out.out, "as it was") || !strings.Contains(out.out, "savable_first") {
		t.Errorf("exit %d %s\n%s", out.code, out.err, out.out)
	}
	for _, policy := range []string{"as it was", "played again", "savable_first"} {
		if !regexp.MustCompile(`(?m)^ *` + policy + ` +said `).MatchString(out.out) {
			t.Errorf("nothing says what the service level was %s:\n%s", policy, out.out)
		}
	}
	complains(t, 2, "session id, or --all", nil, "log", "--all", "s_1", "--data", data)
	complains(t, 2, "set --data", nil, "log", "--all")
	complains(t, 2, "go with --all", nil, "log", "s_00c1k0v7x2m9q4ab", "--data", data, "--tenant", "demo")
	complains(t, 1, "line 1: reading a recorded session", nil, "plan", "replay", "--log", config, "--routes", doc)
}

func TestPlan(t *testing.T) {
	dir := t.TempDir()
	html, table, js := filepath.Join(dir, "a.html"), filepath.Join(dir, "a.csv"), filepath.Join(dir, "a.json")
	r := finish(t, as(t, nil, "plan", "run", "merchant-53-shops", "--set", "sessions=400", "--html", html, "--csv", table, "--json-file", js, "--json"))
	var res whatif.Result
	if err := json.Unmarshal([]byte(r.out), &res); err != nil || r.code != 0 || res.Sessions < 300 || len(res.Hours) != 13 {
		t.Fatalf("exit %d %s: %v, %+v", r.code, r.err, err, res)
	}
	for file, want := range map[string]string{html: "<svg", table: "\nas written,2026-11-07T09:00", js: `"sessions"`} {
		if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
	r = finish(t, as(t, nil, "plan", "compare", "double11", "--set", "sessions=400", "--order", "fifo,savable_first"))
	if r.code != 0 || !strings.Contains(r.out, "as written") || !strings.Contains(r.out, "fifo") || !strings.Contains(r.out, "savable_first") {
		t.Errorf("exit %d %s\n%s", r.code, r.err, r.out)
	}
	mine := filepath.Join(dir, "mine.yaml")
	day := finish(t, as(t, nil, "plan", "show", "merchant-53-shops")).out
	if err := os.WriteFile(mine, []byte(day), 0o600); err != nil {
		t.Fatal(err)
	}
	if r = finish(t, as(t, nil, "plan", "run", mine, "--set", "sessions=400")); r.code != 0 || !strings.Contains(r.out, "as written") {
		t.Errorf("a copy of a shipped day: exit %d %s\n%s", r.code, r.err, r.out)
	}
	routes := filepath.Join(dir, "routes.yaml")
	if err := os.WriteFile(routes, []byte(finish(t, as(t, nil, "plan", "show", "merchant-53-shops", "--routes")).out), 0o600); err != nil {
		t.Fatal(err)
	}
	r = finish(t, as(t, nil, "plan", "staff", mine, "-r", routes, "--set", "sessions=600", "--set", "length=2h", "--set", "targets[0]=0.5", "--set", "targets[1]=0.6", "--set", "targets[2]=0.7", "--html", html, "--csv", table))
	if r.code != 0 || !strings.Contains(r.out, "agent hours") || !strings.Contains(r.err, "the cliff") {
		t.Errorf("exit %d %s\n%s", r.code, r.err, r.out)
	}
	for _, file := range []string{mine, routes} { // as an editor of another system writes them
		b, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, []byte("\ufeff"+strings.ReplaceAll(string(b), "\n", "\r\n")), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if r = finish(t, as(t, nil, "plan", "run", mine, "-r", routes, "--set", "sessions=400")); r.code != 0 || !strings.Contains(r.out, "as written") {
		t.Errorf("with byte order marks: exit %d %s\n%s", r.code, r.err, r.out)
	}
	complains(t, 2, "takes a day", nil, "plan", "run")
	complains(t, 2, "reading the day: .* is a directory", nil, "plan", "run", dir)
	complains(t, 2, `takes a day; "d.json" is too much`, nil, "plan", "run", "double11", "--json", "d.json")
	complains(t, 2, "no shipped day", nil, "plan", "run", "tomorrow")
	complains(t, 2, "unknown field", nil, "plan", "run", "double11", "--set", "sesions=3")
	complains(t, 2, "no order", nil, "plan", "run", "double11", "--set", "sessions=10", "--order", "lifo")
	complains(t, 2, "nothing to compare", nil, "plan", "compare", "double11")
	complains(t, 2, "no staff", nil, "plan", "staff", "double11", "--row", "nobody")
	complains(t, 2, "--data or --log", nil, "plan", "replay")
	complains(t, 2, "and --routes", nil, "plan", "replay", "--log", "x")
	complains(t, 2, "day of --staff", nil, "plan", "replay", "--log", "x", "--routes", "y", "--set", "sessions=9")
}
