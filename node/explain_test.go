package node_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"switchboard/backup"
	"switchboard/edge/token"
	"switchboard/wire"
)

func explain(r *rest, session string) (int, obj, string) {
	r.t.Helper()
	status, _, text := r.do("GET", "/v1/sessions/"+session+"/explain", "")
	var m obj
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		r.t.Fatalf("%d %q", status, text)
	}
	var lines []string
	list, _ := m["why"].([]any)
	for _, l := range list {
		lines = append(lines, l.(string))
	}
	return status, m, strings.Join(lines, "\n")
}

// [SW-7.4] Who supervises a session, and who owns it, is told why it waits, and why it came to whom it came.
func TestExplain(t *testing.T) {
	n := start(t, t.TempDir(), routed(`
version: 1
queues:
  - name: default
    route:
      - {name: skilled, select: "worker.skills HAS task.intent"}
      - {name: anybody, after_ms: 3600000}
`))
	defer stop(t, n)
	sue := supervisor(t, n)
	has := func(text, want string) {
		t.Helper()
		if !strings.Contains(text, want) {
			t.Fatalf("it is told\n%s\nwithout %q", text, want)
		}
	}
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{"attributes": obj{"intent": "refund"}, "shop": "s1"})
	_, _, text := explain(sue, id)
	has(text, "goes into queue default when the customer writes")
	worker := func(sub string, skills map[string]float64) *peer {
		c := workerOf(sub, wire.OriginBot)
		c.Skills = skills
		w := login(t, n, c)
		w.subscribe(obj{"slots": 2})
		return w
	}
	worker("novice", nil)
	a.ask("send", obj{"session": id, "body": text1})
	status, m, text := explain(sue, id)
	if status != 200 || m["state"] != "queued" || m["stands"] != "waiting" || len(m["candidates"].([]any)) != 1 {
		t.Fatalf("%d %v", status, m)
	}
	has(text, "in queue default; it is the next.")
	has(text, "Its step is not open: novice.")
	has(text, "Something changes by itself at")
	smith := worker("smith", map[string]float64{"refund": 0.5})
	smith.push("assigned")
	_, m, text = explain(sue, id)
	if m["state"] != "assigned" || m["worker"] != "smith" || len(m["decisions"].([]any)) != 1 {
		t.Fatalf("%v", m)
	}
	has(text, "smith has it.\nIt went to smith by the step skilled, after it had waited")
	has(text, "1 worker met the step at that time, and 1 was free.")

	// Who may.
	f := func(want int, c token.Claims) {
		t.Helper()
		if status, m, _ := explain(without(t, n, c), id); status != want {
			t.Errorf("%s %s was answered %d %v; want %d", c.Role, c.Sub, status, m, want)
		}
	}
	f(200, workerOf("smith", wire.OriginBot))
	f(404, workerOf("novice", wire.OriginBot))
	f(200, token.Claims{Sub: "o", Role: wire.RoleOperator})
	f(200, token.Claims{Sub: "s", Role: wire.RoleSupervisor, Shop: "s1"})
	f(404, token.Claims{Sub: "s", Role: wire.RoleSupervisor, Shop: "s2"})
	f(404, customerOf("alice"))
	f(404, token.Claims{Sub: "svc", Role: wire.RoleService})
	if status, _, _ := explain(sue, "s_0000000000000000"); status != 404 {
		t.Errorf("a session that is not there was answered %d", status)
	}

	// Somebody takes it, and it ends.
	sup := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	sup.ask("take", obj{"session": id})
	_, _, text = explain(sue, id)
	has(text, "sue took it over.")
	f(404, workerOf("smith", wire.OriginBot))
	a.ask("close", obj{"session": id})
	_, _, text = explain(sue, id)
	has(text, "It is closed.")

	// What is remembered ends.
	sup2 := supervisor(t, n)
	sup2.applied(0, "version: 1\nqueues: [{name: default}]\ntrace_keep: 1\ntrace_days: 0\n")
	first := login(t, n, customerOf("bea"))
	one := first.open(obj{})
	first.ask("send", obj{"session": one, "body": text1})
	second := login(t, n, customerOf("cleo"))
	two := second.open(obj{})
	second.ask("send", obj{"session": two, "body": text1})
	for _, c := range []*peer{first, second} {
		for c.push("state")["state"] != "assigned" {
		}
	}
	_, _, text = explain(sue, one)
	has(text, "Why is not known any more: the document says")
	_, _, text = explain(sue, two)
	has(text, "It went to ")
}

// Who declines may say why: supervisors read it, as he said it and not as more than text.
func TestDeclinedForAReason(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	sue := supervisor(t, n)
	sue.applied(0, "version: 1\nqueues: [{name: default}]\ntrace_days: 7\n")
	w := login(t, n, workerOf("nora", wire.OriginHuman))
	w.subscribe(obj{"slots": 1})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text1})
	w.ask("decline", obj{"offer": w.push("offer")["offer"], "reason": "no \x1b[2J Chinese: " + strings.Repeat("我", 40)})
	until(t, "why is told", func() bool {
		_, m, text := explain(supervisor(t, n), id)
		list, _ := m["decisions"].([]any)
		if len(list) != 1 {
			return false
		}
		d := list[0].(obj)
		s, _ := d["said"].(string)
		return d["ended"] == "declined" && strings.HasPrefix(s, "no \x1b[2J Chinese: 我") && len(s) <= 100 && utf8.ValidString(s) &&
			strings.Contains(text, `nora`) && strings.Contains(text, `who declined it and said "no \x1b[2J Chinese: 我`)
	})
}

// Why is known when the node is another: after a restart, and from a backup.
func TestExplainAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	w := login(t, n, workerOf("smith", wire.OriginBot))
	w.subscribe(obj{"slots": 2})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text1})
	w.push("assigned")
	_, before, _ := explain(supervisor(t, n), id)
	had := before["decisions"].([]any)[0].(obj)
	d := backup.Open(t.TempDir(), nil)
	take(t, d, operatorOf(t, n))
	stop(t, n)
	restored, _ := restore(t, d, "")
	for _, dir := range []string{dir, restored} {
		n := start(t, dir)
		_, m, text := explain(supervisor(t, n), id)
		stop(t, n)
		list, _ := m["decisions"].([]any)
		if len(list) != 1 || !strings.Contains(text, "It went to smith by the step") || list[0].(obj)["at"] != had["at"] || list[0].(obj)["worker"] != "smith" {
			t.Fatalf("it is told\n%s\n%v; it was %v", text, list, had)
		}
	}
}
