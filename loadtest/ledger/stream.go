package ledger

import (
	"fmt"
	"slices"
	"strings"
)

// Token is one token of a stream as the customer was shown it.
type Token struct {
	// N is its number in the stream, from 0. A number that its own check contradicts is -1.
	N int
	// Off is where in the text it begins, in bytes, and Len how long it is.
	Off, Len int
}

// telling is a stream that runs: a worker tells a text token by token.
type telling struct {
	name  string
	heard []uint64 // a bit for each token that was shown
	count int      // how many those are
	next  int      // the number of the token that follows, when none is missing
	pos   int      // where it begins
}

// Streams is the book of the streams that run in one session, from its customer's side. A token is ephemeral [SW-4.8]: one that a slow or an absent
// customer is not shown is counted when the stream ends, and is no fault. What is shown must be as it was told: each token once, in order, in its place,
// but for a text that is told anew from its beginning. The zero value is ready; it has one owner.
type Streams struct{ list []telling }

// streamsMax is how many streams of one session are remembered: twice as many as may run. What is ahead of them goes: its end was not heard.
const streamsMax = 8

// tokenMax bounds the number of a token: no body that a node takes has so many.
const tokenMax = 1 << 16

func (b *Streams) of(stream []byte) *telling {
	for i := range b.list {
		if b.list[i].name == string(stream) {
			return &b.list[i]
		}
	}
	if len(b.list) == streamsMax {
		b.list = slices.Delete(b.list, 0, 1)
	}
	b.list = append(b.list, telling{name: string(stream)})
	return &b.list[len(b.list)-1]
}

// Anew enters that the text of a stream follows from its beginning, as far as it is known: what was shown is shown again, and may be shorter.
func (b *Streams) Anew(stream []byte) {
	t := b.of(stream)
	t.next, t.pos = 0, 0
}

// Heard enters a token, and returns what does not hold. fresh tells that it was shown for the first time.
func (b *Streams) Heard(session string, stream []byte, k Token) (fresh bool, f *Fault) {
	t := b.of(stream)
	fault := func(kind, format string, args ...any) *Fault {
		return &Fault{Kind: kind, Session: session, Detail: fmt.Sprintf("stream %s: ", stream) + fmt.Sprintf(format, args...)}
	}
	if k.N < 0 || k.N >= tokenMax {
		return false, fault(Mismatched, "a token at byte %d is not what was told", k.Off)
	}
	word, bit := k.N/64, uint64(1)<<(k.N%64)
	for len(t.heard) <= word {
		t.heard = append(t.heard, 0)
	}
	fresh = t.heard[word]&bit == 0
	if fresh {
		t.heard[word] |= bit
		t.count++
	}
	switch {
	case k.N < t.next && fresh:
		return fresh, fault(Reordered, "token %d comes behind token %d", k.N, t.next-1)
	case k.N < t.next:
		return fresh, fault(Duplicated, "token %d comes again, behind token %d", k.N, t.next-1)
	case k.Off < t.pos:
		f = fault(Mismatched, "token %d is to stand at byte %d, and there were %d before it", k.N, k.Off, t.pos)
	}
	t.next, t.pos = k.N+1, k.Off+k.Len
	return fresh, f
}

// Running names the streams that have not ended, with the tokens of each that were shown, up to four; "" when there are none.
func (b *Streams) Running() string {
	var names []string
	for _, t := range b.list[:min(len(b.list), 4)] {
		names = append(names, fmt.Sprintf("%s (%d tokens)", t.name, t.count))
	}
	return strings.Join(names, ", ")
}

// End enters that a stream has ended, of which tokens were told, and returns how many of them were not shown. Those of a stream that the worker
// did not come to the end of are not known: then tokens is 0.
func (b *Streams) End(stream []byte, tokens int) (lost int) {
	i := slices.IndexFunc(b.list, func(t telling) bool { return t.name == string(stream) })
	if i < 0 {
		return max(tokens, 0)
	}
	lost = max(tokens-b.list[i].count, 0)
	if b.list = slices.Delete(b.list, i, i+1); len(b.list) == 0 {
		b.list = nil
	}
	return lost
}
