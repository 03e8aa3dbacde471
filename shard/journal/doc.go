// Package journal is the durable log of a node and the rows that follow from it, and the only place that knows Pebble.
//
// A journal holds groups, one per shard. The owner of a group appends turns: a turn is a list of puts and deletes of
// rows. The journal numbers a group's turns contiguously from 1, makes them durable in that order, applies them to the
// group's rows, and then tells the owner the highest durable number. Nothing is ever reported durable before a sync of
// the disk has covered it and before its rows can be read.
//
// A log and a store lie below one directory. The log (package seglog) keeps the turns and is synced; the data store keeps the
// rows, has no write-ahead log of its own, and is brought up to date from the log when the journal opens. One goroutine, the
// committer, takes everything that waits from all groups, writes it with one sync, applies it, and reports it; the next
// batch forms meanwhile. There is no timer in that line. A second goroutine, watch, keeps the fence, truncates the log
// behind what the data store has flushed, and looks at the free space of the disk.
//
// The fence is a small file that says, per group, how far the log must reach. A log that ends before its fence, has a
// hole, or holds a record whose checksum is wrong has lost data: the group opens read-only and says from which index on
// (Status). It stays so until AcceptLoss, which starts a new epoch and never gives out an index again. What one node
// alone cannot notice is damage that is confined to the records written after the last fence: at most those of the last
// second or so.
//
// The disk's troubles are answered as follows. Little space: Append says ErrNoSpace long before the file system does,
// reads go on, and writing resumes by itself; also when the file system is the first to say it. A damaged block: the groups it belongs to are quarantined, the process
// lives. A failed write or sync of the log: Config.Fatal is called at once and nothing is ever retried, because after a
// failed sync nobody knows what the disk holds.
//
// A group may have replicas on several nodes (package replica): then its log is the same everywhere as far as it is decided, a
// turn is durable when a majority has it on disk, and only the leader's owner appends. A node that is alone is a group of one on
// the same path. What other nodes send comes in by Receive and ReceiveSnapshot, and leaves by Config.Send and Config.Stream;
// Create, Join, Change, Transfer and Remove are what moving a replica is made of.
//
// What it does not do: it knows no sessions and no mail, it does not compress or encrypt, and it does not decide where
// replicas live.
package journal
