// Package node wires the parts into one process, and is the only place that knows them all. It is also the API for
// those who embed a broker in a program of their own:
//
//	n, err := node.Start(node.Config{Data: "data", Listen: "127.0.0.1:7470", Dev: true})
//	…
//	err = n.Close(ctx)
//
// Start opens, in this order: the data directory, the keys of tokens, the journal, the shards, the edge, the listener. A member of a cluster
// ([Cluster]) opens its links before the journal, and takes part before it has keys, which are the cluster's; its shards are opened as it comes to lead
// them. While it waits for others its start can be taken back ([StartContext]).
// Close goes the other way: connections are told to come back, what this node leads is handed over, shards finish what they have
// taken, the journal flushes.
//
// What belongs to the whole node, and to no part alone, is here: keys, tenants, backups, erasures' files, repairs. lead.go tells how a question about the
// cluster's rows finds the one who may answer it.
package node
