package edge

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// allSlots are the slots of an echo.
func allSlots() []wire.Slot {
	slots := make([]wire.Slot, wire.Slots)
	for i := range slots {
		slots[i] = wire.Slot(i) //nolint:gosec // below wire.Slots
	}
	return slots
}

// next lets another owner come in the place of the echo, with its log and without its memory.
func (s *echo) next(term uint64) *echo {
	s.mu.Lock()
	n := &echo{x: s.x, sessions: map[wire.SessionID]*echoSession{}, gone: s.gone, births: s.births, keys: s.keys, term: term}
	for id, e := range s.sessions {
		n.sessions[id] = &echoSession{id: id, customer: e.customer, log: slices.Clone(e.log), attached: map[wire.Conn]*wire.Principal{}, streams: map[string]string{}, ae: e.ae, owner: e.owner}
	}
	s.mu.Unlock()
	return n
}

// successor opens another owner with what this one has in its log.
func successor(t *testing.T, r *rig, term uint64) *echo {
	n := r.shard.next(term)
	n.begin(t)
	r.x.PlugSlots(allSlots(), n)
	return n
}

// Some requests reach an owner that answers none of them: the log has the first two. The next owner is asked for all of them again, in
// order, behind the attachment and before anything that the client says then; each is done once, its reply stands for its entry, in
// its place, and what others said meanwhile is told between [SW-4.2] [SW-4.4] [SW-4.11].
func TestAskedAgain(t *testing.T) {
	for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
		r := newRig(t, nil)
		alice := r.login(codec, "demo/customer/alice")
		id := alice.open()
		alice.ask(fmt.Sprintf(`"send":{"session":%q,"body":1}`, id))
		send := func(n int, key string) string {
			return fmt.Sprintf(`{"id":%d,"send":{"session":%q,"body":%d%s}}`, 100+n, id, n, key)
		}
		setFunc(&r.shard.mute, func(c *wire.Command) bool { return c.Verb == wire.VerbSend }) // done, and not answered
		alice.say(send(2, ""), send(3, `,"key":"k3"`))
		eventually(t, "two are done", func() bool { return r.shard.head(id) == 3 })
		setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSend }) // not even done
		alice.say(send(4, ""), send(5, `,"key":"k5"`))
		eventually(t, "four are asked", func() bool { return r.shard.count(wire.VerbSend) == 5 })
		r.shard.mu.Lock() // seq 4, before those that were not done; its push is lost as well
		e := r.shard.sessions[id]
		e.log = append(e.log, &wire.Entry{
			Session: id, Seq: 4, Epoch: 1, TS: 1, From: wire.Author{Role: wire.RoleWorker, ID: "bob"}, Origin: wire.OriginHuman,
			Kind: wire.KindMessage, Type: "text", Body: []byte(`"between"`), Visibility: wire.Public,
		})
		r.shard.mu.Unlock()
		old := r.shard
		r.x.UnplugSlots(allSlots(), old)
		c := r.conn(old.lastConn(wire.VerbSend))
		alice.say(send(6, ""))
		eventually(t, "one waits", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.pending.size() == 5
		})
		next := successor(t, r, 2)
		alice.say(send(7, ""))
		var got []string
		for len(got) < 7 {
			switch m := alice.next(); {
			case m.GetSend() != nil:
				got = append(got, fmt.Sprintf("%d=%d", m.Id, m.GetSend().Seq))
				if m.GetSend().Duplicate {
					t.Fatalf("%v was said once", m)
				}
			case m.GetMessage() != nil:
				got = append(got, fmt.Sprintf("%s=%d/%d", m.GetMessage().Body, m.GetMessage().Seq, m.GetMessage().Prev))
			case m.GetState() != nil || m.GetStream() != nil:
			default:
				t.Fatalf("came %v", m)
			}
		}
		if want := "[102=2 103=3 \"between\"=4/3 104=5 105=6 106=7 107=8]"; fmt.Sprint(got) != want {
			t.Fatalf("came %v\nwant %s", got, want)
		}
		var order []string
		next.mu.Lock()
		for i := range next.seen {
			if v := next.seen[i].Verb; v == wire.VerbSend || v == wire.VerbOpen {
				order = append(order, string(v)+string(next.seen[i].Body))
			}
		}
		next.mu.Unlock()
		if want := "[open send2 send3 send4 send5 send6 send7]"; fmt.Sprint(order) != want {
			t.Fatalf("the next owner was asked %v; want %s", order, want)
		}
		// The word of the owner that was is not believed any more.
		old.post(c.id, &wire.Frame{Kind: wire.FrameMessage, Session: id, Prev: 8, Entry: &wire.Entry{Session: id, Seq: 9, Epoch: 1, Body: []byte(`"late"`), Visibility: wire.Public}})
		if m, pushed := alice.ask(fmt.Sprintf(`"send":{"session":%q,"body":9}`, id)); m.GetSend().GetSeq() != 9 || len(pushed) > 0 {
			t.Fatalf("then came %v after %v", m, pushed)
		}
	}
}

