package routes_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"switchboard/broker/routes"
)

// docs/routing.md has every field of the schema in a table, and no other; what is needed is said to be. Its example is one.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/routing.md")
	if err != nil {
		t.Fatal(err)
	}
	type object struct {
		Properties map[string]any
		Required   []string
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(routes.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	want := map[string]object{"root": schema.object}
	maps.Copy(want, schema.Defs)
	heading := regexp.MustCompile("^### .*\\(`(\\w+)`\\)$")
	row := regexp.MustCompile("^\\| `(\\w+)` \\| (.+) \\| (.+) \\|$")
	name := ""
	for line := range strings.SplitSeq(string(page), "\n") {
		if m := heading.FindStringSubmatch(line); m != nil {
			name = m[1]
			if _, ok := want[name]; !ok {
				t.Errorf("there is no %s in the schema, or it stands twice on the page", name)
			}
		}
		m := row.FindStringSubmatch(line)
		if m == nil || name == "" {
			continue
		}
		o := want[name]
		if o.Properties[m[1]] == nil {
			t.Errorf("%s has no field %s, or it stands twice on the page", name, m[1])
		}
		delete(o.Properties, m[1])
		if needed := slices.Contains(o.Required, m[1]); needed != (m[2] == "needed") {
			t.Errorf("%s.%s is needed: %v; the page says %q", name, m[1], needed, m[2])
		}
	}
	for name, o := range want {
		for field := range o.Properties {
			t.Errorf("the page does not explain %s.%s", name, field)
		}
	}
	_, example, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if r := parse(t, []byte(example)); len(r.Broker.Queues) != 1 || len(r.Broker.Queues[0].Steps) != 4 {
		t.Errorf("the example has %+v", r.Broker)
	}
}

// What the page shows of documents is YAML: who copies a piece of it gets no mistake of ours.
func TestPageIsYAML(t *testing.T) {
	page, err := os.ReadFile("../../docs/routing.md")
	if err != nil {
		t.Fatal(err)
	}
	pieces := regexp.MustCompile("(?ms)^ *```yaml\n(.*?)^ *```").FindAllSubmatch(page, -1)
	if len(pieces) < 5 {
		t.Fatalf("%d pieces were found", len(pieces))
	}
	for _, p := range pieces {
		var v map[string]any
		if err := yaml.Unmarshal(p[1], &v); err != nil || len(v) == 0 {
			t.Errorf("%s\n%v", p[1], err)
		}
	}
}
