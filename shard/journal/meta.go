package journal

import (
	"encoding/binary"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// meta is what a replica must never forget, and what the log keeps beside a group's records: who it is, the highest term that
// it has met and whom it voted for in that, and who the group's members are.
type meta struct {
	self, term, vote uint64
	// conf is the membership as of the entry confAt, which was decided for good.
	confAt uint64
	conf   *pb.ConfState
	// removed says that the replica was taken off this disk. The rest is a tombstone.
	removed bool
}

const metaVersion = 1

func (m *meta) put() ([]byte, error) {
	b := []byte{metaVersion, 0}
	if m.removed {
		b[1] = 1
	}
	for _, v := range [...]uint64{m.self, m.term, m.vote, m.confAt} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	conf, err := proto.Marshal(m.conf)
	if err != nil {
		return nil, fmt.Errorf("encoding the members of a group: %w", err)
	}
	return append(b, conf...), nil
}

func readMeta(b []byte) (m meta, err error) {
	const size = 2 + 4*8
	if len(b) < size || b[0] != metaVersion || b[1] > 1 {
		return meta{}, fmt.Errorf("what a replica knows of itself is %d bytes that cannot be read: %w", len(b), ErrFormat)
	}
	m.removed = b[1] == 1
	for i, v := range []*uint64{&m.self, &m.term, &m.vote, &m.confAt} {
		*v = binary.BigEndian.Uint64(b[2+8*i:])
	}
	m.conf = &pb.ConfState{}
	if err := proto.Unmarshal(b[size:], m.conf); err != nil {
		return meta{}, fmt.Errorf("the members of a group cannot be read: %w: %w", ErrFormat, err)
	}
	return m, nil
}

// alone tells whether a replica is its group's only one, and will be.
func alone(c *pb.ConfState) bool {
	return len(c.GetVoters()) == 1 && len(c.GetLearners()) == 0 && len(c.GetVotersOutgoing()) == 0 && len(c.GetLearnersNext()) == 0
}
