package main

import "switchboard/client"

// floorJSON is a floor as `floor --json` prints it: named as on the wire [SW-5a.5], times in milliseconds.
type floorJSON struct {
	TS           int64          `json:"ts"`
	Queues       []queueJSON    `json:"queues"`
	Workers      []workerJSON   `json:"workers"`
	Sessions     []standingJSON `json:"sessions"`
	More         bool           `json:"more,omitempty"`
	MoreSessions bool           `json:"more_sessions,omitempty"`
}

type queueJSON struct {
	Queue     string `json:"queue"`
	Waiting   int    `json:"waiting"`
	Offered   int    `json:"offered"`
	Assigned  int    `json:"assigned"`
	OldestMS  int64  `json:"oldest_ms"`
	Bots      int    `json:"bots"`
	Humans    int    `json:"humans"`
	FreeSlots int    `json:"free_slots"`
}

type workerJSON struct {
	Worker string   `json:"worker"`
	Kind   string   `json:"kind"`
	Name   string   `json:"name,omitempty"`
	State  string   `json:"state"`
	Reason string   `json:"reason,omitempty"`
	Queues []string `json:"queues"`
	Slots  int      `json:"slots"`
	Used   int      `json:"used"`
}

type standingJSON struct {
	Session  string `json:"session"`
	Queue    string `json:"queue"`
	State    string `json:"state"`
	Worker   string `json:"worker,omitempty"`
	Since    int64  `json:"since"`
	WaitedMS int64  `json:"waited_ms"`
	Shop     string `json:"shop,omitempty"`
	Channel  string `json:"channel,omitempty"`
	Tier     string `json:"tier,omitempty"`
}

func floorOf(all *client.Floor) *floorJSON {
	f := &floorJSON{
		TS: all.At.UnixMilli(), More: all.MoreWorkers, MoreSessions: all.MoreSessions,
		Queues: []queueJSON{}, Workers: []workerJSON{}, Sessions: []standingJSON{}, // none is [] for programs
	}
	for _, q := range all.Queues {
		f.Queues = append(f.Queues, queueJSON{q.Queue, q.Waiting, q.Offered, q.Assigned, q.Oldest.Milliseconds(), q.Bots, q.Humans, q.FreeSlots})
	}
	for _, w := range all.Workers {
		f.Workers = append(f.Workers, workerJSON{w.Worker, w.Kind, w.Name, w.State, w.Reason, w.Queues, w.Slots, w.Used})
	}
	for _, s := range all.Sessions {
		f.Sessions = append(f.Sessions, standingJSON{s.Session, s.Queue, s.State, s.Worker, s.Since.UnixMilli(), s.Waited.Milliseconds(), s.Shop, s.Channel, s.Tier})
	}
	return f
}
