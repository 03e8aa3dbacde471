package node

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"switchboard/broker/level"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// checkLevels tells which service levels want what t does not have.
func (t *Tenant) checkLevels() error {
	for i := range t.routed.Levels.Len() {
		d := t.routed.Levels.Definition(i)
		for _, q := range d.Queues {
			if !t.routed.Session.Queues[q] {
				return fmt.Errorf("level %s: there is no queue %q", d.Name, q)
			}
		}
	}
	return nil
}

// Levels returns what a tenant's service levels have counted since the node was started, as it was some seconds ago.
func (n *Node) Levels(tenant string) level.Report {
	var sum level.Report
	n.hosts.each(func(_ int, s *shard.Shard) { sum = sum.Merge(s.Levels()[tenant]) })
	return sum
}

// levelSets returns by tenant what is counted by: of shards that have heard of different documents, as for a moment after a change, by the
// latest.
func (n *Node) levelSets() map[string]shard.LevelSet {
	all := map[string]shard.LevelSet{}
	n.hosts.each(func(_ int, s *shard.Shard) {
		for name, x := range s.LevelSets() {
			if have, ok := all[name]; !ok || x.Version > have.Version {
				all[name] = x
			}
		}
	})
	return all
}

// levelCollector tells what service levels have counted when somebody asks.
type levelCollector struct {
	n                                 *Node
	count, met, timed, seconds, limit *prometheus.Desc
}

func newLevelCollector(n *Node) *levelCollector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("switchboard_"+name, help, labels, nil)
	}
	return &levelCollector{
		n:       n,
		count:   d("level_cases_total", "Cases that a service level has counted.", "tenant", "queue", "level"),
		met:     d("level_met_total", "Those that were in time.", "tenant", "queue", "level"),
		timed:   d("level_responses_total", "Response times that it has taken.", "tenant", "queue", "level"),
		seconds: d("level_response_seconds_total", "Their sum.", "tenant", "queue", "level"),
		limit:   d("level_limit_seconds", "What is in time.", "tenant", "level"),
	}
}

// Describe implements prometheus.Collector.
func (c *levelCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.count, c.met, c.timed, c.seconds, c.limit} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *levelCollector) Collect(ch chan<- prometheus.Metric) {
	live := c.n.levelSets()
	for name := range c.n.tenantry.Load().all {
		set := live[name].Set
		for i := range set.Len() {
			d := set.Definition(i)
			ch <- prometheus.MustNewConstMetric(c.limit, prometheus.GaugeValue, float64(d.LimitMS)/1e3, name, d.Name)
		}
		for _, row := range c.n.Levels(name) {
			if row.Of != level.OfQueue {
				continue
			}
			put := func(d *prometheus.Desc, v float64) {
				ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, name, row.Name, row.Level)
			}
			w := &row.Windows[level.Total]
			put(c.count, float64(max(w.Count, 0)))
			put(c.met, float64(max(w.Met, 0)))
			put(c.timed, float64(w.Timed))
			put(c.seconds, float64(w.Sum)/1e3)
		}
	}
}

// CountLevels counts what the sessions of a tenant, or of all when it is empty, come to under set, from the data directory of a
// stopped node: cases that began at from or later and before until, Unix ms; 0 is no bound. At now, what is overdue is missed.
// When a shard has lost data, what is left is counted, and then the error says so.
func CountLevels(data, tenant string, set *level.Set, from, until, now int64) (t *level.Tally, err error) {
	err = WithStopped(data, func(j *journal.Journal, shards []int) error {
		var lost error
		t = level.NewTally(set, from, until)
		for _, i := range shards {
			g := j.Group(i)
			var out level.Out
			if err := shard.ReadSessions(g, func(of string, id wire.SessionID) error {
				if tenant != "" && tenant != of {
					return nil
				}
				conv := level.New(set)
				err := shard.ReadLog(g, id, func(e *wire.Entry) error {
					conv.Feed(set, e, &out)
					return nil
				})
				conv.Tick(set, now, &out)
				for k := range out.Samples {
					t.Add(&out.Samples[k])
				}
				out.Reset()
				return err
			}); err != nil {
				return err
			}
			if s := g.State(); s.Mode != journal.OK {
				lost = errors.Join(lost, fmt.Errorf("shard %d is %s, so what was counted may not be all: %s; see switchboard verify", i, s.Mode, s.Reason))
			}
		}
		return lost
	})
	return t, err
}
