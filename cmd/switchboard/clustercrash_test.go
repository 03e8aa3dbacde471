package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/internal/sim/history"
	"switchboard/wire"
)

// trio is three real processes or more that are one cluster, and customers and bots who talk at all of them.
type trio struct {
	t      *testing.T
	bin    string
	config string
	shards int
	nodes  []*trioNode

	ctx    context.Context
	cancel context.CancelFunc
	talks  sync.WaitGroup
	bots   sync.WaitGroup
	stop   chan struct{}
	books  []*book
	every  time.Duration // at which customers say something; 0 as soon as they have their answer

	lost, stalled, unavailable atomic.Int64 // connections, and what clients were told
}

type trioNode struct {
	name, data, addr, links string
	enter                   []string    // a command that runs it elsewhere
	bin                     string      // that it runs; trio's when empty
	up                      atomic.Bool // dialled by clients

	cmd  *exec.Cmd
	done chan struct{}
	log  *os.File
}

const trioShards = 8

func newTrio(t *testing.T, nodes int) *trio {
	t.Helper()
	return newTrioOf(t, nodes, build(t))
}

// newTrioOf is newTrio of a program that was built before.
func newTrioOf(t *testing.T, nodes int, bin string) *trio {
	t.Helper()
	return newTrioIn(t, nodes, bin, "dev: true\nfree_min: -1\n", func(_ int, n *trioNode) { n.addr, n.links = freeAddr(t), freeAddr(t) })
}

// newTrioIn is newTrio where place says: it gives each node its addresses, and what else is its own.
func newTrioIn(t *testing.T, nodes int, bin, config string, place func(i int, n *trioNode)) *trio {
	t.Helper()
	return newTrioOfShards(t, nodes, trioShards, bin, config, place)
}

