package loadtest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"switchboard/wire"
)

// The kinds of [Fault].
const (
	Lost       = "lost"
	Duplicated = "duplicated"
	Reordered  = "reordered"
	Mismatched = "mismatched"
	Unfinished = "unfinished" // the dialogue did not come to its end
	NotMoved   = "not moved"  // a bot answered after the hand-off
)

// Fault is one thing that did not hold.
type Fault struct {
	// Dialogue is its id, Number its place in the run, from 0.
	Dialogue string `json:"dialogue"`
	Number   int    `json:"number"`
	Session  string `json:"session"`
	// Turn is the customer's message that it is about, from 0; −1 when it is about none.
	Turn int    `json:"turn"`
	Kind string `json:"kind"`
	// Where it was seen.
	Where  string `json:"where"`
	Detail string `json:"detail,omitempty"`
}

// String is one line.
func (f Fault) String() string {
	s := fmt.Sprintf("dialogue %s (number %d, session %s)", f.Dialogue, f.Number, f.Session)
	if f.Turn >= 0 {
		s += fmt.Sprintf(", turn %d", f.Turn)
	}
	s += ": " + f.Kind + " in " + f.Where
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// flaw is a fault of one comparison: at is the place in what was sent, −1 for what was not sent at all.
type flaw struct {
	kind   string
	at     int
	detail string
}

// compare compares what was received with what was sent: every body, once, in its order, and nothing else. Bodies that
// were sent are distinct.
func compare(sent [][]byte, got []word) (flaws []flaw) {
	at := make(map[string]int, len(sent))
	for i, b := range sent {
		at[string(b)] = i
	}
	times := make([]int, len(sent))
	places := make([]int, len(got)) // in sent; −1 for strangers
	for i := range got {
		p, known := at[string(got[i].body)]
		if !known {
			places[i] = -1
			continue
		}
		places[i] = p
		if times[p]++; times[p] > 1 {
			flaws = append(flaws, flaw{Duplicated, p, fmt.Sprintf("seq %d says it for the %s time", got[i].seq, ordinal(times[p]))})
		}
	}
	// A stranger stands for the missing one whose place he is in: the next after those before him.
	expected := 0
	for i := range got {
		if places[i] >= 0 {
			expected = max(expected, places[i]+1)
			continue
		}
		p := expected
		for p < len(sent) && times[p] > 0 {
			p++
		}
		if p == len(sent) {
			p = slices.Index(times, 0)
		}
		if p < 0 {
			flaws = append(flaws, flaw{Mismatched, -1, fmt.Sprintf("nobody said seq %d: %.120q", got[i].seq, got[i].body)})
			continue
		}
		times[p]++
		places[i] = p
		expected = max(expected, p+1)
		flaws = append(flaws, flaw{Mismatched, p, difference(sent[p], got[i].body)})
	}
	for p, n := range times {
		if n == 0 {
			flaws = append(flaws, flaw{Lost, p, fmt.Sprintf("%.120q", sent[p])})
		}
	}
	return append(flaws, disorder(got, places)...)
}

// disorder finds what stands behind something that was sent later, or has a seq that does not grow.
func disorder(got []word, places []int) (flaws []flaw) {
	seen := map[int]bool{}
	highest, seq := -1, uint64(0)
	for i, p := range places {
		switch {
		case p < 0 || seen[p]:
			continue
		case p < highest:
			flaws = append(flaws, flaw{Reordered, p, fmt.Sprintf("it came behind number %d", highest)})
		case got[i].seq <= seq:
			flaws = append(flaws, flaw{Reordered, p, fmt.Sprintf("it has seq %d, behind seq %d", got[i].seq, seq)})
		}
		seen[p] = true
		highest, seq = max(highest, p), max(seq, got[i].seq)
	}
	return flaws
}

func ordinal(n int) string {
	switch n {
	case 2:
		return "2nd"
	case 3:
		return "3rd"
	}
	return fmt.Sprintf("%dth", n)
}

// difference tells where two bodies part.
func difference(want, got []byte) string {
	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}
	from := max(i-20, 0)
	return fmt.Sprintf("from byte %d on it is …%.60q instead of …%.60q", i, got[min(from, len(got)):], want[min(from, len(want)):])
}

// faults compares everything that was recorded of c.
func (c *conversation) faults() (fs []Fault) {
	slices.SortStableFunc(c.owners, func(a, b *owner) int { return cmp.Compare(a.ae, b.ae) })
	add := func(where, kind string, turn int, detail string) {
		fs = append(fs, Fault{Dialogue: c.dialogue.ID, Number: c.index, Session: c.session, Turn: turn, Kind: kind, Where: where, Detail: detail})
	}
	turns, optional := c.certain()
	answers := slices.Concat(c.answers[:turns]...)
	customer := func(where string, got []word) {
		for _, f := range compare(c.said[:turns], without(got, optional)) {
			add(where, f.kind, f.at, f.detail)
		}
	}
	workers := func(where string, got []word) {
		for _, f := range compare(answers, without(got, optional)) {
			turn := f.at
			if turn >= 0 {
				turn = c.places[turn]
			}
			add(where, f.kind, turn, f.detail)
		}
	}
	workers("what the customer heard", c.heard)
	customer("what the customer saw of his own words", c.own)
	customer("what the workers received", c.received())
	for turn := range turns {
		if !c.settled(turn) {
			add("what the workers did", Lost, turn, "nobody has dealt with it")
		}
	}
	c.faultsOfOwners(add)
	if c.audited {
		words, answers := split(c.history)
		customer("the history", words)
		workers("the history", answers)
		c.faultsOfLog(add)
	}
	c.faultsOfMove(add)
	for _, t := range c.trouble {
		add("the play", Unfinished, -1, t)
	}
	return fs
}

