// Package link connects the exchanges of a cluster's nodes: mail for a slot or a connection of another node travels here.
//
// [Links] is one node's end of all of them. For each other node there is a [Link], an exchange.Inlet: it plugs itself in at all
// connections of that node once it is reached, and whoever knows which node has which slot plugs it in there (exchange.PlugRemote). Towards each
// node it keeps two connections that this node dials, one for mail and one for control messages (Send), and accepts the same two
// from there. So each connection carries one direction, and answers nothing but heartbeats. A stream, as for a snapshot, is
// a connection of its own, at a bounded rate.
//
// What it promises. Mail is delivered at most once, and in order per pair of addresses, because one direction of one pair of
// nodes is one connection at a time. Post never blocks: what waits is bounded in bytes, and full is an answer, as is a
// connection that does not stand. Nothing is ever sent again. What is lost is told: each piece of mail has a number, also one for a
// connection that found no room, and the receiver reports the holes ([Restarted]).
//
// Whoever is no member yet may ask one question (Ask), and gets one answer.
//
// What it does not do. It forwards nothing: mail for a slot that is not here is refused, and its sender told. It knows nothing
// of who owns which slot, of votes or of quorums. It does not decide who is a member: nodes are added and removed.
//
// Who is at the other end is certain with TLS: both sides show certificates of the cluster's authority with their node id as a
// name. Without, connections are accepted and made on loopback only, unless Config.Plain says otherwise.
package link
