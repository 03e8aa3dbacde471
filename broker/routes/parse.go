package routes

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/internal/written"
)

// Bounds of a document.
const (
	MaxBytes  = 256 << 10
	MaxErrors = 20  // that are told at once
	mostFound = 100 // mistakes; no more are looked for, as each takes as long as the document is
	maxNames  = 10_000
	maxKeys   = 2_048 // of one mapping, one a line
)

// Routes is a document that was read and found right.
type Routes struct {
	Document  Document
	Broker    broker.Config
	Calendars map[string]*Calendar
	Levels    map[string]*ServiceLevel

	queuesAt [2]int // line and column
}

// Error is a mistake in a document.
type Error struct {
	Line, Column int    // from 1; 0 when the whole document is meant
	Path         string // as $.queues[0].route[1].select
	What         string
}

// Error returns where and what.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.What
	}
	if e.Path == "" {
		return fmt.Sprintf("line %d:%d: %s", e.Line, e.Column, e.What)
	}
	return fmt.Sprintf("line %d:%d: %s: %s", e.Line, e.Column, e.Path, e.What)
}

// Errors are the mistakes in a document, by line; at most [MaxErrors].
type Errors []*Error

// Error returns all of them, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// parsing is one document being read.
type parsing struct {
	file   *ast.File
	schema *selector.Schema
	errs   Errors
}

// Parse reads a document, YAML or JSON. The error is [Errors].
func Parse(doc []byte) (*Routes, error) {
	p := &parsing{schema: selector.Standard()}
	r := &Routes{}
	if !p.read(doc, &r.Document) {
		return nil, p.errs
	}
	bound(reflect.ValueOf(&r.Document))
	p.check(r)
	if len(p.errs) == 0 {
		if err := r.Broker.Validate(); err != nil {
			p.errs = append(p.errs, &Error{What: err.Error()})
		}
	}
	if len(p.errs) > 0 {
		slices.SortStableFunc(p.errs, func(a, b *Error) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
		return nil, p.errs[:min(len(p.errs), MaxErrors)]
	}
	return r, nil
}

// longestMS is the longest time of a document, a hundred years: what is longer counts as this one. Whoever means never may write the largest number that there
// is, and a moment with a few of them added is one that comes later all the same.
const longestMS = 100 * 365 * 24 * 3_600_000

// bound lets no time in v, which is told by its name, be longer than longestMS.
func bound(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			bound(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			bound(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name, f := v.Type().Field(i).Tag.Get("yaml"), v.Field(i)
			if f.Kind() == reflect.Int64 && (name == "ms" || strings.HasSuffix(name, "_ms")) {
				f.SetInt(min(f.Int(), longestMS))
			} else {
				bound(f)
			}
		}
	default:
	}
}

// Whole returns, as [Errors], that a number with a fraction stands where doc has a whole one. [Parse] cuts fractions off, because documents that are kept may have
// some since before this was looked at; of who hands in a document now it is a mistake. A document that cannot be read is no mistake here: that is Parse's.
func Whole(doc []byte) error {
	if len(doc) > MaxBytes {
		return nil
	}
	file, err := written.ParseWithin(spaced(doc), maxKeys)
	if err != nil {
		return nil
	}
	if err := written.Whole(file, &Document{}); err != nil {
		return Errors{located(err)}
	}
	return nil
}

// read makes a Document of text, and keeps its places.
func (p *parsing) read(doc []byte, d *Document) bool {
	if len(doc) > MaxBytes {
		p.errs = append(p.errs, &Error{What: fmt.Sprintf("the document has %d bytes, the limit is %d", len(doc), MaxBytes)})
		return false
	}
	doc = spaced(bytes.TrimPrefix(doc, []byte("\ufeff"))) // some editors begin a file with a byte order mark
	file, err := written.ParseWithin(doc, maxKeys)
	if err != nil {
		p.errs = append(p.errs, located(err))
		return false
	}
	if len(file.Docs) == 0 || len(file.Docs) == 1 && file.Docs[0].Body == nil {
		p.errs = append(p.errs, &Error{What: "there is nothing in it; it must be one document"})
		return false
	}
	if len(file.Docs) != 1 {
		p.errs = append(p.errs, &Error{What: fmt.Sprintf("there are %d documents; it must be one", len(file.Docs))})
		return false
	}
	p.file = file
	if err := yaml.NewDecoder(bytes.NewReader(doc), yaml.Strict()).Decode(d); err != nil {
		p.errs = append(p.errs, located(err))
		return false
	}
	return true
}

// spaced returns a JSON document with blanks for tabs, which YAML does not indent with. Strings have none that are not escaped.
func spaced(doc []byte) []byte {
	if t := bytes.TrimSpace(doc); len(t) == 0 || t[0] != '{' {
		return doc
	}
	return bytes.ReplaceAll(doc, []byte("\t"), []byte(" "))
}

var (
	unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)
	typeOf       = regexp.MustCompile(`cannot unmarshal (\S+) into Go (?:struct field (\S+)|value) of type (\S+)`)
)

