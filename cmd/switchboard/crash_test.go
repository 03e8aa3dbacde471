package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/wire"
)

// build makes the real binary once per run of the tests.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "switchboard")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return bin
}

// run runs the binary to its end and returns what it printed.
func run(t *testing.T, bin string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), bin, args...).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("%v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// process is a running `switchboard serve`.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// serve starts a node and waits until it is ready.
func serve(t *testing.T, bin, data, addr string) *process {
	t.Helper()
	config := filepath.Join(filepath.Dir(bin), "load.yaml")
	if err := os.WriteFile(config, []byte("limits: {rate: 100000, burst: 100000, inflight: 1000}\nfree_min: -1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return serveWith(t, bin, data, addr, config, "--dev", "--shards", "4")
}

// serveWith starts a node of a configuration file, and waits until it is ready.
func serveWith(t *testing.T, bin, data, addr, config string, args ...string) *process {
	t.Helper()
	args = append([]string{"serve", "--data", data, "--listen", addr, "--config", config, "--free-min", "-1"}, args...)
	cmd := exec.Command(bin, args...) //nolint:noctx // it is killed by the test
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	ready := make(chan struct{})
	var lines []string
	go func() {
		defer close(p.done)
		s := bufio.NewScanner(stderr)
		for s.Scan() {
			lines = append(lines, s.Text())
			if strings.Contains(s.Text(), "msg=serving") {
				close(ready)
			}
		}
	}()
	select {
	case <-ready:
	case <-p.done:
		t.Fatalf("the node did not start: %v\n%s", cmd.Wait(), strings.Join(lines, "\n"))
	}
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
	_ = p.cmd.Wait()
}

// freeAddr returns a loopback address that nobody listens on now.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// ledger is what a customer knows: what was acknowledged, and under which seq.
type ledger struct {
	session string
	mu      sync.Mutex
	acked   map[uint64]string // seq → text
	answers map[string]int    // text that a bot answered → times seen
}

// TestKill kills the real binary with SIGKILL again and again while customers and a bot talk. Every acknowledged word is in
// the log afterwards, once, at its seq; no message was answered twice; everything was answered in the end.
func TestKill(t *testing.T) {
	crashAgainAndAgain(t, filepath.Join(t.TempDir(), "data"), crashes(t, 4), func() {})
}

// crashes is how often the node shall crash.
func crashes(t *testing.T, otherwise int) int {
	t.Helper()
	v := os.Getenv("SWITCHBOARD_CRASHES")
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// crashAgainAndAgain kills a node on data so many times under load, calls then each time before it is started again, and
// holds what the clients know against the log.
func crashAgainAndAgain(t *testing.T, data string, crashes int, then func()) {
	const seed, customers = 20261121, 6
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d, %d crashes", seed, crashes)
	bin, addr := build(t), freeAddr(t)
	mint := func(args ...string) string {
		return run(t, bin, append([]string{"token", "--data", data, "--ttl", "24h"}, args...)...)
	}
	p := serve(t, bin, data, addr)
	defer func() { p.kill() }()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	url := "ws://" + addr + "/v1/connect"
	var wg sync.WaitGroup
	botToken := mint("--role", "worker", "--kind", "bot", "--sub", "echo")
	wg.Go(func() {
		_ = client.Work(ctx, client.WorkerConfig{
			Config: client.Config{URL: url, Token: client.StaticToken(botToken), BackoffMin: 20 * time.Millisecond, BackoffMax: 200 * time.Millisecond},
			Queues: []string{"default"}, Slots: 100,
		}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			_, err := s.Reply(ctx, "text", "re: "+e.Text(), client.WithAck(e.Seq))
			return err
		})
	})
	stopSending := make(chan struct{})
	books := make([]*ledger, customers)
	var talk sync.WaitGroup
	for i := range books {
		b := &ledger{acked: map[uint64]string{}, answers: map[string]int{}}
		books[i] = b
		token := mint("--role", "customer", "--sub", fmt.Sprint("c", i))
		talk.Go(func() {
			if err := b.talk(ctx, url, token, i, stopSending); err != nil {
				t.Error(err)
			}
		})
	}
	for n := range crashes {
		time.Sleep(time.Duration(300+rng.IntN(2200)) * time.Millisecond) // how long the load runs, not a wait for a result
		p.kill()
		then()
		p = serve(t, bin, data, addr)
		t.Logf("crash %d: %d words acknowledged", n+1, count(books))
	}
	close(stopSending)
	talk.Wait()
	cancel()
	wg.Wait()
	p.kill()
	total := 0
	for i, b := range books {
		total += b.check(t, bin, data, i)
	}
	if total < crashes*customers {
		t.Fatalf("only %d words were acknowledged: the load did not run", total)
	}
	t.Logf("%d acknowledged words over %d crashes: all there, once, in order", total, crashes)
}

func count(books []*ledger) (n int) {
	for _, b := range books {
		b.mu.Lock()
		n += len(b.acked)
		b.mu.Unlock()
	}
	return n
}

// talk sends until it is told to stop, and then until everything is answered.
func (b *ledger) talk(ctx context.Context, url, token string, i int, stop <-chan struct{}) error {
	c, err := client.Dial(ctx, client.Config{URL: url, Token: client.StaticToken(token), BackoffMin: 20 * time.Millisecond, BackoffMax: 200 * time.Millisecond, Tries: 1000})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	s, err := c.Open(ctx, client.OpenOptions{})
	if err != nil {
		return err
	}
	b.session = s.ID()
	sent := 0
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		text := fmt.Sprintf("c%d-%d", i, sent)
		r, err := s.Send(ctx, "text", text)
		if err != nil {
			return fmt.Errorf("sending %s: %w", text, err)
		}
		sent++
		b.mu.Lock()
		if old, twice := b.acked[r.Seq]; twice {
			b.mu.Unlock()
			return fmt.Errorf("seq %d was given to %s and to %s", r.Seq, old, text)
		}
		b.acked[r.Seq] = text
		b.mu.Unlock()
		if err := b.hear(ctx, s, "re: "+text); err != nil {
			return err
		}
	}
}

// hear reads until the answer comes.
func (b *ledger) hear(ctx context.Context, s *client.Session, want string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		e, err := s.Recv(ctx)
		if err != nil {
			return fmt.Errorf("waiting for %q: %w", want, err)
		}
		if e.Origin != wire.OriginBot {
			continue
		}
		b.answers[e.Text()]++
		if b.answers[e.Text()] > 1 {
			return fmt.Errorf("%q came %d times", e.Text(), b.answers[e.Text()])
		}
		if e.Text() == want {
			return nil
		}
	}
}

// check compares the ledger with the log on the disk.
func (b *ledger) check(t *testing.T, bin, data string, i int) int {
	t.Helper()
	type entry struct {
		Seq    uint64
		Origin string
		Body   struct{ Text string }
	}
	log := map[uint64]entry{}
	words := map[string]uint64{}
	last := uint64(0)
	dec := json.NewDecoder(strings.NewReader(run(t, bin, "log", "--data", data, "--json", b.session)))
	for {
		var e entry
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if e.Seq != last+1 {
			t.Fatalf("customer %d: seq %d follows %d", i, e.Seq, last)
		}
		last = e.Seq
		log[e.Seq] = e
		if e.Body.Text != "" && (e.Origin == "customer" || e.Origin == "bot") {
			if at, twice := words[e.Body.Text]; twice {
				t.Fatalf("customer %d: %q stands at %d and at %d", i, e.Body.Text, at, e.Seq)
			}
			words[e.Body.Text] = e.Seq
		}
	}
	for seq, text := range b.acked {
		if log[seq].Body.Text != text {
			t.Fatalf("customer %d: %q was acknowledged at %d, and the log has %+v", i, text, seq, log[seq])
		}
		if _, ok := words["re: "+text]; !ok {
			t.Fatalf("customer %d: %q was never answered", i, text)
		}
	}
	return len(b.acked)
}
