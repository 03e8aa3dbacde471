package broker_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/internal/script"
	"switchboard/wire"
)

// driver does the commands of a golden script.
type driver struct {
	cfg  broker.Config
	core *broker.Core
	now  int64
	ref  uint64
	at   map[string]uint64 // worker → connection
	out  broker.Effects
}

func TestScripts(t *testing.T) {
	script.Walk(t, "testdata/*.txt", func(*testing.T) func(*testing.T, *script.Command) string {
		d := &driver{at: map[string]uint64{}}
		return func(t *testing.T, c *script.Command) string {
			t.Helper()
			d.out.Reset()
			text := d.do(t, c)
			for i := range d.out {
				text += show(&d.out[i]) + "\n"
			}
			return text
		}
	})
}

func (d *driver) do(t *testing.T, c *script.Command) string {
	t.Helper()
	out := &d.out
	switch c.Name {
	case "config": // what Config has; queues follow
		d.cfg.BotGraceMS, d.cfg.HumanGraceMS = c.Int("bot_grace", 0), c.Int("human_grace", 0)
		d.cfg.BarMS, d.cfg.MaxTasks = c.Int("bar", 0), int(c.Int("max_tasks", 0))
		d.cfg.Fair, d.cfg.TraceEvery = c.Bool("fair"), int(c.Int("trace", 0))
	case "queue": // lines of input are its steps
		d.cfg.Queues = slices.DeleteFunc(d.cfg.Queues, func(q broker.Queue) bool { return q.Name == c.Word(0) })
		d.cfg.Queues = append(d.cfg.Queues, queueOf(t, c))
	case "noqueue": // is not configured any more
		d.cfg.Queues = slices.DeleteFunc(d.cfg.Queues, func(q broker.Queue) bool { return q.Name == c.Word(0) })
		if to := c.String("to", ""); to != "" {
			d.cfg.Moves = append(d.cfg.Moves, broker.Move{From: c.Word(0), To: to})
		}
	case "team":
		team := broker.Team{Name: c.Word(0), Workers: c.List("workers"), Attributes: attrs(t, c)}
		for _, s := range c.List("delays") {
			queue, ms, _ := strings.Cut(s, "@")
			delay, _ := strconv.ParseInt(ms, 10, 64)
			team.Seats = append(team.Seats, broker.Seat{Queue: queue, DelayMS: delay})
		}
		d.cfg.Teams = append(d.cfg.Teams, team)
	case "shop":
		d.cfg.Shops = slices.DeleteFunc(d.cfg.Shops, func(s broker.Shop) bool { return s.Name == c.Word(0) })
		d.cfg.Shops = append(d.cfg.Shops, broker.Shop{Name: c.Word(0), Weight: c.Float("weight", 0), Floor: int(c.Int("floor", 0)), Cap: int(c.Int("cap", 0)), Calendar: c.String("calendar", "")})
	case "cost":
		d.cfg.Costs = append(d.cfg.Costs, broker.ChannelCost{Channel: c.Word(0), Cost: int(c.Int("slots", broker.All))})
	case "calendar": // is open from the first moment to the second, and so on
		d.cfg.Calendars = slices.DeleteFunc(d.cfg.Calendars, func(k broker.Calendar) bool { return k.Name == c.Word(0) })
		var at []int64
		for _, s := range c.List("at") {
			ms, _ := strconv.ParseInt(s, 10, 64)
			at = append(at, ms)
		}
		d.cfg.Calendars = append(d.cfg.Calendars, broker.Calendar{Name: c.Word(0), At: func(now int64) (open bool, since, until int64) {
			for _, x := range at {
				if x > now {
					return open, since, x
				}
				open, since = !open, x
			}
			return open, since, 0
		}})
	case "configure":
		if err := d.cfg.Validate(); err != nil {
			return err.Error()
		}
		d.core.Configure(d.cfg, d.now, out)
	case "resorted":
		d.core.Resorted(session(c), ticket(c), d.now, out)
	case "why":
		var b strings.Builder
		for x := range d.core.Decisions {
			fmt.Fprintf(&b, "%d %s to %s by %q %s waited=%d ahead=%d eligible=%d free=%d asked=%d excluded=%v\n", x.At, x.Session, x.Worker, x.Step, x.Reason, x.WaitedMS, x.Ahead, x.Eligible, x.Free, x.Asked, x.Excluded)
			for _, w := range x.Top {
				fmt.Fprintf(&b, "  %s preferred=%v skill=%.2f load=%.2f rating=%.2f score=%.3f\n", w.Worker, w.Preferred, w.Skill, w.Load, w.Rating, w.Score)
			}
		}
		return b.String()
	case "new": // a pool, and the shards of its census
		if err := d.cfg.Validate(); err != nil {
			return err.Error()
		}
		d.core = broker.New(d.cfg)
		var shards []uint32
		for _, s := range c.List("shards") {
			n, _ := strconv.Atoi(s)
			shards = append(shards, uint32(n))
		}
		d.core.Open(uint64(c.Int("p", 1)), shards, d.now, out)
	case "census": // an answer; lines of input are tasks
		d.core.CensusAnswer(uint64(c.Int("p", 1)), uint32(c.Int("shard", 0)), d.rows(t, c.Input), d.now, out)
	case "time": // the clock stands at
		d.now, _ = strconv.ParseInt(c.Word(0), 10, 64)
		d.core.Tick(d.now, out)
	case "next":
		at, ok := d.core.Next()
		return fmt.Sprintln(at, ok)
	case "task":
		task := d.task(c)
		task.Attributes, task.Version = attrs(t, c), uint64(c.Int("version", 0))
		d.core.Offer(&task, d.now, out)
	case "withdraw":
		d.core.Withdraw(session(c), ticket(c), d.now, out)
	case "confirm":
		d.core.Confirm(session(c), ticket(c), c.String("worker", ""), c.String("lease", "l_"+c.String("worker", "")), uint64(c.Int("ae", 1)), d.now, out)
	case "refuse":
		d.core.Refuse(session(c), ticket(c), c.String("worker", ""), d.now, out)
	case "release":
		d.core.Release(session(c), uint64(c.Int("ae", 1)), c.Int("wrapup", 0), c.Bool("kept"), d.now, out)
	case "wrapup":
		d.core.WrapupDone(session(c), uint64(c.Int("ae", 1)), c.String("worker", ""), d.refOf(c, c.String("worker", "")), d.now, out)
	case "subscribe":
		d.subscribe(t, c)
	case "accept":
		d.core.Accept(c.Word(0), c.Word(1), d.refOf(c, c.Word(1)), d.now, out)
	case "decline":
		d.core.Decline(c.Word(0), c.Word(1), c.String("why", ""), d.refOf(c, c.Word(1)), d.now, out)
	case "presence":
		p, ok := broker.ParsePresence(c.Word(1))
		if !ok {
			t.Fatalf("no presence %q", c.Word(1))
		}
		d.core.Presence(c.Word(0), p, c.String("reason", ""), d.refOf(c, c.Word(0)), d.now, out)
	case "slots":
		n, _ := strconv.Atoi(c.Word(1))
		d.core.Slots(c.Word(0), n, d.refOf(c, c.Word(0)), d.now, out)
	case "connlost":
		d.core.ConnLost(wire.Conn{Node: 1, ID: d.at[c.Word(0)]}, d.now, out)
	case "nodelost":
		d.core.NodeLost(uint64(c.Int("node", 1)), d.now, out)
	case "queues":
		var b strings.Builder
		for q := range d.core.Queues() {
			fmt.Fprintf(&b, "%s waiting=%d oldest=%d offered=%d assigned=%d bots=%d humans=%d free=%d\n", q.Name, q.Waiting, q.OldestAt, q.Offered, q.Assigned, q.Bots, q.Humans, q.FreeSlots)
		}
		return b.String()
	case "explain":
		e := d.core.Explain(session(c))
		text := fmt.Sprintf("%s queue=%s worker=%s ahead=%d since=%d again=%d\n", e.State, e.Queue, e.Worker, e.Ahead, e.EnqueuedAt, e.NextAt)
		if e.Awaits {
			text = strings.TrimSuffix(text, "\n") + " awaits\n"
		}
		for _, w := range e.Workers {
			text += fmt.Sprintf("%s %s load=%.2f score=%.3f\n", w.Worker, cmp.Or(w.Why, "free"), w.Load, w.Score)
		}
		return text
	default:
		t.Fatalf("line %d: no command %q", c.Line, c.Name)
	}
	return ""
}

