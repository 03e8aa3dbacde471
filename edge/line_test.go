package edge

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

func counted(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// follower checks what one client sees of one session: every entry once, in order, chained by prev [SW-4.4].
type follower struct {
	t    testing.TB
	last uint64
	lags int
	text map[string]string // of streams
}

func (f *follower) see(m *wirepb.ServerFrame) {
	f.t.Helper()
	switch {
	case m.GetMessage() != nil:
		e := m.GetMessage()
		if e.Prev != f.last || e.Seq <= f.last {
			f.t.Fatalf("entry %d with prev %d after %d", e.Seq, e.Prev, f.last)
		}
		f.last = e.Seq
	case m.GetLag() != nil:
		f.lags++
	case m.GetStream() != nil:
		f.text[m.GetStream().Stream] = m.GetStream().Text
	case m.GetDelta() != nil:
		if d := m.GetDelta(); uint64(len(f.text[d.Stream])) == d.Off {
			f.text[d.Stream] += d.Text
		}
	}
}

// own notes the reply to a send, which stands for its entry.
func (f *follower) own(seq uint64) {
	f.t.Helper()
	if seq <= f.last {
		f.t.Fatalf("the reply for %d came after %d", seq, f.last)
	}
	f.last = seq
}

// A client that does not read costs a bounded outbox, is told that it lags, and then reads everything from the log [SW-4.7].
func TestSlowReader(t *testing.T) {
	f := func(codec wire.Codec) {
		r := newRig(t, func(c *Config) { c.Outbox = 16 << 10 })
		p := r.login(codec, "demo/customer/alice")
		id := p.open()
		body := `"` + strings.Repeat("x", 2000) + `"`
		total := uint64(0)
		for counted(t, r.e.m.dropped) == 0 || total < 3000 {
			r.shard.say(id, body, wire.Public)
			total++
			if total > 100_000 {
				t.Fatal("no socket takes so much")
			}
		}
		see := follower{t: t, text: map[string]string{}}
		for see.last < total {
			see.see(p.next())
		}
		if see.lags == 0 {
			t.Fatal("nobody said lag")
		}
		r.shard.say(id, body, wire.Public) // live again
		see.see(p.next())
		if see.last != total+1 {
			t.Fatalf("at %d of %d", see.last, total+1)
		}
	}
	f(wire.JSON)
	f(wire.Protobuf)
}

// Random traffic through an outbox that is always too small: staff entries, streams, own messages, repeated opens.
func TestDropsAndHoles(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, func(c *Config) {
		c.Outbox = 1200
		c.Limits.Rate, c.Limits.Burst, c.Limits.Inflight = 1e6, 1e6, 64
	})
	for round := range 40 {
		codec := wire.Codec(round % 2)
		p := r.login(codec, fmt.Sprintf("demo/customer/c%d", round))
		id := p.open()
		see := follower{t: t, text: map[string]string{}}
		waits := map[uint64]bool{}
		take := func() {
			m := p.next()
			if m.Id == 0 {
				see.see(m)
				return
			}
			if !waits[m.Id] {
				t.Fatalf("round %d: %v answers nothing", round, m)
			}
			delete(waits, m.Id)
			if s := m.GetSend(); s != nil {
				see.own(s.Seq)
			} else if m.GetOpen() == nil {
				t.Fatalf("round %d: %v", round, m)
			}
		}
		for range 60 {
			switch rnd.IntN(6) {
			case 0:
				p.id++
				waits[p.id] = true
				p.say(fmt.Sprintf(`{"id":%d,"send":{"session":%q,"body":"mine"}}`, p.id, id))
			case 1:
				r.shard.say(id, `"secret"`, wire.Staff)
			case 2:
				r.shard.stream(id, "m1", "word ")
			case 3:
				if len(waits) > 20 {
					take()
				}
			default:
				for range rnd.IntN(12) {
					r.shard.say(id, `"`+strings.Repeat("y", rnd.IntN(300))+`"`, wire.Public)
				}
			}
		}
		r.shard.say(id, `"end"`, wire.Public)
		r.shard.mu.Lock()
		e := r.shard.sessions[id]
		r.shard.mu.Unlock()
		for {
			r.shard.mu.Lock()
			head, text := e.head(&wire.Principal{Role: wire.RoleCustomer}), e.streams["m1"]
			r.shard.mu.Unlock()
			if see.last == head && len(waits) == 0 && see.text["m1"] == text {
				break
			}
			take()
		}
		_ = p.ws.Close()
	}
	if counted(t, r.e.m.dropped) == 0 || counted(t, r.e.m.lagged) == 0 {
		t.Fatal("nothing was ever dropped")
	}
}

