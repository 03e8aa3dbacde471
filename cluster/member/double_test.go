package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"switchboard/cluster"
	"switchboard/shard/journal/replica"
)

// disk is what outlives a node's process: everything that was written is durable at once.
type disk struct {
	groups map[uint16]*groupDisk
	tombs  map[uint64]bool
	hurt   map[uint16]uint64 // damaged replicas
	rotten bool              // the rows of the cluster are damaged, and nobody knows before they are read
}

func newDisk() *disk {
	return &disk{groups: map[uint16]*groupDisk{}, tombs: map[uint64]bool{}, hurt: map[uint16]uint64{}}
}

type groupDisk struct {
	id          uint64
	hard        *pb.HardState
	conf        *pb.ConfState
	prev, prevT uint64
	entries     []*pb.Entry
	applied     uint64
	term        uint64
	rows        map[string][]byte
}

func (d *groupDisk) last() uint64 { return d.prev + uint64(len(d.entries)) }

// proposal is what an entry holds.
type proposal struct {
	N    uint64 `json:"n"`
	Rows []Row  `json:"rows"`
}

// parcel is Raft traffic between doubles; rows go with a snapshot.
type parcel struct {
	Group uint16            `json:"g"`
	Raft  []byte            `json:"m"`
	Rows  map[string][]byte `json:"rows"` // null without a snapshot
}

// double is the journal as a member sees it: real Raft groups, in memory.
type double struct {
	disk *disk
	send func(node uint32, msg []byte) error
	done chan struct{}
	wg   sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	host    *replica.Host
	member  *Member
	closed  bool
	n       uint64
	pending map[uint16]map[uint64]func(error)
	leads   map[uint16]uint64
	staged  map[[2]uint64]map[string][]byte // group and index
	applies int
	freeze  bool // nothing is appended any more: the disk hangs
}

func newDouble(d *disk, seed uint64, send func(uint32, []byte) error) *double {
	b := &double{disk: d, send: send, done: make(chan struct{}), n: seed << 32, pending: map[uint16]map[uint64]func(error){}, leads: map[uint16]uint64{}, staged: map[[2]uint64]map[string][]byte{}}
	b.host = replica.NewHost(replica.Config{Log: b, CacheBytes: 1 << 10})
	for _, g := range slices.Sorted(maps.Keys(d.groups)) {
		if d.hurt[g] == d.groups[g].id {
			continue
		}
		if err := b.add(g); err != nil {
			panic(err)
		}
	}
	return b
}

// run gives the groups their clock, once the member is there.
func (b *double) run(m *Member) {
	b.mu.Lock()
	b.member = m
	for g, t := range b.leads {
		m.Leads(g, t)
	}
	b.pump()
	b.mu.Unlock()
	b.wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-b.done:
				return
			}
			b.mu.Lock()
			if !b.closed {
				b.host.Tick()
				b.pump()
			}
			b.mu.Unlock()
		}
	})
}

// close is the end of the process: what was not written is lost.
func (b *double) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	close(b.done)
	b.wg.Wait()
}

func (b *double) add(g uint16) error {
	d := b.disk.groups[g]
	var runs []replica.Run
	for _, e := range d.entries {
		if n := len(runs); n == 0 || runs[n-1].Term != e.GetTerm() {
			runs = append(runs, replica.Run{First: e.GetIndex(), Term: e.GetTerm()})
		}
	}
	return b.host.Add(replica.Start{Group: g, ID: d.id, Hard: d.hard, Conf: d.conf, Applied: d.applied, AppliedTerm: d.term, Prev: d.prev, PrevTerm: d.prevT, Last: d.last(), Runs: runs})
}

// Entries implements replica.Log.
func (b *double) Entries(g uint16, lo, hi, _ uint64) ([]*pb.Entry, error) {
	d := b.disk.groups[g]
	return slices.Clone(d.entries[lo-d.prev-1 : hi-d.prev-1]), nil
}

func (b *double) locked(fn func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errors.New("the journal is closed")
	}
	err := fn()
	b.pump()
	return err
}

func (b *double) make(g uint16, id uint64, d *groupDisk) error {
	return b.locked(func() error {
		have := b.disk.groups[g]
		switch {
		case b.disk.tombs[id]:
			return fmt.Errorf("replica %x was here and does not come back: %w", id, replica.ErrRetired)
		case have != nil && have.id == id:
			return nil
		case have != nil:
			return fmt.Errorf("group %d has replica %x here", g, have.id)
		}
		b.disk.groups[g] = d
		return b.add(g)
	})
}

