package replica

import (
	"errors"
	"fmt"
	"sort"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// storage is what raft reads of a group's log: the terms of all of it, the latest entries from memory, older ones from the
// disk. It knows what Done has said is durable.
type storage struct {
	group    uint16
	log      Log
	hard     *pb.HardState
	conf     *pb.ConfState
	applied  uint64
	prev     uint64 // the entry before the first
	prevTerm uint64
	last     uint64
	runs     []Run // of the terms behind prev, ascending

	cache      []*pb.Entry // the latest, contiguous, ending at last
	cacheBytes int
	cacheMost  int
}

func (s *storage) begin(h *Host, st *Start) error {
	*s = storage{
		group: st.Group, log: h.cfg.Log, hard: st.Hard, conf: st.Conf, applied: st.Applied, prev: st.Prev, prevTerm: st.PrevTerm,
		last: st.Last, runs: st.Runs, cacheMost: h.cfg.CacheBytes,
	}
	switch {
	case st.ID == 0:
		return errors.New("the replica has no id")
	case st.Last < st.Prev, st.Applied < st.Prev, st.Applied > st.Last:
		return fmt.Errorf("the log is %d to %d, and %d is applied", st.Prev+1, st.Last, st.Applied)
	case st.Last > st.Prev && (len(st.Runs) == 0 || st.Runs[0].First != st.Prev+1):
		return errors.New("the terms do not begin with the log")
	case st.Hard.GetCommit() > st.Last:
		return fmt.Errorf("%d is committed, and the log ends at %d", st.Hard.GetCommit(), st.Last)
	}
	if s.hard == nil {
		s.hard = &pb.HardState{}
	}
	if s.hard.GetCommit() < st.Applied { // what is applied was committed, whether or not that was written down
		s.hard = &pb.HardState{Term: new(max(s.hard.GetTerm(), st.AppliedTerm)), Vote: new(s.hard.GetVote()), Commit: new(st.Applied)}
	}
	if s.conf == nil {
		s.conf = &pb.ConfState{}
	}
	return nil
}

// InitialState implements raft.Storage.
func (s *storage) InitialState() (*pb.HardState, *pb.ConfState, error) { return s.hard, s.conf, nil }

// FirstIndex implements raft.Storage.
func (s *storage) FirstIndex() (uint64, error) { return s.prev + 1, nil }

// LastIndex implements raft.Storage.
func (s *storage) LastIndex() (uint64, error) { return s.last, nil }

// Term implements raft.Storage.
func (s *storage) Term(i uint64) (uint64, error) {
	switch {
	case i == s.prev:
		return s.prevTerm, nil
	case i < s.prev:
		return 0, raft.ErrCompacted
	case i > s.last:
		return 0, raft.ErrUnavailable
	}
	n := sort.Search(len(s.runs), func(n int) bool { return s.runs[n].First > i })
	return s.runs[n-1].Term, nil
}

// Entries implements raft.Storage.
func (s *storage) Entries(lo, hi, maxBytes uint64) ([]*pb.Entry, error) {
	switch {
	case lo <= s.prev:
		return nil, raft.ErrCompacted
	case hi > s.last+1:
		return nil, raft.ErrUnavailable
	}
	if first := s.last + 1 - uint64(len(s.cache)); lo >= first {
		list := s.cache[lo-first : hi-first]
		var size uint64
		for i, e := range list {
			size += entryBytes(e)
			if i > 0 && size > maxBytes {
				list = list[:i]
				break
			}
		}
		return append([]*pb.Entry(nil), list...), nil
	}
	list, err := s.log.Entries(s.group, lo, hi, maxBytes)
	if err != nil && lo <= s.applied {
		return nil, raft.ErrCompacted // what is applied can go out as a snapshot; raft would panic at another error
	}
	if err != nil {
		return nil, fmt.Errorf("reading entries %d to %d of group %d: %w", lo, hi, s.group, err)
	}
	return list, nil
}

// Snapshot implements raft.Storage: it says as of which entry a snapshot would be. The rows are streamed beside it.
func (s *storage) Snapshot() (*pb.Snapshot, error) {
	term, err := s.Term(s.applied)
	if err != nil {
		return nil, err
	}
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{ConfState: s.conf, Index: new(s.applied), Term: new(term)}}, nil
}