// newTrioOfShards is newTrioIn with so many shards.
func newTrioOfShards(t *testing.T, nodes, shards int, bin, config string, place func(i int, n *trioNode)) *trio {
	t.Helper()
	dir := t.TempDir()
	w := &trio{t: t, bin: bin, shards: shards, config: filepath.Join(dir, "config.yaml"), stop: make(chan struct{})}
	if err := os.WriteFile(w.config, []byte(config+"limits: {rate: 100000, burst: 100000, inflight: 1000}\ndrain_ms: 3000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.ctx, w.cancel = context.WithCancel(t.Context())
	for i := range nodes {
		name := fmt.Sprintf("n%d", i+1)
		log, err := os.Create(filepath.Join(dir, name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		n := &trioNode{name: name, data: filepath.Join(dir, name), log: log}
		place(i, n)
		w.nodes = append(w.nodes, n)
	}
	t.Cleanup(func() {
		w.cancel()
		for _, n := range w.nodes {
			n.signal(syscall.SIGKILL)
			_ = n.wait() // it was killed
			if t.Failed() {
				w.tail(n)
			}
			_ = n.log.Close()
		}
	})
	for _, n := range w.nodes {
		w.start(n)
	}
	w.until("three copies of every shard", full)
	if _, err := w.nodes[0].ask().Rebalance(w.ctx, "operator", "run"); err != nil {
		t.Fatal(err)
	}
	w.until("leaders everywhere", func(r *member.Report) bool {
		for i := range r.Nodes {
			if r.Nodes[i].Leads == 0 {
				return false
			}
		}
		return !r.Effort.Run && full(r)
	})
	return w
}

// full says whether every shard has a leader and three copies that vote and answer, and nothing moves.
func full(r *member.Report) bool {
	for i := range r.Shards {
		s := &r.Shards[i]
		if len(s.Replicas) != 3 || s.Leader == 0 || s.Job != 0 {
			return false
		}
		for _, rep := range s.Replicas {
			if rep.Learner || !rep.Answers || rep.Lag > 1000 {
				return false
			}
		}
	}
	voters := 0
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Votes {
			voters++
		}
		if n.Phase == cluster.Up && !n.Up {
			return false
		}
	}
	return len(r.Shards) >= trioShards && voters >= 3
}

// start starts a node and waits until it serves.
func (w *trio) start(n *trioNode) {
	w.t.Helper()
	w.await(n, w.launch(n))
}

// launch starts a node, and returns what is closed when it serves.
func (w *trio) launch(n *trioNode) <-chan struct{} {
	w.t.Helper()
	args := []string{
		"serve", "--config", w.config, "--data", n.data, "--name", n.name, "--listen", n.addr, "--cluster-listen", n.links,
	}
	if n == w.nodes[0] {
		args = append(args, "--shards", fmt.Sprint(w.shards))
	} else {
		args = append(args, "--join", w.nodes[0].links)
	}
	bin := n.bin
	if bin == "" {
		bin = w.bin
	}
	args = append(append([]string{}, n.enter...), append([]string{bin}, args...)...)
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it is killed by the test
	stderr, err := cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	n.cmd, n.done = cmd, make(chan struct{})
	ready := make(chan struct{})
	done := n.done
	go func() {
		defer close(done)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			_, _ = fmt.Fprintln(n.log, s.Text())
			if strings.Contains(s.Text(), "msg=serving") {
				close(ready)
			}
		}
	}()
	return ready
}

// await waits until a node that was launched serves.
func (w *trio) await(n *trioNode, ready <-chan struct{}) {
	w.t.Helper()
	select {
	case <-ready:
	case <-n.done:
		w.t.Fatalf("%s did not start: %v", n.name, n.cmd.Wait())
	}
	n.up.Store(true)
}

func (n *trioNode) signal(s syscall.Signal) {
	if n.cmd != nil {
		_ = n.cmd.Process.Signal(s)
	}
}

// wait waits for the end of the process and returns how it ended.
func (n *trioNode) wait() error {
	if n.cmd == nil {
		return nil
	}
	n.up.Store(false)
	<-n.done
	err := n.cmd.Wait()
	n.cmd = nil
	return err
}

// tail shows what a node said last.
func (w *trio) tail(n *trioNode) {
	b, err := os.ReadFile(n.log.Name())
	if err != nil {
		w.t.Error(err)
		return
	}
	list := strings.Split(strings.TrimSpace(string(b)), "\n")
	w.t.Logf("%s said last:\n%s", n.name, strings.Join(list[max(0, len(list)-60):], "\n"))
}

// ask asks a node as an operator.
func (n *trioNode) ask() *member.Operations {
	return member.At(n.links, member.Seat{Name: "operator", Plain: true})
}

// report returns how the cluster is, as one of the nodes that are up says.
func (w *trio) report() (*member.Report, error) {
	var failed error
	for _, n := range w.nodes {
		if !n.up.Load() {
			continue
		}
		ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		r, err := n.ask().Status(ctx)
		cancel()
		if err == nil && !r.Stale {
			return r, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, errors.Join(errors.New("nobody tells"), failed)
}

// trioPatience is how long a cluster may take for anything on a machine that others use too. It is no measure of speed.
const trioPatience = 2 * time.Minute

// until waits until the report is as it shall be.
func (w *trio) until(what string, ok func(*member.Report) bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := w.report()
		if err == nil && ok(r) {
			return time.Since(began)
		}
		if patience := trioPatience * time.Duration(max(1, w.shards/32)); time.Since(began) > patience {
			w.t.Fatalf("there is no %s after %v: %v\n%s", what, patience, err, asJSON(r))
		}
		<-tick.C
	}
}

func asJSON(v any) string {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// dial connects to the node i, or to another one while that one is down: what a load balancer does.
func (w *trio) dial(i int) func(ctx context.Context, network, _ string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		for k := range w.nodes {
			if n := w.nodes[(i+k)%len(w.nodes)]; n.up.Load() {
				i += k
				c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, n.addr)
				if err != nil {
					return nil, err
				}
				return w.listen(c), nil
			}
		}
		return nil, errors.New("all nodes are down")
	}
}

func (w *trio) clientConfig(i int, token string) client.Config {
	return client.Config{
		URL: "ws://cluster.invalid/v1/connect", Token: client.StaticToken(token), Dial: w.dial(i), Timeout: 5 * time.Second,
		BackoffMin: 20 * time.Millisecond, BackoffMax: 200 * time.Millisecond, Tries: 10_000,
		On: client.Hooks{Disconnected: func(error, time.Duration) { w.lost.Add(1) }},
	}
}

func (w *trio) mint(args ...string) string {
	return run(w.t, w.bin, append([]string{"token", "--data", w.nodes[0].data, "--ttl", "24h"}, args...)...)
}

// book is what a customer knows: what was acknowledged, under which seq, when, and what came of it.
type book struct {
	who     string
	every   time.Duration
	session string
	err     error // of its talk

	mu    sync.Mutex
	acked map[uint64]string
	ops   []history.Op
	last  time.Time     // acknowledged
	pause time.Duration // the longest between two acknowledgements since somebody asked
}

// load lets customers and bots talk at all nodes.
func (w *trio) load(customers int) {
	for i := range w.nodes {
		cfg := client.WorkerConfig{
			Config: w.clientConfig(i, w.mint("--role", "worker", "--kind", "bot", "--sub", fmt.Sprint("echo", i))),
			Queues: []string{"default"}, Slots: 100,
		}
		w.bots.Go(func() {
			_ = client.Work(w.ctx, cfg, func(ctx context.Context, s *client.Session, e client.Entry) error {
				_, err := s.Reply(ctx, "text", "re: "+e.Text(), client.WithAck(e.Seq))
				return err
			})
		})
	}
	for i := range customers {
		b := &book{who: fmt.Sprint("c", i), every: w.every, acked: map[uint64]string{}, last: time.Now()}
		w.books = append(w.books, b)
		cfg := w.clientConfig(i, w.mint("--role", "customer", "--sub", b.who))
		w.talks.Go(func() {
			if err := b.talk(w.ctx, cfg, w.stop); err != nil {
				b.mu.Lock()
				b.err = err
				b.mu.Unlock()
				w.t.Error(b.who, b.session, err)
			}
		})
	}
}

// talk sends until it is told to stop. Each word is answered before the next is said, and that is not said before its time.
func (b *book) talk(ctx context.Context, cfg client.Config, stop <-chan struct{}) error {
	c, err := client.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	s, err := c.Open(ctx, client.OpenOptions{})
	if err != nil {
		return err
	}
	b.session = s.ID()
	seen := map[string]bool{}
	last := uint64(0)
	var due <-chan time.Time
	if b.every > 0 {
		tick := time.NewTicker(b.every)
		defer tick.Stop()
		due = tick.C
	}
	for sent := 0; ; sent++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if due != nil {
			select {
			case <-stop:
				return nil
			case <-due:
			}
		}
		text := fmt.Sprint(b.who, "-", sent)
		op := history.Op{Session: b.session, Key: text, Call: time.Now().UnixNano()}
		r, err := s.Send(ctx, "text", text)
		if err != nil {
			return fmt.Errorf("sending %s: %w", text, err)
		}
		op.Return, op.Seq, op.Duplicate = time.Now().UnixNano(), r.Seq, r.Duplicate
		b.mu.Lock()
		b.ops = append(b.ops, op)
		old, twice := b.acked[r.Seq]
		b.acked[r.Seq] = text
		now := time.Now()
		b.pause, b.last = max(b.pause, now.Sub(b.last)), now
		b.mu.Unlock()
		if twice {
			return fmt.Errorf("seq %d was given to %s and to %s", r.Seq, old, text)
		}
		if r.Seq <= last {
			return fmt.Errorf("%s has seq %d, and what was said before %d", text, r.Seq, last)
		}
		last = r.Seq
		for !seen["re: "+text] {
			e, err := s.Recv(ctx)
			if err != nil {
				return fmt.Errorf("waiting for the answer to %s: %w", text, err)
			}
			if e.Origin != wire.OriginBot {
				continue
			}
			if seen[e.Text()] {
				return fmt.Errorf("%q came twice", e.Text())
			}
			seen[e.Text()] = true
		}
	}
}

// mark begins to measure pauses anew.
func (w *trio) mark() time.Time {
	now := time.Now()
	for _, b := range w.books {
		b.mu.Lock()
		b.pause = 0
		b.mu.Unlock()
	}
	return now
}

// all waits until every customer has had a word acknowledged after a moment, and returns how long that took, and the longest
// pause that any of them saw.
func (w *trio) all(since time.Time) (took, pause time.Duration) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		left := ""
		for _, b := range w.books {
			b.mu.Lock()
			if !b.last.After(since) {
				left = b.who
			}
			err := b.err
			b.mu.Unlock()
			if err != nil {
				w.t.FailNow() // it has said why
			}
		}
		if left == "" {
			break
		}
		if time.Since(since) > trioPatience {
			w.t.Fatalf("%s has had nothing acknowledged for %v\n%s", left, trioPatience, w.picture())
		}
		<-tick.C
	}
	took = time.Since(since)
	for _, b := range w.books {
		b.mu.Lock()
		pause = max(pause, b.pause)
		b.mu.Unlock()
	}
	return took, pause
}

