// Package written parses YAML that people write: routing documents, scenarios, days, configurations of nodes. It holds what is true of all of
// them: a document says everything itself, and is no deeper than people write.
//
// The parser recurs, and takes the square of the depth: 100,000 brackets are 16 seconds. The lexer takes the square of the empty lines in a row within
// a text: 250,000 are some minutes. Of 20,000 keys below each other the parser makes seconds. A few lines of aliases of aliases are gigabytes once they are read. So these are refused before anything is made of them.
// What a [yaml.Error] says by its Error shows the place, and takes the square of what stands around it: tell its message, and where.
package written

import (
	"fmt"
	"math"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxNest is how many lists and mappings may lie in each other.
const MaxNest = 64

// MaxEmpty is how many lines in a row may have nothing in them but spaces.
const MaxEmpty = 256

// MaxDocuments is how many documents may stand in one text.
const MaxDocuments = 256

// Parse returns what stands in doc, which may be several documents, or none. What has anchors, aliases, merges, tags or directives, is nested deeper
// than [MaxNest], has more than [MaxEmpty] empty lines in a row or is more than [MaxDocuments], or stands behind a document that begins and has nothing in it, is refused. An error that has a place is a [yaml.Error] and has its token.
func Parse(doc []byte) (*ast.File, error) { return ParseWithin(doc, math.MaxInt) }

// ParseWithin is Parse of what comes from somebody who is not to be trusted with the time that it takes: a mapping of more than so many keys, one a line, is refused
// too, because the parser takes their square.
func ParseWithin(doc []byte, keys int) (*ast.File, error) {
	if line := tooEmpty(doc); line > 0 {
		at := &token.Token{Position: &token.Position{Line: line, Column: 1}}
		return nil, &yaml.SyntaxError{Message: fmt.Sprintf("there are more than %d empty lines in a row", MaxEmpty), Token: at}
	}
	tokens := lexer.Tokenize(string(doc))
	if t := tooDeep(tokens); t != nil {
		return nil, &yaml.SyntaxError{Message: fmt.Sprintf("it is nested deeper than %d", MaxNest), Token: t}
	}
	if t := tooWide(tokens, keys); t != nil {
		why := fmt.Sprintf("there are more than %d keys in one mapping", keys)
		if t.Type == token.DocumentHeaderType {
			why = fmt.Sprintf("there are more than %d documents", MaxDocuments)
		}
		return nil, &yaml.SyntaxError{Message: why, Token: t}
	}
	if t := hides(tokens); t != nil {
		return nil, &yaml.SyntaxError{Message: "a document with nothing in it comes before this one: leave out one of the two ---", Token: t}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, err
	}
	f := &finder{}
	for _, d := range file.Docs {
		if d.Body != nil {
			ast.Walk(f, d.Body)
		}
	}
	if f.found != nil {
		return nil, &yaml.SyntaxError{Message: "anchors, aliases, tags and merges are not read: write it out", Token: f.found}
	}
	return file, nil
}

// tooEmpty returns the line with which too many empty ones in a row begin, or 0. A carriage return ends a line as well, and with the line feed behind it the same one.
func tooEmpty(doc []byte) int {
	line, begin := 1, 1 // the line that is looked at, and the first of the empty ones before it
	for i, c := range doc {
		switch {
		case c == '\n' && i > 0 && doc[i-1] == '\r':
		case c == '\n' || c == '\r':
			if line++; line-begin > MaxEmpty {
				return begin
			}
		case c != ' ' && c != '\t':
			begin = line + 1
		}
	}
	return 0
}

// tooDeep returns the token at which too much lies in each other, or nil. Brackets count, and outside of them the columns in which the entries of lists and the keys of
// mappings stand, from left to right; a list that begins right under its key counts with it.
func tooDeep(tokens token.Tokens) *token.Token {
	brackets := 0
	var columns []int
	for i, t := range tokens {
		column := 0
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets = max(brackets-1, 0)
		case token.SequenceEntryType, token.MappingKeyType:
			column = t.Position.Column
		case token.MappingValueType:
			if i > 0 {
				column = tokens[i-1].Position.Column
			}
		}
		if column > 0 && brackets == 0 {
			for len(columns) > 0 && columns[len(columns)-1] > column {
				columns = columns[:len(columns)-1]
			}
			if len(columns) == 0 || columns[len(columns)-1] < column {
				columns = append(columns, column)
			}
		}
		if brackets+len(columns) > MaxNest {
			return t
		}
	}
	return nil
}

// tooWide returns the token at which one mapping has too many keys, or one document too many begins, or nil. Mappings within brackets are not counted: of them
// the parser makes no square.
func tooWide(tokens token.Tokens, keys int) *token.Token {
	type mapping struct{ column, keys int }
	var open []mapping // from left to right
	brackets, documents := 0, 0
	for i, t := range tokens {
		column, key := 0, 0
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets = max(brackets-1, 0)
		case token.DocumentHeaderType:
			if documents++; documents > MaxDocuments {
				return t
			}
			open = open[:0]
		case token.SequenceEntryType:
			column = t.Position.Column
		case token.MappingKeyType: // of which no colon need follow
			column, key = t.Position.Column, 1
		case token.MappingValueType:
			if i > 0 {
				column, key = tokens[i-1].Position.Column, 1
			}
		}
		if column == 0 || brackets > 0 {
			continue
		}
		for len(open) > 0 && open[len(open)-1].column > column {
			open = open[:len(open)-1]
		}
		if len(open) == 0 || open[len(open)-1].column < column {
			open = append(open, mapping{column: column})
		}
		m := &open[len(open)-1]
		if m.keys += key; m.keys > keys {
			return t
		}
	}
	return nil
}

// hides returns the beginning of a document that follows one that begins and has nothing in it, or nil: the parser takes the first for the whole, and drops the rest in silence.
func hides(tokens token.Tokens) *token.Token {
	begun := false
	for _, t := range tokens {
		switch {
		case t.Type == token.CommentType:
		case t.Type == token.DocumentHeaderType && begun:
			return t
		default:
			begun = t.Type == token.DocumentHeaderType
		}
	}
	return nil
}

// finder looks for what makes one part of a document stand for another, or for something else than what is written.
type finder struct{ found *token.Token }

// Visit implements ast.Visitor.
func (f *finder) Visit(n ast.Node) ast.Visitor {
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType, ast.TagType, ast.DirectiveType:
		if f.found == nil {
			f.found = n.GetToken()
		}
		return nil
	}
	return f
}
