package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/node"
)

// whom asks a node whom it serves.
func (n *trioNode) whom(ctx context.Context, q *node.TenantsAsked) (*node.TenantsAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a := &node.TenantsAnswer{}
	return a, n.ask().Node(ctx, node.TenantsOp, q, a)
}

// Tenants are made without a pause at two of three real nodes, while one after the other is killed, the leader of the cluster's rows, too. Who was
// acknowledged is served by every node in the end, once and as he was made; and he talks.
func TestTenantsCrash(t *testing.T) {
	w := newTrio(t, 3)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	made := make([][]string, 2)
	for i := range made {
		wg.Go(func() {
			for k := 0; ctx.Err() == nil && k < 300; k++ {
				name := fmt.Sprintf("t%d-%d", i, k)
				for ctx.Err() == nil {
					n := w.nodes[(i+k)%len(w.nodes)]
					k2 := 0
					for !n.up.Load() && k2 < len(w.nodes) {
						n = w.nodes[(i+k+k2)%len(w.nodes)]
						k2++
					}
					// Whether it was done is not known when it fails: it is asked again, maybe elsewhere, and is the same.
					_, err := n.whom(ctx, &node.TenantsAsked{Action: "create", Tenant: name, TenantSettings: node.TenantSettings{WrapUpMS: int64(k + 1)}})
					if err == nil {
						made[i] = append(made[i], name)
						break
					}
					if errors.Is(err, cluster.ErrRefused) {
						t.Errorf("%s is refused: %v", name, err)
						return
					}
				}
			}
		})
	}
	for range crashes(t, 1) {
		var leader uint32
		w.until("leader", func(r *member.Report) bool { leader = r.Leader; return leader != 0 })
		at := slices.IndexFunc(w.nodes, func(n *trioNode) bool { return w.number(n) == leader })
		for _, n := range []*trioNode{w.nodes[at], w.nodes[(at+1)%3], w.nodes[(at+2)%3]} {
			n.signal(syscall.SIGKILL)
			_ = n.wait() // it was killed
			w.until("cluster of two", func(r *member.Report) bool { return r.Leader != 0 })
			w.start(n)
			w.healthy()
		}
	}
	stop()
	wg.Wait()
	all := slices.Concat(made...)
	if len(all) < 6 {
		t.Fatalf("only %d tenants were made: nothing was tried", len(all))
	}
	for _, n := range w.nodes {
		late := time.Now().Add(trioPatience)
		for {
			a, err := n.whom(t.Context(), &node.TenantsAsked{})
			there := map[string]node.TenantLine{}
			for _, l := range a.Tenants {
				there[l.Tenant] = l
			}
			missing := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return there[name].Made != nil && there[name].Home == cluster.Main })
			if err == nil && len(missing) == 0 {
				for _, name := range all {
					var i, k int64
					if _, err := fmt.Sscanf(name, "t%d-%d", &i, &k); err != nil || there[name].Made.WrapUpMS != k+1 {
						t.Fatalf("%s is not as he was made: %+v", name, there[name].Made)
					}
				}
				break
			}
			if time.Now().After(late) {
				t.Fatalf("node %s does not serve %v: %v", n.name, missing, err)
			}
		}
	}
	t.Logf("%d tenants were made, and are served by all nodes", len(all))
	// The last one talks: his keys, his document and his words came while the nodes ran.
	name := all[len(all)-1]
	bin := w.bin
	run(t, bin, "keys", "create", name, "--kid", "k1", "--at", w.nodes[1].links)
	doc := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(doc, []byte("version: 1\nqueues: [{name: help}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mint := func(args ...string) string {
		return run(t, bin, append([]string{"token", "--data", w.nodes[1].data, "--tenant", name}, args...)...)
	}
	operator := mint("--role", "operator", "--sub", "olga")
	for _, n := range w.nodes { // the second and the third have it already
		run(t, bin, "queues", "apply", "-f", doc, "--addr", n.addr, "--token", operator)
	}
	for i, n := range w.nodes {
		openByHTTP(t, n.addr, mint("--role", "customer", "--sub", fmt.Sprint("c", i)))
	}
}
