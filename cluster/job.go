package cluster

import (
	"fmt"
	"slices"
)

// Step is how far a move has come. Each is begun again by whoever finds it: doing it twice does no harm.
type Step string

// The steps of a move.
const (
	// Adding: the new replica becomes a learner of the group, and gets a snapshot.
	Adding Step = "adding"
	// Catching: the learner catches up with the leader's log.
	Catching Step = "catching up"
	// Swapping: in one joint change the new replica votes and the old one leaves.
	Swapping Step = "swapping"
	// Handing: the old replica leads, so that another is asked to lead first, drained.
	Handing Step = "handing over"
	// Cleaning: the old replica's rows are taken off its disk.
	Cleaning Step = "cleaning"
	// Undoing: the move was aborted; the learner is taken out again.
	Undoing Step = "undoing"
	// Ended: nothing is left to do; Job.Result says how it went.
	Ended Step = "ended"
)

// Job is one move of a replica.
type Job struct {
	ID     uint64 `json:"id"`
	Shard  uint16 `json:"shard"`
	From   uint32 `json:"from"` // node; 0 when a copy is added in place of one that is lost
	To     uint32 `json:"to"`   // node
	Old    uint64 `json:"old"`  // replica that goes, 0 for none
	New    uint64 `json:"new"`  // replica that comes
	Step   Step   `json:"step"`
	Paused bool   `json:"paused,omitempty"`
	By     string `json:"by"` // who asked: an operator, or "rebalance", "drain", "repair"
	Why    string `json:"why,omitempty"`
	Result string `json:"result,omitempty"`
}

func (j *Job) String() string {
	return fmt.Sprintf("job %d: shard %d from node %d to node %d, %s", j.ID, j.Shard, j.From, j.To, j.Progress())
}

// Progress says how far it is, and whether it waits there; of one that has ended how it went.
func (j *Job) Progress() string {
	switch {
	case j.Step == Ended && j.Result != "":
		return j.Result
	case j.Paused && j.Step != Ended:
		return string(j.Step) + ", paused"
	}
	return string(j.Step)
}

// jobsPerShard and jobsPerNode bound how much moves at once: a snapshot is a load on both of its ends.
const jobsPerNode = 2

// keepJobs is how many ended jobs are remembered for operators.
const keepJobs = 100

// Move asks for a replica of a shard to go from one node to another. It is refused when that is impossible, or when too much
// moves at the two nodes already.
func (s *State) Move(shard uint16, from, to uint32, by, why string) (*Job, error) {
	sh := s.Shards[shard]
	if sh == nil {
		return nil, refuse("there is no shard %d: see switchboard shards ls", shard)
	}
	if from == 0 && by != "repair" {
		return nil, refuse("a move needs the node that it moves from")
	}
	p := s.Placements[sh.Placement]
	target, err := s.node(to)
	if err != nil {
		return nil, err
	}
	old := sh.On(from)
	switch {
	case from == to:
		return nil, refuse("shard %d cannot move from node %s to itself", shard, target.Name)
	case from != 0 && old == nil:
		return nil, refuse("shard %d has no replica on node %d", shard, from)
	case sh.On(to) != nil:
		return nil, refuse("shard %d has a replica on node %s already; without a node to move from (--from) it is asked to lead", shard, target.Name)
	case !p.allowed(target):
		return nil, refuse("node %s (%s) may not hold replicas of placement %s: %s", target.Name, target.Phase, p.Name, wants(p))
	}
	busy := 0
	for _, j := range s.Jobs {
		switch {
		case j.Step == Ended:
		case j.Shard == shard:
			return nil, refuse("shard %d is being moved by job %d (%s): wait for it, or abort it", shard, j.ID, j.Step)
		case j.To == to || j.From == to || from != 0 && (j.From == from || j.To == from):
			busy++
		}
	}
	if busy >= jobsPerNode {
		return nil, refuse("%d replicas move at these nodes already: wait for them", busy)
	}
	r := s.replica(to, true)
	s.lastJob++
	j := &Job{ID: s.lastJob, Shard: shard, From: from, To: to, New: r.ID, Step: Adding, By: by, Why: why}
	if old != nil {
		j.Old = old.ID
	}
	s.Jobs[j.ID] = j
	s.touch(rowJob, j.ID)
	s.forget()
	return j, nil
}

