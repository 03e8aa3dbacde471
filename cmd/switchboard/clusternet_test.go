package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"switchboard/cluster/member"
)

// TestClusterNet is a cluster of four real processes, each in a network namespace and with a disk of its own, with customers and bots at all
// of them. Ways between nodes are cut in one direction, so that two of them hear each other through a third only, again and again, and around a
// leader whose clients still reach it, also in the middle of moves; packets are lost, delayed and doubled while one is killed; a disk is filled; bits of the disk of a node that was killed are turned, and an old
// copy of it is put back. Every acknowledged word is there afterwards, once, in order, at every node, and was answered once. That is the long form,
// make crash-cluster; the short one has one leader alone, one bad way, and what becomes of disks.
func TestClusterNet(t *testing.T) {
	const seed = 20261122
	rounds := crashes(t, 1)
	rng := rand.New(rand.NewPCG(seed, 0))
	l := newLab(t, 4)
	t.Logf("seed %d, %d rounds", seed, rounds)
	w := newTrioIn(t, 4, build(t), "cluster: {plain: true}\nfree_min: 33554432\ntenants: {demo: {queues: [{name: default}]}}\n", l.place)
	l.w = w
	w.load(8)
	w.all(time.Now())
	for range rounds {
		l.apart(w.leader(rng))
		l.bad(w.leader(rng), rng)
		l.rotten(w.leader(rng), rng)
		l.full(w.leader(rng))
		l.old(w.leader(rng))
		if rounds == 1 {
			break // the short form
		}
		l.oneWay(w.leader(rng), rng)
		l.bridged(rng)
		l.flapping(w.leader(rng), rng)
	}
	w.end()
}

// lab is a network of namespaces, joined by a bridge at which the test's clients are.
type lab struct {
	t    *testing.T
	w    *trio
	name string
	net  int
	disk string
}

// newLab makes a network. It skips the test where that is not allowed.
func newLab(t *testing.T, nodes int) *lab {
	t.Helper()
	pid := os.Getpid()
	l := &lab{t: t, name: fmt.Sprintf("sb%d", pid%100_000), net: 1 + pid%250}
	if os.Geteuid() != 0 {
		t.Skip("this takes network namespaces and mounts, and so root")
	}
	if out, err := l.try("ip", "link", "add", l.name, "type", "bridge"); err != nil {
		t.Skipf("no network can be made here: %v: %s", err, out)
	}
	t.Cleanup(func() { l.do("ip", "link", "del", l.name) })
	for range 250 { // a test that was killed leaves its network
		if out, err := l.try("ip", "route", "show", l.ip(0)+"/24"); err == nil && out == "" {
			break
		}
		l.net = 1 + l.net%250
	}
	l.do("ip", "addr", "add", l.ip(250)+"/24", "dev", l.name)
	l.do("ip", "link", "set", l.name, "up")
	for i := range nodes {
		if out, err := l.try("ip", "netns", "add", l.ns(i)); err != nil {
			t.Skipf("no network namespaces here: %v: %s", err, out)
		}
		t.Cleanup(func() { l.do("ip", "netns", "del", l.ns(i)) })
		out, in := fmt.Sprint(l.name, "o", i), fmt.Sprint(l.name, "i", i)
		l.do("ip", "link", "add", out, "type", "veth", "peer", "name", in)
		t.Cleanup(func() { l.do("ip", "link", "del", out) }) // with the namespace it would go some time later
		l.do("ip", "link", "set", in, "netns", l.ns(i))
		l.do("ip", "link", "set", out, "master", l.name, "up")
		l.do("ip", "-n", l.ns(i), "addr", "add", l.ip(i+1)+"/24", "dev", in)
		l.do("ip", "-n", l.ns(i), "link", "set", in, "up")
		l.do("ip", "-n", l.ns(i), "link", "set", "lo", "up")
	}
	l.disk = t.TempDir()
	return l
}

func (l *lab) ns(i int) string { return fmt.Sprint(l.name, "n", i) }
func (l *lab) ip(i int) string { return fmt.Sprintf("10.77.%d.%d", l.net, i) }

func (l *lab) try(args ...string) (string, error) {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput() //nolint:noctx // it is short, and also cleans up
	return strings.TrimSpace(string(out)), err
}

