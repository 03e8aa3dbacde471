package page

import (
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"switchboard/broker/whatif"
)

func result(policy string) *whatif.Result {
	r := &whatif.Result{Name: `<script>alert("x")</script>`, Policy: policy, Sessions: 10, Within: 180_000, People: whatif.Figures{Wanted: 5, Rate: .8}}
	for i := range 24 {
		h := whatif.Hour{At: int64(i) * 3_600_000, Arrived: i, Agents: 2}
		h.Wanted, h.Rate, h.P95 = i%5, .9, 1000
		r.Hours = append(r.Hours, h)
	}
	r.Shops = []whatif.Figures{{Name: "a&b", Rate: 1}, {Name: "s2", Rate: .5}}
	r.Levels = []whatif.LevelLine{{Level: "taobao", Count: 10, Met: 9, Rate: .9, Target: .95}}
	return r
}

func staffing() *whatif.Staffing {
	s := &whatif.Staffing{Name: "x", Slots: 4, CliffOf: .95, Hours: make([]whatif.HourNeed, 24)}
	s.Plans = []whatif.TargetPlan{{Target: .95, People: make([]int, 24), Rates: make([]float64, 24), Reached: make([]bool, 24)}}
	s.Plans[0].People[7], s.Plans[0].Reached[6] = 77, true
	s.Cliff = []whatif.CliffPoint{{Factor: .9, Rate: .5}, {Factor: 1, Rate: .95}, {Factor: 1.1, Rate: .97}}
	return s
}

// TestPages: one document without script that says everything; what came from outside is escaped.
func TestPages(t *testing.T) {
	f := func(write func(*strings.Builder) error, charts int, want ...string) {
		t.Helper()
		var b strings.Builder
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("it does not say %q", w)
			}
		}
		for _, bad := range []string{"<script", "http://", "https://", "NaN", "Inf", "<no value>", "ZgotmplZ"} {
			if strings.Contains(text, bad) {
				t.Errorf("it says %q", bad)
			}
		}
		if n := strings.Count(text, "<svg"); n != charts {
			t.Errorf("%d charts; want %d", n, charts)
		}
	}
	f(func(b *strings.Builder) error { return Runs(b, "about", time.UTC, result("")) }, 8, "&lt;script&gt;", "a&amp;b", "taobao", "Thu 07:00", `class="fails">90.0 %`)
	f(func(b *strings.Builder) error {
		return Runs(b, "about", time.UTC, result("fifo"), result("savable_first"))
	}, 8, "fifo: by hour", "savable_first")
	again := result("played again")
	again.Was = &whatif.Was{People: whatif.Figures{Wanted: 7, Rate: .7}, Levels: []whatif.LevelLine{{Level: "taobao", Count: 12, Met: 3, Rate: .25}}}
	f(func(b *strings.Builder) error { return Runs(b, "about", time.UTC, again) }, 8, "<td>as it was</td>", "70.0 %", "Service levels as they were", "25.0 %", "Service levels, played again")
	f(func(b *strings.Builder) error { return Table(b, time.UTC, again) }, 0, "as it was", "25.0 %")
	f(func(b *strings.Builder) error { return Staff(b, "about", staffing()) }, 4, `class="fails">77`, "The cliff")
	f(func(b *strings.Builder) error { return Table(b, time.UTC, result("")) }, 0, "as written", "07:00", "taobao")
	f(func(b *strings.Builder) error { return StaffTable(b, staffing()) }, 0, "77!", "agent hours")
}

// TestTableOfTurnedAway: who was turned away has columns of his own, and the figures beside stay as wide as they are.
func TestTableOfTurnedAway(t *testing.T) {
	head := func(rejected int) string {
		var b strings.Builder
		r := result("fifo")
		r.Rejected, r.Resorts = rejected, rejected
		if err := Table(&b, time.UTC, result(""), r); err != nil {
			t.Fatal(err)
		}
		if rejected > 0 && !strings.Contains(b.String(), "fifo") {
			t.Errorf("it does not say of what\n%s", b.String())
		}
		first, _, _ := strings.Cut(b.String(), "\n")
		return first
	}
	if with, without := head(12345), head(0); with != without {
		t.Errorf("%q with some who are turned away, and %q without", with, without)
	}
}

func TestCSV(t *testing.T) {
	var b strings.Builder
	if err := CSV(&b, time.UTC, result("a,b"), result("")); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil || len(rows) != 49 || rows[1][0] != "a,b" || rows[8][1] != "1970-01-01T07:00:00Z" || rows[8][2] != "7" {
		t.Errorf("%v, %d rows, %v", err, len(rows), rows[8])
	}
	b.Reset()
	if err := StaffCSV(&b, staffing()); err != nil {
		t.Fatal(err)
	}
	rows, err = csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil || len(rows) != 25 || rows[8][4] != "77" || rows[0][4] != "people_0.95" || rows[0][6] != "reached_0.95" || rows[8][6] != "false" || rows[7][6] != "true" {
		t.Errorf("%v, %d rows, %v", err, len(rows), rows[0])
	}
}
