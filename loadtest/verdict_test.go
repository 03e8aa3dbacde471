package loadtest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/wire"
)

func TestCompare(t *testing.T) {
	sent := [][]byte{[]byte("zero"), []byte("one"), []byte("two"), []byte("three")}
	f := func(got, want string) {
		t.Helper()
		var ws []word
		for i, s := range strings.Fields(got) {
			ws = append(ws, word{seq: uint64(i + 1), body: []byte(s)}) //nolint:gosec // small
		}
		var out []string
		for _, fl := range compare(sent, ws) {
			out = append(out, fmt.Sprintf("%s %d", fl.kind, fl.at))
		}
		if s := strings.Join(out, ", "); s != want {
			t.Errorf("%q: %s; want %s", got, s, want)
		}
	}
	f("zero one two three", "")
	f("zero two three", "lost 1")
	f("", "lost 0, lost 1, lost 2, lost 3")
	f("zero one one two three", "duplicated 1")
	f("zero one two three zero", "duplicated 0")
	f("zero two one three", "reordered 1")
	f("one two three zero", "reordered 0")
	f("zero One two three", "mismatched 1")
	f("zero one two thre", "mismatched 3")
	f("zero one two three four", "mismatched -1")
	f("zero two One three", "mismatched 1, reordered 1")
	f("three two one zero", "reordered 2, reordered 1, reordered 0")
	if fl := compare(sent[:2], []word{{seq: 5, body: sent[0]}, {seq: 5, body: sent[1]}}); len(fl) != 1 || fl[0].kind != Reordered {
		t.Errorf("a seq that stands still: %v", fl)
	}
}

// perfect is a conversation in which everything went well: a bot, a hand-off at turn 1, a human.
func perfect() *conversation {
	d := Dialogue{ID: "d", Turns: []Turn{
		{Customer: true, Text: "a"}, {Text: "A"}, {Customer: true, Text: "b"}, {Text: "B1"}, {Text: "B2"}, {Customer: true, Text: "c"}, {Text: "C"}, {Customer: true, Text: "bye"},
	}}
	r := &replay{Replay: Replay{Dialogues: []Dialogue{d}, Speed: 1, HandOff: 1}, name: "run"}
	c := r.conversation(0)
	c.moveAt, c.moveAfter, c.moved, c.audited, c.session = 1, false, true, true, "s_1"
	bot := &owner{ae: 1, worker: "bot", kind: wire.OriginBot}
	human := &owner{ae: 2, worker: "human", kind: wire.OriginHuman}
	c.owners = []*owner{bot, human}
	seq := uint64(1) // the first entry is an event
	for turn := range c.said {
		seq++
		w := word{seq, wire.OriginCustomer, c.said[turn]}
		c.own, c.history, c.sent[turn] = append(c.own, w), append(c.history, w), seq
		if turn <= 1 {
			bot.seen = append(bot.seen, w)
		}
		human.seen = append(human.seen, w) // the first two in the tail
		for _, b := range c.answers[turn] {
			seq++
			w := word{seq, wire.OriginHuman, b}
			if turn == 0 {
				w.origin = wire.OriginBot
			}
			c.heard, c.history = append(c.heard, w), append(c.history, w)
		}
		c.handled[turn] = true
	}
	c.tried = len(c.said)
	return c
}

