package history_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"switchboard/internal/sim/history"
)

func say(client int, call, end int64, key string, seq uint64, twice bool) history.Op {
	return history.Op{Client: client, Session: "s", Call: call, Return: end, Key: key, Seq: seq, Duplicate: twice}
}

func read(client int, call, end int64, from uint64, words ...history.Word) history.Op {
	return history.Op{Client: client, Session: "s", Call: call, Return: end, From: from, Words: words}
}

func TestCheck(t *testing.T) {
	f := func(name string, good bool, ops ...history.Op) {
		t.Helper()
		if _, err := history.Check(ops, time.Minute); (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, b := history.Word{Key: "a", Seq: 3}, history.Word{Key: "b", Seq: 5}
	f("nothing", true)
	f("in turn", true, say(1, 1, 2, "a", 3, false), say(1, 3, 4, "b", 5, false), read(2, 5, 6, 1, a, b))
	f("at once", true, say(1, 1, 9, "a", 3, false), say(2, 1, 9, "b", 5, false), read(3, 2, 3, 1, a), read(3, 4, 5, 1, a, b))
	f("two at one place", false, say(1, 1, 2, "a", 3, false), say(2, 1, 2, "b", 3, false))
	f("out of order", false, say(1, 1, 2, "a", 3, false), say(1, 3, 4, "b", 2, false))
	f("lost", false, say(1, 1, 2, "a", 3, false), say(1, 3, 4, "b", 5, false), read(2, 5, 6, 1, b))
	f("a read that is behind", false, say(1, 1, 2, "a", 3, false), read(2, 3, 4, 1))
	f("a read from the middle", true, say(1, 1, 2, "a", 3, false), say(1, 3, 4, "b", 5, false), read(2, 5, 6, 4, b))
	f("a read that goes back", false, say(1, 1, 9, "a", 3, false), read(2, 2, 3, 1, a), read(2, 4, 5, 1))
	f("the second copy", true, say(1, 1, 2, "a", 3, false), say(2, 3, 4, "a", 3, true), read(2, 5, 6, 1, a))
	f("done twice", false, say(1, 1, 2, "a", 3, false), say(2, 3, 4, "a", 5, false))
	f("done twice, and seen", false, say(1, 1, 2, "a", 3, false), read(2, 3, 4, 1, a, history.Word{Key: "a", Seq: 5}))
	f("told twice that it is new", true, say(1, 1, 2, "a", 3, false), say(2, 3, 4, "a", 3, false))
	f("its own repetition", true, say(1, 1, 2, "a", 3, true), read(1, 3, 4, 1, a))
	f("no answer, and never seen", true, say(1, 1, 0, "a", 0, false), say(2, 2, 3, "b", 5, false), read(2, 4, 5, 1, b))
	f("no answer, seen late", true, say(1, 1, 0, "a", 0, false), read(2, 2, 3, 1), read(2, 4, 5, 1, a))
	f("no answer, and done by another", true, say(1, 1, 0, "a", 0, false), say(2, 2, 3, "a", 3, false), read(2, 4, 5, 1, a))
	f("seen before it was said", false, read(2, 1, 2, 1, a), say(1, 3, 4, "a", 3, false))
	if c, _ := history.Check([]history.Op{say(1, 1, 0, "a", 0, false), say(2, 2, 3, "a", 3, true), read(2, 4, 5, 1, a)}, time.Minute); c !=
		(history.Counts{Appends: 2, Repeated: 1, Unknown: 1, Reads: 1, Sessions: 1}) {
		t.Errorf("counts %+v", c)
	}
}

// TestCheckFindsOneLie makes true histories of many clients, which pass, and changes one answer, which does not.
func TestCheckFindsOneLie(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var ops []history.Op
		var log []history.Word
		now := int64(0)
		for i := range 200 {
			now += 10
			if key := string(rune('A'+i%26)) + strings.Repeat("'", i/26); rng.IntN(3) > 0 {
				log = append(log, history.Word{Key: key, Seq: uint64(2*i + 2)})
				ops = append(ops, say(i%5, now-rng.Int64N(40), now+rng.Int64N(40), key, uint64(2*i+2), false))
			} else {
				ops = append(ops, read(5+i%5, now-rng.Int64N(40), now+rng.Int64N(40), 1, log...))
			}
		}
		if _, err := history.Check(ops, time.Minute); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		var late []int
		for i := range ops {
			if ops[i].Key == "" && len(ops[i].Words) > 10 {
				late = append(late, i)
			}
		}
		lie := &ops[late[rng.IntN(len(late))]]
		i := rng.IntN(len(lie.Words) - 9) // said and answered long before
		lie.Words = append(append([]history.Word(nil), lie.Words[:i]...), lie.Words[i+1:]...)
		if _, err := history.Check(ops, time.Minute); err == nil || !strings.Contains(err.Error(), "lacks") {
			t.Fatalf("seed %d: a read that lacks a word: %v", seed, err)
		}
	}
}

// TestCheckLong is of a session with as many words as a test of an hour makes: what a check costs grows with them, and not with what the log has by then.
func TestCheckLong(t *testing.T) {
	const words = 20_000
	var ops []history.Op
	var log []history.Word
	for i := range int64(words) {
		w := history.Word{Key: strconv.FormatInt(i, 10), Seq: uint64(i + 1)} //nolint:gosec // small
		log = append(log, w)
		ops = append(ops, say(1, 10*i, 10*i+5, w.Key, w.Seq, false))
	}
	if _, err := history.Check(append(ops, read(2, 10*words, 10*words+1, 1, log...)), time.Minute); err != nil {
		t.Error(err)
	}
	if _, err := history.Check(append(ops, read(2, 10*words, 10*words+1, 1, log[:words-1]...)), time.Minute); errors.Is(err, history.ErrUnknown) || err == nil {
		t.Error("the last word is missing:", err)
	}
}
