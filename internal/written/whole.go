package written

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Whole returns an error, a [yaml.Error], when a number with a fraction stands in file where a value of into's type, or of what that points to, has a whole one:
// decoding would cut the fraction off in silence, so that 2.9 people are two. So does an item of a list with nothing in it, which would be a step that asks for nothing, or
// somebody without a name. What a type reads by itself is its own to judge. It returns the first.
func Whole(file *ast.File, into any) error {
	w := whole{fields: map[reflect.Type]map[string]reflect.Type{}}
	for _, d := range file.Docs {
		if err := w.look(d.Body, reflect.TypeOf(into)); err != nil {
			return err
		}
	}
	return nil
}

// whole remembers the fields of the types that it has met.
type whole struct {
	fields map[reflect.Type]map[string]reflect.Type
}

// look returns what is wrong first below n, which is read into a t, or nil.
func (w *whole) look(n ast.Node, t reflect.Type) *yaml.SyntaxError {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n == nil || readsItself(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fraction(n)
	case reflect.Slice, reflect.Array:
		if list, ok := n.(*ast.SequenceNode); ok {
			for _, v := range list.Values {
				if _, empty := v.(*ast.NullNode); empty {
					return &yaml.SyntaxError{Message: "an item of the list is empty", Token: v.GetToken()}
				}
				if err := w.look(v, t.Elem()); err != nil {
					return err
				}
			}
		}
	case reflect.Struct, reflect.Map:
		if m, ok := n.(ast.MapNode); ok {
			for i := m.MapRange(); i.Next(); {
				of := w.below(t, i.Key().GetToken().Value)
				if of == nil {
					continue // the decoder says that there is no such field
				}
				if err := w.look(i.Value(), of); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// below returns the type of what stands under a key in a t, or nil.
func (w *whole) below(t reflect.Type, key string) reflect.Type {
	if t.Kind() == reflect.Map {
		return t.Elem()
	}
	fields, ok := w.fields[t]
	if !ok {
		fields = map[string]reflect.Type{}
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			fields[name] = f.Type
		}
		w.fields[t] = fields
	}
	return fields[key]
}

// readsItself says whether t has its own way to be read.
func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[yaml.BytesUnmarshaler]()) || p.Implements(reflect.TypeFor[yaml.InterfaceUnmarshaler]())
}

// fraction returns what is wrong with n when it is a number that is not whole, in quotes or not, or nil.
func fraction(n ast.Node) *yaml.SyntaxError {
	switch n.(type) {
	case *ast.FloatNode, *ast.StringNode:
		t := n.GetToken()
		if v, err := strconv.ParseFloat(strings.ReplaceAll(t.Value, "_", ""), 64); err == nil && v != math.Trunc(v) {
			return &yaml.SyntaxError{Message: fmt.Sprintf("%.40q is no whole number", t.Value), Token: t}
		}
	}
	return nil
}
