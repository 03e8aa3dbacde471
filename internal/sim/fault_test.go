package sim_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"switchboard/cluster/member"
)

// faults are what may go wrong, with how often each is picked, and what operators do meanwhile. Each takes a machine and a time, and
// leaves things as they shall be from then on; what it cannot do just now it leaves, and does not count.
var faults = []struct {
	name  string
	often int
	do    func(p *play, m *machine, wait time.Duration) bool
}{
	{"power cut", 4, func(p *play, m *machine, wait time.Duration) bool { return p.restart(m, true, wait) }},
	{"stop", 2, func(p *play, m *machine, wait time.Duration) bool { return p.restart(m, false, wait) }},
	{"cut off", 2, func(p *play, m *machine, wait time.Duration) bool { return p.part(m, true, true, wait) }},
	{"not heard", 1, func(p *play, m *machine, wait time.Duration) bool { return p.part(m, true, false, wait) }},
	{"deaf", 1, func(p *play, m *machine, wait time.Duration) bool { return p.part(m, false, true, wait) }},
	{"connections reset", 2, (*play).reset},
	{"slow disk", 2, (*play).slow},
	{"clock", 2, (*play).clock},
	{"move", 3, (*play).move},
	{"drain", 1, (*play).drain},
	{"disk lost", 1, (*play).lose},
	{"worker killed", 3, (*play).killed},
	{"two power cuts", 1, (*play).two},
}

// play is one run: a world, and who is in it.
type play struct {
	*world
	*company
	l       *ledger
	splits  bool      // shards are split: see DESIGN.md for what does not hold then
	lost    int       // disks
	reading time.Time // when the logs began to be read that are checked at the end
	last    func()    // is done when everything is answered, and everybody still there; may be nil

	ctx           context.Context // of all who talk
	home, hush    func()          // ends it, and that of the customers
	crew, talkers sync.WaitGroup
}

// fault lets something go wrong with one machine, and right again.
func (p *play) fault() {
	sum := 0
	for _, f := range faults {
		sum += f.often
	}
	k := p.rng.IntN(sum)
	up := p.up()
	m := up[p.rng.IntN(len(up))]
	wait := time.Duration(p.rng.IntN(int(p.worst.Milliseconds()))) * time.Millisecond
	for _, f := range faults {
		if k -= f.often; k < 0 {
			began := time.Now()
			if f.do(p, m, wait) {
				p.fired[f.name]++
				p.t.Logf("%s: %s at %s, %v", began.Format("04:05.000"), f.name, m.name, wait)
			}
			return
		}
	}
}

func (p *play) restart(m *machine, cut bool, wait time.Duration) bool {
	p.off(m, cut)
	time.Sleep(wait)
	p.start(m)
	return true
}

// two machines of three or four lose their power at once: nobody is heard of, and nothing is forgotten.
func (p *play) two(m *machine, wait time.Duration) bool {
	up := slices.DeleteFunc(p.up(), func(o *machine) bool { return o == m })
	other := up[p.rng.IntN(len(up))]
	p.off(m, true)
	p.off(other, true)
	time.Sleep(wait)
	p.start(m)
	p.start(other)
	return true
}

// part cuts what a machine says, or hears, or both, to and from all other machines.
func (p *play) part(m *machine, says, hears bool, wait time.Duration) bool {
	for _, cut := range []bool{true, false} {
		for _, o := range p.hosts {
			if says && o != m {
				p.net.Cut(m.name, o.name, cut)
			}
			if hears && o != m {
				p.net.Cut(o.name, m.name, cut)
			}
		}
		if cut {
			time.Sleep(wait)
		}
	}
	return true
}

// reset breaks all connections of a machine again and again: whoever asked asks again, and what was said may have been heard.
func (p *play) reset(m *machine, wait time.Duration) bool {
	for range 5 {
		p.net.Reset(m.name)
		time.Sleep(wait / 10)
	}
	return true
}

