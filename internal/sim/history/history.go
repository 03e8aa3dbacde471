package history

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Word is one appended entry: the key under which it was said, and where it stands.
type Word struct {
	Key string
	Seq uint64
}

// Op is what a client did.
type Op struct {
	// Client is who did it: one thing at a time.
	Client int
	// Session is whose log it is about. Sessions know nothing of each other.
	Session string
	// Call and Return are when it was asked and when it was answered, in nanoseconds of one clock. Return is 0 when no answer came:
	// then nobody knows whether it was done, and it may be done at any time after Call.
	Call, Return int64

	// Key is the key of an append, or "" for a read.
	Key string
	// Seq is the answer to an append, and Duplicate that it had been done before. Without Duplicate that may be so, too.
	Seq       uint64
	Duplicate bool
	// Words are the answer to a read: all words of the log from seq From on, in the order of the log. A read without answer says nothing.
	From  uint64
	Words []Word
}

// History collects what clients do. Its methods may be called from any goroutine. The zero value is ready.
type History struct {
	mu sync.Mutex
	// Guarded by mu.
	ops []Op
}

// Add notes an operation that has ended, in whatever way.
func (h *History) Add(op *Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, *op)
}

// Ops returns what was noted.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ops)
}

// Counts says how much there is to check: appends, of which so many were repetitions and so many have no answer, and reads.
type Counts struct{ Appends, Repeated, Unknown, Reads, Sessions int }

// Check says whether the operations are those of a log per session. Nil says that there is an order in which everybody was told
// the truth. It gives up after patience, of the real clock, with an error that wraps ErrUnknown. It must not be called in a bubble.
func Check(ops []Op, patience time.Duration) (c Counts, err error) {
	sessions := map[string][]Op{}
	for i := range ops {
		op := &ops[i]
		sessions[op.Session] = append(sessions[op.Session], *op)
		switch {
		case op.Key == "":
			c.Reads++
		case op.Return == 0:
			c.Appends, c.Unknown = c.Appends+1, c.Unknown+1
		default:
			c.Appends++
			if op.Duplicate {
				c.Repeated++
			}
		}
	}
	c.Sessions = len(sessions)
	until := time.Now().Add(patience)
	for id, ops := range sessions {
		switch porcupine.CheckOperationsTimeout(model, operations(ops), max(time.Until(until), time.Millisecond)) {
		case porcupine.Illegal:
			return c, fmt.Errorf("session %s: there is no order of its %d operations in which each was answered truly%s", id, len(ops), hint(ops))
		case porcupine.Unknown:
			return c, fmt.Errorf("session %s: %w after %v", id, ErrUnknown, patience)
		}
	}
	return c, nil
}

// ErrUnknown says that the check took too long.
var ErrUnknown = fmt.Errorf("no verdict")

// operations are ops as Porcupine has them. What nobody was told and nobody has seen is left out: it may be still to come. What
// nobody was told and somebody has seen is known to have been done, at some time after its call.
func operations(ops []Op) (list []porcupine.Operation) {
	seen := map[string]uint64{}
	for i := range ops {
		for _, w := range ops[i].Words {
			seen[w.Key] = w.Seq
		}
		if op := &ops[i]; op.Key != "" && op.Return != 0 {
			seen[op.Key] = op.Seq
		}
	}
	for i := range ops {
		op, end := &ops[i], ops[i].Return
		if end == 0 {
			seq, done := seen[op.Key]
			if op.Key == "" || !done {
				continue
			}
			known := *op
			known.Seq, end = seq, math.MaxInt64
			op = &known
		}
		list = append(list, porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Call, Output: nil, Return: end})
	}
	return list
}

// state is a log: the first n words of what it shares with the states before and behind it.
type state struct {
	of  *grown
	n   int
	sum uint64 // of all words
}

// grown is the longest log that states which share it have come to. One goroutine checks a session.
type grown struct {
	words []Word
	at    map[string]int // of each key
}

func (g *grown) add(w Word) {
	g.at[w.Key] = len(g.words)
	g.words = append(g.words, w)
}

