package why

import (
	"slices"
	"testing"

	"switchboard/broker"
)

func TestTell(t *testing.T) {
	cfg := &broker.Config{Queues: []broker.Queue{{Name: "default"}, {Name: "weighed", Scoring: broker.Weighted}}, TraceEvery: 1, TraceKeep: 1024}
	const now = 1_800_000_000_000
	f := func(s Session, e broker.Explanation, decisions []broker.Decision, want ...string) {
		t.Helper()
		if got := Tell(&s, e, decisions, cfg, now).Why; !slices.Equal(got, want) {
			t.Errorf("it is told\n%q\nand is to be\n%q", got, want)
		}
	}
	f(Session{Phase: "closed"}, broker.Explanation{}, nil, "It is closed.")
	f(Session{Phase: "new", Queue: "default"}, broker.Explanation{}, nil, "Nobody is looked for: it goes into queue default when the customer writes.")
	f(Session{Phase: "queued"}, broker.Explanation{State: "none"}, nil, "It waits, and its queue does not know it yet: it is said again every few seconds.")
	f(Session{Phase: "queued", Note: "reading attributes: too long"},
		broker.Explanation{State: "waiting", Queue: "default", EnqueuedAt: now - 72_000, Ahead: 3, NextAt: now + 48_000, Late: true, Workers: []broker.Candidate{
			{Worker: "ann", Why: "full"}, {Worker: "ben", Why: "away"}, {Worker: "cy", Why: "full"},
		}}, nil,
		"It has waited 1 min 12 s in queue default; 3 sessions are served before it.", "That is longer than the queue means it to wait.",
		"Full: ann and cy.", "Away: ben.",
		"Something changes by itself at 08:00:48 UTC, in 48 s: a step opens, or who was left out may be asked again.",
		"Its attributes were left out when it was routed: reading attributes: too long.")
	f(Session{Phase: "queued", Transfer: "ben"}, broker.Explanation{State: "waiting", Queue: "default", EnqueuedAt: now}, nil,
		"It has waited 0 ms in queue default; it is the next.", "It is meant for ben alone.", "No worker has subscribed to this queue, and no step asks others.")

	f(Session{Phase: "queued", Ticket: 2}, broker.Explanation{State: "waiting", Queue: "default", EnqueuedAt: now - 90_000},
		[]broker.Decision{
			{At: now - 95_000, Ticket: 1, Worker: "old", Ended: "expired"},
			{At: now - 85_000, Ticket: 2, Worker: "eve", Ended: "away"},
			{At: now - 80_000, Ticket: 2, Worker: "dan", Ended: "expired"},
			{At: now - 60_000, Ticket: 2, Worker: "cy", Asked: 2, Ended: "declined: 不会"},
			{At: now - 20_000, Ticket: 2, Worker: "ann", Ended: "declined: at lunch"},
		},
		"It has waited 1 min 30 s in queue default; it is the next.", `It was offered to ann 20 s ago, who declined it and said "at lunch".`,
		`It was offered to cy and at most 2 others 1 min 0 s ago, and none of them took it; cy said "不会".`, "It was offered to dan 1 min 20 s ago, who did not answer in time.",
		"Before that it was offered 1 time, and nobody took it.", "No worker has subscribed to this queue, and no step asks others.")

	two := []broker.Candidate{{Worker: "ann", Load: 0.25, Skill: 0.9, Rating: 0.5, Score: 0.51}, {Worker: "ben", Load: 0.5, Skill: 1, Rating: 0.9, Score: 0.67}}
	home := broker.Decision{Queue: "default", Worker: "ann", Reason: "route", Step: "home", WaitedMS: 3_000, Ahead: 4, Eligible: 5, Free: 2, Asked: 1, Top: two, Excluded: []string{"cy"}}
	f(Session{Phase: "assigned", Owner: "ann"}, broker.Explanation{State: "held", Worker: "ann"}, []broker.Decision{{Worker: "dan"}, home},
		"ann has it.", "It went to ann by the step home, after it had waited 3 s in queue default (4 were waiting there).",
		"5 workers met the step at that time, and 2 were free.", "1 other was asked at the same time; the first to accept has it.",
		"Of those who were free, ann (load 0.25, skill 0.90, rating 0.50, score 0.510) came before ben (load 0.50, skill 1.00, rating 0.90, score 0.670): the lowest load comes first.",
		"It was kept from cy, who had declined it, or from whom it had come back.")
	weighed := func(a, b broker.Candidate) []broker.Decision {
		return []broker.Decision{{Queue: "weighed", Worker: a.Worker, Reason: "overflow", Top: []broker.Candidate{a, b}, Eligible: 2, Free: 2}}
	}
	said := func(a, b broker.Candidate) string {
		t.Helper()
		r := Tell(&Session{Phase: "assigned", Owner: a.Worker}, broker.Explanation{State: "held"}, weighed(a, b), cfg, now)
		return r.Why[len(r.Why)-1]
	}
	const before = "Of those who were free, a (load 0.50, skill 0.00, rating 0.00, score 0.500) came before b (load 0.50, skill 0.00, rating 0.00, score 0."
	for _, x := range []struct {
		score float64
		want  string
	}{{0.4, "400): the higher score comes first."}, {0.5, "500): they were equal, and who was served longest ago comes first."}, {0.6, "600): a was free first."}} {
		if got := said(broker.Candidate{Worker: "a", Load: 0.5, Score: 0.5}, broker.Candidate{Worker: "b", Load: 0.5, Score: x.score}); got != before+x.want {
			t.Errorf("%s", got)
		}
	}
	f(Session{Phase: "closed"}, broker.Explanation{State: "none"}, []broker.Decision{
		{Queue: "default", Worker: "ann", Reason: "sticky", WaitedMS: 1_000, At: 1},
		{Queue: "default", Worker: "bob", Reason: "sticky", WaitedMS: 61_000, At: 2},
	},
		"It is closed.", "It went to bob because bob had it last, after it had waited 1 min 1 s in queue default.")
	// Parked, or his place was given up; and closed while it was offered again.
	f(Session{Phase: "new", Queue: "default"}, broker.Explanation{State: "none"}, []broker.Decision{{Queue: "default", Worker: "bob", Reason: "sticky", WaitedMS: 61_000}},
		"Nobody is looked for: it goes into queue default when the customer writes.", "It went to bob because bob had it last, after it had waited 1 min 1 s in queue default.")
	f(Session{Phase: "closed", Ticket: 2}, broker.Explanation{State: "none"}, []broker.Decision{
		{Queue: "default", Worker: "bob", Reason: "sticky", WaitedMS: 61_000, Ticket: 1, At: now - 90_000},
		{Queue: "default", Worker: "cy", Ticket: 2, At: now - 20_000, Ended: "expired"},
	},
		"It is closed.", "It went to bob because bob had it last, after it had waited 1 min 1 s in queue default.", "It was offered to cy 20 s ago, who did not answer in time.")
	f(Session{Phase: "assigned", Owner: "bob"}, broker.Explanation{State: "held"}, []broker.Decision{{Queue: "default", Worker: "bob", Reason: "sticky", WaitedMS: 61_000}},
		"bob has it.", "It went to bob because bob had it last, after it had waited 1 min 1 s in queue default.")
	f(Session{Phase: "assigned", Owner: "bob"}, broker.Explanation{State: "held"}, []broker.Decision{{Queue: "refunds", Worker: "bob", Reason: "transfer", WaitedMS: 2_000, Eligible: 3, Free: 1}},
		"bob has it.", "It was handed to queue refunds, and went to bob after it had waited 2 s in queue refunds.", "3 workers met the step at that time, and 1 was free.")
	f(Session{Phase: "assigned", Owner: "bob"}, broker.Explanation{State: "held"}, []broker.Decision{{Queue: "refunds", Worker: "bob", Reason: "transfer", WaitedMS: 2_000}},
		"bob has it.", "It went to bob because it was handed to bob by name.")
	f(Session{Phase: "assigned", Owner: "bob", Transfer: "cy"}, broker.Explanation{State: "held"}, nil,
		"bob has it.", "It is being handed to cy, who has not taken it yet.",
		"Why is not known any more: the document says how long it is kept, and of how many of a session's assignments (trace_days, trace_each).")
	f(Session{Phase: "assigned", Owner: "bob", Transfer: "bne"}, broker.Explanation{State: "waiting", Awaits: true, NextAt: now + 20_000}, nil,
		"bob has it.", "It is being handed to bne, who has not taken it yet.",
		"Nobody has heard of a worker bne since the pool began anew; whoever was there may be on his way back, so he is waited for until 08:00:20 UTC, in 20 s. Then it fails, as he is away.",
		"Why is not known any more: the document says how long it is kept, and of how many of a session's assignments (trace_days, trace_each).")
	f(Session{Phase: "assigned", Owner: "@sue", Taken: true}, broker.Explanation{State: "none"}, nil, "sue took it over.")
	f(Session{Phase: "queued"}, broker.Explanation{State: "offered", Worker: "ann", Asked: []string{"ben"}, NextAt: now + 15_000}, []broker.Decision{home},
		"It is offered to ann and ben, and waits for an answer until 08:00:15 UTC, in 15 s.", "It went to ann by the step home, after it had waited 3 s in queue default (4 were waiting there).",
		"5 workers met the step at that time, and 2 were free.", "1 other was asked at the same time; the first to accept has it.",
		"Of those who were free, ann (load 0.25, skill 0.90, rating 0.50, score 0.510) came before ben (load 0.50, skill 1.00, rating 0.90, score 0.670): the lowest load comes first.",
		"It was kept from cy, who had declined it, or from whom it had come back.")
}

// A report of many is bounded, and says so.
func TestBounds(t *testing.T) {
	e := broker.Explanation{State: "waiting", Workers: make([]broker.Candidate, 70)}
	for i := range e.Workers {
		e.Workers[i] = broker.Candidate{Worker: "w", Why: "full"}
	}
	r := Tell(&Session{Phase: "queued"}, e, make([]broker.Decision, 40), &broker.Config{}, 0)
	if len(r.Candidates) != 50 || r.More != 20 || len(r.Decisions) != 16 || r.Why[1] != "Full: w, w, w, w, w, w, w, w and 62 more." {
		t.Fatalf("%d candidates, %d more, %d decisions, %q", len(r.Candidates), r.More, len(r.Decisions), r.Why)
	}
}
