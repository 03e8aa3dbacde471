// Package member makes a node a member of a cluster: it is to the cluster.State what a shard is to its sessions.
//
// A node enters a cluster once ([Enter]: it founds one, joins one, or comes back), is connected to the others ([Connect]) and takes
// part ([Open]). The rows of the State are replicated by a group of their own, cluster.Meta, of which every node has a
// replica. One goroutine owns what a [Member] knows; everything else posts to it.
//
// Every node
//   - has links to all nodes that the rows name, and to no others;
//   - takes up the replicas that the rows give it, and erases those that they gave it once and give it no more;
//   - tells every other each second, and when that changes, which groups it leads in which term, and what it is;
//   - plugs the slots of shards that others lead into the exchange, towards the link to the leader.
//
// The leader of the meta group besides
//   - changes the State, in turns: requests and what was seen are applied to it, its rows are written, and only when they are
//     applied does anybody hear of them: who asked, and who is to act;
//   - drives the moves, by what the leaders of the shards say when asked; it keeps the meta group's own members right;
//   - proposes what is ordered (copies that are missing, nodes that drain) to itself, and the rest when a rebalance runs; evens out leaders.
//
// What is said between members is a level: it is said again until what is seen says that it was done. So messages may be lost, come
// twice, or come from somebody who has been replaced; each says in which term it was sent, and a lower one never wins.
// Requests may be made at any node; it forwards them to the leader until they are answered, and each may be done twice without harm.
//
// What it does not do: Raft, rows and disks are its Groups and Rows; who owns a slot when two claim it is decided by their terms
// in Raft, not here. It serves no HTTP.
package member
