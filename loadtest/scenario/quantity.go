package scenario

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Unit is what a [Quantity] counts.
type Unit uint8

// The units. Values are kept in the one named here, whatever the text said.
const (
	None  Unit = iota // a bare number
	Time              // seconds
	Bytes             // bytes
	Share             // 0 to 1
	Rate              // per second
)

// String names u for people.
func (u Unit) String() string {
	return [...]string{"a number", "a time (20ms, 5s, 1h30m)", "a size (512B, 12KiB, 1.5GiB)", "a share (30%)", "a rate (200/s)"}[u]
}

// scales are the suffixes of each unit, and what one of them is.
var scales = []struct {
	suffix string
	unit   Unit
	factor float64
}{
	{"KiB", Bytes, 1 << 10},
	{"MiB", Bytes, 1 << 20},
	{"GiB", Bytes, 1 << 30},
	{"TiB", Bytes, 1 << 40},
	{"KB", Bytes, 1e3},
	{"kB", Bytes, 1e3},
	{"MB", Bytes, 1e6},
	{"GB", Bytes, 1e9},
	{"B", Bytes, 1},
	{"%", Share, 0.01},
	{"/s", Rate, 1},
	{"/min", Rate, 1.0 / 60},
	{"/h", Rate, 1.0 / 3600},
}

// Quantity is a value with its unit, as the document has it.
type Quantity struct {
	Value float64
	Unit  Unit
	text  string
	err   error
}

// ParseQuantity reads "20ms", "12KiB", "30%", "200/s" or "7". Spaces around are ignored; underscores may part digits.
func ParseQuantity(text string) (Quantity, error) {
	q := Quantity{text: text}
	s := strings.ReplaceAll(strings.TrimSpace(text), "_", "")
	if v, err := strconv.ParseFloat(s, 64); err == nil {
		q.Value = v
		return q, finite(v, text)
	}
	for _, sc := range scales {
		if head, ok := strings.CutSuffix(s, sc.suffix); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(head), 64)
			if err != nil {
				return q, fmt.Errorf("%q is no quantity: %q is no number", text, head)
			}
			q.Value, q.Unit = v*sc.factor, sc.unit
			return q, finite(q.Value, text)
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return q, fmt.Errorf("%q is no quantity: write a number, or a number with ms, s, m, h, B, KiB, MiB, %% or /s", text)
	}
	q.Value, q.Unit = d.Seconds(), Time
	return q, nil
}

func finite(v float64, text string) error {
	if v-v != 0 { // not a number, or infinite
		return fmt.Errorf("%q is not finite", text)
	}
	return nil
}

// UnmarshalYAML keeps what it cannot read, for the check that knows the place.
func (q *Quantity) UnmarshalYAML(decode func(any) error) error {
	var v any
	if err := decode(&v); err != nil {
		return err
	}
	switch v.(type) {
	case string, int, int64, uint64, float64:
	default:
		q.err = errors.New("it must be a single value")
		return nil
	}
	*q, q.err = ParseQuantity(fmt.Sprint(v))
	return nil
}

// MarshalYAML writes q as it was read.
func (q Quantity) MarshalYAML() (any, error) { return q.text, nil }

// IsZero tells whether q is absent or zero, so that it is left out of what is printed.
func (q Quantity) IsZero() bool { return q.Value == 0 && q.err == nil }

// Zero tells whether q was written, and is zero.
func (q Quantity) Zero() bool { return q.IsZero() && q.text != "" }

// Duration is q as a time; of no use with other units.
func (q Quantity) Duration() time.Duration { return time.Duration(q.Value * float64(time.Second)) }

// Seconds makes a time.
func Seconds(d time.Duration) Quantity {
	return Quantity{Value: d.Seconds(), Unit: Time, text: d.String()}
}

// Number makes a bare number.
func Number(v float64) Quantity {
	return Quantity{Value: v, text: strconv.FormatFloat(v, 'g', -1, 64)}
}

// is checks that q is of the unit, or bare where that says the same.
func (q Quantity) is(u Unit) error {
	switch {
	case q.err != nil:
		return q.err
	case q.Unit == u, q.Value == 0 && q.Unit == None:
	case u == Share && q.Unit == None && q.Value <= 1, u == Rate && q.Unit == None, u == Bytes && q.Unit == None:
	default:
		return fmt.Errorf("%q is not %s", q.text, u)
	}
	if q.Value < 0 {
		return fmt.Errorf("%q is below zero", q.text)
	}
	if u == Share && q.Value > 1 {
		return fmt.Errorf("%q is more than 100%%", q.text)
	}
	return nil
}

// Format prints v of the unit u for people: a bare number that is not whole with four digits, or to the next whole one.
func Format(v float64, u Unit) string {
	switch u {
	case Time:
		switch {
		case v < 1e-3:
			return fmt.Sprintf("%.0fµs", v*1e6)
		case v < 1:
			return fmt.Sprintf("%.2fms", v*1e3)
		}
		return fmt.Sprintf("%.2fs", v)
	case Bytes:
		i := slices.IndexFunc([]float64{1 << 10, 1 << 20, 1 << 30}, func(f float64) bool { return v < f })
		switch i {
		case 0:
			return fmt.Sprintf("%.0fB", v)
		case 1:
			return fmt.Sprintf("%.1fKiB", v/(1<<10))
		case 2:
			return fmt.Sprintf("%.1fMiB", v/(1<<20))
		}
		return fmt.Sprintf("%.2fGiB", v/(1<<30))
	case Share:
		return fmt.Sprintf("%.2f%%", v*100)
	case Rate:
		return fmt.Sprintf("%.1f/s", v)
	}
	switch {
	case v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', -1, 64)
	case math.Abs(v) >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
