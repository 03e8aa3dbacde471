// Package bench tells what a machine can do for a node: one page of figures, each beside the physical limit that was measured
// in the same run.
//
// A figure of its own says little: 5,000 appends a second are excellent on a disk that syncs 5,000 times a second, and poor on
// one that shares a sync among hundreds of writers. So the page has two halves. The limits are what the machine gives to
// anybody: copying memory, handing over between goroutines, a ping-pong over loopback, an echo over as many sockets as the
// node will have, a synced write to a new place in a file and to one that was written before, accepting a socket, a TLS
// handshake. The node's own figures follow, each with the limit that bounds it and how much of that it reaches: the codec, the
// journal with 1, 16 and 256 writers, what it costs to be connected to and to hold whoever says nothing, and the whole node, started as a
// process of its own and driven over real sockets. What connecting costs is processor time, which others on the machine disturb little;
// it is told on Linux alone.
//
// It takes about a minute and all processors. How Switchboard stands beside other brokers is the matter of bench/peers, a
// module of its own. The Go benchmarks of each package, run after run, are that of `make bench`.
package bench
