// Package exchange is the board that mail goes over: a table of plugged-in inlets by address. It is built first and
// knows nothing: shards plug in when they open, connections when they are accepted, links when another node is reached
// (package exchange/link). So there are no setters and no back-pointers, and moving a shard is unplug here, plug there.
//
// Post never blocks and delivers at most once, in order per pair of sender and receiver. What cannot be delivered is an
// error at once, and whoever waits for an answer repeats its question. A row may stand for a slot, or for all connections, of
// another node: then Post means that the link has the mail, and its end means that it may be lost.
package exchange
