package level_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"switchboard/broker/level"
	"switchboard/wire"
)

// everything is a set that uses every clock, unit and choice.
func everything(t interface{ Fatal(args ...any) }) *level.Set {
	var defs []level.Definition
	for _, name := range level.PresetNames() {
		defs = append(defs, level.Definition{Preset: name})
	}
	defs = append(
		defs,
		level.Definition{Name: "first", Clock: level.FirstResponse, LimitMS: 60_000, Warn: []level.Warning{{At: 0.5, Do: []string{"boost"}}, {At: 1, Do: []string{"notify"}}}},
		level.Definition{Name: "wait", Clock: level.Waiting, LimitMS: 30_000, Unanswered: level.Drop},
		level.Definition{Name: "handle", Clock: level.Handling, LimitMS: 300_000, Count: []string{"human", "bot"}},
		level.Definition{Name: "whole", Unit: level.Session, LimitMS: 60_000, Handover: level.Restart},
		level.Definition{Name: "strict", LimitMS: 60_000, FullAuto: level.Run, CapMS: 90_000},
		level.Definition{
			Name: "office", LimitMS: 600_000, Closed: level.Pause, Warn: []level.Warning{{At: 0.8, Do: []string{"notify", "boost"}}},
			Hours: level.Hours{Zone: "Europe/Berlin", Weekly: []level.Weekly{{From: "09:00", To: "12:00"}, {From: "13:00", To: "18:00"}}, Holidays: []level.Holiday{{Date: "2026-10-26"}}},
		},
	)
	set, err := level.Compile(defs, map[string][]string{"red": {"w0", "w1"}, "all": {"w0", "w1", "w2"}}, time.LoadLocation)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

type args map[string]string

func (a args) String(key, otherwise string) string {
	if v, ok := a[key]; ok {
		return v
	}
	return otherwise
}

// begin is the evening before clocks are put back in Berlin.
var begin = time.Date(2026, 10, 24, 12, 0, 0, 0, time.UTC).UnixMilli()

// drawLog draws the log of a session: any entries in any order, as no broker would write them.
func drawLog(t *rapid.T, id string) []*wire.Entry {
	at := begin + rapid.Int64Range(0, 48*3_600_000).Draw(t, "start")
	log := []*wire.Entry{entry(id, 1, at, "opened", "", args{"shop": rapid.SampledFrom([]string{"s1", "s2", ""}).Draw(t, "shop")})}
	whats := []string{"customer", "customer", "customer", "human", "human", "bot", "assist", "system", "queued", "assigned", "transferred", "released", "closed", "reopened", "lost", "taken", "merged"}
	for range rapid.IntRange(0, 60).Draw(t, "n") {
		at += rapid.SampledFrom([]int64{0, 1, 500, 20_000, 59_999, 60_001, 179_999, 180_000, 180_001, 700_000, 5_000_000}).Draw(t, "pause")
		what := rapid.SampledFrom(whats).Draw(t, "what")
		who := rapid.SampledFrom([]string{"w0", "w1", "w2"}).Draw(t, "who")
		a := args{"kind": rapid.SampledFrom([]string{"bot", "human"}).Draw(t, "kind"), "queue": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "queue")}
		if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
			a["type"], a["visibility"] = "ad", rapid.SampledFrom([]string{wire.Public, wire.Staff}).Draw(t, "vis")
		}
		log = append(log, entry(id, uint64(len(log)+1), at, what, who, a))
	}
	return log
}

// TestIncremental: however time passes in between, and however often a session is let go and restored, the same is counted.
func TestIncremental(t *testing.T) {
	set := everything(t)
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t, "s")
		until := log[len(log)-1].TS + 3*24*3_600_000
		want, got, fresh := level.NewTally(set, 0, 0), level.NewTally(set, 0, 0), level.NewTally(set, 0, 0)
		batch(set, log, until, want)
		stepped(set, log, until, rapid.Int64Range(1_000, 900_000).Draw(t, "step"), got)
		var out level.Out
		conv := level.New(set)
		for i, e := range log {
			switch rapid.IntRange(0, 5).Draw(t, "restore") {
			case 0: // let go: its row and some of what went before it
				row := conv.AppendRow(set, nil)
				var err error
				if conv, err = level.Restore(set, row, log[rapid.IntRange(0, i).Draw(t, "tail"):i], &level.Known{}, &out); err != nil {
					t.Fatal(err)
				}
			case 1: // all of its log, and no row
				now, ok := conv.Next()
				var err error
				if conv, err = level.Restore(set, nil, log[:i], &level.Known{}, &out); err != nil {
					t.Fatal(err)
				}
				if again, ok2 := conv.Next(); i > 0 && log[i-1].TS < now && (again != now || ok != ok2) {
					t.Fatalf("restored it is due at %d, %v; it was at %d, %v", again, ok2, now, ok)
				}
			}
			conv.Feed(set, e, &out)
		}
		conv.Tick(set, until, &out)
		for i := range out.Samples {
			fresh.Add(&out.Samples[i])
		}
		if a, b := want.Lines(), got.Lines(); !reflect.DeepEqual(a, b) {
			t.Fatalf("at once %v\nlive %v", a, b)
		}
		if a, b := want.Lines(), fresh.Lines(); !reflect.DeepEqual(a, b) {
			t.Fatalf("at once %v\nrestored %v", a, b)
		}
	})
}