func session(c *script.Command) wire.SessionID { return wire.SessionID(c.Word(0)) }
func ticket(c *script.Command) uint64          { return uint64(c.Int("ticket", 1)) }

// refOf makes the next request, on the worker's connection unless another is named.
func (d *driver) refOf(c *script.Command, worker string) broker.Ref {
	d.ref++
	return broker.Ref{Conn: wire.Conn{Node: 1, ID: uint64(c.Int("conn", int64(d.at[worker])))}, ID: d.ref}
}

func attrs(t *testing.T, c *script.Command) selector.Attrs {
	t.Helper()
	a, err := selector.ParseAttrs([]byte(c.String("attrs", "")))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func selects(t *testing.T, src string) *selector.Expr {
	t.Helper()
	if src == "" {
		return nil
	}
	e, err := selector.Standard().Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func stepOf(t *testing.T, line string) broker.Step {
	t.Helper()
	c, err := script.Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	s := broker.Step{
		Name: c.Name, Who: map[string]broker.Who{"bots": broker.Bots, "humans": broker.Humans, "": broker.Any}[c.String("who", "")], AfterMS: c.Int("after", 0),
		Select: selects(t, c.String("select", "")), Prefer: selects(t, c.String("prefer", "")), Queues: c.List("queues"), Teams: c.List("teams"),
		OfferN: int(c.Int("n", 0)), OfferTTLMS: c.Int("ttl", 0), Resort: map[string]broker.Resort{"leave_message": broker.LeaveMessage, "callback": broker.Callback, "ticket": broker.Ticket}[c.String("resort", "")], Calendar: c.String("calendar", ""),
		Hours: map[string]broker.Hours{"": broker.InHours, "closed": broker.OutOfHours, "always": broker.AnyTime}[c.String("hours", "")],
	}
	s.Classify, s.Default = c.Bool("classify"), []byte(c.String("default", ""))
	if c.Bool("unstaffed") {
		s.When = broker.Unstaffed
	}
	return s
}

func queueOf(t *testing.T, c *script.Command) broker.Queue {
	t.Helper()
	q := broker.Queue{Name: c.Word(0), OfferTTLMS: c.Int("ttl", 0), Priority: int32(c.Int("priority", 0))}
	q.Order = map[string]broker.Order{"": broker.Ageing, "strict": broker.Strict, "fifo": broker.FIFO, "savable_first": broker.SavableFirst}[c.String("order", "")]
	q.Scoring = map[string]broker.Scoring{"": broker.Banded, "weighted": broker.Weighted}[c.String("scoring", "")]
	q.Calendar = c.String("calendar", "")
	q.SLAMS, q.Floor, q.StickyMS, q.SkillBy, q.MaxBoostMS = c.Int("sla", 0), int(c.Int("floor", 0)), c.Int("sticky", 0), c.String("skillby", ""), c.Int("maxboost", 0)
	if vip := c.Int("vip", 0); vip > 0 {
		q.Boosts = []broker.Boost{{When: selects(t, "task.vip"), MS: vip}}
	}
	for line := range strings.Lines(c.Input) {
		q.Steps = append(q.Steps, stepOf(t, strings.TrimSpace(line)))
	}
	for _, s := range c.List("steps") {
		who, after, _ := strings.Cut(s, "@")
		ms, _ := strconv.ParseInt(after, 10, 64)
		q.Steps = append(q.Steps, broker.Step{Who: map[string]broker.Who{"bots": broker.Bots, "humans": broker.Humans, "any": broker.Any}[who], AfterMS: ms})
	}
	return q
}

func (d *driver) task(c *script.Command) broker.Task {
	return broker.Task{
		Session: session(c), Ticket: ticket(c), Queue: c.String("queue", "default"), EnqueuedAt: c.Int("since", d.now),
		Priority: int32(c.Int("priority", 0)), BoostMS: c.Int("boost", 0), Ahead: int(c.Int("ahead", 0)), Cost: int(c.Int("cost", 0)), Skills: skills(c),
		Exclude: c.List("exclude"), Sticky: c.String("sticky", ""), To: c.String("to", ""), Force: c.Bool("force"), HumansOnly: c.Bool("humans"),
		Requeue: c.Bool("requeue"), Handed: c.Bool("handed"), Classified: c.Bool("classified"), Summary: []byte(c.String("summary", "")),
	}
}

func skills(c *script.Command) (list []broker.Skill) {
	for _, s := range c.List("skills") {
		name, level, _ := strings.Cut(s, ":")
		v, _ := strconv.ParseFloat(level, 64)
		list = append(list, broker.Skill{Name: name, Level: v})
	}
	return list
}

func (d *driver) rows(t *testing.T, input string) (live []broker.Live) {
	t.Helper()
	for line := range strings.Lines(input) {
		c, err := script.Parse(strings.TrimSpace("live " + line))
		if err != nil {
			t.Fatal(err)
		}
		l := broker.Live{Task: d.task(c), Worker: c.String("worker", ""), Lease: c.String("lease", ""), Offer: c.String("offer", ""), AE: uint64(c.Int("ae", 0))}
		l.Origin, l.Assigned, l.WrapUpMS = wire.Origin(c.String("kind", "bot")), l.Worker != "", c.Int("wrapup", 0)
		live = append(live, l)
	}
	return live
}

func (d *driver) subscribe(t *testing.T, c *script.Command) {
	t.Helper()
	id := c.Word(0)
	if c.Has("conn") || d.at[id] == 0 {
		d.at[id] = uint64(c.Int("conn", int64(len(d.at)+1)))
	}
	queues := c.List("queues")
	if queues == nil {
		queues = []string{"default"}
	}
	allowed := c.List("allowed")
	if allowed == nil {
		allowed = []string{"*"}
	}
	presence, _ := broker.ParsePresence(c.String("presence", "ready"))
	d.core.Subscribe(&broker.Subscription{
		Resumed: c.Bool("resumed"), Presence: presence, Why: c.String("why", ""), // as whoever resumes said last
		ID: id, Sub: id, Name: strings.ToUpper(id), Kind: wire.Origin(c.String("kind", "bot")), Queues: queues, Allowed: allowed,
		Slots: int(c.Int("slots", 0)), Window: uint32(c.Int("window", 0)), Skills: skills(c), Rating: c.Float("rating", 0), Ratings: int(c.Int("ratings", 0)),
		Attributes: attrs(t, c), Conn: wire.Conn{Node: 1, ID: d.at[id]}, Ref: d.refOf(c, id), Lease: c.String("lease", ""), NewLease: c.String("new", "l_"+id),
	}, d.now, &d.out)
}

func show(e *broker.Effect) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, " "+format, args...) }
	ref := func() {
		if e.Ref.ID != 0 {
			say("#%d@c%d", e.Ref.ID, e.Ref.Conn.ID)
		}
	}
	switch e.Kind {
	case broker.Grant:
		say("grant %s/%d %s to %s(%s) c%d lease=%s window=%d %s", e.Session, e.Ticket, e.Queue, e.Worker, e.Origin, e.Conn.ID, e.Lease, e.Window, e.Reason)
		if e.Offer != "" {
			say("%s", e.Offer)
		}
		ref()
	case broker.OfferPush:
		say("c%d offer %s %s %s to %s until %d %s", e.Conn.ID, e.Offer, e.Session, e.Queue, e.Worker, e.ExpiresAt, e.Summary)
	case broker.OfferEnded:
		say("c%d offer_ended %s %s", e.Conn.ID, e.Offer, e.Reason)
	case broker.Lost:
		say("lost %s ae=%d %s", e.Session, e.AE, e.Worker)
	case broker.WrapUpOver:
		say("wrapup_over %s ae=%d %s", e.Session, e.AE, e.Worker)
	case broker.Rebind:
		say("rebind %s ae=%d %s c%d lease=%s window=%d fresh=%v", e.Session, e.AE, e.Worker, e.Conn.ID, e.Lease, e.Window, e.Fresh)
	case broker.TransferFailed:
		say("transfer_failed %s/%d %s", e.Session, e.Ticket, e.Reason)
	case broker.LastResort:
		say("last resort %s/%d %s %s %s", e.Session, e.Ticket, e.Queue, e.Reason, e.Step)
		if e.OpensAt != 0 {
			say("opens=%d", e.OpensAt)
		}
	case broker.Reject:
		say("reject %s/%d %s", e.Session, e.Ticket, e.Slug)
	case broker.Subscribed:
		say("subscribed %s lease=%s kept=%v", e.Worker, e.Lease, e.Kept)
		ref()
	case broker.Accepted:
		say("accepted %s ae=%d", e.Session, e.AE)
		ref()
	case broker.Done:
		say("done")
		ref()
	case broker.Fail:
		say("fail %s %s", e.Slug, e.Reason)
		ref()
	case broker.PresencePush:
		say("c%d presence %s %s", e.Conn.ID, e.State, e.Reason)
	case broker.Revoked:
		say("c%d revoked %s %s", e.Conn.ID, e.Worker, e.Reason)
	case broker.Question:
		say("question %s/%d %s to %s c%d until %d", e.Session, e.Ticket, e.Queue, e.Worker, e.Conn.ID, e.ExpiresAt)
	case broker.Unanswered:
		say("unanswered %s/%d %s %s", e.Session, e.Ticket, e.Queue, e.Default)
	case broker.CensusAsk:
		say("census? %d", e.Shard)
	case broker.Opened:
		say("opened missing=%d", e.Missing)
	case broker.Untaken:
		say("untaken %s/%d %s by %s n=%d", e.Session, e.Ticket, e.Reason, e.Worker, e.Position)
	case broker.Placed:
		say("place %s/%d %s position=%d eta=%d", e.Session, e.Ticket, e.Queue, e.Position, e.ETA)
		if e.OpensAt != 0 {
			say("opens=%d", e.OpensAt)
		}
	default:
		say("effect %d", e.Kind)
	}
	return strings.TrimSpace(b.String())
}

