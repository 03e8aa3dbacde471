// Package shard owns state. A shard is one goroutine that hosts the sessions, customers and pools of its slots, and
// turns mail into durable rows and more mail.
//
// Its life is a loop of turns. A turn takes everything that waits in the inbox (at most 256 pieces of mail, 1 MiB of rows), decides each
// piece (packages session and broker), and hands the rows to its journal group. The mail that came of the turn is held
// until the turn is durable; a turn without rows waits for the turns before it. So nobody outside ever hears of a thing
// before the log has it, also not by reading [SW-4.2].
//
// The owner never reads the disk. What it lacks (a session's state, an old idempotency key, a page of history) a second
// goroutine, the loader, fetches and hands back; the mail that needs it parks in that session's bounded line, and nobody else
// waits. A third does the same for documents, which take up to seconds to be parsed.
//
// What concerns more than one owner (who an external id is, whom a customer has become, his session of another slot) goes from one to the
// next as forward mail (errand.go), or is a letter that is sent until it is answered (merge.go). Nobody calls back.
//
// A customer is erased by his owner (erase.go), who asks every shard for what it has of him (purge.go); rows of a backup are cleaned before they are restored
// (forget.go).
//
// Memory is bounded: sessions that nobody waits for, owns or asks about are unloaded after a while; of their
// attachments some 100 bytes each remain. Everything that waits has a limit, and full is an answer: overloaded.
//
// A single node's shard is a group of one. Whether its group has replicas elsewhere is journal.Group's business: a shard is opened where its
// group leads, and closed when it leads no more; nothing here knows.
package shard
