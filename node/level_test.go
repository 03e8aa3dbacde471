package node_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"switchboard/broker/level"
	"switchboard/node"
	"switchboard/wire"
)

// A wait that is too long is told to staff and to no customer [SW-4.9], and stands in stats [SW-5a.5] and metrics.
func TestLevels(t *testing.T) {
	once(t)
	t.Parallel()
	n := start(t, t.TempDir(), func(cfg *node.Config) {
		cfg.Tenants = map[string]node.Tenant{"demo": {
			Routes: node.InlineOf([]byte("version: 1\nteams: [{name: red, workers: [bob/night]}]\nqueues: [{name: default}]\n")),
			Levels: []level.Definition{{Name: "now", LimitMS: 1, Target: 0.5, Count: []string{"bot"}, Warn: []level.Warning{{At: 1, Do: []string{level.Notify}}}}},
		}}
	})
	defer stop(t, n)
	sue, alice := login(t, n, supervisorOf("sue")), login(t, n, customerOf("alice"))
	w := watch(t, sue, obj{})
	session := alice.ask("open", obj{"channel": "web", "shop": "s1"})["session"].(string)
	asked := num(alice.ask("send", obj{"session": session, "type": "text", "body": obj{"text": "hi"}})["seq"])
	w.until(session, asked+2) // session.queued, and then
	m := w.seen[session][asked+2]
	if b := m["body"].(obj); m["type"] != "level.missed" || m["visibility"] != "staff" || b["level"] != "now" || num(b["case"]) != asked || num(b["percent"]) != 100 || num(b["limit_ms"]) != 1 {
		t.Fatalf("told %v", m)
	}
	for _, e := range alice.ask("history", obj{"session": session, "after": 0, "limit": 50})["entries"].([]any) {
		if typ := e.(obj)["type"].(string); strings.HasPrefix(typ, "level.") {
			t.Fatalf("the customer reads %v", e)
		}
	}
	bob := login(t, n, workerOf("bob", wire.OriginBot))
	bob.ask("subscribe", obj{"queues": []string{"default"}, "slots": 1})
	ae := num(bob.push("assigned")["ae"])
	bob.ask("reply", obj{"session": session, "ae": ae, "ack": asked, "type": "text", "body": obj{"text": "late"}})
	sue.ask("stats", obj{"every_ms": 1000})
	byName := map[string]obj{}
	for byName["team/red"] == nil { // some seconds later
		rows, _ := sue.push("stats")["levels"].([]any)
		for _, r := range rows {
			byName[r.(obj)["of"].(string)+"/"+r.(obj)["name"].(string)] = r.(obj)
		}
	}
	for _, name := range []string{"shop/s1", "queue/default"} {
		r := byName[name]
		if r == nil || r["level"] != "now" || num(r["limit_ms"]) != 1 {
			t.Fatalf("stats of %s: %v of %v", name, r, byName)
		}
		windows := r["windows"].([]any)
		if last := windows[len(windows)-1].(obj); last["window"] != "total" || num(last["count"]) != 1 || num(last["met"]) != 0 || num(last["timed"]) != 1 {
			t.Fatalf("stats of %s: %v", name, r)
		}
	}
	if got := sue.ask("stats", obj{"scope": obj{"queue": "default"}})["levels"].([]any); len(got) != 1 {
		t.Fatalf("stats of the queue alone: %v", got)
	}
	_, body := get(t, n, "/metrics")
	for _, line := range []string{
		`switchboard_level_cases_total{level="now",queue="default",tenant="demo"} 1`, `switchboard_level_met_total{level="now",queue="default",tenant="demo"} 0`,
		`switchboard_level_limit_seconds{level="now",tenant="demo"} 0.001`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("no %s among the metrics", line)
		}
	}
}

// Levels that make no sense are refused at the start, by the tenant's name.
func TestLevelsConfig(t *testing.T) {
	f := func(want string, defs ...level.Definition) {
		t.Helper()
		cfg := node.Config{
			Data: t.TempDir(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Tenants: map[string]node.Tenant{"acme": {Queues: []node.Queue{{Name: "default"}}, Levels: defs}},
		}
		err := cfg.Validate()
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "acme")) {
			t.Errorf("%v: %v; want %q", defs, err, want)
		}
	}
	f("", level.Definition{Preset: "taobao"}, level.Definition{Preset: "feige"})
	f("there twice", level.Definition{Preset: "taobao"}, level.Definition{Preset: "taobao"})
	f("no preset", level.Definition{Preset: "ebay"})
	f("no queue", level.Definition{Name: "a", LimitMS: 1, Queues: []string{"nowhere"}})
	f("", level.Definition{Name: "a", LimitMS: 1, Warn: []level.Warning{{At: 1, Do: []string{level.NextStep}}}})
	f("at most 16", make([]level.Definition, 17)...)
}
