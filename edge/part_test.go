package edge

import (
	"fmt"
	"testing"
	"time"

	"switchboard/wire"
)

// A session was given up, and its owner had no room to be told. Until it is told, its client follows it again: the owner hears nothing behind that, or he
// would follow what does not know him any more.
func TestGivenUpAndFollowedAgain(t *testing.T) {
	for _, again := range []bool{true, false} {
		r := newRig(t, nil)
		p := r.login(wire.JSON, "demo/customer/alice")
		id := p.open()
		conn := r.shard.lastConn(wire.VerbOpen)
		p.ask(fmt.Sprintf(`"leave":{"session":%q}`, id))
		setFunc(&r.shard.refuse, func(c *wire.Command) bool { return c.Verb == wire.VerbGone })
		r.conn(conn).giveUp(id)
		if again {
			p.ask(fmt.Sprintf(`"open":{"session":%q}`, id))
		}
		setFunc(&r.shard.refuse, func(*wire.Command) bool { return false })
		r.e.settleOrphans(r.e.now() + int64(time.Second/time.Millisecond))
		want := 1
		if again {
			want = 0
		}
		p.ask(fmt.Sprintf(`"history":{"session":%q,"limit":1}`, id)) // behind it
		if got := len(r.shard.goneFrom(conn)); got != want {
			t.Errorf("followed again %v: the session is told %d times that it is not; want %d", again, got, want)
		}
	}
}
