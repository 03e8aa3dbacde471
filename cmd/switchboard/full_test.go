//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// available returns how many bytes a process may still write on the disk.
func (d *disk) available() int64 {
	d.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.mount, &s); err != nil {
		d.t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize //nolint:gosec // a small disk
}

// foreign is somebody else's file on the disk.
type foreign struct {
	d    *disk
	f    *os.File
	size int64
}

func (d *disk) foreign() *foreign {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.mount, "foreign"))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = f.Close() })
	return &foreign{d: d, f: f}
}

// leave grows the file until there are at most so many bytes for others.
func (x *foreign) leave(n int64) {
	x.d.t.Helper()
	step := int64(1 << 20)
	for left := x.d.available(); left > n; left = x.d.available() {
		if left-n < step {
			step = max(4<<10, (left-n)&^(4<<10-1))
		}
		err := syscall.Fallocate(int(x.f.Fd()), 0, x.size, step) //nolint:gosec // a descriptor
		switch {
		case err == nil:
			x.size += step
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ENOSPC) && step > 4<<10:
			step /= 2
		case errors.Is(err, syscall.ENOSPC):
			return
		default:
			x.d.t.Fatal(err)
		}
	}
}

func (x *foreign) remove() {
	x.d.t.Helper()
	if err := errors.Join(x.f.Close(), os.Remove(x.f.Name())); err != nil {
		x.d.t.Fatal(err)
	}
}

// chatter is a customer who writes without waiting for anybody, each word until it is acknowledged.
type chatter struct {
	addr, token, session, pad string

	acked   map[uint64]string // seq → word; to be read when it has ended
	said    atomic.Int64      // words that were acknowledged
	refused atomic.Int64      // answers that were unavailable
	unsaid  bool              // an answer may say that it is not known whether a word was taken; what is said again has the same key
}

func (c *chatter) ask(ctx context.Context, method, path, key string, body any) (status int, answer []byte, err error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, strings.NewReader(string(b)))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	answer, err = io.ReadAll(r.Body)
	return r.StatusCode, answer, errors.Join(err, r.Body.Close())
}

func (c *chatter) open(ctx context.Context) error {
	status, b, err := c.ask(ctx, http.MethodPost, "/v1/sessions", "", map[string]any{})
	if err != nil || status != 200 && status != 201 {
		return fmt.Errorf("opening a session: %d %s %w", status, b, err)
	}
	var r struct{ Session string }
	err = json.Unmarshal(b, &r)
	c.session, c.acked = r.Session, map[uint64]string{}
	return err
}

// send says a word once. It returns the status, 0 when there was no answer.
func (c *chatter) send(ctx context.Context, word string) (int, error) {
	status, b, err := c.ask(ctx, http.MethodPost, "/v1/sessions/"+c.session+"/messages", word, map[string]any{"body": map[string]string{"text": word + c.pad}})
	if err != nil {
		return 0, nil //nolint:nilerr // the node may have stopped
	}
	switch status {
	case 200, 201:
		var r struct{ Seq uint64 }
		if err := json.Unmarshal(b, &r); err != nil {
			return status, err
		}
		if old, twice := c.acked[r.Seq]; twice {
			return status, fmt.Errorf("seq %d was given to %s and to %s", r.Seq, old, word)
		}
		c.acked[r.Seq] = word
		c.said.Add(1)
	case 503:
		if !strings.Contains(string(b), `"unavailable"`) {
			return status, fmt.Errorf("%s was refused with %s", word, b)
		}
		c.refused.Add(1)
	case 504:
		if !c.unsaid || !strings.Contains(string(b), `"deadline"`) {
			return status, fmt.Errorf("%s was answered %d %s", word, status, b)
		}
		c.refused.Add(1)
	default:
		return status, fmt.Errorf("%s was answered %d %s", word, status, b)
	}
	return status, nil
}

// talk says words until ctx is done.
func (c *chatter) talk(ctx context.Context, name string) error {
	pause := time.NewTicker(10 * time.Millisecond) // between two tries of what was not taken
	defer pause.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		for word := fmt.Sprint(name, "-", n); ; {
			status, err := c.send(ctx, word)
			if err != nil {
				return err
			}
			if status == 200 || status == 201 {
				break
			}
			select {
			case <-ctx.Done():
				return nil
			case <-pause.C:
			}
		}
	}
	return nil
}

// crowd is some chatters at a node on a small disk.
type crowd struct {
	t    *testing.T
	data string
	list []*chatter
	wg   sync.WaitGroup
	end  context.CancelFunc
}

