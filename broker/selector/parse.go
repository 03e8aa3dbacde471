package selector

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a selector.
const (
	MaxSource = 4 << 10 // bytes
	MaxNodes  = 256
	MaxDepth  = 16 // of parentheses and NOT
)

type op uint8

const (
	opLit op = iota
	opTask
	opWorker
	opSkill
	opEq
	opNe
	opLt
	opLe
	opGt
	opGe
	opIn
	opHas
	opNot
	opAnd
	opOr
)

var opNames = [...]string{opEq: "==", opNe: "!=", opLt: "<", opLe: "<=", opGt: ">", opGe: ">=", opIn: "IN", opHas: "HAS", opNot: "NOT", opAnd: "AND", opOr: "OR"}

// node is a part of a selector. It is immutable once it was made.
type node struct {
	op   op
	pos  int
	val  Value  // of opLit
	name string // of opTask and opWorker
	kind Kind   // of what it yields
	item Kind   // of the items of a list
	kids []*node
}

// Expr is a selector that was parsed and checked. The zero Expr and a nil one select everybody.
type Expr struct {
	src   string
	root  *node
	attrs []string // of the task that it speaks of, sorted
	asks  bool     // it speaks of workers
}

// String returns the selector as it was written.
func (e *Expr) String() string {
	if e == nil {
		return ""
	}
	return e.src
}

// Attributes returns the names of the task's attributes that the selector speaks of, sorted. It is not to be changed.
func (e *Expr) Attributes() []string {
	if e == nil {
		return nil
	}
	return e.attrs
}

// AsksWorkers tells whether the selector speaks of workers, not of the task alone.
func (e *Expr) AsksWorkers() bool { return e != nil && e.asks }

type parser struct {
	schema *Schema
	src    string
	at     int
	tok    token
	nodes  int
	depth  int
	attrs  map[string]bool
	asks   bool
}

