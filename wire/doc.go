// Package wire holds the words that the parts of Switchboard say to each other and to the world:
// ids and slots, positions, entries, and the errors and close codes of docs/protocol.md.
//
// It imports the standard library alone and knows nothing of who speaks: everything here is a value.
// Values are safe to copy and to share; what is not says so.
package wire
