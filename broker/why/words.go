package why

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"switchboard/broker"
)

// teller makes the sentences of a report.
type teller struct {
	r   *Report
	s   *Session
	e   *broker.Explanation
	cfg *broker.Config
	now int64
}

func (t *teller) say(format string, args ...any) {
	t.r.Why = append(t.r.Why, fmt.Sprintf(format, args...))
}

func (t *teller) tell() {
	switch t.s.Phase {
	case "closed":
		t.say("It is closed.")
		t.past()
	case "new":
		t.say("Nobody is looked for: it goes into queue %s when the customer writes.", t.r.Queue)
		t.past()
	case "assigned":
		t.owned()
	default:
		t.waits()
	}
	if t.s.Note != "" {
		t.say("Its attributes were left out when it was routed: %s.", t.s.Note)
	}
}

// owned tells who has it, and why.
func (t *teller) owned() {
	if t.s.Taken {
		t.say("%s took it over.", strings.TrimPrefix(t.s.Owner, "@"))
		return
	}
	switch t.e.State {
	case "lost":
		t.say("%s had it, whose connection was lost for longer than the grace: it goes back to its place.", t.s.Owner)
	default:
		t.say("%s has it.", t.s.Owner)
	}
	if t.s.Transfer != "" {
		t.say("It is being handed to %s, who has not taken it yet.", t.s.Transfer)
		t.awaited()
	}
	t.because(t.s.Owner)
	t.untaken()
}

// awaited tells that a transfer does not fail yet, though nobody has heard of the one whom it is for, if there is such a worker at all.
func (t *teller) awaited() {
	if t.e.Awaits {
		t.say("Nobody has heard of a worker %s since the pool began anew; whoever was there may be on his way back, so he is waited for%s. Then it fails, as he is away.",
			t.s.Transfer, t.until())
	}
}

// past tells of a session that nobody has why it went to whoever had it last: most who ask why, ask afterwards.
func (t *teller) past() {
	if i := slices.IndexFunc(t.r.Decisions, func(d Decision) bool { return d.Ended == "" }); i >= 0 {
		t.because(t.r.Decisions[i].Worker)
	}
	t.untaken()
}

// because tells why the session came to a worker: the latest decision that gave it to him.
func (t *teller) because(worker string) {
	i := slices.IndexFunc(t.r.Decisions, func(d Decision) bool { return d.Worker == worker && d.Ended == "" })
	if i < 0 {
		switch {
		case t.cfg.TraceEvery > 1:
			t.say("Why is not known: the document keeps why of every %dth assignment alone (trace_every).", t.cfg.TraceEvery)
		default:
			t.say("Why is not known any more: the document says how long it is kept, and of how many of a session's assignments (trace_days, trace_each).")
		}
		return
	}
	d := &t.r.Decisions[i]
	t.say("%s", t.reason(d))
	if len(d.Top) > 1 || d.Eligible > 0 {
		t.say("%s the step at that time, and %s free.", count(d.Eligible, "worker met", "workers met"), count(d.Free, "was", "were"))
	}
	if d.Asked > 0 {
		t.say("%s asked at the same time; the first to accept has it.", count(d.Asked, "other was", "others were"))
	}
	t.compare(d)
	if len(d.Excluded) > 0 {
		t.say("It was kept from %s, who had declined it, or from whom it had come back.", list(d.Excluded))
	}
}

// told bounds the offers of a report that nobody took.
const told = 3

// untaken tells to whom it was offered under its ticket, and why he does not have it, the latest first.
func (t *teller) untaken() {
	n := 0
	for i := range t.r.Decisions {
		d := &t.r.Decisions[i]
		if d.Ended == "" || d.Ticket != t.s.Ticket {
			continue
		}
		if n++; n <= told {
			t.say("It was offered to %s %s ago, %s%s.", asked(d), span(t.now-d.At), ended(d.Ended, d.Asked), said(d))
		}
	}
	if n > told {
		t.say("Before that it was offered %s, and nobody took it.", count(n-told, "time", "times"))
	}
}

// asked tells to whom d was offered.
func asked(d *Decision) string {
	if d.Asked == 0 {
		return d.Worker
	}
	return fmt.Sprintf("%s and at most %s", d.Worker, count(d.Asked, "other", "others"))
}

// ended tells how an offer ended that nobody took.
func ended(how string, others int) string {
	switch {
	case how == "rescinded":
		return "and taken back, as what is known of it had changed"
	case others > 0:
		return "and none of them took it"
	case how == "declined":
		return "who declined it"
	case how == "expired":
		return "who did not answer in time"
	}
	return "who went away"
}

// said tells what who declined said of it: of several who were asked it is the last.
func said(d *Decision) string {
	switch {
	case d.Said == "":
		return ""
	case d.Asked > 0:
		return fmt.Sprintf("; %s said %q", d.Worker, d.Said)
	}
	return fmt.Sprintf(" and said %q", d.Said)
}

