package routes

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Change is something in which two documents differ.
type Change struct {
	Path string // as queues[default].route[1].after_ms: what has a name goes by it
	Was  string // as JSON; empty when it was not there
	Is   string // as JSON; empty when it is not there any more
}

// String returns the change for people.
func (c Change) String() string {
	switch {
	case c.Was == "":
		return fmt.Sprintf("+ %s: %s", c.Path, c.Is)
	case c.Is == "":
		return fmt.Sprintf("- %s: %s", c.Path, c.Was)
	}
	return fmt.Sprintf("~ %s: %s → %s", c.Path, c.Was, c.Is)
}

// Diff returns in what b differs from a, by path. Queues, shops, teams, calendars and service levels are compared by name,
// so their order does not matter; steps are compared by place, as theirs does.
func Diff(a, b *Document) []Change {
	was, is := flat(a), flat(b)
	paths := slices.Sorted(maps.Keys(was))
	for p := range is {
		if _, ok := was[p]; !ok {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	var changes []Change
	for _, p := range paths {
		if was[p] != is[p] {
			changes = append(changes, Change{p, was[p], is[p]})
		}
	}
	return changes
}

// flat returns the values of d by their paths.
func flat(d *Document) map[string]string {
	text, err := json.Marshal(d)
	var v any
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		panic("a document is not JSON: " + err.Error()) // it has plain fields alone
	}
	out := map[string]string{}
	flatten("", v, out)
	return out
}

func flatten(path string, v any, out map[string]string) {
	switch x := v.(type) {
	case map[string]any:
		for k, v := range x {
			p := k
			if path != "" {
				p = path + "." + k
			}
			flatten(p, v, out)
		}
		return
	case []any:
		if len(x) > 0 {
			if _, ok := x[0].(map[string]any); ok {
				flattenList(path, x, out)
				return
			}
		}
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was JSON a moment ago
	}
	out[path] = string(text)
}

func flattenList(path string, list []any, out map[string]string) {
	for i, v := range list {
		m, _ := v.(map[string]any)
		key := fmt.Sprint(i)
		if name, ok := m["name"].(string); ok && !isStep(path) {
			key = name
		}
		at := path + "[" + key + "]"
		if len(m) == 0 || len(m) == 1 && m["name"] != nil {
			out[at] = "{}"
		}
		flatten(at, v, out)
	}
}

// isStep tells whether the list at path is one whose order matters.
func isStep(path string) bool { return len(path) >= 6 && path[len(path)-6:] == ".route" }