// forget drops the oldest ended jobs.
func (s *State) forget() {
	var ended []uint64
	for id, j := range s.Jobs {
		if j.Step == Ended {
			ended = append(ended, id)
		}
	}
	slices.Sort(ended)
	for len(ended) > keepJobs {
		delete(s.Jobs, ended[0])
		s.touch(rowJob, ended[0])
		ended = ended[1:]
	}
}

// Pause stops a job before its next step, or lets it go on.
func (s *State) Pause(id uint64, paused bool) error {
	j, err := s.job(id)
	if err != nil {
		return err
	}
	j.Paused = paused
	s.touch(rowJob, id)
	return nil
}

// Abort takes a move back. From the swap on that is too late: it ends by itself, and can be moved back then.
func (s *State) Abort(id uint64) error {
	j, err := s.job(id)
	if err != nil {
		return err
	}
	switch j.Step {
	case Adding, Catching, Handing:
		j.Step, j.Paused = Undoing, false
	case Undoing:
	default:
		return refuse("job %d is %s: it is too late to abort, it ends soon", id, j.Step)
	}
	s.touch(rowJob, id)
	return nil
}

func (s *State) job(id uint64) (*Job, error) {
	j := s.Jobs[id]
	if j == nil {
		return nil, refuse("there is no job %d", id)
	}
	if j.Step == Ended {
		return nil, refuse("job %d has ended: %s", id, j.Result)
	}
	return j, nil
}

// Seen is what a shard's leader says of its group, just now.
type Seen struct {
	Leader   uint64   // the replica that says it
	Voters   []uint64 // of the current configuration
	Learners []uint64
	Joint    bool              // a change is not finished
	Lag      map[uint64]uint64 // how far a replica's log is behind, in entries, of those that answer
	Term     uint64
}

func (v *Seen) votes(id uint64) bool  { return slices.Contains(v.Voters, id) }
func (v *Seen) learns(id uint64) bool { return slices.Contains(v.Learners, id) }

// Act is what the shard's leader is asked to do for a job.
type Act struct {
	Kind ActKind
	// Add becomes a learner, or votes; Remove leaves; To shall lead.
	Add, Remove, To uint64
}

// ActKind names an act.
type ActKind uint8

// The acts. All may be asked for again and again until what is seen says that they are done.
const (
	Wait      ActKind = iota // nothing to do now
	AddMember                // make Add a learner
	Swap                     // make Add vote and let Remove leave, in one joint change
	Lead                     // hand the leadership over to To, drained
	Take                     // let Remove, a learner, leave
	Erase                    // take replica Remove off its node's disk
)

// caughtUp is how many entries a learner may be behind when it begins to vote.
const caughtUp = 64

// Next goes on with a job by what the shard's leader has seen, and returns what is to be done for its step. The job's step and
// the shard's replicas change only by what is seen, never by what was asked for: so it does not matter how often, and
// by which leader of the meta group, it is called.
func (s *State) Next(id uint64, seen *Seen) Act {
	j := s.Jobs[id]
	if j == nil || j.Step == Ended {
		return Act{}
	}
	if !s.Hear(j.Shard, seen) {
		return Act{}
	}
	step := j.Step
	for {
		next := j.advance(seen)
		if next == j.Step {
			break
		}
		j.Step = next
	}
	if j.Step != step {
		s.touch(rowJob, id)
	}
	if j.Paused && j.Step != Cleaning {
		return Act{}
	}
	switch j.Step {
	case Adding:
		return Act{Kind: AddMember, Add: j.New}
	case Handing:
		switch to := heir(j, seen); {
		case to != 0:
			return Act{Kind: Lead, To: to}
		case len(seen.Voters) == 1 && seen.learns(j.New) && !seen.Joint: // there is nobody else: both vote for a while
			return Act{Kind: Swap, Add: j.New}
		}
	case Swapping:
		if !seen.Joint {
			return Act{Kind: Swap, Add: j.New, Remove: j.Old}
		}
	case Undoing:
		if !seen.Joint {
			return Act{Kind: Take, Remove: j.New}
		}
	case Cleaning:
		return Act{Kind: Erase, Remove: j.gone()}
	default:
	}
	return Act{}
}