// TestVerdict plants one fault at a time: each must be found, as what it is, in its turn.
func TestVerdict(t *testing.T) {
	if fs := perfect().faults(); len(fs) > 0 {
		t.Fatalf("nothing is wrong, and it says %v", fs)
	}
	f := func(name string, plant func(c *conversation), kind string, turn int, where string) {
		t.Helper()
		c := perfect()
		plant(c)
		fs := c.faults()
		if !slices.ContainsFunc(fs, func(f Fault) bool {
			return f.Kind == kind && f.Turn == turn && strings.Contains(f.Where, where) && f.Dialogue == "d" && f.Session == "s_1"
		}) {
			t.Errorf("%s: it says %v; want %s in turn %d, seen in %s", name, fs, kind, turn, where)
		}
		var res ReplayResult
		if res.note(fs); res.Holds() {
			t.Errorf("%s: the verdict holds", name)
		}
	}
	drop := func(ws []word, i int) []word { return slices.Delete(ws, i, i+1) }
	twice := func(ws []word, i int) []word {
		w := ws[i]
		w.seq = ws[len(ws)-1].seq + 1
		return append(ws, w)
	}
	swap := func(ws []word, i int) []word {
		ws[i].body, ws[i+1].body = ws[i+1].body, ws[i].body
		return ws
	}
	alter := func(ws []word, i, at int) []word {
		ws[i].body = bytes.Clone(ws[i].body)
		ws[i].body[at] ^= 1
		return ws
	}
	for _, list := range []struct {
		where string
		of    func(c *conversation) *[]word
		turn  []int // of each word
	}{
		{"the customer heard", func(c *conversation) *[]word { return &c.heard }, []int{0, 1, 1, 2}},
		{"of his own words", func(c *conversation) *[]word { return &c.own }, []int{0, 1, 2, 3}},
	} {
		for i, turn := range list.turn {
			name := fmt.Sprintf("%s, word %d", list.where, i)
			f(name+" lost", func(c *conversation) { p := list.of(c); *p = drop(*p, i) }, Lost, turn, list.where)
			f(name+" twice", func(c *conversation) { p := list.of(c); *p = twice(*p, i) }, Duplicated, turn, list.where)
			for at := range (*list.of(perfect()))[i].body {
				f(name+" altered", func(c *conversation) { p := list.of(c); *p = alter(*p, i, at) }, Mismatched, turn, list.where)
			}
			if i < len(list.turn)-1 {
				f(name+" late", func(c *conversation) { p := list.of(c); *p = swap(*p, i) }, Reordered, turn, list.where)
			}
		}
	}
	f("history lost", func(c *conversation) { c.history = drop(c.history, 3) }, Lost, 1, "the history")
	f("history twice", func(c *conversation) { c.history = twice(c.history, 3) }, Duplicated, 1, "the history")
	f("history altered", func(c *conversation) { c.history = alter(c.history, 3, 9) }, Mismatched, 1, "the history")
	f("history reordered", func(c *conversation) { c.history = swap(c.history, 3) }, Reordered, 1, "the history")
	f("acknowledged elsewhere", func(c *conversation) { c.sent[2]-- }, Lost, 2, "the history")
	f("a worker sees other than the log", func(c *conversation) { c.owners[0].seen = alter(c.owners[0].seen, 0, 9) }, Mismatched, -1, "bot saw")
	f("no owner saw the last word", func(c *conversation) { c.owners[1].seen = c.owners[1].seen[:3] }, Lost, 3, "the workers received")
	f("the second owner was not shown a word", func(c *conversation) { c.owners[1].seen = drop(c.owners[1].seen, 1) }, Lost, 1, "human saw under assignment 2")
	f("two owners at once", func(c *conversation) { c.owners[1].ae = 1 }, Duplicated, -1, "human saw")
	f("a stranger's answer", func(c *conversation) { c.heard = append(c.heard, word{99, wire.OriginBot, []byte(`"spam"`)}) }, Mismatched, -1, "the customer heard")
	f("nobody dealt with it", func(c *conversation) { c.handled[3] = false }, Lost, 3, "the workers did")
	f("the bot goes on", func(c *conversation) { c.heard[3].origin = wire.OriginBot }, NotMoved, 2, "the customer heard")
	f("no end", func(c *conversation) { c.failed("waiting", fmt.Errorf("late")) }, Unfinished, -1, "the play")
}

