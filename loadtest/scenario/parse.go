package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"switchboard/internal/written"
)

// Error is something wrong in a document, with its place.
type Error struct {
	// File is what [Parse] was told.
	File string
	// Line and Column count from 1. Line is 0 when the place is not in the file: it was set from outside.
	Line, Column int
	// Path is the field, as customers.sockets or gates[2]; empty for what is not about a field.
	Path    string
	Message string
}

// Error implements error: file:line:column: field: what is wrong.
func (e *Error) Error() string {
	s := e.File
	if e.Line > 0 {
		s += fmt.Sprintf(":%d:%d", e.Line, e.Column)
	}
	for _, more := range []string{e.Path, e.Message} {
		if s != "" && more != "" {
			s += ": "
		}
		s += more
	}
	return s
}

// Parse reads a scenario, lays sets ("customers.sockets=500", "gates[0]=p99 < 5ms") over it, fills in defaults and
// checks everything. Each error is an [*Error]; all that were found are joined. file is for them alone.
func Parse(file string, doc []byte, sets ...string) (*Scenario, error) {
	doc = unmarked(doc)
	s, err := parse(file, doc)
	if err != nil || len(sets) == 0 {
		return s, err
	}
	if doc, err = overlay(doc, sets); err != nil {
		return nil, err
	}
	s, err = parse(file, doc)
	if err != nil {
		return nil, outside(err, "with --set "+strings.Join(sets, " --set "))
	}
	return s, nil
}

// outside takes the places from errors: the lines are not those of the file. What stands instead of them, which may be long, is said once.
func outside(err error, file string) error {
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var out []error
	for _, one := range many.Unwrap() {
		if e := new(Error); errors.As(one, &e) {
			e.File, e.Line = file, 0
			file = ""
		}
		out = append(out, one)
	}
	return errors.Join(out...)
}

func parse(file string, doc []byte) (*Scenario, error) {
	s := &Scenario{}
	if err := read(file, doc, s, s.check); err != nil {
		return nil, err
	}
	s.defaults()
	return s, nil
}

// Decode reads a document of another kind that is made of the words of this package, as [Parse] does: strictly, with sets
// laid over it, every [Quantity] and [Dist] held to its unit (the tag unit of its field, or of a field around it), and
// errors with their places. check, which may be nil, reports what else makes no sense by its path.
func Decode(file string, doc []byte, into any, check func(at func(path string, err error)), sets ...string) error {
	doc = unmarked(doc)
	if len(sets) == 0 {
		return read(file, doc, into, check)
	}
	doc, err := overlay(doc, sets)
	if err != nil {
		return err
	}
	return outside(read(file, doc, into, check), "with --set "+strings.Join(sets, " --set "))
}

// unmarked returns a document without the byte order mark that some editors begin a file with.
func unmarked(doc []byte) []byte { return bytes.TrimPrefix(doc, []byte("\ufeff")) }

// read decodes doc into a pointer to a struct, and checks it.
func read(file string, doc []byte, into any, check func(at func(path string, err error))) error {
	tree, err := parseOne(doc)
	if err == nil {
		err = written.Whole(tree, into)
	}
	if err == nil {
		err = yaml.NewDecoder(bytes.NewReader(doc), yaml.Strict()).Decode(into)
	}
	if y := yaml.Error(nil); errors.As(err, &y) {
		e := &Error{File: file, Message: y.GetMessage()}
		if t := y.GetToken(); t != nil && t.Position != nil {
			e.Line, e.Column = t.Position.Line, t.Position.Column
		}
		return errors.Join(e)
	}
	if errors.Is(err, io.EOF) {
		return errors.Join(&Error{File: file, Message: "it is empty: there is no document in it"})
	}
	if err != nil {
		return errors.Join(&Error{File: file, Message: strings.ReplaceAll(err.Error(), "\n", " ")})
	}
	var errs []error
	at := func(path string, err error) {
		line, column := place(tree, path)
		errs = append(errs, &Error{File: file, Line: line, Column: column, Path: path, Message: err.Error()})
	}
	quantities(reflect.ValueOf(into).Elem(), "", None, at)
	if check != nil {
		check(at)
	}
	return errors.Join(errs...)
}

// parseOne parses one document.
func parseOne(doc []byte) (*ast.File, error) {
	tree, err := written.Parse(doc)
	if err != nil {
		return nil, err
	}
	docs := 0
	for _, d := range tree.Docs {
		if d.Body != nil {
			docs++
		}
	}
	if docs > 1 {
		return nil, fmt.Errorf("there are %d documents; it must be one", docs)
	}
	return tree, nil
}

// place finds a field in the document; one that is absent is where its nearest parent is.
func place(tree *ast.File, path string) (line, column int) {
	for path != "" {
		if p, err := yaml.PathString("$." + path); err == nil {
			if n, err := p.FilterFile(tree); err == nil && n != nil && n.GetToken() != nil {
				t := n.GetToken()
				if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
					t = m.Values[0].Key.GetToken()
				}
				return t.Position.Line, t.Position.Column
			}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 1, 1
}

var units = map[string]Unit{"none": None, "time": Time, "bytes": Bytes, "share": Share, "rate": Rate}

// quantities checks the unit of every quantity below v.
func quantities(v reflect.Value, path string, u Unit, at func(string, error)) {
	switch x := v.Addr().Interface().(type) {
	case *Quantity:
		if err := x.is(u); err != nil {
			at(path, err)
		}
		return
	case *Dist:
		if err := x.check(u); err != nil {
			at(path, err)
		}
		for name, q := range map[string]*Quantity{"median": &x.Median, "exponential": &x.Exponential, "min": &x.Min, "max": &x.Max} {
			if err := q.is(u); err != nil {
				at(path+"."+name, err)
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if path != "" {
				name = path + "." + name
			}
			quantities(v.Field(i), name, units[f.Tag.Get("unit")], at)
		}
	case reflect.Slice:
		for i := range v.Len() {
			quantities(v.Index(i), fmt.Sprintf("%s[%d]", path, i), u, at)
		}
	}
}