func (l *lab) do(args ...string) {
	l.t.Helper()
	if out, err := l.try(args...); err != nil {
		l.t.Errorf("%v: %v: %s", args, err, out)
	}
}

// place gives a node its namespace, addresses and disk.
func (l *lab) place(i int, n *trioNode) {
	n.addr, n.links = l.ip(i+1)+":7400", l.ip(i+1)+":7401"
	n.enter = []string{"ip", "netns", "exec", l.ns(i)}
	disk := filepath.Join(l.disk, n.name)
	if err := os.MkdirAll(disk, 0o700); err != nil {
		l.t.Fatal(err)
	}
	if out, err := l.try("mount", "-t", "tmpfs", "-o", "size=1536m", "none", disk); err != nil {
		l.t.Skipf("no disk can be mounted here: %v: %s", err, out)
	}
	l.t.Cleanup(func() { l.do("umount", "-l", disk) })
	n.data = filepath.Join(disk, "data")
}

func (l *lab) index(n *trioNode) int {
	for i := range l.w.nodes {
		if l.w.nodes[i] == n {
			return i
		}
	}
	return -1
}

// cut drops what from sends to another node, or no more.
func (l *lab) cut(from, to *trioNode, cut bool) {
	l.t.Helper()
	verb := "add"
	if !cut {
		verb = "del"
	}
	l.do("ip", "-n", l.ns(l.index(from)), "route", verb, "blackhole", l.ip(l.index(to)+1)+"/32")
}

// other returns a node that is none of these.
func (l *lab) other(rng *rand.Rand, not ...*trioNode) *trioNode {
	for {
		n := l.w.nodes[rng.IntN(len(l.w.nodes))]
		there := false
		for _, x := range not {
			there = there || x == n
		}
		if !there {
			return n
		}
	}
}

