// Package scenario is what a load test is told to do: a YAML document, read strictly and checked before anything starts.
//
// [Parse] reads one; an unknown field, a value that makes no sense and a gate that can never hold are an [Error] with line
// and column. [Scenario.Arrivals] turns the rate and its [Curve] into moments, without a clock: a schedule is a value, and
// does not know whether anybody answers. [Gate] is a condition on what was measured, with units.
//
// Everything here is pure and safe to share once parsed. The package drives nothing: package loadtest does.
package scenario