// picture is how the cluster is, for who reads of a failure.
func (w *trio) picture() string {
	r, err := w.report()
	if err != nil {
		return err.Error()
	}
	return asJSON(r)
}

// words is how many have been acknowledged.
func (w *trio) words() (n int) {
	for _, b := range w.books {
		b.mu.Lock()
		n += len(b.acked)
		b.mu.Unlock()
	}
	return n
}

// end stops the talk and holds the books against the log, at every node.
func (w *trio) end() {
	w.t.Helper()
	close(w.stop)
	w.talks.Wait()
	operator := w.mint("--role", "supervisor", "--sub", "sue")
	for _, b := range w.books {
		for _, n := range w.nodes {
			b.check(w.t, n, operator)
		}
	}
	w.healthy() // a copy on its way is in no directory
	w.cancel()
	w.bots.Wait()
	for _, n := range w.nodes {
		n.signal(syscall.SIGTERM)
	}
	for _, n := range w.nodes {
		if err := n.wait(); err != nil {
			w.t.Errorf("%s ends with %v", n.name, err)
		}
		run(w.t, w.bin, "verify", "--data", n.data)
	}
	w.readStopped()
	if w.words() < len(w.books)*3 {
		w.t.Fatalf("only %d words were acknowledged: the load did not run", w.words())
	}
	w.t.Logf("%d acknowledged words: all there, once, in order, at every node", w.words())
}

