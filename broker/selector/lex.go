package selector

import (
	"fmt"
	"strings"
)

// Error is a mistake in a selector.
type Error struct {
	Offset int    // bytes from the beginning of the text
	Line   int    // from 1
	Column int    // in bytes, from 1
	What   string // what is wrong, what was expected, and what was probably meant
}

// Error returns where and what.
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.What) }

type tokenKind uint8

const (
	tokEnd    tokenKind = iota
	tokWord             // a name or a word of the language
	tokNumber           // digits
	tokString           // quoted
	tokOp               // == != < <= > >= ( ) [ ] , .
)

type token struct {
	kind tokenKind
	text string // of strings what they say; of words and ops as written
	pos  int
}

// describe tells people what a token is.
func (t token) describe() string {
	switch t.kind {
	case tokEnd:
		return "the end"
	case tokString:
		return "the string " + string(appendQuoted(nil, t.text))
	default:
		return "“" + t.text + "”"
	}
}

// is tells whether t is this operator, or this word in any case.
func (t token) is(text string) bool {
	return t.kind == tokOp && t.text == text || t.kind == tokWord && strings.EqualFold(t.text, text)
}

func wordByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// next reads the token at or after p.at.
func (p *parser) next() (token, *Error) {
	for p.at < len(p.src) && strings.IndexByte(" \t\r\n", p.src[p.at]) >= 0 {
		p.at++
	}
	start := p.at
	if start == len(p.src) {
		return token{kind: tokEnd, pos: start}, nil
	}
	switch c := p.src[start]; {
	case c == '\'' || c == '"':
		return p.quoted(c)
	case c >= '0' && c <= '9' || c == '-':
		p.at++
		for p.at < len(p.src) && (wordByte(p.src[p.at]) || p.src[p.at] == '.' || (p.src[p.at] == '-' || p.src[p.at] == '+') && (p.src[p.at-1]|0x20) == 'e') {
			p.at++
		}
		return token{tokNumber, p.src[start:p.at], start}, nil
	case wordByte(c):
		for p.at < len(p.src) && wordByte(p.src[p.at]) {
			p.at++
		}
		return token{tokWord, p.src[start:p.at], start}, nil
	}
	for _, op := range [...]string{"==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", "."} {
		if strings.HasPrefix(p.src[start:], op) {
			p.at += len(op)
			return token{tokOp, op, start}, nil
		}
	}
	switch rest := p.src[start:]; {
	case rest[0] == '=':
		return token{}, p.fail(start, "“=” is no operator; equality is written ==")
	case strings.HasPrefix(rest, "&&"):
		return token{}, p.fail(start, "“&&” is no operator; did you mean AND?")
	case strings.HasPrefix(rest, "||"):
		return token{}, p.fail(start, "“||” is no operator; did you mean OR?")
	case rest[0] == '!':
		return token{}, p.fail(start, "“!” is no operator; did you mean NOT?")
	}
	return token{}, p.fail(start, fmt.Sprintf("%q has no meaning here", []rune(p.src[start:])[0]))
}

// quoted reads a string that begins with quote.
func (p *parser) quoted(quote byte) (token, *Error) {
	start := p.at
	var text []byte
	for p.at++; p.at < len(p.src); p.at++ {
		switch c := p.src[p.at]; c {
		case quote:
			p.at++
			if len(text) > MaxText {
				return token{}, p.fail(start, fmt.Sprintf("the string has %d bytes, the limit is %d", len(text), MaxText))
			}
			return token{tokString, string(text), start}, nil
		case '\\':
			p.at++
			if p.at == len(p.src) || p.src[p.at] != quote && p.src[p.at] != '\\' && p.src[p.at] != '\'' && p.src[p.at] != '"' {
				return token{}, p.fail(p.at-1, "expected a quote or a backslash after the backslash")
			}
			text = append(text, p.src[p.at])
		default:
			text = append(text, c)
		}
	}
	return token{}, p.fail(start, fmt.Sprintf("the string is not closed; expected %c", quote))
}

// fail makes an error at an offset.
func (p *parser) fail(pos int, what string) *Error {
	before := p.src[:min(pos, len(p.src))]
	line := strings.Count(before, "\n")
	return &Error{Offset: pos, Line: line + 1, Column: pos - strings.LastIndexByte(before, '\n'), What: what}
}
