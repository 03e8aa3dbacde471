// Package broker decides who gets the next conversation. A Core is one pool: the queues and workers of a tenant that
// share capacity.
//
// It is pure: events come in with the time, effects come out, and nothing else happens. It has no clock, goroutine,
// lock, channel, file or randomness, so the same events give the same effects [I13]: the node runs it, and so can a simulation in virtual
// time.
//
// It is soft. What is in it can be rebuilt from what the sessions' logs say (Open and Restore): a waiting session is a
// ticket, an assignment is a ticket, a worker, a lease and an ae. Sessions and pool tell each other levels: a task
// is repeated until it is granted, a grant until it is confirmed or refused; a lower ticket than known is ignored.
//
// Capacity is granted here alone. A worker's slots hold open offers, grants on their way, assignments and wrap-ups;
// their sum never exceeds the slots [I3]. Capacity comes back when the session says so, and never by guess.
//
// Bots are given work at once; humans are offered it, and accept [SW-5.2]. A queue's bots come first; humans get what
// waits when no bot of the queue is ready, when the bots had their turn, or when it has waited Queue.HumansAfterMS.
package broker
