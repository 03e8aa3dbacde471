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