// readStopped reads a session from the directories of stopped nodes: it is in three of them.
func (w *trio) readStopped() {
	w.t.Helper()
	found := 0
	var not []string
	for _, n := range w.nodes {
		out, err := exec.CommandContext(w.t.Context(), w.bin, "log", "--data", n.data, w.books[0].session).Output()
		if err == nil && bytes.Contains(out, []byte("re: "+w.books[0].who+"-0")) {
			found++
			continue
		}
		if gone, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, gone.Stderr)
		}
		not = append(not, fmt.Sprintf("%s: %v", n.name, err))
	}
	if found != 3 {
		w.t.Errorf("session %s is in the directories of %d nodes; not in %q", w.books[0].session, found, not)
	}
}

// check compares the book with the log as a node tells it.
func (b *book) check(t *testing.T, n *trioNode, token string) {
	t.Helper()
	type entry struct {
		Seq    uint64
		Origin string
		Body   struct{ Text string }
	}
	log, words, last := map[uint64]entry{}, map[string]uint64{}, uint64(0)
	read := history.Op{Client: 1, Session: b.session, Call: time.Now().UnixNano(), From: 1}
	for {
		var page struct {
			Entries []entry
			More    bool
		}
		url := fmt.Sprintf("http://%s/v1/sessions/%s/messages?after=%d&limit=200", n.addr, b.session, last)
		if err := getJSON(t.Context(), url, token, &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if e.Seq != last+1 {
				t.Fatalf("%s: seq %d follows %d", b.who, e.Seq, last)
			}
			last = e.Seq
			log[e.Seq] = e
			if e.Body.Text != "" && (e.Origin == "customer" || e.Origin == "bot") {
				if at, twice := words[e.Body.Text]; twice {
					t.Fatalf("%s: %q stands at %d and at %d", b.who, e.Body.Text, at, e.Seq)
				}
				words[e.Body.Text] = e.Seq
				if e.Origin == "customer" {
					read.Words = append(read.Words, history.Word{Key: e.Body.Text, Seq: e.Seq})
				}
			}
		}
		if !page.More {
			break
		}
	}
	read.Return = time.Now().UnixNano()
	if _, err := history.Check(append(slices.Clone(b.ops), read), time.Minute); err != nil {
		t.Fatalf("%s at %s: %v", b.who, n.name, err)
	}
	for seq, text := range b.acked {
		if log[seq].Body.Text != text {
			t.Fatalf("%s: %q was acknowledged at %d, and %s has %+v there", b.who, text, seq, n.name, log[seq])
		}
		if _, ok := words["re: "+text]; !ok {
			t.Fatalf("%s: %q was never answered", b.who, text)
		}
	}
}