// last is how long a fault lasts: longer than a link's silence and an election. It is no wait for a result.
func last(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

const faultFor = 5 * time.Second

// over waits until everything is as before.
func (l *lab) over(what string) {
	l.t.Helper()
	_, pause := l.w.all(time.Now())
	l.w.healthy()
	l.t.Logf("%s: sessions paused for %v at most; %d words", what, pause, l.w.words())
}

// oneWay drops what a leader sends to one other node, while a shard moves.
func (l *lab) oneWay(n *trioNode, rng *rand.Rand) {
	l.t.Helper()
	l.w.mark()
	to := l.other(rng, n)
	l.cut(n, to, true)
	l.w.move(uint16(rng.IntN(trioShards))) //nolint:gosec // small
	last(faultFor)
	l.cut(n, to, false)
	l.over(fmt.Sprintf("what %s sends to %s is dropped", n.name, to.name))
}

// bridged cuts two nodes off from each other: they hear each other's news through the others only.
func (l *lab) bridged(rng *rand.Rand) {
	l.t.Helper()
	l.w.mark()
	a := l.other(rng)
	c := l.other(rng, a)
	l.cut(a, c, true)
	l.cut(c, a, true)
	last(faultFor)
	l.w.move(uint16(rng.IntN(trioShards))) //nolint:gosec // small
	last(faultFor)
	l.cut(a, c, false)
	l.cut(c, a, false)
	l.over(fmt.Sprintf("%s and %s hear the others, and not each other", a.name, c.name))
}

// flapping cuts the ways between a leader and another node, and opens them, several times a second.
func (l *lab) flapping(n *trioNode, rng *rand.Rand) {
	l.t.Helper()
	l.w.mark()
	to := l.other(rng, n)
	for range 12 {
		l.cut(n, to, true)
		l.cut(to, n, true)
		last(time.Duration(100+rng.IntN(400)) * time.Millisecond)
		l.cut(n, to, false)
		l.cut(to, n, false)
		last(time.Duration(100+rng.IntN(300)) * time.Millisecond)
	}
	l.over(fmt.Sprintf("%s and %s hear each other now and then", n.name, to.name))
}

// apart cuts a leader off from all other nodes, and not from the clients, who try it first. All go on at the others meanwhile.
func (l *lab) apart(n *trioNode) {
	l.t.Helper()
	l.w.mark()
	for _, to := range l.w.nodes {
		if to != n {
			l.cut(n, to, true)
			l.cut(to, n, true)
		}
	}
	last(2 * time.Second)
	n.up.Store(false) // whoever loses his connection goes elsewhere
	last(faultFor)
	for _, to := range l.w.nodes {
		if to != n {
			l.cut(n, to, false)
			l.cut(to, n, false)
		}
	}
	n.up.Store(true)
	l.over(n.name + " is alone with its clients")
}

// full fills the disk of a leader, and makes room again.
func (l *lab) full(n *trioNode) {
	l.t.Helper()
	l.w.mark()
	name := filepath.Join(filepath.Dir(n.data), "filler")
	f, err := os.Create(name)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := errors.Join(fill(f), f.Close()); err != nil {
		l.t.Fatal(err)
	}
	last(faultFor)
	if b, err := os.ReadFile(n.log.Name()); err != nil || !bytes.Contains(b, []byte("free space crossed the mark")) {
		l.t.Errorf("%s did not notice that its disk is full: %v", n.name, err)
	}
	if err := os.Remove(name); err != nil {
		l.t.Fatal(err)
	}
	l.over("the disk of " + n.name + " is full")
}

// fill makes a file larger until its disk has about 8 MiB left. That is far below the mark, and others write there meanwhile.
func fill(f *os.File) error {
	for size := int64(0); ; {
		var st syscall.Statfs_t
		if err := syscall.Fstatfs(int(f.Fd()), &st); err != nil {
			return err
		}
		more := int64(st.Bavail)*st.Bsize - 8<<20 //nolint:gosec // a size
		if more <= 0 {
			return nil
		}
		more = min(more, 64<<20)
		switch err := syscall.Fallocate(int(f.Fd()), 0, size, more); {
		case errors.Is(err, syscall.ENOSPC): // somebody else took it: what is left is asked again
		case err != nil:
			return err
		default:
			size += more
		}
	}
}

// rotten kills a node, turns bits in all of its tables and in its log, and starts it again. Nobody lends a hand.
func (l *lab) rotten(n *trioNode, rng *rand.Rand) {
	l.t.Helper()
	l.w.mark()
	n.signal(syscall.SIGKILL)
	_ = n.wait() // it was killed
	turned := 0
	err := filepath.WalkDir(filepath.Join(n.data, "journal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".sst" && filepath.Ext(path) != ".log" {
			return err
		}
		b, err := os.ReadFile(path)
		end := len(bytes.TrimRight(b, "\x00"))
		if err != nil || end < 64 {
			return err
		}
		for range 1 + end>>14 {
			b[rng.IntN(end)] ^= 1 << rng.IntN(8)
		}
		turned++
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil || turned == 0 {
		l.t.Fatalf("%d files turned, %v", turned, err)
	}
	l.w.start(n)
	l.healed(fmt.Sprintf("bits are turned in %d files of %s", turned, n.name))
}

// old puts an old copy of a node's directory back, after it was killed.
func (l *lab) old(n *trioNode) {
	l.t.Helper()
	l.w.mark()
	kill := func() {
		n.signal(syscall.SIGKILL)
		_ = n.wait() // it was killed
	}
	kill()
	keep := filepath.Join(l.t.TempDir(), "old")
	if err := os.CopyFS(keep, os.DirFS(n.data)); err != nil {
		l.t.Fatal(err)
	}
	l.w.start(n)
	l.w.all(time.Now())
	l.w.healthy()
	kill()
	if err := errors.Join(os.RemoveAll(n.data), os.CopyFS(n.data, os.DirFS(keep))); err != nil {
		l.t.Fatal(err)
	}
	l.w.start(n)
	l.healed(n.name + " comes back with an old copy of its disk")
}

// healed waits until nothing is damaged any more, and every node votes that did.
func (l *lab) healed(what string) {
	l.t.Helper()
	l.w.all(time.Now())
	l.w.until("healed cluster", func(r *member.Report) bool {
		for i := range r.Shards {
			for _, rep := range r.Shards[i].Replicas {
				if rep.Damaged != "" {
					return false
				}
			}
		}
		return full(r)
	})
	l.over(what)
}
