package report

import "html/template"

// Curve is one line of a chart. A NaN is a gap.
type Curve struct {
	Name string
	X, Y []float64
}

// Chart draws curves as an SVG that needs nothing beside itself, for other reports. unit prints a value of the vertical axis,
// mark one of the horizontal, whose marks are at marks; nil is some round ones. Its classes are those of the load test's page.
func Chart(title string, curves []Curve, unit func(float64) string, marks []float64, mark func(float64) string) template.HTML {
	lines := make([]line, len(curves))
	for i, c := range curves {
		lines[i] = line{name: c.Name, x: c.X, y: c.Y}
	}
	return chart(title, lines, axis{print: unit}, marks, mark)
}
