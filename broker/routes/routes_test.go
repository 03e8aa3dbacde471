package routes_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"switchboard/broker"
	"switchboard/broker/routes"
	"switchboard/broker/selector"
	"switchboard/wire"
)

var rewrite = flag.Bool("rewrite", false, "write schema.json anew")

const merchant = "../../examples/merchant-53-shops.yaml"

func read(t testing.TB, path string) []byte {
	t.Helper()
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func parse(t testing.TB, doc []byte) *routes.Routes {
	t.Helper()
	r, err := routes.Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What YAML can write and nobody can be compared by is no weight.
func TestWeights(t *testing.T) {
	for _, x := range []string{"-1", ".nan", ".inf"} {
		for _, doc := range []string{"queues: [{name: a, weight: %s}]", "queues: [{name: a, scoring: {load: %s}}]", "queues: [{name: a}]\nshops: [{name: s, weight: %s}]"} {
			if _, err := routes.Parse(fmt.Appendf(nil, "version: 1\n"+doc, x)); err == nil || !strings.Contains(err.Error(), "weight") {
				t.Errorf(doc+": %v", x, err)
			}
		}
	}
	parse(t, []byte("version: 1\nqueues: [{name: a, weight: 2}]\nshops: [{name: s, weight: 2}]"))
}

// Who writes the largest number there is means never, and gets it: nothing is over before it began.
func TestLongest(t *testing.T) {
	const never, longest = "9223372036854775807", 100 * 365 * 24 * 3_600_000
	r := parse(t, []byte(strings.ReplaceAll(`version: 1
grace_bots_ms: N
grace_humans_ms: N
bar_ms: N
reopen_window_ms: N
service_levels: [{name: l, first_reply_ms: 1000}]
teams: [{name: t, workers: [ann], seats: [{queue: a, delay_ms: N}]}]
queues:
  - name: a
    service_level: l
    offer_ttl_ms: N
    sticky_ms: N
    park_ms: N
    absent_ms: N
    order: {mode: savable_first, max_boost_ms: N, boosts: [{when: task.vip, ms: N}]}
    route:
      - {who: bots, select: task.vip, classify: {ttl_ms: N}}
      - {who: humans, after_ms: N, offer: {ttl_ms: N}}
`, "N", never)))
	var look func(path string, v reflect.Value)
	n := 0
	look = func(path string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Int64:
			if v.Int() > longest {
				t.Errorf("%s is %d", path, v.Int())
			} else if v.Int() == longest {
				n++
			}
		case reflect.Slice:
			for i := range v.Len() {
				look(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.IsExported() {
					look(path+"."+f.Name, v.Field(i))
				}
			}
		default:
		}
	}
	look("document", reflect.ValueOf(r.Document))
	look("broker", reflect.ValueOf(r.Broker))
	if n < 20 {
		t.Errorf("%d times are never; want all that are written, twice", n)
	}
	const now = 1_800_000_000_000
	var out broker.Effects
	c := broker.New(r.Broker)
	c.Open(1, nil, now, &out)
	c.Subscribe(&broker.Subscription{ID: "w", Sub: "w", Kind: wire.OriginHuman, Queues: []string{"a"}, Allowed: []string{"*"}, Conn: wire.Conn{Node: 1, ID: 1}}, now, &out)
	c.Offer(&broker.Task{Session: "s", Ticket: 1, Queue: "a", EnqueuedAt: now, Classified: true}, now, &out)
	if c.Tick(now+1e12, &out); c.Explain("s").State != "waiting" {
		t.Errorf("it is %s by a step that never opens", c.Explain("s").State)
	}
	c.Offer(&broker.Task{Session: "u", Ticket: 1, Queue: "a", EnqueuedAt: now, To: "w"}, now+1e12, &out)
	if c.Tick(now+2e12, &out); c.Explain("u").State != "offered" {
		t.Errorf("it is %s, and its offer never ends", c.Explain("u").State)
	}
}

func TestMerchant(t *testing.T) {
	r := parse(t, read(t, merchant))
	b := &r.Broker
	if len(b.Shops) != 53 || len(b.Teams) != 19 || len(b.Queues) != 2 || !b.Fair {
		t.Fatalf("%d shops, %d teams, %d queues, fair %v", len(b.Shops), len(b.Teams), len(b.Queues), b.Fair)
	}
	q := b.Queues[0]
	if q.Order != broker.SavableFirst || q.SLAMS != 180_000 || len(q.Steps) != 6 || q.Steps[2].OfferN != 2 || q.Steps[5].Resort != broker.LeaveMessage || q.Boosts[0].MS != 120_000 {
		t.Fatalf("%+v", q)
	}
	if b.Costs[1] != (broker.ChannelCost{Channel: "phone", Cost: broker.All}) {
		t.Fatalf("costs %+v", b.Costs)
	}
	// It routes: bots first, then the home shop's person, then anybody.
	c, out := broker.New(r.Broker), &broker.Effects{}
	c.Open(1, nil, 0, out)
	sub := func(id string, kind wire.Origin, skills ...broker.Skill) {
		c.Subscribe(&broker.Subscription{ID: id, Sub: id, Kind: kind, Queues: []string{"service"}, Allowed: []string{"*"}, Slots: 1, Skills: skills, Conn: wire.Conn{Node: 1, ID: uint64(len(id)) + uint64(id[len(id)-1])}}, 0, out)
	}
	sub("bot", wire.OriginBot)
	sub("agent02", wire.OriginHuman)
	sub("agent03", wire.OriginHuman)
	f := func(n int, shop, intent, want string) {
		t.Helper()
		out.Reset()
		attrs := selector.Attrs{}.With("shop", selector.StringOf(shop)).With("intent", selector.StringOf(intent))
		c.Offer(&broker.Task{Session: wire.SessionID(fmt.Sprint("s", n)), Ticket: 1, Queue: "service", Attributes: attrs}, 0, out)
		got := ""
		if len(*out) > 0 {
			got = (*out)[0].Worker
		}
		if got != want {
			t.Fatalf("%s of %s goes to %q, not %q", intent, shop, got, want)
		}
	}
	f(1, "s03", "refund", "bot")
	f(2, "s03", "dispute", "agent03")
	f(3, "s03", "dispute", "")
	f(4, "s02", "refund", "agent02")
	out.Reset()
	c.Presence("agent02", broker.Ready, "", broker.Ref{}, 14_000, out)
	sub("agent09", wire.OriginHuman)
	c.Tick(60_000, out)
	if e := (*out)[len(*out)-1]; !slices.ContainsFunc(*out, func(e broker.Effect) bool {
		return e.Kind == broker.OfferPush && e.Worker == "agent09" && e.Session == "s2"
	}) {
		t.Fatalf("after a minute anybody helps: %+v", e)
	}
}

// Who hands in a document with a fraction where there are whole numbers is told. One that is kept goes on counting, without the fraction.
func TestWhole(t *testing.T) {
	const half = "version: 1\nqueues:\n  - name: a\n    weight: 1.5\n    park_ms: 1.5\n"
	err := routes.Whole([]byte(half))
	if _, ok := errors.AsType[routes.Errors](err); !ok || err.Error() != `line 5:14: "1.5" is no whole number` {
		t.Fatalf("%v", err)
	}
	if r, err := routes.Parse([]byte(half)); err != nil || r.Document.Queues[0].ParkMS != 1 {
		t.Fatalf("what is kept is not read: %v", err)
	}
	for _, doc := range []string{"", "{", "version: 1\nqueues: []\npark: 1.5", string(read(t, "../../examples/merchant.yaml"))} {
		if err := routes.Whole([]byte(doc)); err != nil {
			t.Errorf("%.40q: %v", doc, err)
		}
	}
}

func TestErrors(t *testing.T) {
	const head = "version: 1\nqueues:\n  - name: a\n"
	f := func(doc string, wants ...string) {
		t.Helper()
		_, err := routes.Parse([]byte(doc))
		if _, ok := errors.AsType[routes.Errors](err); !ok {
			t.Fatalf("%s\nis taken: %v", doc, err)
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Fatalf("%s\n%v\nwant %q in it", doc, err, want)
			}
		}
	}
	f("", "document")
	f("version: 2\nqueues: [{name: a}]", "line 1:10: $.version: version is 2")
	f("version: 1\nqueues: []", "no queues")
	f(head+"    prioritty: 3\n", "line 4:5", `"prioritty"`, "did you mean priority?")
	f(head+"    priority: high\n", "line 4:15", "a string stands where a number is expected")
	f(head+"    priority: 4294967296\n", "line 4:15", "the number 4294967296 is too large or too small: it is a whole number from -2147483648 to 2147483647")
	f(head+"    priority: 99999999999999999999\n", "line 4:15", "the number 99999999999999999999 is too large or too small: it is a whole number from -2147483648 to 2147483647")
	f(head+"max_attempts: -1\n", "line 4:15", "the number -1 is too large or too small: it is a whole number from 0 to 4294967295")
	f(head+"  - name: a\n", "line 4:11: $.queues[1].name: a is there twice")
	f(head+"  - name: ''\n", "line 4:11", "is no name")
	f(head+"    route:\n      - select: worker.skils HAS task.intent\n", "line 5:17: $.queues[0].route[0].select: 1:8: there is no attribute worker.skils; did you mean worker.skills?")
	f(head+"    route:\n      - after_ms: 5\n      - after_ms: 4\n", "line 6:19", "opens before")
	f(head+"    route:\n      - resort: ticket\n      - who: bots\n", "line 6:9", "behind the last resort")
	f(head+"    route:\n      - {resort: ticket, who: bots}\n", "line 5:18", "asks no workers")
	f(head+"    route:\n      - {resort: tickets}\n", "did you mean ticket?")
	f(head+"    route:\n      - {who: robots}\n", "line 5:15", "is none of any, bots, humans")
	f(head+"    route:\n      - {queues: [b]}\n", "line 5:19", `no queue "b"`)
	f(head+"    route:\n      - {teams: [b]}\n", `no team "b"`)
	f(head+"    route:\n      - {offer: {n: 51}}\n", "line 5:21", "1 to 50")
	f(head+"    order: {mode: savable_first}\n", "wants a service_level")
	f(head+"    order: {floor: 1}\n", "at least 2")
	f(head+"    order: {boosts: [{when: worker.id == 'a', ms: 1}]}\n", "cannot speak of workers")
	f(head+"    scoring: {skill_by: vip}\n", "names skills")
	f(head+"    service_level: x\n", `line 4:20`, `no service level "x"`)
	f(head+"    costs: {phone: none}\n", "line 4:20: $.queues[0].costs.phone: a cost is 1 to 10000 slots, or all")
	f(head+"costs: {live: 2, phone: 0}\nbar_ms: -1\n", "line 4:25: $.costs.phone: a cost", "line 5:9: $.bar_ms")
	f(head+"costs:\n  phone:\n  live: 10001\n", "line 6:9: $.costs.live: a cost", "$.costs.phone: a cost")
	f(head+"moves: {b: c}\n", "line 4:12", `no queue "c"`)
	f(head+"moves: {a: a}\n", "still a queue")
	f(head+"default_queue: b\n", `line 4:16: $.default_queue: there is no queue "b"`)
	f(head+"reopen_window_ms: -1\n", "line 4:19: $.reopen_window_ms: it is -1; it must be at least 0")
	f(head+"max_attempts: 1001\n", "line 4:15: $.max_attempts: max_attempts is 1001; the limit is 1000")
	f(head+"max_attempts: -1\n", "line 4:15")
	f(head+"wrapup_ms: 3600001\n", "line 4:12: $.wrapup_ms: it is 3600001; it must be 0 to 3600000")
	f(head+"orgins: ['*']\n", "did you mean origins?")
	f(head+"origins:\n  - https://shop.example\n  - https://shop.example/path\n", "line 6:5: $.origins[1]:", "is no origin", "without a path")
	for _, o := range []string{"shop.example", "https://", "https://Shop.example", "https://me@shop.example", "https://shop.example?q", "https://shop .example", "''"} {
		f(head+"origins: ["+o+"]\n", "line 4:11: $.origins[0]:", "is no origin")
	}
	f(head+"origins: ['*', 'https://shop.example']\n", "it stands alone")
	f(head+"origins: ['http://a', 'http://a']\n", "line 4:23: $.origins[1]: http://a is there twice")
	f(head+"teams: [{name: x, seats: [{queue: b}]}]\n", `no queue "b"`)
	f(head+"teams: [{name: x, attributes: {colour: red}}]\n", "no attribute worker.colour")
	f(head+"teams: [{name: x, attributes: {shops: s1}}]\n", "shops is a list")
	f(head+"teams: [{name: x, attributes: {kind: bot}}]\n", "a worker's own")
	f(head+"attributes: {task: {tier: number}}\n", "task.tier cannot be declared")
	f(head+"attributes: {task: {weight: text}}\n", "must be string, number, bool or list")
	f(head+"shops: [{name: x, floor: 3, cap: 2}]\n", "nor the cap below the floor")
	f(head+"shops: [{name: x, calendar: c}]\n", `no calendar "c"`)
	route := func(steps string) string { return "version: 1\nqueues:\n  - name: a\n    route: [" + steps + "]\n" }
	f(route("{hours: closed, calendar: c}"), `no calendar "c"`)
	f(route("{hours: nights}"), "is none of open, closed, always")
	f(route("{after_ms: 5}, {hours: always}"), "opens before one in front of it")
	f(route("{resort: ticket, hours: closed}, {who: bots}"), "behind the last resort")
	f(head+"    handoff: {queue: b, failed_turns: 2}\n", `no queue "b"`)
	f(head+"    handoff: {queue: a}\n", "say when")
	f(head+"    handoff: {when: worker.id == 'a'}\n", "cannot speak of workers")
	f(head+"    handoff: {failed_types: [x]}\n", "say after how many")
	f(head+"    handoff: {failed_turns: 2, failed_types: ['a b']}\n", "is no type")
	f(head+"    handoff: {asked_types: ['a b', text]}\n", "is no type", "usually say")
	f(head+"    park_ms: -1\n", "at least 0")
	f(head+"    wrapup_ms: -1\n", "it must be 0 to 3600000")
	f(head+"    wrapup_ms: 3600001\n", "it must be 0 to 3600000")
	f(route("{}, {classify: {ttl_ms: 5}}"), "only the first step")
	f(route("{classify: {ttl_ms: 5}, after_ms: 5}"), "has no after_ms")
	f(route("{classify: {default: {plan: gold}}}"), "there is no attribute task.plan")
	f(route("{classify: {default: {intent: 3}}}"), "intent is a string")
	f(head+"calendars: [{name: c, zone: Mars/Base, weekly: []}]\n", "no time zone")
	f(head+"calendars: [{name: c, zone: UTC, weekly: [{days: [mon], from: '9:00', to: '25:00'}]}]\n", `"9:00" is no time of day`, `"25:00" is no time of day`)
	f(head+"calendars: [{name: c, zone: UTC, weekly: [{days: [moon], from: '09:00', to: '08:00'}]}]\n", "did you mean mon?", "before it opens")
	f(head+"calendars: [{name: c, zone: UTC, weekly: [{days: [mon], from: '08:00', to: '12:00'}, {days: [mon], from: '11:00', to: '13:00'}]}]\n", "overlap")
	f(head+"calendars: [{name: c, zone: UTC, weekly: [], holidays: [{date: '2026-02-30'}]}]\n", "is no date")
	f(head+"service_levels: [{name: s, first_reply_ms: 0, target: 2, warn_at: [0.8, 0.5], unit: word}]\n", "at least 1", "0 to 1", "ascending", "none of turn")
	f(head+"service_levels: [{name: s, clock: never, preset: ebay, first_reply_ms: 1, full_auto: x, handover: x, transfer: x, unanswered: x}]\n",
		"none of first_response", "none of feige", "none of skip", "none of keep, restart", "none of keep, miss", "none of miss, drop")
	f(head+"service_levels: [{name: s, first_reply_ms: 1, holding_by: Anna}]\n", "needs holding")
	f(head+"x: &a [1]\ny: *a\n", "anchors")
	f(head+"grace_bots_ms: -1\n", "line 4:16", "at least 0")
	f("version: 1\nqueues: [{name: a}]\n---\nversion: 1\n", "2 documents")
	f("", "there is nothing in it")
	f("# version: 1\n", "there is nothing in it")
	f("version: 1\nversion: 1\nqueues: [{name: a}]\n", "line 2:1")
	f("{\n\t\"version\": 1,\n\t\"queues\": [{\"name\": \"a\", \"rout\": []}]\n}", "line 3", "did you mean route?")
	f(strings.Repeat("[", 100_000), "nested deeper")
	f(strings.Repeat("- ", 100_000), "nested deeper")
	f(strings.Repeat("x", 2<<20), "the limit is")
	f("queues: [a", "line 1")
	f("[]", "")
	f(head+"trace_keep: 65537\n", "65536")
	f(head+"trace_days: 3651\ntrace_each: 17\n", "0 to 3650", "the limit is 16")
	f(head+"hooks: [{name: h, url: \"ftp://x/\", secret: whsec_MfKQ9r8G+GYq}]\n", "write https://", "whse…", "no name of a secret")
	f(head+"hooks: [{name: h, url: \"https://u:p@x/#a\", secret: s, timeout_ms: 1, attempts: 51}]\n", "user or password", "100 to 30000", "1 to 50")
	f("version: 1\nhooks: [{name: desk, url: \"https://x/\", secret: s}]\nqueues: [{name: a, route: [{who: bots, hook: desk}, {resort: ticket, hook: dest}]}]\n", "only a last step", "did you mean desk?")
}

// Session shards hear of hooks with the rules of queues: each with its defaults, and which step calls it, a step without a name by its place.
func TestHooksTravel(t *testing.T) {
	r := parse(t, []byte("version: 1\nhooks: [{name: desk, url: \"https://x/\", secret: s}]\nqueues: [{name: a, route: [{who: bots}, {resort: ticket, hook: desk}, {name: later, resort: callback, hook: desk}]}]\n"))
	h, err := routes.ParseHooks(r.Document.AppendRules(nil))
	if err != nil || h.Of("a", "step 2") != "desk" || h.Of("a", "later") != "desk" || h.Of("a", "step 1") != "" || h.Of("b", "later") != "" {
		t.Fatalf("%+v, %v", h, err)
	}
	if x := h.Named("desk"); x == nil || x.URL != "https://x/" || x.Secret != "s" || x.TimeoutMS != 5000 || x.Attempts != 12 || h.Named("other") != nil {
		t.Fatalf("%+v", x)
	}
	var none *routes.Hooks
	if none.Of("a", "later") != "" || none.Named("desk") != nil {
		t.Fatal("no hooks have some")
	}
}

func TestSchemaIsPublished(t *testing.T) {
	if *rewrite {
		if err := os.WriteFile("schema.json", routes.Schema(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(read(t, "schema.json"), routes.Schema()) {
		t.Fatal("schema.json is not what Schema returns; run the test with -rewrite")
	}
}

// The schema takes the examples, and refuses what Parse refuses for its shape.
func TestSchemaAndExamples(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(routes.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	valid := func(doc []byte) error {
		var v any
		if err := yaml.Unmarshal(doc, &v); err != nil {
			return err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &v); err != nil {
			return err
		}
		return (&validator{root: schema}).check(schema, v, "$")
	}
	examples, err := filepath.Glob("examples/*")
	examples = append(examples, merchant)
	if err != nil || len(examples) < 2 {
		t.Fatal(examples, err)
	}
	for _, path := range examples {
		doc := bytes.ReplaceAll(read(t, path), []byte("\t"), []byte(" "))
		parse(t, doc)
		if err := valid(doc); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	bad := func(doc string) {
		t.Helper()
		if valid([]byte(doc)) == nil {
			t.Fatalf("the schema takes %s", doc)
		}
		if _, err := routes.Parse([]byte(doc)); err == nil {
			t.Fatalf("Parse takes %s", doc)
		}
	}
	bad("version: 2\nqueues: [{name: a}]")
	bad("version: 1\nqueues: [{name: a, prioritty: 3}]")
	bad("version: 1\nqueues: [{name: a, priority: high}]")
	bad("version: 1\nqueues: [{name: a, order: {mode: lifo}}]")
	bad("version: 1\nqueues: [{name: a, route: [{offer: {n: 51}}]}]")
	bad("version: 1\nqueues: [{name: a, costs: {phone: some}}]")
	bad("version: 1\nqueues: [{name: a}]\ncalendars: [{name: c, zone: UTC, weekly: [{days: [mon], from: '9:00', to: '10:00'}]}]")
}

// validator knows the words of JSON Schema that ours has, and fails on others.
type validator struct{ root map[string]any }

func (v *validator) check(s map[string]any, x any, path string) error {
	for word := range s {
		if !slices.Contains([]string{"$schema", "$defs", "$ref", "title", "description", "type", "properties", "additionalProperties", "required", "items", "enum", "pattern", "minimum", "maximum", "oneOf", "anyOf", "const"}, word) {
			return fmt.Errorf("%s: the schema says %s, which this test does not know", path, word)
		}
	}
	if ref, ok := s["$ref"].(string); ok {
		return v.check(v.root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any), x, path)
	}
	for _, word := range []string{"oneOf", "anyOf"} {
		if list, ok := s[word].([]any); ok && !slices.ContainsFunc(list, func(o any) bool { return v.check(o.(map[string]any), x, path) == nil }) {
			return fmt.Errorf("%s is none of them: %v", path, x)
		}
	}
	if c, ok := s["const"]; ok && c != x {
		return fmt.Errorf("%s is not %v", path, c)
	}
	if e, ok := s["enum"].([]any); ok && !slices.Contains(e, x) {
		return fmt.Errorf("%s: %v is none of %v", path, x, e)
	}
	if err := kind(s["type"], x); err != nil {
		return fmt.Errorf("%s %w", path, err)
	}
	switch x := x.(type) {
	case map[string]any:
		return v.object(s, x, path)
	case []any:
		items, ok := s["items"].(map[string]any)
		for i := range x {
			if !ok {
				break // of anything: its type was checked
			}
			if err := v.check(items, x[i], fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case float64:
		if least, ok := s["minimum"].(float64); ok && x < least {
			return fmt.Errorf("%s is below %v", path, least)
		}
		if most, ok := s["maximum"].(float64); ok && x > most {
			return fmt.Errorf("%s is above %v", path, most)
		}
	case string:
		if p, ok := s["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(x) {
			return fmt.Errorf("%s does not look like %s", path, p)
		}
	}
	return nil
}

func (v *validator) object(s, x map[string]any, path string) error {
	for _, r := range orNone(s["required"]) {
		if _, ok := x[r.(string)]; !ok {
			return fmt.Errorf("%s has no %s", path, r)
		}
	}
	props, _ := s["properties"].(map[string]any)
	for name, item := range x {
		of, ok := props[name].(map[string]any)
		if !ok {
			if of, ok = s["additionalProperties"].(map[string]any); !ok {
				return fmt.Errorf("%s.%s is not in the schema", path, name)
			}
		}
		if err := v.check(of, item, path+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func orNone(x any) []any {
	list, _ := x.([]any)
	return list
}

func kind(want, x any) error {
	got := map[bool]string{true: "null"}[x == nil]
	switch x := x.(type) {
	case map[string]any:
		got = "object"
	case []any:
		got = "array"
	case string:
		got = "string"
	case bool:
		got = "boolean"
	case float64:
		if got = "number"; want == "integer" && x == float64(int64(x)) {
			got = "integer"
		}
	}
	if want == nil || want == got || slices.Contains(orNone(want), any(got)) {
		return nil
	}
	return fmt.Errorf("is a %s, not a %v", got, want)
}

func TestCalendar(t *testing.T) {
	r := parse(t, []byte(`
version: 1
queues: [{name: a}]
calendars:
  - name: berlin
    zone: Europe/Berlin
    weekly:
      - {days: [mon, tue, wed, thu, fri, sat], from: "08:00", to: "12:00"}
      - {days: [mon, tue, wed, thu, fri], from: "13:00", to: "18:00"}
      - {days: [sun], from: "01:00", to: "02:45"}
      - {days: [sat], from: "22:00", to: "24:00"}
    holidays:
      - {date: "2026-12-25"}
      - {date: "2026-12-24", open: [{from: "09:00", to: "10:00"}]}
  - {name: never, zone: UTC, weekly: [{days: [mon], from: "08:00", to: "09:00"}], holidays: []}
  - {name: always, zone: UTC, weekly: [{days: [mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"}]}
`))
	c := r.Calendars["berlin"]
	at := func(s string) int64 {
		t.Helper()
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return x.UnixMilli()
	}
	f := func(when string, open bool, next string) {
		t.Helper()
		if got := c.Open(at(when)); got != open {
			t.Fatalf("open at %s is %v", when, got)
		}
		if got, ok := c.Next(at(when)); !ok || got != at(next) {
			t.Fatalf("after %s it changes at %s, %v; want %s", when, time.UnixMilli(got).UTC(), ok, next)
		}
	}
	f("2026-11-23T07:59:59+01:00", false, "2026-11-23T08:00:00+01:00")
	f("2026-11-23T08:00:00+01:00", true, "2026-11-23T12:00:00+01:00")
	f("2026-11-23T12:30:00+01:00", false, "2026-11-23T13:00:00+01:00") // lunch
	f("2026-11-23T18:00:00+01:00", false, "2026-11-24T08:00:00+01:00")
	f("2026-07-20T08:00:00+02:00", true, "2026-07-20T12:00:00+02:00") // summer
	f("2026-11-21T23:00:00+01:00", true, "2026-11-22T00:00:00+01:00") // up to midnight
	f("2026-12-24T08:30:00+01:00", false, "2026-12-24T09:00:00+01:00")
	f("2026-12-24T10:00:00+01:00", false, "2026-12-26T08:00:00+01:00") // Christmas
	f("2026-03-29T01:30:00+01:00", true, "2026-03-29T03:00:00+02:00")  // 02:00 to 03:00 is skipped
	f("2026-10-25T01:30:00+02:00", true, "2026-10-25T02:45:00+02:00")  // 02:00 to 03:00 comes twice
	f("2026-10-25T02:50:00+02:00", false, "2026-10-25T02:00:00+01:00")
	f("2026-10-25T02:30:00+01:00", true, "2026-10-25T02:45:00+01:00")
	if x, ok := r.Calendars["always"].Next(at("2026-01-01T00:00:00Z")); ok || !r.Calendars["always"].Open(at("2026-01-01T00:00:00Z")) {
		t.Fatalf("what is always open closes at %d", x)
	}
	// Between a moment and the next change nothing changes, at it it does.
	for x := at("2026-03-27T00:00:00Z"); x < at("2026-03-31T00:00:00Z"); x += 17 * 60_000 {
		next, ok := c.Next(x)
		if !ok || c.Open(next) == c.Open(x) || c.Open(next-1) != c.Open(x) {
			t.Fatalf("after %v: %v", time.UnixMilli(x).UTC(), time.UnixMilli(next).UTC())
		}
		for y := x; y < next; y += 60_000 {
			if c.Open(y) != c.Open(x) {
				t.Fatalf("after %v it changes before %v", time.UnixMilli(x).UTC(), time.UnixMilli(next).UTC())
			}
		}
	}
}

func TestDiff(t *testing.T) {
	a := parse(t, read(t, merchant))
	if d := routes.Diff(&a.Document, &a.Document); len(d) != 0 {
		t.Fatalf("a document differs from itself: %v", d)
	}
	text := string(read(t, merchant))
	for _, x := range [][2]string{
		{"after_ms: 60000\n", "after_ms: 45000\n"},
		{", weight: 4, floor: 1", ", weight: 4"},
		{"costs: {phone: all, live: 2}", "costs: {phone: all, mail: 1}"},
		{"  - {name: night, workers: [agent18]}\n", "  - {name: night, workers: [agent18, agent19]}\n"},
		{"fair: true\n", ""},
	} {
		if !strings.Contains(text, x[0]) {
			t.Fatal(x[0])
		}
		text = strings.Replace(text, x[0], x[1], 1)
	}
	b := parse(t, []byte(text))
	var got []string
	for _, c := range routes.Diff(&a.Document, &b.Document) {
		got = append(got, c.String())
	}
	want := []string{
		"- costs.live: 2", "+ costs.mail: 1", "- fair: true", "~ queues[service].route[2].after_ms: 60000 → 45000", "- shops[s01].floor: 1",
		`~ teams[night].workers: ["agent18"] → ["agent18","agent19"]`,
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	c := b.Document
	c.Shops = slices.Clone(c.Shops)
	slices.Reverse(c.Shops)
	if d := routes.Diff(&b.Document, &c); len(d) != 0 {
		t.Fatalf("the order of shops is a difference: %v", d)
	}
	c.Shops = append(c.Shops, routes.Shop{Name: "s54"})
	if d := routes.Diff(&b.Document, &c); len(d) != 2 || d[0].Path != "shops[s54]" {
		t.Fatalf("a shop more: %v", d)
	}
}

// What is written as JSON reads as it was.
func TestRoundTrip(t *testing.T) {
	a := parse(t, read(t, merchant))
	text, err := json.Marshal(&a.Document)
	if err != nil {
		t.Fatal(err)
	}
	b := parse(t, text)
	if d := routes.Diff(&a.Document, &b.Document); len(d) != 0 {
		t.Fatalf("%v", d)
	}
	if !reflect.DeepEqual(a.Broker.Shops, b.Broker.Shops) || !reflect.DeepEqual(a.Broker.Teams, b.Broker.Teams) {
		t.Fatal("the pools differ")
	}
}

func FuzzParse(f *testing.F) {
	for _, path := range []string{merchant, "examples/small.json"} {
		f.Add(read(f, path))
	}
	f.Add([]byte("version: 1\nqueues: [{name: a, route: [{select: 'worker.id == 1'}]}]"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		r, err := routes.Parse(doc)
		if err != nil {
			var errs routes.Errors
			if !errors.As(err, &errs) || len(errs) == 0 || len(errs) > routes.MaxErrors {
				t.Fatalf("%q: %v", doc, err)
			}
			return
		}
		if err := r.Broker.Validate(); err != nil {
			t.Fatalf("%q: %v", doc, err)
		}
		broker.New(r.Broker)
	})
}

// What sessions go by comes out as it went in, with selectors that speak of the document's own attributes; what is no rules is an
// error.
func TestRules(t *testing.T) {
	r := parse(t, []byte(`
version: 1
attributes: {task: {plan: string}}
queues:
  - {name: a, handoff: {failed_turns: 2, when: task.plan == 'gold', queue: b}, park_ms: 5}
  - {name: b, handoff: {failed_turns: 1, failed_types: [sorry, what]}}
  - {name: c}
  - {name: d, wrapup_ms: 0}
`))
	list, err := routes.ParseRules(r.Document.AppendRules(nil))
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	if d := list[2]; d.Queue != "d" || d.WrapUpMS == nil || *d.WrapUpMS != 0 || list[0].WrapUpMS != nil { // none at all is not the tenant's
		t.Errorf("%+v", d)
	}
	a, b := list[0], list[1]
	if a.Queue != "a" || a.FailedTurns != 2 || !slices.Equal(a.FailedTypes, []string{"fallback"}) || a.To != "b" || a.ParkMS != 5 || a.Holds.String() != "task.plan == 'gold'" {
		t.Errorf("%+v", a)
	}
	if b.Queue != "b" || !slices.Equal(b.FailedTypes, []string{"sorry", "what"}) || b.Holds != nil || b.ParkMS != 0 {
		t.Errorf("%+v", b)
	}
	none := parse(t, []byte("version: 1\nqueues: [{name: a}]\n"))
	if b := none.Document.AppendRules(nil); len(b) != 0 {
		t.Errorf("no rules are %q", b)
	}
	for _, bad := range []string{"{", `{"rules":[{"queue":"a","when":"task.plan =="}]}`, `{"task":{"plan":"colour"},"rules":[]}`} {
		if _, err := routes.ParseRules([]byte(bad)); err == nil {
			t.Errorf("%s are rules", bad)
		}
	}
}
