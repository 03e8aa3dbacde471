// Package swarm runs a scenario against a node: thousands of real sockets of customers and workers, in one process or in
// several of the same program, and says what came of it as a [report.Result].
//
// # The schedule is open
//
// When something is due depends on the scenario and its seed alone. A clock (one goroutine on a thread of its own) does what
// is due and never waits: writes that the system does not take are handed to somebody else, requests that the node does not
// take yet wait in the customer's own line. Latency counts from the moment a message was due. A node that stalls is charged
// for all who had to wait, also for those who never got an answer: they count with the time that they have waited. How late
// the clock itself was is measured too (lag): when that is not small, the figures are those of the load generator.
//
// # Who owns what
//
// A [Swarm] starts an agent in this process, or as many as it is told in processes of their own (their orders and samples
// are lines of JSON on standard input and output; an agent whose input ends is over). An agent has its share of the
// customers and workers; each is one goroutine that reads its socket, and a mutex for what the clock and the reader share.
// Agents go home together, when the customers of all wait for nothing any more, as the workers of one answer those of another.
// A customer's socket that is idle holds no buffer. Every customer keeps the books of his session (package ledger), and in
// the end some of them, and all with something open, are compared with the history.
//
// # What it does not do
//
// It speaks the JSON codec only, over plain sockets or TLS. Customers
// and their sessions are new in every run.
package swarm
