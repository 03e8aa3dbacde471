package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// step is one thing that happens to an account.
type step struct {
	verb string // send, ack, own, answer, event, resume, drop
	n    uint64
	e    Entry
	dup  bool
	how  string
}

func (s step) do(a *Account) {
	switch s.verb {
	case "send":
		a.Send(s.n)
	case "drop":
		a.Drop(s.n)
	case "ack":
		a.Ack(s.n, s.e.Seq, s.dup)
	case "resume":
		a.Resumed(s.how, s.e.Seq)
	default:
		a.Saw(s.e)
	}
}

// good is a session in which everything holds: rounds of some messages, their acknowledgements, events and answers.
func good(rounds int, rng *rand.Rand) (steps []step, log []Entry) {
	seq, n := uint64(1), uint64(0)
	log = append(log, Entry{Seq: 1})
	prev := func() uint64 { return log[len(log)-1].Seq }
	put := func(e Entry) Entry {
		seq += 1 + uint64(rng.IntN(3)/2) // sometimes a staff entry that the customer does not see
		e.Prev, e.Seq = prev(), seq
		log = append(log, e)
		return e
	}
	for range rounds {
		var said []Entry
		for range 1 + rng.IntN(3) {
			n++
			steps = append(steps, step{verb: "send", n: n})
			e := put(Entry{N: n})
			steps = append(steps, step{verb: "ack", n: n, e: e})
			said = append(said, e)
			if rng.IntN(3) == 0 {
				steps = append(steps, step{verb: "event", e: put(Entry{})})
			}
		}
		for _, m := range said {
			steps = append(steps, step{verb: "answer", e: put(Entry{N: m.N, Of: m.Seq})})
		}
	}
	return steps, log
}

func play(steps []step, log []Entry) (faults []Fault, v Verdict, left int) {
	a := Begin("s_1", 1, true)
	a.Keep = true
	for _, s := range steps {
		s.do(&a)
	}
	left = a.Open()
	v = a.Audit(log)
	faults, _ = a.Faults()
	return faults, v, left
}

func TestGood(t *testing.T) {
	for seed := range uint64(200) {
		steps, log := good(8, rand.New(rand.NewPCG(seed, 1)))
		faults, v, left := play(steps, log)
		if len(faults) > 0 || v != (Verdict{}) || left != 0 {
			t.Fatalf("seed %d: %v %+v %d open", seed, faults, v, left)
		}
	}
}

// TestMutants changes one thing of what holds, everywhere: each change must be found.
func TestMutants(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	caught := map[string]int{}
	find := func(name string, seed uint64, i int, steps []step, log []Entry, kinds ...string) {
		t.Helper()
		faults, v, left := play(steps, log)
		if len(kinds) == 0 {
			if left == 0 && v.Late == 0 && len(faults) == 0 {
				t.Fatalf("%s at %d of seed %d was not found", name, i, seed)
			}
			caught[name]++
			return
		}
		if !slices.ContainsFunc(faults, func(f Fault) bool { return slices.Contains(kinds, f.Kind) && f.Session == "s_1" && f.String() != "" }) {
			t.Fatalf("%s at %d of seed %d: %v; want one of %v", name, i, seed, faults, kinds)
		}
		caught[name]++
	}
	for seed := range uint64(40) {
		steps, log := good(6, rand.New(rand.NewPCG(seed, 2)))
		for i, s := range steps {
			without := slices.Delete(slices.Clone(steps), i, i+1)
			twice := slices.Insert(slices.Clone(steps), i, s)
			switch s.verb {
			case "answer", "event":
				if next := i + 1 + slices.IndexFunc(steps[i+1:], func(s step) bool { return s.verb != "send" }); next > i { // what is last is late
					find("drop before "+steps[next].verb, seed, i, without, log, Lost)
				}
				if s.verb == "answer" {
					find("drop answer", seed, i, without, log)
				}
				find("twice", seed, i, twice, log, Duplicated)
				if i+1 < len(steps) && (steps[i+1].verb == "answer" || steps[i+1].verb == "event") {
					swapped := slices.Clone(steps)
					swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
					find("swap", seed, i, swapped, log, Lost, Duplicated, Reordered, Mismatched)
				}
			case "ack":
				find("ack twice", seed, i, twice, log, Duplicated)
				known := slices.Clone(steps)
				known[i].dup = true
				find("ack known", seed, i, known, log, Duplicated)
				moved := slices.Clone(steps)
				moved[i].e.Seq = 1
				find("ack moved back", seed, i, moved, log, Reordered, Mismatched)
			}
		}
		for i := range log {
			if log[i].N == 0 {
				continue
			}
			find("log drop", seed, i, steps, slices.Delete(slices.Clone(log), i, i+1), Lost)
			again := log[i]
			again.Seq = log[len(log)-1].Seq + 1
			find("log twice", seed, i, steps, append(slices.Clone(log), again), Duplicated)
			if j := rng.IntN(len(log)); j > i {
				swapped := slices.Clone(log)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				find("log swap", seed, i, steps, swapped, Reordered)
			}
		}
		short := log[:len(log)-1]
		find("log short", seed, len(log), steps, short, Lost)
	}
	for _, name := range []string{"drop before ack", "drop before answer", "drop answer", "twice", "swap", "ack twice", "ack known", "ack moved back", "log drop", "log twice", "log swap", "log short"} {
		if caught[name] == 0 {
			t.Errorf("%s never happened", name)
		}
	}
	t.Log(fmt.Sprint(caught))
}

