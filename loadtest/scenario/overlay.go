package scenario

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// overlay lays sets over a document that was read before, and returns another document.
func overlay(doc []byte, sets []string) ([]byte, error) {
	root := map[string]any{}
	if err := unmarshal(doc, &root); err != nil {
		return nil, err
	}
	for _, set := range sets {
		key, text, ok := strings.Cut(set, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--set %s: it must be key=value", set)
		}
		var v any
		if err := unmarshal([]byte(text), &v); err != nil {
			return nil, fmt.Errorf("--set %s: the value is no YAML: %.80q", set, text)
		}
		steps, err := steps(key)
		if err != nil {
			return nil, fmt.Errorf("--set %s: %w", set, err)
		}
		next, err := put(root, steps, v)
		if err != nil {
			return nil, fmt.Errorf("--set %s: %w", set, err)
		}
		root = next.(map[string]any)
	}
	return yaml.Marshal(root)
}

// unmarshal reads one document.
func unmarshal(doc []byte, into any) error {
	if _, err := parseOne(doc); err != nil {
		return err
	}
	return yaml.Unmarshal(doc, into)
}

// steps parts "actions[0].at" into "actions", 0, "at".
func steps(key string) (out []any, err error) {
	for part := range strings.SplitSeq(key, ".") {
		name, rest, _ := strings.Cut(part, "[")
		if name == "" {
			return nil, fmt.Errorf("%q is no field", key)
		}
		out = append(out, name)
		for rest != "" {
			number, more, ok := strings.Cut(rest, "]")
			n, err := strconv.Atoi(number)
			if !ok || err != nil || n < 0 || more != "" && more[0] != '[' {
				return nil, fmt.Errorf("%q is no field", key)
			}
			out = append(out, n)
			rest = strings.TrimPrefix(more, "[")
		}
	}
	return out, nil
}

// put returns in with v at the end of path. A list grows by one at most.
func put(in any, path []any, v any) (any, error) {
	if len(path) == 0 {
		return v, nil
	}
	switch step := path[0].(type) {
	case int:
		list, ok := in.([]any)
		if in != nil && !ok {
			return nil, fmt.Errorf("it is no list")
		}
		if step > len(list) {
			return nil, fmt.Errorf("the list has %d entries", len(list))
		}
		if step == len(list) {
			list = append(list, nil)
		}
		next, err := put(list[step], path[1:], v)
		list[step] = next
		return list, err
	case string:
		m, ok := in.(map[string]any)
		if in != nil && !ok {
			return nil, fmt.Errorf("there is nothing below it")
		}
		if m == nil {
			m = map[string]any{}
		}
		next, err := put(m[step], path[1:], v)
		m[step] = next
		return m, err
	}
	return nil, fmt.Errorf("no step")
}