// A client hears that nobody has its session when that takes longer than a moment, and how it stands when it goes on. Whatever it asks
// for five seconds long is done then; after that it is told at once that it has to wait [SW-4.11].
func TestStalled(t *testing.T) {
	r := newRig(t, nil)
	alice := r.login(wire.JSON, "demo/customer/alice")
	id := alice.open()
	r.x.UnplugSlots(allSlots(), r.shard)
	state := func(want string) {
		t.Helper()
		for {
			if m := alice.next(); m.GetState() != nil {
				if m.GetState().State != want || m.GetState().Session != string(id) {
					t.Fatalf("told %v; want %s", m, want)
				}
				return
			}
		}
	}
	r.pass(time.Millisecond)
	c := r.conn(r.shard.lastConn(wire.VerbOpen))
	eventually(t, "it is noticed", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.lines.get(id).lost
	})
	r.pass(stalledAfter * time.Millisecond)
	state("stalled")
	alice.say(fmt.Sprintf(`{"id":7,"send":{"session":%q,"body":7}}`, id))
	eventually(t, "it waits", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.pending.size() == 1
	})
	r.x.PlugSlots(allSlots(), r.shard)
	state("new")
	for m := alice.next(); ; m = alice.next() {
		if m.Id == 7 {
			if m.GetSend().GetSeq() != 1 {
				t.Fatalf("then came %v", m)
			}
			break
		}
	}
	r.x.UnplugSlots(allSlots(), r.shard)
	r.pass(time.Millisecond)
	eventually(t, "it is noticed", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.lines.get(id).lost
	})
	r.pass(againMost + time.Second)
	if m, _ := alice.ask(fmt.Sprintf(`"send":{"session":%q,"body":8}`, id)); m.GetError().GetSlug() != string(wire.Unavailable) || m.GetError().GetRetryAfterMs() == 0 {
		t.Fatalf("then came %v", m)
	}
	r.x.PlugSlots(allSlots(), r.shard)
}

// A position that the next owner does not have is not passed over in silence.
func TestLogIsShorter(t *testing.T) {
	r := newRig(t, nil)
	alice := r.login(wire.JSON, "demo/customer/alice")
	id := alice.open()
	alice.ask(fmt.Sprintf(`"send":{"session":%q,"body":1}`, id))
	alice.ask(fmt.Sprintf(`"send":{"session":%q,"body":2}`, id))
	r.shard.mu.Lock()
	r.shard.sessions[id].log = r.shard.sessions[id].log[:1]
	r.shard.mu.Unlock()
	successor(t, r, 2)
	if code, _ := alice.ended(); code != int(wire.CloseReconnect) {
		t.Fatalf("it ended with %d", code)
	}
}

// What a connection has asked for and nobody has answered is bounded in bytes.
func TestKeptBytes(t *testing.T) {
	r := newRig(t, nil)
	r.stand() // nothing is too late
	bot := r.login(wire.JSON, "demo/worker/bot")
	alice := r.login(wire.JSON, "demo/customer/alice")
	id := alice.open()
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbReply })
	long := make([]byte, 30<<10)
	for i := range long {
		long[i] = 'x'
	}
	for i := range keepBytes/len(long) + 2 {
		bot.say(fmt.Sprintf(`{"id":%d,"reply":{"session":%q,"ae":1,"body":%q}}`, 1000+i, id, long))
	}
	if m := bot.next(); m.GetError().GetSlug() != string(wire.TooManyInflight) {
		t.Fatalf("came %v", m)
	}
}

// Every verb that writes has a key when it is posted, and the client's own are left alone.
func TestStamp(t *testing.T) {
	e, err := Open(exchange.New(1<<60+7), Config{Tokens: plain{}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close() //nolint:errcheck // it serves nobody
	f := func(cmd wire.Command, want bool) {
		t.Helper()
		before := cmd.Key
		cmd.Conn = wire.Conn{Node: 1<<60 + 7, ID: 99}
		e.stamp(&cmd, 3)
		if stamped := cmd.Key != before; stamped != want || stamped && (cmd.Key != "#"+strconv.FormatUint(1<<60+7, 36)+".2r.3" || wire.ValidID(cmd.Key)) {
			t.Fatalf("%s has the key %q", cmd.Verb, cmd.Key)
		}
	}
	f(wire.Command{Verb: wire.VerbSend}, true)
	f(wire.Command{Verb: wire.VerbSend, Key: "k"}, false)
	f(wire.Command{Verb: wire.VerbReply}, true)
	f(wire.Command{Verb: wire.VerbReply, Ack: wire.Some(3)}, false)
	f(wire.Command{Verb: wire.VerbTransfer, PB: &wirepb.ClientFrame{}}, true)
	f(wire.Command{Verb: wire.VerbHistory}, false)
	f(wire.Command{Verb: wire.VerbOpen}, false)
}

// The same order holds for who follows nothing: while something of an owner that was is unanswered, nothing goes ahead of it.
func TestAskedAgainWithoutFollowing(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 1e6, 1e6 })
	alice := r.login(wire.JSON, "demo/customer/alice")
	id := alice.open()
	alice.ask(fmt.Sprintf(`"leave":{"session":%q}`, id))
	for round := range 5 {
		setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSend })
		alice.say(fmt.Sprintf(`{"id":%d,"send":{"session":%q,"body":%d}}`, 100+2*round, id, 2*round))
		eventually(t, "it is asked", func() bool { return r.shard.count(wire.VerbSend) == min(round, 1)*2+1 })
		next := successor(t, r, uint64(round)+2) //nolint:gosec // small
		alice.say(fmt.Sprintf(`{"id":%d,"send":{"session":%q,"body":%d}}`, 101+2*round, id, 2*round+1))
		for i := range 2 {
			m := alice.next()
			if m.Id != uint64(100+2*round+i) || m.GetSend().GetSeq() != uint64(2*round+i+1) { //nolint:gosec // small
				t.Fatalf("round %d: %d. came %v", round, i, m)
			}
		}
		r.shard = next
	}
}