var model = porcupine.Model{
	Init: func() any { return state{of: &grown{at: map[string]int{}}} },
	Step: func(st, in, _ any) (bool, any) { return st.(state).step(in.(*Op)) },
	Equal: func(a, b any) bool {
		x, y := a.(state), b.(state)
		return x.n == y.n && x.sum == y.sum
	},
}

func (s state) step(op *Op) (bool, any) {
	words := s.of.words[:s.n]
	if op.Key == "" {
		at, _ := slices.BinarySearchFunc(words, op.From, func(w Word, from uint64) int { return cmp.Compare(w.Seq, from) })
		return slices.Equal(words[at:], op.Words), s
	}
	if i, ok := s.of.at[op.Key]; ok && i < s.n {
		// That it was there before need not be said: a server that asked again itself does not know whose repetition it was [SW-4.11].
		return words[i].Seq == op.Seq, s
	}
	// It may say that it was there before: a client asks again by itself when a connection is lost.
	if s.n > 0 && words[s.n-1].Seq >= op.Seq {
		return false, s
	}
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s %d", s.sum, op.Key, op.Seq)
	return true, state{s.of.with(s.n, Word{op.Key, op.Seq}), s.n + 1, h.Sum64()}
}

// with returns what a log that has the first n words shares when w comes behind them: g itself, unless something else came there in an order
// that was tried before.
func (g *grown) with(n int, w Word) *grown {
	switch {
	case n == len(g.words):
		g.add(w)
		return g
	case g.words[n] == w:
		return g
	}
	other := &grown{at: make(map[string]int, n+1)}
	for _, old := range g.words[:n] {
		other.add(old)
	}
	other.add(w)
	return other
}

// asked tells whether somebody asked for key before.
func asked(ops []Op, key string, before int64) bool {
	return slices.ContainsFunc(ops, func(op Op) bool { return op.Key == key && op.Call < before })
}

// hint looks for plain contradictions, for who reads of a failure.
func hint(ops []Op) (s string) {
	at := map[string]uint64{}
	key := map[uint64]string{}
	note := func(k string, seq uint64) {
		if was, ok := at[k]; ok && was != seq {
			s += fmt.Sprintf("; %s stands at %d and at %d", k, was, seq)
		}
		if was, ok := key[seq]; ok && was != k {
			s += fmt.Sprintf("; at %d stand %s and %s", seq, was, k)
		}
		at[k], key[seq] = seq, k
	}
	for i := range ops {
		op := &ops[i]
		if op.Key != "" && op.Return != 0 {
			note(op.Key, op.Seq)
		}
		for _, w := range op.Words {
			note(w.Key, w.Seq)
		}
	}
	for i := range ops {
		r := &ops[i]
		if r.Return == 0 {
			continue
		}
		for j := range ops {
			a := &ops[j]
			if a.Return == 0 || a.Return >= r.Call {
				continue
			}
			// a was over when r began.
			switch {
			case r.Key != "" && a.Key != "" && r.Key != a.Key && r.Seq < a.Seq && !asked(ops, r.Key, r.Call):
				s += fmt.Sprintf("; %s came to %d, when %s was at %d", r.Key, r.Seq, a.Key, a.Seq)
			case r.Key == "" && a.Key != "" && a.Seq >= r.From && !slices.Contains(r.Words, Word{a.Key, a.Seq}):
				s += fmt.Sprintf("; a read of %v to %v lacks %s at %d, told at %v", time.Duration(r.Call), time.Duration(r.Return), a.Key, a.Seq, time.Duration(a.Return))
			case r.Key == "" && a.Key == "":
				for _, w := range a.Words {
					if w.Seq >= r.From && !slices.Contains(r.Words, w) {
						s += fmt.Sprintf("; a read of %v to %v lacks %s at %d, read by %v", time.Duration(r.Call), time.Duration(r.Return), w.Key, w.Seq, time.Duration(a.Return))
					}
				}
			}
		}
	}
	if len(s) > 1000 {
		s = s[:1000] + "…"
	}
	return s
}
