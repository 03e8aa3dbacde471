package session

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"switchboard/wire"
)

// town is some customers, each with an owner of his own, and the mail between them: it may be lost, doubled and delayed.
type town struct {
	people map[string]*Customer
	mail   []any
	now    int64
	wanted map[string]string // whom each has begun to become
	atOnce int               // how many have become another without a wish
}

func (w *town) step(m any) {
	switch m := m.(type) {
	case *wire.Link:
		c := w.people[m.Winner]
		switch t, _ := c.Take(m); t {
		case TakenOnward:
			on := *m
			on.Winner = c.Alias
			w.mail = append(w.mail, &on)
		case TakenItself, TakenExpected:
			w.mail = append(w.mail, &wire.Linked{Loser: m.Loser, Winner: c.ID, Try: m.Try})
		case TakenLater:
		}
	case *wire.Linked:
		w.people[m.Loser].Left(m)
	case expected:
		w.tell(m)
	}
}

// expected goes to a loser: somebody, the winner, expects him; nobody when there is none.
type expected struct {
	loser, winner, wanted string
}

// ask lets whom c wants to become expect him, if he can, and then c leave, by either way.
func (w *town) ask(c *Customer, to string) {
	m := expected{loser: c.ID, wanted: to}
	root := w.people[to]
	for root.Alias != "" {
		root = w.people[root.Alias]
	}
	if root != c {
		if _, ok := root.Expect(); ok {
			m.winner = root.ID
		}
	}
	w.mail = append(w.mail, m)
}

func (w *town) tell(m expected) {
	c := w.people[m.loser]
	if m.winner != "" && c.Become(m.winner) {
		w.wanted[c.ID], w.atOnce = m.wanted, w.atOnce+1
		return
	}
	if _, err := c.Leave(m.wanted, w.now); err == nil {
		w.wanted[c.ID] = m.wanted
	}
}

// root follows the chain; it fails when that has no end.
func (w *town) root(t *rapid.T, id string) string {
	from := id
	for n := 0; w.people[id].Alias != ""; n++ {
		if id = w.people[id].Alias; n > len(w.people) {
			t.Fatalf("the chain of %s has no end", from)
		}
	}
	return id
}

func (w *town) wishes() (n int) {
	for _, c := range w.people {
		if l, _ := c.Wish(); l != nil {
			w.mail = append(w.mail, l)
			n++
		}
	}
	return n
}

// TestMerges lets customers become each other at random, also in circles, with mail that is lost, doubled and late. What was one
// stays one, no chain ends nowhere, none is longer than is allowed, and when mail comes through everybody becomes whom he wanted.
func TestMerges(t *testing.T) {
	atOnce := 0
	defer func() {
		if atOnce == 0 {
			t.Error("nobody became another at once")
		}
	}()
	rapid.Check(t, func(t *rapid.T) {
		w := &town{people: map[string]*Customer{}, wanted: map[string]string{}}
		n := rapid.IntRange(2, 14).Draw(t, "customers")
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint("c", i)
			w.people[names[i]] = &Customer{ID: names[i]}
		}
		alias := map[string]string{}
		check := func() {
			for id, c := range w.people {
				if alias[id] != "" && c.Alias != alias[id] {
					t.Fatalf("%s was %s and is %s", id, alias[id], c.Alias)
				}
				if alias[id] = c.Alias; c.Alias == id {
					t.Fatalf("%s is his own alias", id)
				}
				w.root(t, id)
			}
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			w.now += int64(rapid.IntRange(0, 1).Draw(t, "time"))
			if len(w.mail) > 0 && rapid.Bool().Draw(t, "mail") {
				i := rapid.IntRange(0, len(w.mail)-1).Draw(t, "which")
				m := w.mail[i]
				switch rapid.IntRange(0, 4).Draw(t, "fate") {
				case 0: // it comes twice
				case 1: // it is lost
					w.mail = append(w.mail[:i], w.mail[i+1:]...)
					continue
				default:
					w.mail = append(w.mail[:i], w.mail[i+1:]...)
				}
				w.step(m)
				check()
				continue
			}
			c, to := w.people[rapid.SampledFrom(names).Draw(t, "who")], rapid.SampledFrom(names).Draw(t, "whom")
			if l, _ := c.Wish(); l != nil && rapid.Bool().Draw(t, "again") {
				w.mail = append(w.mail, l)
			} else if to != c.ID {
				w.ask(c, to)
			}
			check()
		}
		for range 10 * n { // from now on mail comes through
			w.wishes()
			for len(w.mail) > 0 {
				m := w.mail[0]
				w.mail = w.mail[1:]
				w.step(m)
			}
			check()
		}
		if left := w.wishes(); left > 0 {
			t.Fatalf("%d customers are still waiting", left)
		}
		atOnce += w.atOnce
		for from, to := range w.wanted {
			if w.root(t, from) != w.root(t, to) {
				t.Fatalf("%s wanted to become %s, and they are %s and %s", from, to, w.root(t, from), w.root(t, to))
			}
		}
		depth := map[string]int{}
		for id := range w.people {
			for at, k := id, 0; ; at, k = w.people[at].Alias, k+1 {
				depth[at] = max(depth[at], k)
				if w.people[at].Alias == "" {
					break
				}
			}
		}
		for id, d := range depth {
			if c := w.people[id]; uint64(d) > c.Depth || d > 0 && !c.Linked || d > MaxDepth {
				t.Fatalf("%s is at the end of a chain of %d and says %d, linked %v", id, d, c.Depth, c.Linked)
			}
		}
	})
}

// Who has become another, or wants to, wants no third.
func TestLeave(t *testing.T) {
	c := Customer{ID: "v"}
	if changed, err := c.Leave("alice", 1); !changed || err != nil {
		t.Fatal(err)
	}
	if changed, err := c.Leave("alice", 2); changed || err != nil || c.Leaving.At != 1 {
		t.Fatalf("the same wish again: %v, %v", changed, err)
	}
	if _, err := c.Leave("bob", 2); err == nil || err.Slug != wire.IdentityTaken {
		t.Fatalf("another wish: %v", err)
	}
	if c.Left(&wire.Linked{Loser: "v", Winner: "alice", Try: c.Try - 1}) {
		t.Fatal("an answer to an earlier try counts")
	}
	if !c.Left(&wire.Linked{Loser: "v", Winner: "alice2", Try: c.Try}) || c.Alias != "alice2" {
		t.Fatal("the answer does not count")
	}
	if c.Left(&wire.Linked{Loser: "v", Winner: "bob", Try: c.Try}) || c.Alias != "alice2" {
		t.Fatal("a second answer counts")
	}
	if _, err := c.Leave("bob", 2); err == nil || err.Slug != wire.IdentityTaken {
		t.Fatalf("a wish of one who is another: %v", err)
	}
	deep := Customer{ID: "d", Depth: MaxDepth}
	if _, err := deep.Leave("e", 1); err == nil || err.Slug != wire.QuotaExceeded {
		t.Fatalf("the end of a chain: %v", err)
	}
}

// What is settled is owed no more.
func TestSettled(t *testing.T) {
	c := Customer{ID: "v", Shops: []Latest{{"a", "s_1"}, {"b", "s_2"}}}
	if c.Owes() || c.Settled("a", "s_1") {
		t.Fatal("one who is himself owes nothing")
	}
	c.Alias = "alice"
	if !c.Owes() || c.Settled("a", "s_2") || !c.Settled("a", "s_1") || !c.Owes() || !c.Settled("b", "s_2") || c.Owes() {
		t.Fatalf("owes %v of %v", c.Owes(), c.Shops)
	}
}