func newCrowd(t *testing.T, data, addr, pad string, unsaid bool) *crowd {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &crowd{t: t, data: data, end: cancel}
	t.Cleanup(func() { cancel(); w.wg.Wait() })
	for i := range 4 {
		name := fmt.Sprint("c", i)
		r := finish(t, as(t, nil, "token", "--data", data, "--sub", name, "--ttl", "1h"))
		c := &chatter{addr: addr, token: strings.TrimSpace(r.out), pad: pad, unsaid: unsaid}
		if err := c.open(ctx); err != nil {
			t.Fatal(err)
		}
		w.list = append(w.list, c)
		w.wg.Go(func() {
			if err := c.talk(ctx, name); err != nil {
				t.Error(err)
			}
		})
	}
	return w
}

// await waits until each of them has had so many more of something, or stopped is closed.
func (w *crowd) await(what string, more int64, of func(*chatter) int64, stopped <-chan struct{}) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	want := make([]int64, len(w.list))
	for i, c := range w.list {
		want[i] = of(c) + more
	}
	for i, c := range w.list {
		for of(c) < want[i] {
			select {
			case <-stopped:
				return
			case <-late:
				w.t.Fatalf("it did not happen: %s; the first customer was told %d times that it was done, %d times that it was not", what, w.list[0].said.Load(), w.list[0].refused.Load())
			case <-tick.C:
			}
			if w.t.Failed() {
				w.t.FailNow()
			}
		}
	}
}

func said(c *chatter) int64       { return c.said.Load() }
func turnedAway(c *chatter) int64 { return c.refused.Load() }

// check stops them, and holds what they know against the log of the stopped node.
func (w *crowd) check(stop func()) {
	w.t.Helper()
	w.end()
	w.wg.Wait()
	stop()
	total := 0
	for _, c := range w.list {
		r := finish(w.t, as(w.t, nil, "log", "--data", w.data, "--json", c.session))
		if r.code != 0 {
			w.t.Fatalf("log: %+v", r)
		}
		have := map[uint64]string{}
		seen := map[string]bool{}
		last := uint64(0)
		dec := json.NewDecoder(strings.NewReader(r.out))
		for dec.More() {
			var e struct {
				Seq    uint64
				Origin string
				Body   struct{ Text string }
			}
			if err := dec.Decode(&e); err != nil {
				w.t.Fatal(err)
			}
			if e.Seq != last+1 {
				w.t.Fatalf("seq %d follows %d", e.Seq, last)
			}
			last = e.Seq
			if e.Origin != "customer" || e.Body.Text == "" {
				continue
			}
			word := strings.TrimSuffix(e.Body.Text, c.pad)
			if seen[word] {
				w.t.Errorf("%s is there twice", word)
			}
			have[e.Seq], seen[word] = word, true
		}
		for seq, word := range c.acked {
			if have[seq] != word {
				w.t.Errorf("%s was acknowledged at %d, where the log has %q", word, seq, have[seq])
			}
		}
		total += len(c.acked)
	}
	if r := finish(w.t, as(w.t, nil, "verify", "--data", w.data)); r.code != 0 {
		w.t.Errorf("verify: %+v", r)
	}
	w.t.Logf("%d acknowledged words: all there, once, in order", total)
}