// TestCounted: what is in time was counted, nothing is in time twice, and every warning of a case comes once, in order.
func TestCounted(t *testing.T) {
	set := everything(t)
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t, "s")
		var out level.Out
		conv := level.New(set)
		for _, e := range log {
			conv.Feed(set, e, &out)
		}
		conv.Tick(set, log[len(log)-1].TS+3*24*3_600_000, &out)
		said := map[string]float64{}
		for _, a := range out.Actions {
			key := fmt.Sprint(a.Def, "/", a.Case)
			if said[key] >= a.Part {
				t.Fatalf("level %d warned at %v of case %d after %v", a.Def, a.Part, a.Case, said[key])
			}
			said[key] = a.Part
		}
		count, met := make([]int32, set.Len()), make([]int32, set.Len())
		for i := range out.Samples {
			s := &out.Samples[i]
			count[s.Def] += s.Count
			met[s.Def] += s.Met
			if met[s.Def] < 0 || met[s.Def] > count[s.Def] {
				t.Fatalf("level %d: %d of %d in time", s.Def, met[s.Def], count[s.Def])
			}
			if c := set.Definition(s.Def).CapMS; c > 0 && s.RT > c {
				t.Fatalf("a time of %d above the cap", s.RT)
			}
		}
	})
}

// TestMerge: what shards have counted each for itself adds up to what one would have.
func TestMerge(t *testing.T) {
	set := everything(t)
	rapid.Check(t, func(t *rapid.T) {
		all := level.NewRates(set)
		parts := []*level.Rates{level.NewRates(set), level.NewRates(set), level.NewRates(set)}
		now := begin
		for range rapid.IntRange(1, 80).Draw(t, "n") {
			now += rapid.SampledFrom([]int64{0, 1, 4_999, 5_000, 61_000, 299_999, 4_000_000, 30_000_000}).Draw(t, "pause")
			s := level.Sample{
				Def: rapid.IntRange(0, set.Len()-1).Draw(t, "def"), At: now - rapid.SampledFrom([]int64{0, 3_000, 100_000}).Draw(t, "late"),
				Count: rapid.Int32Range(0, 2).Draw(t, "count"), Timed: rapid.Int32Range(0, 2).Draw(t, "timed"), RT: rapid.Int64Range(0, 4_000_000).Draw(t, "rt"),
				Shop: rapid.SampledFrom([]string{"s1", "s2"}).Draw(t, "shop"), Queue: "q", Worker: rapid.SampledFrom([]string{"", "w0", "w2"}).Draw(t, "worker"),
			}
			s.Met = min(s.Count, rapid.Int32Range(0, 2).Draw(t, "met"))
			all.Add(&s)
			parts[rapid.IntRange(0, 2).Draw(t, "part")].Add(&s)
			if rapid.IntRange(0, 3).Draw(t, "look") > 0 {
				continue
			}
			var sum level.Report
			for _, p := range parts {
				b, err := level.ParseReport(p.Report(now).Append(nil))
				if err != nil {
					t.Fatal(err)
				}
				sum = sum.Merge(b)
			}
			if want := all.Report(now); !reflect.DeepEqual(want, sum) {
				t.Fatalf("one has %v\nparts have %v", want, sum)
			}
		}
	})
}

