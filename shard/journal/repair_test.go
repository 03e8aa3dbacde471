package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/shard/journal/replica"
)

// cutPower cuts the power of a node: nothing that was not synced is left.
func (n *net) cutPower(id uint32) {
	p := n.nodes[id]
	n.mu.Lock()
	j := p.j
	p.j = nil
	n.mu.Unlock()
	p.disk = p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	must(n.t, j.Close())
	close(p.out)
	<-p.done
}

// TestSnapshotSurvives cuts the power of a follower right after it took a snapshot over rows of its own that were in memory only:
// its log was cut behind the snapshot, so that must be on the disk.
func TestSnapshotSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 3)
		p := n.leader(3, 1, 2, 3)
		last := write(t, p, 3, 50)
		n.same(3, last, 1, 2, 3)
		far := slices.DeleteFunc([]uint32{1, 2, 3}, func(id uint32) bool { return id == p.id })[0]
		n.isolate(far, true)
		p = n.leader(3, slices.DeleteFunc([]uint32{1, 2, 3}, func(id uint32) bool { return id == far })...)
		for range 30 { // more than the log keeps for those who are behind
			last = write(t, p, 3, 500)
		}
		for prev := uint64(0); prev < 1000; prev, _, _ = p.j.log.Bounds(3) {
			must(t, p.j.request(ask{reply: make(chan error, 1), fn: func() error { return errors.Join(p.j.flush(), p.j.truncate(nil)) }}))
		}
		var after *vfs.MemFS // the disk as a power cut leaves it, at the moment in which the snapshot was taken
		q := n.nodes[far]
		q.watch(func(int) {
			if g := q.j.Group(3); after == nil && g.Applied() > last/2 {
				after = q.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
			}
		})
		n.isolate(far, false)
		n.until("a snapshot was taken", func() bool { return q.j.Metrics().Installed == 1 })
		n.stop(far, false, nil)
		if q.disk = after; after == nil {
			t.Fatal("the power was not cut")
		}
		q.watch(nil)
		n.start(far)
		if s := n.nodes[far].j.Group(3).State(); s.Mode != OK {
			t.Fatalf("%+v", s)
		}
		n.same(3, last, 1, 2, 3)
		n.close()
	})
}

// TestRemovedStaysGone takes a replica off, cuts the power, and puts another one there: nothing of the first is seen, neither its rows
// nor its members, and the node opens again and again.
func TestRemovedStaysGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 3)
		p := n.leader(3, 1, 2, 3)
		last := write(t, p, 3, 50)
		n.same(3, last, 1, 2, 3)
		out := slices.DeleteFunc([]uint32{1, 2, 3}, func(id uint32) bool { return id == p.id })[0]
		must(t, n.nodes[out].j.flush()) // its rows are in tables
		change := func(kind pb.ConfChangeType, id uint64) {
			t.Helper()
			must(t, p.j.Change(3, &pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: kind.Enum(), NodeId: new(id)}}}))
			n.until("the change is made", func() bool {
				s, err := p.j.Replica(3)
				return err == nil && s.Applied == s.Commit && s.Applied == s.Last
			})
		}
		change(pb.ConfChangeRemoveNode, replica.ID(out, 1))
		must(t, n.nodes[out].j.Remove(3, replica.ID(out, 1)))
		n.cutPower(out)
		n.start(out)
		if n.nodes[out].j.Group(3) != nil {
			t.Fatal("it came back")
		}
		must(t, n.nodes[out].j.Join(3, replica.ID(out, 2)))
		wantRows(t, n.nodes[out].j.Group(3), 1, 0)
		for range 2 {
			n.cutPower(out)
			n.start(out)
			g := n.nodes[out].j.Group(3)
			if s := g.State(); s.Mode != OK {
				t.Fatalf("%+v", s)
			}
			wantRows(t, g, 1, 0)
			if s, err := n.nodes[out].j.Replica(3); err != nil || len(s.Conf.GetVoters()) != 0 {
				t.Fatalf("an empty replica knows members: %+v, %v", s, err)
			}
		}
		change(pb.ConfChangeAddLearnerNode, replica.ID(out, 2))
		n.same(3, last, out)
		n.close()
	})
}

// TestMembersBeforeRows cuts the power when the rows say that a change of members was decided: whoever comes back knows the change.
func TestMembersBeforeRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 3)
		p := n.leader(3, 1, 2, 3)
		last := write(t, p, 3, 50)
		n.same(3, last, 1, 2, 3)
		out := slices.DeleteFunc([]uint32{1, 2, 3}, func(id uint32) bool { return id == p.id })[0]
		s, err := p.j.Replica(3)
		must(t, err)
		var after *vfs.MemFS
		p.watch(func(int) {
			if after == nil && p.j.groups[3].at.index > s.Last {
				must(t, p.j.flush())
				after = p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
			}
		})
		must(t, p.j.Change(3, &pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: pb.ConfChangeRemoveNode.Enum(), NodeId: new(replica.ID(out, 1))}}}))
		n.until("the change is made", func() bool { return after != nil })
		p.watch(nil)
		n.stop(p.id, false, nil)
		p.disk = after
		n.start(p.id)
		if s, err = p.j.Replica(3); err != nil || s.Applied <= last || len(s.Conf.GetVoters()) != 2 {
			t.Fatalf("%+v, %v", s, err)
		}
		n.close()
	})
}