// readyz returns what a node says of itself.
func readyz(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	c := &chatter{addr: addr}
	status, b, err := c.ask(t.Context(), http.MethodGet, path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return status, string(b)
}

// TestDiskFills fills the file system below a node under load, by somebody else's file, and takes that away again. The node refuses words while there is
// room for its own needs, says so, lets everything be read, and goes on by itself; nothing that it acknowledged is lost.
func TestDiskFills(t *testing.T) {
	d := newDisk(t, 256<<20)
	const mark = 32 << 20
	data := filepath.Join(d.mount, "data")
	cmd, addr, _, stderr := up(t, nil, "--listen", "127.0.0.1:0", "--data", data, "--shards", "4", "--config", loadConfig(t), "--free-min", fmt.Sprint(mark))
	x := d.foreign()
	w := newCrowd(t, data, addr, "", false)
	w.await("words are acknowledged", 20, said, nil)
	if w.list[0].refused.Load() > 0 {
		t.Fatalf("words are refused, and %d bytes are free", d.available())
	}
	x.leave(mark - 1<<20)
	w.await("words are refused", 3, turnedAway, nil)
	if left := d.available(); left < mark/2 {
		t.Errorf("it refuses when %d bytes are left; want %d", left, mark)
	}
	if line := stderr.until("free space crossed the mark"); !strings.Contains(line, "refusing=true") {
		t.Errorf("the log says %q", line)
	}
	if status, text := readyz(t, addr, "/readyz"); status != 503 || !strings.Contains(text, "disk space is below the mark") {
		t.Errorf("readyz: %d %s", status, text)
	}
	if status, _ := readyz(t, addr, "/healthz"); status != 200 {
		t.Errorf("healthz: %d: a full disk is no reason to be killed", status)
	}
	one := w.list[0]
	probe := &chatter{addr: addr, token: one.token, session: one.session, acked: map[uint64]string{}}
	for i := range 20 {
		if status, err := probe.send(t.Context(), fmt.Sprint("probe-", i)); status != 503 || err != nil {
			t.Fatalf("probe %d: %d, %v", i, status, err)
		}
	}
	status, page, err := probe.ask(t.Context(), http.MethodGet, "/v1/sessions/"+one.session+"/messages?limit=10", "", nil)
	if err != nil || status != 200 || !strings.Contains(string(page), `"c0-`) {
		t.Errorf("history: %d %.200s %v", status, page, err)
	}
	x.remove()
	w.await("words are acknowledged again", 20, said, nil)
	if status, text := readyz(t, addr, "/readyz"); status != 200 {
		t.Errorf("readyz: %d %s", status, text)
	}
	if stderr.until("refusing=false") == "" {
		t.Error("the log does not say that it goes on")
	}
	w.check(func() { terminate(t, cmd, stderr) })
}

// TestDiskIsFull fills the file system to its last blocks below a node that writes much and does not look, as its mark is off: the file system is the first to say
// so. The node refuses what it cannot write, or stops; when there is room again it goes on, or starts, and nothing that it acknowledged is lost.
func TestDiskIsFull(t *testing.T) {
	d := newDisk(t, 384<<20)
	data := filepath.Join(d.mount, "data")
	args := []string{"--data", data, "--shards", "4", "--config", loadConfig(t)}
	cmd, addr, _, stderr := up(t, nil, append(args, "--listen", "127.0.0.1:0")...)
	x := d.foreign()
	pad := make([]byte, 45<<10)
	_, _ = rand.Read(pad) // what could be compressed would have room
	// Whoever is on his way when it fills waits for room as long as a request may, all of them if it is so.
	w := newCrowd(t, data, addr, base64.StdEncoding.EncodeToString(pad), true)
	w.await("words are acknowledged", 100, said, nil) // the log has made its next segments
	x.leave(16 << 10)
	stopped := make(chan struct{})
	go func() { _ = cmd.Wait(); close(stopped) }()
	w.await("words are refused, or it stops", 20, turnedAway, stopped)
	before := w.list[0].said.Load()
	gone := false
	// It may have made room once more by what it needs no longer; everybody goes on writing until that is gone, too.
	for late := time.Now().Add(time.Minute); !gone; {
		status, text := 0, ""
		select {
		case <-stopped:
			gone = true
			continue
		default:
			status, text = readyz(t, addr, "/readyz")
		}
		told := strings.Contains(stderr.String(), "no space left on device")
		if told && status == 503 && strings.Contains(text, "disk space") {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("readyz: %d %s; told by the file system: %v\n%s", status, text, told, stderr)
		}
	}
	left := d.available()
	if left > 1<<20 {
		t.Fatalf("%d bytes are free: the disk was not full", left)
	}
	t.Logf("%d bytes were left; %d words of one customer were acknowledged by then; stopped: %v", left, before, gone)
	x.remove()
	if gone {
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "the disk failed: stopping at once") {
			t.Errorf("it ended with %d:\n%s", code, stderr)
		}
		cmd, _, _, stderr = up(t, nil, append(args, "--listen", addr)...)
		stopped = make(chan struct{})
		go func() { _ = cmd.Wait(); close(stopped) }()
	}
	w.await("words are acknowledged again", 20, said, stopped)
	w.check(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-stopped
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Fatalf("SIGTERM: exit %d\n%s", code, stderr)
		}
	})
}

// loadConfig is a configuration file in which nobody is too fast.
func loadConfig(t *testing.T) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "load.yaml")
	if err := os.WriteFile(config, []byte("limits: {rate: 100000, burst: 100000, inflight: 1000, body: 65536}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}
