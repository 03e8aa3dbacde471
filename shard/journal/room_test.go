package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"switchboard/shard/journal/replica"
	"switchboard/shard/journal/seglog"
)

// cramped is a journal of two groups on a disk that, once on, has no room for another segment of the log.
type cramped struct {
	on     *errorfs.Toggle
	failed atomic.Int64
	cfg    Config
	j      *Journal
}

func newCramped(t *testing.T, tune func(*Config)) *cramped {
	t.Helper()
	c := &cramped{on: &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFilePreallocate && strings.Contains(op.Path, "/log/") {
			return syscall.ENOSPC
		}
		return nil
	})}}
	c.cfg = config(t, errorfs.Wrap(vfs.NewMem(), c.on), 2)
	c.cfg.SegmentBytes = 64 << 10
	c.cfg.Fatal = func(error) { c.failed.Add(1) }
	if tune != nil {
		tune(&c.cfg)
	}
	var err error
	c.j, err = Open(c.cfg)
	must(t, err)
	return c
}

// busy keeps watch from foreseeing anything until the function that it returns is called.
func (c *cramped) busy() func() {
	busy := make(chan struct{})
	go func() { _ = c.j.request(ask{fn: func() error { <-busy; return nil }, reply: make(chan error, 1)}) }()
	synctest.Wait()
	return func() { close(busy); synctest.Wait() }
}

// worn fills segments of the log with what its store has, so that a truncation makes room, keeps watch busy, and leaves no room for another segment.
func (c *cramped) worn(t *testing.T) (g *Group, o *owner, free func()) {
	t.Helper()
	g = c.j.Group(0)
	o = own(g)
	for range 40 {
		appendMany(t, o, 1)
	}
	must(t, c.j.flush())
	free = c.busy()
	c.on.On()
	return g, o, free
}

// tombstone is a batch of one block, of a group that nobody has.
func tombstone(t *testing.T) *seglog.Batch {
	t.Helper()
	m := meta{self: 1, removed: true, conf: &pb.ConfState{}}
	v, err := m.put()
	must(t, err)
	b := &seglog.Batch{}
	b.SetMeta(9, v)
	return b
}

// brim fills the segment that is written, when there is no room for another, so that nothing more fits into it, also of truncations.
func brim(t *testing.T, j *Journal) {
	t.Helper()
	must(t, j.do(func() error { return brimful(t, j) }))
}

// brimful is brim for the committer.
func brimful(t *testing.T, j *Journal) (err error) {
	t.Helper()
	for err == nil {
		err = j.log.Write(tombstone(t))
	}
	for upTo := uint64(1); errors.Is(err, seglog.ErrNoSpace); upTo++ {
		if err = j.log.Truncate([]seglog.Point{{Group: 9, UpTo: upTo, Term: 1}}); errors.Is(err, seglog.ErrNoSpace) {
			return nil
		} else if err == nil {
			err = seglog.ErrNoSpace
		}
	}
	return err
}

// truncate lets watch do what it does behind a flush.
func (c *cramped) truncate() error {
	return c.j.request(ask{fn: func() error { return c.j.truncate(nil) }, reply: make(chan error, 1)})
}

// stuff appends turns of so many bytes until the committer waits for room. It returns the last that was taken.
func (c *cramped) stuff(t *testing.T, g *Group, size int) uint64 {
	t.Helper()
	for range 10_000 {
		var turn Turn
		turn.Put(key(g.Last()+1), make([]byte, size))
		_, err := g.Append(&turn)
		synctest.Wait()
		if errors.Is(err, ErrNoSpace) {
			return g.Last()
		}
		must(t, err)
	}
	t.Fatal("everything is taken")
	return 0
}

// within fails when fn takes longer than it may while there is no room.
func (c *cramped) within(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	time.Sleep(10 * time.Second) // the bubble's clock
	select {
	case <-done:
	default:
		c.on.Off() // so that the bubble ends
		t.Errorf("it waits for room: %s", what)
		<-done
	}
}

// TestLookWhileThereIsNoRoom: how replicas are is told while the log waits for room, and so is whoever only wants to look.
func TestLookWhileThereIsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCramped(t, nil)
		g := c.j.Group(0)
		o := own(g)
		appendMany(t, o, 3)
		free := c.busy()
		c.on.On()
		last := c.stuff(t, g, 1)
		told := make(chan map[uint16]replica.Status, 1)
		c.j.Look([]uint16{0, 1}, func(all map[uint16]replica.Status) { told <- all })
		var all map[uint16]replica.Status
		c.within(t, "a look", func() {
			var err error
			if all, err = c.j.Replicas(0, 1); err != nil {
				t.Error(err)
			}
		})
		if len(all) != 2 || !all[0].Leads || len(<-told) != 2 {
			t.Errorf("%+v", all)
		}
		if o.durable() >= last {
			t.Error("nothing waits for room")
		}
		c.on.Off()
		must(t, o.wait(last))
		free()
		must(t, c.j.Close())
	})
}

