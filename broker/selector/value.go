package selector

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Kind is the type of a value.
type Kind uint8

// The kinds. A list has strings, numbers or bools, of one kind.
const (
	None Kind = iota // not there
	Bool
	Number
	String
	List
)

var kindNames = [...]string{"nothing", "bool", "number", "string", "list"}

// String returns k's name, as schemas spell it.
func (k Kind) String() string { return kindNames[k] }

// ParseKind returns the kind of that name: bool, number, string or list.
func ParseKind(name string) (Kind, bool) {
	i := slices.Index(kindNames[:], name)
	return Kind(max(i, 0)), i > 0
}

// Value is an attribute's value. The zero value is of kind None. It is immutable.
type Value struct {
	kind   Kind
	sorted bool    // it is a list of strings, in order: they are found by halves
	num    float64 // of bools 0 or 1
	str    string
	list   []Value
}

// BoolOf returns a bool.
func BoolOf(b bool) Value {
	v := Value{kind: Bool}
	if b {
		v.num = 1
	}
	return v
}

// NumberOf returns a number. There is one zero.
func NumberOf(n float64) Value {
	if n == 0 {
		n = 0 // not minus zero: equal values have one form
	}
	return Value{kind: Number, num: n}
}

// StringOf returns a string.
func StringOf(s string) Value { return Value{kind: String, str: s} }

// ListOf returns a list of strings, which it copies.
func ListOf(items ...string) Value {
	v := Value{kind: List, list: make([]Value, len(items))}
	for i, s := range items {
		v.list[i] = StringOf(s)
	}
	v.sorted = slices.IsSorted(items)
	return v
}

// Kind returns what v is.
func (v Value) Kind() Kind { return v.kind }

// Number returns a number; ok is false for anything else.
func (v Value) Number() (x float64, ok bool) { return v.num, v.kind == Number }

// Text returns a string's text; ok is false for anything else.
func (v Value) Text() (text string, ok bool) { return v.str, v.kind == String }

// Strings calls yield with the strings of a list, or with a string itself.
func (v Value) Strings(yield func(string) bool) {
	if v.kind == String {
		yield(v.str)
		return
	}
	for i := range v.list {
		if v.list[i].kind == String && !yield(v.list[i].str) {
			return
		}
	}
}

// equal compares scalars. Lists, and what is not there, equal nothing.
func (v Value) equal(o Value) bool {
	return v.kind == o.kind && v.kind != None && v.kind != List && v.num == o.num && v.str == o.str
}

// has tells whether v is a list with o in it.
func (v Value) has(o Value) bool {
	if v.kind != List {
		return false
	}
	if v.sorted {
		_, ok := slices.BinarySearchFunc(v.list, o.str, func(x Value, s string) int { return strings.Compare(x.str, s) })
		return ok && o.kind == String
	}
	for i := range v.list {
		if v.list[i].equal(o) {
			return true
		}
	}
	return false
}

// Append appends v's canonical form: as a selector would write it. Equal values have equal forms, others do not.
func (v Value) Append(b []byte) []byte {
	switch v.kind {
	case Bool:
		return strconv.AppendBool(b, v.num == 1)
	case Number:
		return strconv.AppendFloat(b, v.num, 'g', -1, 64)
	case String:
		return appendQuoted(b, v.str)
	case List:
		b = append(b, '[')
		for i := range v.list {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = v.list[i].Append(b)
		}
		return append(b, ']')
	default:
		return append(b, "nothing"...)
	}
}

// AppendKey appends v's bytes for a key: equal values have equal keys, others do not, and no key begins another. It is made to be compared,
// not to be read.
func (v Value) AppendKey(b []byte) []byte {
	b = append(b, byte(v.kind))
	switch v.kind {
	case Bool, Number:
		if v.num == 0 {
			return binary.LittleEndian.AppendUint64(b, 0) // also the negative one
		}
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(v.num))
	case String:
		return append(binary.AppendUvarint(b, uint64(len(v.str))), v.str...)
	case List:
		b = binary.AppendUvarint(b, uint64(len(v.list)))
		for i := range v.list {
			b = v.list[i].AppendKey(b)
		}
		return b
	default:
		return b
	}
}

