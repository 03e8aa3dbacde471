package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/shard/journal/replica"
)

// net joins journals of one process. It loses what it is told to lose, and keeps the order of what is left.
type net struct {
	t     *testing.T
	nodes map[uint32]*peer

	lag atomic.Int64 // how long what is sent is on its way

	mu sync.Mutex
	// Guarded by mu.
	cut map[[2]uint32]bool // one way
}

// peer is one node: a journal, its disk, and a goroutine that carries what it sends.
type peer struct {
	n      *net
	id     uint32
	disk   *vfs.MemFS
	alone  int // groups that it makes
	keep   int64
	patrol time.Duration
	free   *atomic.Uint64   // of the disk; nil is room enough
	faults errorfs.Injector // of the disk; nil is none
	// decided is Config.Decided.
	decided func(group uint16, index, term uint64, data []byte)
	cfg     Config
	j       *Journal
	out     chan func()
	done    chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	events  []replica.Event
	applied func(group int) // is told by the committer
	largest int             // of the parcels that it sent
}

func newNet(t *testing.T, nodes ...uint32) *net {
	n := &net{t: t, nodes: map[uint32]*peer{}, cut: map[[2]uint32]bool{}}
	for _, id := range nodes {
		n.nodes[id] = &peer{n: n, id: id, disk: vfs.NewCrashableMem(), alone: -1}
		n.start(id)
	}
	return n
}

func (n *net) start(id uint32) {
	p := n.nodes[id]
	p.out, p.done = make(chan func(), 1000), make(chan struct{})
	p.cfg = Config{
		Dir: "/j", FS: p.disk, Groups: p.alone, Node: id, FreeMin: -1, CacheBytes: 1 << 20, Log: quiet, SegmentBytes: 64 << 10, FlushBytes: 64 << 10, KeepBytes: p.keep, PatrolEvery: p.patrol,
		LateBytes: []int{1, 500, 0}[id%3],
		Send: func(to uint32, msg []byte) {
			p.mu.Lock()
			p.largest = max(p.largest, len(msg))
			p.mu.Unlock()
			msg = bytes.Clone(msg)
			due := time.Now().Add(time.Duration(n.lag.Load()))
			p.post(func() {
				time.Sleep(time.Until(due))
				if q := n.reach(id, to); q != nil {
					if err := q.Receive(msg); err != nil {
						n.t.Errorf("node %d: %v", to, err)
					}
				}
			})
		},
		Stream: func(to uint32, header []byte, write func(io.Writer) error, done func(error)) {
			go func() {
				var b bytes.Buffer
				err := write(&b)
				if q := n.reach(id, to); q != nil && err == nil {
					err = q.ReceiveSnapshot(header, &b)
				} else if err == nil {
					err = errors.New("the way is cut")
				}
				done(err)
			}()
		},
		Applied: func(group int) {
			p.mu.Lock()
			f := p.applied
			p.mu.Unlock()
			if f != nil {
				f(group)
			}
		},
		Notify: func(e replica.Event) {
			p.mu.Lock()
			p.events = append(p.events, e)
			p.mu.Unlock()
		},
		Fatal: func(err error) { n.t.Errorf("node %d: %v", id, err) },
	}
	p.cfg.Decided = p.decided
	if p.faults != nil {
		p.cfg.FS = errorfs.Wrap(p.disk, p.faults)
	}
	if p.free != nil {
		p.cfg.FreeMin, p.cfg.Free = 1000, func() (uint64, uint64, error) { return p.free.Load(), 10_000, nil }
	}
	out, done := p.out, p.done
	go func() {
		defer close(done)
		for f := range out {
			f()
		}
	}()
	j, err := Open(p.cfg)
	if err != nil {
		n.t.Fatalf("node %d: %v", id, err)
	}
	n.mu.Lock()
	p.j = j
	n.mu.Unlock()
}

// watch lets f know when rows become newer.
func (p *peer) watch(f func(group int)) {
	p.mu.Lock()
	p.applied = f
	p.mu.Unlock()
}

func (p *peer) post(f func()) {
	defer func() { _ = recover() }() // it is being stopped
	select {
	case p.out <- f:
	default:
	}
}

// reach returns the journal of node to, or nil when the way there is cut.
func (n *net) reach(from, to uint32) *Journal {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.nodes[to]
	if p == nil || n.cut[[2]uint32{from, to}] {
		return nil
	}
	return p.j
}

