// Package history checks what clients were told of one session against what a log is: an append with a key happens once, at one moment
// between its call and its answer, behind everything before it; a read shows all that happened before its moment, and nothing else.
// That is linearizability, and Porcupine decides it.
//
// It is for tests: simulated clusters and real ones write down what they did, and hand it in at the end. It knows nobody.
package history