// TestCalendar: Add and Elapsed are each other's inverse, by minutes counted one by one.
func TestCalendar(t *testing.T) {
	hours := level.Hours{
		Zone: "Europe/Berlin", Weekly: []level.Weekly{{Days: []string{"sat", "sun", "mon"}, From: "01:30", To: "02:30"}, {From: "09:00", To: "12:00"}, {From: "12:30", To: "24:00"}},
		Holidays: []level.Holiday{{Date: "2026-10-27"}},
	}
	cal, err := hours.Compile(time.LoadLocation)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		const minute = 60_000
		from := begin + minute*rapid.Int64Range(0, 5*24*60).Draw(t, "from")
		until := from + minute*rapid.Int64Range(0, 24*60).Draw(t, "for")
		sum := int64(0)
		for at := from; at < until; at += minute {
			if cal.Open(at) {
				sum += minute
			}
		}
		if got := cal.Elapsed(from, until); got != sum {
			t.Fatalf("elapsed %d, and by minutes %d", got, sum)
		}
		if sum > 0 {
			if at := cal.Add(from, sum); at > until || cal.Elapsed(from, at) != sum {
				t.Fatalf("%d ms after %d is %d, until %d", sum, from, at, until)
			}
		}
	})
}

// TestKeysBounded: more names than there is room for share one, and nothing is lost.
func TestKeysBounded(t *testing.T) {
	set := everything(t)
	r := level.NewRates(set)
	for i := range 3 * level.MaxKeys {
		r.Add(&level.Sample{At: begin, Count: 1, Shop: fmt.Sprint("s", i), Queue: "q", Worker: fmt.Sprint("w", i)})
	}
	rows := r.Report(begin)
	if len(rows) > 2*(level.MaxKeys+1)+3 {
		t.Fatalf("%d rows", len(rows))
	}
	sum := int64(0)
	for _, row := range rows {
		if row.Of == level.OfShop {
			sum += row.Windows[level.Minute].Count
		}
	}
	if sum != 3*level.MaxKeys {
		t.Fatalf("%d of %d are counted", sum, 3*level.MaxKeys)
	}
	later := begin + 48*3_600_000
	r.Add(&level.Sample{At: later, Count: 1, Shop: "new", Queue: "q"})
	if !slices.ContainsFunc(r.Report(later), func(row level.Row) bool { return row.Name == "new" }) {
		t.Fatal("a key that nobody used for two days still has its place")
	}
}

// TestCalendarIsWhatClocksShow: over the days on which a clock jumps, every minute is open that the clock shows as such. Pausing clocks go on
// behind the jump.
func TestCalendarIsWhatClocksShow(t *testing.T) {
	for _, week := range [][]level.Weekly{
		{{From: "00:00", To: "24:00"}},
		{{From: "08:00", To: "23:00"}},
		{{From: "00:00", To: "00:45"}, {From: "01:15", To: "02:45"}, {From: "22:00", To: "24:00"}},
	} {
		f := func(zone, day string) {
			t.Helper()
			loc := must(time.LoadLocation(zone))
			hours := level.Hours{Zone: zone, Weekly: week}
			cal, err := hours.Compile(time.LoadLocation)
			if err != nil {
				t.Fatal(err)
			}
			shown := func(at time.Time) bool {
				now := at.Format("15:04")
				return slices.ContainsFunc(week, func(w level.Weekly) bool { return w.From <= now && now < w.To })
			}
			noon, err := time.ParseInLocation(time.DateOnly+" 15:04", day+" 12:00", loc)
			if err != nil {
				t.Fatal(err)
			}
			begin, sum, last := noon.Add(-36*time.Hour), int64(0), int64(0)
			for at := begin; at.Before(noon.Add(36 * time.Hour)); at = at.Add(time.Minute) {
				if cal.Open(at.UnixMilli()) != shown(at) {
					t.Fatalf("%v: at %v it is open: %v", week, at, !shown(at))
				}
				if shown(at) {
					sum += time.Minute.Milliseconds()
					last = at.Add(time.Minute).UnixMilli()
				}
			}
			if got := cal.Elapsed(begin.UnixMilli(), last); got != sum {
				t.Fatalf("%v: %d ms of %s are open; want %d", week, got, zone, sum)
			}
			if got := cal.Add(begin.UnixMilli(), sum); got != last {
				t.Fatalf("%v: in %s %d ms are over at %d; want %d", week, zone, sum, got, last)
			}
		}
		f("Europe/Berlin", "2026-03-29")       // forward at 02:00
		f("Europe/Berlin", "2026-10-25")       // back at 03:00
		f("America/New_York", "2026-11-01")    // back at 02:00
		f("America/Santiago", "2026-09-06")    // forward at midnight: the day begins at 01:00
		f("Africa/Cairo", "2026-10-29")        // back at midnight: 23:00 comes twice
		f("Atlantic/Azores", "2026-10-25")     // back at 01:00: midnight comes twice
		f("Australia/Lord_Howe", "2026-04-05") // by half an hour
		f("Pacific/Apia", "2011-12-31")        // the day before was left out
		f("Asia/Shanghai", "2026-06-01")
	}
}
