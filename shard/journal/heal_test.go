package journal

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/shard/journal/replica"
)

// turnBits turns bits in files of a disk, and says how many files those were.
func turnBits(t *testing.T, fs *vfs.MemFS, dir, suffix string, rng *rand.Rand) (n int) {
	t.Helper()
	names, err := fs.List(dir)
	must(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		b, err := fs.UnsafeGetFileDataBuffer(fs.PathJoin(dir, name))
		must(t, err)
		end := len(b)
		for end > 0 && b[end-1] == 0 {
			end--
		}
		if end < 64 {
			continue
		}
		for range 3 {
			b[rng.IntN(end)] ^= 1 << rng.IntN(8)
		}
		n++
	}
	return n
}

// renew replaces a damaged replica as a cluster does: it is taken off, another comes as a learner, and in one change it votes and the old one
// leaves.
func (n *net) renew(group int, node uint32, old, id uint64) {
	n.t.Helper()
	others := slices.DeleteFunc([]uint32{1, 2, 3}, func(i uint32) bool { return i == node })
	must(n.t, n.nodes[node].j.Remove(group, old))
	n.until("another comes", func() bool { return n.nodes[node].j.Join(group, id) == nil })
	change := func(changes ...*pb.ConfChangeSingle) {
		n.t.Helper()
		lead := n.leader(group, others...)
		must(n.t, lead.j.Change(group, &pb.ConfChangeV2{Changes: changes}))
		n.until("the change is made", func() bool {
			s, err := lead.j.Replica(group)
			return err != nil || len(s.Conf.GetVotersOutgoing()) == 0 && s.Applied == s.Commit
		})
	}
	one := func(kind pb.ConfChangeType, id uint64) *pb.ConfChangeSingle {
		return &pb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(id)}
	}
	change(one(pb.ConfChangeAddLearnerNode, id))
	last := n.leader(group, others...).j.Group(group).Applied()
	n.until("it has caught up", func() bool { return n.nodes[node].j.Group(group).Applied() >= last })
	change(one(pb.ConfChangeAddNode, id), one(pb.ConfChangeRemoveNode, old))
}

// hurt reads all that node 3 has, and returns the replicas that are damaged. Nobody reads them.
func (n *net) hurt(groups []int, seen map[string]int) map[int]uint64 {
	n.t.Helper()
	p := n.nodes[3]
	for _, g := range groups {
		if err := p.j.Group(g).Scan(nil, nil, false, func(_, _ []byte) bool { return true }); err != nil && !errors.Is(err, ErrReadOnly) && !errors.Is(err, ErrDamaged) {
			n.t.Fatal(err)
		}
	}
	time.Sleep(5 * time.Second) // the bubble's clock; what goes on in the background meanwhile finds damage, too
	synctest.Wait()
	ids := map[int]uint64{}
	for _, d := range p.j.Damaged() {
		seen[d.Mode.String()]++
		ids[d.Group] = d.ID
		if _, err := p.j.Group(d.Group).Get(key(1), nil); !errors.Is(err, ErrReadOnly) {
			n.t.Fatalf("a damaged replica is read: %v", err)
		}
	}
	return ids
}

// TestHeal turns bits in tables or segments of one of three nodes, each time with another seed, while it is stopped or runs. What it says of itself
// is damaged; nobody reads it; and it is replaced on the same disk, over what is left of the files.
func TestHeal(t *testing.T) {
	const runs = 12
	seen := map[string]int{}
	for seed := range uint64(runs) {
		for _, what := range []string{"data .sst", "log .log"} {
			synctest.Test(t, func(t *testing.T) {
				heal(t, seed, what, seen)
			})
		}
	}
	t.Log(seen)
	if seen["quarantined"] == 0 || seen["read-only"] == 0 {
		t.Errorf("the damage was too mild: %v", seen)
	}
}

func heal(t *testing.T, seed uint64, what string, seen map[string]int) {
	rng := rand.New(rand.NewPCG(seed, 5))
	n := newNet(t, 1, 2, 3)
	groups := []int{1, 2, 4}
	for _, g := range groups {
		for id := uint32(1); id <= 3; id++ {
			must(t, n.nodes[id].j.Create(g, replica.ID(id, uint32(g)), []uint64{replica.ID(1, uint32(g)), replica.ID(2, uint32(g)), replica.ID(3, uint32(g))}))
		}
	}
	last := map[int]uint64{}
	for _, g := range groups {
		last[g] = write(t, n.leader(g, 1, 2, 3), g, 200)
		n.same(g, last[g], 1, 2, 3)
	}
	p := n.nodes[3]
	must(t, p.j.flush())
	for _, g := range groups { // a third of the log is needed still
		last[g] = write(t, n.leader(g, 1, 2, 3), g, 100)
		n.same(g, last[g], 1, 2, 3)
	}
	n.stop(3, rng.IntN(2) == 0, rng)
	dir, suffix, _ := strings.Cut(what, " ")
	if turnBits(t, p.disk, "/j/"+dir, suffix, rng) == 0 {
		t.Fatalf("seed %d: there is nothing to damage in %s", seed, what)
	}
	n.start(3)
	for next := uint32(100); ; next += 10 {
		ids := n.hurt(groups, seen)
		if len(ids) == 0 {
			break
		}
		if next > 200 {
			t.Fatalf("seed %d, %s: it does not heal: %+v", seed, what, p.j.Damaged())
		}
		for _, g := range groups { // all that are damaged are taken off first, as a cluster does: a damaged table may be of several
			if ids[g] != 0 {
				must(t, p.j.Remove(g, ids[g]))
			}
		}
		for i, g := range groups {
			if id := ids[g]; id != 0 {
				n.renew(g, 3, id, replica.ID(3, next+uint32(i))) //nolint:gosec // small
			}
		}
	}
	for _, g := range groups {
		last[g] = write(t, n.leader(g, 1, 2, 3), g, 20)
		n.same(g, last[g], 1, 2, 3)
	}
	if list := p.j.Damaged(); len(list) != 0 {
		t.Fatalf("seed %d, %s: still damaged: %+v", seed, what, list)
	}
	n.stop(3, true, rng) // and it stays well
	n.start(3)
	for _, g := range groups {
		n.same(g, last[g], 3)
	}
	if list := p.j.Damaged(); len(list) != 0 {
		t.Fatalf("seed %d, %s: damaged again: %+v", seed, what, list)
	}
	n.close()
}
