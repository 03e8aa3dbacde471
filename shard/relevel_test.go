package shard

import (
	"fmt"
	"math"
	"testing"

	"switchboard/broker/level"
	"switchboard/exchange"
	"switchboard/internal/mailbox"
	"switchboard/session"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A document with other service levels lets no owner look at the log's end of all sessions at once: some in each step, and each before anything is decided
// of it. By levels of before nobody is counted then.
func TestLevelsChangeInPieces(t *testing.T) {
	s := &Shard{inbox: mailbox.New[wire.Envelope](8, 8), x: exchange.New(1), sweepAt: math.MaxInt64, levelAt: math.MaxInt64, levels: map[string]*levels{}, sessions: map[wire.SessionID]*hosted{}}
	s.cfg.defaults()
	by := func(limit int64) []byte {
		return measureOf([]level.Definition{{Name: "quick", LimitMS: limit, Count: []string{"bot"}}}, nil)
	}
	const sessions = 3*relevelMost + 5
	for i := range sessions {
		id := wire.SessionID(fmt.Sprintf("s%04d", i))
		s.sessions[id] = &hosted{id: id, state: &session.State{ID: id, Tenant: []string{"demo", "other"}[i%5/4]}}
	}
	const demo = sessions - sessions/5
	before := map[*level.Conversation]bool{nil: true}
	for _, limit := range []int64{1_000, 2_000, 3_000} {
		s.relevel("demo", by(limit))
		if len(s.outdated) != demo {
			t.Fatalf("%d of %d sessions are counted by the levels of before; want all", len(s.outdated), demo)
		}
		early := s.sessions["s0380"]
		if s.before(early); early.outdated || before[early.level] {
			t.Fatal("who is to be changed is counted by the levels of before")
		}
		for left := demo; left > 0; left = len(s.outdated) {
			at := early.level
			if s.tick(); len(s.outdated) != max(left-relevelMost, 0) {
				t.Fatalf("%d of %d are left behind a step; a step is %d", len(s.outdated), left, relevelMost)
			}
			if early.level != at {
				t.Fatal("who is counted by the new levels begins again")
			}
		}
		for id, h := range s.sessions {
			if of := h.state.Tenant == "demo"; h.outdated || of && before[h.level] || !of && h.level != nil {
				t.Fatalf("%s of %s is counted by the wrong levels, or by some of before", id, h.state.Tenant)
			}
			if h.level != nil {
				before[h.level] = true
			}
		}
	}
	for n := range int64(10) { // faster than they are counted anew, and some times none
		s.relevel("demo", by(5_000+n))
		if n%3 == 0 {
			s.relevel("demo", nil)
			s.relevel("demo", by(6_000+n))
		}
		if delete(s.sessions, wire.SessionID(fmt.Sprintf("s%04d", 5*n))); len(s.outdated) > demo {
			t.Fatalf("%d are left of %d", len(s.outdated), demo)
		}
	}
	s.relevel("demo", by(4_000))
	s.relevel("demo", nil) // none any more, in the middle
	for range 5 {
		s.tick()
	}
	for id, h := range s.sessions {
		if h.outdated || h.level != nil || len(s.outdated) != 0 {
			t.Fatalf("%s is counted, by levels that are none any more", id)
		}
	}
}

// What a session has open goes on by other levels, from its own beginning: also where the log's end does not tell of it any more, and with what was said of it.
func TestLevelsChangeWhatIsOpen(t *testing.T) {
	s := &Shard{inbox: mailbox.New[wire.Envelope](8, 8), x: exchange.New(1), sweepAt: math.MaxInt64, levelAt: math.MaxInt64, levels: map[string]*levels{}, sessions: map[wire.SessionID]*hosted{}}
	s.cfg.defaults()
	by := func(limit int64) []byte {
		return measureOf([]level.Definition{{Name: "quick", LimitMS: limit, Warn: []level.Warning{{At: 0.5, Do: []string{level.Notify}}}}}, nil)
	}
	const id = "s0001"
	h := &hosted{id: id, state: &session.State{ID: id, Tenant: "demo"}}
	s.sessions[id] = h
	s.relevel("demo", by(10_000))
	s.tick()
	lv := s.levels["demo"]
	h.level.Feed(lv.set, &wire.Entry{Seq: 1, TS: 1_000, Kind: wire.KindMessage, Type: "text", Origin: wire.OriginCustomer}, &lv.out)
	h.level.Tick(lv.set, 7_000, &lv.out)
	if len(lv.out.Actions) != 1 {
		t.Fatalf("%+v; want a warning", lv.out.Actions)
	}
	s.now = 8_000
	s.relevel("demo", by(20_000))
	s.catchUp(h)
	if at, _ := h.level.Next(); at != 21_001 {
		t.Fatalf("it is due at %d; want its miss, at 21001", at)
	}
	s.relevel("demo", nil) // none, and then some again: they know nothing of it
	s.relevel("demo", by(20_000))
	if s.catchUp(h); h.level != nil && h.level.Open() {
		t.Fatal("a case of levels that are none any more is open")
	}
}

// A pool tells of service levels that its document has, and of what shards have said lately: who leads one since then and has counted nothing says
// nothing of it.
func TestLevelsThatAreGoneAreNotTold(t *testing.T) {
	p := &pool{}
	s := &Shard{x: exchange.New(1), levelAt: math.MaxInt64, now: 1_000, pools: map[string]*pool{"demo": p}, levels: map[string]*levels{}}
	s.cfg.Peers = []wire.Slot{0}
	measured := func(name string) []byte { return measureOf([]level.Definition{{Name: name, LimitMS: 1_000}}, nil) }
	set := func(name string) *level.Set {
		x, err := compile(measured(name))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	told := func(by *level.Set) int {
		m := &wirepb.Snapshot{}
		p.levelStats(s.now, by, nil, m)
		return len(m.Levels)
	}
	said := func() { // the shard's word comes to the pool
		t.Helper()
		s.publish()
		if len(s.said.Mail) != 1 {
			t.Fatalf("it says %v", s.said.Mail)
		}
		s.levelMail(s.said.Mail[0].Mail.(*wire.Levels))
		s.said.Mail = nil
	}
	s.relevel("demo", measured("quick"))
	lv := s.levels["demo"]
	lv.out.Samples = []level.Sample{{At: s.now, Count: 1, Met: 1, Shop: "s1", Queue: "q"}}
	s.add(lv)
	said()
	f := func(by *level.Set, want int) {
		t.Helper()
		if got := told(by); got != want {
			t.Fatalf("%d rows are told; want %d", got, want)
		}
	}
	f(set("quick"), 2)
	f(set("other"), 0)
	f(nil, 0) // the document has none any more
	s.now += levelGone
	f(set("quick"), 2)
	s.now++
	f(set("quick"), 0)
	said() // windows slide also when nothing happens
	f(set("quick"), 2)
	s.relevel("demo", measureOf([]level.Definition{{Name: "quick", LimitMS: 2_000}}, nil))
	said() // it begins anew, and says so
	f(set("quick"), 0)
}

// What is said of a part of a limit is that part, however it is written in binary.
func TestPercent(t *testing.T) {
	f := func(part float64, want uint64) {
		t.Helper()
		if got := percent(part); got != want {
			t.Errorf("%v is %d %%; want %d", part, got, want)
		}
	}
	f(0.29, 29)
	f(0.57, 57)
	f(0.58, 58)
	f(0.5, 50)
	f(0.999, 99) // not missed yet
	f(1, 100)
}
