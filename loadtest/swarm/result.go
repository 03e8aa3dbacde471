package swarm

import (
	"fmt"
	"slices"
	"strings"

	"switchboard/loadtest/report"
	"switchboard/loadtest/scenario"
)

// result puts together what was seen.
func (r *running) result() *report.Result {
	sc := r.Scenario
	c, _ := r.sum()
	atEnd, cpuEnd, busyEnd, endAt := r.atEnd, r.cpuEnd, r.busyEnd, r.steadyAt[1]
	if atEnd == (counts{}) { // the steady time is not over
		atEnd, cpuEnd = r.sum()
		busyEnd, endAt = busy(), r.now()
	}
	steady := sc.Steady.Value
	if r.zero > 0 { // a run may end before its time
		steady = max(min(steady, float64(endAt-r.zero)/1e9), 1e-3)
	}
	res := &report.Result{
		Format: report.Format, Scenario: sc.Name, About: sc.About, Document: r.Doc, Sets: r.Sets, Started: r.started, Machine: machine(), Hardware: hardware(), Seed: sc.Seed,
		Processes: r.processes, Customers: sc.Customers.Sockets, Offered: sc.Talk.Rate.Value, Steady: steady, Stopped: r.stopped,
		Latencies: map[string]report.Latency{}, Refused: map[string]int64{}, Series: r.series,
	}
	for name, h := range r.total {
		res.Latencies[name] = report.Of(h)
	}
	if len(r.findings) == r.processes { // it is over: of streams that have not come to their end, too, what was not shown is lost
		c.TokensLost = max(c.TokensLost, c.TokensTold-c.Tokens)
	}
	held := float64(sc.Customers.Sockets)
	f := map[string]float64{
		"lost": float64(c.Lost), "duplicated": float64(c.Duplicated), "reordered": float64(c.Reordered), "mismatched": float64(c.Mismatched),
		"unacked": float64(c.Unacked), "unanswered": float64(c.Unanswered), "refused": float64(c.Refused), "disconnects": float64(c.Disconnects),
		"errors": float64(c.Errors), "dropped": float64(c.Dropped), "due": float64(c.Due), "acked": float64(c.Acked), "answered": float64(c.Answered),
		"sockets": float64(atEnd.Sockets), "audited": float64(c.Audited), "unaudited": float64(c.Unaudited), "handoffs": float64(c.HandOffs), "tokens": float64(c.Tokens), "tokens_lost": float64(c.TokensLost), "tokens_told": float64(c.TokensTold), "lags": float64(c.Lags),
		"crowded": float64(c.Crowded), "gen_rss": r.genPeak,
	}
	span := float64(endAt-r.steadyAt[0]) / 1e9 // up to a second more than the steady time
	if span > 0 {
		f["gen_cpu"] = max(cpuEnd-r.cpuZero, 0) / span
	}
	base := 0.0
	for i := range r.first {
		base += float64(r.first[i].RSS)
	}
	f["gen_per_conn"] = max(r.genHeld-base, 0) / held
	done := c.Acked
	if sc.Answered() {
		done = c.Answered
	}
	if c.Due > 0 {
		// What is done only when nothing new is due any more is not what the node can do in a second.
		f["rate"], f["goodput"] = float64(r.done(atEnd)-r.done(r.atZero))/steady, float64(done)/float64(c.Due)
	}
	if r.base.ok && r.heldRSS > 0 {
		f["rss"] = max(r.peak, r.heldRSS)
		f["rss_per_conn"] = max(r.heldRSS-r.base.rss, 0) / held
	}
	if r.base.ok && r.lastRSS > 0 {
		f["settled_per_conn"] = max(r.lastRSS-r.base.rss, 0) / held
	}
	if took := r.heldCPU - r.base.cpu; r.base.ok && took > 0 {
		f["connect_cpu"], f["connects_per_cpu"] = took/held, held/took
	}
	r.grew(f)
	if r.watched > 0 {
		f["cpu"] = r.cores / r.watched
	}
	if r.busyZero > 0 && span > 0 && r.loopback() {
		f["machine_cpu"] = (busyEnd - r.busyZero) / span
	}
	res.Figures = f
	for _, x := range r.findings {
		for slug, n := range x.Slugs {
			res.Refused[slug] += n
		}
		res.Faults = append(res.Faults, x.Evidence...)
		res.Open = append(res.Open, x.Open...)
	}
	r.warn(res, &c)
	res.Judge(sc.Checked())
	return res
}

// done is what counts as done of c.
func (r *running) done(c counts) int64 {
	if r.Scenario.Answered() {
		return c.Answered
	}
	return c.Acked
}

// fewSockets is below how many sockets the memory of each is not to be told from that of a node that has only just begun.
const fewSockets = 2000

// warn says why the figures may not be what they seem.
func (r *running) warn(res *report.Result, c *counts) {
	say := func(format string, args ...any) { res.Warnings = append(res.Warnings, fmt.Sprintf(format, args...)) }
	if r.stopped {
		say("it was stopped %.0f s after the steady time of %s began: the figures are of that time", res.Steady, r.Scenario.Steady.Duration())
	}
	if l := res.Latencies["lag"]; l.P99 > 0.005 {
		say("the load generator was late itself, p99 %s, max %s: give it more cores or a machine of its own", scenario.Format(l.P99, scenario.Time), scenario.Format(l.Max, scenario.Time))
	}
	if others := res.Strangers(); others > report.StrangersMost {
		say("others used %.1f of the machine's processors meanwhile: latencies and rates are not the node's alone", others)
	}
	if c.Crowded > 0 {
		say("%d conversations began with a customer who was in one: set customers.sockets higher", c.Crowded)
	}
	if c.Unaudited > 0 {
		say("%d sessions could not be compared with their history in %s: raise audit_time, or let a gate say how many may be unaudited", c.Unaudited, r.Scenario.AuditTime.Duration())
	}
	if n := r.Scenario.Talk.Rate.Value * r.Scenario.Steady.Value; c.Due == 0 && n > 0 {
		say("no message was due")
	}
	if n := r.Scenario.Customers.Sockets; n < fewSockets && slices.ContainsFunc(r.Scenario.Checked(), func(g scenario.Gate) bool { return strings.HasSuffix(g.Metric, "_per_conn") }) {
		say("what memory %d sockets take is mostly the node's heap growing: from some thousand on a gate on it means something", n)
	}
	if !r.base.ok {
		say("the node's /metrics could not be read: its memory and processor time are not known")
	}
}
