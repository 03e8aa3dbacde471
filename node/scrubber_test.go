package node

import (
	"testing"

	"switchboard/shard/journal"
	"switchboard/shard/journal/replica"
)

// [SW-7.11] A node that was done is not when a replica has come to it since: what it brought may be from before.
func TestScrubAgainWhenSomethingCame(t *testing.T) {
	j, err := journal.Open(journal.Config{Dir: t.TempDir(), Groups: -1, Node: 1, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := newScrubber(&Node{j: j})
	q := &scrubbing{Action: "scrub", ID: "a"}
	do := func(want bool) {
		t.Helper()
		a, err := s.do(q)
		if err != nil || a.Done != want {
			t.Fatalf("done is %v, %v; want %v", a, err, want)
		}
	}
	do(false)
	if err := s.serve(); err != nil {
		t.Fatal(err)
	}
	do(true)
	do(true)
	if err := j.Create(0, replica.ID(1, 1), []uint64{replica.ID(1, 1)}); err != nil {
		t.Fatal(err)
	}
	do(false)
	if len(s.asked) != 1 {
		t.Fatalf("%d questions are open; want one", len(s.asked))
	}
}
