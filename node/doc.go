// Package node wires the parts into one process, and is the only place that knows them all. It is also the API for
// those who embed a broker in a program of their own:
//
//	n, err := node.Start(node.Config{Data: "data", Listen: "127.0.0.1:7470", Dev: true})
//	…
//	err = n.Close(ctx)
//
// Start opens, in this order: the data directory, the keys, the journal, the exchange, the shards, the edge; Close goes
// the other way: connections are told to come back, shards finish what they have taken, the journal flushes.
package node