func (b *double) Create(g uint16, id uint64, voters []uint64) error {
	s := replica.Bootstrap(g, id, voters)
	return b.make(g, id, &groupDisk{id: id, hard: s.Hard, conf: s.Conf, prev: s.Prev, prevT: s.PrevTerm, applied: s.Applied, term: s.AppliedTerm, rows: map[string][]byte{}})
}

func (b *double) Join(g uint16, id uint64) error {
	return b.make(g, id, &groupDisk{id: id, rows: map[string][]byte{}})
}

func (b *double) Remove(g uint16, id uint64) error {
	return b.locked(func() error {
		b.disk.tombs[id] = true
		if have := b.disk.groups[g]; have != nil && have.id == id {
			b.host.Remove(g)
			delete(b.disk.groups, g)
			b.follows(g)
		}
		return nil
	})
}

func (b *double) Status(groups ...uint16) (all map[uint16]replica.Status, err error) {
	all = map[uint16]replica.Status{}
	return all, b.locked(func() error {
		for _, g := range groups {
			if st, err := b.host.Status(g); err == nil {
				all[g] = st
			}
		}
		return nil
	})
}

// Look implements Groups.
func (b *double) Look(groups []uint16, then func(map[uint16]replica.Status)) {
	if all, err := b.Status(groups...); err == nil {
		then(all)
	}
}

// Damaged implements Groups.
func (b *double) Damaged() map[uint16]Damage {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := map[uint16]Damage{}
	for g, id := range b.disk.hurt {
		if d := b.disk.groups[g]; d != nil && d.id == id {
			list[g] = Damage{id, "a test"}
		}
	}
	return list
}

// damage makes a replica one that takes no part.
func (b *double) damage(groups ...uint16) {
	_ = b.locked(func() error {
		for _, g := range groups {
			if d := b.disk.groups[g]; d != nil {
				b.disk.hurt[g] = d.id
				b.host.Remove(g)
			}
		}
		return nil
	})
}

func (b *double) Sessions(uint16) int64 { return 7 }

func (b *double) Owner(uint16) uint64 { return 0 }

func (b *double) Standing(uint16) (shape, left, cleaned uint64) { return 0, 0, 0 }

func (b *double) Full() bool { return false }

func (b *double) Size(g uint16) (n uint64) {
	_ = b.locked(func() error {
		if d := b.disk.groups[g]; d != nil {
			for k, v := range d.rows {
				n += uint64(len(k) + len(v))
			}
		}
		return nil
	})
	return n
}

func (b *double) Change(g uint16, cc *pb.ConfChangeV2) error {
	return b.locked(func() error { return b.host.Change(g, cc) })
}

func (b *double) Gone(node uint32) { _ = b.locked(func() error { b.host.Gone(node); return nil }) }

func (b *double) Transfer(g uint16, to uint64) error {
	return b.locked(func() error { return b.host.Transfer(g, to) })
}

func (b *double) Step(_ string, msg []byte) {
	var p parcel
	m := &pb.Message{}
	if json.Unmarshal(msg, &p) != nil || proto.Unmarshal(p.Raft, m) != nil {
		return
	}
	_ = b.locked(func() error {
		if p.Rows != nil {
			b.staged[[2]uint64{uint64(p.Group), m.GetSnapshot().GetMetadata().GetIndex()}] = p.Rows
		}
		return b.host.Step(replica.Message{Group: p.Group, Raft: m})
	})
}

// propose writes rows of a group.
func (b *double) propose(g uint16, term uint64, rows []Row, applied func(error)) {
	err := b.locked(func() error {
		if b.leads[g] == 0 || term != 0 && b.leads[g] != term {
			return replica.ErrNotLeading
		}
		b.n++
		data, err := json.Marshal(proposal{b.n, rows})
		if err != nil {
			return err
		}
		if err := b.host.Propose(g, data); err != nil {
			return err
		}
		if b.pending[g] == nil {
			b.pending[g] = map[uint64]func(error){}
		}
		b.pending[g][b.n] = applied
		return nil
	})
	if err != nil {
		applied(err)
	}
}

func (b *double) Append(term uint64, rows []Row, applied func(error)) {
	b.propose(cluster.Meta, term, rows, applied)
}