func TestValidate(t *testing.T) {
	f := func(want bool, queues ...broker.Queue) {
		t.Helper()
		cfg := broker.Config{Queues: slices.Clone(queues)}
		if err := cfg.Validate(); (err == nil) != want {
			t.Fatalf("Validate(%+v) = %v; want ok=%v", queues, err, want)
		}
	}
	f(true)
	f(true, broker.Queue{Name: "a"}, broker.Queue{Name: "b", Steps: []broker.Step{{Who: broker.Bots}, {Who: broker.Humans, AfterMS: 5}}})
	f(false, broker.Queue{Name: "a"}, broker.Queue{Name: "a"})
	f(false, broker.Queue{})
	f(false, broker.Queue{Name: "a", OfferTTLMS: -1})
	for _, x := range []float64{-1, math.NaN(), math.Inf(1)} {
		f(false, broker.Queue{Name: "a", Weight: x})
		f(false, broker.Queue{Name: "a", Weights: broker.Weights{Skill: 1, Load: x}})
	}
	f(false, broker.Queue{Name: "a", Steps: []broker.Step{{AfterMS: 5}, {AfterMS: 4}}})
	f(false, broker.Queue{Name: "a", Steps: []broker.Step{{Who: 9}}})
	bad := broker.Config{BarMS: -1}
	if bad.Validate() == nil {
		t.Fatal("a negative limit is valid")
	}
}
