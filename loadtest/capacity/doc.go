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
// messages take more, which are buffers and garbage; the disk is base + messages. A percentile of the latency is
//
//	p = p0 + k·q + l·q², q = u/(1−u)
//
// with u the share of the machine's processors that is used: q is a queue before them, and its square what a tail is more than
// that, as batches and collections of garbage wait in the same line. The parts are found by least squares of relative errors.
//
// # How much it may be believed
//
// [Fit] leaves each run out in turn and predicts it from the others. The worst of these errors, and the answers of all those models,
// are the range that [Model.Plan] gives. [Model.Check] predicts a run that was not fitted to. The upper end of the range
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
