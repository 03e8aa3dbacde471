package session

import (
	"runtime"
	"strings"
	"testing"

	"switchboard/wire"
)

// What a session costs that is talked in: a node holds every one of them, and its collector visits every object. The words come in frames,
// as they do from sockets, and each frame is somebody's memory for as long as anything of it is held.
func TestTalkedSessionIsSmall(t *testing.T) {
	const sessions, rounds = 200, 12
	said := `{"text":"` + strings.Repeat("x", 150) + `"}`
	measure := func() (bytes, objects int64) {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc), int64(m.HeapObjects) //nolint:gosec // less than there is
	}
	bytes, objects := measure()
	all := make([]*State, sessions)
	for i := range all {
		s, env, d := conversation(t)
		key := newNumbered()
		for n := range uint64(rounds) {
			key.next()
			frame := `{"send":{"key":"` + string(key.b[:]) + `","body":` + said + strings.Repeat(" ", 60) + `}}`
			send := &wire.Command{Verb: wire.VerbSend, ID: n + 5, Conn: aliceConn, Who: principal("alice"), Type: "text", Key: frame[16:24], Body: []byte(frame)[33 : 33+len(said)]}
			d.Reset()
			Decide(s, env, send, d)
			reply := &wire.Command{Verb: wire.VerbReply, ID: n + 5, Conn: botConn, Who: principal("bot"), AE: s.AE, Type: "text", Body: []byte(frame)[33 : 33+len(said)], Ack: wire.Some(s.Said)}
			d.Reset()
			Decide(s, env, reply, d)
		}
		if len(s.Keys.recs) != 2*rounds || len(s.Tail()) != min(2*rounds+4, TailEntries) || string(s.tail.last().Body) != said {
			t.Fatalf("%d keys and %d entries are in memory", len(s.Keys.recs), len(s.Tail()))
		}
		all[i] = s
	}
	b, o := measure()
	bytes, objects = (b-bytes)/sessions, (o-objects)/sessions
	runtime.KeepAlive(all)
	t.Logf("%d bytes in %d objects", bytes, objects)
	if bytes > 10_500 || objects > 18 {
		t.Errorf("a session of %d words takes %d bytes in %d objects; want at most 10,500 in 18", 2*rounds, bytes, objects)
	}
}
