package edge

import (
	"encoding/base64"
	"encoding/binary"
	"slices"

	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// watching is what a connection watches [SW-4.10]: a feed of every shard. The reader makes it, the writer owns it. One number per
// shard is all that there is to catch up by: whatever is lost on its way shows as a gap, and is asked for again from there.
type watching struct {
	id    uint64 // of the request, or 0 when it is answered
	by    int64  // Unix ms; then it is refused
	pb    *wirepb.ClientFrame
	feeds []feed
	left  int // feeds that have not answered yet
}

// feed is one shard's part.
type feed struct {
	slot    wire.Slot
	parent  wire.Slot // of the shard that this one was split off
	split   bool      // it was
	known   bool      // at says something
	heard   bool
	live    bool
	asked   bool
	at      uint64
	askedAt int64
	// generation is of the owner that it was last asked of.
	generation uint64
}

// feedsAsked is how many pages may be on their way for one connection: together they fit into its outbox.
const feedsAsked = 4

const cursorVersion = 1

// newWatching reads a cursor. One that does not name the shards that there are is none.
func newWatching(cmd *wire.Command, x *exchange.Exchange, from string) (*watching, bool) {
	w := &watching{id: cmd.ID, pb: cmd.PB}
	for _, s := range x.Shards(cmd.Who.Tenant) {
		f := feed{slot: s}
		f.parent, f.split = x.Parent(s)
		w.feeds = append(w.feeds, f)
	}
	w.left = len(w.feeds)
	if from == "" {
		return w, true
	}
	b, err := base64.RawURLEncoding.DecodeString(from)
	if err != nil || len(b) == 0 || b[0] != cursorVersion {
		return nil, false
	}
	b = b[1:]
	for i := range w.feeds {
		x := &w.feeds[i]
		slot, n := binary.Uvarint(b)
		if n <= 0 || slot != uint64(x.slot) {
			if !x.split {
				return nil, false
			}
			x.known = true // it was split off since the cursor was given, and all of it is news
			continue
		}
		at, m := binary.Uvarint(b[n:])
		if m <= 0 {
			return nil, false
		}
		x.at, x.known = at, true
		b = b[n+m:]
	}
	return w, len(b) == 0
}

// grow adds the feeds of shards that were split off since. All that they have is news.
func (w *watching) grow(x *exchange.Exchange, tenant string) {
	for _, slot := range x.Shards(tenant) {
		i, there := slices.BinarySearchFunc(w.feeds, slot, func(f feed, slot wire.Slot) int { return int(f.slot) - int(slot) })
		if parent, split := x.Parent(slot); split && there {
			w.feeds[i].parent, w.feeds[i].split = parent, true // a shard that had nothing may be given the half of another
		} else if split {
			w.feeds = slices.Insert(w.feeds, i, feed{slot: slot, parent: parent, split: true, known: true})
			w.left++
		}
	}
}

// waits tells whether a feed must wait until the one of the shard that it was split off has told everything: what was said before a session
// has moved is told before what was said after.
func (w *watching) waits(x *feed) bool {
	if !x.split {
		return false
	}
	i, there := slices.BinarySearchFunc(w.feeds, x.parent, func(f feed, slot wire.Slot) int { return int(f.slot) - int(slot) })
	return there && !w.feeds[i].live
}

// cursor names the place behind what was written.
func (w *watching) cursor() string {
	b := make([]byte, 1, 1+8*len(w.feeds))
	b[0] = cursorVersion
	for i := range w.feeds {
		b = binary.AppendUvarint(b, uint64(w.feeds[i].slot))
		b = binary.AppendUvarint(b, w.feeds[i].at)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// startWatch hands a request to watch to the writer.
func (c *conn) startWatch(cmd *wire.Command) {
	m := cmd.PB.GetWatch()
	w, ok := newWatching(cmd, c.e.x, m.GetFrom())
	if !ok {
		c.fail(cmd, &wire.Error{Slug: wire.PositionGone, Message: "from is no cursor of this server"})
		return
	}
	w.by = c.e.now() + c.e.cfg.Answer.Milliseconds()
	c.watching.Store(true)
	c.enqueue(item{f: &wire.Frame{Kind: wire.FrameKeep}, watch: w})
}

// feedFrame puts a piece of a feed in its place.
func (c *conn) feedFrame(f *wire.Frame) {
	w := c.feeds
	if w == nil {
		return
	}
	i, ok := slices.BinarySearchFunc(w.feeds, f.Head, func(x feed, slot uint64) int { return int(x.slot) - int(slot) }) //nolint:gosec // slots
	if !ok {
		return
	}
	x := &w.feeds[i]
	switch {
	case f.Err != nil:
		c.endWatch(f.Err)
	case f.Entry == nil:
		c.feedReached(w, x, f)
	case f.Seq <= x.at && x.known:
	case w.waits(x):
		x.live = false
	case !x.known || f.Prev > x.at || w.left > 0: // a cursor names every shard: nothing is written before
		x.live = false
	default:
		x.at = f.Seq
		pb := f.Entry.PB(0)
		pb.Cursor = w.cursor()
		c.encode(&wire.Frame{Kind: wire.FramePush, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Message{Message: pb}}})
	}
}

// feedReached notes how far a shard has told.
func (c *conn) feedReached(w *watching, x *feed, f *wire.Frame) {
	x.asked = false
	if !x.heard {
		x.heard = true
		w.left--
	}
	switch {
	case !x.known:
		x.at, x.known, x.live = f.Seq, true, f.Live
	case f.Prev > x.at:
		x.live = false
	default:
		x.at, x.live = max(x.at, f.Seq), f.Live
	}
	if w.left == 0 && w.id != 0 {
		c.encode(&wire.Frame{Kind: wire.FrameAnswer, ID: w.id, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Watch{Watch: &wirepb.WatchReply{Cursor: w.cursor()}}}})
		w.id = 0
	}
}

// endWatch refuses what cannot be watched. Who was told that he watches is closed: he comes again, and is told then.
func (c *conn) endWatch(err *wire.Error) {
	if w := c.feeds; w.id != 0 {
		c.encode(&wire.Frame{Kind: wire.FrameError, ID: w.id, Verb: wire.VerbWatch, Err: err})
	} else {
		c.bye(wire.CloseSlow, 0)
	}
	c.feeds = nil
	c.feedAt.Store(0)
}

// lateWatch refuses a watch that not all shards have answered in time. What it says leaves with the turn's flush: behind that nothing may
// be gathered, or it stays in buffers that serve another connection next.
func (c *conn) lateWatch() {
	if w := c.feeds; w != nil && w.id != 0 && c.resume == nil && c.e.now() >= w.by {
		c.endWatch(wire.Refuse(wire.Unavailable))
	}
}

// askFeeds asks the shards for what the feeds lack, when everything that waited has left. It is called again at feedAt.
func (c *conn) askFeeds() {
	w := c.feeds
	if w == nil {
		return
	}
	now := c.e.now()
	pages, behind := 0, false
	for i := range w.feeds {
		if x := &w.feeds[i]; x.asked && x.heard && now-x.askedAt < askMost {
			pages++
		}
	}
	for i := range w.feeds {
		x := &w.feeds[i]
		if x.live {
			continue
		}
		behind = true
		if x.heard && w.waits(x) {
			continue
		}
		if x.asked && now-x.askedAt < askMost || x.heard && pages >= feedsAsked {
			continue
		}
		cmd := &wire.Command{Verb: wire.VerbWatch, Conn: c.id, Who: c.who.Load(), PB: w.pb, Read: uint64(x.slot)}
		if x.known {
			cmd.Ack = wire.Some(x.at)
		}
		generation := c.e.x.Generation(x.slot)
		if c.e.post(wire.ToSlot(x.slot), cmd) == nil {
			x.asked, x.askedAt, x.generation = true, now, generation
			pages++
		}
	}
	next := int64(0)
	if behind {
		next = now + askMost/4
	}
	c.feedAt.Store(next)
}

// restoreFeeds lets the feeds be asked for again whose owners have changed: those that are there know nothing of them.
func (c *conn) restoreFeeds() {
	if c.feeds == nil {
		return
	}
	c.feeds.grow(c.e.x, c.who.Load().Tenant)
	for i := range c.feeds.feeds {
		if x := &c.feeds.feeds[i]; x.generation != 0 && x.generation != c.e.x.Generation(x.slot) {
			x.live, x.asked = false, false
		}
	}
}

// missedFeed lets every feed be asked for again: the outbox was full.
func (w *watching) missedFeed() {
	for i := range w.feeds {
		w.feeds[i].live = false
	}
}
