package journal

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/shard/journal/replica"
)

// TestGroupTwiceInARound applies two lots of one group's entries in one round, as Raft may hand them out: the second goes on where the
// first ends.
func TestGroupTwiceInARound(t *testing.T) {
	j, err := prepare(config(t, vfs.NewMem(), 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.load(); err != nil { // no goroutine runs: the round is ours
		t.Fatal(err)
	}
	g := j.Group(0)
	at := g.at
	lot := func(i uint64) replica.Apply {
		return replica.Apply{Group: 0, Entries: []*pb.Entry{{Index: new(at.index + i), Term: new(at.term), Type: pb.EntryNormal.Enum()}}}
	}
	if err := j.apply([]replica.Apply{lot(1), lot(2)}); err != nil {
		t.Fatal(err)
	}
	if g.at.index != at.index+2 {
		t.Errorf("the rows are at %d; want %d", g.at.index, at.index+2)
	}
	if err := j.release(); err != nil {
		t.Fatal(err)
	}
}
