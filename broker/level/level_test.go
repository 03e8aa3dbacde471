package level_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"switchboard/broker/level"
	"switchboard/internal/script"
	"switchboard/wire"
)

// driver does the commands of a golden script.
type driver struct {
	defs []level.Definition
	log  map[string][]*wire.Entry
}

// TestScripts runs the golden scripts: a log, and what every definition makes of it, worked out by hand in their comments.
func TestScripts(t *testing.T) {
	script.Walk(t, "testdata/*.txt", func(*testing.T) func(*testing.T, *script.Command) string {
		d := &driver{log: map[string][]*wire.Entry{}}
		return d.do
	})
}

func (d *driver) do(t *testing.T, c *script.Command) string {
	t.Helper()
	switch c.Name {
	case "levels":
		d.defs = nil
		for _, name := range c.List("presets") {
			d.defs = append(d.defs, level.Definition{Preset: name})
		}
		if c.Input != "" {
			var defs []level.Definition
			if err := yaml.UnmarshalWithOptions([]byte(c.Input), &defs, yaml.Strict()); err != nil {
				return err.Error()
			}
			d.defs = append(d.defs, defs...)
		}
		if _, err := level.Compile(d.defs, nil, time.LoadLocation); err != nil {
			return err.Error()
		}
		return ""
	case "log":
		for line := range strings.Lines(c.Input) {
			d.line(t, strings.TrimSpace(line))
		}
		return ""
	case "forget":
		d.log = map[string][]*wire.Entry{}
		return ""
	case "rate":
		return d.rate(t, c)
	case "samples":
		return d.play(t, c, false)
	case "actions":
		return d.play(t, c, true)
	}
	t.Fatalf("line %d: no command %s", c.Line, c.Name)
	return ""
}

// shanghai is where the scripts' clocks are; day 0 is a Monday.
var shanghai = must(time.LoadLocation("Asia/Shanghai"))

func must(l *time.Location, err error) *time.Location {
	if err != nil {
		panic(err)
	}
	return l
}

// clock reads [DAY/]HH:MM:SS[.mmm].
func clock(t *testing.T, s string) int64 {
	t.Helper()
	day := 0
	if before, after, ok := strings.Cut(s, "/"); ok {
		if _, err := fmt.Sscan(before, &day); err != nil {
			t.Fatal(err)
		}
		s = after
	}
	at, err := time.ParseInLocation("2006-01-02 15:04:05.999", "2026-11-02 "+s, shanghai)
	if err != nil {
		t.Fatal(err)
	}
	return at.AddDate(0, 0, day).UnixMilli()
}

func clockText(at int64) string {
	ts := time.UnixMilli(at).In(shanghai)
	days := int(ts.Sub(time.Date(2026, 11, 2, 0, 0, 0, 0, shanghai)).Hours() / 24)
	text := strings.TrimSuffix(ts.Format("15:04:05.000"), ".000")
	if days != 0 {
		text = fmt.Sprintf("%d/%s", days, text)
	}
	return text
}

// line reads TIME SESSION WHAT [WHO] key=value….
func (d *driver) line(t *testing.T, s string) {
	t.Helper()
	c, err := script.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name == "" {
		return
	}
	id, what := c.Word(0), c.Word(1)
	who := ""
	if len(c.Pos) > 2 {
		who = c.Word(2)
	}
	d.log[id] = append(d.log[id], entry(id, uint64(len(d.log[id])+1), clock(t, c.Name), what, who, c))
}

type pairs interface {
	String(key, otherwise string) string
}

func entry(id string, seq uint64, at int64, what, who string, c pairs) *wire.Entry {
	e := &wire.Entry{
		Session: wire.SessionID(id), Seq: seq, Epoch: 1, TS: at, Kind: wire.KindMessage, Type: c.String("type", "text"),
		Visibility: c.String("visibility", wire.Public), Body: []byte(`{"text":"…"}`),
	}
	event := func(typ, body string) {
		e.Kind, e.Type, e.Origin, e.Body = wire.KindEvent, typ, wire.OriginSystem, []byte(body)
	}
	switch what {
	case "customer":
		e.Origin, e.From = wire.OriginCustomer, wire.Author{Role: wire.RoleCustomer, ID: c.String("id", "c-"+id)}
	case "human", "bot", "assist":
		e.Origin, e.From = wire.Origin(what), wire.Author{Role: wire.RoleWorker, ID: who}
	case "system":
		e.Origin = wire.OriginSystem
	case "holding": // the broker, in a bot's name
		e.Origin, e.From = wire.OriginBot, wire.Author{Role: wire.RoleSystem, Name: "Anna"}
	case "opened":
		event("session.opened", fmt.Sprintf(`{"channel":"web","shop":%q}`, c.String("shop", "s1")))
	case "queued":
		event("session.queued", fmt.Sprintf(`{"queue":%q}`, c.String("queue", "default")))
	case "assigned":
		event("session.assigned", fmt.Sprintf(`{"kind":%q,"id":%q}`, c.String("kind", "human"), who))
	case "transferred":
		event("session.transferred", `{"queue":"second"}`)
	case "lost":
		event("worker.lost", `{}`)
	default:
		event("session."+what, `{}`)
	}
	return e
}

