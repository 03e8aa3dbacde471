package routes

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Schema returns the JSON Schema (2020-12) of a document, made from the Go types. schema.json is the same text.
func Schema() []byte {
	g := &generator{defs: map[string]any{}}
	root := g.object(reflect.TypeFor[Document]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Switchboard routes"
	root["$defs"] = g.defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // it is made of maps and strings
	}
	return append(text, '\n')
}

type generator struct{ defs map[string]any }

func (g *generator) object(t reflect.Type) map[string]any {
	props := map[string]any{}
	var required []string
	for f := range t.Fields() {
		name := f.Tag.Get("yaml")
		props[name] = g.field(f.Type, f.Tag)
		if f.Tag.Get("required") != "" {
			required = append(required, name)
		}
	}
	o := map[string]any{"type": "object", "additionalProperties": false, "properties": props}
	if required != nil {
		o["required"] = required
	}
	return o
}

func (g *generator) field(t reflect.Type, tag reflect.StructTag) map[string]any {
	s := g.of(t, tag)
	if d := tag.Get("doc"); d != "" {
		s["description"] = d
	}
	return s
}

// of returns the schema of a type; what its tag says is said of scalars, or of a list's or map's items.
func (g *generator) of(t reflect.Type, tag reflect.StructTag) map[string]any {
	if t == reflect.TypeFor[Cost]() {
		return map[string]any{"oneOf": []any{map[string]any{"type": "integer", "minimum": 1, "maximum": 10_000}, map[string]any{"const": "all"}}}
	}
	switch t.Kind() {
	case reflect.Slice:
		return map[string]any{"type": "array", "items": g.of(t.Elem(), tag)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": g.of(t.Elem(), tag)}
	case reflect.Struct:
		name := strings.ToLower(strings.TrimSuffix(t.Name(), "Doc"))
		if _, ok := g.defs[name]; !ok {
			g.defs[name] = nil
			g.defs[name] = g.object(t)
		}
		return map[string]any{"$ref": "#/$defs/" + name}
	case reflect.Interface:
		scalar := map[string]any{"type": []string{"string", "number", "boolean"}}
		return map[string]any{"anyOf": []any{scalar, map[string]any{"type": "array", "items": map[string]any{"type": "string"}}}}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		s := map[string]any{"type": "string"}
		if e := tag.Get("enum"); e != "" {
			s["enum"] = strings.Split(e, ",")
		}
		if p := tag.Get("pattern"); p != "" {
			s["pattern"] = p
		}
		return s
	}
	s := map[string]any{"type": "integer"}
	if t.Kind() == reflect.Float64 {
		s["type"] = "number"
	}
	for tagged, word := range map[string]string{"min": "minimum", "max": "maximum"} {
		if v, err := strconv.ParseFloat(tag.Get(tagged), 64); err == nil {
			s[word] = v
		}
	}
	return s
}

// fieldNames returns the names of all fields, to guess what was meant.
func fieldNames() (names []string) {
	seen := map[reflect.Type]bool{}
	var look func(reflect.Type)
	look = func(t reflect.Type) {
		for t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t] {
			return
		}
		seen[t] = true
		for f := range t.Fields() {
			names = append(names, f.Tag.Get("yaml"))
			look(f.Type)
		}
	}
	look(reflect.TypeFor[Document]())
	return names
}
