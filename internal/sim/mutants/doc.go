// Package mutants plants classic mistakes into the house, one at a time, and looks whether the test that is meant to find each does.
// A mutant is a line of a list: a file, the text that is there, the text of the mistake, and a test. It is built with an overlay, so
// the files themselves are never touched. A mutant whose text is not there any more fails, and one that survives does, too: then either
// the mistake is none, or nobody would notice it.
//
// The plain test plants a few that are quick; `make mutants` plants all.
package mutants
