// Package edge holds the sockets: WebSocket and HTTP in, frames out.
//
// A connection is read and written by one of a few loops, which serve many; where there are none, by a goroutine that
// reads, and while something waits to be written one more that writes. Bytes become commands, which are checked against
// the token and the limits and posted to the shard of their session or pool. What comes back is mail in the connection's
// outbox; its writer takes all that waits, puts it in its place, and writes it at once.
//
// The writer keeps a cursor per session that the connection follows: the last entry that was written. A pushed entry whose
// prev is not the cursor is a gap, whatever its reason (the connection began behind the head, was slow and lost pushes,
// or moved), and is answered in one way: ask the session's shard for a page after the cursor. So a slow socket costs
// no memory but its position [SW-4.7], and resume, replay and lag are one piece of code.
//
// The edge knows no session and decides nothing about one. It may drop what the log holds; replies it never drops.
package edge
