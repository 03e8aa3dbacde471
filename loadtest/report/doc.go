// Package report is what a load test has to say: the [Result] as a value and as JSON, a summary for terminals, a page with
// charts that needs nothing beside itself, and the comparison of two results.
//
// A Result is plain data; nothing here measures anything. Times are in seconds, sizes in bytes.
package report
