package level_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"switchboard/broker/level"
	"switchboard/wire"
)

// A level that changes while a case is open goes on with it: by its new limit and hours, from the case's own beginning, and nothing is said of it twice. How
// far back the log is at hand makes no difference to that. What makes other cases begins with what the log says.
func TestSucceed(t *testing.T) {
	warn := []level.Warning{{At: 0.5, Do: []string{level.Notify}}, {At: 0.8, Do: []string{level.Notify}}, {At: 1, Do: []string{level.Notify}}}
	of := func(limit int64) level.Definition { return level.Definition{Name: "x", LimitMS: limit, Warn: warn} }
	compile := func(d level.Definition) *level.Set {
		set, err := level.Compile([]level.Definition{{Name: "other", LimitMS: 1}, d}, nil, time.LoadLocation)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	const notes = 40 // of staff, behind the customer's word
	var log []*wire.Entry
	for i, what := range []string{"opened", "queued", "customer"} {
		log = append(log, entry("s", uint64(i+1), begin, what, "", args{}))
	}
	for i := range notes {
		log = append(log, entry("s", uint64(4+i), begin+1, "system", "", args{}))
	}
	said := func(out *level.Out, at int64) (s string) {
		for _, a := range out.Actions {
			s += fmt.Sprintf(" %d%%@%d", int(a.Part*100), (at-begin)/1000)
			if a.Case != 3 || a.Since != begin {
				s += fmt.Sprintf("#%d+%d", a.Case, a.Since-begin)
			}
		}
		out.Reset()
		return s
	}
	f := func(what string, old, now level.Definition, changeS int64, want string) {
		t.Helper()
		for _, tail := range [][]*wire.Entry{log, log[len(log)-8:]} {
			before, set := compile(old), compile(now)
			c, out := level.New(before), level.Out{}
			for _, e := range log[:len(log)-4] { // the others are on their way
				c.Feed(before, e, &out)
			}
			got := ""
			for s := int64(1); s <= 400; s++ {
				at := begin + 1000*s
				if s == changeS {
					got += " |"
					out = level.Out{}
					c = level.Succeed(set, c, before, tail, &level.Known{Shop: "s1", Queue: "default"}, &out)
					if len(out.Samples)+len(out.Actions) > 0 {
						t.Fatalf("%s: the change itself counts or tells %+v", what, out)
					}
				}
				if s < changeS {
					c.Tick(before, at, &out)
				} else {
					c.Tick(set, at, &out)
				}
				got += said(&out, at)
			}
			if got = strings.TrimSpace(got); got != want {
				t.Fatalf("%s, with %d entries at hand: %s\nwant %s", what, len(tail), got, want)
			}
			c.Feed(set, entry("s", uint64(len(log)+1), begin+401_000, "human", "ann", args{}), &out)
			if c.Open() {
				t.Fatalf("%s: it is open behind its answer", what)
			}
		}
	}
	f("it stays", of(60_000), of(60_000), 40, "50%@30 | 80%@48 100%@61")
	f("it is longer, and was warned of", of(60_000), of(180_000), 40, "50%@30 | 80%@144 100%@181")
	f("it is longer, and was missed", of(60_000), of(180_000), 70, "50%@30 80%@48 100%@61 |")
	f("it is shorter, and nothing was said", of(180_000), of(60_000), 10, "| 50%@30 80%@48 100%@61")
	f("it is shorter, and over by now", of(180_000), of(60_000), 100, "50%@90 | 80%@100 100%@100")
	f("it is shorter, and was missed", of(60_000), of(10_000), 70, "50%@30 80%@48 100%@61 |")
	fewer, more := of(60_000), of(60_000)
	fewer.Warn = warn[2:]
	more.Warn = append([]level.Warning{{At: 0.2, Do: []string{level.Notify}}}, warn...)
	f("it warns less", of(60_000), fewer, 40, "50%@30 | 100%@61")
	f("it warns more", of(60_000), more, 40, "50%@30 | 80%@48 100%@61")
	f("it warns more, from the beginning", fewer, more, 40, "| 20%@40 50%@40 80%@48 100%@61")
	elsewhere := of(60_000)
	elsewhere.Queues = []string{"second"}
	f("it is not of this queue any more", of(60_000), elsewhere, 40, "50%@30 |")

	// Hours: which words begin a case is found in the log, if it is at hand, and what was said of it stays said.
	log = log[:9]
	broken, shut := of(60_000), of(60_000)
	at := func(ms int64) string { return time.UnixMilli(begin + ms).UTC().Format("15:04") }
	broken.Closed = level.Pause
	broken.Hours.Weekly = []level.Weekly{{From: "00:00", To: at(60_000)}, {From: at(180_000), To: "24:00"}}
	shut.Hours.Weekly = []level.Weekly{{From: at(60_000), To: "24:00"}}
	f("its clock stands still by now", of(80_000), broken, 45, "50%@40 | 80%@48 100%@181")
	f("its clock stood still", broken, of(60_000), 45, "50%@30 | 80%@48 100%@61")
	f("it is outside of its hours", of(60_000), shut, 40, "50%@30 |")
	f("it was outside of its hours", shut, of(60_000), 40, "| 50%@40 80%@48 100%@61")
}
