// Package erlang has the formulae of queues with many servers: M/M/n (Erlang C), where everybody waits until he is served, and
// M/M/n+M (Erlang A), where people lose patience. Calls come at random at a constant rate, take a time without memory, and
// are served first come, first served.
//
// They hold for a steady state, one kind of caller and servers that are all alike. A day has none of these, and that is what
// the simulator in package whatif is for. Here is what it begins its search with, and what it is held against where both hold.
//
// Times are in seconds, rates in 1/s. Everything is a value; nothing fails: what has no steady state is +Inf or 0, as said.
package erlang