// TestToldWhileThereIsNoRoom: an owner hears of a turn that others have made durable although what comes behind it in the same round finds no room.
func TestToldWhileThereIsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var scarce atomic.Bool
		n := scarceFirst(t, &scarce, nil, 2, 3)
		j := n.nodes[1].j
		g := j.Group(7)
		o := own(g)
		appendMany(t, o, 3)
		free := (&cramped{j: j}).busy()
		n.lag.Store(int64(10 * time.Millisecond))
		sure := append1(t, g)
		synctest.Wait() // it is written here, and on its way to the others
		held, brimmed := make(chan struct{}), make(chan error, 2)
		go func() { brimmed <- j.do(func() error { <-held; return nil }) }()
		synctest.Wait()
		time.Sleep(50 * time.Millisecond) // the bubble's clock; what the others have answered waits for the committer
		scarce.Store(true)
		go func() { brimmed <- j.do(func() error { return brimful(t, j) }) }()
		synctest.Wait()
		last := append1(t, g)
		if o.durable() != sure-1 {
			t.Fatalf("the owner was told of %d; want %d", o.durable(), sure-1)
		}
		close(held)
		synctest.Wait()
		if !j.Full() || o.durable() != sure {
			t.Errorf("full: %v; the owner was told of %d; want %d", j.Full(), o.durable(), sure)
		}
		scarce.Store(false)
		must(t, errors.Join(<-brimmed, <-brimmed))
		must(t, o.wait(last))
		free()
		j.mu.Lock()
		if g.queued != 0 || j.held != 0 {
			t.Errorf("%d turns and %d bytes are still on their way", g.queued, j.held)
		}
		j.mu.Unlock()
		n.close()
	})
}

// scarceFirst makes group 7 on nodes 1, which leads it, and others. While it is scarce, the log of node 1 finds no room for another segment. What is decided
// there is told to decided, which may be nil.
func scarceFirst(t *testing.T, scarce *atomic.Bool, decided func(group uint16, index, term uint64, data []byte), others ...uint32) *net {
	t.Helper()
	n := &net{t: t, nodes: map[uint32]*peer{}, cut: map[[2]uint32]bool{}}
	all := append([]uint32{1}, others...)
	voters := make([]uint64, len(all))
	for i, id := range all {
		voters[i] = replica.ID(id, 1)
		n.nodes[id] = &peer{n: n, id: id, disk: vfs.NewCrashableMem(), alone: -1}
	}
	n.nodes[1].faults = errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFilePreallocate && strings.Contains(op.Path, "/log/") && scarce.Load() {
			return syscall.ENOSPC
		}
		return nil
	})
	n.nodes[1].decided = decided
	for _, id := range all {
		n.start(id)
		must(t, n.nodes[id].j.Create(7, replica.ID(id, 1), voters))
	}
	if p := n.leader(7, all...); p.id != 1 {
		must(t, p.j.Transfer(7, replica.ID(1, 1)))
		n.until("another has handed over", func() bool { return p.j.Group(7).Term() == 0 })
		n.leader(7, all...)
	}
	return n
}

// TestTruncationMakesRoom: the log waits for room that the journal's own truncation makes, which is under way and needs the committer.
func TestTruncationMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCramped(t, nil)
		g, o, free := c.worn(t)
		last := c.stuff(t, g, 20<<10) // which leaves room for what a truncation writes
		if o.durable() >= last {
			t.Fatal("nothing waits for room")
		}
		go free()
		c.within(t, "the truncation", func() {
			err := c.truncate()
			if err := errors.Join(err, o.wait(last)); err != nil {
				t.Error(err)
			}
		})
		if n := c.failed.Load(); n != 0 {
			t.Errorf("it failed %d times", n)
		}
		c.on.Off()
		must(t, c.j.Close())
	})
}

// TestTruncationBesideTurns: the truncation that makes the room is asked for in the same moment as the turns are taken for which there is none.
func TestTruncationBesideTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCramped(t, nil)
		g, o, free := c.worn(t)
		held := make(chan struct{})
		go func() { _ = c.j.do(func() error { <-held; return nil }) }()
		synctest.Wait()
		last := uint64(0)
		for range 10 {
			var turn Turn
			turn.Put(key(g.Last()+1), make([]byte, 20<<10)) // which leaves room for what a truncation writes
			var err error
			last, err = g.Append(&turn)
			must(t, err)
		}
		ended := make(chan error, 1)
		go func() {
			ended <- c.truncate()
		}()
		free() // it waits for the committer now
		close(held)
		c.within(t, "the truncation", func() {
			if err := errors.Join(<-ended, o.wait(last)); err != nil {
				t.Error(err)
			}
		})
		c.on.Off()
		must(t, c.j.Close())
	})
}

