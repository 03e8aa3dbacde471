package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the command itself: what the tests start is the real main, without linking it again.
func TestMain(m *testing.M) {
	if os.Getenv("SWITCHBOARD_TEST_MAIN") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// as returns the command `env switchboard args`. It is killed when it has not ended after five minutes: the longest take one on a machine that
// others use.
func as(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), "SWITCHBOARD_TEST_MAIN=1"), env...)
	return cmd
}

// result is what a command that has ended left.
type result struct {
	out, err string
	code     int
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return result{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// complains runs a command that must fail with code, and say want in one line on standard error and nothing else
// [SW-8.4].
func complains(t *testing.T, code int, want string, env []string, args ...string) {
	t.Helper()
	r := finish(t, as(t, env, args...))
	if r.code != code || r.out != "" || strings.Count(r.err, "\n") != 1 || !strings.HasSuffix(r.err, "\n") || !regexp.MustCompile(want).MatchString(r.err) {
		t.Errorf("%v %v: exit %d, stdout %q, stderr %q; want exit %d and one line like %q", env, args, r.code, r.out, r.err, code, want)
	}
}

// [SW-8.4] Wrong calls exit 2, failures 1, and both say in one line what to do.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	unknown := file("unknown.yaml", "data: x\nnope: 1\n")
	broken := file("broken.yaml", "tenants: [1,2\n")
	wrong := file("wrong.yaml", "tenants: {demo: {queues: [{name: default, order: random}]}}\n")
	plain := file("plain", "not a directory")
	const session = "s_0000000000000000"
	f := func(code int, want string, args ...string) {
		t.Helper()
		complains(t, code, want, nil, args...)
	}
	f(2, `no command "nope".*--help`, "nope")
	f(2, `no command "serv"; did you mean serve\?`, "serv")
	f(2, `no command "nosuch".*--help`, "help", "nosuch")
	f(2, `no command "loadtest nope".*--help`, "help", "loadtest", "nope")
	f(2, `no command "queues aply"; did you mean apply\?`, "help", "queues", "aply")
	f(2, `name of a shell.*"tcsh" is too much`, "completion", "tcsh")
	f(2, `no arguments; "more" is too much`, "completion", "bash", "more")
	for _, args := range [][]string{{"run", "double11", "--html"}, {"staff", "double11", "--csv"}, {"compare", "double11", "--json-file"}, {"replay", "--data", data, "--html"}} { // before the work
		f(2, args[len(args)-1]+" .* cannot be written", append(append([]string{"plan"}, args...), filepath.Join(dir, "none", "x"))...)
	}
	for _, args := range [][]string{{"help"}, {"help", "queues", "apply"}, {"completion"}, {"completion", "bash"}} {
		if r := finish(t, as(t, nil, args...)); r.code != 0 || r.out == "" || r.err != "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
	f(2, "no arguments", "serve", "nope")
	f(2, "a subcommand", "loadtest", "nope")
	f(2, "unknown flag: --nope", "serve", "--nope")
	f(2, "set --data", "serve", "--dev")
	f(2, "no tenants.*--dev", "serve", "--data", data)
	f(2, "loopback only.*127.0.0.1", "serve", "--data", data, "--dev", "--listen", "0.0.0.0:0")
	f(2, "host:port", "serve", "--data", data, "--dev", "--listen", "nonsense")
	f(2, "1 to 1024", "serve", "--data", data, "--dev", "--shards", "5000")
	f(2, "debug, info, warn or error", "serve", "--data", data, "--dev", "--log-level", "loud")
	f(2, "loopback address", "serve", "--data", data, "--dev", "--pprof", "0.0.0.0:6060")
	f(2, `unknown field "nope"`, "serve", "--data", data, "--config", unknown)
	f(2, "broken.yaml", "serve", "--data", data, "--config", broken)
	f(2, "none of ageing, strict, fifo", "serve", "--data", data, "--config", wrong)
	// A setting that no node can be served with is refused before one is, with its name and what it may be. Two ways to say it: printed, and served.
	settings := func(want, text string) {
		t.Helper()
		path := file("settings.yaml", "tenants: {demo: {queues: [{name: default}]}}\n"+text)
		f(2, want, "serve", "--data", data, "--print-config", "--config", path)
		f(2, want, "serve", "--data", data, "--config", path)
	}
	settings("limits.frame is -1: it must be 1024 to 524288", "limits: {frame: -1}")
	settings("limits.frame is 100: it must be 1024 to 524288", "limits: {frame: 100, body: 100}")
	settings("limits.frame is 524289: it must be 1024 to 524288", "limits: {frame: 524289}")
	settings("limits.body is -1: it must be 1 to 524288", "limits: {body: -1}")
	settings("limits.body is 999999999: it must be 1 to 524288", "limits: {body: 999999999}")
	settings("limits.body is 65537: it must be at most limits.frame, which is 65536", "limits: {body: 65537}")
	settings("limits.batch is -1: it must be 1 to 1000000000", "limits: {batch: -1}")
	settings("limits.sessions is -1: it must be 1 to 1000000000", "limits: {sessions: -1}")
	settings("limits.inflight is -2: it must be 1 to 1000000000", "limits: {inflight: -2}")
	settings("limits.inflight is 5000000000: it must be 1 to 1000000000", "limits: {inflight: 5000000000}")
	settings("limits.burst is -1: it must be 1 to 1000000000", "limits: {burst: -1}")
	settings("limits.rate is -5: it must be more than 0 and at most 1000000000", "limits: {rate: -5}")
	settings("limits.rate is NaN: it must be more than 0", "limits: {rate: .nan}")
	settings("limits.rate is .Inf: it must be more than 0", "limits: {rate: .inf}")
	for _, name := range []string{"connections", "per_ip", "per_customer", "drain_ms", "patrol_rate"} {
		settings(name+" is -1: it must be 0 or more", name+": -1")
	}
	for _, name := range []string{"concurrency", "per_hook", "first_ms"} {
		settings("hooks."+name+" is -1: it must be 0 or more", "hooks: {"+name+": -1}")
	}
	settings("hooks.first_ms is 3600001: it must be at most 3600000", "hooks: {first_ms: 3600001}")
	for _, name := range []string{"copies", "weight", "replace_after_ms"} {
		settings("cluster."+name+" is -1: it must be 0 or more", "cluster: {"+name+": -1}")
	}
	settings("cluster.copies is 2: it must be 1, 3, 5 or 7", "cluster: {listen: '127.0.0.1:0', copies: 2}")
	settings("cluster.weight is 20000: it must be 1 to 10000", "cluster: {listen: '127.0.0.1:0', weight: 20000}")
	settings("cluster.listen is \":0\", which others reach", "cluster: {listen: ':0'}")
	settings("a node's name is 1 to 64", "name: node one\ncluster: {listen: '127.0.0.1:0'}")
	if r := finish(t, as(t, nil, "serve", "--data", data, "--print-config", "--config", file("mark.yaml", "\ufeffdev: true\n"))); r.code != 0 {
		t.Errorf("a file that begins with a byte order mark: %+v", r)
	}
	for _, name := range []string{"reopen_window_ms", "wrapup_ms", "grace_bots_ms", "grace_humans_ms"} {
		f(2, "tenant demo: "+name+" is -5: it must be 0 or more", "serve", "--data", data, "--print-config", "--config",
			file("tenant.yaml", "tenants: {demo: {queues: [{name: default}], "+name+": -5}}\n"))
	}
	f(2, "tenant demo: wrapup_ms is 3600001: it must be 0 to 3600000", "serve", "--data", data, "--print-config", "--config",
		file("tenant.yaml", "tenants: {demo: {queues: [{name: default}], wrapup_ms: 3600001}}\n"))
	f(2, `half.yaml: .1:9. "4.5" is no whole number`, "serve", "--data", data, "--print-config", "--config", file("half.yaml", "shards: 4.5\n"))
	f(2, "twice.yaml: there is more than one document in it", "serve", "--data", data, "--print-config", "--config", file("twice.yaml", "shards: 4\n---\nshards: 8\n"))
	f(2, "behind.yaml: \\[2:1\\] a document with nothing in it comes before this one", "serve", "--data", data, "--print-config", "--config",
		file("behind.yaml", "---\n---\nshards: 8\n"))
	f(2, "deep.yaml: \\[1:73\\] it is nested deeper than 64", "serve", "--data", data, "--print-config", "--config", file("deep.yaml", "tenants: "+strings.Repeat("[", 100_000)))
	f(2, "alias.yaml: \\[2:7\\] anchors, aliases, tags and merges are not read: write it out", "serve", "--data", data, "--print-config", "--config",
		file("alias.yaml", "shards: 4\nname: &n n1\ncluster: {zone: *n}\n"))
	f(1, "missing.yaml", "serve", "--data", data, "--config", filepath.Join(dir, "missing.yaml"))
	f(1, "invalid port", "serve", "--data", data, "--dev", "--listen", "127.0.0.1:99999")
	noDirectory := "^switchboard: " + regexp.QuoteMeta(plain) + " is not a directory: name another one with --data\n$"
	f(1, noDirectory, "serve", "--data", plain, "--dev")
	f(1, noDirectory, "verify", "--data", plain)
	f(1, "no data directory", "log", "--data", filepath.Join(dir, "nowhere"), session)
	f(2, "one session id", "log", "--data", data)
	f(2, "no session id", "log", "--data", data, "nonsense")
	f(2, "--data .* or --addr", "log", session)
	f(1, `no node answers at 127.0.0.1:1 \(.*connection refused\)`, "log", "--addr", "127.0.0.1:1", "--token", "x", session)
	f(1, `no node answers at http://127.0.0.1:1/ \(.*connection refused\)`, "log", "--addr", "http://127.0.0.1:1/", "--token", "x", session)
	f(1, `no node answers at 127.0.0.1:1 \(.*connection refused\)`, "explain", session, "--addr", "127.0.0.1:1", "--token", "x.eyJ0ZW5hbnQiOiJkZW1vIn0.x")
	f(1, `no member of a cluster answers at 127.0.0.1:1 \(.*connection refused\)`, "cluster", "status", "--at", "127.0.0.1:1")
	f(2, "set --token", "log", "--addr", "127.0.0.1:1", session)
	f(1, "no such file", "backup", "ls", filepath.Join(dir, "nowhere"))
	f(1, "no data directory", "verify", "--data", filepath.Join(dir, "nowhere"))
	f(2, "set --data", "verify")
	f(2, "set --data", "token", "--sub", "alice")
	f(2, "set --sub", "token", "--data", data)
	if r := finish(t, as(t, nil, "token", "--data", filepath.Join(dir, "new"), "--sub", "alice")); r.code != 0 || r.err != "made new keys: "+filepath.Join(dir, "new", "keys.json")+"\n" {
		t.Errorf("the first token of a directory: %+v", r)
	}
	f(2, "role", "token", "--data", data, "--sub", "alice", "--role", "king")
	f(2, "sub is not an id: 1 to 64 of A-Z a-z 0-9 _ . : -", "token", "--data", data, "--sub", "a b")
	f(2, "kind", "token", "--data", data, "--sub", "bob", "--role", "worker", "--kind", "cat")
	f(2, "^switchboard: --kind is of a worker, and this is a token of role customer: set --role worker, or leave out --kind\n$", "token", "--data", data, "--sub", "bob", "--kind", "bot")
	for _, flag := range []string{"kind=", "queues=refunds", "skills=refund=0.9", `attributes={"level":1}`, "rating=0.5"} {
		name, _, _ := strings.Cut(flag, "=")
		f(2, "^switchboard: --"+name+" is of a worker, and this is a token of role supervisor: .*or leave out --"+name+"\n$",
			"token", "--data", data, "--sub", "sue", "--role", "supervisor", "--"+flag)
	}
	for _, nodes := range []string{"0", "-1"} {
		f(2, "^switchboard: --nodes is "+nodes+": it must be 1 or more\n$", "demo", "--nodes", nodes, "--data", filepath.Join(dir, "demo"))
	}
	for _, flag := range []string{"name=n7", "cluster-listen=127.0.0.1:0", "tls-cert=c.pem", "zone=a", "drain-ms=9"} {
		name, _, _ := strings.Cut(flag, "=")
		f(2, "no --"+name+" of yours: leave it out", "demo", "--nodes", "3", "--data", filepath.Join(dir, "demo"), "--"+flag)
	}
	f(2, "name=level", "token", "--data", data, "--sub", "bob", "--role", "worker", "--skills", "refund")
	f(2, "0 and 1", "token", "--data", data, "--sub", "bob", "--role", "worker", "--skills", "refund=NaN")
	f(2, "0 and 1", "token", "--data", data, "--sub", "bob", "--role", "worker", "--rating", "7")
	f(2, `tenant "other"`, "token", "--data", data, "--sub", "alice", "--tenant", "other")
	f(2, "--ttl", "token", "--data", data, "--sub", "alice", "--ttl", "soon")
	f(2, "set --token", "chat")
	for _, addr := range []string{"a b", "127.0.0.1:99999", "ftp://127.0.0.1:7470", "http://"} { // a client would try them for ever
		for _, cmd := range [][]string{{"chat"}, {"work"}, {"work", "--echo"}, {"floor"}, {"levels"}} {
			f(2, "--addr is "+regexp.QuoteMeta(strconv.Quote(addr))+": .*must be host:port, or a URL", append(cmd, "--token", "x", "--addr", addr)...)
		}
	}
	f(2, "--tail is -1: it must be 0 to", "chat", "--token", "x", "--tail", "-1")
	for _, slots := range []string{"-3", "0", "10001"} {
		f(2, "--slots is "+slots+": it must be 1 to 10000", "work", "--token", "x", "--slots", slots)
	}
	for _, window := range []string{"-1", "0", "9999"} {
		f(2, "--window is "+window+": it must be 1 to 256", "work", "--token", "x", "--echo", "--window", window)
	}
	f(2, "set --data", "loadtest", "roundtrip")
	complains(t, 2, `SWITCHBOARD_SHARDS is "many"`, []string{"SWITCHBOARD_SHARDS=many"}, "serve", "--data", data, "--dev")
	complains(t, 2, `SWITCHBOARD_TTL`, []string{"SWITCHBOARD_TTL=soon"}, "token", "--data", data, "--sub", "alice")
}

// [SW-8.2] A token is one line and nothing else; a negative ttl makes an expired one.
func TestTokenOutput(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	one := regexp.MustCompile(`^[\w-]+\.[\w-]+\.[\w-]+\n$`)
	if r := finish(t, as(t, nil, "token", "--data", data, "--sub", "alice")); r.code != 0 || !one.MatchString(r.out) { // it makes the keys, and says so
		t.Errorf("the first token: %+v", r)
	}
	for _, more := range [][]string{nil, {"--ttl", "-1h"}, {"--role", "worker", "--kind", "human", "--queues", "default", "--skills", "refund=0.9", "--rating", "0.8"}} {
		r := finish(t, as(t, nil, append([]string{"token", "--data", data, "--tenant", "demo", "--sub", "alice"}, more...)...))
		if r.code != 0 || r.err != "" || !one.MatchString(r.out) {
			t.Errorf("token %v: %+v", more, r)
		}
	}
	if r := finish(t, as(t, []string{"SWITCHBOARD_SUB=alice", "SWITCHBOARD_DATA=" + data}, "token")); r.code != 0 || !one.MatchString(r.out) {
		t.Errorf("token of the environment: %+v", r)
	}
}

// [SW-8.5] A flag wins over the environment, the environment over the file, and what is printed is a configuration.
func TestPrecedence(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	const text = "data: of-file\nlisten: 127.0.0.1:1\nname: of-file\nshards: 7\ndrain_ms: 70\ncluster: {snapshot_rate: 80000}\ntenants: {acme: {queues: [{name: sales}]}}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"SWITCHBOARD_LISTEN=127.0.0.1:2", "SWITCHBOARD_NAME=of-env", "SWITCHBOARD_DRAIN_MS=80", "SWITCHBOARD_SNAPSHOT_RATE=70000"}
	args := []string{"serve", "--print-config", "--config", config, "--listen", "127.0.0.1:3", "--drain-ms", "90"}
	r := finish(t, as(t, env, args...))
	if r.code != 0 || r.err != "" {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{"listen: 127.0.0.1:3\n", "name: of-env\n", "data: of-file\n", "shards: 7\n", "drain_ms: 90\n", "  snapshot_rate: 70000\n", "- name: sales\n"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in\n%s", want, r.out)
		}
	}
	again := filepath.Join(dir, "again.yaml")
	if err := os.WriteFile(again, []byte(r.out), 0o600); err != nil {
		t.Fatal(err)
	}
	if r2 := finish(t, as(t, nil, "serve", "--print-config", "--config", again)); r2.code != 0 || r2.out != r.out {
		t.Errorf("printed again it is %+v; want\n%s", r2, r.out)
	}
	for _, nothing := range []string{"", "# later\n", "---\n"} {
		empty := filepath.Join(dir, "empty.yaml")
		if err := os.WriteFile(empty, []byte(nothing), 0o600); err != nil {
			t.Fatal(err)
		}
		without, with := finish(t, as(t, nil, "serve", "--print-config", "--dev", "--data", dir)), finish(t, as(t, nil, "serve", "--print-config", "--dev", "--data", dir, "--config", empty))
		if with.code != 0 || with != without {
			t.Errorf("a file with %q: %+v; want %+v", nothing, with, without)
		}
	}
	if r := finish(t, as(t, []string{"SWITCHBOARD_CONFIG=" + config, "SWITCHBOARD_DEV=true"}, "serve", "--print-config")); r.code != 0 ||
		!strings.Contains(r.out, "dev: true\n") || !strings.Contains(r.out, "demo:") || !strings.Contains(r.out, "acme:") {
		t.Errorf("the file and dev of the environment: %+v", r)
	}
}

// [SW-8.5] A flag that stands instead of another wins over that one's variable, too: a shell that has the address or the directory of one node may
// ask for another.
func TestInstead(t *testing.T) {
	dir := t.TempDir()
	data, other := filepath.Join(dir, "data"), filepath.Join(dir, "other")
	const session, stopped, silent = "s_0000000000000000", "data is no data directory of a node", "connection refused"
	addr, at, tok := "SWITCHBOARD_ADDR=127.0.0.1:1", "SWITCHBOARD_DATA="+other, "SWITCHBOARD_TOKEN=x"
	f := func(want, env string, args ...string) {
		t.Helper()
		complains(t, 1, want, []string{env}, args...)
	}
	f(stopped, addr, "log", "--data", data, session)
	f(stopped, addr, "log", "--data", data, "--all")
	f(silent, at, "log", "--addr", "127.0.0.1:1", "--token", "x", session)
	f(stopped, addr, "levels", "--data", data)
	f(silent, at, "levels", "--addr", "127.0.0.1:1", "--token", "x")
	f(silent, "SWITCHBOARD_CONFIG="+other, "levels", "--addr", "127.0.0.1:1", "--token", "x")
	f(stopped, tok, "backup", "--to", dir, "--data", data)
	f("reading the routes: open .*nowhere", at, "plan", "replay", "--log", "x", "--routes", filepath.Join(dir, "nowhere"))
	f(silent, at, "shards", "ls", "--at", "127.0.0.1:1", "--timeout", "1s")
	f(silent, at, "keys", "create", "acme", "--kid", "1", "--at", "127.0.0.1:1", "--timeout", "1s")
	if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key of the cluster was made in a directory: %v", err)
	}
	for _, args := range [][]string{{"log", "--data", data, "--addr", "127.0.0.1:1", session}, {"backup", "--to", dir, "--data", data, "--token", "x"}} { // who says both is asked which
		complains(t, 2, "set --", nil, args...)
	}
}

// What reads a stopped node or asks a running one does what its flags say: the environment does not name the other beside it. Only
// of the environment's own is neither the one that is meant.
func TestStoppedOrRunning(t *testing.T) {
	data := filepath.Join(t.TempDir(), "none")
	env := []string{"SWITCHBOARD_ADDR=127.0.0.1:1", "SWITCHBOARD_TOKEN=t", "SWITCHBOARD_DATA=" + data}
	for _, args := range [][]string{
		{"levels"}, {"log", "s_00c1k0v7x2m9q4ab"}, {"backup", "--to", filepath.Join(data, "b")},
	} {
		args = slices.Clip(args)
		for _, said := range [][]string{{"--data", data}, {"--addr", "127.0.0.1:1", "--token", "t"}} {
			said = append(args, said...)
			with, without := finish(t, as(t, env, said...)), finish(t, as(t, nil, said...))
			if with.code != without.code || with.err != without.err || strings.Contains(with.err, "not both") {
				t.Errorf("%q: exit %d %q; without environment %d %q", said, with.code, with.err, without.code, without.err)
			}
		}
		if r := finish(t, as(t, env, args...)); r.code != 2 || !strings.Contains(r.err, "set --data for a stopped node, or --addr and --token for a running one, and not both; a flag wins over SWITCHBOARD_DATA") {
			t.Errorf("%q: exit %d %q", args, r.code, r.err)
		}
	}
}

// The commands of a cluster that also read a stopped node have --at for it.
func TestStoppedOrCluster(t *testing.T) {
	data := filepath.Join(t.TempDir(), "none")
	env := []string{"SWITCHBOARD_AT=127.0.0.1:2", "SWITCHBOARD_DATA=" + data}
	for _, args := range [][]string{{"shards", "ls", "--timeout", "100ms"}, {"keys", "remove", "acme", "k", "--timeout", "100ms"}} {
		for _, said := range [][]string{{"--data", data}, {"--at", "127.0.0.1:1"}} {
			said = append(slices.Clip(args), said...)
			with, without := finish(t, as(t, env, said...)), finish(t, as(t, nil, said...))
			if with.code != without.code || with.err != without.err || with.err == "" {
				t.Errorf("%q: exit %d %q; without environment %d %q", said, with.code, with.err, without.code, without.err)
			}
		}
	}
}

// up starts `serve` with args behind it, and returns it once it serves, with its address.
func up(t *testing.T, env []string, args ...string) (cmd *exec.Cmd, addr string, stdout, stderr *lines) {
	t.Helper()
	return started(t, env, append([]string{"serve", "--dev", "--free-min", "-1"}, args...)...)
}

// started starts what serves, a node or a demo, and returns it once it does, with its address.
func started(t *testing.T, env []string, args ...string) (cmd *exec.Cmd, addr string, stdout, stderr *lines) {
	t.Helper()
	cmd = as(t, env, args...)
	stdout, stderr = newLines(), newLines()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line := stderr.until("msg=serving")
	if line == "" {
		t.Fatalf("it did not serve: %v\n%s", cmd.Wait(), stderr)
	}
	return cmd, regexp.MustCompile(`addr=(\S+)`).FindStringSubmatch(line)[1], stdout, stderr
}

// terminate asks a node to stop, which must exit 0 [SW-8.1].
func terminate(t *testing.T, cmd *exec.Cmd, stderr *lines) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("SIGTERM: %v\n%s", err, stderr)
	}
}