func (d *driver) set(t *testing.T) *level.Set {
	t.Helper()
	set, err := level.Compile(d.defs, nil, time.LoadLocation)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// rate counts the whole log, twice: at once, and as it would have come, with time passing in between.
func (d *driver) rate(t *testing.T, c *script.Command) string {
	t.Helper()
	set := d.set(t)
	until := clock(t, c.String("until", "3/00:00:00"))
	from, before := int64(0), int64(0)
	if c.Has("from") {
		from = clock(t, c.String("from", ""))
	}
	if c.Has("before") {
		before = clock(t, c.String("before", ""))
	}
	tally, live := level.NewTally(set, from, before), level.NewTally(set, from, before)
	for _, id := range slices.Sorted(maps.Keys(d.log)) {
		batch(set, d.log[id], until, tally)
		stepped(set, d.log[id], until, 977, live)
	}
	got := lines(set, tally)
	if other := lines(set, live); other != got {
		t.Fatalf("line %d: counted live it is\n%s\nand at once\n%s", c.Line, other, got)
	}
	return got
}

func batch(set *level.Set, log []*wire.Entry, until int64, tally *level.Tally) {
	var out level.Out
	conv := level.New(set)
	for _, e := range log {
		conv.Feed(set, e, &out)
	}
	conv.Tick(set, until, &out)
	for i := range out.Samples {
		tally.Add(&out.Samples[i])
	}
}

func stepped(set *level.Set, log []*wire.Entry, until, step int64, tally *level.Tally) {
	var out level.Out
	conv := level.New(set)
	now := log[0].TS
	for _, e := range log {
		for ; now < e.TS; now += step {
			conv.Tick(set, now, &out)
		}
		conv.Feed(set, e, &out)
	}
	for at, ok := conv.Next(); ok && at <= until; at, ok = conv.Next() {
		conv.Tick(set, at, &out)
	}
	for i := range out.Samples {
		tally.Add(&out.Samples[i])
	}
}

func lines(set *level.Set, tally *level.Tally) string {
	var b strings.Builder
	for _, l := range tally.Lines() {
		i, _ := set.Index(l.Level)
		_ = set.Definition(i)
		fmt.Fprintf(&b, "%-10s %-4s %d/%d", l.Level, l.Shop, l.Counts.Met, l.Counts.Count)
		if l.Counts.Timed > 0 {
			fmt.Fprintf(&b, " mean %dms of %d", l.Counts.Mean(), l.Counts.Timed)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// play tells what comes of one session, moment by moment.
func (d *driver) play(t *testing.T, c *script.Command, actions bool) string {
	t.Helper()
	set := d.set(t)
	var b strings.Builder
	var out level.Out
	conv := level.New(set)
	tell := func() {
		for _, a := range out.Actions {
			if actions {
				fmt.Fprintf(&b, "%s %s at %v of case %d: %s\n", clockText(a.At), set.Definition(a.Def).Name, a.Part, a.Case, acts(a.Do))
			}
		}
		for i := range out.Samples {
			if s := &out.Samples[i]; !actions {
				fmt.Fprintf(&b, "%s %s shop=%s queue=%s worker=%s count=%+d met=%+d", clockText(s.At), set.Definition(s.Def).Name, s.Shop, s.Queue, s.Worker, s.Count, s.Met)
				if s.Timed > 0 {
					fmt.Fprintf(&b, " rt=%dx%d", s.Timed, s.RT)
				}
				b.WriteByte('\n')
			}
		}
		out.Reset()
	}
	for _, e := range d.log[c.Word(0)] {
		conv.Feed(set, e, &out)
		tell()
	}
	conv.Tick(set, clock(t, c.String("until", "3/00:00:00")), &out)
	tell()
	if actions {
		fmt.Fprintf(&b, "boost %d\n", conv.BoostMS())
	}
	return b.String()
}

func acts(a level.Acts) string {
	var list []string
	for i, name := range []string{"boost", "next_step", "holding_reply", "notify"} {
		if a&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, " ")
}