// Deliveries that did not fit come again from the first that was dropped.
func TestDeliveriesAgain(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Outbox = 4096 })
	alice, bot := r.login(wire.JSON, "demo/customer/alice"), r.login(wire.JSON, "demo/worker/bot")
	id := alice.open()
	bot.ask(`"subscribe":{"queues":["default"]}`)
	conn := r.shard.lastConn(wire.VerbSubscribe)
	r.shard.assign(id, conn)
	total := uint64(0)
	for counted(t, r.e.m.dropped) == 0 || total < 500 {
		r.shard.say(id, `"`+strings.Repeat("x", 2000)+`"`, wire.Public)
		total++
	}
	if m := bot.next(); m.GetAssigned().GetAe() != 1 {
		t.Fatalf("first came %v", m)
	}
	for want := uint64(1); want <= total; want++ {
		if d := bot.next().GetDelivery(); d.GetSeq() != want || d.GetAe() != 1 {
			t.Fatalf("delivery %d under %d; want %d", d.GetSeq(), d.GetAe(), want)
		}
	}
	if r.shard.count(wire.VerbResync) == 0 {
		t.Fatal("nobody asked again")
	}
	// What belongs to an earlier assignment is nobody's.
	r.shard.assign(id, conn)
	r.shard.post(conn, &wire.Frame{Kind: wire.FrameDelivery, Session: id, AE: 1, Entry: &wire.Entry{Session: id, Seq: 1}})
	r.shard.say(id, `"new"`, wire.Public)
	if m := bot.next(); m.GetAssigned().GetAe() != 2 {
		t.Fatalf("then came %v", m)
	}
	if d := bot.next().GetDelivery(); d.GetAe() != 2 || d.GetSeq() != total+1 {
		t.Fatalf("then came delivery %v", d)
	}
}

// A delivery that was lost on its way is not left out: what comes behind it waits until it has come again, also when it was the first [SW-5.4].
func TestLostDelivery(t *testing.T) {
	r := newRig(t, nil)
	alice, bot := r.login(wire.JSON, "demo/customer/alice"), r.login(wire.JSON, "demo/worker/bot")
	id := alice.open()
	bot.ask(`"subscribe":{"queues":["default"]}`)
	r.shard.mu.Lock()
	r.shard.sessions[id].lost = map[uint64]bool{1: true, 4: true, 5: true}
	r.shard.mu.Unlock()
	r.shard.assign(id, r.shard.lastConn(wire.VerbSubscribe))
	if m := bot.next(); m.GetAssigned().GetAe() != 1 {
		t.Fatalf("first came %v", m)
	}
	const total = 7
	for range total {
		r.shard.say(id, `"a"`, wire.Public)
	}
	for want := uint64(1); want <= total; want++ {
		if d := bot.next().GetDelivery(); d.GetSeq() != want {
			t.Fatalf("delivery %d; want %d", d.GetSeq(), want)
		}
	}
	if n := r.shard.count(wire.VerbResync); n == 0 {
		t.Fatal("nobody asked again")
	}
}

// What was given back is delivered again from there on. When the first of that is lost what comes behind it waits for it, too, though later entries were
// delivered before [SW-5.6].
func TestLostRedelivery(t *testing.T) {
	r := newRig(t, nil)
	alice, bot := r.login(wire.JSON, "demo/customer/alice"), r.login(wire.JSON, "demo/worker/bot")
	id := alice.open()
	bot.ask(`"subscribe":{"queues":["default"]}`)
	r.shard.assign(id, r.shard.lastConn(wire.VerbSubscribe))
	if m := bot.next(); m.GetAssigned().GetAe() != 1 {
		t.Fatalf("first came %v", m)
	}
	const total = 6
	for want := uint64(1); want <= total; want++ {
		r.shard.say(id, `"a"`, wire.Public)
		if d := bot.next().GetDelivery(); d.GetSeq() != want {
			t.Fatalf("delivery %d; want %d", d.GetSeq(), want)
		}
	}
	r.shard.mu.Lock()
	e := r.shard.sessions[id]
	e.said, e.lost = 0, map[uint64]bool{3: true}
	for _, n := range e.log[2:] {
		r.shard.deliver(e, n)
	}
	r.shard.mu.Unlock()
	for want := uint64(1); want <= total; want++ { // all that is not acknowledged
		if d := bot.next().GetDelivery(); d.GetSeq() != want {
			t.Fatalf("delivery %d again; want %d", d.GetSeq(), want)
		}
	}
}