// [SW-8.1] Both ways to ask a node to stop make it drain and exit 0, and its address can be had again at once.
func TestStopSignals(t *testing.T) {
	data, addr := filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		var cmd *exec.Cmd
		var stderr *lines
		cmd, addr, _, stderr = up(t, nil, "--data", data, "--listen", addr)
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %v\n%s", sig, err, stderr)
		}
	}
}

// [SW-8.1] Two signals that come together are one: what runs a node for a while, timeout(1) among them, signals the process and then its group.
func TestSignalsTogether(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	together := 0
	for tries := 0; together < 5; tries++ {
		if tries == 50 {
			t.Fatal("the machine is too slow to send two signals together")
		}
		cmd, _, _, stderr := up(t, nil, "--data", data, "--listen", "127.0.0.1:0")
		begun := time.Now()
		first := cmd.Process.Signal(syscall.SIGTERM)
		if stderr.until("msg=draining") == "" { // the first was heard: the second is another one
			t.Fatalf("it does not drain: %v, %v\n%s", first, cmd.Wait(), stderr)
		}
		second := cmd.Process.Signal(syscall.SIGTERM)
		late := time.Since(begun) >= signalsTogether || errors.Is(second, os.ErrProcessDone)
		if err := cmd.Wait(); err != nil && !late {
			t.Fatalf("%v\n%s", err, stderr)
		}
		if !late {
			together++
		}
	}
}

