// Package backup keeps backups of shards in a directory: rows in chunks that are named by what they hold, so that each backup writes only
// what the one before it does not have, and is whole by itself nevertheless (ADR 0028).
//
//	FORMAT                  what this is, and its version
//	LOCK                    held by who writes
//	backups/ID.json         a backup: what it holds, and a checksum. Written last: without it there is no backup
//	lists/ID-SHARD.list     the chunks of a shard in order
//	packs/ID-SHARD.pack     chunks that were new then, compressed
//	erasures.json           who was erased, by hashes: a restore erases them again
//
// [Dir.Begin] starts a backup, [Writer.Shard] takes the rows of a shard, ascending, and [Writer.Commit] makes it one. What was not committed is
// removed by the next one who begins. [Dir.Rows] gives rows back, and checks every chunk on the way; [Dir.Verify] does so for a whole backup.
// [Dir.Prune] removes old ones, and what nobody needs then.
//
// A file is never changed once it is there, but for erasures.json, which is replaced as a whole. All are made by the owner alone (0600), as they hold message texts and the keys of tokens in the clear.
//
// The package has no goroutine. A Dir belongs to one goroutine at a time; another process is kept out by LOCK while this one writes. It knows
// nothing of nodes: where rows come from, and where they go, is the caller's.
package backup
