package main

import (
	"strconv"
	"strings"
	"unicode"
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
