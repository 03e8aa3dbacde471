package written

import (
	"errors"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

type share float64

// UnmarshalYAML reads a share itself.
func (s *share) UnmarshalYAML([]byte) error { *s = 1; return nil }

type crowd struct {
	Count int     `yaml:"count"`
	Rate  float64 `yaml:"rate"`
	Alone share   `yaml:"alone"`
	Most  *int64  `yaml:"most,omitempty"`
	Hours []uint8 `yaml:"hours"`
	Name  string  `yaml:"name"`
	Teams []struct {
		Slots map[string]int `yaml:"slots"`
	} `yaml:"teams"`
}

// TestWhole: where a whole number belongs, a fraction is refused where it stands, and nothing else is.
func TestWhole(t *testing.T) {
	f := func(doc string, line int, what string) {
		t.Helper()
		file, err := Parse([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		err = Whole(file, &crowd{})
		y := yaml.Error(nil)
		switch {
		case line == 0 && err != nil:
			t.Errorf("%q: %v", doc, err)
		case line > 0 && (!errors.As(err, &y) || !strings.Contains(y.GetMessage(), what) || y.GetToken().Position.Line != line):
			t.Errorf("%q: %v; want %s in line %d", doc, err, what, line)
		}
	}
	f("count: 2.9", 1, `"2.9"`)
	f("rate: 1\ncount: -0.5", 2, `"-0.5"`)
	f("count: \"2.9\"", 1, `"2.9"`)
	f("rate: 1.5\nmost: 1.5", 2, `"1.5"`)
	f("hours: [1, 2, 3.25]", 1, `"3.25"`)
	f("teams:\n  - slots: {a: 1}\n  - slots: {a: 1, b: 1.5}", 3, `"1.5"`)
	f(`{"teams": [{"slots": {"a": 15e-1}}]}`, 1, `"15e-1"`)
	f("count: 2.0\nrate: 2.9\nalone: 0.5\nmost: 1e3\nhours: [1]\nname: 1.5\nteams: []", 0, "")
	f("other: 1.5\ncount: many\nhours: 1.5\nteams: {a: 1.5}", 0, "") // these the decoder refuses
	f("# nothing", 0, "")
	f("hours:\n  - 1\n  -\n  - 2", 3, "empty")
	f("hours: [1, null]", 1, "empty")
	f("teams: [~]", 1, "empty")
	f("teams:\nmost: null", 0, "") // as if it was not said
}
