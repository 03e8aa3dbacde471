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

	procs []*process
}

// process is one server.
type process struct {
	cmd  *exec.Cmd
	said *bytes.Buffer
	done chan struct{} // closed when it has ended
}

// launch starts the turn's program and waits until it takes connections at addr.
func (t *Turn) launch(ctx context.Context, addr string, args ...string) error {
	p := &process{cmd: exec.Command(t.Program, args...), said: new(bytes.Buffer), done: make(chan struct{})} //nolint:noctx // ended by stop
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = p.said, p.said, t.Dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no server outlives the comparison
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", t.Program, err)
	}
	t.procs, t.Addrs = append(t.procs, p), append(t.Addrs, addr)
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	for range 300 {
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
	return errors.New("it does not serve after 15 s")
}

// stop ends the servers and removes their data.
func (t *Turn) stop() error {
	for _, p := range t.procs {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	return os.RemoveAll(t.Dir)
}

// write writes a file of the turn, and returns its path.
func (t *Turn) write(name, text string) (string, error) {
	path := filepath.Join(t.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// cpu returns the processor time that the servers have used.
func (t *Turn) cpu() time.Duration {
	var sum time.Duration
	for _, p := range t.procs {
		sum += cpuOf(p.cmd.Process.Pid)
	}
	return sum
}

// resident returns the resident memory of the servers in bytes.
func (t *Turn) resident() (sum int64) {
	for _, p := range t.procs {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid)) // gone: 0
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}

// tick is the unit of /proc's times: 100 a second on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuOf returns user and system time of a process, 0 when there is none.
func cpuOf(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(b), ") ") // the name may hold anything but this
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * tick
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
	return usage{at: time.Now(), servers: t.cpu(), generator: cpuOf(os.Getpid()), whole: busy()}
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
