package journal

import (
	"encoding/binary"
	"reflect"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// FuzzReadSlot reads anything as a slot of the fence, as it is and with the checksum that it should have: without that hardly
// anything is one. What is read is written as a slot that reads the same.
func FuzzReadSlot(f *testing.F) {
	write := func(t interface{ Fatal(...any) }, seq uint64, entries []entry) []byte {
		fs := vfs.NewMem()
		fe, _, err := openFence(fs, "")
		if err != errNoFence { //nolint:errorlint // it is returned as it is
			t.Fatal(err)
		}
		fe.seq = seq - 1
		if err := fe.write(entries); err != nil {
			t.Fatal(err)
		}
		slot := make([]byte, fenceHeader+len(entries)*entrySize+4)
		if _, err := fe.f.ReadAt(slot, int64(seq%2)*slotSize); err != nil {
			t.Fatal(err)
		}
		if err := fe.f.Close(); err != nil {
			t.Fatal(err)
		}
		return slot
	}
	f.Add(write(f, 1, nil))
	f.Add(write(f, 8, []entry{{group: 0, replica: 1, term: 2, last: 3, lastTerm: 2, turn: 4}, {group: 4095, epoch: 1, lossFrom: 9, shared: 1}}))
	f.Add(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, fenceMagic), 1<<63))
	f.Add(slices.Concat(binary.BigEndian.AppendUint64(nil, fenceMagic), make([]byte, 8), binary.BigEndian.AppendUint64(nil, 1<<60)))
	f.Fuzz(func(t *testing.T, b []byte) {
		sealed := b
		if len(b) >= fenceHeader {
			if n := binary.BigEndian.Uint64(b[16:]); n <= uint64(len(b)/entrySize) {
				if end := fenceHeader + int(n)*entrySize; end <= len(b) { //nolint:gosec // just compared
					sealed = binary.BigEndian.AppendUint32(slices.Clone(b[:end]), checksum(b[:end]))
				}
			}
		}
		for _, b := range [][]byte{b, sealed} {
			seq, entries, ok := readSlot(b)
			if !ok {
				continue
			}
			s, again, ok := readSlot(write(t, seq, entries))
			if !ok || s != seq || !slices.Equal(again, entries) {
				t.Fatalf("slot %d had\n%v\nand has as %d\n%v", seq, entries, s, again)
			}
		}
	})
}

// FuzzReadMeta reads anything as what a replica knows of itself.
func FuzzReadMeta(f *testing.F) {
	for _, m := range []meta{
		{conf: &pb.ConfState{}},
		{self: 7, term: 3, vote: 9, confAt: 12, conf: &pb.ConfState{Voters: []uint64{7, 8, 9}, Learners: []uint64{10}}, removed: true},
		{self: 1, conf: &pb.ConfState{Voters: []uint64{1}, VotersOutgoing: []uint64{2}, LearnersNext: []uint64{2}, AutoLeave: new(true)}},
	} {
		b, err := m.put()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMeta(b)
		if err != nil {
			return
		}
		row, err := m.put()
		if err != nil {
			t.Fatal(err)
		}
		again, err := readMeta(row)
		if err != nil || !proto.Equal(m.conf, again.conf) || alone(m.conf) != alone(again.conf) {
			t.Fatalf("the members were %v and are %v, %v", m.conf, again.conf, err)
		}
		m.conf, again.conf = nil, nil
		if !reflect.DeepEqual(m, again) {
			t.Fatalf("it was %+v and is %+v", m, again)
		}
	})
}