func getJSON(ctx context.Context, url, token string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, bytes.TrimSpace(b))
	}
	return json.Unmarshal(b, v)
}

// TestClusterCrash is a cluster of four real processes with customers and bots at all of them. Nodes are killed with SIGKILL, frozen
// while they lead, stopped and started one after the other, every shard is moved away from its leader and moved again, and a node
// is drained. Every acknowledged word is there afterwards, once, in order, at every node, and was answered once. The long form,
// make crash-cluster, does all of that again and again.
func TestClusterCrash(t *testing.T) {
	const seed = 20261121
	rounds := crashes(t, 1)
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d, %d rounds", seed, rounds)
	w := newTrio(t, 4)
	w.load(12)
	w.all(time.Now())
	for range rounds {
		w.killed(w.leader(rng))
		w.frozen(w.leader(rng))
		for _, n := range w.nodes {
			w.upgraded(n)
		}
		for range 2 {
			w.moved()
		}
		w.drained(w.nodes[rng.IntN(len(w.nodes))])
	}
	w.end()
}

// killed kills a node with SIGKILL, and starts it again when all sessions go on.
func (w *trio) killed(n *trioNode) {
	w.t.Helper()
	w.mark()
	n.signal(syscall.SIGKILL)
	_ = n.wait() // it was killed
	took, pause := w.all(time.Now())
	w.t.Logf("%s is killed: every session acknowledges again after %v, and paused for %v at most; %d words", n.name, took, pause, w.words())
	w.start(n)
	w.healthy()
}

// frozen stops a node for five seconds, and lets it go on: what it led it believes to lead, and does not.
func (w *trio) frozen(n *trioNode) {
	w.t.Helper()
	w.mark()
	n.up.Store(false)
	n.signal(syscall.SIGSTOP)
	since := time.Now()
	thaw := time.NewTimer(5 * time.Second) // how long it is away, not a wait for a result
	<-thaw.C
	n.signal(syscall.SIGCONT)
	n.up.Store(true)
	_, pause := w.all(time.Now())
	w.t.Logf("%s is frozen for %v: sessions, those at it too, paused for %v at most; %d words", n.name, time.Since(since), pause, w.words())
	w.healthy()
}

// upgraded stops a node in good order and starts it again.
func (w *trio) upgraded(n *trioNode) {
	w.t.Helper()
	w.mark()
	n.up.Store(false)
	began := time.Now()
	n.signal(syscall.SIGTERM)
	if err := n.wait(); err != nil {
		w.t.Fatalf("%s ends with %v", n.name, err)
	}
	stopped := time.Since(began)
	_, pause := w.all(time.Now())
	w.t.Logf("%s stops in %v: sessions paused for %v at most; %d words", n.name, stopped, pause, w.words())
	w.start(n)
	w.healthy()
}