// stop ends a node, in order or by a power cut.
func (n *net) stop(id uint32, cut bool, rng *rand.Rand) {
	p := n.nodes[id]
	n.mu.Lock()
	j := p.j
	p.j = nil
	n.mu.Unlock()
	if cut {
		p.disk = p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
	}
	must(n.t, j.Close())
	close(p.out)
	<-p.done
}

func (n *net) close() {
	for id, p := range n.nodes {
		if p.j != nil {
			n.stop(id, false, nil)
		}
	}
}

func (n *net) isolate(id uint32, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.nodes {
		if other != id {
			n.cut[[2]uint32{id, other}], n.cut[[2]uint32{other, id}] = cut, cut
		}
	}
}

// leader waits until one of the nodes leads the group, and all who can hear it agree.
func (n *net) leader(group int, of ...uint32) *peer {
	n.t.Helper()
	for range 2000 {
		synctest.Wait()
		for _, id := range of {
			p := n.nodes[id]
			if p.j == nil || p.j.Group(group) == nil {
				continue
			}
			if s, err := p.j.Replica(group); err == nil && s.Leads && p.j.Group(group).Term() != 0 {
				agree := true
				for _, other := range of {
					if q := n.nodes[other].j; q != nil && q.Group(group) != nil {
						o, err := q.Replica(group)
						agree = agree && err == nil && (o.Term == s.Term || len(o.Conf.GetVoters()) == 0)
					}
				}
				if agree {
					return p
				}
			}
		}
		time.Sleep(50 * time.Millisecond) // the bubble's clock
	}
	n.tell()
	n.t.Fatalf("nobody leads group %d", group)
	return nil
}

// until waits, in the bubble's time.
func (n *net) until(what string, f func() bool) {
	n.t.Helper()
	for range 2000 {
		synctest.Wait()
		if f() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	n.tell()
	n.t.Fatalf("never: %s", what)
}

// tell logs how everybody is.
func (n *net) tell() {
	for id, p := range n.nodes {
		if p.j != nil {
			for _, g := range p.j.list() {
				s, err := p.j.Replica(int(g.id))
				n.t.Logf("node %d, group %d: %+v, %v, %+v", id, g.id, s, err, g.State())
			}
		}
	}
}

// same waits until the rows of all nodes are those of 1..last.
func (n *net) same(group int, last uint64, of ...uint32) {
	n.t.Helper()
	for _, id := range of {
		g := n.nodes[id].j.Group(group)
		n.until(fmt.Sprintf("node %d has turn %d", id, last), func() bool { return g.Applied() == last })
		wantRows(n.t, g, 1, last)
	}
}

func write(t *testing.T, p *peer, group, turns int) uint64 {
	t.Helper()
	g := p.j.Group(group)
	o := own(g)
	appendMany(t, o, turns)
	return g.Applied()
}

// three makes a group on nodes 1, 2 and 3.
func three(t *testing.T, group int) *net {
	n := newNet(t, 1, 2, 3)
	voters := []uint64{replica.ID(1, 1), replica.ID(2, 1), replica.ID(3, 1)}
	for id := uint32(1); id <= 3; id++ {
		must(t, n.nodes[id].j.Create(group, replica.ID(id, 1), voters))
	}
	return n
}

// TestReplicas writes on the leader and reads everywhere, over restarts and changes of the leader.
func TestReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 7)
		rng := rand.New(rand.NewPCG(1, 2))
		last := uint64(0)
		var terms []uint64
		for round := range 6 {
			p := n.leader(7, 1, 2, 3)
			if g := p.j.Group(7); g.Last() != last || g.Applied() != last {
				t.Fatalf("round %d: the leader is at %d of %d", round, g.Applied(), last)
			}
			terms = append(terms, p.j.Group(7).Term())
			last = write(t, p, 7, 100)
			n.same(7, last, 1, 2, 3)
			n.stop(p.id, round%2 == 0, rng)
			others := slices.DeleteFunc([]uint32{1, 2, 3}, func(id uint32) bool { return id == p.id })
			q := n.leader(7, others...)
			last = write(t, q, 7, 50)
			n.same(7, last, others...)
			n.start(p.id)
			n.same(7, last, p.id)
		}
		if !slices.IsSorted(terms) || len(slices.Compact(terms)) != len(terms) {
			t.Errorf("terms %v", terms)
		}
		n.close()
	})
}

