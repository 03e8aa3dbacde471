package script

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Command is one command of a script.
type Command struct {
	Name  string
	Pos   []string // the words without =
	Args  []Arg    // in the order written
	Input string   // the lines before the separator, with their line feeds
	Line  int      // in the file, from 1

	asked []bool // per Arg
}

// Arg is a key=value pair.
type Arg struct{ Key, Value string }

// Parse reads a command line, for input that is made like commands. A value that begins with a quote ends with one.
func Parse(line string) (*Command, error) {
	c := &Command{}
	for rest := line; rest != ""; rest = strings.TrimLeft(rest, " \t") {
		end := strings.IndexAny(rest, " \t=")
		if end < 0 {
			end = len(rest)
		}
		word := rest[:end]
		if end == len(rest) || rest[end] != '=' {
			if c.Name == "" {
				c.Name = word
			} else {
				c.Pos = append(c.Pos, word)
			}
			rest = rest[end:]
			continue
		}
		if word == "" || c.Name == "" {
			return nil, fmt.Errorf("no key before = in %q", line)
		}
		rest = rest[end+1:]
		value, n, err := parseValue(rest)
		if err != nil {
			return nil, fmt.Errorf("reading %s in %q: %w", word, line, err)
		}
		c.Args = append(c.Args, Arg{word, value})
		rest = rest[n:]
	}
	c.asked = make([]bool, len(c.Args))
	return c, nil
}

// parseValue reads the value that s begins with, and says how long it is.
func parseValue(s string) (value string, n int, err error) {
	if strings.HasPrefix(s, `"`) {
		q, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", 0, err
		}
		value, err = strconv.Unquote(q)
		return value, len(q), err
	}
	n = strings.IndexAny(s, " \t")
	if n < 0 {
		n = len(s)
	}
	return s[:n], n, nil
}

// Has tells whether key was given.
func (c *Command) Has(key string) bool {
	_, ok := c.Get(key)
	return ok
}

// Get returns the value of key and whether it was given.
func (c *Command) Get(key string) (string, bool) {
	for i, a := range c.Args {
		if a.Key == key {
			c.asked[i] = true
			return a.Value, true
		}
	}
	return "", false
}

// String returns the value of key, or otherwise.
func (c *Command) String(key, otherwise string) string {
	if v, ok := c.Get(key); ok {
		return v
	}
	return otherwise
}

// Int returns the value of key as a number, or otherwise. What is no number panics: a script is part of its test.
func (c *Command) Int(key string, otherwise int64) int64 {
	v, ok := c.Get(key)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("line %d: %s=%q is no number", c.Line, key, v))
	}
	return n
}

// Float returns the value of key as a number, or otherwise. What is no number panics.
func (c *Command) Float(key string, otherwise float64) float64 {
	v, ok := c.Get(key)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil {
		panic(fmt.Sprintf("line %d: %s=%q is no number", c.Line, key, v))
	}
	return n
}

// Bool tells whether key was given as true or as a bare word.
func (c *Command) Bool(key string) bool {
	if slices.Contains(c.Pos, key) {
		return true
	}
	v, ok := c.Get(key)
	return ok && v == "true"
}

// List returns the value of key split at commas, or nil.
func (c *Command) List(key string) []string {
	v, ok := c.Get(key)
	if !ok || v == "" {
		return nil
	}
	return strings.Split(v, ",")
}

// Word returns the i'th word behind the name. A missing one panics.
func (c *Command) Word(i int) string {
	if i >= len(c.Pos) {
		panic(fmt.Sprintf("line %d: %s wants a word more", c.Line, c.Name))
	}
	return c.Pos[i]
}