// moved moves every shard from its leader to a node that has no copy of it.
func (w *trio) moved() {
	w.t.Helper()
	w.mark()
	began := time.Now()
	for shard := range uint16(trioShards) {
		w.move(shard)
	}
	w.until("end of the moves", full)
	took := time.Since(began)
	_, pause := w.all(time.Now())
	w.t.Logf("%d shards move away from their leaders in %v: sessions paused for %v at most; %d words", trioShards, took, pause, w.words())
}

// drained makes a node give away all that it holds, and takes that back. Its connections stay until the rest has gone.
func (w *trio) drained(n *trioNode) {
	w.t.Helper()
	w.mark()
	id := w.number(n)
	var out []byte
	var failed error
	var cli sync.WaitGroup
	cli.Go(func() {
		out, failed = exec.CommandContext(w.ctx, w.bin, "nodes", "drain", n.name, "--pace", "1000", "--wait", "--at", n.links).CombinedOutput()
	})
	n.up.Store(false) // it is not ready, and whoever spreads connections sees that
	sends, began := false, w.logged(n)
	took := w.until("empty node", func(r *member.Report) bool {
		for i := range r.Nodes {
			x := &r.Nodes[i]
			if x.ID != id {
				continue
			}
			if sends && x.Holds+x.Leads > 0 { // the report is younger
				w.t.Fatalf("%s sends its connections away, and still leads %d shards and holds %d replicas", n.name, x.Leads, x.Holds)
			}
			sends = bytes.Contains(w.logged(n)[len(began):], []byte("its connections go elsewhere"))
			return sends && x.Holds == 0 && x.Leads == 0 && x.Connections == 0 && full(r)
		}
		return false
	})
	cli.Wait()
	if !bytes.HasSuffix(out, []byte("left: 0 shards that it leads, 0 replicas, then 0 connections\n")) || failed != nil {
		w.t.Fatalf("nodes drain says %s, %v", out, failed)
	}
	_, pause := w.all(time.Now())
	w.t.Logf("%s gives away all in %v: sessions paused for %v at most; %d words", n.name, took, pause, w.words())
	if err := n.ask().Drain(w.ctx, "operator", id, true); err != nil {
		w.t.Fatal(err)
	}
	n.up.Store(true)
	w.healthy()
}

// logged is all that a node has said.
func (w *trio) logged(n *trioNode) []byte {
	w.t.Helper()
	b, err := os.ReadFile(n.log.Name())
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// number returns the number of a node.
func (w *trio) number(n *trioNode) (id uint32) {
	w.t.Helper()
	w.until("number of "+n.name, func(r *member.Report) bool {
		for i := range r.Nodes {
			if r.Nodes[i].Name == n.name {
				id = r.Nodes[i].ID
			}
		}
		return id != 0
	})
	return id
}

// move begins to move a shard from its leader to a node that has no copy of it.
func (w *trio) move(shard uint16) {
	w.t.Helper()
	w.until(fmt.Sprintf("beginning of the move of shard %d", shard), func(r *member.Report) bool {
		s := &r.Shards[shard]
		if s.Job != 0 {
			return true // it is under way: the answer was lost
		}
		held := map[uint32]bool{}
		for _, rep := range s.Replicas {
			held[rep.Node] = true
		}
		for i := range r.Nodes {
			if to := r.Nodes[i].ID; !held[to] && s.Leader != 0 {
				_, err := w.nodes[0].ask().Move(w.ctx, "operator", shard, s.Leader, to, "a test")
				return err == nil
			}
		}
		return false
	})
}

// leader returns one of the nodes that lead shards.
func (w *trio) leader(rng *rand.Rand) *trioNode {
	w.t.Helper()
	var list []*trioNode
	w.until("leader", func(r *member.Report) bool {
		for i := range r.Nodes {
			for _, n := range w.nodes {
				if n.name == r.Nodes[i].Name && r.Nodes[i].Leads > 0 {
					list = append(list, n)
				}
			}
		}
		return len(list) > 0
	})
	return list[rng.IntN(len(list))]
}

// healthy waits until every shard has a leader and all of its copies answer.
func (w *trio) healthy() {
	w.t.Helper()
	w.until("healthy cluster", full)
}
