package cluster

// Effort is what an operator wants of the balance: without it only what he asked for one by one is done.
type Effort struct {
	Run    bool   `json:"run"`
	Paused bool   `json:"paused"`
	By     string `json:"by,omitempty"`
}

// ByEffort is who has asked for the moves of an effort.
const ByEffort = "rebalance"

// Rebalance begins, pauses, resumes or aborts the effort to make everything even. Saying the same twice does no harm. Moves of
// the effort that are too far to be taken back end by themselves. With it any node may lead any shard again, whatever was asked for by [State.Lead].
func (s *State) Rebalance(action, by string) error {
	was := s.Effort
	switch action {
	case "run":
		if !s.Effort.Run {
			s.Effort = Effort{Run: true, By: by}
		}
		for _, sh := range s.Shards {
			s.appoint(sh, 0)
		}
	case "pause", "resume":
		if !s.Effort.Run {
			return refuse("nothing is being rebalanced")
		}
		s.Effort.Paused = action == "pause"
		s.efforts(func(j *Job) { _ = s.Pause(j.ID, s.Effort.Paused) })
	case "abort":
		s.Effort = Effort{}
		s.efforts(func(j *Job) { _ = s.Abort(j.ID) })
	default:
		return refuse("%q is nothing that a rebalance does: run, pause, resume or abort", action)
	}
	if s.Effort != was {
		s.touch(rowEffort)
	}
	return nil
}

// efforts calls fn for the moves of the effort that have not ended.
func (s *State) efforts(fn func(*Job)) (n int) {
	for _, j := range s.Jobs {
		if j.By == ByEffort && j.Step != Ended {
			n++
			fn(j)
		}
	}
	return n
}

// Even ends the effort when nothing is left of it: proposals is what a plan still wants.
func (s *State) Even(proposals []Proposal) {
	if !s.Effort.Run || s.efforts(func(*Job) {}) > 0 {
		return
	}
	for i := range proposals {
		if c := proposals[i].Cause; c == Zones || c == Even {
			return
		}
	}
	s.Effort = Effort{}
	s.touch(rowEffort)
}
