// Package replica runs the Raft groups of a node: who leads a group, and which entries of its log are decided for good.
//
// A [Host] is a value without goroutine, lock, clock, file or socket. Whoever drives it hands in what happened (proposals,
// messages of other replicas, ticks) and gets a [Batch] of what is to be done:
//
//	for host.Collect(&b) {
//		send(b.Send)       // at once: these wait for no disk
//		apply(b.Apply)     // committed entries, in order; need not be durable
//		write(b.Append)    // and sync, once for all groups
//		host.Done(&b)      // what waited for the disk follows in the next batch
//	}
//
// So all groups of a node share one sync, votes and acknowledgements leave only behind it, and a whole cluster of hosts can
// be run by a test in one goroutine under a seed.
//
// Rules that the driver relies on, with the traps that they answer:
//   - A leader is told to act ([Event] Leads) only when the first entry of its own term is applied: before that it does not
//     know what earlier leaders have committed.
//   - Nodes never forward proposals, and only the leader's driver proposes: an old leader's entries come before a new one's.
//   - A replica id is never used twice. It is made of the node's number and a counter that only grows ([ID]).
//   - PreVote and CheckQuorum are on: who was away does not disturb, who is cut off steps down.
//   - Messages are shared pointers in etcd's library: nobody changes them.
//
// The algorithm is etcd's raft (go.etcd.io/raft/v3): Ongaro, Ousterhout: In Search of an Understandable Consensus Algorithm,
// 2014; pre-vote and leader transfer as in Ongaro's thesis, 2014, §9.6 and §3.10; joint membership changes as in §4.3.
package replica