// Parse reads and checks a selector. An empty one selects everybody. The error is an [*Error].
func (s *Schema) Parse(src string) (*Expr, error) {
	p := &parser{schema: s, src: src, attrs: map[string]bool{}}
	if len(src) > MaxSource {
		return nil, p.fail(MaxSource, fmt.Sprintf("the selector has %d bytes, the limit is %d", len(src), MaxSource))
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind == tokEnd {
		return &Expr{src: src}, nil
	}
	root, err := p.condition()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEnd {
		return nil, p.unexpected("AND, OR or the end")
	}
	return &Expr{src: src, root: root, attrs: slices.Sorted(maps.Keys(p.attrs)), asks: p.asks}, nil
}

// MustParse is Parse against the standard schema, for selectors that are part of a program. It panics when src is wrong.
func MustParse(src string) *Expr {
	e, err := Standard().Parse(src)
	if err != nil {
		panic("selector " + src + ": " + err.Error())
	}
	return e
}

func (p *parser) advance() *Error {
	t, err := p.next()
	p.tok = t
	return err
}

func (p *parser) unexpected(want string) *Error {
	what := fmt.Sprintf("expected %s, found %s", want, p.tok.describe())
	if p.tok.kind == tokWord {
		words := []string{"and", "or", "not", "in", "has", "true", "false", "worker", "task"}
		low := lower(p.tok.text)
		switch near := nearest(low, words); {
		case low == "contains" || low == "includes":
			what += "; did you mean HAS?"
		case near != "" && near != low && slices.Contains([]string{"and", "or", "not", "in", "has"}, near):
			what += "; did you mean " + strings.ToUpper(near) + "?" // as they are written in the pages
		case near != "" && near != low:
			what += "; did you mean " + near + "?"
		}
	}
	return p.fail(p.tok.pos, what)
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// node makes a node, within the bound.
func (p *parser) node(n node) (*node, *Error) {
	p.nodes++
	if p.nodes > MaxNodes {
		return nil, p.fail(n.pos, fmt.Sprintf("the selector has more than %d parts", MaxNodes))
	}
	return &n, nil
}

func (p *parser) condition() (*node, *Error) { return p.chain("OR", opOr, p.conjunction) }

func (p *parser) conjunction() (*node, *Error) { return p.chain("AND", opAnd, p.negation) }

// chain reads what next reads, one or more with word between.
func (p *parser) chain(word string, o op, next func() (*node, *Error)) (*node, *Error) {
	pos := p.tok.pos
	first, err := next()
	if err != nil || !p.tok.is(word) {
		return first, err
	}
	kids := []*node{first}
	for p.tok.is(word) {
		if err := p.advance(); err != nil {
			return nil, err
		}
		kid, err := next()
		if err != nil {
			return nil, err
		}
		kids = append(kids, kid)
	}
	return p.node(node{op: o, pos: pos, kind: Bool, kids: kids})
}

func (p *parser) negation() (*node, *Error) {
	pos := p.tok.pos
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > MaxDepth {
		return nil, p.fail(pos, fmt.Sprintf("the selector is nested deeper than %d", MaxDepth))
	}
	switch {
	case p.tok.is("NOT"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		kid, err := p.negation()
		if err != nil {
			return nil, err
		}
		return p.node(node{op: opNot, pos: pos, kind: Bool, kids: []*node{kid}})
	case p.tok.is("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		kid, err := p.condition()
		if err != nil {
			return nil, err
		}
		if !p.tok.is(")") {
			return nil, p.unexpected("AND, OR or )")
		}
		return kid, p.advance()
	}
	return p.comparison()
}

var comparisons = map[string]op{"==": opEq, "!=": opNe, "<": opLt, "<=": opLe, ">": opGt, ">=": opGe, "in": opIn, "has": opHas}

// comparison reads an operand, and mostly an operator and another one; a bool stands for itself.
func (p *parser) comparison() (*node, *Error) {
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	opTok, negate := p.tok, false
	if p.tok.is("NOT") { // a NOT IN b
		if err := p.advance(); err != nil {
			return nil, err
		}
		if !p.tok.is("IN") && !p.tok.is("HAS") {
			return nil, p.unexpected("IN or HAS")
		}
		negate = true
	}
	o, ok := comparisons[lower(p.tok.text)]
	if !ok || p.tok.kind != tokOp && p.tok.kind != tokWord {
		if left.kind == Bool {
			return left, nil
		}
		return nil, p.unexpected("a comparison: ==, !=, <, <=, >, >=, IN or HAS")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	right, err := p.operand()
	if err != nil {
		return nil, err
	}
	if err := p.fits(o, opTok.pos, left, right); err != nil {
		return nil, err
	}
	n, err := p.node(node{op: o, pos: opTok.pos, kind: Bool, kids: []*node{left, right}})
	if err != nil || !negate {
		return n, err
	}
	return p.node(node{op: opNot, pos: opTok.pos, kind: Bool, kids: []*node{n}})
}

// fits checks the kinds of a comparison.
func (p *parser) fits(o op, pos int, a, b *node) *Error {
	switch o {
	case opIn, opHas:
		list, item, side := b, a, "right"
		if o == opHas {
			list, item, side = a, b, "left"
		}
		if list.kind != List {
			return p.fail(list.pos, fmt.Sprintf("%s wants a list on its %s, not a %s", opNames[o], side, list.kind))
		}
		if list.item != None && item.kind != list.item {
			return p.fail(item.pos, fmt.Sprintf("the list has %ss; a %s is never in it", list.item, item.kind))
		}
		if item.kind == List {
			return p.fail(item.pos, "a list is never in a list")
		}
		return nil
	case opEq, opNe:
		if a.kind == List || b.kind == List {
			return p.fail(pos, "lists are not compared; did you mean HAS or IN?")
		}
	default:
		for _, n := range []*node{a, b} {
			if n.kind != Number {
				return p.fail(n.pos, fmt.Sprintf("%s compares numbers, not a %s", opNames[o], n.kind))
			}
		}
	}
	if a.kind != b.kind {
		return p.fail(pos, fmt.Sprintf("a %s is never equal to a %s", a.kind, b.kind))
	}
	return nil
}

func (p *parser) operand() (*node, *Error) {
	t := p.tok
	switch {
	case t.kind == tokString, t.kind == tokNumber, t.is("true"), t.is("false"):
		v, err := p.scalar()
		if err != nil {
			return nil, err
		}
		return p.node(node{op: opLit, pos: t.pos, val: v, kind: v.kind})
	case t.is("["):
		return p.list()
	case t.is("worker"), t.is("task"):
		return p.path()
	}
	return nil, p.unexpected("worker., task., a string, a number, true, false, a list, NOT or (")
}

// scalar reads a literal.
func (p *parser) scalar() (Value, *Error) {
	t := p.tok
	var v Value
	switch {
	case t.kind == tokString:
		v = StringOf(t.text)
	case t.kind == tokNumber:
		n, err := strconv.ParseFloat(t.text, 64)
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return v, p.fail(t.pos, t.describe()+" is no number")
		}
		v = NumberOf(n)
	case t.is("true"), t.is("false"):
		v = BoolOf(t.is("true"))
	default:
		return v, p.unexpected("a string, a number, true or false")
	}
	return v, p.advance()
}

// list reads the literals between brackets.
func (p *parser) list() (*node, *Error) {
	pos := p.tok.pos
	if err := p.advance(); err != nil {
		return nil, err
	}
	v := Value{kind: List}
	for !p.tok.is("]") {
		if len(v.list) > 0 {
			if !p.tok.is(",") {
				return nil, p.unexpected(", or ]")
			}
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		at := p.tok.pos
		item, err := p.scalar()
		if err != nil {
			return nil, err
		}
		if len(v.list) > 0 && item.kind != v.list[0].kind {
			return nil, p.fail(at, fmt.Sprintf("a list of %ss has a %s in it", v.list[0].kind, item.kind))
		}
		if v.list = append(v.list, item); len(v.list) > MaxItems {
			return nil, p.fail(at, fmt.Sprintf("a list has more than %d items", MaxItems))
		}
	}
	if len(v.list) == 0 {
		return nil, p.fail(pos, "an empty list selects nobody; expected an item")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.node(node{op: opLit, pos: pos, val: v, kind: List, item: v.list[0].kind})
}

// path reads worker.name, worker.skill(operand) or task.name.
func (p *parser) path() (*node, *Error) {
	root, pos := lower(p.tok.text), p.tok.pos
	if err := p.advance(); err != nil {
		return nil, err
	}
	if !p.tok.is(".") {
		return nil, p.unexpected("a dot and the name of an attribute after " + root)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind != tokWord {
		return nil, p.unexpected("the name of an attribute")
	}
	name := p.tok
	if err := p.advance(); err != nil {
		return nil, err
	}
	p.asks = p.asks || root == "worker"
	if root == "worker" && p.tok.is("(") {
		return p.skill(name)
	}
	o, known := opTask, p.schema.task
	if root == "worker" {
		o, known = opWorker, p.schema.worker
	}
	kind := known[name.text]
	if kind == None {
		what := fmt.Sprintf("there is no attribute %s.%s", root, name.text)
		near := nearest(name.text, slices.Collect(maps.Keys(known)))
		other := p.schema.worker
		if o == opWorker {
			other = p.schema.task
		}
		switch {
		case root == "worker" && name.text == "skill":
			what = "worker.skill is written worker.skill(name), with the name of a skill; the list of skills is worker.skills"
		case near != "":
			what += "; did you mean " + root + "." + near + "?"
		case other[name.text] != None:
			what += "; did you mean " + map[op]string{opTask: "worker.", opWorker: "task."}[o] + name.text + "?"
		}
		return nil, p.fail(name.pos, what)
	}
	n := node{op: o, pos: pos, name: name.text, kind: kind}
	if kind == List {
		n.item = String
	}
	if o == opTask {
		p.attrs[name.text] = true
	}
	return p.node(n)
}

// skill reads what stands in the parentheses of worker.skill.
func (p *parser) skill(name token) (*node, *Error) {
	if name.text != "skill" {
		return nil, p.fail(name.pos, "there is no function worker."+name.text+"; did you mean worker.skill(name)?")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	arg, err := p.operand()
	if err != nil {
		return nil, err
	}
	if arg.kind != String || arg.op == opWorker {
		return nil, p.fail(arg.pos, "worker.skill wants a string, or an attribute of the task that is one")
	}
	if !p.tok.is(")") {
		return nil, p.unexpected(")")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.node(node{op: opSkill, pos: name.pos, kind: Number, kids: []*node{arg}})
}
