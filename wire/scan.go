package wire

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of JSON documents: a body of 32 KiB can open 32 Ki arrays, and every reader behind
// us would have to follow it down.
const maxDepth = 64

var (
	errJSON  = errors.New("not valid JSON")
	errUTF8  = errors.New("not valid UTF-8")
	errDepth = errors.New("JSON nested deeper than 64")
)

// ValidJSON returns nil when b is exactly one JSON value (RFC 8259) in valid UTF-8, nested at most 64 deep, with
// white space around it allowed [SW-2.2].
func ValidJSON(b []byte) error {
	s := scan{b: b}
	s.space()
	if err := s.skip(maxDepth); err != nil {
		return err
	}
	if s.space(); s.i != len(b) {
		return errJSON
	}
	return nil
}

// AppendBody appends the JSON value v without raw CR and LF and without white space around it, the form in which
// every embedded document is stored and sent [SW-2.2]. In valid JSON the two occur only as white space.
func AppendBody(dst, v []byte) []byte {
	start := len(dst)
	for _, c := range v {
		if c == '\n' || c == '\r' || (len(dst) == start && (c == ' ' || c == '\t')) {
			continue
		}
		dst = append(dst, c)
	}
	for len(dst) > start && (dst[len(dst)-1] == ' ' || dst[len(dst)-1] == '\t') {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// scan is a cursor over one JSON text. It allocates only for strings with escapes, and not for those of a hot command.
type scan struct {
	b []byte
	i int

	// Strings of a command that are still as they are written, see own.
	escaped [8]*string
	escapes int
}

func (s *scan) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// take consumes c when it is next, after white space.
func (s *scan) take(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// peek returns the next byte after white space, or 0 at the end.
func (s *scan) peek() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// object calls member for each member of the object that is next. member must consume the value.
func (s *scan) object(member func(key []byte) error) error {
	if !s.take('{') {
		return errJSON
	}
	if s.take('}') {
		return nil
	}
	for {
		key, err := s.str()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return errJSON
		}
		if err := member(key); err != nil {
			return err
		}
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return errJSON
		}
	}
}

// array calls item for each item of the array that is next. item must consume it.
func (s *scan) array(item func() error) error {
	if !s.take('[') {
		return errJSON
	}
	if s.take(']') {
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if s.take(']') {
			return nil
		}
		if !s.take(',') {
			return errJSON
		}
	}
}

// raw consumes one valid value and returns its bytes, which alias the text.
func (s *scan) raw() ([]byte, error) {
	s.space()
	from := s.i
	if err := s.skip(maxDepth); err != nil {
		return nil, err
	}
	return s.b[from:s.i], nil
}

// skip consumes one value, checking it wholly. It may have depth arrays and objects within each other, empty ones too.
func (s *scan) skip(depth int) error {
	next := s.peek()
	if depth == 0 && (next == '{' || next == '[') {
		return errDepth
	}
	switch next {
	case '"':
		_, _, err := s.strRaw()
		return err
	case '{':
		s.i++
		if s.take('}') {
			return nil
		}
		for {
			if s.peek() != '"' {
				return errJSON
			}
			if _, _, err := s.strRaw(); err != nil {
				return err
			}
			if !s.take(':') {
				return errJSON
			}
			if err := s.skip(depth - 1); err != nil {
				return err
			}
			if s.take('}') {
				return nil
			}
			if !s.take(',') {
				return errJSON
			}
		}
	case '[':
		s.i++
		if s.take(']') {
			return nil
		}
		for {
			if err := s.skip(depth - 1); err != nil {
				return err
			}
			if s.take(']') {
				return nil
			}
			if !s.take(',') {
				return errJSON
			}
		}
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		_, err := s.num()
		return err
	}
}

func (s *scan) word(w string) error {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return errJSON
	}
	s.i += len(w)
	return nil
}

// null consumes null when it is next.
func (s *scan) null() bool { return s.peek() == 'n' && s.word("null") == nil }

