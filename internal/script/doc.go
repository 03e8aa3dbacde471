// Package script runs golden scripts: tests of pure parts that read like a log of what was done and what came of it.
//
//	# A bot is assigned at once.
//	offer s1 queue=default
//	----
//	grant s1 worker=bob
//
// A script is a text file of blocks. A block is a line with a command, lines of input if the command wants some, a line
// `----`, and the outcome up to the next empty line. Lines that begin with # and empty lines between blocks are kept as they
// are. A command is a name, then words, then `key=value` pairs in any order; a value with spaces is quoted as in Go.
//
// [Run] compares every outcome with what the test's function returns. With the flag -rewrite it writes what came instead:
// read the diff before committing. A key that nobody asked for fails the test, so a misspelt one cannot pass unnoticed.
//
// It is for tests alone, and not safe for concurrent use of one Command.
package script
