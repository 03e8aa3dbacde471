package swarm

import (
	"bytes"
	"strconv"

	"switchboard/loadtest/ledger"
	"switchboard/loadtest/socket"
)

// A token of a stream is a word that says when it was due at the bot, which one it is, and a number that only these two have in this stream, so that
// one that is altered is found: ~MICROSECONDS.NUMBER.CHECK and a space, to base 36.

// appendToken appends token n of the answer to seq of.
func appendToken(dst []byte, due int64, n int, of uint64) []byte {
	dst = strconv.AppendInt(append(dst, '~'), due/1000, 36)
	dst = strconv.AppendInt(append(dst, '.'), int64(n), 36)
	dst = strconv.AppendUint(append(dst, '.'), tokenCheck(due/1000, uint64(n), of), 36) //nolint:gosec // n counts from 0
	return append(dst, ' ')
}

// tokenCheck is up to three digits to base 36: a prime, so that no digit of either number is without weight.
func tokenCheck(micros int64, n, of uint64) uint64 {
	return (uint64(micros)*31 + n*1009 + of*7919) % 46_649 //nolint:gosec // it is a checksum
}

// readToken reads one token, without its space; due is in microseconds. n is -1 when it is none.
func readToken(word []byte, of uint64) (due int64, n int) {
	word, is := bytes.CutPrefix(word, []byte{'~'})
	stamp, rest, _ := bytes.Cut(word, []byte{'.'})
	number, check, _ := bytes.Cut(rest, []byte{'.'})
	due, err := strconv.ParseInt(string(stamp), 36, 64)
	i, err2 := strconv.ParseInt(string(number), 36, 32)
	sum, err3 := strconv.ParseUint(string(check), 36, 64)
	if !is || err != nil || err2 != nil || err3 != nil || i < 0 || sum != tokenCheck(due, uint64(i), of) { //nolint:gosec // it is not below 0
		return 0, -1
	}
	return due, int(i)
}

// tokens takes a piece of a stream [SW-4.8], or with anew all of it so far. p.mu is held.
func (p *person) tokens(frame []byte, anew bool) {
	now := p.a.now()
	_, frame, _ = bytes.Cut(frame, []byte{'{', '"'}) // the verb, which may be a member's name too
	if string(socket.Field(frame, `"session":`)) != p.account.Session {
		return // of one that was closed
	}
	name, off := socket.Field(frame, `"stream":"`), int(number(socket.Field(frame, `"off":`))) //nolint:gosec // a body's length
	if anew {
		off = 0
		p.streams.Anew(name)
	}
	_, text, _ := bytes.Cut(frame, []byte(`"text":"`))
	text, _, _ = bytes.Cut(text, []byte{'"'})
	for len(text) > 0 {
		word, rest, whole := bytes.Cut(text, []byte{' '})
		due, n := int64(0), -1
		if whole && len(name) > 0 {
			due, n = readToken(word, number(name[1:]))
		}
		k := ledger.Token{N: n, Off: off, Len: len(word) + 1}
		fresh, fault := p.streams.Heard(p.account.Session, name, k)
		if fault != nil {
			p.a.m.found([]ledger.Fault{*fault}, 1)
		}
		if fresh {
			p.a.m.tokens.Add(1)
		}
		if fresh && !p.slow && !anew { // what is told anew came for whoever was not there
			p.a.m.record(mToken, now-due*1000)
			if n == 0 {
				p.a.m.record(mFirstToken, now-due*1000)
			}
		}
		off += k.Len
		text = rest
	}
}