func entryBytes(e *pb.Entry) uint64 { return uint64(len(e.GetData())) + 32 }

// append takes entries that are durable now. They may replace the end of the log.
func (s *storage) append(entries []*pb.Entry) {
	if len(entries) == 0 {
		return
	}
	if first := entries[0].GetIndex(); first <= s.last {
		s.cut(first)
	}
	for _, e := range entries {
		if n := len(s.runs); n == 0 || s.runs[n-1].Term != e.GetTerm() {
			s.runs = append(s.runs, Run{e.GetIndex(), e.GetTerm()})
		}
		s.last = e.GetIndex()
	}
	for _, e := range entries {
		s.cache = append(s.cache, e)
		s.cacheBytes += int(entryBytes(e)) //nolint:gosec // small
	}
	s.shrink()
}

// shrink drops the oldest entries, but none that is still to be applied: those are read again in a moment. When nobody follows,
// nothing else is kept.
func (s *storage) shrink() {
	most := s.cacheMost
	if alone(s.conf) {
		most = 0
	}
	drop := 0
	for s.cacheBytes > most && drop < len(s.cache) && s.cache[drop].GetIndex() <= s.applied {
		s.cacheBytes -= int(entryBytes(s.cache[drop])) //nolint:gosec // small
		drop++
	}
	if drop > 0 {
		n := copy(s.cache, s.cache[drop:])
		clear(s.cache[n:])
		s.cache = s.cache[:n]
	}
}

// alone tells whether a group has one replica.
func alone(c *pb.ConfState) bool {
	return len(c.GetVoters()) == 1 && len(c.GetLearners()) == 0 && len(c.GetVotersOutgoing()) == 0 && len(c.GetLearnersNext()) == 0
}

// cut removes the entries from index from on.
func (s *storage) cut(from uint64) {
	for n := len(s.runs); n > 0 && s.runs[n-1].First >= from; n-- {
		s.runs = s.runs[:n-1]
	}
	if gone := s.last + 1 - from; gone >= uint64(len(s.cache)) {
		s.cache, s.cacheBytes = nil, 0
	} else {
		for _, e := range s.cache[uint64(len(s.cache))-gone:] {
			s.cacheBytes -= int(entryBytes(e)) //nolint:gosec // small
		}
		s.cache = s.cache[:uint64(len(s.cache))-gone]
	}
	s.last = from - 1
}

// compact forgets the entries up to upTo.
func (s *storage) compact(upTo uint64) {
	upTo = min(upTo, s.applied)
	if upTo <= s.prev {
		return
	}
	term, err := s.Term(upTo)
	if err != nil {
		return // it is not there: nothing to forget
	}
	for len(s.runs) > 1 && s.runs[1].First <= upTo+1 {
		s.runs = s.runs[1:]
	}
	if len(s.runs) > 0 && s.runs[0].First <= upTo {
		s.runs[0].First = upTo + 1
	}
	s.prev, s.prevTerm = upTo, term
	if s.last == upTo {
		s.runs = nil
	}
	if keep := s.last - upTo; keep < uint64(len(s.cache)) {
		gone := uint64(len(s.cache)) - keep
		for _, e := range s.cache[:gone] {
			s.cacheBytes -= int(entryBytes(e)) //nolint:gosec // small
		}
		n := copy(s.cache, s.cache[gone:])
		clear(s.cache[n:])
		s.cache = s.cache[:n]
	}
}

// install makes the log begin behind a snapshot.
func (s *storage) install(snap *pb.Snapshot) {
	m := snap.GetMetadata()
	s.prev, s.prevTerm, s.last, s.applied = m.GetIndex(), m.GetTerm(), m.GetIndex(), m.GetIndex()
	s.runs, s.cache, s.cacheBytes, s.conf = nil, nil, 0, m.GetConfState()
}
