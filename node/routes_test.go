package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// routed makes demo a tenant that goes by doc.
func routed(doc string) func(*node.Config) {
	return func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"demo": {Routes: node.InlineOf([]byte(doc))}}
	}
}

// What a session was opened with, its shop, channel and tier, and what a token and the document say of a worker are what
// selectors see: each customer goes to the one who is meant for him.
func TestSelectorsSeeWhatIsKnown(t *testing.T) {
	n := start(t, t.TempDir(), routed(`
version: 1
attributes: {task: {plan: string}, worker: {night: bool}}
teams:
  - {name: seniors, workers: [ann], attributes: {level: 0.9, shops: [s2]}}
queues:
  - name: default
    route:
      - {name: night, select: "worker.night == true AND task.plan == 'gold'"}
      - {name: skilled, select: "worker.skills HAS task.intent"}
      - {name: home, select: "worker.shops HAS task.shop AND worker.level > 0.5"}
      - {name: own, select: "worker.shops HAS task.shop"}
      - {name: tier, select: "worker.id == 'vip' AND task.tier == 'gold'"}
      - {name: phone, select: "worker.id == 'ear' AND task.channel == 'phone'"}
`))
	defer stop(t, n)
	bots := map[string]*peer{}
	for _, c := range []token.Claims{
		{Sub: "ann"},
		{Sub: "vip"},
		{Sub: "ear"},
		{Sub: "own", Shop: "s3"},
		{Sub: "owl", Attributes: []byte(`{"night":true}`)},
		{Sub: "refunder", Skills: map[string]float64{"refund": 0.9}},
	} {
		c.Role, c.Kind, c.Queues = wire.RoleWorker, wire.OriginBot, []string{"*"}
		w := login(t, n, c)
		w.subscribe(obj{"queues": []string{"*"}, "slots": 8})
		bots[c.Sub] = w
	}
	f := func(want, sub string, c token.Claims, open obj) {
		t.Helper()
		c.Sub, c.Role = sub, wire.RoleCustomer
		p := login(t, n, c)
		id := p.open(open)
		p.ask("send", obj{"session": id, "body": text("hi")})
		if a := bots[want].push("assigned"); a["session"] != id {
			t.Fatalf("%s got %v; want %s, which is %s's", want, a["session"], id, sub)
		}
	}
	f("owl", "a", token.Claims{}, obj{"attributes": obj{"plan": "gold"}})
	f("refunder", "b", token.Claims{}, obj{"attributes": obj{"intent": "refund"}})
	f("ann", "c", token.Claims{Shop: "s2"}, obj{})
	f("own", "d", token.Claims{Shop: "s3"}, obj{})
	f("vip", "e", token.Claims{Tier: "gold"}, obj{"attributes": obj{"tier": "none"}}) // the token knows better
	f("ear", "f", token.Claims{}, obj{"channel": "phone"})
}

// A tenant says in one way how it routes, and its mistakes are told where they stand in the whole file.
func TestRoutesInConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "routes.yaml")
	f := func(want, doc string) {
		t.Helper()
		cfg := node.Config{Data: dir, Listen: "127.0.0.1:0"}
		if err := yaml.Unmarshal([]byte(doc), &cfg); err != nil {
			t.Fatal(err)
		}
		err := cfg.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nis answered %v; want %q", doc, err, want)
		}
	}
	write := func(doc string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("version: 1\nqueues:\n  - name: default\n    ordr: {}\n")
	f(file+`: line 4:5: there is no field "ordr"`, "tenants: {demo: {routes_file: "+file+"}}")
	write("version: 1\nqueues:\n  - name: default\n  - name: later\n")
	f("", "tenants: {demo: {routes_file: "+file+", default_queue: later}}")
	f("default_queue other is none of its queues", "tenants: {demo: {routes_file: "+file+", default_queue: other}}")
	f("no such file", "tenants: {demo: {routes_file: "+file+".not}}")
	f("more than one of", "tenants: {demo: {routes_file: "+file+", queues: [{name: a}]}}")
	f("has no queues", "tenants: {demo: {}}")
	f("routes: line 8:25:", `# a comment
tenants:
  demo:
    routes:
      version: 1
      queues:
        - name: default
          route: [{who: nobody}]
`)
	f("", "tenants:\n  demo:\n    routes: {version: 1, queues: [{name: default}]}\n")
	f(`"b c " is no name`, `tenants: {demo: {queues: [{name: "b c "}]}}`)
	f("cannot be said by clients", `tenants: {demo: {queues: [{name: "b c"}]}}`)
	f("is none of banded, weighted", "tenants: {demo: {queues: [{name: a, scoring: best}]}}")
}
