package client

import (
	"context"
	"fmt"
	"time"

	"switchboard/wire/wirepb"
)

// LevelStats is what a service level has counted since the node was started [SW-5a.5].
type LevelStats struct {
	Level   string
	Of      string // shop, queue, team or worker
	Name    string
	Limit   time.Duration
	Target  float64 // 0 is none
	Windows []LevelWindow
}

// LevelWindow is what was counted in a window: 1m, 5m, 1h, today or total.
type LevelWindow struct {
	Window         string
	Count, Met     uint64 // cases, and those in time
	Timed          uint64 // response times
	Mean, P50, P95 time.Duration
}

// Levels asks how the tenant's service levels stand: of shops, queues and teams, or of one queue, or of one worker. Supervisors and
// operators whose token names no shop may.
func (c *Client) Levels(ctx context.Context, queue, worker string) ([]LevelStats, error) {
	m := &wirepb.Stats{}
	if queue+worker != "" {
		m.Scope = &wirepb.Scope{Queue: queue, Worker: worker}
	}
	f, err := c.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Stats{Stats: m}}, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for service levels: %w", err)
	}
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	var list []LevelStats
	for _, l := range f.GetStats().GetLevels() {
		s := LevelStats{Level: l.Level, Of: l.Of, Name: l.Name, Limit: ms(l.LimitMs), Target: l.Target}
		for _, w := range l.Windows {
			s.Windows = append(s.Windows, LevelWindow{w.Window, w.Count, w.Met, w.Timed, ms(w.MeanMs), ms(w.P50Ms), ms(w.P95Ms)})
		}
		list = append(list, s)
	}
	return list, nil
}
