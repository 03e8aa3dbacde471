package whatif

import (
	"encoding/json"
	"reflect"
	"testing"

	"switchboard/examples"
)

// FuzzParseRecord reads anything as a recorded session. What is read makes a day, or the reason why it makes none, and is the same when it is
// written as a log writes it.
func FuzzParseRecord(f *testing.F) {
	w := recordedDay()
	w.flush()
	for _, line := range w.lines {
		f.Add([]byte(line))
	}
	f.Add([]byte(`{"session":"s_1","entries":[{"seq":1,"ts":-9223372036854775808,"kind":"event","type":"session.queued","body":null},{"seq":2,"ts":9223372036854775807}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		rec, err := ParseRecord(line)
		if err != nil {
			return
		}
		type entry struct {
			Seq                            uint64
			TS                             int64
			Origin, Kind, Type, Visibility string
			Body                           json.RawMessage
			From                           struct{ ID string }
		}
		entries := make([]entry, len(rec.Entries))
		for i := range rec.Entries {
			e := &rec.Entries[i]
			entries[i] = entry{Seq: e.Seq, TS: e.TS, Origin: string(e.Origin), Kind: e.Kind, Type: e.Type, Visibility: e.Visibility, Body: e.Body}
			entries[i].From.ID = e.From.ID
		}
		again, err := json.Marshal(map[string]any{
			"session": rec.Session, "tenant": rec.Tenant, "customer": rec.Customer, "shop": rec.Shop, "tier": rec.Tier, "channel": rec.Channel,
			"attributes": json.RawMessage(rec.Attributes), "entries": entries,
		})
		if err != nil {
			t.Fatal(err)
		}
		other, err := ParseRecord(again)
		if err != nil || len(other.Entries) != len(rec.Entries) || other.Customer != rec.Customer || other.Tier != rec.Tier || other.Channel != rec.Channel {
			t.Fatalf("it was\n%+v\nand is\n%+v, %v", rec, other, err)
		}
		for i := range rec.Entries { // but for spaces in what they carry
			a, b := rec.Entries[i], other.Entries[i]
			if a.Body, b.Body = nil, nil; !reflect.DeepEqual(a, b) {
				t.Fatalf("it was\n%+v\nand is\n%+v", a, b)
			}
		}
		r := NewRecorder(nil, 0)
		r.Add(rec)
		d, err := r.Day(1)
		if err == nil && (len(d.Visits) == 0 || len(d.Visits) > len(rec.Entries) || len(d.Agents) > len(rec.Entries)) {
			t.Fatalf("%d entries make %d visits and %d agents", len(rec.Entries), len(d.Visits), len(d.Agents))
		}
	})
}

// FuzzParseDay reads anything as a day. What is taken keeps to its limits.
func FuzzParseDay(f *testing.F) {
	for _, name := range examples.Days() {
		doc, _ := examples.Day(name)
		f.Add(doc)
	}
	f.Add([]byte("name: x\nstart: 2026-11-11T00:00\nsessions: 10\nstaff: [{name: a, count: 2, breaks: [{from: \"12:00\", to: \"13:00\"}]}]\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		d, err := Parse("d.yaml", doc)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("it is refused without a reason")
			}
			return
		}
		if s := d.Length.Duration().Seconds(); s < 60 || s > maxDays*daySeconds || d.Sessions < 0 || d.Sessions > maxSessions || d.Seed == 0 || len(d.Targets) == 0 {
			t.Fatalf("%+v", d)
		}
	})
}