// What is given back while others are asked for again comes, too [SW-5.6].
func TestGivenBackMeanwhile(t *testing.T) {
	r := newRig(t, nil)
	alice, bot := r.login(wire.JSON, "demo/customer/alice"), r.login(wire.JSON, "demo/worker/bot")
	id := alice.open()
	bot.ask(`"subscribe":{"queues":["default"]}`)
	r.shard.mu.Lock()
	r.shard.sessions[id].lost = map[uint64]bool{4: true, 5: true}
	r.shard.mu.Unlock()
	r.shard.assign(id, r.shard.lastConn(wire.VerbSubscribe))
	if m := bot.next(); m.GetAssigned().GetAe() != 1 {
		t.Fatalf("first came %v", m)
	}
	for range 5 {
		r.shard.say(id, `"a"`, wire.Public)
	}
	for want := uint64(1); want <= 3; want++ {
		if d := bot.next().GetDelivery(); d.GetSeq() != want {
			t.Fatalf("delivery %d; want %d", d.GetSeq(), want)
		}
	}
	r.shard.mu.Lock() // the edge's word comes behind
	e := r.shard.sessions[id]
	e.said = 4
	r.shard.deliver(e, e.log[4])
	e.said = 0
	r.shard.deliver(e, e.log[2])
	r.shard.mu.Unlock()
	for want := uint64(3); want <= 5; want++ {
		if d := bot.next().GetDelivery(); d.GetSeq() != want {
			t.Fatalf("delivery %d again; want %d", d.GetSeq(), want)
		}
	}
}

// hello attaches to everything at once, and is answered before anything is pushed [SW-3.2].
func TestResume(t *testing.T) {
	r := newRig(t, nil)
	p := r.login(wire.JSON, "demo/customer/alice")
	one, two := p.open(), p.open()
	other := r.login(wire.JSON, "demo/customer/mallory").open()
	for range 5 {
		r.shard.say(one, `"a"`, wire.Public)
		r.shard.say(two, `"b"`, wire.Public)
	}
	hello := func(lines string) (*peer, *wirepb.HelloReply) {
		q := r.dial(wire.JSON)
		q.say(`{"id":1,"hello":{"token":"demo/customer/alice","resume":[` + lines + `]}}`)
		m := q.next()
		if m.GetHello() == nil {
			t.Fatalf("first came %v", m)
		}
		return q, m.GetHello()
	}
	line := func(id wire.SessionID, seq int) string {
		return fmt.Sprintf(`{"session":%q,"epoch":1,"seq":%d}`, id, seq)
	}
	q, h := hello(line(one, 2) + "," + line(two, 5) + "," + line(other, 0) + "," + line("nonsense", 0) + "," + line(two, 99))
	want := []string{"exact 5", "exact 5", "no_session 0", "no_session 0", "truncated 5"}
	for i, l := range h.Resumed {
		got := l.How
		if l.Error != nil {
			got = l.Error.Slug
		}
		if got = fmt.Sprint(got, " ", l.Head); got != want[i] {
			t.Errorf("line %d is %s; want %s", i, got, want[i])
		}
	}
	for seq := uint64(3); seq <= 5; seq++ {
		if e := q.next().GetMessage(); e.GetSeq() != seq || e.GetPrev() != seq-1 || e.GetSession() != string(one) {
			t.Fatalf("then came %v; want %d", e, seq)
		}
	}

	// More than limits.sessions are refused one by one.
	var lines []string
	for range 10 {
		lines = append(lines, line(one, 5))
	}
	_, h = hello(strings.Join(lines, ","))
	if n := len(h.Resumed); n != 10 || h.Resumed[7].Error != nil || h.Resumed[8].GetError().GetSlug() != string(wire.QuotaExceeded) {
		t.Fatalf("resumed %v", h.Resumed)
	}

	// A shard that says nothing holds hello up for three seconds, and its late answer is given back.
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Session == two && c.Resume })
	slow := r.dial(wire.JSON)
	slow.say(`{"id":1,"hello":{"token":"demo/customer/alice","resume":[` + line(two, 0) + `,` + line(one, 3) + `]}}`)
	eventually(t, "the resume is asked for", func() bool { c := r.shard.lastOpen(one); return c.Resume && c.PB.GetOpen().From.Seq == 3 })
	r.shard.say(one, `"meanwhile"`, wire.Public)
	r.pass(4 * time.Second)
	m := slow.next().GetHello()
	if m.GetResumed()[0].GetError().GetSlug() != string(wire.Unavailable) || m.GetResumed()[1].GetHow() != "exact" {
		t.Fatalf("resumed %v", m.GetResumed())
	}
	for seq := uint64(4); seq <= 6; seq++ {
		if e := slow.next().GetMessage(); e.GetSeq() != seq {
			t.Fatalf("then came %v; want %d", e, seq)
		}
	}
	c := r.shard.lastOpen(two)
	setFunc(&r.shard.ignore, func(*wire.Command) bool { return false })
	r.shard.mu.Lock()
	r.shard.open(r.shard.sessions[two], &c)
	r.shard.mu.Unlock()
	eventually(t, "the late attachment is given back", func() bool {
		list := r.shard.goneFrom(c.Conn)
		return len(list) == 1 && list[0] == two
	})
}

