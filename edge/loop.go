package edge

import "sync/atomic"

// seat is a connection's place in its loop. The zero seat is that of a connection with goroutines of its own.
type seat struct {
	fd       int32 // -1 when it is closed
	slot     int32 // in loop.slots; -1 until the loop has seen the connection
	deaf     bool  // what is read is thrown away, until the peer hangs up
	ended    bool  // nothing is read any more
	more     bool  // in loop.more
	full     bool  // the socket takes nothing now
	hurrying bool  // in loop.hurried
	knocking bool  // it has not asked for anything yet: no connection so far
	until    int64 // when a hurried connection is given up, on the loop's clock
	rest     *rest // what a full socket did not take

	// Shared.
	marked  atomic.Bool // in loop.marks
	severed atomic.Bool // somebody wants it to end at once
}

// rest is a turn whose bytes did not all find room in the socket.
type rest struct {
	bytes  []byte
	size   int    // of the turn's items
	upTo   uint64 // the turn's last item
	closed bool   // nobody read any more when the turn began
}