// [SW-8.1] A node that waits to be let in is stopped, too: nobody is there whom it could ask, and it has a minute to find somebody.
func TestStopBeforeItServes(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nobody.Close() }()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := as(t, nil, "serve", "--dev", "--free-min", "-1", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0",
			"--cluster-listen", "127.0.0.1:0", "--join", gone.Addr().String()+","+nobody.Addr().String())
		stderr := newLines()
		cmd.Stderr = stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if stderr.until("msg=joining") == "" {
			t.Fatalf("it does not ask: %v\n%s", cmd.Wait(), stderr)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || !strings.Contains(stderr.String(), "stopped before it served") {
			t.Fatalf("%v: %v\n%s", sig, err, stderr)
		}
	}
}

// A data directory that cannot be served as it is: what is said, and that it is served again when that is mended.
func TestDataDirectory(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	serveArgs := []string{"serve", "--dev", "--free-min", "-1", "--data", data, "--listen", "127.0.0.1:0"}
	cmd, addr, _, stderr := up(t, []string{"SWITCHBOARD_LISTEN=127.0.0.1:0"}, "--data", data, "--shards", "4")
	const session = "s_0000000000000000"
	t.Run("used by a node", func(t *testing.T) {
		for _, args := range [][]string{serveArgs, {"log", "--data", data, session}, {"verify", "--data", data}} {
			complains(t, 1, "in use.*stop it first", nil, args...)
		}
		complains(t, 1, "in use.*stop it first.*, or ask it: --addr and --token\n$", nil, "log", "--data", data, session)
		complains(t, 1, `in use.*stop it first \(.*\)\n$`, nil, "log", "--all", "--data", data) // which a running node has no answer for
		complains(t, 1, "is no node's link .*where a node listens for other nodes .*, not for clients\n$", nil, "cluster", "status", "--at", addr)
		complains(t, 1, "address already in use: stop what serves there.*--listen", nil, "serve", "--dev", "--data", filepath.Join(t.TempDir(), "other"), "--listen", addr)
	})
	keys := filepath.Join(data, "keys.json")
	t.Run("no keys", func(t *testing.T) {
		hide(t, keys)
		for _, args := range [][]string{{"token", "--data", data, "--sub", "alice"}, {"loadtest", "roundtrip", "--data", data}} {
			complains(t, 1, "keys.json is missing.*restore the file", nil, args...)
		}
		if _, err := os.Stat(keys); err == nil {
			t.Error("new keys were made, and the node does not know them")
		}
	})
	terminate(t, cmd, stderr)
	broken := func(name, want string, code int, change func(t *testing.T), args ...string) {
		t.Run(name, func(t *testing.T) {
			change(t)
			complains(t, code, want, nil, append(serveArgs, args...)...)
		})
	}
	rewrite := func(path, text string) func(t *testing.T) {
		return func(t *testing.T) {
			hide(t, filepath.Join(data, path))
			if err := os.WriteFile(filepath.Join(data, path), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	newer := "switchboard journal 99"
	newer = fmt.Sprintf("%s %08x\n", newer, crc32.Checksum([]byte(newer), crc32.MakeTable(crc32.Castagnoli)))
	nothing := func(*testing.T) {}
	broken("other shards", "set shards to 4", 1, nothing, "--shards", "8")
	broken("newer journal", "format 99 and this program knows 3; start the program version that wrote it", 1, rewrite("journal/FORMAT", newer))
	broken("foreign journal", "restore the directory from a backup", 1, rewrite("journal/FORMAT", "hello\n"))
	broken("newer keys", "version 9 of the keys file", 1, rewrite("keys.json", `{"version":9,"tenants":{}}`))
	broken("foreign keys", "keys.json", 1, rewrite("keys.json", "hello"))
	broken("lost keys", "keys.json is missing.*restore the file", 1, func(t *testing.T) { hide(t, keys) })
	broken("foreign node.json", "node.json", 1, rewrite("node.json", "hello"))
	broken("empty node.json", "node.json names no number of shards", 1, rewrite("node.json", "{}"))
	broken("lost node.json", `write the number of shards .*{"shards":N}`, 1, func(t *testing.T) { hide(t, filepath.Join(data, "node.json")) })
	broken("journal is a file", "journal", 1, rewrite("journal", "hello"))

	// What is not ours is left alone.
	foreign := filepath.Join(data, "notes.txt")
	if err := os.WriteFile(foreign, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, _, _, stderr = up(t, nil, "--data", data, "--listen", "127.0.0.1:0")
	terminate(t, cmd, stderr)
	if b, err := os.ReadFile(foreign); err != nil || string(b) != "hello" {
		t.Errorf("a foreign file is %q, %v", b, err)
	}
	if r := finish(t, as(t, nil, "verify", "--data", data)); r.code != 0 || r.err != "" {
		t.Errorf("verify: %+v", r)
	}
}

// hide takes path away until the test ends.
func hide(t *testing.T, path string) {
	t.Helper()
	if err := os.Rename(path, path+".hidden"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.RemoveAll(path)
		if err := os.Rename(path+".hidden", path); err != nil {
			t.Error(err)
		}
	})
}

// A directory that may not be written: said at once, not by the first customer.
func TestReadOnlyDirectory(t *testing.T) {
	bin, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	// Root may write everywhere, so the command runs as nobody, in a place that nobody can reach.
	dir, err := os.MkdirTemp("", "switchboard-readonly-*") //nolint:usetesting // t.TempDir is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	exe := filepath.Join(dir, "switchboard")
	if err := os.WriteFile(exe, bin, 0o755); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if r := finish(t, as(t, nil, "token", "--data", data, "--sub", "alice")); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if err := errors.Join(os.Chmod(filepath.Join(data, "keys.json"), 0o644), os.Chmod(data, 0o555), os.Chmod(dir, 0o555)); err != nil { //nolint:gosec // they are to be seen
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(os.Chmod(dir, 0o755), os.Chmod(data, 0o755)) }) //nolint:gosec // to be removed
	for _, d := range []string{data, filepath.Join(dir, "new")} {
		cmd := as(t, nil, "serve", "--dev", "--data", d, "--listen", "127.0.0.1:0")
		cmd.Path, cmd.Dir = exe, dir
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		r := finish(t, cmd)
		if r.code != exitFailed || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "permission denied") || !strings.Contains(r.err, d) {
			t.Errorf("%s: %+v", d, r)
		}
	}
}
