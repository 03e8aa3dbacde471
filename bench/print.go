package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// beyondShare is a share of what the disk gives that two measurements close to each other do not come to on a quiet machine.
const beyondShare = 1.2

// Print writes the page for people.
func (p *Page) Print(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nWhat the machine gives\n", p.Machine)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range p.Limits {
		_, _ = fmt.Fprintf(w, "  %s\t%s\n", f.Name, f.value()) // a strings.Builder takes all
	}
	_ = w.Flush()
	fmt.Fprintln(&b, "\nWhat the node makes of it, and how much of the limit that is")
	w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	beyond := false
	for _, f := range p.Own {
		beyond = beyond || f.disk && f.Share > beyondShare
		_, _ = fmt.Fprintf(w, "  %s\t%s\t%3.0f %%\tof %s\n", f.Name, f.value(), 100*f.Share, f.Limit)
	}
	_ = w.Flush()
	if beyond {
		b.WriteString("\nOf the disk more than 100 % is no figure to quote: what it gives was measured at another moment, when it was busier. Measure again when it is quiet.\n")
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "\nwarning: %s\n", w)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// value is the figure with about three digits that mean something.
func (f *Figure) value() string {
	switch {
	case f.Value >= 100:
		return fmt.Sprintf("%.0f %s", f.Value, f.Unit)
	case f.Value >= 10:
		return fmt.Sprintf("%.1f %s", f.Value, f.Unit)
	}
	return fmt.Sprintf("%.2f %s", f.Value, f.Unit)
}

// several counts things, to the next whole one.
func several(n float64, what string) string {
	text := fmt.Sprintf("%.0f %s", n, what)
	if math.Round(n) == 1 {
		return text
	}
	return text + "s"
}
