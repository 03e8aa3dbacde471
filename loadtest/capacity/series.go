package capacity

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// Step is one run of a series that a model can be fitted to: what is set in the shipped scenario "capacity".
type Step struct {
	Name string
	Sets []string
}

// Series returns the runs that tell the parts of a model from each other on a node that can take rate messages a second and
// holds sockets: sockets alone, sockets with sessions, and six rates, one of them for [Model.Check].
func Series(rate, sockets int) (fitted []Step, check Step) {
	idle := func(name string, n int, open bool) Step {
		return Step{name, []string{"talk.rate=0", fmt.Sprintf("customers.sockets=%d", n), fmt.Sprintf("customers.open=%v", open)}}
	}
	at := func(share float64) Step { return At(max(int(float64(rate)*share), 2), sockets) }
	fitted = []Step{
		idle("idle-few", sockets/8, false), idle("idle-many", sockets, false), idle("sessions", sockets, true),
		at(0.05), at(0.2), at(0.5), at(0.75), at(1),
	}
	return fitted, at(0.35)
}

// At returns a run of rate messages a second by twice as many customers, but 500 at least and sockets at most.
func At(rate, sockets int) Step {
	n := min(max(rate*2, 500), sockets)
	return Step{fmt.Sprintf("rate-%d", rate), []string{fmt.Sprintf("talk.rate=%d/s", rate), fmt.Sprintf("customers.sockets=%d", n)}}
}

//go:embed points.json
var shipped []byte

// Shipped returns runs of a machine with two processors, as docs/capacity.md describes it: a model of somebody else's machine
// is better than none.
func Shipped() (fitted []Point, check Point) {
	var file File
	if err := json.Unmarshal(shipped, &file); err != nil {
		panic(err) // of a file that is part of the program
	}
	return file.Points, *file.Check
}

// File is a series that was measured, as `switchboard plan measure` writes it.
type File struct {
	Machine string  `json:"machine"`
	Version string  `json:"version"`
	Points  []Point `json:"points"`
	// Check is not fitted to; it may be nil.
	Check *Point `json:"check,omitempty"`
	// Missing are the names of the steps of [Series] that were not measured, as the series broke off before.
	Missing []string `json:"missing,omitempty"`
}
