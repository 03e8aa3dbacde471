// Package bench compares the whole node with what else could carry the same conversation, on the machine at hand.
//
// Numbers of one machine at one time say little; ratios of alternating rounds say something. Run therefore starts every
// opponent as a process of its own with its data on the same disk, drives it with the same number of sockets and the same bodies,
// one after the other, round after round, and reports medians beside what each of them promises. Opponents that are not
// installed are left out.
//
// The work is one round trip: a customer's message goes to exactly one of the workers, and its answer back to that
// customer. Every customer has one message under way.
package bench