// TestReconnection: what was not acknowledged when the connection ended comes as an entry, or is known when it is repeated.
func TestReconnection(t *testing.T) {
	f := func(want string, steps ...step) {
		t.Helper()
		a := Begin("s_1", 1, true)
		for _, s := range steps {
			s.do(&a)
		}
		got := ""
		if fs, _ := a.Faults(); len(fs) > 0 {
			got = fs[0].Kind
		}
		if got != want {
			t.Errorf("%+v: %q; want %q", steps, got, want)
		}
	}
	send, resume := step{verb: "send", n: 1}, step{verb: "resume", how: "exact"}
	own := step{verb: "own", e: Entry{Seq: 2, Prev: 1, N: 1}}
	answer := step{verb: "answer", e: Entry{Seq: 3, Prev: 2, N: 1, Of: 2}}
	ack := func(seq uint64, dup bool) step { return step{verb: "ack", n: 1, e: Entry{Seq: seq}, dup: dup} }
	f("", send, resume, own, send, ack(2, true), answer)
	f("", send, resume, own, answer)
	f("", send, resume, send, ack(2, true), own, answer)
	f(Lost, send, resume, send, ack(2, true), answer)
	f("", send, resume, send, own, answer, ack(2, true)) // what was repeated is known, and that may come late
	f(Duplicated, send, resume, own, answer, ack(2, true))
	f("", send, resume, send, ack(2, false), answer)
	f(Duplicated, send, resume, own, send, ack(4, false))
	f(Duplicated, send, resume, own, step{verb: "own", e: Entry{Seq: 3, Prev: 2, N: 1}})
	f(Mismatched, send, resume, step{verb: "own", e: Entry{Seq: 2, Prev: 1, N: 9}})
	f(Mismatched, send, ack(2, false), step{verb: "answer", e: Entry{Seq: 4, Prev: 2, N: 1, Of: 3}})
	f(Mismatched, ack(2, false))
	f(Lost, step{verb: "resume", how: "truncated", e: Entry{Seq: 1}})
	f(Lost, step{verb: "resume", how: "reset"})
	f("", send, step{verb: "drop", n: 1})
	f(Mismatched, send, step{verb: "drop", n: 1}, ack(2, false))
}

// TestLate: what is in the log without an answer is late, and not lost.
func TestLate(t *testing.T) {
	a := Begin("s_1", 1, true)
	for n := range uint64(3) {
		a.Send(n + 1)
	}
	a.Ack(1, 2, false)
	a.Ack(2, 3, false)
	if v := a.Audit([]Entry{{Seq: 1}, {Seq: 2, N: 1}, {Seq: 3, N: 2}}); v != (Verdict{Late: 2, Unknown: 1}) {
		t.Errorf("%+v", v)
	}
	if fs, n := a.Faults(); n != 0 {
		t.Error(fs)
	}
	if a.Last() != 3 || len(a.Unacked()) != 1 || len(a.Unanswered()) != 2 {
		t.Errorf("%+v", a)
	}
}

