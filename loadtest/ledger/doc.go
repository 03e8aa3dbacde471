// Package ledger keeps the books of a load test: one [Account] for each session of each customer.
//
// Everything that a customer sends, and everything that comes to him, is entered as it happens. Entries are checked at
// once against what the protocol promises: every seq is above the last, every entry continues from the one before
// (prev, [SW-4.4]), an acknowledgement belongs to something that was sent and comes once, an answer belongs to what was
// acknowledged and comes once, in the order of what it answers. What is settled is forgotten, so that an account that has
// nothing open costs a few words, however long the test lasts.
//
// What does not hold is a [Fault], with the session and the places. The books cannot know what the log has: [Account.Audit]
// compares an account with its history, and parts what is lost from what is late.
//
// Tokens of streams, which may be lost, have books of their own: [Streams].
//
// An Account is a plain value with one owner; nothing here is safe for concurrent use.
package ledger
