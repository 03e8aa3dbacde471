package selector_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"switchboard/broker/selector"
)

const example = `worker.skills HAS task.intent AND worker.shops HAS task.shop AND worker.level >= 0.5 OR task.vip == true`

func attrs(t testing.TB, doc string) selector.Attrs {
	t.Helper()
	a, err := selector.ParseAttrs([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func worker(t testing.TB, doc string, skills ...selector.Skill) *selector.Worker {
	t.Helper()
	return &selector.Worker{Attrs: attrs(t, doc), Skills: skills}
}

func TestEval(t *testing.T) {
	task := attrs(t, `{"intent":"refund","shop":"s17","vip":false,"order_value":120,"tags":["a","b"],"channel":7}`)
	ann := worker(t, `{"id":"ann","kind":"human","skills":["refund","return"],"shops":["s17"],"level":0.7}`, selector.Skill{Name: "refund", Level: 0.6})
	f := func(src string, want bool) {
		t.Helper()
		e, err := selector.Standard().Parse(src)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		if got := e.Eval(task, ann); got != want {
			t.Fatalf("%s is %v; want %v", src, got, want)
		}
		if got := e.Bind(task).Eval(ann); got != want {
			t.Fatalf("%s, bound to %q, is %v; want %v", src, e.Bind(task).Key(), got, want)
		}
	}
	f("", true)
	f(example, true)
	f(strings.ReplaceAll(example, "0.5", "0.9"), false)
	f("worker.skill(task.intent) >= 0.6", true)
	f("worker.skill('welding') == 0", true)
	f("worker.skill(task.mood) >= 0", false) // there is no mood
	f("task.vip", false)
	f("NOT task.vip", true)
	f("task.vip == false AND task.order_value > 1e2", true)
	f("task.order_value < -1", false)
	f("-1 < task.order_value", true)
	f(`task.intent IN ["refund", 'x'] and worker.kind not in ['bot']`, true)
	f("task.tags HAS 'b' AND worker.id IN ['ann']", true)
	f("task.intent IN worker.skills", true)
	f("['refund'] HAS task.intent", true)
	f("worker.id == worker.kind", false)
	f("worker.id != worker.kind OR false", true)
	f("worker.name != 'x'", true) // there is no name
	f("NOT (worker.rating < 1)", true)
	f("worker.rating >= 1", false)
	f("task.channel == 'web' OR task.channel != 'web' AND true", true) // a number is not there
	f("false AND true OR true", true)
	f("false AND (true OR true)", false)
	f("NOT false AND false", false)
	f("NOT NOT worker.kind == 'human'", true)
}

func TestErrors(t *testing.T) {
	f := func(src string, line, column int, parts ...string) {
		t.Helper()
		_, err := selector.Standard().Parse(src)
		var e *selector.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v", src, err)
		}
		for _, part := range parts {
			if !strings.Contains(e.What, part) {
				t.Fatalf("%s: %v; want %q in it", src, e, part)
			}
		}
		if e.Line != line || e.Column != column {
			t.Fatalf("%s: %v; want it at %d:%d", src, e, line, column)
		}
	}
	f("worker.skils HAS 'a'", 1, 8, "worker.skils", "did you mean worker.skills?")
	f("worker.intent == 'a'", 1, 8, "did you mean task.intent?")
	f("worker.skill == 1", 1, 8, "worker.skill(name)")
	f("worker.level('a') == 1", 1, 8, "worker.skill(name)")
	f("worker.skill(worker.id) == 1", 1, 14, "wants a string")
	f("worker.skills CONTAINS 'a'", 1, 15, "did you mean HAS?")
	f("worker.skills HAZ 'a'", 1, 15, "found “HAZ”; did you mean HAS?")
	f("task.vip\nAMD task.vip", 2, 1, "expected AND, OR or the end", "did you mean AND?")
	f("task.vip &&", 1, 10, "did you mean AND?")
	f("task.vip || task.vip", 1, 10, "did you mean OR?")
	f("task.tier = 'a'", 1, 11, "==")
	f("!task.vip", 1, 1, "NOT")
	f("wroker.id == 'a'", 1, 1, "did you mean worker?")
	f("task.tier == 'a", 1, 14, "not closed")
	f("task.tier == 1", 1, 11, "a string is never equal to a number")
	f("task.tier < 'a'", 1, 1, "compares numbers")
	f("worker.skills == 'a'", 1, 15, "HAS or IN")
	f("worker.skills HAS 1", 1, 19, "list has strings")
	f("worker.id HAS 'a'", 1, 1, "wants a list on its left")
	f("'a' IN 'abc'", 1, 8, "wants a list on its right")
	f("worker.skills IN worker.teams", 1, 1, "list")
	f("worker.id", 1, 10, "expected a comparison")
	f("(task.vip", 1, 10, "AND, OR or )")
	f("task.vip task.vip", 1, 10, "AND, OR or the end")
	f("task.", 1, 6, "name of an attribute")
	f("task", 1, 5, "a dot")
	f("task.vip AND", 1, 13, "found the end")
	f("'a' IN []", 1, 8, "empty list")
	f("'a' IN ['b', 1]", 1, 14, "a list of strings has a number")
	f("task.order_value == 1.2.3", 1, 21, "is no number")
	f("task.order_value == 1e999", 1, 21, "is no number")
	f("task.tier == 'a' ?", 1, 18, "has no meaning")
	f(strings.Repeat("NOT ", 20)+"true", 1, 65, "nested deeper")
	f(strings.Repeat("true AND ", 300)+"true", 1, 2305, "more than 256 parts")
	f(strings.Repeat(" ", 5000), 1, 4097, "the limit is 4096")
	f("task.tier == '"+strings.Repeat("a", 300)+"'", 1, 14, "the limit is 256")
	f("task.tier NOT == 'a'", 1, 15, "expected IN or HAS")
}

func TestCanonical(t *testing.T) {
	task := attrs(t, `{"intent":"refund","vip":false,"order_value":5,"tags":["b","a","b"]}`)
	f := func(src, want string) {
		t.Helper()
		e, err := selector.Standard().Parse(src)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		if got := e.Bind(task).Key(); got != want {
			t.Fatalf("%s becomes %q; want %q", src, got, want)
		}
	}
	f("", "")
	f("true", "")
	f("task.vip", "false")
	f("task.order_value == 5 OR worker.id == 'a'", "")
	f("task.intent IN worker.skills", "worker.skills HAS 'refund'")
	f("0.5 <= worker.level", "worker.level >= 0.5")
	f("worker.id IN task.tags", "worker.id IN ['a', 'b']")
	f("worker.id IN ['a', 'a']", "worker.id == 'a'")
	f("['b', 'a'] HAS worker.id", "worker.id IN ['a', 'b']")
	f("worker.kind == 'bot' AND (worker.id == 'a' AND worker.kind == 'bot')", "(worker.id == 'a') AND (worker.kind == 'bot')")
	f("NOT (worker.id == 'a' OR NOT worker.kind == 'bot')", "(NOT (worker.id == 'a')) AND (worker.kind == 'bot')")
	f("worker.id == 'a' AND worker.id != 'a'", "false")
	f("worker.id == 'a' OR worker.id != 'a'", "")
	f("worker.kind != worker.id", "NOT (worker.id == worker.kind)")
	f("worker.skill(task.intent) > worker.level", "worker.level < worker.skill('refund')")
	f("worker.skill(task.mood) > 0.1", "false")
	f("worker.name == 'o\\'neil'", `worker.name == 'o\'neil'`)
	f("worker.level >= -0", "worker.level >= 0")
}

func TestSkillOfResidual(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		got, ok := selector.MustParse(src).Bind(nil).Skill()
		if got != want || ok != (want != "") {
			t.Fatalf("%s: %q, %v; want %q", src, got, ok, want)
		}
	}
	f("", "")
	f("worker.skills HAS 'a'", "a")
	f("worker.id == 'x' AND worker.skills HAS 'a'", "a")
	f("worker.id == 'x' OR worker.skills HAS 'a'", "")
	f("NOT worker.skills HAS 'a'", "")
	f("worker.teams HAS 'a'", "")
}

func TestParseAttrs(t *testing.T) {
	a := attrs(t, `{"s":"x","n":-0.0,"b":true,"l":["a"],"null":null,"o":{"a":1},"mixed":["a",1],"nested":[["a"]],"long":"`+strings.Repeat("x", 300)+`"}`)
	got := fmt.Sprint(a)
	if want := "[{b true} {l ['a']} {n 0} {s 'x'}]"; got != want {
		t.Fatalf("%s; want %s", got, want)
	}
	bad := func(doc string) {
		t.Helper()
		if a, err := selector.ParseAttrs([]byte(doc)); err == nil {
			t.Fatalf("%.40s is taken as %v", doc, a)
		}
	}
	bad("[]")
	bad("{")
	bad(`{"a":"` + strings.Repeat("x", 20000) + `"}`)
	bad(`{"a":[` + strings.Repeat("1,", 64) + `1]}`)
	var many strings.Builder
	for i := range 65 {
		fmt.Fprintf(&many, `,"a%d":1`, i)
	}
	bad("{" + many.String()[1:] + "}")
	if got := a.With("n", selector.StringOf("y")).With("a", selector.BoolOf(true)); fmt.Sprint(got) != "[{a true} {b true} {l ['a']} {n 'y'} {s 'x'}]" {
		t.Fatalf("with n and a: %v", got)
	}
	if a.Get("n").Kind() != selector.Number {
		t.Fatal("With changed what it copies")
	}
}

func TestExtend(t *testing.T) {
	s, _, ok := selector.Standard().Extend(map[string]selector.Kind{"weight": selector.Number}, map[string]selector.Kind{"desk": selector.String})
	if _, err := s.Parse("task.weight > 3 AND worker.desk == 'a'"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, name, ok := s.Extend(map[string]selector.Kind{"tier": selector.Number}, nil); ok || name != "task.tier" {
		t.Fatalf("tier was declared anew: %q", name)
	}
	if _, name, ok := s.Extend(nil, map[string]selector.Kind{"a b": selector.Number}); ok || name != "worker.a b" {
		t.Fatalf("a name with a space: %q", name)
	}
}

// gen draws selectors, tasks and workers over few values, so that much comes together.
type gen struct{ *rapid.T }

func (g gen) of(list ...string) string { return rapid.SampledFrom(list).Draw(g.T, "of") }

func (g gen) text() string {
	return g.of("'a'", "'b'", "task.intent", "task.tier", "task.shop", "worker.id", "worker.kind", "worker.name")
}

func (g gen) number() string {
	return g.of("0", "0.5", "-1", "1", "task.order_value", "task.priority", "worker.level", "worker.rating", "worker.skill('a')", "worker.skill(task.intent)")
}

func (g gen) list() string {
	return g.of("['a']", "['b', 'a']", "['a', 'b', 'a']", "worker.skills", "worker.shops", "task.tags")
}

func (g gen) cond(depth int) string {
	k := rapid.IntRange(0, 8).Draw(g.T, "kind")
	if depth == 0 {
		k %= 5
	}
	switch k {
	case 0:
		return g.text() + g.of(" == ", " != ") + g.text()
	case 1:
		return g.number() + g.of(" == ", " != ", " < ", " <= ", " > ", " >= ") + g.number()
	case 2:
		return g.text() + g.of(" IN ", " NOT IN ") + g.list()
	case 3:
		return g.list() + g.of(" HAS ", " NOT HAS ") + g.text()
	case 4:
		return g.of("true", "false", "task.vip", "task.vip == true", "worker.senior", "false == worker.senior")
	case 5:
		return "NOT (" + g.cond(depth-1) + ")"
	default:
		return "(" + g.cond(depth-1) + ")" + g.of(" AND ", " OR ") + "(" + g.cond(depth-1) + ")"
	}
}

// values draws some of the attributes, sometimes with a value of another kind.
func (g gen) values(strs, nums, bools, lists []string) selector.Attrs {
	var a selector.Attrs
	draw := func(names []string, kind int) {
		for _, n := range names {
			k := kind
			switch rapid.IntRange(0, 9).Draw(g.T, n) {
			case 0, 1:
				continue
			case 2:
				k = rapid.IntRange(0, 3).Draw(g.T, "other")
			}
			a = a.With(n, []selector.Value{
				selector.StringOf(g.of("a", "b", "c")), selector.NumberOf(rapid.SampledFrom([]float64{-1, 0, 0.5, 1}).Draw(g.T, "n")),
				selector.BoolOf(rapid.Bool().Draw(g.T, "b")), selector.ListOf(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3).Draw(g.T, "l")...),
			}[k])
		}
	}
	draw(strs, 0)
	draw(nums, 1)
	draw(bools, 2)
	draw(lists, 3)
	return a
}

// What was bound and simplified means what was written; its key parses to itself, and equal keys select equally.
func TestBoundIsAsWritten(t *testing.T) {
	schema, _, _ := selector.Standard().Extend(nil, map[string]selector.Kind{"senior": selector.Bool})
	decided := 0
	rapid.Check(t, func(t *rapid.T) {
		g := gen{t}
		src := g.cond(4)
		e, err := schema.Parse(src)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		task := g.values([]string{"intent", "tier", "shop"}, []string{"order_value", "priority"}, []string{"vip"}, []string{"tags"})
		r := e.Bind(task)
		again, err := schema.Parse(r.Key())
		if err != nil {
			t.Fatalf("%s becomes %s: %v", src, r.Key(), err)
		}
		if len(again.Attributes()) > 0 || again.Bind(nil).Key() != r.Key() {
			t.Fatalf("%s becomes %s becomes %s", src, r.Key(), again.Bind(nil).Key())
		}
		half := attrsOnly(task, e.Attributes())
		if k := e.Bind(half).Key(); k != r.Key() {
			t.Fatalf("%s depends on more than %v: %s, %s", src, e.Attributes(), r.Key(), k)
		}
		second, err := schema.Parse(g.cond(2))
		if err != nil {
			t.Fatal(err)
		}
		other := second.Bind(task)
		for range 4 {
			w := &selector.Worker{Attrs: g.values([]string{"id", "kind", "name"}, []string{"level", "rating"}, []string{"senior"}, []string{"skills", "shops"})}
			if rapid.Bool().Draw(t, "able") {
				w.Skills = []selector.Skill{{Name: "a", Level: 0.5}}
			}
			want := e.Eval(task, w)
			if got := r.Eval(w); got != want {
				t.Fatalf("%s of %v and %v is %v; bound to %s it is %v", src, task, w, want, r.Key(), got)
			}
			if got := selector.Both(r, other).Eval(w); got != (want && other.Eval(w)) {
				t.Fatalf("%s and %s of %v is %v", r.Key(), other.Key(), w, got)
			}
			if want {
				decided++
			}
		}
	})
	if decided == 0 {
		t.Fatal("nobody was ever selected")
	}
}

func attrsOnly(a selector.Attrs, names []string) (some selector.Attrs) {
	for _, n := range names {
		if v := a.Get(n); v.Kind() != selector.None {
			some = some.With(n, v)
		}
	}
	return some
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{example, "", "NOT (task.vip)", "worker.skill('a') >= 0.5", `worker.id NOT IN ["a", 'b\'']`, "task.tags HAS 'a' OR 1 < -2e-3", "((((", "worker."} {
		f.Add(s)
	}
	schema := selector.Standard()
	f.Fuzz(func(t *testing.T, src string) {
		e, err := schema.Parse(src)
		if err != nil {
			var at *selector.Error
			if !errors.As(err, &at) || at.Offset < 0 || at.Offset > len(src) || at.Line < 1 || at.Column < 1 || at.What == "" {
				t.Fatalf("%q: %v", src, err)
			}
			return
		}
		task := attrs(t, `{"intent":"a","vip":true,"order_value":0.5,"tags":["a"]}`)
		w := worker(t, `{"id":"a","kind":"bot","skills":["a","b"],"level":0.5}`, selector.Skill{Name: "a", Level: 1})
		r := e.Bind(task)
		if e.Eval(task, w) != r.Eval(w) {
			t.Fatalf("%q and %q differ", src, r.Key())
		}
		// A canonical form may be longer than a selector may be; else it parses.
		if again, err := schema.Parse(r.Key()); err != nil && len(r.Key()) <= selector.MaxSource && !strings.Contains(err.Error(), "parts") && !strings.Contains(err.Error(), "deeper") {
			t.Fatalf("%q becomes %q: %v", src, r.Key(), err)
		} else if err == nil && again.Bind(nil).Key() != r.Key() {
			t.Fatalf("%q becomes %q becomes %q", src, r.Key(), again.Bind(nil).Key())
		}
	})
}

func FuzzParseAttrs(f *testing.F) {
	f.Add([]byte(`{"a":"b","c":[1,2],"d":true,"e":null}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		a, err := selector.ParseAttrs(doc)
		if err != nil {
			return
		}
		for i := range a {
			if i > 0 && a[i-1].Name >= a[i].Name || a[i].Value.Kind() == selector.None {
				t.Fatalf("%q gives %v", doc, a)
			}
		}
	})
}

func TestEvalAllocations(t *testing.T) {
	task := attrs(t, `{"intent":"refund","shop":"s17"}`)
	w := worker(t, `{"skills":["refund"],"shops":["s1","s17"],"level":0.7}`)
	e := selector.MustParse(example)
	r := e.Bind(task)
	if n := testing.AllocsPerRun(1000, func() {
		if !r.Eval(w) || !e.Eval(task, w) {
			t.Fatal("not selected")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkResidual(b *testing.B) {
	r := selector.MustParse(example).Bind(attrs(b, `{"intent":"refund","shop":"s17"}`))
	w := worker(b, `{"skills":["refund"],"shops":["s1","s17"],"level":0.7}`)
	b.ReportAllocs()
	for b.Loop() {
		r.Eval(w)
	}
}

func BenchmarkBind(b *testing.B) {
	e, task := selector.MustParse(example), attrs(b, `{"intent":"refund","shop":"s17"}`)
	b.ReportAllocs()
	for b.Loop() {
		e.Bind(task)
	}
}

// What is meant is guessed of what looks like a name: of a document that is one long word it would take minutes.
func TestNearest(t *testing.T) {
	f := func(got, want string, names ...string) {
		t.Helper()
		if near := selector.Nearest(got, names); near != want {
			t.Errorf("%.20q: %q; want %q", got, near, want)
		}
	}
	f("refnds", "refunds", "default", "refunds", "returns")
	f("x", "", "default", "refunds")
	f("vip", "vip1", "vip12", "vip1", "v")
	long := strings.Repeat("a", 128)
	f(long, long[1:], long[1:], "a")
	f(long+"a", "", long, "a")
}