// certain returns how many turns were acknowledged, and the bodies about whose fate nothing was promised: a dialogue that
// broke off has a last message without an answer, which may have been written, and then be answered, or not.
func (c *conversation) certain() (turns int, optional [][]byte) {
	for turns < len(c.sent) && c.sent[turns] > 0 {
		turns++
	}
	if c.tried > turns {
		optional = append([][]byte{c.said[turns]}, c.answers[turns]...)
	}
	return turns, optional
}

// without returns ws without the bodies.
func without(ws []word, bodies [][]byte) []word {
	if len(bodies) == 0 {
		return ws
	}
	return slices.DeleteFunc(slices.Clone(ws), func(w word) bool {
		return slices.ContainsFunc(bodies, func(b []byte) bool { return bytes.Equal(b, w.body) })
	})
}

// split parts the customer's words from those of others.
func split(ws []word) (customer, others []word) {
	for _, w := range ws {
		if w.origin == wire.OriginCustomer {
			customer = append(customer, w)
		} else {
			others = append(others, w)
		}
	}
	return customer, others
}

// received is what the workers received of the customer, all owners together, each entry when it came first.
func (c *conversation) received() (got []word) {
	seen := map[uint64]bool{}
	for _, o := range c.owners {
		for _, w := range o.seen {
			if w.origin == wire.OriginCustomer && !seen[w.seq] {
				seen[w.seq] = true
				got = append(got, w)
			}
		}
	}
	return got
}

// faultsOfOwners checks each assignment for itself [SW-5.4]: from its first entry of the customer to its last none is
// missing. An assignment is one worker's [SW-5.3].
func (c *conversation) faultsOfOwners(add func(where, kind string, turn int, detail string)) {
	all := c.received()
	slices.SortFunc(all, func(a, b word) int { return cmp.Compare(a.seq, b.seq) })
	for i, o := range c.owners {
		where := fmt.Sprintf("what %s saw under assignment %d", o.worker, o.ae)
		if i > 0 && c.owners[i-1].ae == o.ae {
			add(where, Duplicated, -1, c.owners[i-1].worker+" has it too")
		}
		seen := map[uint64]bool{}
		low, high := ^uint64(0), uint64(0)
		for _, w := range o.seen {
			if w.origin == wire.OriginCustomer {
				seen[w.seq] = true
				low, high = min(low, w.seq), max(high, w.seq)
			}
		}
		for _, w := range all {
			if w.seq > low && w.seq < high && !seen[w.seq] {
				add(where, Lost, slices.IndexFunc(c.said, func(b []byte) bool { return bytes.Equal(b, w.body) }), fmt.Sprintf("seq %d", w.seq))
			}
		}
	}
}

// faultsOfLog checks that everybody saw the entries that the log has, and that the log has what was acknowledged where
// it was [SW-4.2].
func (c *conversation) faultsOfLog(add func(where, kind string, turn int, detail string)) {
	log := make(map[uint64][]byte, len(c.history))
	for _, w := range c.history {
		log[w.seq] = w.body
	}
	check := func(where string, ws []word) {
		for _, w := range ws {
			if b, ok := log[w.seq]; !ok || !bytes.Equal(b, w.body) {
				add(where, Mismatched, -1, fmt.Sprintf("seq %d is %.120q, and %.120q in the history", w.seq, w.body, b))
			}
		}
	}
	check("what the customer heard", c.heard)
	check("what the customer saw of his own words", c.own)
	for _, o := range c.owners {
		check(fmt.Sprintf("what %s saw under assignment %d", o.worker, o.ae), o.seen)
	}
	for turn, seq := range c.sent {
		if b := log[seq]; seq > 0 && !bytes.Equal(b, c.said[turn]) {
			add("the history", Lost, turn, fmt.Sprintf("it was acknowledged as seq %d, which is %.120q", seq, b))
		}
	}
}

// faultsOfMove checks that no bot answers behind the hand-off.
func (c *conversation) faultsOfMove(add func(where, kind string, turn int, detail string)) {
	if c.moveAt < 0 {
		return
	}
	for turn, answers := range c.answers {
		bots := turn < c.moveAt || turn == c.moveAt && c.moveAfter
		for _, b := range answers {
			for i := range c.heard {
				if w := &c.heard[i]; !bots && w.origin != wire.OriginHuman && bytes.Equal(w.body, b) {
					add("what the customer heard", NotMoved, turn, fmt.Sprintf("seq %d is a %s's", w.seq, w.origin))
				}
			}
		}
	}
}