// TestFullFollowers fills the disks of a leader's followers. What is under way gets to them, a bounded part of what comes behind it too, and then no more; a leader that
// hears of it refuses at once. One of them leads all the same when the leader goes, and when there is room again everything is everywhere.
func TestFullFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &net{t: t, nodes: map[uint32]*peer{}, cut: map[[2]uint32]bool{}}
		for id := uint32(1); id <= 3; id++ {
			n.nodes[id] = &peer{n: n, id: id, disk: vfs.NewCrashableMem(), alone: -1, free: &atomic.Uint64{}}
			n.nodes[id].free.Store(5000)
			n.start(id)
		}
		voters := []uint64{replica.ID(1, 1), replica.ID(2, 1), replica.ID(3, 1)}
		for id := uint32(1); id <= 3; id++ {
			must(t, n.nodes[id].j.Create(0, replica.ID(id, 1), voters))
		}
		p := n.leader(0, 1, 2, 3)
		others := slices.DeleteFunc([]uint32{1, 2, 3}, func(id uint32) bool { return id == p.id })
		for _, id := range others {
			n.nodes[id].free.Store(0)
		}
		time.Sleep(watchEvery) // the bubble's clock
		for _, id := range others {
			if q := n.nodes[id].j; !q.Full() || q.Healthy() == nil {
				t.Fatalf("node %d has room", id)
			}
		}
		last := write(t, p, 0, 10)
		n.same(0, last, 1, 2, 3)
		g := p.j.Group(0)
		var turn Turn
		turn.Put([]byte("much"), make([]byte, 30_000))
		for range 100 { // the lot is three times what is taken
			if !g.Ready(30_000) {
				break
			}
			if _, err := g.Append(&turn); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		for _, id := range others {
			if s, err := n.nodes[id].j.Replica(0); err != nil || s.Last >= g.Last() || s.Last < last+10 {
				t.Errorf("node %d, whose disk is full, is at %d of %d: %v", id, s.Last, g.Last(), err)
			}
		}
		g.Lacks(true)
		if _, err := g.Append(&turn); !errors.Is(err, ErrNoSpace) || !errors.Is(p.j.Healthy(), ErrNoSpace) {
			t.Errorf("a leader whose followers take nothing more says %v, and that it is %v", err, p.j.Healthy())
		}
		n.stop(p.id, false, nil)
		q := n.leader(0, others...)
		if _, err := q.j.Group(0).Append(&turn); !errors.Is(err, ErrNoSpace) {
			t.Errorf("a leader without room says %v", err)
		}
		for _, id := range others {
			n.nodes[id].free.Store(5000)
		}
		time.Sleep(watchEvery)
		n.start(p.id)
		q = n.leader(0, 1, 2, 3)
		own(q.j.Group(0))
		idx, err := q.j.Group(0).Append(&turn)
		must(t, err)
		for id := uint32(1); id <= 3; id++ {
			n.until("everybody has everything", func() bool { return n.nodes[id].j.Group(0).Applied() == idx })
		}
		n.close()
	})
}

// TestHurryBesideFullFollowers: a leader whose followers answer and take nothing is to end: its owner, who waits for what he has appended, is let go.
func TestHurryBesideFullFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 7)
		p := n.leader(7, 1, 2, 3)
		last := write(t, p, 7, 10)
		n.same(7, last, 1, 2, 3)
		g := p.j.Group(7)
		o := own(g)
		var others []*Journal
		for id, q := range n.nodes {
			if id != p.id {
				others = append(others, q.j)
				q.j.refuseFor(&q.j.noFlush, "anything")
			}
		}
		append1(t, g)
		time.Sleep(time.Minute) // the bubble's clock
		if g.Term() == 0 || o.durable() != 0 {
			t.Fatalf("term %d, durable up to %d", g.Term(), o.durable())
		}
		p.j.Hurry()
		told := make(chan error, 1)
		go func() { told <- o.wait(last + 1) }()
		time.Sleep(5 * time.Second)
		select {
		case err := <-told:
			if !errors.Is(err, ErrNotLeading) {
				t.Errorf("the owner was told %v", err)
			}
		default:
			t.Error("the owner waits")
		}
		for _, q := range others {
			q.flushed(pebble.FlushInfo{})
		}
		n.close()
	})
}

