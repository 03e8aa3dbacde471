// Package seglog is an append-only log of many groups on one stream of files: what all groups of a node want written at
// a moment goes to the disk as one batch, with one write and one sync. It stands below package journal.
//
// A log is a folder of segments of one size, numbered from 1. The highest one that holds batches is written; those
// behind it are spares, made ready beforehand; the lowest are recycled, renamed and written over, when nothing in them is
// needed any more. Overwriting a file that has its blocks costs about half of what growing one does, as a sync of it has no
// metadata to write.
//
// A group is a contiguous sequence of records with an index, a term and an epoch, cut at its end (CutSuffix, or an Append
// of an index that is there), truncated at its beginning (Truncate), with a little metadata beside it (SetMeta). Where
// the live records are is kept in memory, 12 bytes each, so reading old ones costs a read and no search.
//
// What is promised: when Write returns nil, the batch is on the disk. When it returns an error that is not ErrOrder,
// ErrTooLarge or ErrNoSpace, nobody knows, and nothing more is ever written: the caller stops the process. Opening finds
// every batch whose Write returned nil, or says what is missing, group by group (Loss): a flipped bit, a sector, a block, a
// file that is gone or that is an older one. What one log alone cannot notice is damage to its very last batch, which looks
// like a write that the power cut has torn; DESIGN.md says why. No record is ever returned that was not written.
//
// Who may call: Write from one goroutine at a time with its own Batch, and so on; all methods are safe from any goroutine.
// The log starts none of its own. It has no timer and no policy: the caller says what to truncate, and calls Prepare when
// Hungry says so.
//
// What it does not do: it does not know what a turn or a vote is, does not compress, encrypt or replicate, and does not
// lock its folder.
package seglog
