// Package cluster is what the nodes of a cluster agree on: who is there, which shard lives where, and what is being moved. It
// is pure: a [State] is a value that its owner (the leader of the meta group) changes, whose rows the journal replicates, and
// that every node can read back. No clock, goroutine, socket or lock is in it.
//
//   - Nodes have numbers that are never given twice, zones, labels and weights.
//   - A shard is a Raft group with replicas on nodes. Its epoch grows with every change of its replicas, so that whoever was
//     told of an older one knows better than to act on it.
//   - A placement group is a set of shards with the labels that their nodes must have: a tenant that must stay in one country is
//     put into a group of its own.
//   - A move of a replica is a [Job]: a record that says how far it has come. Whoever leads the meta group goes on with it, from
//     what the shard's own leader says of its members; a node that dies in the middle leaves nothing half-done.
//   - A [Plan] says which moves would even out the load, and why.
//
// How nodes take part is package cluster/member.
//
// Everything that is refused is refused with words that say what to do.
package cluster