// located returns what the library has found.
func located(err error) *Error {
	var at interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &at) {
		return &Error{What: err.Error()}
	}
	e := &Error{What: at.GetMessage()} // what Error says shows the place, which takes the square of what stands around it: gigabytes
	if t := at.GetToken(); t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	if m := unknownField.FindStringSubmatch(e.What); m != nil {
		e.What = fmt.Sprintf("there is no field %q here%s", m[1], meant(m[1], fieldNames()))
	} else if m := typeOf.FindStringSubmatch(e.What); m != nil {
		e.What = misplaced(m[1], m[3])
	}
	return e
}

// misplaced tells that what is written, a word of YAML's for its kind or a number that does not fit, is none of a Go type.
func misplaced(is, typ string) string {
	if _, err := strconv.ParseFloat(is, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return fmt.Sprintf("a %s stands where a %s is expected", plain(is), plain(typ))
	}
	least, most := "-9223372036854775808", "9223372036854775807"
	switch typ {
	case "int32":
		least, most = "-2147483648", "2147483647"
	case "uint32":
		least, most = "0", "4294967295"
	case "uint", "uint64":
		least, most = "0", "18446744073709551615"
	case "int", "int64":
	default:
		return "the number " + is + " is too large or too small"
	}
	return fmt.Sprintf("the number %s is too large or too small: it is a whole number from %s to %s", is, least, most)
}

// plain returns what people call a Go type.
func plain(typ string) string {
	switch {
	case strings.HasPrefix(typ, "[]"):
		return "list"
	case strings.Contains(typ, "int"), strings.Contains(typ, "float"):
		return "number"
	case strings.HasPrefix(typ, "map"), strings.Contains(typ, "routes."):
		return "mapping"
	}
	return typ
}

// fail notes a mistake at a path. Where nothing is written there, it is at what encloses it.
func (p *parsing) fail(path, format string, args ...any) {
	p.failAt(path, 0, 0, fmt.Sprintf(format, args...))
}

// failAt is fail, some lines and columns into what is written there.
func (p *parsing) failAt(path string, line, column int, what string) {
	if p.full() {
		return
	}
	at := p.place(path, line, column)
	p.errs = append(p.errs, &Error{Path: path, What: what, Line: at[0], Column: at[1]})
}

// full tells whether no more mistakes are looked for.
func (p *parsing) full() bool { return len(p.errs) >= mostFound }

// place returns the line and column of what is written at a path, some lines and columns into it, or else of what encloses it.
func (p *parsing) place(path string, line, column int) (place [2]int) {
	for at := path; at != "" && p.file != nil; at = at[:max(strings.LastIndexAny(at, ".["), 0)] {
		q, err := yaml.PathString(at)
		if err != nil {
			continue
		}
		n, err := q.FilterFile(p.file)
		if err != nil || n == nil || n.GetToken() == nil {
			line, column = 0, 0
			continue
		}
		t := n.GetToken()
		if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
			t = m.Values[0].Key.GetToken()
		}
		place = [2]int{t.Position.Line + line, t.Position.Column}
		if line == 0 {
			place[1] += column
		}
		break
	}
	return place
}

// meant returns what was probably meant, as the end of a sentence.
func meant(got string, names []string) string {
	if near := selector.Nearest(got, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}