// gone is the replica that has left.
func (j *Job) gone() uint64 {
	if j.Result == Aborted {
		return j.New
	}
	return j.Old
}

// The results of a job that has ended.
const (
	Moved   = "moved"
	Aborted = "aborted"
)

// advance returns the step that follows from what is seen.
func (j *Job) advance(seen *Seen) Step {
	lag, answers := seen.Lag[j.New]
	switch j.Step {
	case Adding:
		if seen.learns(j.New) || seen.votes(j.New) {
			return Catching
		}
	case Catching:
		switch {
		case seen.votes(j.New):
			return Swapping
		case !seen.learns(j.New):
			return Adding // a leader that has not heard of it
		case answers && lag <= caughtUp && seen.Leader == j.Old && j.Old != 0:
			return Handing
		case answers && lag <= caughtUp:
			return Swapping
		}
	case Handing:
		if seen.Leader != j.Old {
			return Catching
		}
	case Swapping:
		switch {
		case seen.votes(j.New) && !seen.Joint && !seen.votes(j.Old):
			j.Result = Moved
			if j.Old == 0 {
				return Ended
			}
			return Cleaning
		case !seen.Joint && seen.Leader == j.Old && j.Old != 0:
			return Handing
		}
	case Undoing:
		switch {
		case seen.votes(j.New):
			return Swapping // it was too late
		case !seen.learns(j.New) && !seen.Joint:
			j.Result = Aborted
			return Cleaning
		}
	default:
	}
	return j.Step
}

// heir is the replica that shall lead in place of the one that goes: the voter that is least behind.
func heir(j *Job, seen *Seen) (best uint64) {
	for _, id := range seen.Voters {
		lag, answers := seen.Lag[id]
		if id == j.Old || !answers {
			continue
		}
		if best == 0 || lag < seen.Lag[best] {
			best = id
		}
	}
	return best
}

// Erased says that the node has taken the replica that left off its disk, or is gone itself: the job has ended.
func (s *State) Erased(id uint64) {
	if j := s.Jobs[id]; j != nil && j.Step == Cleaning {
		j.Step = Ended
		s.touch(rowJob, id)
	}
}

// Hear makes the map of a shard what its leader says, and reports whether that counts: the word of a leader of an earlier
// term does not.
func (s *State) Hear(shard uint16, seen *Seen) bool {
	sh := s.Shards[shard]
	if sh == nil || seen.Term < sh.Term {
		return false
	}
	s.led(sh, seen)
	s.learn(sh, seen)
	return true
}

// led notes in which term a shard is led. Whoever was chosen to lead is not any more when another does.
func (s *State) led(sh *Shard, seen *Seen) {
	if seen.Term == sh.Term {
		return
	}
	sh.Term = seen.Term
	s.touch(rowShard, uint64(sh.ID))
	if nodeOf(seen.Leader) != sh.Chosen {
		s.appoint(sh, 0)
	}
}

// Stray returns the act that takes out a learner that no job knows: it was asked for by a leader of the meta group who did not
// live to hear of it, and the move has been aborted since.
func (s *State) Stray(shard uint16, seen *Seen) Act {
	sh := s.Shards[shard]
	if sh == nil || seen.Joint || seen.Term < sh.Term {
		return Act{}
	}
	for _, j := range s.Jobs {
		if j.Shard == shard && j.Step != Ended {
			return Act{}
		}
	}
	for _, id := range seen.Learners {
		return Act{Kind: Take, Remove: id}
	}
	return Act{}
}

// learn makes the map of a shard what its leader says.
func (s *State) learn(sh *Shard, seen *Seen) {
	if seen.Joint {
		return
	}
	var list []Replica
	for _, id := range seen.Voters {
		list = append(list, Replica{ID: id, Node: nodeOf(id)})
	}
	for _, id := range seen.Learners {
		list = append(list, Replica{ID: id, Node: nodeOf(id), Learner: true})
	}
	order := func(a, b Replica) int { return int(int64(a.ID>>1) - int64(b.ID>>1)) } //nolint:gosec // an order, whatever it is
	slices.SortFunc(list, order)
	have := slices.Clone(sh.Replicas)
	slices.SortFunc(have, order)
	if slices.Equal(list, have) {
		return
	}
	sh.Replicas = list
	sh.Epoch++
	s.touch(rowShard, uint64(sh.ID))
}