// TestHurry: whoever ends the owners first, which wait for what they have appended, says so, and they are told that it failed.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCramped(t, nil)
		g := c.j.Group(0)
		o := own(g)
		appendMany(t, o, 3)
		free := c.busy()
		c.on.On()
		last := c.stuff(t, g, 1)
		durable := o.durable()
		c.j.Hurry()
		if err := o.wait(last); !errors.Is(err, ErrFailed) || c.failed.Load() != 1 {
			t.Errorf("the owner was told %v, and it failed %d times", err, c.failed.Load())
		}
		free()
		must(t, c.j.Close())
		c.on.Off()
		j, err := Open(c.cfg)
		must(t, err)
		if at := j.Group(0).Applied(); at < durable {
			t.Errorf("%d turns, and %d were durable", at, durable)
		}
		must(t, j.Close())
	})
}

// TestFailsWhileThereIsNoRoom: what waits for room in a journal that fails meanwhile, as its fence cannot be written, waits no longer, and its owner is told.
func TestFailsWhileThereIsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCramped(t, nil)
		g := c.j.Group(0)
		o := own(g)
		appendMany(t, o, 3)
		free := c.busy()
		c.on.On()
		last := c.stuff(t, g, 1)
		c.j.fail(syscall.EIO)
		c.within(t, "what has failed", func() {
			if err := o.wait(last); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) || c.failed.Load() != 1 {
				t.Errorf("the owner was told %v, and it failed %d times", err, c.failed.Load())
			}
		})
		free()
		if err := c.j.Close(); err != nil && !errors.Is(err, ErrFailed) {
			t.Error(err)
		}
	})
}

// TestNoRoomForMembers: replicas that come and go find no room in the log. Who asks for it is told so, as is who asks for anything else that would wait for
// that; what others mention does not pile up; and when there is room all of it comes about. The process does not end.
func TestNoRoomForMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCramped(t, nil)
		j := c.j
		appendMany(t, own(j.Group(0)), 3)
		c.on.On()
		n := uint32(0)
		come := func() error {
			if g := j.Group(7); g != nil {
				if err := j.Remove(7, g.self); err != nil {
					return err
				}
			}
			n++
			return j.Join(7, replica.ID(1, n))
		}
		for again := true; again; again = !j.Full() && n < 10_000 { // a truncation makes room meanwhile, until nothing is left to be truncated
			c.within(t, "replicas that come and go", func() {
				var err error
				for err == nil && n < 10_000 {
					err = come()
				}
				if !errors.Is(err, ErrNoSpace) {
					t.Errorf("replica %d: %v", n, err)
				}
			})
		}
		if got := c.failed.Load(); got != 0 || !j.Full() {
			t.Fatalf("it failed %d times; full: %v", got, j.Full())
		}
		c.within(t, "who asks for other members", func() {
			for what, err := range map[string]error{
				"Create": j.Create(8, 1, []uint64{1, 2}), "Join": j.Join(8, 1), "Remove": j.Remove(0, j.Group(0).self),
				"Change": j.Change(0, &pb.ConfChangeV2{}), "Transfer": j.Transfer(0, 1), "Confirm": j.Confirm(0),
			} {
				if !errors.Is(err, ErrNoSpace) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
		for node := range uint32(1000) {
			j.Gone(node % 3)
		}
		j.mu.Lock()
		got := 0
		for _, r := range j.forming.asks {
			if !r.anytime { // watch asks to truncate meanwhile, which does not wait
				got++
			}
		}
		if got != 3 {
			t.Errorf("%d requests wait for room; want one for each node that is gone", got)
		}
		j.mu.Unlock()
		c.on.Off()
		time.Sleep(2 * watchEvery)
		must(t, j.Confirm(0))
		must(t, come())
		must(t, j.Healthy())
		must(t, j.Close())
	})
}

// TestTruncationBesideSnapshot: a replica takes a snapshot of its leader's, and its log waits for room to say so, when a truncation comes that goes by the rows
// of the snapshot. There is room a moment later, and both come about.
func TestTruncationBesideSnapshot(t *testing.T) {
	for _, upTo := range []uint64{1 << 60, 5} { // of the snapshot, and of what was there before
		synctest.Test(t, func(t *testing.T) { truncatedBeside(t, upTo) })
	}
}

