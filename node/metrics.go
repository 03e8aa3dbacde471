package node

import (
	"regexp"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"switchboard/session"
	"switchboard/shard"
)

// collector reads the counters of shards and journal when somebody asks.
type collector struct {
	n                                                           *Node
	mail, turns, entries, dropped, sessions, loaded, inbox      *prometheus.Desc
	commits, syncs, bytes, waits, connections                   *prometheus.Desc
	abandoned, mode, fences, free, stalls, expires, nodeExpires *prometheus.Desc
	damaged, corruptions, installed, tenants, level0            *prometheus.Desc
	cached, cacheHits, cacheMisses                              *prometheus.Desc
	hooks, hooksWaiting, steps                                  *prometheus.Desc
	erasures, erasureOldest                                     *prometheus.Desc
	led, leaderless, short, lagEntries, lagSeconds              *prometheus.Desc
	mailLost, mailUnheard                                       *prometheus.Desc
	patrols, patrolled, patrolBytes, patrolDamages, backedUp    *prometheus.Desc
}

// live is go_gc_heap_live_bytes: what the last collection found to live. Resident memory is that, and garbage, and the store's: only
// this one tells a leak from a cache that fills.
var live = collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)}

func (n *Node) register(r prometheus.Registerer) {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("switchboard_"+name, help, labels, nil)
	}
	r.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(live)), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{
		n:             n,
		mail:          d("shard_mail_total", "Pieces of mail that a shard has taken.", "shard"),
		turns:         d("shard_turns_total", "Turns with rows that a shard has written.", "shard"),
		entries:       d("shard_entries_total", "Entries that a shard has written.", "shard"),
		dropped:       d("shard_mail_dropped_total", "Mail between shards that found no room.", "shard"),
		sessions:      d("shard_sessions", "Sessions with a place in memory.", "shard"),
		loaded:        d("shard_sessions_loaded", "Sessions whose state is in memory.", "shard"),
		inbox:         d("shard_inbox", "Pieces of mail that wait.", "shard"),
		steps:         d("shard_step_seconds", "How long the owner of a shard was busy until it looked for mail again.", "shard"),
		abandoned:     d("shard_turns_abandoned_total", "Turns that the journal refused; the shard was read again.", "shard"),
		mode:          d("shard_mode", "0 ok, 1 read-only after a loss, 2 quarantined, 3 failed.", "shard"),
		fences:        d("journal_fences_total", "Times the fence was written."),
		free:          d("journal_free_bytes", "Free space of the disk when last looked."),
		level0:        d("journal_l0_layers", "Layers that the rows' store has flushed and not merged yet."),
		cached:        d("journal_cache_bytes", "Blocks of the rows' store that are in memory."),
		cacheHits:     d("journal_cache_hits_total", "Blocks of the rows' store that were asked for and in memory."),
		cacheMisses:   d("journal_cache_misses_total", "Blocks of the rows' store that were read from the disk, or the system's memory of it."),
		stalls:        d("journal_stalls_total", "Times a store held writes back to merge."),
		commits:       d("journal_commits_total", "Batches written and synced."),
		syncs:         d("journal_syncs_total", "Syncs of the log."),
		bytes:         d("journal_bytes_total", "Bytes written to the log."),
		waits:         d("journal_waits_total", "Times an owner waited for room in the journal's queue."),
		hooks:         d("hook_calls_total", "Calls of tenants' hooks by what came of them: delivered, retried, or failed, which is given up.", "shard", "outcome"),
		hooksWaiting:  d("hook_tasks", "Calls of hooks that nobody has taken yet.", "shard"),
		erasures:      d("erasures", "Erasures of customers that wait: erasing for shards, erased for the files of nodes.", "shard", "state"),
		erasureOldest: d("erasure_oldest_seconds", "When the oldest of those was asked for, in Unix time; not there while there is none.", "shard"),
		damaged:       d("replicas_damaged", "Replicas here that take no part in their groups, as something of them is damaged; others are to take their place."),
		corruptions:   d("journal_corruptions_total", "Damaged files, and entries that were missed, since the start."),
		installed:     d("journal_snapshots_installed_total", "Snapshots that were taken from other nodes."),
		tenants:       d("tenants", "Tenants that the node serves."),
		patrols:       d("journal_patrols_total", "Times all of log and rows was read to find damage, since the start."),
		patrolled:     d("journal_patrol_completed_seconds", "When that came to its end last, in Unix time; 0 when nobody knows."),
		patrolBytes:   d("journal_patrol_bytes_total", "Bytes that were read for it."),
		patrolDamages: d("journal_patrol_damages_total", "Damaged tables, and groups with damaged entries of the log, that it has found."),
		backedUp:      d("backup_completed_seconds", "When a backup that was asked for here was written whole last, in Unix time, since the start."),
		led:           d("cluster_led", "1 when somebody is known to lead the cluster's own rows, and can be reached from here; else 0."),
		leaderless:    d("cluster_shards_leaderless", "Shards of the cluster that nobody is known to lead, or one who cannot be reached from here."),
		short:         d("cluster_shards_short", "Shards led here of which fewer copies vote and answer than their placement wants."),
		lagEntries:    d("cluster_copy_lag_entries", "How many entries of what is led here the copies on another node lack, at most.", "node"),
		lagSeconds:    d("cluster_copy_lag_seconds", "For how long they have lacked the first of them, at most.", "node"),
		mailLost:      d("cluster_mail_lost_total", "Pieces of another node's mail that never came, since the start.", "node"),
		mailUnheard:   d("cluster_goodbyes_unheard_total", "Ends of another node's connections that found no room here and were given up, since the start.", "node"),
		connections:   d("connections", "Sockets that are open."),
		expires:       d("tls_certificate_expires_seconds", "Until when the certificate is good, in Unix time."),
		nodeExpires:   d("cluster_certificate_expires_seconds", "Until when the certificate is good that the node shows other nodes, in Unix time."),
	}, newLevelCollector(n))
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	const count, gauge = prometheus.CounterValue, prometheus.GaugeValue
	c.n.hosts.each(func(i int, s *shard.Shard) {
		st, id := s.Stats(), strconv.Itoa(i)
		put(c.mail, count, float64(st.Mail), id)
		put(c.turns, count, float64(st.Turns), id)
		put(c.entries, count, float64(st.Entries), id)
		put(c.dropped, count, float64(st.Dropped), id)
		put(c.sessions, gauge, float64(st.Sessions), id)
		put(c.abandoned, count, float64(st.Abandoned), id)
		put(c.mode, gauge, float64(c.n.j.Group(i).State().Mode), id)
		put(c.loaded, gauge, float64(st.Loaded), id)
		put(c.inbox, gauge, float64(st.Inbox), id)
		put(c.hooks, count, float64(st.Hooks.Delivered), id, "delivered")
		put(c.hooks, count, float64(st.Hooks.Retried), id, "retried")
		put(c.hooks, count, float64(st.Hooks.Failed), id, "failed")
		put(c.hooksWaiting, gauge, float64(st.Hooks.Waiting), id)
		buckets, steps := map[float64]uint64{}, uint64(0)
		for k, bound := range shard.StepBounds {
			steps += st.Steps[k]
			buckets[bound.Seconds()] = steps
		}
		ch <- prometheus.MustNewConstHistogram(c.steps, steps+st.Steps[len(shard.StepBounds)], st.Stepped.Seconds(), buckets, id)
		of := map[session.ErasureStage]int{}
		list := s.Erasures()
		for k := range list {
			of[list[k].Stage]++
		}
		for _, stage := range []session.ErasureStage{session.Erasing, session.Blanked} {
			put(c.erasures, gauge, float64(of[stage]), id, stage.String())
		}
		if len(list) > 0 {
			put(c.erasureOldest, gauge, float64(list[0].At)/1e3, id)
		}
	})
	m := c.n.j.Metrics()
	put(c.commits, count, float64(m.Commits))
	put(c.syncs, count, float64(m.Syncs))
	put(c.bytes, count, float64(m.Bytes))
	put(c.waits, count, float64(m.Waits))
	put(c.fences, count, float64(m.Fences))
	put(c.free, gauge, float64(m.FreeBytes))
	put(c.stalls, count, float64(m.Stalls))
	put(c.level0, gauge, float64(m.Level0))
	put(c.cached, gauge, float64(m.CacheBytes))
	put(c.cacheHits, count, float64(m.CacheHits))
	put(c.cacheMisses, count, float64(m.CacheMisses))
	put(c.tenants, gauge, float64(len(c.n.tenantry.Load().all)))
	put(c.damaged, gauge, float64(len(c.n.j.Damaged())))
	put(c.corruptions, count, float64(m.Corruptions))
	put(c.installed, count, float64(m.Installed))
	put(c.patrols, count, float64(m.Patrols))
	put(c.patrolled, gauge, float64(m.Patrolled))
	put(c.patrolBytes, count, float64(m.PatrolBytes))
	put(c.patrolDamages, count, float64(m.PatrolDamages))
	if at := c.n.backedUp.Load(); at > 0 {
		put(c.backedUp, gauge, float64(at))
	}
	put(c.connections, gauge, float64(c.n.Connections()))
	if c.n.cert != nil {
		put(c.expires, gauge, float64(c.n.cert.Expires().Unix()))
	}
	if p := c.n.party; p != nil {
		if !p.certUntil.IsZero() {
			put(c.nodeExpires, gauge, float64(p.certUntil.Unix()))
		}
		h := &p.around().Health
		put(c.led, gauge, map[bool]float64{true: 1}[h.Led])
		put(c.leaderless, gauge, float64(h.Leaderless))
		put(c.short, gauge, float64(h.Short))
		for name, lag := range h.Lag {
			put(c.lagEntries, gauge, float64(lag.Entries), name)
			put(c.lagSeconds, gauge, lag.Behind.Seconds(), name)
		}
		for _, s := range p.lines.Links().Status() {
			put(c.mailLost, count, float64(s.Lost), s.Node)
			put(c.mailUnheard, count, float64(s.Unheard), s.Node)
		}
	}
}
