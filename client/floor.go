package client

import (
	"context"
	"fmt"
	"time"

	"switchboard/wire/wirepb"
)

// Floor is how a tenant's queues, workers and sessions stand [SW-5a.5].
type Floor struct {
	At       time.Time
	Queues   []QueueStats
	Workers  []WorkerStats
	Sessions []SessionStats
	// There are more workers, and sessions, than were told.
	MoreWorkers, MoreSessions bool
}

// QueueStats is how a queue stands.
type QueueStats struct {
	Queue                      string
	Waiting, Offered, Assigned int
	Oldest                     time.Duration // how long the first has waited
	Bots, Humans, FreeSlots    int
}

// WorkerStats is how a worker stands.
type WorkerStats struct {
	Worker, Kind, Name string
	State              string // ready, away, draining or gone
	Reason             string // why it is away or draining, as it said, or missed; what it said is cut to 100 bytes
	Queues             []string
	Slots, Used        int
}

// SessionStats is how a session stands with the broker.
type SessionStats struct {
	Session, Queue string
	State          string // waiting, offered, classifying, assigned, lost or wrapup
	Worker         string // who has it, is asked, or is in wrap-up
	Since          time.Time
	Waited         time.Duration
	Shop, Channel  string
	Tier           string
}

// FloorOptions say what Floor tells.
type FloorOptions struct {
	Queue, Worker string // of one of them alone; default of all
	Sessions      int    // how many sessions are listed: who waits longest first, then those that somebody has; at most 128
}

// Floor asks how queues, workers and sessions stand now. Supervisors and operators whose token names no shop may. It is safe for
// concurrent use.
func (c *Client) Floor(ctx context.Context, o FloorOptions) (*Floor, error) {
	m := &wirepb.Stats{Sessions: uint32(max(o.Sessions, 0))} //nolint:gosec // the server has a limit of its own
	if o.Queue+o.Worker != "" {
		m.Scope = &wirepb.Scope{Queue: o.Queue, Worker: o.Worker}
	}
	f, err := c.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Stats{Stats: m}}, nil)
	if err != nil {
		return nil, fmt.Errorf("asking how queues, workers and sessions stand: %w", err)
	}
	s := f.GetStats()
	all := &Floor{At: time.UnixMilli(s.GetTs()), MoreWorkers: s.GetMore(), MoreSessions: s.GetMoreSessions()}
	for _, q := range s.GetQueues() {
		all.Queues = append(all.Queues, QueueStats{
			Queue: q.Queue, Waiting: int(q.Waiting), Offered: int(q.Offered), Assigned: int(q.Assigned),
			Oldest: time.Duration(q.OldestMs) * time.Millisecond, Bots: int(q.Bots), Humans: int(q.Humans), FreeSlots: int(q.FreeSlots),
		})
	}
	for _, w := range s.GetWorkers() {
		all.Workers = append(all.Workers, WorkerStats{w.Worker, w.Kind, w.Name, w.State, w.Reason, w.Queues, int(w.Slots), int(w.Used)})
	}
	for _, x := range s.GetSessions() {
		all.Sessions = append(all.Sessions, SessionStats{
			Session: x.Session, Queue: x.Queue, State: x.State, Worker: x.Worker, Since: time.UnixMilli(x.Since),
			Waited: time.Duration(x.WaitedMs) * time.Millisecond, Shop: x.Shop, Channel: x.Channel, Tier: x.Tier,
		})
	}
	return all, nil
}
