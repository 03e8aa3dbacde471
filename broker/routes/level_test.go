package routes_test

import (
	"slices"
	"testing"

	"switchboard/broker/level"
)

// A document's service levels say all that definitions of a configuration can: each platform's rate is one line, a calendar takes
// the place of a preset's hours, and what counts everywhere is narrowed to nothing.
func TestDefinitions(t *testing.T) {
	for _, name := range level.PresetNames() {
		r := parse(t, []byte("version: 1\nservice_levels: [{name: ours, preset: "+name+"}]\nqueues: [{name: a, service_level: ours, order: {mode: savable_first}}, {name: b}]\n"))
		want, _ := level.Preset(name)
		want.Name, want.Preset, want.Queues, want.Either = "ours", name, []string{"a"}, true
		got := filled(t, r.Document.Definitions(), 1)[0]
		if w, _ := want.Filled(); !same(got, w) {
			t.Errorf("%s is\n%+v, want\n%+v", name, got, w)
		}
		if r.Broker.Queues[0].SLAMS != want.LimitMS {
			t.Errorf("%s: what is savable is %d ms", name, r.Broker.Queues[0].SLAMS)
		}
	}
	r := parse(t, []byte(`
version: 1
calendars: [{name: day, zone: UTC, weekly: [{days: [mon], from: "09:00", to: "17:00"}]}]
service_levels:
  - {name: unused, first_reply_ms: 1}
  - {name: line, clock: waiting, first_reply_ms: 60000, everywhere: true}
  - {name: tb, preset: taobao, calendar: day, transfer: keep, count: [human], ignore: [], unit: customer, first_reply_ms: 9, holding: wait, holding_by: Anna, warn: [{at: 0.5, do: [holding_reply]}]}
shops: [{name: s1, service_level: tb}]
queues: [{name: a}]
`))
	defs := filled(t, r.Document.Definitions(), 2)
	if d := defs[0]; d.Name != "line" || d.Clock != level.Waiting || d.LimitMS != 60000 || d.Either || d.Shops != nil || d.Queues != nil {
		t.Errorf("%+v", d)
	}
	d := defs[1]
	if d.Transfer != level.Keep || d.Unit != level.Day || d.LimitMS != 9 || d.Hours.Zone != "UTC" || len(d.Hours.Weekly) != 1 || d.HoldingBy != "Anna" ||
		!slices.Equal(d.Count, []string{"human"}) || !slices.Equal(d.Shops, []string{"s1"}) {
		t.Errorf("%+v", d)
	}
}

func filled(t *testing.T, defs []level.Definition, n int) []level.Definition {
	t.Helper()
	if len(defs) != n {
		t.Fatalf("%d definitions: %+v", len(defs), defs)
	}
	for i := range defs {
		d, err := defs[i].Filled()
		if err != nil {
			t.Fatal(err)
		}
		defs[i] = d
	}
	return defs
}

// same compares what the documents say; a list that is empty is none.
func same(a, b level.Definition) bool {
	return a.Name == b.Name && a.Clock == b.Clock && a.LimitMS == b.LimitMS && a.CapMS == b.CapMS && a.Target == b.Target && a.Unit == b.Unit &&
		slices.Equal(a.Count, b.Count) && a.FullAuto == b.FullAuto && a.Handover == b.Handover && a.Transfer == b.Transfer &&
		a.Unanswered == b.Unanswered && a.Hours.Zone == b.Hours.Zone && len(a.Hours.Weekly) == len(b.Hours.Weekly) && a.Closed == b.Closed &&
		slices.Equal(a.Ignore, b.Ignore) && slices.Equal(a.Queues, b.Queues) && a.Either == b.Either
}
