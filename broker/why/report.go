package why

import (
	"cmp"
	"slices"

	"switchboard/broker"
	"switchboard/wire"
)

// Bounds of a report.
const (
	maxCandidates = 50
	maxDecisions  = 16
)

// Session is what a session says of itself.
type Session struct {
	ID       wire.SessionID `json:"id"`
	Phase    string         `json:"phase"` // new, queued, assigned, closed
	Queue    string         `json:"queue"`
	Ticket   uint64         `json:"ticket"`
	Owner    string         `json:"owner,omitempty"`    // worker id
	Taken    bool           `json:"taken,omitempty"`    // the owner is a supervisor who took it
	AE       uint64         `json:"ae,omitempty"`       // of the owner
	Note     string         `json:"note,omitempty"`     // what is wrong with its attributes
	Transfer string         `json:"transfer,omitempty"` // worker id: it is meant for him
	Kept     []Decision     `json:"kept,omitempty"`     // what its shard has kept, the latest first
}

// Report is the answer to "why?".
type Report struct {
	Session    wire.SessionID `json:"session"`
	State      string         `json:"state"`           // of the session: new, queued, assigned, closed
	Stands     string         `json:"stands"`          // in its pool: none, waiting, offered, granted, held, lost, wrapup
	Queue      string         `json:"queue,omitempty"` // where it waits, or waited
	Worker     string         `json:"worker,omitempty"`
	At         int64          `json:"at"`                // Unix ms of the report
	Since      int64          `json:"since,omitempty"`   // since when the customer waits
	NextAt     int64          `json:"next_at,omitempty"` // when something changes by itself
	Ahead      int            `json:"ahead,omitempty"`   // sessions that are served before it
	Why        []string       `json:"why"`               // sentences, for people
	Candidates []Candidate    `json:"candidates,omitempty"`
	More       int            `json:"more_candidates,omitempty"`
	Decisions  []Decision     `json:"decisions,omitempty"` // about this session, the latest first
}

// Candidate is what stands for and against one worker now.
type Candidate struct {
	Worker    string  `json:"worker"`
	Why       string  `json:"why,omitempty"` // why it does not take the session; empty when it could
	Step      string  `json:"step,omitempty"`
	Preferred bool    `json:"preferred,omitempty"`
	Load      float64 `json:"load"`
	Skill     float64 `json:"skill"`
	Rating    float64 `json:"rating"`
	Score     float64 `json:"score"`
}

// Decision is one that was made about the session.
type Decision struct {
	At       int64       `json:"at"`
	Ticket   uint64      `json:"ticket"`
	Queue    string      `json:"queue"`
	Worker   string      `json:"worker"`
	Reason   string      `json:"reason"`
	Step     string      `json:"step,omitempty"`
	WaitedMS int64       `json:"waited_ms"`
	Ahead    int         `json:"ahead"`
	Eligible int         `json:"eligible"`
	Free     int         `json:"free"`
	Asked    int         `json:"asked,omitempty"`
	Top      []Candidate `json:"top,omitempty"`
	Excluded []string    `json:"excluded,omitempty"`
	Ended    string      `json:"ended,omitempty"` // of an offer that nobody took: declined, expired, away, rescinded
	Said     string      `json:"said,omitempty"`  // why, by who declined
}

// Tell makes a report. decisions are those about the session that its pool remembers, the oldest first; what the session has kept is
// beside them. now is Unix ms.
func Tell(s *Session, e broker.Explanation, decisions []broker.Decision, cfg *broker.Config, now int64) Report {
	r := Report{
		Session: s.ID, State: s.Phase, Stands: e.State, Queue: s.Queue, Worker: e.Worker, At: now, Since: e.EnqueuedAt, NextAt: e.NextAt,
		Ahead: e.Ahead, Why: []string{},
	}
	if e.Queue != "" {
		r.Queue = e.Queue
	}
	if r.Worker == "" {
		r.Worker = s.Owner
	}
	for _, c := range e.Workers[:min(len(e.Workers), maxCandidates)] {
		r.Candidates = append(r.Candidates, candidate(&c))
	}
	r.More = max(len(e.Workers)-maxCandidates, 0)
	r.Decisions = append(r.Decisions, s.Kept...) // of several who were asked they name the one who accepted
	for i := range decisions {
		d := Made(&decisions[i])
		if !slices.ContainsFunc(s.Kept, func(k Decision) bool { return k.Ticket == d.Ticket && k.At == d.At && k.Ended == d.Ended }) {
			r.Decisions = append(r.Decisions, d)
		}
	}
	slices.SortStableFunc(r.Decisions, func(a, b Decision) int { return cmp.Or(cmp.Compare(b.Ticket, a.Ticket), cmp.Compare(b.At, a.At)) })
	r.Decisions = r.Decisions[:min(len(r.Decisions), maxDecisions)]
	t := teller{r: &r, s: s, e: &e, cfg: cfg, now: now}
	t.tell()
	return r
}

func candidate(c *broker.Candidate) Candidate {
	return Candidate{Worker: c.Worker, Why: c.Why, Step: c.Step, Preferred: c.Preferred, Load: c.Load, Skill: c.Skill, Rating: c.Rating, Score: c.Score}
}

// Made returns d as reports have it. It is a copy: the pool uses its memory again.
func Made(d *broker.Decision) Decision {
	how, said := d.End()
	out := Decision{
		At: d.At, Ticket: d.Ticket, Queue: d.Queue, Worker: d.Worker, Reason: d.Reason, Step: d.Step, WaitedMS: d.WaitedMS, Ahead: d.Ahead,
		Eligible: d.Eligible, Free: d.Free, Asked: d.Asked, Excluded: append([]string(nil), d.Excluded...), Ended: how, Said: said,
	}
	for i := range d.Top {
		out.Top = append(out.Top, candidate(&d.Top[i]))
	}
	return out
}