// TestDamagedLeader finds the rows of a leader damaged: another one leads, and its owner is told.
func TestDamagedLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 3)
		p := n.leader(3, 1, 2, 3)
		last := write(t, p, 3, 50)
		o := own(p.j.Group(3))
		p.j.corrupted(pebble.DataCorruptionInfo{Details: errors.New("a test")})
		others := slices.DeleteFunc([]uint32{1, 2, 3}, func(id uint32) bool { return id == p.id })
		q := n.leader(3, others...)
		if err := o.wait(last + 1); !errors.Is(err, ErrNotLeading) || p.j.Group(3).Term() != 0 {
			t.Fatalf("the owner was told %v", err)
		}
		last = write(t, q, 3, 50)
		n.same(3, last, others...)
		n.close()
	})
}

// TestLargeTurns: what no link would take is refused, and what is large goes in parcels of its own.
func TestLargeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := three(t, 3)
		p := n.leader(3, 1, 2, 3)
		g := p.j.Group(3)
		o := own(g)
		var turn Turn
		turn.Put([]byte("large"), make([]byte, sharedTurn+1))
		if _, err := g.Append(&turn); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("Append = %v", err)
		}
		for range 20 {
			turn.Reset()
			turn.Put([]byte("large"), make([]byte, 900<<10))
			if _, err := g.Append(&turn); err != nil {
				t.Fatal(err)
			}
		}
		must(t, o.wait(20))
		for id, q := range n.nodes {
			n.until("everybody has it", func() bool { return q.j.Group(3).Applied() == 20 })
			q.mu.Lock()
			if q.largest > 4<<20 {
				t.Errorf("node %d sent a parcel of %d bytes", id, q.largest)
			}
			q.mu.Unlock()
		}
		n.close()
	})
}

// gone is a log that has nothing any more.
type gone struct{}

func (gone) Entries(uint16, uint64, uint64, uint64) ([]*pb.Entry, error) {
	return nil, ErrDamaged
}

// TestUnreadableEntries lets a follower need entries that the leader cannot read: it is sent a snapshot, and the leader lives.
func TestUnreadableEntries(t *testing.T) {
	h := replica.NewHost(replica.Config{Log: gone{}, CacheBytes: 1})
	var b replica.Batch
	run := func() (sent []*pb.Message) {
		for h.Collect(&b) {
			for _, m := range b.Send {
				sent = append(sent, m.Raft)
			}
			h.Done(&b)
		}
		return sent
	}
	self, other := replica.ID(1, 1), replica.ID(2, 1)
	must(t, h.Add(replica.Bootstrap(1, self, []uint64{self})))
	run()
	for range 10 {
		must(t, h.Propose(1, make([]byte, 100)))
		run()
	}
	must(t, h.Change(1, &pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: pb.ConfChangeAddLearnerNode.Enum(), NodeId: &other}}}))
	sent := run()
	if len(sent) == 0 || sent[0].GetType() != pb.MsgApp {
		t.Fatalf("sent %v", sent)
	}
	// The other one says that it has little.
	must(t, h.Step(replica.Message{Group: 1, Raft: &pb.Message{
		Type: pb.MsgAppResp.Enum(), From: &other, To: &self, Term: sent[0].Term, Index: sent[0].Index, Reject: new(true), RejectHint: new(uint64(3)), LogTerm: sent[0].Term,
	}}))
	if sent = run(); len(sent) != 1 || sent[0].GetType() != pb.MsgSnap {
		t.Errorf("sent %v; want a snapshot", sent)
	}
}

// TestSnapshotFillsTheDisk: a snapshot that is larger than the room that there is ends at the mark, and what has come of it is removed.
func TestSnapshotFillsTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		free.Store(9 << 30)
		cfg := config(t, vfs.NewMem(), -1)
		cfg.FreeMin, cfg.Free = 1<<30, func() (uint64, uint64, error) { return free.Load(), 10 << 30, nil }
		j := open(t, cfg)
		to := replica.ID(1, 1)
		must(t, j.Join(7, to))
		header, err := json.Marshal(snapshotHeader{Group: 7, From: replica.ID(2, 1), To: to, Term: 2})
		must(t, err)
		r, w := io.Pipe()
		sent := 0
		go func() {
			out := &summer{w: bufio.NewWriter(w), sum: crc32.NewIEEE()}
			for ; out.err == nil && sent < 1000; sent++ {
				if sent == 100 {
					free.Store(1 << 29)
					time.Sleep(2 * watchEvery) // the bubble's clock
				}
				out.row(dataKey(nil, 7, tagRow, key(uint64(sent+1))), make([]byte, 32<<10))
			}
			_ = w.CloseWithError(errors.New("all of it was taken"))
		}()
		err = j.ReceiveSnapshot(header, r)
		_ = r.Close()
		synctest.Wait()
		if !errors.Is(err, ErrNoSpace) || sent < 100 || sent > 150 {
			t.Errorf("after %d rows, 100 of them before the disk was full: %v", sent, err)
		}
		names, err := cfg.FS.List(cfg.FS.PathJoin(cfg.Dir, arrivalDir))
		if must(t, err); len(names) > 0 {
			t.Errorf("%q are left", names)
		}
	})
}