// truncatedBeside truncates up to an entry.
func truncatedBeside(t *testing.T, upTo uint64) {
	var scarce atomic.Bool
	var left atomic.Int64 // so many segments find no room while it is scarce
	n := &net{t: t, nodes: map[uint32]*peer{}, cut: map[[2]uint32]bool{}}
	voters := []uint64{replica.ID(1, 1), replica.ID(2, 1), replica.ID(3, 1)}
	for id := uint32(1); id <= 3; id++ {
		n.nodes[id] = &peer{n: n, id: id, disk: vfs.NewCrashableMem(), alone: -1}
	}
	n.nodes[3].faults = errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFilePreallocate && strings.Contains(op.Path, "/log/") && scarce.Load() && left.Add(-1) >= 0 {
			return syscall.ENOSPC
		}
		return nil
	})
	for id := uint32(1); id <= 3; id++ {
		n.start(id)
		must(t, n.nodes[id].j.Create(7, replica.ID(id, 1), voters))
	}
	p := n.leader(7, 1, 2, 3)
	if p.id == 3 {
		must(t, p.j.Transfer(7, replica.ID(1, 1)))
		n.until("node 3 has handed over", func() bool { return n.nodes[3].j.Group(7).Term() == 0 })
		p = n.leader(7, 1, 2, 3)
	}
	last := write(t, p, 7, 10)
	n.same(7, last, 1, 2, 3)
	n.isolate(3, true)
	last = write(t, p, 7, 100)
	must(t, p.j.request(ask{reply: make(chan error, 1), fn: func() error {
		return errors.Join(p.j.flush(), p.j.truncate(map[uint16]uint64{7: 1 << 60}))
	}}))
	late, truncated, j := make(chan struct{}), make(chan error, 1), n.nodes[3].j
	go func() { // watch foresees nothing meanwhile
		truncated <- j.request(ask{reply: make(chan error, 1), fn: func() error { <-late; return j.truncate(map[uint16]uint64{7: upTo}) }})
	}()
	synctest.Wait()
	left.Store(1 << 60)
	scarce.Store(true)
	brim(t, j)
	n.isolate(3, false)
	n.until("the log waits for room", j.Full)
	left.Store(1 << 60)
	close(late)
	synctest.Wait() // watch waits for the committer now, who looks for room once more in vain, and then there is
	left.Store(1)
	must(t, <-truncated)
	n.same(7, last, 3)
	last = write(t, p, 7, 10)
	n.same(7, last, 1, 2, 3)
	if m := j.Metrics(); m.Installed != 1 {
		t.Errorf("%d snapshots were installed", m.Installed)
	}
	n.close()
}

// TestLogMakesItsOwnRoom: a log that fills its volume alone, with rows that have long not been flushed, makes room by itself.
func TestLogMakesItsOwnRoom(t *testing.T) {
	for _, size := range []int{1, 3000, 20_000} { // of turns: some fill a segment to its end
		synctest.Test(t, func(t *testing.T) {
			mem := vfs.NewMem()
			cfg := config(t, errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpFilePreallocate && strings.Contains(op.Path, "/log/") {
					if list, err := mem.List(mem.PathDir(op.Path)); err == nil && len(list) > 5 {
						return syscall.ENOSPC
					}
				}
				return nil
			})), 2)
			cfg.SegmentBytes = 64 << 10
			j := open(t, cfg)
			g := j.Group(0)
			o := own(g)
			until := time.Now().Add(time.Hour) // the bubble's clock
			for n := range 300 {
				var turn Turn
				turn.Put(key(uint64(n+1)), make([]byte, size))
				for {
					last, err := g.Append(&turn)
					if err == nil {
						synctest.Wait()
						if n%30 == 0 {
							must(t, o.wait(last))
						}
						break
					}
					if !errors.Is(err, ErrNoSpace) || time.Now().After(until) {
						t.Fatalf("turn %d of %d bytes: %v", n, size, err)
					}
					time.Sleep(watchEvery)
				}
			}
			must(t, o.wait(g.Last()))
			must(t, j.Close())
		})
	}
}

// TestTruncationAgain: a truncation that finds no room for what it writes itself comes about when there is room, and not with the next flush alone.
func TestTruncationAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCramped(t, nil)
		g, _, free := c.worn(t)
		brim(t, c.j)
		go free()
		must(t, c.truncate())
		if prev, _, _ := c.j.log.Bounds(g.id); prev >= g.Applied() {
			t.Fatalf("there was room to truncate up to %d", prev)
		}
		c.on.Off()
		time.Sleep(3 * watchEvery) // the bubble's clock
		if prev, _, last := c.j.log.Bounds(g.id); prev < last {
			t.Errorf("the log begins behind %d of %d", prev, last)
		}
		must(t, c.j.Close())
	})
}

// TestRemoveWithoutRoom: a replica is taken off, or comes, whose rows are not flushed, while the disk takes no table. Nobody waits behind that: not who only looks, not other
// groups, not who stops the journal; and when there is room the rows are gone.
func TestRemoveWithoutRoom(t *testing.T) {
	t.Run("there is room again", func(t *testing.T) { removeWithoutRoom(t, true) })
	t.Run("the journal ends", func(t *testing.T) { removeWithoutRoom(t, false) })
}