func appendQuoted(b []byte, s string) []byte {
	b = append(b, '\'')
	for i := range len(s) {
		if s[i] == '\'' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '\'')
}

// String returns v's canonical form.
func (v Value) String() string { return string(v.Append(nil)) }

// Attr is a named value.
type Attr struct {
	Name  string
	Value Value
}

// Attrs is what is known of a task or a worker: sorted by name, each name once. It is shared, and never changed.
type Attrs []Attr

// Get returns the value under name, of kind None when there is none.
func (a Attrs) Get(name string) Value {
	if i := a.find(name); i >= 0 {
		return a[i].Value
	}
	return Value{}
}

func (a Attrs) find(name string) int {
	for i := range a { // a few: faster than halving
		if a[i].Name == name {
			return i
		}
	}
	return -1
}

// With returns a copy of a that has v under name.
func (a Attrs) With(name string, v Value) Attrs {
	i, ok := slices.BinarySearchFunc(a, name, func(x Attr, name string) int { return strings.Compare(x.Name, name) })
	if ok {
		a = slices.Clone(a)
		a[i].Value = v
		return a
	}
	return slices.Insert(slices.Clone(a), i, Attr{name, v})
}

// Bounds of attributes. What is beyond them is an error, not cut off: routing on half a value would be worse.
const (
	MaxAttrsBytes = 16 << 10 // of a JSON document
	MaxAttrs      = 64       // names
	MaxItems      = 64       // of a list
	MaxText       = 256      // bytes of a name or string; a longer string is left out: nobody routes on prose
)

// ParseAttrs reads a JSON object. Bools, numbers, strings and lists of one scalar kind are attributes; null, objects, mixed lists
// and strings above [MaxText] are left out, as a session may carry what is nothing to routing. It fails when doc is no
// object, or above a bound. Empty input is no attributes.
func ParseAttrs(doc []byte) (Attrs, error) {
	if len(bytes.TrimSpace(doc)) == 0 {
		return nil, nil
	}
	if len(doc) > MaxAttrsBytes {
		return nil, fmt.Errorf("attributes have %d bytes, the limit is %d", len(doc), MaxAttrsBytes)
	}
	var m map[string]any
	if err := json.Unmarshal(doc, &m); err != nil {
		return nil, fmt.Errorf("reading attributes: %w", err)
	}
	if len(m) > MaxAttrs {
		return nil, fmt.Errorf("there are %d attributes, the limit is %d", len(m), MaxAttrs)
	}
	out := make(Attrs, 0, len(m))
	for name, raw := range m {
		v, err := valueOf(raw)
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", name, err)
		}
		if v.kind != None && len(name) <= MaxText {
			out = append(out, Attr{name, v})
		}
	}
	slices.SortFunc(out, func(a, b Attr) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// ValueOf returns the value of a bool, number, string, or list of scalars of one kind, as a decoder has it; ok is false when it
// is none, or above a bound.
func ValueOf(raw any) (v Value, ok bool) {
	switch x := raw.(type) {
	case int:
		raw = float64(x)
	case int64:
		raw = float64(x)
	case uint64:
		raw = float64(x)
	}
	v, err := valueOf(raw)
	return v, err == nil && v.kind != None
}

func valueOf(raw any) (Value, error) {
	switch x := raw.(type) {
	case bool:
		return BoolOf(x), nil
	case float64:
		return NumberOf(x), nil
	case string:
		if len(x) <= MaxText {
			return StringOf(x), nil
		}
	case []any:
		return listOf(x)
	}
	return Value{}, nil
}

func listOf(raw []any) (Value, error) {
	if len(raw) > MaxItems {
		return Value{}, errors.New("a list has more than " + strconv.Itoa(MaxItems) + " items")
	}
	v := Value{kind: List, list: make([]Value, 0, len(raw))}
	for _, x := range raw {
		if _, nested := x.([]any); nested {
			return Value{}, nil
		}
		item, err := valueOf(x)
		if err != nil || item.kind == None || len(v.list) > 0 && item.kind != v.list[0].kind {
			return Value{}, err
		}
		v.list = append(v.list, item)
	}
	return v, nil
}
