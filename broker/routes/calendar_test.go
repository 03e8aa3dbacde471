package routes_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"switchboard/broker/routes"
)

// Hours are what clocks show: for every minute of days on which clocks jump, forward, back, at midnight, by half an hour or by a
// whole day, what a calendar says is what a naive look at the clock says, and Around's bounds are where that changes.
func TestAroundIsWhatClocksShow(t *testing.T) {
	f := func(zone, day string) {
		t.Helper()
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		noon, err := time.ParseInLocation("2006-01-02 15:04", day+" 12:00", loc)
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) {
			holiday := rapid.Bool().Draw(t, "holiday")
			var week [][2]int
			for at := 0; at < 24*60; {
				from := at + 15*rapid.IntRange(0, 24).Draw(t, "gap")
				to := from + 15*rapid.IntRange(1, 40).Draw(t, "open")
				if to > 24*60 {
					break
				}
				week, at = append(week, [2]int{from, to}), to
			}
			doc := fmt.Sprintf("version: 1\nqueues: [{name: a}]\ncalendars:\n  - name: c\n    zone: %s\n    weekly:\n", zone)
			spans := ""
			for _, s := range week {
				doc += fmt.Sprintf("      - {days: [mon, tue, wed, thu, fri, sat, sun], %s}\n", hours(s))
				spans += fmt.Sprintf("{%s},", hours(s))
			}
			if len(week) == 0 {
				doc += "      []\n"
			}
			special := [][2]int{{9 * 60, 10 * 60}}
			if holiday {
				doc += fmt.Sprintf("    holidays: [{date: '%s', open: [{from: '09:00', to: '10:00'}]}]\n", day)
			}
			r, err := routes.Parse([]byte(doc))
			if err != nil {
				t.Fatalf("%v\n%s", err, doc)
			}
			c := r.Calendars["c"]
			open := func(at time.Time) bool {
				list := week
				if holiday && at.Format(time.DateOnly) == day {
					list = special
				}
				minute := at.Hour()*60 + at.Minute()
				for _, s := range list {
					if s[0] <= minute && minute < s[1] {
						return true
					}
				}
				return false
			}
			x := noon.Add(time.Duration(rapid.IntRange(-36*60, 36*60).Draw(t, "minute")) * time.Minute)
			is, since, until := c.Around(x.UnixMilli())
			if is != open(x) {
				t.Fatalf("at %v it is open: %v\n%s", x, is, doc)
			}
			for _, edge := range []int64{since, until} {
				if edge == 0 {
					continue
				}
				e := time.UnixMilli(edge).In(loc)
				if before := e.Add(-time.Millisecond); open(before) == open(e) {
					t.Fatalf("around %v it does not change at %v\n%s", x, e, doc)
				}
			}
			for y := x; y.UnixMilli() < until && y.Before(x.Add(72*time.Hour)); y = y.Add(time.Minute) {
				if open(y) != is {
					t.Fatalf("around %v it changes at %v already, not at %v\n%s", x, y, time.UnixMilli(until).In(loc), doc)
				}
			}
			for y := x; y.UnixMilli() >= since && y.After(x.Add(-72*time.Hour)); y = y.Add(-time.Minute) {
				if open(y) != is {
					t.Fatalf("around %v it changed at %v, not at %v\n%s", x, y, time.UnixMilli(since).In(loc), doc)
				}
			}
			if len(week) > 0 && !all(week) && (since == 0 || until == 0) {
				t.Fatalf("around %v there are no bounds: %d, %d\n%s", x, since, until, doc)
			}
		})
	}
	f("Europe/Berlin", "2026-03-29")       // forward at 02:00
	f("Europe/Berlin", "2026-10-25")       // back at 03:00
	f("America/Sao_Paulo", "2018-11-04")   // forward at midnight: the day begins at 01:00
	f("America/Sao_Paulo", "2018-02-18")   // back at midnight: 23:00 comes twice
	f("Australia/Lord_Howe", "2026-04-05") // by half an hour
	f("Pacific/Apia", "2011-12-31")        // the day before was left out
	f("Asia/Shanghai", "2026-06-01")
}

func hours(s [2]int) string {
	return fmt.Sprintf(`from: "%02d:%02d", to: "%02d:%02d"`, s[0]/60, s[0]%60, s[1]/60, s[1]%60)
}

// all tells whether spans leave no gap.
func all(spans [][2]int) bool {
	at := 0
	for _, s := range spans {
		if s[0] != at {
			return false
		}
		at = s[1]
	}
	return at == 24*60
}

// What is far away is found, and what never changes says so.
func TestAroundFarAway(t *testing.T) {
	r := parse(t, []byte(`
version: 1
queues: [{name: a}]
calendars:
  - {name: once, zone: Asia/Shanghai, weekly: [], holidays: [{date: "2026-11-11", open: [{from: "00:00", to: "24:00"}]}]}
  - {name: always, zone: Asia/Shanghai, weekly: [{days: [mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"}]}
`))
	at := func(s string) int64 {
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return x.UnixMilli()
	}
	f := func(name, when string, open bool, since, until string) {
		t.Helper()
		o, s, u := r.Calendars[name].Around(at(when))
		want := func(x string) int64 {
			if x == "" {
				return 0
			}
			return at(x)
		}
		if o != open || s != want(since) || u != want(until) {
			t.Fatalf("%s at %s: %v since %v until %v", name, when, o, time.UnixMilli(s).UTC(), time.UnixMilli(u).UTC())
		}
	}
	const from, to = "2026-11-11T00:00:00+08:00", "2026-11-12T00:00:00+08:00"
	f("once", "2026-01-01T00:00:00Z", false, "", from)
	f("once", "2026-11-11T12:00:00Z", true, from, to)
	f("once", "2027-06-01T00:00:00Z", false, to, "")
	f("once", "2029-06-01T00:00:00Z", false, "", "")
	f("always", "2029-06-01T00:00:00Z", true, "", "")
}
