package swarm

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// vitals are what the node tells about itself.
type vitals struct {
	ok       bool
	rss, cpu float64
	all      map[string]float64 // summed over labels
}

// watch reads the node's metrics.
type watch struct {
	url    string
	client http.Client
}

func newWatch(addr string, trust *Trust) (*watch, error) {
	client, base, err := trust.web(addr, 900*time.Millisecond)
	return &watch{url: base + "/metrics", client: client}, err
}

// watches are those of several nodes.
type watches []*watch

// look reads the metrics of all nodes now, and adds them up. It is ok when all are.
func (ws watches) look(ctx context.Context) (sum vitals) {
	if len(ws) == 1 {
		return ws[0].look(ctx)
	}
	sum = vitals{ok: true, all: map[string]float64{}}
	for _, w := range ws {
		v := w.look(ctx)
		sum.ok = sum.ok && v.ok
		sum.rss += v.rss
		sum.cpu += v.cpu
		for name, x := range v.all {
			sum.all[name] += x
		}
	}
	return sum
}

// metricsMax bounds what is read.
const metricsMax = 4 << 20

// look reads the metrics now. What does not answer in time is not ok.
func (w *watch) look(ctx context.Context) (v vitals) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return v
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return v
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return v
	}
	v.all = exposition(io.LimitReader(resp.Body, metricsMax))
	v.rss, v.cpu = v.all["process_resident_memory_bytes"], v.all["process_cpu_seconds_total"]
	v.ok = v.rss > 0
	return v
}

// exposition reads the text form of Prometheus: the sum over all labels, by name.
func exposition(r io.Reader) map[string]float64 {
	all := map[string]float64{}
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		line := sc.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest := line, ""
		if i := strings.IndexAny(line, "{ "); i > 0 {
			name, rest = line[:i], line[i:]
		}
		if i := strings.LastIndexByte(rest, '}'); i >= 0 {
			rest = rest[i+1:]
		}
		f := strings.Fields(rest)
		if len(f) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(f[0], 64); err == nil && v-v == 0 {
			all[name] += v
		}
	}
	return all
}

// rates are counters of the node that reports show per second, and gauges as they are. Names of L0 (files or sublevels
// of the store's top) are taken as the node tells them, when it does.
var rates = map[string]string{
	"go_gc_duration_seconds_count":          "gc",
	"go_gc_duration_seconds_sum":            "gc_pause",
	"switchboard_journal_syncs_total":       "syncs",
	"switchboard_shard_entries_total":       "entries",
	"switchboard_journal_bytes_total":       "journal_bytes",
	"switchboard_journal_stalls_total":      "stalls",
	"switchboard_edge_lags_total":           "node_lags",
	"switchboard_edge_overloaded_total":     "overloaded",
	"switchboard_edge_pushes_dropped_total": "pushes_dropped",
}

var gauges = map[string]string{
	"switchboard_connections":      "connections",
	"switchboard_shard_sessions":   "sessions",
	"process_max_fds":              "max_fds",
	"go_goroutines":                "goroutines",
	"go_memstats_heap_inuse_bytes": "heap",
	"go_gc_heap_live_bytes":        "live",
	"switchboard_shard_inbox":      "inbox",
}

// fill writes v into a point; before is the point before, span seconds ago.
func (v *vitals) fill(into map[string]float64, before vitals, span float64) {
	if !v.ok {
		return
	}
	into["rss"] = v.rss
	if before.ok && v.cpu >= before.cpu {
		into["cpu"] = (v.cpu - before.cpu) / span
	}
	for name, short := range gauges {
		if x, ok := v.all[name]; ok {
			into[short] = x
		}
	}
	for name, short := range rates {
		x, ok := v.all[name]
		if was := before.all[name]; ok && before.ok && x >= was {
			into[short] = (x - was) / span
		}
	}
	for name, x := range v.all {
		if strings.HasPrefix(name, "switchboard_") && strings.Contains(name, "l0") {
			into["l0"] = max(into["l0"], x)
		}
	}
}
