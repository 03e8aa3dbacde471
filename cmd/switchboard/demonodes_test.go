package main

import (
	"bufio"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"switchboard/node"
)

// TestDemoNodes starts the cluster for trying, kills a node with SIGKILL, sees it come again, and stops all.
func TestDemoNodes(t *testing.T) {
	bin, data := build(t), filepath.Join(t.TempDir(), "data")
	addr := freeRow(t)
	cmd := exec.Command(bin, "demo", "--nodes", "3", "--data", data, "--listen", addr, "--free-min", "-1", "--shards", "5") //nolint:noctx // it is stopped by a signal
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	told := bufio.NewScanner(stdout)
	for told.Scan() && !strings.Contains(told.Text(), "Ctrl-C stops all") {
		said.WriteString(told.Text() + "\n")
	}
	for _, want := range []string{"n1  http://" + addr + "/", "n3  http://", "customer  ey", "operator  ey"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it says\n%s\nwithout %q", said.String(), want)
		}
	}
	started := regexp.MustCompile(`^n2  started: kill -9 (\d+)$`)
	times := 0
	for log := bufio.NewScanner(stderr); times < 2 && log.Scan(); {
		if m := started.FindStringSubmatch(log.Text()); m != nil {
			if times++; times == 1 {
				pid, _ := strconv.Atoi(m[1])
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if times != 2 {
		t.Errorf("n2 was started %d times", times)
	}
	if err := (&crewNode{name: "n1", addr: addr}).ready(t.Context()); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if shards, err := node.Shards(filepath.Join(data, "n1")); err != nil || shards != 5 { // the founder's are the cluster's
		t.Errorf("there are %d shards, %v; 5 were asked for", shards, err)
	}
	for i := range 3 {
		if ln, err := net.Listen("tcp", above(t, addr, i)); err != nil {
			t.Errorf("node %d is left behind: %v", i+1, err)
		} else {
			_ = ln.Close()
		}
	}
}

// freeRow returns an address that has room above it for a crew. It is below the ports that a system gives to those who dial: of these whoever has
// just tried many connections leaves few, and no row.
func freeRow(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))
		room := true
		for _, i := range []int{0, 1, 2, linksAbove, linksAbove + 1, linksAbove + 2} {
			ln, err := net.Listen("tcp", above(t, addr, i))
			if err != nil {
				room = false
				break
			}
			_ = ln.Close()
		}
		if room {
			return addr
		}
	}
	t.Fatal("no free ports")
	return ""
}

func above(t *testing.T, addr string, n int) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	p, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(host, strconv.Itoa(p+n))
}

// TestDemoNodesNeedRoom: a cluster for trying does not begin where one of its addresses is taken, as by the demo that the reader of the README still runs.
func TestDemoNodesNeedRoom(t *testing.T) {
	addr := freeRow(t)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := strconv.Atoi(port)
	for _, taken := range []int{first, first + 1, first + linksAbove + 2} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(taken)))
		if err != nil {
			t.Fatal(err)
		}
		data := filepath.Join(t.TempDir(), "data")
		complains(t, 1, `has no address: .*:`+strconv.Itoa(taken)+`: .*address already in use: stop what serves there.*--listen`, nil, "demo", "--nodes", "3", "--data", data, "--listen", addr)
		if _, err := os.Stat(data); !os.IsNotExist(err) {
			t.Errorf("it has made %s: %v", data, err)
		}
		_ = ln.Close()
	}
}

// TestDemoNodesEnvironment: what a shell says of one node, by variables that stand for flags, is not said of a demo's; what it says of the system is. Of
// flags that a demo's nodes do not take, it says which variable it is that was meant for another.
func TestDemoNodesEnvironment(t *testing.T) {
	t.Setenv("SWITCHBOARD_JOIN", "127.0.0.1:1")
	t.Setenv("SWITCHBOARD_TLS_CERT", "elsewhere.pem")
	t.Setenv("NODES_OWN", "stays")
	self := filepath.Join(t.TempDir(), "self")
	if err := os.WriteFile(self, []byte("#!/bin/sh\nenv >&2\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	var said strings.Builder
	cmd := newDemo()
	c, err := newCrew(cmd, &nodeFlags{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	c.self, c.out = self, &crewLog{w: &said}
	if err := c.once(t.Context(), &c.nodes[0]); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(said.String(), "SWITCHBOARD_JOIN") || strings.Contains(said.String(), "SWITCHBOARD_TLS_CERT") || !strings.Contains(said.String(), "NODES_OWN=stays") {
		t.Errorf("a node's environment is\n%s", said.String())
	}
	complains(t, exitUsage, "take no --join of yours: leave it out, also as SWITCHBOARD_JOIN, or", []string{"SWITCHBOARD_TLS_CERT="}, "demo", "--nodes", "3")
}

// The demo's help says where it keeps what is said, and where on the page what stands.
func TestDemoHelp(t *testing.T) {
	r := finish(t, as(t, nil, "demo", "--help"))
	for _, want := range []string{"default demo-data, with --nodes cluster-data)", "a customer on the left, an agent beside him, the session's log\non the right."} {
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("exit %d, without %q:\n%s", r.code, want, r.out)
		}
	}
}