func (s *echo) lastOpen(id wire.SessionID) (c wire.Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.seen {
		if s.seen[i].Verb == wire.VerbOpen && s.seen[i].Session == id {
			c = s.seen[i]
		}
	}
	return c
}

// A reply that is ahead of its place waits for what is missing [SW-4.4], and nobody's answer is written twice.
func TestReplyInItsPlace(t *testing.T) {
	r := newRig(t, nil)
	p := r.login(wire.JSON, "demo/customer/alice")
	id := p.open()
	conn := r.shard.lastConn(wire.VerbOpen)
	// The shard's push of entry 1 is lost on its way.
	r.shard.mu.Lock()
	e := r.shard.sessions[id]
	who := e.attached[conn]
	delete(e.attached, conn)
	r.shard.append(e, &wire.Entry{Body: []byte(`1`), Visibility: wire.Public, Kind: wire.KindMessage}, wire.Conn{}, &wire.Principal{})
	e.attached[conn] = who
	r.shard.mu.Unlock()
	p.say(`{"id":50,"send":{"session":"`+string(id)+`","body":2}}`, `{"id":51,"send":{"session":"`+string(id)+`","body":3}}`)
	if m := p.next(); m.GetMessage().GetSeq() != 1 || m.GetMessage().GetPrev() != 0 {
		t.Fatalf("first came %v", m)
	}
	if m := p.next(); m.Id != 50 || m.GetSend().GetSeq() != 2 {
		t.Fatalf("second came %v", m)
	}
	if m := p.next(); m.Id != 51 || m.GetSend().GetSeq() != 3 {
		t.Fatalf("third came %v", m)
	}
	// What was written already is not written again.
	r.shard.mu.Lock()
	r.shard.post(conn, &wire.Frame{Kind: wire.FrameMessage, Session: id, Entry: e.log[1], Prev: 1})
	r.shard.mu.Unlock()
	// A send without an id has no reply to stand for it: its entry is pushed.
	p.say(`{"send":{"session":"` + string(id) + `","body":4}}`)
	if m := p.next(); m.GetMessage().GetSeq() != 4 || m.GetMessage().GetPrev() != 3 {
		t.Fatalf("then came %v", m)
	}
}

// A page that nobody answers is asked for again; one of an earlier attachment is not taken for a later one's.
func TestPageAgain(t *testing.T) {
	r := newRig(t, nil)
	p := r.login(wire.JSON, "demo/customer/alice")
	id := p.open()
	for range 20 {
		r.shard.say(id, `"a"`, wire.Public)
	}
	for range 20 {
		p.next()
	}
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbPage })
	if m, _ := p.ask(fmt.Sprintf(`"open":{"session":%q,"from":{"epoch":1,"seq":15}}`, id)); m.GetOpen() == nil {
		t.Fatalf("open was answered %v", m)
	}
	eventually(t, "a page is asked for", func() bool { return r.shard.count(wire.VerbPage) == 1 })
	if m, _ := p.ask(fmt.Sprintf(`"open":{"session":%q,"from":{"epoch":1,"seq":5}}`, id)); m.GetOpen() == nil {
		t.Fatalf("open was answered %v", m)
	}
	conn := r.shard.lastConn(wire.VerbOpen)
	r.shard.mu.Lock()
	e := r.shard.sessions[id]
	r.shard.post(conn, &wire.Frame{Kind: wire.FramePage, Session: id, Seq: 15, Entries: e.log[15:], Head: 20}) // the first attachment's
	r.shard.mu.Unlock()
	setFunc(&r.shard.ignore, func(*wire.Command) bool { return false })
	r.pass(3 * time.Second)
	for want := uint64(6); want <= 20; want++ {
		if m := p.next(); m.GetMessage().GetSeq() != want {
			t.Fatalf("came %v; want %d", m, want)
		}
	}
	// A full inbox is asked again too.
	var refused bool
	setFunc(&r.shard.refuse, func(c *wire.Command) bool {
		first := c.Verb == wire.VerbPage && !refused
		refused = refused || first
		return first
	})
	if m, _ := p.ask(fmt.Sprintf(`"open":{"session":%q,"tail":2}`, id)); m.GetOpen() == nil {
		t.Fatalf("open was answered %v", m)
	}
	r.pass(3 * time.Second)
	for want := uint64(19); want <= 20; want++ {
		if m := p.next(); m.GetMessage().GetSeq() != want {
			t.Fatalf("came %v; want %d", m, want)
		}
	}
}
