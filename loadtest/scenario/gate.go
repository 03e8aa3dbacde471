package scenario

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Gate is a condition on one figure of a run.
type Gate struct {
	// Text is the gate as it was written.
	Text string
	// Metric is the figure, as [Metrics] lists it.
	Metric string
	// Op is one of < <= > >= == !=.
	Op string
	// Limit is what it is compared with.
	Limit Quantity
}

// latencies are what is timed; each has p50, p90, p95, p99, p999, max, mean and count.
var latencies = map[string]string{
	"answer":       "from when a customer's message was due to when a bot's answer arrived, without the time that the bot takes",
	"answer_human": "the same for humans",
	"ack":          "from when a customer's message was due to its acknowledgement",
	"first_token":  "from a stream's first token at the bot to the customer",
	"token":        "from any token at the bot to the customer",
	"connect":      "from when a socket was to connect to its session",
	"reconnect":    "the same for one that was lost",
	"handoff":      "from a bot's transfer to the human who is assigned",
	"lag":          "how late the load generator itself was",
}

// figures are all others.
var figures = map[string]struct {
	unit  Unit
	about string
}{
	"lost":             {None, "acknowledged entries that are gone"},
	"duplicated":       {None, "entries that came twice"},
	"reordered":        {None, "entries that came out of order"},
	"mismatched":       {None, "entries that are not what was sent"},
	"unanswered":       {None, "acknowledged messages without an answer in time; those of unacked are not among them"},
	"unacked":          {None, "messages without an acknowledgement in time"},
	"refused":          {None, "requests that the node refused"},
	"disconnects":      {None, "connections that ended although nobody asked for it"},
	"errors":           {None, "connections that could not be made"},
	"dropped":          {None, "connections that the test ended on purpose"},
	"handoffs":         {None, "conversations that a bot has handed to a human"},
	"tokens":           {None, "tokens of streams that customers were shown"},
	"tokens_lost":      {None, "tokens that were told and not shown to them: those of a customer who is slow or away may be"},
	"tokens_told":      {None, "tokens that bots have told"},
	"lags":             {None, "times that the node told a customer to be behind"},
	"audited":          {None, "sessions that were compared with their history"},
	"unaudited":        {None, "sessions that were to be compared and could not be, in the time for it"},
	"crowded":          {None, "conversations that began with a customer who was in one"},
	"due":              {None, "messages that were due"},
	"acked":            {None, "messages that were acknowledged"},
	"answered":         {None, "messages that were answered"},
	"sockets":          {None, "customers' sockets held at the end of the steady time"},
	"rate":             {Rate, "answers a second in the steady time, or acknowledgements when nobody answers"},
	"goodput":          {Share, "share of the due messages that were answered (acknowledged when nobody answers)"},
	"rss":              {Bytes, "highest resident memory of the node in the steady time"},
	"rss_per_conn":     {Bytes, "what the node's resident memory grew by from before the ramp, for each customer's socket"},
	"settled_per_conn": {Bytes, "the same at the end of the steady time: without the garbage of connecting, when nothing else was said"},
	"connect_cpu":      {Time, "processor time of the node for each customer's socket, from before the ramp until all are connected"},
	"connects_per_cpu": {None, "the same as sockets connected for each second of the node's processors"},
	"rss_growth":       {Share, "what the node's resident memory grew by from the second quarter of the steady time to the last, of what it was"},
	"live":             {Bytes, "what lives on the node's heap in the end, as its last collection found it: resident memory without garbage and without the store's"},
	"live_per_talk":    {Bytes, "what that grew by from the second quarter of the steady time to the last, for each conversation that began meanwhile: a leak"},
	"cpu":              {None, "cores that the node used, mean of the steady time"},
	"machine_cpu":      {None, "cores that everybody used on the machine that node and load generator share"},
	"gen_rss":          {Bytes, "highest resident memory of the load generator, all processes"},
	"gen_per_conn":     {Bytes, "what the load generator's memory grew by for each socket"},
	"gen_cpu":          {None, "cores that the load generator used"},
}

var statistics = []string{"p50", "p90", "p95", "p99", "p999", "max", "mean", "count"}

// Metrics returns the name of every figure, with a line about it. A latency L stands for L.p50, L.p90, L.p95, L.p99,
// L.p999, L.max, L.mean and L.count; without L, it is that of answers.
func Metrics() (names []string, about map[string]string) {
	about = maps.Clone(latencies)
	for name, f := range figures {
		about[name] = f.about
	}
	return slices.Sorted(maps.Keys(about)), about
}

// UnitOf returns the unit of a figure. ok is false when there is no such figure.
func UnitOf(metric string) (u Unit, ok bool) {
	if f, ok := figures[metric]; ok {
		return f.unit, true
	}
	what, stat, dotted := strings.Cut(metric, ".")
	if !dotted {
		return None, false
	}
	if _, ok := latencies[what]; !ok || !slices.Contains(statistics, stat) {
		return None, false
	}
	if stat == "count" {
		return None, true
	}
	return Time, true
}

// ParseGate reads "p99 < 20ms", "lost == 0", "ack.p999 <= 1s" or "rss_per_conn < 12KiB". The unit must be the figure's.
func ParseGate(text string) (g Gate, err error) {
	g.Text = text
	i := strings.IndexAny(text, "<>=!")
	if i < 0 {
		return g, fmt.Errorf("%q is no gate: write a figure, one of < <= > >= == !=, and a value", text)
	}
	n := 1
	if i+1 < len(text) && text[i+1] == '=' {
		n = 2
	}
	g.Metric, g.Op = strings.TrimSpace(text[:i]), text[i:i+n]
	if g.Op == "=" || g.Op == "!" {
		return g, fmt.Errorf("%q: there is no %q; write == or !=", text, g.Op)
	}
	g.Metric = strings.Replace(g.Metric, "p99.9", "p999", 1)
	if slices.Contains(statistics, g.Metric) {
		g.Metric = "answer." + g.Metric
	}
	u, ok := UnitOf(g.Metric)
	if !ok {
		names, _ := Metrics()
		return g, fmt.Errorf("there is no figure %q: they are %s, and latencies with .p50 .p90 .p95 .p99 .p999 .max .mean .count", g.Metric, strings.Join(names, ", "))
	}
	if g.Limit, err = ParseQuantity(text[i+n:]); err != nil {
		return g, err
	}
	if err := g.Limit.is(u); err != nil {
		return g, fmt.Errorf("%s: %w", g.Metric, err)
	}
	if u == Time && g.Limit.Unit == None && g.Limit.Value != 0 {
		return g, fmt.Errorf("%s: %q has no unit: it needs %s", g.Metric, g.Limit.text, u)
	}
	return g, nil
}

// Holds tells whether v passes. What was not measured (NaN) passes nothing.
func (g *Gate) Holds(v float64) bool {
	if math.IsNaN(v) {
		return false
	}
	switch l := g.Limit.Value; g.Op {
	case "<":
		return v < l
	case "<=":
		return v <= l
	case ">":
		return v > l
	case ">=":
		return v >= l
	case "==":
		return v == l //nolint:nolintlint // counters are exact
	default:
		return v != l
	}
}
