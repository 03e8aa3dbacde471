// Package loadtest drives real sockets against a node and says what it saw: RoundTrip measures speed. It knows the
// broker only by its protocol, so it cannot cheat.
package loadtest
