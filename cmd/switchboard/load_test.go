package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"switchboard/edge/token"
	"switchboard/loadtest/report"
	"switchboard/loadtest/swarm"
)

// small makes a shipped scenario one of a second.
func small(more ...string) []string {
	args := []string{"--quiet"}
	for _, set := range append([]string{"ramp=100ms", "steady=1s", "stop=20s"}, more...) {
		args = append(args, "--set", set)
	}
	return args
}

// loaded runs a shipped scenario, whose gates must hold, and returns its result, and what it has printed.
func loaded(t *testing.T, scenario string, flags, sets []string) (res *report.Result, said string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "r.json")
	r := finish(t, as(t, nil, slices.Concat([]string{"loadtest", "run", scenario, "--json", file}, flags, sets)...))
	if r.code != 0 {
		t.Fatalf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
	res, err := report.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return res, r.out
}

// TestLoadRun: a shipped scenario, a node and two generator processes of their own, a result in every form.
func TestLoadRun(t *testing.T) {
	dir := t.TempDir()
	jsonFile, page := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.html")
	args := append([]string{"loadtest", "run", "chat", "--processes", "2", "--dir", dir, "--json", jsonFile, "--html", page},
		small("customers.sockets=40", "talk.rate=100/s", "gates=[unanswered == 0, disconnects == 0]")...)
	r := finish(t, as(t, nil, args...))
	if r.code != 0 || r.err != "" || !strings.Contains(r.out, "2 processes") || !strings.Contains(r.out, "0 lost, 0 duplicated, 0 reordered, 0 mismatched") {
		t.Fatalf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
	res, err := report.Read(jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	if f := res.Figures; f["sockets"] != 40 || f["due"] < 40 || f["answered"] != f["due"] || f["rss"] == 0 || f["audited"] == 0 || res.Latencies["answer"].Count == 0 {
		t.Errorf("%+v", res.Figures)
	}
	if b, err := os.ReadFile(page); err != nil || !strings.Contains(string(b), "<svg") {
		t.Errorf("the page: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "switchboard-load-*")); err != nil || len(left) > 0 {
		t.Errorf("the node's directory is left: %v %v", left, err)
	}
	if r := finish(t, as(t, nil, "loadtest", "compare", jsonFile, jsonFile, "--html", page)); r.code != 0 || !strings.Contains(r.out, "answer.p99") {
		t.Errorf("compare: exit %d\n%s\n%s", r.code, r.out, r.err)
	}
}

// TestLoadKill: the node is killed under load, and every acknowledged word is there when it is back.
func TestLoadKill(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kill.yaml")
	doc := `
name: kill
about: a small one
ramp: 100ms
steady: 1200ms
stop: 30s
audit: 100
customers: {sockets: 20}
talk: {rate: 100/s}
workers: {bots: {count: 2}}
actions:
  - {at: 300ms, kill: true, restart: 50ms}
  - {at: 100ms, run: 'echo $ADDR $PID > "$DATA/../hook"'}
gates: [unanswered == 0, disconnects > 0]
`
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	jsonFile := filepath.Join(dir, "r.json")
	r := finish(t, as(t, nil, "loadtest", "run", file, "--dir", dir, "--json", jsonFile, "--quiet"))
	if r.code != 0 {
		t.Fatalf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
	var res report.Result
	b, err := os.ReadFile(jsonFile)
	if err == nil {
		err = json.Unmarshal(b, &res)
	}
	if err != nil || res.Figures["acked"] != res.Figures["due"] || res.Figures["audited"] != 20 || res.Latencies["reconnect"].Count == 0 {
		t.Errorf("%v %v", err, res.Figures)
	}
	// That process may be dead by the time that a shell has started.
	if b, err := os.ReadFile(filepath.Join(dir, "hook")); err != nil || !regexp.MustCompile(`^127\.0\.0\.1:\d+ \d+\n$`).Match(b) {
		t.Errorf("the hook said %q, %v", b, err)
	}
}

// TestLoadPlace: what a shell still says of a node does not go unsaid, `make loadtest` and `make soak` do not go by it, and nor do nodes of the test's own.
func TestLoadPlace(t *testing.T) {
	data := t.TempDir()
	if _, err := token.LoadOrCreate(data); err != nil {
		t.Fatal(err)
	}
	nowhere := filepath.Join(data, "nowhere")
	first := func(args ...string) string {
		t.Helper()
		return firstLine(t, append(args, "--quiet=false", "--dir", nowhere, "--set", "patience=1ms")...) // there is no node behind that line, of either kind
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	recipe := func(target string) []string {
		_, text, _ := strings.Cut(string(makefile), "\n"+target+":")
		_, text, _ = strings.Cut(text, "\tbin/switchboard ")
		text, _, _ = strings.Cut(text, "\n")
		text = strings.NewReplacer("$(or $(SCENARIO),chat)", "chat", "$(or $(STEADY),1h)", "1h", "$(value ARGS)", "", "soak.json", filepath.Join(data, "soak.json")).Replace(text)
		return strings.Fields(text)
	}
	if line := first("loadtest", "run", "chat"); line != playsOwn {
		t.Errorf("it begins with %q", line)
	}
	t.Setenv("SWITCHBOARD_DATA", data)
	t.Setenv("SWITCHBOARD_ADDR", "127.0.0.1:1")
	want := "playing against the node at 127.0.0.1:1, with the keys of " + data + "; for a node of its own: --addr= --data= --token-cmd="
	if line := first("loadtest", "run", "chat"); line != want {
		t.Errorf("with a shell's variables it begins with %q", line)
	}
	if line := first("loadtest", "run", "chat", "--addr=", "--data=", "--token-cmd="); line != playsOwn {
		t.Errorf("as that line says it begins with %q", line)
	}
	for _, target := range []string{"loadtest", "soak"} {
		if line := first(recipe(target)...); line != playsOwn {
			t.Errorf("make %s (%q) begins with %q", target, recipe(target), line)
		}
	}
	if line := first("plan", "measure", "--json", filepath.Join(data, "x")); !strings.HasPrefix(line, "measuring nodes of its own") {
		t.Errorf("plan measure begins with %q", line)
	}
	env := []string{"SWITCHBOARD_TLS_CERT=" + nowhere, "SWITCHBOARD_JOIN=127.0.0.1:1"}
	r := finish(t, as(t, env, append([]string{"loadtest", "run", "idle", "--addr=", "--data="}, small("customers.sockets=5", "steady=200ms", "gates=[sockets == 5]")...)...))
	if r.code != 0 {
		t.Errorf("a node of its own goes by what a shell says of another: exit %d\n%s\n%s", r.code, r.out, r.err)
	}
}

// TestLoadGates: a gate that does not hold is exit 3, in one line, with the result printed before.
func TestLoadGates(t *testing.T) {
	r := finish(t, as(t, nil, append([]string{"loadtest", "run", "idle"}, small("customers.sockets=5", "steady=200ms", "gates=[sockets > 5]")...)...))
	if r.code != exitCheck || !strings.Contains(r.out, "FAILS  sockets > 5") || r.err != "switchboard: gates that do not hold: sockets > 5 (5)\n" {
		t.Errorf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
}

// TestLoadFindMax: a search tells the highest load that holds and what did not; one that never met its limit does not pretend to know it.
func TestLoadFindMax(t *testing.T) {
	f := func(want string, more ...string) {
		t.Helper()
		args := append([]string{"loadtest", "run", "idle", "--find-max"}, small("ramp=10ms", "steady=100ms", "customers.sockets=10", "gates=[sockets < 25]")...)
		r := finish(t, as(t, nil, append(args, more...)...))
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("exit %d\n%s\n%s; want %q", r.code, r.out, r.err, want)
		}
	}
	f("the highest customers.sockets at which all gates hold is 24; they do not at 25 (7 runs)")
	f("all gates hold at every customers.sockets that was tried, up to 20 (2 runs): the highest is above", "--steps", "2")
}

// TestStepLine: whoever searches a limit is told that others had the machine while he did.
func TestStepLine(t *testing.T) {
	f := func(machine float64, want bool) {
		t.Helper()
		st := swarm.Step{Load: 100, Result: &report.Result{Figures: map[string]float64{"machine_cpu": machine, "cpu": 0.5, "gen_cpu": 0.25}}}
		if line := stepLine(&st); strings.HasSuffix(line, "; others used 1.2 processors") != want {
			t.Errorf("%v processors are used: %q", machine, line)
		}
	}
	f(1.95, true)
	f(0.95, false)
	f(0, false)
}

// TestLoadStop: who is interrupted ends in order, with the processes that he has started: what was measured is audited, written and told.
func TestLoadStop(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "r.json")
	cmd := as(t, nil, "loadtest", "run", "chat", "--processes", "2", "--dir", dir, "--json", file, "--set", "ramp=100ms", "--set", "steady=10m", "--set", "stop=30s", "--set", "customers.sockets=20", "--set", "talk.rate=50/s")
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	asked := false
	for lines := bufio.NewScanner(said); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if !asked && strings.HasPrefix(lines.Text(), "steady") {
			asked = true
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil { // as a terminal does: to all of them
				t.Error(err)
			}
		}
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(all.String(), "stopped after") || !strings.Contains(out.String(), "0 lost, 0 duplicated, 0 reordered, 0 mismatched") {
		t.Fatalf("exit %d, %v\n%s\n%s", code, err, out.String(), all.String())
	}
	res, err := report.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if f := res.Figures; !res.Stopped || res.Partial || f["audited"] != 20 || f["due"] == 0 || f["acked"] != f["due"] {
		t.Errorf("stopped %t, partial %t, %+v", res.Stopped, res.Partial, f)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*-load-*")); err != nil || len(left) > 0 {
		t.Errorf("the node's directory is left: %v %v", left, err)
	}
}

// TestLoadBreaksOff: a run that ends without a result leaves what it had measured.
func TestLoadBreaksOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	r := finish(t, as(t, nil, append([]string{"loadtest", "run", "idle", "--json", file}, small("steady=10m", "customers.sockets=5", "actions=[{at: 300ms, run: 'exit 7'}]")...)...))
	if r.code != exitFailed {
		t.Fatalf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
	if res, err := report.Read(file); err != nil || !res.Partial || res.Figures["sockets"] != 5 || res.Steady >= 600 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestLoadUsage(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("name: x\nabout: y\nsteady: 1s\ncustomers:\n  sokets: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want string, args ...string) {
		t.Helper()
		complains(t, exitUsage, want, nil, append([]string{"loadtest"}, args...)...)
	}
	f("there is no scenario .nothing.: the shipped ones are capacity, chat, ", "run", "nothing")
	f(`bad.yaml:5:3: unknown field "sokets"`, "run", bad)
	f("--set steady=0", "run", "chat", "--set", "steady=0")
	f("--json .*x.json cannot be written: ", "run", "chat", "--json", filepath.Join(bad, "x.json"))
	f("--html .* cannot be written: it is a directory", "run", "chat", "--html", filepath.Dir(bad))
	f("wants tokens", "run", "chat", "--addr", "127.0.0.1:1")
	f("set --addr", "run", "chat", "--token-cmd", "echo x")
	f("nodes of the test's own", "run", "chat", "--set", "node.count=2", "--data", t.TempDir())
	f("each of 3 nodes wants its own", "run", "chat", "--set", "node.count=3", "--set", "workers.bots.count=2")
	f("from one place", "run", "chat", "--token-cmd", "echo x", "--data", "x")
	f("its own node", "run", "kill", "--data", t.TempDir())
	f("--processes is -3", "run", "chat", "--processes", "-3")
	f("--steps is 0", "run", "chat", "--find-max", "--steps", "0")
	f("one scenario", "run")
	f("one scenario", "show")
	f("two files", "compare", "x")
	f("this one has none", "run", "chat", "--data", filepath.Join(t.TempDir(), "typo"))
	if r := finish(t, as(t, nil, "loadtest", "run", "chat", "--addr", "192.0.2.1:80", "--token-cmd", "echo x")); r.code != exitFailed || !strings.Contains(r.err, "not on loopback") || strings.Count(r.err, "\n") != 2 {
		t.Errorf("exit %d\n%s\n%s", r.code, r.out, r.err)
	}
	if r := finish(t, as(t, nil, "loadtest", "scenarios")); r.code != 0 || strings.Count(r.out, "\n") < 11 || !strings.Contains(r.out, "saleday") {
		t.Errorf("exit %d\n%s", r.code, r.out)
	}
	if r := finish(t, as(t, nil, "loadtest", "show", "chat")); r.code != 0 || !strings.Contains(r.out, "name: chat") {
		t.Errorf("exit %d\n%s", r.code, r.out)
	}
	if r := finish(t, as(t, nil, "loadtest", "show", "--figures")); r.code != 0 || !strings.Contains(r.out, "rss_per_conn") {
		t.Errorf("exit %d\n%s", r.code, r.out)
	}
}

// TestRoundTrip: the daily measure, and what it says of a node whose limits are those for people.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "load.yaml")
	if err := os.WriteFile(config, []byte("limits: {rate: 100000, burst: 100000, inflight: 100000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(data, addr string) result {
		return finish(t, as(t, nil, "loadtest", "roundtrip", "--data", data, "--addr", addr, "--customers", "2", "--workers", "1", "--warm", "1s", "--time", "2s"))
	}
	data := filepath.Join(dir, "load")
	cmd, addr, _, stderr := up(t, nil, "--data", data, "--listen", "127.0.0.1:0", "--config", config)
	if r := run(data, addr); r.code != 0 || !strings.Contains(r.out, "round trips") {
		t.Errorf("%+v", r)
	}
	terminate(t, cmd, stderr)
	data = filepath.Join(dir, "people")
	cmd, addr, _, stderr = up(t, nil, "--data", data, "--listen", "127.0.0.1:0")
	if r := run(data, addr); r.code != exitFailed || strings.Count(r.err, "start it with limits: {") != 1 || strings.Contains(r.err, "slug") {
		t.Errorf("%+v", r)
	}
	terminate(t, cmd, stderr)
}

// TestLoadTogether: a process of the generator whose customers have their answers stays for those of the others, whom its bots still tell theirs: each
// stream is told once.
func TestLoadTogether(t *testing.T) {
	res, _ := loaded(t, "llm", []string{"--processes", "2"},
		small("customers.sockets=12", "talk.rate=8/s", "workers.bots.count=2", "workers.bots.after={median: 10ms}", "workers.bots.tokens={median: 150}", "workers.bots.token_rate=100/s",
			"stop=60s", "gates=[unanswered == 0, tokens_lost == 0]"))
	if f := res.Figures; f["due"] < 2 || f["answered"] != f["due"] || f["tokens_told"] != 150*f["due"] || f["tokens"] != f["tokens_told"] {
		t.Errorf("%+v", f)
	}
}

// TestLoadNodes: two nodes, each with its own customers, workers and processes; what they tell is added up.
func TestLoadNodes(t *testing.T) {
	dir := t.TempDir()
	res, said := loaded(t, "chat", []string{"--dir", dir, "--processes", "1"},
		small("node.count=2", "customers.sockets=40", "talk.rate=100/s", "gates=[unanswered == 0, disconnects == 0]"))
	if !strings.Contains(said, "2 processes") {
		t.Errorf("it says\n%s", said)
	}
	most := 0.0
	for i := range res.Series {
		most = max(most, res.Series[i].Values["connections"])
	}
	if f := res.Figures; f["sockets"] != 40 || f["answered"] != f["due"] || most < 40 {
		t.Errorf("the nodes tell of %v connections; %+v", most, f)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "switchboard-load-*")); err != nil || len(left) > 0 {
		t.Errorf("directories are left: %v %v", left, err)
	}
}

// TestLoadCluster: three nodes that are one cluster, whose operator makes it even while one of them is killed.
func TestLoadCluster(t *testing.T) {
	res, _ := loaded(t, "rebalance", nil, small(
		"steady=4s", "customers.sockets=30", "talk.rate=30/s", "workers.bots.count=3", "stop=40s", "gates=[unanswered == 0, unacked == 0]",
		`actions=[{at: 500ms, run: '"$SWITCHBOARD" shards rebalance --at "$LINKS"'}, {at: 2s, node: 2, kill: true, restart: 200ms}]`))
	if f := res.Figures; f["answered"] != f["due"] || f["due"] < 60 || f["disconnects"] < 1 || res.Processes != 3 {
		t.Errorf("%d processes, %+v", res.Processes, f)
	}
}

// TestLoadSoak: make soak, for as long as a test may take, with more conversations of a customer than his connection may follow. Each of
// these few customers says eight things a second, so the humans answer as fast as bots: at a second for each answer, as in the scenario,
// one who is handed over while he goes on would have to be answered for a minute, and what is not by the end counts as unanswered.
func TestLoadSoak(t *testing.T) {
	res, _ := loaded(t, "soak", nil,
		small("steady=6s", "customers.sockets=5", "talk.rate=40/s", "talk.turns={median: 2}", "talk.think.median=20ms",
			"workers.humans.accept={median: 10ms}", "workers.humans.after={median: 10ms}", "gates=[unanswered == 0, disconnects == 0, unacked == 0]"))
	if f := res.Figures; f["answered"] != f["due"] || f["due"] < 150 || f["audited"] < 20 || f["refused"] > 0 {
		t.Errorf("%+v", f)
	}
}

// TestTellerNamesTheError: the line of progress says why connections cannot be made.
func TestTellerNamesTheError(t *testing.T) {
	var b strings.Builder
	newTeller(&b, false).progress(swarm.Progress{Phase: "ramp", Err: "dialling:\nconnection refused"})
	if !strings.HasSuffix(b.String(), "  last error: dialling: connection refused\n") {
		t.Errorf("%q", b.String())
	}
}
