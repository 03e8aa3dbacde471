package level_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"switchboard/broker/level"
	"switchboard/wire"
)

func TestDefinition(t *testing.T) {
	f := func(doc, wrong string) {
		t.Helper()
		var d level.Definition
		if err := yaml.UnmarshalWithOptions([]byte(doc), &d, yaml.Strict()); err != nil {
			t.Fatal(err)
		}
		_, err := level.Compile([]level.Definition{d}, nil, time.LoadLocation)
		if (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Fatalf("%s: %v; want %q", doc, err, wrong)
		}
	}
	f(`{name: a, limit_ms: 1}`, "")
	f(`{preset: taobao}`, "")
	f(`{preset: taobao, name: mine, limit_ms: 60000, warn: [{at: 0.5, do: [notify]}, {at: 1, do: [boost]}]}`, "")
	f(`{name: a}`, "limit_ms is 0")
	f(`{limit_ms: 1}`, "a name is")
	f(`{preset: ebay}`, "no preset")
	f(`{name: a, limit_ms: 1, clock: grandfather}`, "clock is")
	f(`{name: a, limit_ms: 1, unit: moon}`, "unit is")
	f(`{name: a, limit_ms: 1, unit: message, clock: waiting}`, "goes with every_response")
	f(`{name: a, limit_ms: 1, count: [cat]}`, "count is")
	f(`{name: a, limit_ms: 10, cap_ms: 5}`, "or 10 (limit_ms")
	f(`{name: a, limit_ms: 10, cap_ms: 2592000001}`, "to 2592000000")
	f(`{name: a, limit_ms: 1, target: 95}`, "target is")
	f(`{name: a, limit_ms: 1, target: .nan}`, "target is")
	f(`{name: a, limit_ms: 1, warn: [{at: 0.8, do: [notify]}, {at: 0.5, do: [notify]}]}`, "ascend")
	f(`{name: a, limit_ms: 1, warn: [{at: 2, do: [notify]}]}`, "ascend")
	f(`{name: a, limit_ms: 1, warn: [{at: 1, do: [sing]}]}`, "do is")
	f(`{name: a, limit_ms: 1, warn: [{at: 1}]}`, "does nothing")
	f(`{name: a, limit_ms: 1, warn: [{at: 1, do: [holding_reply]}]}`, "needs holding")
	f(`{name: a, limit_ms: 1, hours: {zone: Moon/Crater}}`, "zone")
	f(`{name: a, limit_ms: 1, hours: {weekly: [{from: "22:00", to: "02:00"}]}}`, "two stretches")
	f(`{name: a, limit_ms: 1, hours: {weekly: [{from: "08:00", to: "24:01"}]}}`, "two stretches")
	f(`{name: a, limit_ms: 1, hours: {weekly: [{from: "08:00", to: "12:00"}, {from: "11:00", to: "13:00"}]}}`, "overlap")
	f(`{name: a, limit_ms: 1, hours: {weekly: [{days: [moonday], from: "08:00", to: "12:00"}]}}`, "days are")
	f(`{name: a, limit_ms: 1, hours: {weekly: []}}`, "ever open")
	f(`{name: a, limit_ms: 1, hours: {holidays: [{date: "tomorrow"}]}}`, "YYYY-MM-DD")
}

// TestPresets: every preset is valid, and says the same after a way through JSON and YAML.
func TestPresets(t *testing.T) {
	for _, p := range level.Presets() {
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		j, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var a, b level.Definition
		if err := json.Unmarshal(j, &a); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(j, &b); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(a) != fmt.Sprint(p) || fmt.Sprint(b) != fmt.Sprint(p) {
			t.Fatalf("%v\n%v\n%v", p, a, b)
		}
	}
	d, err := level.Definition{Preset: "taobao", Name: "mine", LimitMS: 60_000}.Filled()
	if err != nil || d.Name != "mine" || d.LimitMS != 60_000 || d.Transfer != level.Miss || d.Hours.Zone != "Asia/Shanghai" {
		t.Fatalf("%+v, %v", d, err)
	}
}

// TestRows: bytes that are none are refused and never panic.
func TestRows(t *testing.T) {
	set := everything(t)
	var out level.Out
	conv := level.New(set)
	for i, what := range []string{"opened", "queued", "customer", "customer"} {
		conv.Feed(set, entry("s", uint64(i+1), begin+int64(i), what, "", args{}), &out)
	}
	row := conv.AppendRow(set, nil)
	for i := range row {
		if _, err := level.Restore(set, row[:i], nil, &level.Known{}, &out); err == nil && i > 0 {
			t.Fatalf("the first %d of %d bytes pass as a row", i, len(row))
		}
		bad := append([]byte(nil), row...)
		bad[i] ^= 0x55
		_, _ = level.Restore(set, bad, nil, &level.Known{}, &out)
	}
	// Of a session whose beginning is lost what the state knows stands in.
	tail := []*wire.Entry{entry("s", 90, begin, "customer", "", args{}), entry("s", 91, begin+240_000, "human", "bob", args{})}
	conv, err := level.Restore(set, nil, tail[:1], &level.Known{Shop: "s9", Queue: "q", Owner: "bob", Kind: wire.OriginHuman}, &out)
	if err != nil || len(out.Samples) != 0 {
		t.Fatal(err, out.Samples)
	}
	conv.Feed(set, tail[1], &out)
	if len(out.Samples) == 0 || out.Samples[0].Shop != "s9" || out.Samples[0].Worker != "bob" {
		t.Fatalf("%+v", out.Samples)
	}
}

func FuzzReport(f *testing.F) {
	set := everything(f)
	r := level.NewRates(set)
	r.Add(&level.Sample{At: begin, Count: 1, Met: 1, Timed: 1, RT: 5_000, Shop: "s", Queue: "q", Worker: "w0"})
	f.Add(r.Report(begin).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := level.ParseReport(b)
		if err != nil {
			return
		}
		again, err := level.ParseReport(rows.Append(nil))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(rows) {
			t.Fatalf("%v\n%v\n%v", rows, again, err)
		}
	})
}

// A row comes from a disk. Whatever it holds, the session goes on: no panic, an answer to every question, and a row that reads the same.
func FuzzRestore(f *testing.F) {
	set := everything(f)
	var out level.Out
	conv := level.New(set)
	f.Add(conv.AppendRow(set, nil))
	for i, what := range []string{"opened", "queued", "customer", "customer"} {
		conv.Feed(set, entry("s", uint64(i+1), begin+int64(i), what, "", args{}), &out)
		f.Add(conv.AppendRow(set, nil))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		var out level.Out
		conv, err := level.Restore(set, row, nil, &level.Known{}, &out)
		if err != nil && !errors.Is(err, level.ErrRow) {
			t.Fatal(err)
		}
		again := conv.AppendRow(set, nil)
		other, err := level.Restore(set, again, nil, &level.Known{}, &out)
		if err != nil || !bytes.Equal(other.AppendRow(set, nil), again) {
			t.Fatalf("%x was written, and reads as %x, %v", again, other.AppendRow(set, nil), err)
		}
		conv.Tick(set, begin+3_600_000, &out)
		conv.Feed(set, entry("s", conv.Seq()+1, begin+3_700_000, "closed", "", args{}), &out)
	})
}
