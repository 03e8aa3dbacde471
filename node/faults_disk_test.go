package node_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"switchboard/edge"
	"switchboard/node"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// get returns the status and the body of a path.
func get(t testing.TB, n *node.Node, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + n.Addr() + path) //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// until asks again and again, for at most half a minute, whether something that is bound to happen has happened.
func until(t testing.TB, what string, happened func() bool) {
	t.Helper()
	if !happens(30*time.Second, 2*time.Millisecond, happened) {
		t.Fatalf("it did not happen: %s", what)
	}
}

// happens calls happened now and then until it is true, for so much of the time in which this process runs: of a machine that stood still no more
// counts than a second.
func happens(d, pause time.Duration, happened func() bool) bool {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for was := time.Now(); !happened(); <-tick.C {
		now := time.Now()
		if d -= min(now.Sub(was), time.Second); d < 0 {
			return false
		}
		was = now
	}
	return true
}

// A full disk: writes are refused and said to be, reads go on, and so does everything when there is space again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	var free atomic.Uint64
	const plenty, little = 10 << 30, 1 << 20
	free.Store(plenty)
	n := start(t, t.TempDir(), func(c *node.Config) {
		c.FreeMin = 1 << 30
		c.Tune(func(j *journal.Config, _ *edge.Config) {
			j.Free = func() (uint64, uint64, error) { return free.Load(), 100 << 30, nil }
		})
	})
	defer stop(t, n)
	ready := func() bool { status, _ := get(t, n, "/readyz"); return status == 200 }
	a, bot := login(t, n, customerOf("alice")), login(t, n, workerOf("faq", wire.OriginBot))
	lease := bot.subscribe(obj{"slots": 4})["lease"]
	id := a.open(obj{})
	hi := obj{"session": id, "key": "k1", "body": text("hi")}
	sent := num(a.ask("send", hi)["seq"])
	bot.said("delivery")

	free.Store(little)
	until(t, "the node finds the disk full", func() bool { return !ready() })
	if status, body := get(t, n, "/readyz"); status != 503 || !strings.Contains(body, "disk space") {
		t.Errorf("readyz is %d %q", status, body)
	}
	if status, _ := get(t, n, "/healthz"); status != 200 {
		t.Errorf("healthz is %d: a full disk is no reason to be killed", status)
	}
	for verb, body := range map[string]obj{
		"send": {"session": id, "key": "k2", "body": text("more")}, "rate": {"session": id, "score": 5}, "close": {"session": id},
	} {
		if e := a.refused("unavailable", verb, body); e["retry"] == "never" {
			t.Errorf("%s: %v", verb, e)
		}
	}
	bot.refused("unavailable", "reply", obj{"session": id, "ae": 1, "ack": sent, "body": text("hello")})
	bot.refused("unavailable", "release", obj{"session": id, "ae": 1})
	// What is there can be read: by the same connections, by new ones, of this customer and of others.
	history := func(p *peer) int { return len(p.ask("history", obj{"session": id, "limit": 50})["entries"].([]any)) }
	if got := history(a); got < 2 {
		t.Errorf("history has %d entries", got)
	}
	late := login(t, n, customerOf("alice"))
	if o := late.ask("open", obj{"tail": 50}); o["session"] != id {
		t.Errorf("open found %v", o)
	}
	if m := late.said("message"); bodyText(m) != "hi" {
		t.Errorf("message %v", m)
	}
	login(t, n, customerOf("ben")).refused("unavailable", "open", obj{})
	if w := login(t, n, workerOf("faq", wire.OriginBot)); w.subscribe(obj{"slots": 4, "lease": lease})["kept"] == nil {
		t.Error("the worker's sessions were not kept")
	} else {
		bot = w
	}
	if d := bot.said("delivery"); num(d["seq"]) != sent {
		t.Errorf("delivery %v", d)
	}

	free.Store(plenty)
	until(t, "the node finds space again", ready)
	if r := a.ask("send", hi); r["duplicate"] != true || num(r["seq"]) != sent {
		t.Errorf("the first word, repeated: %v", r)
	}
	if r := a.ask("send", obj{"session": id, "key": "k2", "body": text("more")}); r["duplicate"] == true {
		t.Errorf("what was refused had been written: %v", r)
	}
	if d := bot.said("delivery"); bodyText(d) != "more" {
		t.Errorf("delivery %v", d)
	}
	bot.ask("reply", obj{"session": id, "ae": 1, "ack": sent, "body": text("hello")})
	if m := a.said("message"); bodyText(m) != "hello" {
		t.Errorf("message %v", m)
	}
	b := login(t, n, customerOf("ben"))
	b.ask("send", obj{"session": b.open(obj{}), "body": 1})
}