func removeWithoutRoom(t *testing.T, again bool) {
	t.Helper()
	gone := func(t *testing.T, j *Journal) {
		t.Helper()
		if list, err := j.marks(7, 7, false); err != nil || len(list) > 0 {
			t.Errorf("rows of the replica are there: %x, %v", list, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		on := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
				return syscall.ENOSPC
			}
			return nil
		})}
		c := &cramped{on: on, cfg: config(t, errorfs.Wrap(mem, on), 2)}
		j := open(t, c.cfg)
		must(t, j.Create(7, replica.ID(1, 1), []uint64{replica.ID(1, 1)}))
		c.j = j
		appendMany(t, own(j.Group(7)), 30)
		appendMany(t, own(j.Group(0)), 20)
		must(t, j.flush())
		appendMany(t, own(j.Group(7)), 10)
		on.On()
		removed := make(chan error, 1)
		go func() { removed <- j.Remove(7, replica.ID(1, 1)) }()
		synctest.Wait()
		c.within(t, "a look", func() {
			if _, err := j.Replicas(0, 1); err != nil {
				t.Error(err)
			}
		})
		must(t, <-removed)
		var rows int
		c.within(t, "a read", func() {
			must(t, j.Group(0).Scan(nil, nil, false, func([]byte, []byte) bool { rows++; return true }))
		})
		if rows != 20 {
			t.Errorf("%d rows of another group", rows)
		}
		c.within(t, "a replica that comes", func() {
			for range 40 { // it is asked for again and again, and no try makes it worse
				if err := j.Join(7, replica.ID(1, 2)); !errors.Is(err, errUnflushed) {
					t.Errorf("it came: %v", err)
				}
			}
		})
		if n := j.data.Metrics().MemTable.Count; n > 3 { // where there are too many the store takes no more rows
			t.Errorf("%d tables in memory", n)
		}
		if again {
			on.Off()
			time.Sleep(2 * watchEvery) // the bubble's clock
			gone(t, j)
			must(t, j.Join(7, replica.ID(1, 2)))
			must(t, j.Healthy())
			must(t, j.Close())
			return
		}
		c.within(t, "the end", func() {
			if err := j.Close(); err == nil {
				t.Error("the rows were flushed")
			}
		})
		on.Off()
		j = open(t, c.cfg)
		time.Sleep(watchEvery)
		gone(t, j)
		wantRows(t, j.Group(0), 1, 20)
		must(t, j.Close())
	})
}

// TestMailWhileThereIsNoRoom: what other nodes say while the log waits for room is bounded also where it is very small.
func TestMailWhileThereIsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCramped(t, nil)
		g := c.j.Group(0)
		own(g)
		free := c.busy()
		c.on.On()
		c.stuff(t, g, 1)
		beat, err := proto.Marshal(&pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(replica.ID(2, 1)), To: new(replica.ID(1, 1)), Term: new(uint64(3)), Commit: new(uint64(4))})
		must(t, err)
		var parcel []byte
		for range 1000 {
			parcel = binary.BigEndian.AppendUint16(parcel, 7)
			parcel = append(binary.BigEndian.AppendUint32(parcel, uint32(len(beat))), beat...)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		n := 0
		for last := -1; last < n; { // until nothing more is taken
			last = n
			must(t, c.j.Receive(parcel))
			c.j.mu.Lock()
			n = len(c.j.forming.mail)
			c.j.mu.Unlock()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		held := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		t.Logf("%d messages of %d bytes hold %d MiB, %d bytes each", n, len(beat), held>>20, held/int64(n))
		if n < 1000 || held > 2*mailBytes {
			t.Errorf("%d messages hold %d MiB; want at most %d", n, held>>20, 2*mailBytes>>20)
		}
		c.on.Off()
		free()
		must(t, c.j.Close())
	})
}

// TestMembersWhileThereIsNoRoom: members that are not written yet, as the log waits for room, are told to nobody: a replica that others take for gone by what is told is one that
// this one would still need when it comes back from a crash.
func TestMembersWhileThereIsNoRoom(t *testing.T) {
	met := 0
	for fill := range 16 { // so much of the segment is taken that the change fits and, once, its effect does not
		synctest.Test(t, func(t *testing.T) {
			var scarce, decided atomic.Bool
			n := scarceFirst(t, &scarce, func(_ uint16, _, _ uint64, data []byte) {
				if scarce.Load() && len(data) > 0 {
					decided.Store(true)
				}
			}, 2)
			j, late := n.nodes[1].j, make(chan struct{})
			go func() { // watch foresees nothing meanwhile
				_ = j.request(ask{reply: make(chan error, 1), fn: func() error { <-late; return nil }})
			}()
			synctest.Wait()
			scarce.Store(true)
			brim(t, j)
			scarce.Store(false)
			must(t, j.do(func() error {
				for range fill {
					if err := j.log.Write(tombstone(t)); err != nil {
						return err
					}
				}
				return nil
			}))
			scarce.Store(true)
			changed := make(chan error, 1)
			go func() {
				changed <- j.Change(7, &pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: pb.ConfChangeRemoveNode.Enum(), NodeId: new(replica.ID(2, 1))}}})
			}()
			time.Sleep(watchEvery / 2) // the bubble's clock
			s, err := j.Replica(7)
			must(t, err)
			p := n.nodes[1]
			disk := p.disk.CrashClone(vfs.CrashCloneCfg{})
			scarce.Store(false)
			close(late)
			if err := <-changed; err != nil && !errors.Is(err, ErrNoSpace) {
				t.Fatal(err)
			}
			n.stop(1, false, nil)
			if decided.Load() {
				met++
			}
			p.disk = disk
			n.stop(2, false, nil)
			n.start(1)
			r, err := p.j.Replica(7)
			must(t, err)
			if len(s.Conf.GetVoters()) < len(r.Conf.GetVoters()) {
				t.Errorf("with %d blocks taken it said that its members are %v, and came back with %v", fill, s.Conf, r.Conf)
			}
			n.close()
		})
	}
	if met == 0 {
		t.Error("the change was never decided")
	}
}

