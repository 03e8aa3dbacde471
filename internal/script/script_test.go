package script

import (
	"fmt"
	"strings"
	"testing"
)

func do(c *Command) string {
	switch c.Name {
	case "echo":
		for _, a := range c.Args {
			c.Has(a.Key)
		}
		return fmt.Sprintf("echo %v %v %q", c.Pos, c.Args, c.Input)
	case "quiet":
		return ""
	case "sum":
		return fmt.Sprint(float64(c.Int("a", 0)+c.Int("b", 0)) + c.Float("c", 0) + c.Float("d", 0))
	case "flags":
		return fmt.Sprintf("loud=%v soft=%v list=%v empty=%v missing=%v has=%v word=%v",
			c.Bool("loud"), c.Bool("soft"), c.List("list"), c.List("empty"), c.List("missing"), c.Has("list"), c.Word(0))
	case "hole":
		return "a\n\nb"
	}
	return "unknown"
}

func TestWalk(t *testing.T) {
	Walk(t, "testdata/*.txt", func(*testing.T) func(*testing.T, *Command) string {
		return func(_ *testing.T, c *Command) string { return do(c) }
	})
}

func TestRewrite(t *testing.T) {
	in := "# kept\n\nsum a=1\n----\n7\n8\n\n# kept too\nquiet\n----\nnoise\n"
	want := "# kept\n\nsum a=1\n----\n1\n\n# kept too\nquiet\n----\n"
	out, wrong, err := run(in, do)
	if err != nil || out != want {
		t.Fatalf("run = %q, %v; want %q", out, err, want)
	}
	if len(wrong) != 2 || wrong[0].line != 3 || wrong[0].want != "7\n8" || wrong[0].got != "1" || wrong[1].got != "" {
		t.Fatalf("mismatches: %+v", wrong)
	}
	if again, wrong, err := run(out, do); again != out || len(wrong) != 0 || err != nil {
		t.Fatalf("a rewritten script differs from itself: %q, %+v, %v", again, wrong, err)
	}
}

func TestBadScript(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, _, err := run(text, do); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("run(%q): %v; want %q in it", text, err, want)
		}
	}
	f("quiet\n", "no line ----")
	f("quiet typo=1\n----\n", "does not know typo=")
	f("hole\n----\n", "empty line")
	f("echo a=\"open\n----\n", "reading a")
	f("a=1\n----\n", "no key")
	f("echo =1\n----\n", "no key")
}
