// Package exchange is the board that mail goes over: a table of plugged-in inlets by address. It is built first and
// knows nothing: shards plug in when they open, connections when they are accepted. So there are no setters and no
// back-pointers, and moving a shard is unplug here, plug there.
//
// Post never blocks and delivers at most once, in order per pair of sender and receiver. What cannot be delivered is an
// error at once, and whoever waits for an answer repeats its question.
package exchange
