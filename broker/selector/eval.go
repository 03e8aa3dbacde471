package selector

import (
	"slices"
	"strings"
)

// Skill is a worker's level in something: 0..1.
type Skill struct {
	Name  string
	Level float64
}

// Worker is what selectors see of a worker.
type Worker struct {
	Attrs  Attrs
	Skills []Skill // sorted by name, each once
}

// level returns w's level in a skill, 0 when it does not have it.
func (w *Worker) level(name string) float64 {
	if i, ok := slices.BinarySearchFunc(w.Skills, name, func(s Skill, name string) int { return strings.Compare(s.Name, name) }); ok {
		return w.Skills[i].Level
	}
	return 0
}

// Eval tells whether the selector, as it was written, selects w for a task.
func (e *Expr) Eval(task Attrs, w *Worker) bool {
	return e == nil || e.root == nil || e.root.truth(task, w)
}

// truth interprets a condition.
func (n *node) truth(task Attrs, w *Worker) bool {
	switch n.op {
	case opAnd:
		for _, k := range n.kids {
			if !k.truth(task, w) {
				return false
			}
		}
		return true
	case opOr:
		for _, k := range n.kids {
			if k.truth(task, w) {
				return true
			}
		}
		return false
	case opNot:
		return !n.kids[0].truth(task, w)
	case opLit, opTask, opWorker, opSkill:
		v := n.value(task, w)
		return v.kind == Bool && v.num == 1
	default:
		return compare(n.op, n.kids[0].value(task, w), n.kids[1].value(task, w))
	}
}

// value returns what an operand stands for. What is of another kind than the schema says is not there.
func (n *node) value(task Attrs, w *Worker) Value {
	v := n.val
	switch n.op {
	case opTask:
		v = task.Get(n.name)
	case opWorker:
		v = w.Attrs.Get(n.name)
	case opSkill:
		name, ok := n.kids[0].value(task, w).Text()
		if !ok {
			return Value{}
		}
		return NumberOf(w.level(name))
	}
	if v.kind != n.kind {
		return Value{}
	}
	return v
}

// compare holds two values against each other.
func compare(o op, a, b Value) bool {
	switch o {
	case opEq:
		return a.equal(b)
	case opNe:
		return !a.equal(b)
	case opIn:
		return b.has(a)
	case opHas:
		return a.has(b)
	}
	if a.kind != Number || b.kind != Number {
		return false
	}
	switch o {
	case opLt:
		return a.num < b.num
	case opLe:
		return a.num <= b.num
	case opGt:
		return a.num > b.num
	default:
		return a.num >= b.num
	}
}
