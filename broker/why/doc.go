// Package why tells people why a session has whom it has, or why it waits: in plain words, and in the figures behind them. It
// reads what a pool remembers ([broker.Core.Explain], [broker.Core.Decisions]) and changes nothing.
//
//	report := why.Tell(&session, core.Explain(id), decisions, &cfg, now)
//	for _, line := range report.Why { … }
//
// A pool remembers its last decisions, and none from before it was opened. What decided an assignment also stays with its session, as long as
// the tenant's document says (ADR 0039), and is handed in. What is not known any more is said to be so. Everything here is a value and pure.
package why