// TestOldLeader cuts the leader off. It takes turns until it notices, and tells its owner then; none of them is seen anywhere,
// and it follows when it comes back.
func TestOldLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 0)
		p := n.leader(0, 1, 2, 3)
		last := write(t, p, 0, 10)
		n.same(0, last, 1, 2, 3)
		n.isolate(p.id, true)
		g := p.j.Group(0)
		o := own(g)
		var turn Turn
		turn.Put([]byte("never"), []byte("decided"))
		if _, err := g.Append(&turn); err != nil {
			t.Fatal(err)
		}
		confirmed := make(chan error, 1)
		go func() { confirmed <- p.j.Confirm(0) }()
		others := slices.DeleteFunc([]uint32{1, 2, 3}, func(id uint32) bool { return id == p.id })
		q := n.leader(0, others...)
		if g.Sure() {
			t.Error("the old leader is sure that it leads, and another does")
		}
		last = write(t, q, 0, 20)
		must(t, q.j.Confirm(0))
		if !q.j.Group(0).Sure() {
			t.Error("the new leader is not sure, and both others hear it")
		}
		if err := o.wait(last); !errors.Is(err, ErrNotLeading) {
			t.Fatalf("the old owner was told %v", err)
		}
		if err := <-confirmed; !errors.Is(err, ErrNotLeading) {
			t.Fatalf("Confirm = %v", err)
		}
		if _, err := g.Append(&turn); !errors.Is(err, ErrNotLeading) || g.Ready(1) || g.Term() != 0 {
			t.Fatalf("an old leader takes turns: %v", err)
		}
		n.isolate(p.id, false)
		n.same(0, last, 1, 2, 3)
		n.close()
	})
}

// TestListen: the owner of a replica that is cut off is not told anything while nothing is heard, and is told once when that is over and he has asked for it.
func TestListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 0)
		p := n.leader(0, 1, 2, 3)
		g := p.j.Group(0)
		n.until("it is sure", g.Sure)
		var told atomic.Int64
		var sure atomic.Bool
		g.Start(func(uint64, error) {
			told.Add(1)
			sure.Store(g.Sure())
		})
		n.isolate(p.id, true)
		for g.Sure() {
			time.Sleep(time.Millisecond) // the bubble's clock
		}
		g.Listen()
		time.Sleep(20 * time.Millisecond)
		if got := told.Load(); got != 0 {
			t.Fatalf("it was told %d times while nothing was heard", got)
		}
		n.isolate(p.id, false)
		n.until("it is told", func() bool { return told.Load() > 0 })
		if !sure.Load() {
			t.Fatal("it is told that it is sure, and is not")
		}
		time.Sleep(time.Second)
		if got := told.Load(); got != 1 {
			t.Fatalf("it was told %d times, and has asked once", got)
		}
		n.close()
	})
}

// Where an answer takes longer than a leader may be sure, he never is, and hears nevertheless that he led when he asked.
func TestLeaderOfSlowLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 0)
		p := n.leader(0, 1, 2, 3)
		g := p.j.Group(0)
		term := g.Term()
		n.until("it is sure", g.Sure)
		n.lag.Store(int64(190 * time.Millisecond))
		time.Sleep(time.Second) // of the test's own time
		for range 20 {
			at := g.Clock()
			if g.Sure() || g.Led(at) {
				t.Fatal("it is sure before anybody can have answered")
			}
			n.until("it hears that it led", func() bool { return g.Led(at) })
		}
		if g.Term() != term {
			t.Fatalf("it led in term %d, and leads in %d", term, g.Term())
		}
		n.isolate(p.id, true)
		time.Sleep(400 * time.Millisecond) // what was on its way
		at := g.Clock()
		n.until("it leads no more", func() bool { return g.Term() != term })
		if g.Led(at) {
			t.Fatal("it led at a moment that nobody heard of")
		}
		n.lag.Store(0)
		n.isolate(p.id, false)
		n.leader(0, 1, 2, 3)
		n.close()
	})
}