// TestSnapshotWithoutRoom: a snapshot takes the place of rows that are not flushed, while the disk takes no table. Nobody waits behind that: not who only looks, and not
// who reads; and when there is room, or the journal is in a hurry, it goes on.
func TestSnapshotWithoutRoom(t *testing.T) {
	for _, again := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			on := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") && strings.Contains(op.Path, "/"+dataDir+"/") {
					return syscall.ENOSPC
				}
				return nil
			})}
			c := &cramped{on: on, cfg: config(t, errorfs.Wrap(vfs.NewMem(), on), 2)}
			c.cfg.Fatal = func(error) { c.failed.Add(1) }
			j := open(t, c.cfg)
			c.j = j
			g := j.Group(1)
			appendMany(t, own(j.Group(0)), 20)
			appendMany(t, own(g), 40)
			var stream bytes.Buffer
			must(t, j.do(func() error { // the same rows as are there
				if err := j.settleOf(g); err != nil {
					return err
				}
				shot := j.data.NewSnapshot()
				return errors.Join(writeSnapshot(&stream, shot, g.id, &g.meta), shot.Close())
			}))
			a, err := j.readSnapshot(&snapshotHeader{Group: g.id, To: g.self}, bufio.NewReader(&stream))
			must(t, err)
			on.On()
			installed := make(chan error, 1)
			go func() {
				installed <- j.do(func() error {
					g.arrived = a
					return j.install(g, &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: new(a.at.index)}})
				})
			}()
			synctest.Wait()
			c.within(t, "a look", func() {
				if _, err := j.Replicas(0, 1); err != nil {
					t.Error(err)
				}
			})
			c.within(t, "who asks for another leader", func() {
				if err := j.Transfer(0, 1); !errors.Is(err, ErrNoSpace) {
					t.Error(err)
				}
			})
			c.within(t, "a read", func() { wantRows(t, j.Group(0), 1, 20) })
			if !j.Full() || c.failed.Load() != 0 {
				t.Errorf("full: %v; it failed %d times", j.Full(), c.failed.Load())
			}
			if again {
				on.Off()
				must(t, <-installed)
				wantRows(t, g, 1, 40)
			} else {
				j.Hurry()
				if err := <-installed; !errors.Is(err, errUnflushed) {
					t.Error(err)
				}
			}
			on.Off()
			must(t, j.Close())
		})
	}
}

// TestFlushBehindOneThatFails: who asks for a flush while another is under way, and fails for want of room that there is by now, is not told of that one.
func TestFlushBehindOneThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		var tables atomic.Int64
		on := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") && tables.Add(1) == 1 {
				<-held
				return syscall.ENOSPC
			}
			return nil
		})}
		j := open(t, config(t, errorfs.Wrap(vfs.NewMem(), on), 1))
		appendMany(t, own(j.Group(0)), 10)
		must(t, j.settle())
		on.On()
		if _, err := j.data.AsyncFlush(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		told := make(chan error, 1)
		go func() { told <- j.flushTables() }()
		synctest.Wait()
		close(held)
		must(t, <-told)
		if n := tables.Load(); n < 2 {
			t.Errorf("%d tables were begun", n)
		}
		must(t, j.Close())
	})
}

// TestMergeBesideFlush: a flush goes on when a merge fails beside it, and says nothing of the merge when it has worked.
func TestMergeBesideFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		on := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
				<-held
			}
			return nil
		})}
		j := open(t, config(t, errorfs.Wrap(vfs.NewMem(), on), 1))
		appendMany(t, own(j.Group(0)), 10)
		on.On()
		flushed := make(chan error, 1)
		go func() { flushed <- j.flush() }()
		synctest.Wait()
		j.mergeEnded(pebble.CompactionInfo{Err: syscall.EIO})
		synctest.Wait()
		close(held)
		must(t, <-flushed)
		if err := j.Healthy(); !errors.Is(err, syscall.EIO) {
			t.Errorf("a merge fails, and Healthy = %v", err)
		}
		time.Sleep(mergeWanted / 2) // the bubble's clock
		j.mergeEnded(pebble.CompactionInfo{Err: syscall.EIO})
		time.Sleep(mergeWanted)
		if j.Healthy() == nil {
			t.Error("a merge that failed a moment ago is forgotten")
		}
		time.Sleep(2 * watchEvery) // nobody wants it any more
		must(t, j.Healthy())
		must(t, j.Close())
	})
}

