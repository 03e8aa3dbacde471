package report

import (
	"encoding/json"
	"io"
	"math"
	"slices"
)

// comparedRow is a row of a comparison for programs. What a run did not measure is null; the unit is that of gates: seconds, bytes, or none.
type comparedRow struct {
	Name    string   `json:"name"`
	A       *float64 `json:"a"`
	B       *float64 `json:"b"`
	Verdict string   `json:"verdict,omitempty"` // better or worse, by more than a tenth
}

// WriteJSON writes the comparison for programs: whether both ran the same scenario on machines that call themselves the same, and the rows with
// their figures as they were measured.
func (c *Comparison) WriteJSON(w io.Writer) error {
	doc := struct {
		SameScenario bool          `json:"same_scenario"`
		SameMachine  bool          `json:"same_machine"`
		Rows         []comparedRow `json:"rows"`
	}{
		c.A.Document == c.B.Document && slices.Equal(c.A.Sets, c.B.Sets), c.sameMachine(), []comparedRow{},
	}
	value := func(r *Result, name string) *float64 {
		if v := r.Value(name); !math.IsNaN(v) {
			return &v
		}
		return nil
	}
	for _, row := range c.Rows {
		doc.Rows = append(doc.Rows, comparedRow{row.Name, value(c.A, row.Name), value(c.B, row.Name), [...]string{"worse", "", "better"}[row.Better+1]})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}