// TestGrowAndShrink takes a group of one to three nodes and another one, one change after the other, while it is written to.
func TestGrowAndShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, 1, 2, 3, 4)
		n.stop(1, false, nil)
		p := n.nodes[1]
		p.disk = vfs.NewCrashableMem()
		n.startAlone(1, 2)
		p = n.leader(0, 1)
		write(t, p, 0, 10)
		must(t, p.j.Create(0, replica.ID(1, 5), []uint64{replica.ID(1, 5)})) // it enters a cluster
		p = n.leader(0, 1)
		last := write(t, p, 0, 3000) // more than the log keeps
		ids := map[uint32]uint64{1: replica.ID(1, 5), 2: replica.ID(2, 1), 3: replica.ID(3, 1), 4: replica.ID(4, 1)}
		change := func(changes ...*pb.ConfChangeSingle) {
			t.Helper()
			lead := n.leader(0, 1, 2, 3, 4)
			must(t, lead.j.Change(0, &pb.ConfChangeV2{Changes: changes}))
			n.until("the change is made", func() bool {
				s, err := lead.j.Replica(0)
				return err != nil || len(s.Conf.GetVotersOutgoing()) == 0 && s.Applied == s.Commit
			})
		}
		one := func(kind pb.ConfChangeType, id uint64) *pb.ConfChangeSingle {
			return &pb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(id)}
		}
		for _, id := range []uint32{2, 3} {
			must(t, n.nodes[id].j.Join(0, ids[id]))
			change(one(pb.ConfChangeAddLearnerNode, ids[id]))
			last = write(t, n.leader(0, 1, 2, 3, 4), 0, 100)
			n.same(0, last, id)
			change(one(pb.ConfChangeAddNode, ids[id]))
		}
		n.same(0, last, 1, 2, 3)
		if m := n.nodes[2].j.Metrics(); m.Installed == 0 {
			t.Error("node 2 took no snapshot")
		}
		// The first one goes, another one comes, in one change.
		must(t, n.nodes[4].j.Join(0, ids[4]))
		change(one(pb.ConfChangeAddLearnerNode, ids[4]))
		n.same(0, last, 4)
		if lead := n.leader(0, 1, 2, 3, 4); lead.id == 1 {
			must(t, lead.j.Transfer(0, ids[2]))
			n.until("node 1 has handed over", func() bool { return n.nodes[1].j.Group(0).Term() == 0 })
		}
		change(one(pb.ConfChangeAddNode, ids[4]), one(pb.ConfChangeRemoveNode, ids[1]))
		must(t, n.nodes[1].j.Remove(0, ids[1]))
		if n.nodes[1].j.Group(0) != nil {
			t.Error("a removed replica is there")
		}
		if err := n.nodes[1].j.Join(0, ids[1]); !errors.Is(err, ErrRetired) {
			t.Errorf("a retired replica came back: %v", err)
		}
		last = write(t, n.leader(0, 2, 3, 4), 0, 100)
		n.same(0, last, 2, 3, 4)
		// All at once off and on: everybody finds his peers again, and the tombstone stays.
		for id := range n.nodes {
			n.stop(id, true, rand.New(rand.NewPCG(1, 1)))
		}
		n.startAlone(1, 2)
		for _, id := range []uint32{2, 3, 4} {
			n.start(id)
		}
		if n.nodes[1].j.Group(0) != nil {
			t.Error("a removed replica came back")
		}
		last = write(t, n.leader(0, 2, 3, 4), 0, 10)
		n.same(0, last, 2, 3, 4)
		// Under a new name it may come back.
		must(t, n.nodes[1].j.Join(0, replica.ID(1, 9)))
		change(one(pb.ConfChangeAddLearnerNode, replica.ID(1, 9)))
		n.same(0, last, 1)
		n.close()
		for _, p := range n.nodes {
			must(t, Verify(p.cfg, func(f Finding) {
				if f.Damaged {
					t.Errorf("node %d: %+v", p.id, f)
				}
			}))
		}
	})
}

// startAlone starts a node that has made groups of its own.
func (n *net) startAlone(id uint32, groups int) {
	n.nodes[id].alone = groups
	n.start(id)
}

// TestPieces applies what is decided for one group in several pieces of one round.
func TestPieces(t *testing.T) {
	j := open(t, config(t, vfs.NewMem(), 2))
	must(t, j.do(func() error {
		g := j.groups[0]
		entry := func(index, turn uint64) *pb.Entry {
			var b Turn
			b.Put(key(turn), val(turn))
			return &pb.Entry{Index: new(index), Term: new(g.at.term), Data: append(binary.BigEndian.AppendUint64(nil, turn), b.ops...)}
		}
		at := g.at.index
		if err := j.apply([]replica.Apply{
			{Group: 0, Entries: []*pb.Entry{entry(at+1, 1)}},
			{Group: 0, Entries: []*pb.Entry{entry(at+2, 2), entry(at+3, 3)}},
		}); err != nil {
			return err
		}
		// Raft has not said so: the rows are taken back before it goes on.
		j.reach(g, applied{index: at, term: g.at.term})
		return j.storeApplied(0, g.at)
	}))
	wantRows(t, j.Group(0), 1, 3)
}
