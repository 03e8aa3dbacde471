package selector

import (
	"slices"
	"strings"
)

// Residual is what a selector asks of workers once the task is known: canonical, so that equal demands are one. The zero
// Residual asks nothing.
type Residual struct {
	root *node // nil asks nothing
	key  string
}

// Key is the canonical form: residuals with the same key select the same workers. It is "" when all are selected, and
// "false" when nobody is.
func (r Residual) Key() string { return r.key }

// Never tells that nobody is selected, whoever comes.
func (r Residual) Never() bool { return r.key == "false" }

// Eval tells whether w is selected.
func (r Residual) Eval(w *Worker) bool { return r.root == nil || r.root.truth(nil, w) }

// Skill returns a skill that everybody whom r selects has, by a `worker.skills HAS` that nothing can replace; ok is false
// when there is none. It lets a caller look at those who have it alone.
func (r Residual) Skill() (name string, ok bool) {
	if r.root == nil {
		return "", false
	}
	parts := []*node{r.root}
	if r.root.op == opAnd {
		parts = r.root.kids
	}
	for _, n := range parts {
		if n.op == opHas && n.kids[0].op == opWorker && n.kids[0].name == "skills" && n.kids[1].op == opLit {
			return n.kids[1].val.Text()
		}
	}
	return "", false
}

// Bind puts a task's attributes into the selector.
func (e *Expr) Bind(task Attrs) Residual {
	if e == nil || e.root == nil {
		return Residual{}
	}
	return residual(e.root.bind(task))
}

// Both returns the residual of those whom a and b select.
func Both(a, b Residual) Residual {
	switch {
	case a.root == nil:
		return b
	case b.root == nil:
		return a
	}
	return residual(join(opAnd, []*node{a.root, b.root}))
}

func residual(n *node) Residual {
	if n == yes {
		return Residual{}
	}
	return Residual{root: n, key: n.canonical()}
}

// The conditions that depend on nothing.
var (
	yes = &node{op: opLit, kind: Bool, val: BoolOf(true)}
	no  = &node{op: opLit, kind: Bool, val: BoolOf(false)}
)

func truthOf(b bool) *node {
	if b {
		return yes
	}
	return no
}

// bind returns the condition n on workers, simplified and canonical.
func (n *node) bind(task Attrs) *node {
	switch n.op {
	case opAnd, opOr:
		kids := make([]*node, len(n.kids))
		for i, k := range n.kids {
			kids[i] = k.bind(task)
		}
		return join(n.op, kids)
	case opNot:
		return negate(n.kids[0].bind(task))
	case opLit, opTask:
		return truthOf(n.truth(task, nil))
	case opWorker:
		return n
	}
	a, b := n.kids[0].operand(task), n.kids[1].operand(task)
	if a.op == opLit && b.op == opLit {
		return truthOf(compare(n.op, a.val, b.val))
	}
	if a.op == opLit && a.val.kind == None || b.op == opLit && b.val.kind == None {
		return truthOf(n.op == opNe)
	}
	return relation(n.op, a, b)
}

// operand returns n with the task's values in it.
func (n *node) operand(task Attrs) *node {
	switch n.op {
	case opTask:
		return literal(n.value(task, nil))
	case opSkill:
		arg := n.kids[0].operand(task)
		if arg.val.kind == None {
			return literal(Value{})
		}
		return &node{op: opSkill, kind: Number, kids: []*node{arg}}
	}
	return n
}

func literal(v Value) *node { return &node{op: opLit, kind: v.kind, val: v} }

var mirrored = map[op]op{opEq: opEq, opLt: opGt, opLe: opGe, opGt: opLt, opGe: opLe}

