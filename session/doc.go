// Package session is one customer's conversation as a value, and the customer himself.
//
// It is pure: it is handed a command, the time and the state, and returns what has happened and what is to be told. It
// has no clock, goroutine, lock, channel, file, logger or randomness, so the same inputs give the same outputs [I13].
//
// A State changes in two ways. Durable fields change by facts alone: Decide checks a command completely, and then
// either refuses it, or makes facts and applies them as it goes. The shard writes the facts' rows as one turn of the
// journal; nobody outside hears of the decision's mail before that turn is durable. If the journal fails the shard drops its
// states and reads them again. Volatile fields (who is attached, what was delivered to the owner, running streams,
// the latest entries) are the memory of one owner and are rebuilt or lost without harm. In between stand the soft fields: positions
// that a client acknowledged without asking for an answer. They are written with the next fact, and may step back in a
// crash; then entries come again [SW-5.6]. Which delivery failed, and how often, follows them. An ack that is answered, and
// one that comes with a reply, is a fact.
//
// A customer may become another, and an external id is one: Customer and Identity are values with owners of their own, merge.go tells
// how two of them come together, and holder.go whom a session takes for its customer.
//
// The checks of a command run in the order of [SW-4.3]: entitlement, idempotency, fence, state.
//
// A customer may be erased: erase.go tells what is left of a session, doom.go how far he is.
//
// Besides its owner a session has guests, and supervisors may take it. Neither is known to the pool: they are there as long as
// their connections are, which the state notes, so that a session which is read again finds out who is not any more.
//
// How it is tested: testdata holds a script for each chapter of a session's life; TestModel lets everybody do anything and
// checks what they have seen.
//
// What it does not do: choose a worker (package broker), read rows (package shard loads what Decision.Load asks for and
// comes again), or know what a socket is.
package session
