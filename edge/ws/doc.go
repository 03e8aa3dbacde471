// Package ws is the frame codec of RFC 6455 for the edge's own read and write loops: bytes in, messages out, and back.
// The HTTP upgrade is somebody else's; from the first byte after it, this package holds.
//
// It owns no socket, starts no goroutine, takes no lock and keeps no buffer between messages, so the same code serves
// a goroutine per connection and an epoll loop with one read buffer for all of them.
//
// # Reading
//
// A [Decoder] is 16 bytes while its connection is idle. The caller reads into a buffer of its own and takes messages
// off its front:
//
//	for {
//		m, n, err := dec.Next(buf, limit)
//		buf = buf[n:]
//		if err != nil {
//			fault, _ := errors.AsType[ws.Error](err)
//			return closeWith(fault.Code(), fault.Error()) // and stop reading
//		}
//		if m.Op == 0 {
//			break // keep buf, its frame is not whole yet; Need(buf) tells how long it will be
//		}
//		handle(m) // m.Payload points into buf: copy what must outlive it
//	}
//
// A frame is taken only when it is whole, and is unmasked where it lies; an unfragmented message costs no allocation and
// no copy. What is wrong with a frame is said from the first byte that shows it: a message above the limit is refused
// from its header, before anyone has to buffer it [SW-6.3].
//
// Fragments are joined in memory that the decoder takes at the first one and hands to the caller with the message.
// It is never larger than the limit, and a message has at most [MaxFragments] of them. Control frames between
// fragments come out at once, in their place.
//
// Text is checked to be UTF-8: an unfragmented message when it is whole, a fragmented one at each fragment, so that it
// fails at the first one that no continuation can repair.
//
// After a close frame nothing is read any more: Next swallows what follows, as RFC 6455 5.5.1 asks. After an error Next
// repeats the error.
//
// # Writing
//
// The Append functions build frames on the end of a slice, so all frames of a turn leave in one write. A server's frames
// are unmasked, a client's are masked ([AppendMasked], and a Decoder with FromServer set reads the other side).
// We never send fragments.
//
// # What it does not do
//
// No extensions: a reserved bit is an error, so permessage-deflate must not be negotiated. No rate: a flood of pings
// comes out as messages, and the caller limits and coalesces its pongs. No closing handshake: the caller echoes
// the close frame and shuts the socket. No clock: a frame that never ends is the caller's deadline.
package ws
