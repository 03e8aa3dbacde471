package sim_test

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/broker"
	"switchboard/node"
	"switchboard/shard"
)

// sight is what nodes do, of all of them together. Each step is held against those of the others at the moment at which it is done: see DESIGN.md.
type sight struct {
	w        *world
	failures atomic.Int32
	seed     maphash.Seed

	mu sync.Mutex
	// Guarded by mu.
	entries map[entryID]decided
	terms   map[int][]*reign // by shard, in the order of their terms
	steps   int
}

type entryID struct {
	group uint16
	index uint64
}

// decided is an entry of a log, as one of its replicas has it.
type decided struct {
	term, sum uint64
	by        string
}

// reign is an owner of a shard, from its beginning.
type reign struct {
	by      string
	began   shard.At
	last    shard.At   // that it has decided
	turns   []shard.At // of these, those that it has not heard of, ascending
	durable shard.At   // the last that it has heard is durable
}

func newSight(w *world) *sight {
	return &sight{w: w, seed: maphash.MakeSeed(), entries: map[entryID]decided{}, terms: map[int][]*reign{}}
}

func (s *sight) fail(format string, args ...any) {
	s.w.fails(&s.failures, format, args...)
}

// seen returns how many steps were checked.
func (s *sight) seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.steps
}

// of returns what a machine tells.
func (s *sight) of(name string) *node.Witness {
	return &node.Witness{
		Shards: shard.Witness{
			Opens:   func(at shard.At) { s.opens(name, at) },
			Decides: func(at shard.At) { s.decides(name, at) },
			Durable: func(at shard.At) { s.durable(name, at) },
			Pool:    func(i int, number uint64, core *broker.Core) { s.pool(name, i, number, core) },
		},
		Decided: func(group uint16, index, term uint64, data []byte) { s.decided(name, group, index, term, data) },
	}
}

// decided: what is decided for good is the same at every replica.
func (s *sight) decided(by string, group uint16, index, term uint64, data []byte) {
	d := decided{term, maphash.Bytes(s.seed, data), by}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps++
	id := entryID{group, index}
	was, ok := s.entries[id]
	if !ok {
		s.entries[id] = d
	} else if was.term != d.term || was.sum != d.sum {
		s.fail("entry %d of group %d is another at %s, of term %d, than at %s, of term %d", index, group, by, term, was.by, was.term)
	}
}

// opens: no two owners have one number, and who comes later goes on behind everything that anybody was told is durable [SW-4.2].
func (s *sight) opens(by string, at shard.At) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps++
	list := s.terms[at.Shard]
	i := 0
	for i < len(list) && list[i].began.Term < at.Term {
		i++
	}
	if i < len(list) && list[i].began.Term == at.Term {
		s.fail("%s and %s own shard %d in term %d", by, list[i].by, at.Shard, at.Term)
		return
	}
	r := &reign{by: by, began: at, last: at, durable: at}
	s.terms[at.Shard] = slices.Insert(list, i, r)
	for _, o := range s.terms[at.Shard] {
		s.follows(o, r)
		s.follows(r, o)
	}
}

// follows checks two owners of a shard, if a was before b: what was durable under a is there when b begins.
func (s *sight) follows(a, b *reign) {
	if a.began.Term >= b.began.Term {
		return
	}
	switch d := &a.durable; {
	case d.Turn > b.began.Turn:
		s.fail("%s owns shard %d in term %d from turn %d on, and %s has told of turn %d in term %d", b.by, b.began.Shard, b.began.Term, b.began.Turn, a.by, d.Turn, a.began.Term)
	case d.LSN > b.began.LSN || d.Epoch > b.began.Epoch:
		s.fail("%s owns shard %d from %+v on, and %s was at %+v", b.by, b.began.Shard, b.began, a.by, *d)
	}
}

func (s *sight) reign(at shard.At) *reign {
	for _, r := range s.terms[at.Shard] {
		if r.began.Term == at.Term {
			return r
		}
	}
	return nil
}

// decides: turns, numbers of the feed and epochs grow.
func (s *sight) decides(by string, at shard.At) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps++
	r := s.reign(at)
	if at.Turn != r.last.Turn+1 || at.LSN < r.last.LSN || at.Epoch < r.last.Epoch {
		s.fail("%s decides %+v of a shard behind %+v", by, at, r.last)
	}
	r.last, r.turns = at, append(r.turns, at)
}

// durable: nobody tells of a turn that a later owner does not have.
func (s *sight) durable(_ string, at shard.At) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reign(at)
	if at.Turn <= r.durable.Turn {
		return
	}
	s.steps++
	for len(r.turns) > 0 && r.turns[0].Turn <= at.Turn {
		r.durable, r.turns = r.turns[0], r.turns[1:]
	}
	for _, o := range s.terms[at.Shard] {
		s.follows(r, o)
	}
}

// sessionsMost is more than anybody has.
const sessionsMost = 1000

// pool: what a pool has charged a worker with is what he has to do with, and no more than he has room for [SW-5.1] (I3).
func (s *sight) pool(by string, i int, number uint64, core *broker.Core) {
	s.mu.Lock()
	s.steps++
	s.mu.Unlock()
	for w := range core.Workers("", "") {
		list, _ := core.Sessions("", w.ID, sessionsMost)
		if w.Used != len(list) {
			s.fail("the pool %d of shard %d at %s has charged %s with %d, who has to do with %+v", number, i, by, w.ID, w.Used, list)
		}
		if s.w.clocks { // who comes to have a session may not know yet that a wrap-up behind it is over
			list = slices.DeleteFunc(list, func(r broker.SessionStats) bool { return r.State == "wrapup" })
		}
		if len(list) > w.Slots && w.Slots > 0 && s.w.softBefore(time.Now()) == "" {
			s.fail("the pool %d of shard %d at %s has given %s, who has %d slots, %+v", number, i, by, w.ID, w.Slots, list)
		}
	}
}
