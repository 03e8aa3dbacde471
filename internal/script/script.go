package script

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the outcomes of golden scripts instead of comparing them")

// separator stands between what is done and what comes of it.
const separator = "----"

// Run does every command of the script at path with do, and compares what it returns with the outcome in the file; under
// -rewrite it replaces the outcome. do may end the test through t. An outcome must not hold empty lines: they end it.
func Run(t *testing.T, path string, do func(t *testing.T, cmd *Command) string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, wrong, err := run(string(text), func(c *Command) string { return do(t, c) })
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if *rewrite {
		if out != string(text) {
			if err := os.WriteFile(path, []byte(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	for _, w := range wrong {
		t.Errorf("%s:%d: %s\nwant:\n%s\ngot:\n%s", path, w.line, w.text, indent(w.want), indent(w.got))
	}
}

// Walk runs every script that matches the pattern as a subtest of its name. open is called once for each and returns
// what does its commands: scripts share no state. No match at all fails the test.
func Walk(t *testing.T, pattern string, open func(t *testing.T) func(t *testing.T, cmd *Command) string) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no script matches %s (%v)", pattern, err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		t.Run(name, func(t *testing.T) { Run(t, path, open(t)) })
	}
}

// mismatch is an outcome that was not the expected one.
type mismatch struct {
	line            int
	text, want, got string
}

// run does the script in text. out is text with every outcome replaced by the one that came.
func run(text string, do func(*Command) string) (out string, wrong []mismatch, err error) {
	var b strings.Builder
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); {
		line := strings.TrimSpace(lines[i])
		if line == "" || line[0] == '#' {
			b.WriteString(lines[i])
			i++
			continue
		}
		c, err := Parse(line)
		if err != nil {
			return "", nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		c.Line = i + 1
		first := i
		var input strings.Builder
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != separator; i++ {
			input.WriteString(lines[i])
		}
		if i == len(lines) {
			return "", nil, fmt.Errorf("line %d: %q has no line %s", c.Line, c.Name, separator)
		}
		c.Input = input.String()
		i++
		b.WriteString(strings.Join(lines[first:i], ""))
		var want strings.Builder
		for ; i < len(lines) && strings.TrimSpace(lines[i]) != ""; i++ {
			want.WriteString(lines[i])
		}
		got := strings.TrimRight(do(c), "\n")
		if err := c.check(got); err != nil {
			return "", nil, fmt.Errorf("line %d: %w", c.Line, err)
		}
		if got != "" {
			b.WriteString(got + "\n")
		}
		if w := strings.TrimRight(want.String(), "\n"); w != got {
			wrong = append(wrong, mismatch{c.Line, line, w, got})
		}
	}
	return b.String(), wrong, nil
}

// check tells what would make a block pass that should not.
func (c *Command) check(got string) error {
	for i, a := range c.Args {
		if !c.asked[i] {
			return fmt.Errorf("%q does not know %s=", c.Name, a.Key)
		}
	}
	if strings.Contains(got, "\n\n") || strings.HasPrefix(got, "\n") {
		return fmt.Errorf("the outcome of %q holds an empty line, which would end it:\n%s", c.Name, got)
	}
	return nil
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }
