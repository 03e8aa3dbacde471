package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Turn is one peer's turn: its servers, in a directory of their own.
type Turn struct {
	// Program is the path of the peer's program, Dir its room on the disk.
	Program, Dir string
	// Addrs are where its servers listen.
	Addrs []string

	// Workers is how many will come.
	Workers int

	scheme string   // of Addrs, where there are several
	env    []string // for its programs, beside our own
	procs  []*process
}

// process is one server.
type process struct {
	cmd  *exec.Cmd
	said *bytes.Buffer
	done chan struct{} // closed when it has ended
}

// launch starts the turn's program and waits until it takes connections at addr.
func (t *Turn) launch(ctx context.Context, addr string, args ...string) error {
	return t.launchProgram(ctx, t.Program, addr, args...)
}

func (t *Turn) launchProgram(ctx context.Context, program, addr string, args ...string) error {
	p := &process{cmd: exec.Command(program, args...), said: new(bytes.Buffer), done: make(chan struct{})} //nolint:noctx // ended by stop
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = p.said, p.said, t.Dir
	p.cmd.Env = append(os.Environ(), t.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // a group of its own, and no server outlives the comparison
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", program, err)
	}
	t.procs, t.Addrs = append(t.procs, p), append(t.Addrs, addr)
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	for range 1200 {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
			return errors.New("it ended at once: " + p.said.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return errors.New("it does not serve after a minute")
}

// stop ends the servers and removes their data.
func (t *Turn) stop() error {
	for _, p := range t.procs {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // with what a script has started
		<-p.done
	}
	return os.RemoveAll(t.Dir)
}

// begin makes room for the turn and starts the row's servers. Whether it succeeds or not, end follows.
func (t *Turn) begin(ctx context.Context, row *Row) error {
	if err := os.MkdirAll(t.Dir, 0o700); err != nil {
		return fmt.Errorf("making room: %w", err)
	}
	if err := row.peer.start(ctx, t); err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	return nil
}

// end stops the turn's servers. What goes wrong is told by err, unless something went wrong before.
func (t *Turn) end(err *error) {
	if gone := t.stop(); *err == nil {
		*err = gone
	}
}

// write writes a file of the turn, and returns its path.
func (t *Turn) write(name, text string) (string, error) {
	path := filepath.Join(t.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// members returns the statistics of all processes in the servers' groups: a script's server is its child.
func (t *Turn) members() (list []stat) {
	dirs, _ := os.ReadDir("/proc") // none: nobody
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if s, ok := statOf(pid); ok && slices.ContainsFunc(t.procs, func(p *process) bool { return p.cmd.Process.Pid == s.group }) {
			list = append(list, s)
		}
	}
	return list
}

// cpu returns the processor time that the servers have used.
func (t *Turn) cpu() (sum time.Duration) {
	for _, s := range t.members() {
		sum += s.cpu
	}
	return sum
}

// resident returns the resident memory of the servers in bytes.
func (t *Turn) resident() (sum int64) {
	for _, s := range t.members() {
		sum += s.resident
	}
	return sum
}

// stat is what /proc tells of a process.
type stat struct {
	group    int
	cpu      time.Duration // user and system
	resident int64         // bytes
}

// tick is the unit of /proc's times: 100 a second on every Linux that Go runs on.
const tick = 10 * time.Millisecond

func statOf(pid int) (s stat, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, false
	}
	text := string(b)
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the name before may hold anything
	if len(f) < 22 {
		return s, false
	}
	n := func(i int) int64 { v, _ := strconv.ParseInt(f[i], 10, 64); return v }
	return stat{group: int(n(2)), cpu: time.Duration(n(11)+n(12)) * tick, resident: n(21) * int64(os.Getpagesize())}, true
}

// busy returns the processor time that the machine has used for anybody.
func busy() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var sum int64
	for i, v := range strings.Fields(line) { // cpu user nice system idle iowait irq softirq steal …
		n, _ := strconv.ParseInt(v, 10, 64)
		if i > 0 && i < 8 && i != 4 && i != 5 {
			sum += n
		}
	}
	return time.Duration(sum) * tick
}

// usage is who had used how much of the processors at one moment.
type usage struct {
	at                        time.Time
	servers, generator, whole time.Duration
}

func (t *Turn) usage() usage {
	own, _ := statOf(os.Getpid())
	return usage{at: time.Now(), servers: t.cpu(), generator: own.cpu, whole: busy()}
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer func() { _ = ln.Close() }() // all at the end, so that they differ
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