func (b *double) Read(fn func(key string, value []byte) error) error {
	b.mu.Lock()
	var rows map[string][]byte
	if d := b.disk.groups[cluster.Meta]; d != nil {
		rows = maps.Clone(d.rows)
	}
	rotten := b.disk.rotten
	b.disk.rotten = false
	b.mu.Unlock()
	for i, k := range slices.Sorted(maps.Keys(rows)) {
		if rotten && i > 2 {
			b.damage(cluster.Meta)
			return errors.New("a block is damaged")
		}
		if err := fn(k, rows[k]); err != nil {
			return err
		}
	}
	return nil
}

// pump does all batches that wait. The caller holds mu.
func (b *double) pump() {
	var batch replica.Batch
	for !b.freeze && b.host.Collect(&batch) {
		for _, m := range batch.Send {
			b.post(m)
		}
		for i := range batch.Apply {
			b.apply(&batch.Apply[i])
		}
		for i := range batch.Append {
			b.write(&batch.Append[i])
		}
		for _, e := range batch.Events {
			switch e.Kind {
			case replica.Leads:
				b.leads[e.Group] = e.Term
				if b.member != nil {
					b.member.Leads(e.Group, e.Term)
				}
			case replica.Follows:
				b.follows(e.Group)
			case replica.Removed:
			}
		}
		b.host.Done(&batch)
	}
}

func (b *double) follows(g uint16) {
	delete(b.leads, g)
	for _, fn := range b.pending[g] {
		fn(replica.ErrNotLeading)
	}
	delete(b.pending, g)
	if b.member != nil {
		b.member.Follows(g)
	}
}

func (b *double) post(m replica.Message) {
	p := parcel{Group: m.Group}
	raw := m.Raft
	if raw.GetType() == pb.MsgSnap {
		d := b.disk.groups[m.Group]
		p.Rows = maps.Clone(d.rows)
		raw = &pb.Message{Type: raw.Type, To: raw.To, From: raw.From, Term: raw.Term, Snapshot: &pb.Snapshot{
			Metadata: &pb.SnapshotMetadata{ConfState: d.conf, Index: new(d.applied), Term: new(d.term)},
		}}
	}
	var err error
	if p.Raft, err = proto.Marshal(raw); err != nil {
		panic(err)
	}
	msg, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	err = b.send(replica.NodeOf(m.To()), msg)
	if raw.GetType() == pb.MsgSnap {
		b.host.Snapshot(m.Group, m.To(), err == nil)
	}
}

func (b *double) apply(a *replica.Apply) {
	d := b.disk.groups[a.Group]
	for _, e := range a.Entries {
		d.applied, d.term = e.GetIndex(), e.GetTerm()
		var p proposal
		if e.GetType() != pb.EntryNormal || len(e.GetData()) == 0 {
			continue
		}
		if err := json.Unmarshal(e.GetData(), &p); err != nil {
			panic(err)
		}
		for _, r := range p.Rows {
			if r.Value == nil {
				delete(d.rows, r.Key)
			} else {
				d.rows[r.Key] = r.Value
			}
		}
		if fn := b.pending[a.Group][p.N]; fn != nil {
			delete(b.pending[a.Group], p.N)
			fn(nil)
		}
	}
	if a.Conf != nil {
		d.conf = a.Conf
	}
	b.poke(a.Group)
}

func (b *double) write(a *replica.Append) {
	d := b.disk.groups[a.Group]
	if a.Hard != nil {
		d.hard = a.Hard
	}
	if a.Snapshot != nil {
		meta := a.Snapshot.GetMetadata()
		rows := b.staged[[2]uint64{uint64(a.Group), meta.GetIndex()}]
		if rows == nil {
			panic("a snapshot without its rows")
		}
		d.rows, d.applied, d.term, d.conf = maps.Clone(rows), meta.GetIndex(), meta.GetTerm(), meta.GetConfState()
		d.entries, d.prev, d.prevT = nil, d.applied, d.term
		b.poke(a.Group)
	}
	for _, e := range a.Entries {
		if i := e.GetIndex(); i <= d.last() {
			d.entries = d.entries[:i-d.prev-1]
		}
		d.entries = append(d.entries, e)
	}
}

func (b *double) poke(g uint16) {
	b.applies++
	if g == cluster.Meta && b.member != nil {
		b.member.Changed()
	}
}

// has returns the rows of a group's replica here, nil when there is none.
func (b *double) has(g uint16) map[string][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := b.disk.groups[g]; d != nil {
		return maps.Clone(d.rows)
	}
	return nil
}