// TestMergeFails: merges find no room, and flushes do. The trouble with the merges lasts until one works, however many flushes do, and tables that only change
// their level, and that with the flushes does not last for it.
func TestMergeFails(t *testing.T) {
	fs, on, count := faults(vfs.NewMem(), func(op errorfs.Op) bool {
		return strings.Contains(op.Path, "/data/") && strings.HasSuffix(op.Path, ".sst") && op.Kind == errorfs.OpCreate
	})
	j := open(t, config(t, fs, 1))
	must(t, j.flush())
	must(t, j.data.Set(dataKey(nil, 9, tagRow, nil), nil, pebble.NoSync))
	must(t, j.flush()) // a table that overlaps with no other
	o := own(j.Group(0))
	for range 2 { // tables that overlap: both have how far the rows are
		appendMany(t, o, 10)
		must(t, j.flush())
	}
	appendMany(t, o, 10)
	mergeOf := func(group uint16) error {
		return j.data.Compact(t.Context(), dataKey(nil, group, 0, nil), dataKey(nil, group+1, 0, nil), false)
	}
	merge := func() error { return mergeOf(0) }
	on.On()
	if err := merge(); !errors.Is(err, errorfs.ErrInjected) || count.Load() == 0 {
		t.Fatalf("merging = %v, after %d faults", err, count.Load())
	}
	before := j.data.Metrics().Compact.MoveCount
	must(t, mergeOf(9))
	if err := j.Healthy(); err == nil || j.data.Metrics().Compact.MoveCount == before {
		t.Errorf("after a merge that failed and a table that moved: Healthy = %v", err)
	}
	if err := j.flush(); !errors.Is(err, errorfs.ErrInjected) {
		t.Fatalf("flushing = %v", err)
	}
	on.Off()
	must(t, j.flush())
	err := j.Healthy()
	if err == nil || !strings.Contains(err.Error(), "merging") || strings.Contains(err.Error(), "flushing") {
		t.Errorf("after a merge that failed and a flush that worked: Healthy = %v", err)
	}
	must(t, merge())
	must(t, j.Healthy())
}

// TestFlushOfNothing: a flush that worked is the end of the trouble also when nothing was left of the rows.
func TestFlushOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, config(t, vfs.NewMem(), 1))
		must(t, j.flush())
		j.flushed(pebble.FlushInfo{Err: syscall.ENOSPC})
		if !j.Full() || j.Healthy() == nil {
			t.Fatal("nobody has noticed")
		}
		must(t, j.flushTables()) // nothing has come since
		must(t, j.Healthy())
		must(t, j.Close())
	})
}

// TestAcceptLossTwice: who accepts a loss and is told that there is no room may ask again while the first time is still to come about: the group begins once
// anew.
func TestAcceptLossTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := makeDisk(t, false)
		fe, entries, err := openFence(d.fs, d.cfg.Dir)
		must(t, err)
		entries[0].last, entries[0].turn = 5002, 5000
		must(t, errors.Join(fe.write(entries), fe.f.Close()))
		j := open(t, d.cfg)
		g := j.Group(0)
		if s := g.State(); s.Mode != ReadOnly {
			t.Fatalf("%+v", s)
		}
		var full atomic.Bool
		full.Store(true)
		var rest []chan error
		do := func(fn func() error) {
			done := make(chan error, 1)
			rest = append(rest, done)
			go func() { done <- j.do(fn) }()
			synctest.Wait()
		}
		late, later := make(chan struct{}), make(chan struct{})
		do(func() error { <-late; return nil })
		do(func() error { // waits for room, in one round with what follows
			return j.withRoom(func() error {
				if full.Load() {
					return seglog.ErrNoSpace
				}
				return nil
			})
		})
		do(func() error { <-later; return nil })
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- j.AcceptLoss(0) }()
		synctest.Wait()
		close(late)
		if err := <-first; !errors.Is(err, ErrNoSpace) {
			t.Fatalf("AcceptLoss = %v", err)
		}
		full.Store(false)
		time.Sleep(2 * recordAgain) // the bubble's clock
		synctest.Wait()
		go func() { second <- j.AcceptLoss(0) }()
		synctest.Wait()
		close(later)
		for _, done := range rest {
			must(t, <-done)
		}
		if err := <-second; err == nil {
			t.Error("a loss was accepted that had been accepted already")
		}
		if g.State().Mode != OK || g.Epoch() != 1 {
			t.Fatalf("epoch %d, %+v", g.Epoch(), g.State())
		}
		last := append1(t, g)
		must(t, own(g).wait(0))
		must(t, j.Close())
		again := open(t, d.cfg)
		if g := again.Group(0); g.State().Mode != OK || g.Last() != last || g.Epoch() != 1 {
			t.Errorf("after a restart: last %d of %d, epoch %d, %+v", g.Last(), last, g.Epoch(), g.State())
		}
		must(t, again.Close())
	})
}