// relation returns the canonical comparison of a and b, one of which speaks of the worker.
func relation(o op, a, b *node) *node {
	if o == opNe {
		return negate(relation(opEq, a, b))
	}
	switch { // a list of the worker's HAS, a list of literals is what something is IN; else the worker stands on the left
	case o == opIn && b.op != opLit:
		o, a, b = opHas, b, a
	case o == opHas && a.op == opLit:
		o, a, b = opIn, b, a
	case o == opIn, o == opHas:
	case a.op == opLit, b.op != opLit && b.canonical() < a.canonical():
		o, a, b = mirrored[o], b, a
	}
	if o == opIn && b.op == opLit {
		b = literal(Value{kind: List, list: unique(b.val.list)})
		if len(b.val.list) == 0 {
			return no
		}
		if len(b.val.list) == 1 {
			o, b = opEq, literal(b.val.list[0])
		}
	}
	return &node{op: o, kind: Bool, kids: []*node{a, b}}
}

// unique returns the values sorted by their canonical form, each once.
func unique(list []Value) []Value {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Value) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(list, func(a, b Value) bool { return a.equal(b) })
}

// negate returns the opposite of a canonical condition; NOT stands only before comparisons.
func negate(n *node) *node {
	switch n.op {
	case opLit:
		return truthOf(n == no)
	case opNot:
		return n.kids[0]
	case opAnd, opOr:
		kids := make([]*node, len(n.kids))
		for i, k := range n.kids {
			kids[i] = negate(k)
		}
		return join(opAnd+opOr-n.op, kids)
	}
	return &node{op: opNot, kind: Bool, kids: []*node{n}}
}

// join returns the AND or OR of canonical conditions: flat, sorted, each once, without those that decide nothing.
func join(o op, kids []*node) *node {
	neutral, final := yes, no
	if o == opOr {
		neutral, final = no, yes
	}
	type part struct {
		n   *node
		key string
	}
	var parts []part
	for _, k := range kids {
		switch {
		case k == final:
			return final
		case k == neutral:
		case k.op == o:
			for _, kk := range k.kids {
				parts = append(parts, part{kk, kk.canonical()})
			}
		default:
			parts = append(parts, part{k, k.canonical()})
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.key, b.key) })
	parts = slices.CompactFunc(parts, func(a, b part) bool { return a.key == b.key })
	if len(parts) == 0 {
		return neutral
	}
	flat := make([]*node, len(parts))
	for i, p := range parts {
		flat[i] = p.n
		if p.n.op == opNot { // x and NOT x
			not := p.n.kids[0].canonical()
			if _, ok := slices.BinarySearchFunc(parts, not, func(a part, key string) int { return strings.Compare(a.key, key) }); ok {
				return final
			}
		}
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return &node{op: o, kind: Bool, kids: flat}
}

// canonical returns n as text that parses to it.
func (n *node) canonical() string { return string(n.append(nil)) }

func (n *node) append(b []byte) []byte {
	switch n.op {
	case opLit:
		return n.val.Append(b)
	case opTask:
		return append(append(b, "task."...), n.name...)
	case opWorker:
		return append(append(b, "worker."...), n.name...)
	case opSkill:
		return append(n.kids[0].append(append(b, "worker.skill("...)), ')')
	case opNot:
		return n.kids[0].enclosed(append(b, "NOT "...))
	}
	for i, k := range n.kids {
		if i > 0 {
			b = append(append(append(b, ' '), opNames[n.op]...), ' ')
		}
		b = k.enclosed(b)
	}
	return b
}

// enclosed appends n in parentheses when it has parts of its own.
func (n *node) enclosed(b []byte) []byte {
	if n.op < opEq {
		return n.append(b)
	}
	return append(n.append(append(b, '(')), ')')
}

// AnyOf selects the workers whose list attribute has one of names: it is the residual of `worker.list HAS a OR …`.
func AnyOf(list string, names []string) Residual {
	kids := make([]*node, len(names))
	for i, name := range names {
		kids[i] = relation(opHas, &node{op: opWorker, name: list, kind: List, item: String}, literal(StringOf(name)))
	}
	return residual(join(opOr, kids))
}