// TestUndisturbed: a run in which nothing was disturbed proves nothing about disturbances.
func TestUndisturbed(t *testing.T) {
	f := func(r ReplayResult, want string) {
		t.Helper()
		if got := r.undisturbed(); got != want {
			t.Errorf("%+v: %q; want %q", r, got, want)
		}
	}
	f(ReplayResult{}, "")
	f(ReplayResult{Customers: Disconnects{Planned: 3}}, "no customer's connection was cut")
	f(ReplayResult{Customers: Disconnects{Planned: 3, Torn: 1}}, "")
	f(ReplayResult{Workers: Disconnects{Planned: 8}, HandOffsPlanned: 8}, "")
	f(ReplayResult{Workers: Disconnects{Planned: 9}}, "no worker's connection was cut")
	f(ReplayResult{Workers: Disconnects{Planned: 9, Unheard: 1}, HandOffsPlanned: 9}, "no bot handed over")
	f(ReplayResult{HandOffsPlanned: 9, HandOffs: 1}, "")
}

// TestSettled: what the customer has heard was dealt with, also when the worker lost the answer to it.
func TestSettled(t *testing.T) {
	c := perfect()
	c.handled[0] = false
	if fs := c.faults(); len(fs) > 0 {
		t.Errorf("it says %v", fs)
	}
	c.handled[3] = false // nobody answers "bye"
	if c.complete() {
		t.Error("the last word was dealt with by nobody")
	}
}

// TestBreakOff: of a dialogue that broke off, what was never said is not lost, and what has no answer yet may be there or not.
func TestBreakOff(t *testing.T) {
	c := perfect()
	c.sent[2], c.sent[3], c.tried = 0, 0, 3
	c.failed("sending turn 2", fmt.Errorf("out of time"))
	only := func(name string) {
		t.Helper()
		if fs := c.faults(); len(fs) != 1 || fs[0].Kind != Unfinished {
			t.Errorf("%s: it says %v", name, fs)
		}
	}
	c.own, c.heard, c.history, c.owners[1].seen = c.own[:3], c.heard[:3], c.history[:5], c.owners[1].seen[:3]
	c.handled[2], c.handled[3] = false, false
	c.history = append(c.history, word{seq: c.own[2].seq, origin: wire.OriginCustomer, body: c.said[2]})
	only("it was written")
	c.own, c.history, c.owners[1].seen = c.own[:2], c.history[:5], c.owners[1].seen[:2]
	only("it was not written")
	c.heard = c.heard[:2]
	if fs := c.faults(); !slices.ContainsFunc(fs, func(f Fault) bool { return f.Kind == Lost && f.Turn == 1 }) {
		t.Errorf("what was acknowledged before is lost, and it says %v", fs)
	}
}

// TestPlan: one seed, one plan; another, another. Every lane's schedule is fixed and in order.
func TestPlan(t *testing.T) {
	plan := func(seed uint64) (string, [][]*conversation) {
		r := &replay{Replay: Replay{Dialogues: ShippedDialogues(), Repeat: 5, Speed: 10, HandOff: 0.5, Disconnects: 0.3, Seed: seed, Concurrency: 7}, name: "run"}
		lanes := r.plan()
		var b strings.Builder
		for _, c := range r.all {
			fmt.Fprintf(&b, "%d %v %v %d %v %v %v\n", c.index, c.begin, c.due, c.moveAt, c.moveAfter, c.customerCuts, c.workerCuts)
		}
		return b.String(), lanes
	}
	one, lanes := plan(1)
	if again, _ := plan(1); again != one {
		t.Error("the same seed plans otherwise")
	}
	if other, _ := plan(2); other == one {
		t.Error("another seed plans the same")
	}
	n := 0
	for _, lane := range lanes {
		last := time.Duration(0)
		for _, c := range lane {
			n++
			if c.begin < last || !slices.IsSorted(c.due) || c.due[0] < c.begin {
				t.Errorf("conversation %d begins at %v, behind %v, and speaks at %v", c.index, c.begin, last, c.due)
			}
			last = c.due[len(c.due)-1]
		}
	}
	if n != 100 || len(lanes) != 7 {
		t.Errorf("%d conversations in %d lanes", n, len(lanes))
	}
	for _, part := range []string{"true", "[1 ", "-1 false"} { // moved after an answer, cut, not moved
		if !strings.Contains(one, part) {
			t.Errorf("no plan has %q", part)
		}
	}
}
