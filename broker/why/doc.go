// Package why tells people why a session has whom it has, or why it waits: in plain words, and in the figures behind them. It
// reads what a pool remembers ([broker.Core.Explain], [broker.Core.Decisions]) and changes nothing.
//
//	report := why.Tell(&session, core.Explain(id), decisions, &cfg, now)
//	for _, line := range report.Why { … }
//
// What is remembered is bounded: a pool keeps its last decisions, and none from before its node was started. What is not known
// any more is said to be so. Everything here is a value and pure.
package why