func (p *play) slow(m *machine, wait time.Duration) bool {
	m.sync.Store(int64([]time.Duration{10, 100, 2000}[p.rng.IntN(3)] * time.Millisecond))
	time.Sleep(2 * wait)
	m.sync.Store(0)
	return true
}

// clock sets a machine's clock forth or back.
func (p *play) clock(m *machine, _ time.Duration) bool {
	if !p.clocks {
		return false
	}
	m.skew.Store(int64(time.Duration(p.rng.IntN(120_000)-60_000) * time.Millisecond))
	return true
}

// move asks for a shard to be moved from a machine that has a copy to one that has none.
func (p *play) move(*machine, time.Duration) bool {
	r, err := p.report()
	if err != nil || len(r.Shards) == 0 {
		return false
	}
	s := &r.Shards[p.rng.IntN(len(r.Shards))]
	if s.Job != 0 || len(s.Replicas) == 0 {
		return false
	}
	var free []uint32
	for i := range r.Nodes {
		id := r.Nodes[i].ID
		if !slices.ContainsFunc(s.Replicas, func(rep member.ReplicaReport) bool { return rep.Node == id }) {
			free = append(free, id)
		}
	}
	if len(free) == 0 {
		return false
	}
	from, to := s.Replicas[p.rng.IntN(len(s.Replicas))].Node, free[p.rng.IntN(len(free))]
	return p.operate("/moves", map[string]any{"shard": s.ID, "from": from, "to": to, "why": "a test"}, nil) == nil
}

// drain takes everything from a machine, and lets it have things again.
func (p *play) drain(m *machine, wait time.Duration) bool {
	id := p.number(m)
	if id == 0 || p.operate(fmt.Sprintf("/nodes/%d", id), map[string]any{"action": "drain"}, nil) != nil {
		return false
	}
	time.Sleep(2 * wait)
	if !p.insist(fmt.Sprintf("/nodes/%d", id), map[string]any{"action": "undrain"}) {
		p.t.Errorf("%s stays drained", m.name)
	}
	return true
}

// lose takes a machine away for good, with its disk. A new one comes in its place.
func (p *play) lose(m *machine, wait time.Duration) bool {
	if p.lost > 0 || p.whole() != "" { // one at a time: of three copies one may be lost
		return false
	}
	id := p.number(m)
	if id == 0 {
		return false
	}
	p.lost++
	p.off(m, true)
	time.Sleep(wait)
	if !p.insist(fmt.Sprintf("/nodes/%d", id), map[string]any{"action": "remove", "disk_lost": true}) {
		p.t.Errorf("%s cannot be removed", m.name)
	}
	p.add()
	return true
}

func (p *play) killed(_ *machine, wait time.Duration) bool {
	s := p.staff[p.rng.IntN(len(p.staff))]
	s.kill(p.ctx, p.rng.IntN(2) == 0, wait)
	return true
}

// watch looks at the cluster from outside: of each shard's term there is one leader, and the epoch of its replicas does not go
// back where one and the same node tells of it.
func (w *world) watch(ctx context.Context) {
	type of struct {
		shard uint16
		term  uint64
	}
	leader, epochs := map[of]uint32{}, map[[2]uint32]uint64{}
	for ctx.Err() == nil {
		time.Sleep(500 * time.Millisecond)
		r, err := w.report()
		if err != nil {
			continue
		}
		for i := range r.Shards {
			s := &r.Shards[i]
			k, at := of{s.ID, s.Term}, [2]uint32{r.Node, uint32(s.ID)}
			if s.Leader != 0 {
				if was, ok := leader[k]; ok && was != s.Leader {
					w.t.Errorf("shard %d has two leaders in term %d: %d and %d", s.ID, s.Term, was, s.Leader)
				}
				leader[k] = s.Leader
			}
			if s.Changes < epochs[at] {
				w.t.Errorf("node %d: shard %d was at epoch %d of its replicas, and is at %d", r.Node, s.ID, epochs[at], s.Changes)
			}
			epochs[at] = s.Changes
		}
	}
}