func (t *teller) reason(d *Decision) string {
	after := fmt.Sprintf("after it had waited %s in queue %s", span(d.WaitedMS), d.Queue)
	if d.Ahead > 1 {
		after += fmt.Sprintf(" (%d were waiting there)", d.Ahead)
	}
	by := ""
	if d.Step != "" {
		by = fmt.Sprintf(" by the step %s,", d.Step)
	}
	switch d.Reason {
	case "sticky":
		return fmt.Sprintf("It went to %s because %s had it last, %s.", d.Worker, d.Worker, after)
	case "transfer":
		if d.Step != "" || d.Eligible > 0 { // to the queue: there was a choice
			return fmt.Sprintf("It was handed to queue %s, and went to %s%s %s.", d.Queue, d.Worker, by, after)
		}
		return fmt.Sprintf("It went to %s because it was handed to %s by name.", d.Worker, d.Worker)
	case "overflow":
		return fmt.Sprintf("It went to %s%s which asks beyond its own queue, %s.", d.Worker, by, after)
	case "requeue":
		return fmt.Sprintf("It had come back from another worker, and went to %s%s %s.", d.Worker, by, after)
	}
	return fmt.Sprintf("It went to %s%s %s.", d.Worker, by, after)
}

// compare tells what stood for the worker against the next best.
func (t *teller) compare(d *Decision) {
	if len(d.Top) < 2 || d.Top[0].Worker != d.Worker { // of several who were asked another was the first
		return
	}
	a, b := &d.Top[0], &d.Top[1]
	i := slices.IndexFunc(t.cfg.Queues, func(q broker.Queue) bool { return q.Name == d.Queue })
	weighted := i >= 0 && t.cfg.Queues[i].Scoring == broker.Weighted
	why := ""
	switch {
	case a.Preferred != b.Preferred:
		why = "whom the step prefers comes before others"
	case !weighted && a.Load < b.Load:
		why = "the lowest load comes first"
	case a.Score > b.Score:
		why = "the higher score comes first"
	case a.Load == b.Load && a.Score == b.Score:
		why = "they were equal, and who was served longest ago comes first"
	default:
		why = fmt.Sprintf("%s was free first", a.Worker)
	}
	t.say("Of those who were free, %s (%s) came before %s (%s): %s.", a.Worker, a.figures(), b.Worker, b.figures(), why)
}

func (c *Candidate) figures() string {
	return fmt.Sprintf("load %.2f, skill %.2f, rating %.2f, score %.3f", c.Load, c.Skill, c.Rating, c.Score)
}

// waits tells why nobody has it.
func (t *teller) waits() {
	switch t.e.State {
	case "none":
		t.say("It waits, and its queue does not know it yet: it is said again every few seconds.")
		return
	case "offered":
		who := append([]string{t.e.Worker}, t.e.Asked...)
		t.say("It is offered to %s, and waits for an answer%s.", list(who), t.until())
		t.because(t.e.Worker)
		t.untaken()
		return
	case "asking":
		t.say("%s is asked what it is about%s; then it is routed.", t.e.Worker, t.until())
		return
	case "granted":
		t.say("It was just given to %s.", t.e.Worker)
		t.because(t.e.Worker)
		return
	case "held", "lost", "wrapup":
		t.say("It is between %s and its queue.", t.e.Worker)
		return
	}
	place := "it is the next"
	if t.e.Ahead > 0 {
		place = count(t.e.Ahead, "session is", "sessions are") + " served before it"
	}
	t.say("It has waited %s in queue %s; %s.", span(t.now-t.e.EnqueuedAt), t.e.Queue, place)
	if t.e.Late {
		t.say("That is longer than the queue means it to wait.")
	}
	if t.s.Transfer != "" {
		t.say("It is meant for %s alone.", t.s.Transfer)
		t.awaited()
	}
	if t.e.OpensAt > 0 {
		t.say("Its queue or shop is closed until %s, in %s.", time.UnixMilli(t.e.OpensAt).UTC().Format("2006-01-02 15:04 UTC"), span(t.e.OpensAt-t.now))
	}
	t.untaken()
	t.nobody()
	if until := t.until(); until != "" && !t.e.Awaits {
		t.say("Something changes by itself%s: a step opens, or who was left out may be asked again.", strings.Replace(until, "until", "at", 1))
	}
}

// nobody tells why no worker takes it.
func (t *teller) nobody() {
	if len(t.e.Workers) == 0 {
		t.say("No worker has subscribed to this queue, and no step asks others.")
		return
	}
	var order []string
	by := map[string][]string{}
	for i := range t.e.Workers {
		c := &t.e.Workers[i]
		why := c.Why
		if why == "" {
			why = "could take it now"
		}
		if by[why] == nil {
			order = append(order, why)
		}
		by[why] = append(by[why], c.Worker)
	}
	slices.SortStableFunc(order, func(a, b string) int { return len(by[b]) - len(by[a]) })
	for _, why := range order {
		t.say("%s: %s.", capital(why), list(by[why]))
	}
}

func (t *teller) until() string {
	if t.e.NextAt <= t.now {
		return ""
	}
	return fmt.Sprintf(" until %s, in %s", time.UnixMilli(t.e.NextAt).UTC().Format("15:04:05 UTC"), span(t.e.NextAt-t.now))
}

// listed bounds the names of a sentence.
const listed = 8

func list(names []string) string {
	switch n := len(names); {
	case n == 1:
		return names[0]
	case n > listed:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:listed], ", "), n-listed)
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// span is a time for people.
func span(ms int64) string {
	d := time.Duration(max(ms, 0)) * time.Millisecond
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}