// TestForgets: an account does not grow with what is settled.
func TestForgets(t *testing.T) {
	a := Begin("s_1", 1, true)
	for n := uint64(1); n <= 10_000; n++ {
		a.Send(n)
		a.Ack(n, 2*n, false)
		a.Saw(Entry{Seq: 2*n + 1, Prev: 2 * n, N: n, Of: 2 * n})
	}
	if _, n := a.Faults(); n != 0 || a.Open() != 0 || cap(a.opens) != 0 || cap(a.settled) > 2*settledMax || a.kept != nil {
		t.Errorf("%d faults, %d open, it keeps %d", n, a.Open(), cap(a.settled))
	}
}

func TestHand(t *testing.T) {
	h := Hand{AE: 3}
	f := func(want string, seq, attempt uint64) {
		t.Helper()
		got := ""
		if fault := h.Delivered("s_1", 1, seq, attempt); fault != nil {
			got = fault.Kind
		}
		if got != want {
			t.Errorf("seq %d, attempt %d: %q; want %q", seq, attempt, got, want)
		}
	}
	f("", 2, 1)
	f("", 5, 1)
	f(Duplicated, 5, 1)
	f(Reordered, 2, 1)
	f("", 2, 2)
	h.Again()
	f("", 5, 1)

	h = Hand{AE: 4, Moves: true}
	f("", 2, 1)
	f("", 5, 1)
	f("", 7, 1)
	h.Acked(2)
	f("", 5, 1) // another owner: what is open follows once more, in order
	f("", 7, 1)
	f(Duplicated, 2, 1) // but not what was acknowledged
	h.Acked(7)
	f(Duplicated, 5, 1)
	f(Duplicated, 7, 1)
	f("", 9, 1)
}

// What is acknowledged while the history is being read is not lost: the history is compared with what was known before.
func TestSnapshotOutlivesNews(t *testing.T) {
	a := Begin("s_1", 1, false)
	a.Keep = true
	a.Send(1)
	a.Ack(1, 2, false)
	a.Send(2)
	before := a.Snapshot()
	history := []Entry{{Seq: 1}, {Seq: 2, N: 1}}
	a.Ack(2, 3, false)
	if v := before.Audit(history); v.Unknown != 1 {
		t.Errorf("%+v; the second message was not acknowledged then", v)
	}
	if evidence, n := before.Faults(); n != 0 {
		t.Errorf("%v", evidence)
	}
	a.Audit(history) // what it said without a snapshot
	if _, n := a.Faults(); n == 0 {
		t.Error("a message that was acknowledged before the history was read is not missed")
	}
}

// An answer that comes late has come: the audit does not say of it that it never did.
func TestLateIsNotLost(t *testing.T) {
	a := Begin("s_1", 1, true)
	a.Send(1)
	a.Ack(1, 2, false)
	a.Send(2)
	a.Ack(2, 4, false)
	a.Saw(Entry{Seq: 5, Prev: 4, N: 2, Of: 4})
	a.Saw(Entry{Seq: 3, Prev: 2, N: 1, Of: 2})
	a.Audit([]Entry{{Seq: 1}, {Seq: 2, N: 1}, {Seq: 3, N: 1, Of: 2}, {Seq: 4, N: 2}, {Seq: 5, N: 2, Of: 4}})
	if fs, n := a.Faults(); n != 1 || fs[0].Kind != Reordered || a.Open() != 0 {
		t.Errorf("%+v", fs)
	}
}

// Nor is a message whose acknowledgement is behind that of a later one, nor an entry of others that is shown late.
func TestLateAcknowledgementIsNotLost(t *testing.T) {
	a := Begin("s_1", 1, false)
	for n := range uint64(3) {
		a.Send(n + 1)
	}
	a.Ack(1, 2, false)
	a.Ack(3, 6, false)
	a.Ack(2, 4, false)
	a.Saw(Entry{Seq: 5, Prev: 4})
	a.Audit([]Entry{{Seq: 1}, {Seq: 2, N: 1}, {Seq: 3}, {Seq: 4, N: 2}, {Seq: 5}, {Seq: 6, N: 3}})
	fs, n := a.Faults()
	kinds := map[string][]uint64{}
	for _, f := range fs {
		kinds[f.Kind] = append(kinds[f.Kind], f.Seq)
	}
	if n != 3 || !slices.Equal(kinds[Reordered], []uint64{4, 5}) || !slices.Equal(kinds[Lost], []uint64{3}) {
		t.Errorf("%+v", fs)
	}
}
