package main

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// shown returns a line of what strangers have said as a terminal may be given it: what would move its cursor, colour its letters, write into its
// clipboard, turn the direction of writing or begin another line is written as Go would quote it, so nobody's words can look like somebody else's. Bytes
// that are no text, which to some terminals are orders too, are shown as such.
func shown(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if strings.IndexFunc(s, unshown) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if !unshown(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRuneToGraphic(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// unshown tells whether r is neither a letter, a sign nor a space. The two joiners are in Persian words and in emoji.
func unshown(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return !unicode.IsGraphic(r) && r != nonJoiner && r != joiner
}

// jsonShown writes JSON, whole values at a time, as shown writes lines: what strangers have said stands in its strings, and who reads it at a terminal is
// given no orders either. What is unshown is escaped as JSON does, so a program reads the same values.
type jsonShown struct{ to io.Writer }

// Write implements io.Writer.
func (w jsonShown) Write(p []byte) (int, error) {
	if _, err := w.to.Write(shownJSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// shownJSON returns JSON with what is unshown escaped. Below DEL nothing is to be done: JSON does not allow it in strings, and between them it is JSON's own.
func shownJSON(raw []byte) []byte {
	hidden := func(r rune) bool { return r >= unicode.MaxASCII && unshown(r) }
	if utf8.Valid(raw) && bytes.IndexFunc(raw, hidden) < 0 {
		return raw
	}
	b := make([]byte, 0, len(raw)+64)
	unit := func(r rune) {
		const digits = "0123456789abcdef"
		b = append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
	}
	for _, r := range string(raw) { // a byte that is no text comes as U+FFFD
		switch {
		case !hidden(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			unit(high)
			unit(low)
		default:
			unit(r)
		}
	}
	return b
}