// tight is a disk on which the fence, once full is set, has no block but those that it has written or that were reserved for it.
type tight struct {
	vfs.FS
	full *atomic.Bool
	has  *[2]atomic.Int64 // bytes of its slots
}

func (d tight) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, category, opts...)
	if err == nil && d.PathBase(name) == fenceName {
		return tightFile{f, d}, nil
	}
	return f, err
}

type tightFile struct {
	vfs.File
	d tight
}

func (f tightFile) WriteAt(b []byte, at int64) (int, error) {
	slot, end := at/slotSize, at%slotSize+int64(len(b))
	if blocks := (end + 4095) &^ 4095; blocks > f.d.has[slot].Load() {
		if f.d.full.Load() {
			return 0, syscall.ENOSPC
		}
		f.d.has[slot].Store(blocks)
	}
	return f.File.WriteAt(b, at)
}

func (f tightFile) Preallocate(at, n int64) error {
	if f.d.full.Load() {
		return syscall.ENOSPC
	}
	for slot := range f.d.has {
		f.d.has[slot].Store(max(f.d.has[slot].Load(), min(slotSize, at+n-int64(slot)*slotSize)))
	}
	return f.File.Preallocate(at, n)
}

// TestFenceHasItsRoom: replicas come while the disk is full, until the fence needs a block more: it has that. One that was opened on a full disk has it not, and works
// as far as it goes.
func TestFenceHasItsRoom(t *testing.T) {
	disk := tight{vfs.NewMem(), &atomic.Bool{}, &[2]atomic.Int64{}}
	j := open(t, config(t, disk, 1))
	disk.full.Store(true)
	const groups = 60 // 4 KiB are 50
	for i := 1; i < groups; i++ {
		must(t, j.Join(i, replica.ID(1, uint32(i)+1)))
	}
	must(t, j.Close())
	j = open(t, config(t, disk, 1))
	if n := len(j.list()); n != groups {
		t.Errorf("it has %d groups; want %d", n, groups)
	}
}

// blocks is a disk of which the store below has so many blocks left.
type blocks struct {
	vfs.FS
	left *atomic.Int64
	of   *sync.Map // path → how many a file has
}

func (d blocks) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: uint64(max(d.left.Load(), 0)) * 4096, TotalBytes: 1 << 40}, nil //nolint:gosec // not negative
}

func (d blocks) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	if err != nil || !strings.Contains(name, "/"+dataDir+"/") {
		return f, err
	}
	return &blocksFile{File: f, d: d, name: name}, nil
}

func (d blocks) Remove(name string) error {
	if n, has := d.of.LoadAndDelete(name); has {
		d.left.Add(n.(int64))
	}
	return d.FS.Remove(name)
}

type blocksFile struct {
	vfs.File
	d    blocks
	name string
	size int64
}

func (f *blocksFile) Write(b []byte) (int, error) {
	more := (f.size+int64(len(b))+4095)/4096 - (f.size+4095)/4096
	if f.d.left.Add(-more) < 0 {
		f.d.left.Add(more)
		return 0, syscall.ENOSPC
	}
	f.size += int64(len(b))
	f.d.of.Store(f.name, (f.size+4095)/4096)
	return f.File.Write(b)
}

// TestFlushIntoTheLastBlocks: however many blocks are left, a flush works, or it does not and the journal goes on: it does not end because what has come of the
// rows has found room, and what the store notes of that has not.
func TestFlushIntoTheLastBlocks(t *testing.T) {
	worked := 0
	for left := range int64(40) {
		if left >= 30 { // much more
			left *= 100
		}
		disk := blocks{vfs.NewMem(), &atomic.Int64{}, &sync.Map{}}
		disk.left.Store(1 << 30)
		var failed atomic.Int64
		cfg := config(t, disk, 1)
		cfg.Fatal = func(err error) { failed.Add(1); t.Errorf("with %d blocks: %v", left, err) }
		j, err := Open(cfg)
		must(t, err)
		o := own(j.Group(0))
		for range 3 {
			appendMany(t, o, 5)
			must(t, j.flush())
		}
		disk.left.Store(left)
		for range 4 {
			if j.Full() {
				break
			}
			appendMany(t, o, 5)
			switch err := j.flush(); {
			case err == nil:
				worked++
			case !noRoom(err):
				t.Errorf("with %d blocks: %v", left, err)
			}
		}
		if failed.Load() > 0 {
			break
		}
		disk.left.Store(1 << 30)
		must(t, j.flush())
		must(t, j.Close())
	}
	if worked == 0 {
		t.Error("no flush has worked")
	}
}