// num consumes a number and returns its text.
func (s *scan) num() ([]byte, error) {
	s.space()
	from := s.i
	if s.i < len(s.b) && s.b[s.i] == '-' {
		s.i++
	}
	switch whole := s.digits(); {
	case whole == 0:
		return nil, errJSON
	case whole > 1 && s.b[s.i-whole] == '0':
		return nil, errJSON // a leading zero
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if s.digits() == 0 {
			return nil, errJSON
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if s.digits() == 0 {
			return nil, errJSON
		}
	}
	return s.b[from:s.i], nil
}

// digits consumes decimal digits and returns how many there were.
func (s *scan) digits() int {
	from := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i - from
}

// uint consumes a whole, non-negative number. 1e3 and 1.0 are refused: positions are never written so.
func (s *scan) uint() (uint64, error) {
	n, err := s.num()
	if err != nil {
		return 0, err
	}
	var v uint64
	for _, c := range n {
		d := uint64(c - '0')
		if d > 9 || v > (1<<64-1-d)/10 {
			return 0, errJSON
		}
		v = v*10 + d
	}
	return v, nil
}

// int consumes a whole number.
func (s *scan) int() (int64, error) {
	n, err := s.num()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseInt(string(n), 10, 64)
	if err != nil {
		return 0, errJSON
	}
	return v, nil
}

// bool consumes true or false.
func (s *scan) bool() (bool, error) {
	if s.peek() == 't' {
		return true, s.word("true")
	}
	return false, s.word("false")
}

// strRaw consumes a string and returns what stands between its quotes; plain is false when it holds escapes.
func (s *scan) strRaw() (inner []byte, plain bool, err error) {
	s.i++ // the quote that peek saw
	from, plain, ascii := s.i, true, true
	for s.i < len(s.b) {
		if len(s.b)-s.i >= 8 {
			w := binary.LittleEndian.Uint64(s.b[s.i:])
			n := special(w)
			ascii = ascii && w&highs<<(64-8*n) == 0
			s.i += n
			if n == 8 {
				continue
			}
		}
		switch c := s.b[s.i]; {
		case c == '"':
			inner = s.b[from:s.i]
			s.i++
			if !ascii && !utf8.Valid(inner) {
				return nil, false, errUTF8
			}
			return inner, plain, nil
		case c == '\\':
			plain = false
			n := escapeLen(s.b[s.i:])
			if n == 0 {
				return nil, false, errJSON
			}
			s.i += n
		case c < 0x20:
			return nil, false, errJSON
		default:
			if c >= utf8.RuneSelf {
				ascii = false
			}
			s.i++
		}
	}
	return nil, false, errJSON
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// special returns how many of the eight bytes of w, from the lowest, stand before the first quote, backslash or control
// character. The high bit of a byte in x-ones&^x is set when the byte is 0 in x, and in w-0x20*ones&^w when it is below 0x20
// in w; a borrow sets it wrongly only behind a byte where it is set rightly.
func special(w uint64) int {
	quote, slash := w^'"'*ones, w^'\\'*ones
	return bits.TrailingZeros64(((quote-ones)&^quote|(slash-ones)&^slash|(w-0x20*ones)&^w)&highs) / 8
}

// escapeLen returns the length of the escape at the start of b, or 0 when it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads the code unit of \uXXXX at the start of b.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// str consumes a string and returns its text. Without escapes the bytes alias the text.
func (s *scan) str() ([]byte, error) {
	if s.peek() != '"' {
		return nil, errJSON
	}
	inner, plain, err := s.strRaw()
	if err != nil || plain {
		return inner, err
	}
	return unescape(make([]byte, 0, len(inner)), inner), nil
}

// unescape appends the text of inner, whose escapes have been checked. A lone surrogate becomes U+FFFD, as in
// encoding/json: it has no UTF-8.
func unescape(dst, inner []byte) []byte {
	for i := 0; i < len(inner); {
		c := inner[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch inner[i+1] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(inner[i:])
			if low, ok := hex4(inner[i+6:]); ok && utf16.IsSurrogate(r) {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					r, i = pair, i+6
				}
			}
			dst = utf8.AppendRune(dst, r)
			i += 4
		default:
			dst = append(dst, inner[i+1])
		}
		i += 2
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD, so that the result is always valid.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[from:i]...), "\ufffd"...)
				from = i + 1
			}
			i += n
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}
