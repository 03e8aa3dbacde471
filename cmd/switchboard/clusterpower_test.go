//go:build linux

package main

import (
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// powered is a cluster whose nodes have a disk each, and each disk a power of its own.
type powered struct {
	*trio
	disks []*disk // by the nodes' places
}

// TestClusterPowerCut cuts the power of a cluster of three real processes, each on a disk of its own, while customers and bots talk: of one
// node, of another while that one is only just back, and of all three in one moment. What was not synced is gone. Every acknowledged word
// is there afterwards, once, in order, at every node, and was answered once. The long form, make crash-cluster, does that again and again.
func TestClusterPowerCut(t *testing.T) {
	const seed, nodes = 20261122, 3
	rounds := crashes(t, 1)
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d, %d rounds", seed, rounds)
	p := &powered{}
	for range nodes {
		p.disks = append(p.disks, newDisk(t, 2<<30))
	}
	p.trio = newTrioIn(t, nodes, build(t), "dev: true\nfree_min: -1\n", func(i int, n *trioNode) {
		n.addr, n.links, n.data = freeAddr(t), freeAddr(t), filepath.Join(p.disks[i].mount, "data")
	})
	p.load(6)
	p.all(time.Now())
	for range rounds {
		order := rng.Perm(nodes)
		p.cut(order[0])
		p.cut(order[1]) // with the first one only just back, whose word a majority needs now
		p.healthy()
		runFor(rng)
		p.cut(order...)
		p.healthy()
		runFor(rng)
	}
	p.end()
}

// runFor lets the load run for a while that differs each time, so that the next cut finds another moment.
func runFor(rng *rand.Rand) {
	time.Sleep(time.Duration(100+rng.IntN(1000)) * time.Millisecond) // how long the load runs, not a wait for a result
}

// cut takes the power of some nodes in one moment, and starts them again, in this order.
func (p *powered) cut(which ...int) {
	p.t.Helper()
	p.mark()
	for _, i := range which {
		p.nodes[i].up.Store(false)
		p.nodes[i].signal(syscall.SIGKILL)
	}
	for _, i := range which {
		_ = p.nodes[i].wait() // it was killed
		p.disks[i].cut()
	}
	ready := map[int]<-chan struct{}{}
	for _, i := range which {
		ready[i] = p.launch(p.nodes[i])
	}
	for _, i := range which {
		p.await(p.nodes[i], ready[i])
	}
	_, pause := p.all(time.Now())
	p.t.Logf("the power of %d of %d nodes is cut: sessions paused for %v at most; %d words", len(which), len(p.nodes), pause, p.words())
}