// Sessions that are lost, offered or handed over while the disk is full are not forgotten when it is not any more.
func TestWorkerLostOnFullDisk(t *testing.T) {
	t.Parallel()
	var free atomic.Uint64
	free.Store(10 << 30)
	n := start(t, t.TempDir(), func(c *node.Config) {
		c.FreeMin = 1 << 30
		c.Tenants = map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}}, GraceBotsMS: 1}}
		c.Tune(func(j *journal.Config, _ *edge.Config) {
			j.Free = func() (uint64, uint64, error) { return free.Load(), 100 << 30, nil }
		})
	})
	defer stop(t, n)
	ready := func() bool { status, _ := get(t, n, "/readyz"); return status == 200 }
	bot, a, b := login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, customerOf("alice")), login(t, n, customerOf("ben"))
	bot.subscribe(obj{"slots": 1})
	first, second := a.open(obj{}), b.open(obj{})
	a.ask("send", obj{"session": first, "body": text("one")})
	bot.said("delivery")
	b.ask("send", obj{"session": second, "body": text("two")}) // it waits: there is one slot
	free.Store(0)
	until(t, "the node finds the disk full", func() bool { return !ready() })
	before := n.Connections()
	_ = bot.ws.Close()
	until(t, "the bot's connection is gone", func() bool { return n.Connections() < before })
	next := login(t, n, workerOf("other", wire.OriginBot))
	next.subscribe(obj{"slots": 2})
	free.Store(10 << 30)
	until(t, "the node finds space again", ready)
	got := map[string]bool{}
	for len(got) < 2 {
		got[bodyText(next.said("delivery"))] = true
	}
	if !got["one"] || !got["two"] {
		t.Errorf("the other worker got %v", got)
	}
}

// TestMain lets the test binary be a node whose disk fails, or the clients of another process.
func TestMain(m *testing.M) {
	if data := os.Getenv("SWITCHBOARD_TEST_BAD_DISK"); data != "" {
		badDisk(data)
		return
	}
	if addr := os.Getenv("SWITCHBOARD_TEST_CLIENTS"); addr != "" {
		clients(addr)
		return
	}
	flag.Parse()
	code := m.Run()
	if b := flag.Lookup("test.bench"); runtime.GOOS == "linux" && (b == nil || b.Value.String() == "") {
		loops = -1 // and once more with a goroutine for each socket
		fmt.Println("edge.loops:", loops)
		code = max(code, m.Run())
	}
	os.Exit(code)
}

// loops is the nodes' Edge.Loops.
var loops int

// badDisk serves until the log's disk fails: its syncs do, as soon as a line comes in on standard input.
func badDisk(data string) {
	on := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if strings.HasSuffix(op.Path, ".log") {
				return errorfs.ErrInjected
			}
		}
		return nil
	})}
	cfg := node.Config{
		Data: data, Listen: "127.0.0.1:0", Dev: true, Shards: 4, FreeMin: -1, Limits: edge.Limits{Rate: 100_000, Burst: 100_000},
		Fatal: func(err error) { // as the command does
			fmt.Println("stopped", err)
			os.Exit(1)
		},
	}
	cfg.Tune(func(j *journal.Config, _ *edge.Config) { j.FS = errorfs.Wrap(vfs.Default, on) })
	n, err := node.Start(cfg)
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(2)
	}
	fmt.Println("serving", n.Addr())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		on.On()
	}
	os.Exit(3) // the test has gone
}

// A sync that fails: the process stops at once and tells nobody that anything was written since. A new process starts
// clean and has everything that was acknowledged.
func TestFailingSync(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	cmd := exec.Command(os.Args[0]) //nolint:noctx // it ends when its standard input does
	cmd.Env = append(os.Environ(), "SWITCHBOARD_TEST_BAD_DISK="+data)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	addr := ""
	for addr == "" && lines.Scan() {
		addr, _ = strings.CutPrefix(lines.Text(), "serving ")
	}
	keys, err := node.Keys(data)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := keys.Mint(claimsOf("alice"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p := dialAddr(t, addr)
	p.ask("hello", obj{"token": tok})
	id := p.open(obj{})
	acked := map[int]string{}
	sent := 0
	for {
		if sent == 100 {
			if _, err := io.WriteString(stdin, "now\n"); err != nil {
				t.Fatal(err)
			}
		}
		sent++
		word := fmt.Sprint("w", sent)
		p.next++
		if p.tryWrite(obj{"id": p.next, "send": obj{"session": id, "key": word, "body": text(word)}}) != nil {
			break
		}
		f := p.read()
		for f != nil && f["id"] != float64(p.next) {
			f = p.read()
		}
		if f == nil {
			break
		}
		r, ok := f["send"].(obj)
		if !ok {
			t.Fatalf("send was answered %v: a disk that failed is no answer", f)
		}
		acked[num(r["seq"])] = word
	}
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "stopped ") {
		t.Errorf("its last line is %q", lines.Text())
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("it ended with %v", err)
	}
	if len(acked) < 100 || sent <= len(acked) {
		t.Fatalf("%d of %d acknowledged: the disk did not fail in between", len(acked), sent)
	}

	n := start(t, data)
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	if o := a.ask("open", obj{"from": obj{"epoch": 1, "seq": 0}}); o["session"] != id || o["how"] != "exact" {
		t.Fatalf("open %v", o)
	}
	for seq, word := range acked {
		if r := a.ask("send", obj{"session": id, "key": word, "body": text(word)}); r["duplicate"] != true || num(r["seq"]) != seq {
			t.Fatalf("%s was acknowledged as %d; now %v", word, seq, r)
		}
	}
	last := 0
	for range acked {
		m := a.said("message")
		if num(m["seq"]) <= last || acked[num(m["seq"])] != bodyText(m) {
			t.Fatalf("after %d came %v; want %q", last, m, acked[num(m["seq"])])
		}
		last = num(m["seq"])
	}
}
