// Package capacity answers how many nodes a load takes: a small model of what a node uses, fitted to runs of load tests.
//
// # The model
//
// What a node uses is a sum of parts, none of which is below zero. Processor time is
//
//	base + a·sockets + b·messages + c·messages/(messages + r) + d·tokens
//
// because a node that has little to do wakes up, syncs and writes for each message, and one that has much does these for many at
// once: b is what every message takes, c and r how much the first ones take more. Runs that are too slow to tell b leave nothing for it: then
// messages beyond those runs take what theirs did on average. Memory is base + sockets + sessions + messages and, as processor time, what the first
// messages take more, which are buffers and garbage; the disk is base + messages. The parts are found by least squares of relative errors.
//
// A percentile of the latency is no formula: it is what was measured, joined, by the share u of the machine's processors that the
// model takes a run to use. Between two runs it is c·(1/(1−u))ᵏ, as a queue before the processors grows, with the c and k that go
// through both. Formulas of a whole queue were tried, with the square of u/(1−u) and without: fitted to all runs they say a half of the p99 of those
// near the end, where what waits for the processors waits for the disk and for the garbage collector as well.
// Beyond the runs a percentile is not known, and nothing is planned there.
//
// What a load generator used beside the node counts as used, by a sum like the node's: there is no latency that was measured without.
//
// # How much it may be believed
//
// [Fit] leaves each run out in turn and predicts it from the others. The worst of these errors, and the answers of all those models,
// are the range that [Model.Plan] gives. A percentile lies between those of the runs next to it, or further out by the factor that the worst run that was
// left out was off; above the last run its range has no upper end. [Model.Check] predicts a run that was not fitted to. The upper end of the range
// never loads a node with more than was measured.
//
// # Who owns what
//
// Everything is a value. Nothing here reads a clock or a file.
//
// # What it does not do
//
// It knows runs of a constant rate on one node. Copies of the log on other nodes, hand-overs and surges within a second are
// not in it.
package capacity
