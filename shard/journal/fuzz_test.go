package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"switchboard/shard/journal/replica"
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

// FuzzReadApplied reads anything as how far a group's rows reach, as it is and with the checksum that it should have. What is read is the
// same bytes when it is written again, and no other group's.
func FuzzReadApplied(f *testing.F) {
	row := make([]byte, appliedSize)
	applied{index: 9, term: 2, epoch: 1, turn: 8, base: 3}.put(row, dataKey(nil, 7, tagApplied, nil))
	f.Add(uint16(7), uint16(8), row)
	f.Add(uint16(4095), uint16(0), row[:appliedSize-1])
	f.Fuzz(func(t *testing.T, group, other uint16, value []byte) {
		key := dataKey(nil, group, tagApplied, nil)
		sealed := slices.Clone(value)
		if len(value) == appliedSize {
			binary.BigEndian.PutUint32(sealed[appliedSize-4:], checksum(key, sealed[:appliedSize-4]))
			if _, err := readApplied(key, sealed); err != nil {
				t.Fatalf("%x is whole: %v", sealed, err)
			}
		}
		for _, value := range [][]byte{value, sealed} {
			at, err := readApplied(key, value)
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				continue
			}
			again := make([]byte, appliedSize)
			if at.put(again, key); !bytes.Equal(again, value) {
				t.Fatalf("%x was read as %x", value, again)
			}
			if _, err := readApplied(dataKey(nil, other, tagApplied, nil), value); other != group && err == nil {
				t.Fatalf("%x of group %d is read as group %d's", value, group, other)
			}
		}
	})
}

// FuzzNextOp reads anything as the operations of a turn. What is read is the same when it is written again, and goes into a batch of the data store.
func FuzzNextOp(f *testing.F) {
	var seed Turn
	seed.Put([]byte("a"), []byte("1"))
	seed.Delete([]byte("b"))
	seed.DeleteRange(nil, []byte("c"))
	f.Add(seed.ops)
	f.Add([]byte{opPut, 1, 'k', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{9, 0, 0})
	db, err := pebble.Open("", &pebble.Options{FS: vfs.NewMem(), Logger: storeLog{quiet, func(err error) { f.Error(err) }}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = db.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		var turn Turn
		for rest := b; len(rest) > 0; {
			kind, key, val, after, err := nextOp(rest)
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				return
			}
			if len(after) >= len(rest) {
				t.Fatalf("%x behind %x", after, rest)
			}
			rest = after
			turn.add(kind, key, val)
		}
		if turn.err != nil {
			return // no turn would have it: an empty key, or too long
		}
		batch := db.NewBatch()
		if err := errors.Join(applyOps(batch, 7, turn.ops), batch.Close()); err != nil {
			t.Fatal(err)
		}
		for rest, again := b, turn.ops; len(rest) > 0; {
			k1, key1, val1, r1, err1 := nextOp(rest)
			k2, key2, val2, r2, err2 := nextOp(again)
			if err := errors.Join(err1, err2); err != nil || k1 != k2 || !bytes.Equal(key1, key2) || !bytes.Equal(val1, val2) {
				t.Fatalf("it was %d %x %x and is %d %x %x, %v", k1, key1, val1, k2, key2, val2, err)
			}
			rest, again = r1, r2
		}
	})
}

// FuzzParsePatrol reads anything as the note of the last patrol, as it is and with the checksum that it should have.
func FuzzParsePatrol(f *testing.F) {
	f.Add(make([]byte, 8))
	f.Add([]byte("\x00\x00\x00\x00\x6b\x49\xd2\x00\xff\xff\xff\xff"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parsePatrol(b); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		if len(b) < 8 {
			return
		}
		at, err := parsePatrol(binary.BigEndian.AppendUint32(slices.Clone(b[:8]), checksum(b[:8])))
		if err != nil || uint64(at.Unix()) != binary.BigEndian.Uint64(b) { //nolint:gosec // whatever it says
			t.Fatalf("%x is %v, %v", b[:8], at, err)
		}
	})
}

// FuzzReadSnapshot reads anything as the rows of a snapshot, as they come and with the mark of the end and the checksum that they should have. What is taken
// are rows of the group alone, each behind the one before, and says what it is of; what is refused leaves only the tables that it names.
func FuzzReadSnapshot(f *testing.F) {
	const group = 7
	fs := vfs.NewMem()
	cfg := config(f, fs, 1)
	j := open(f, cfg)
	f.Cleanup(func() { must(f, j.Close()) })
	key := func(tag byte, k string) []byte { return dataKey(nil, group, tag, []byte(k)) }
	at, conf := make([]byte, appliedSize), meta{conf: &pb.ConfState{Voters: []uint64{7, 8}}}
	applied{index: 9, term: 2, epoch: 1, turn: 8, base: 3}.put(at, key(tagApplied, ""))
	members, err := conf.put()
	must(f, err)
	rows := func(kv ...[]byte) []byte {
		var b bytes.Buffer
		s := summer{w: bufio.NewWriter(&b), sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
		for i := 0; i < len(kv); i += 2 {
			s.row(kv[i], kv[i+1])
		}
		must(f, errors.Join(s.err, s.w.Flush()))
		return b.Bytes()
	}
	head := [][]byte{key(tagApplied, ""), at, key(tagConf, ""), members}
	f.Add(rows(append(head, key(tagRow, "a"), []byte("1"), key(tagRow, "b"), nil)...))
	f.Add(rows(append(head, key(tagRow, "b"), []byte("1"), key(tagRow, "a"), nil)...))
	f.Add(rows(append(head, dataKey(nil, group+1, tagRow, []byte("a")), nil)...))
	f.Add(rows(head[2:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		sealed := binary.BigEndian.AppendUint32(slices.Clone(b), snapshotEnd)
		_, _ = sum.Write(sealed) // never fails
		sealed = binary.BigEndian.AppendUint32(sealed, sum.Sum32())
		for _, b := range [][]byte{b, sealed} {
			a, err := j.readSnapshot(&snapshotHeader{Group: group, To: 7}, bufio.NewReader(bytes.NewReader(b)))
			must(t, j.removeFiles(a.files))
			left, no := fs.List(fs.PathJoin(cfg.Dir, arrivalDir))
			if no != nil || len(left) > 0 {
				t.Fatalf("%v are left, %v", left, no)
			}
			if err != nil {
				if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrDamaged) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				continue
			}
			if a.at.index == 0 || len(a.conf.conf.GetVoters()) == 0 || len(a.files) == 0 {
				t.Fatalf("a snapshot of nothing: %+v", a)
			}
			var last []byte
			for rest := b; binary.BigEndian.Uint32(rest) != snapshotEnd; {
				nk, nv := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
				k := rest[8:][:nk]
				if bytes.Compare(k, last) <= 0 || binary.BigEndian.Uint16(k) != group {
					t.Fatalf("row %x of group %d behind %x", k, group, last)
				}
				last, rest = k, rest[8+nk+nv:]
			}
		}
	})
}

// FuzzUnpack reads anything as a parcel of messages between replicas. What is read is the same when it is packed again.
func FuzzUnpack(f *testing.F) {
	seed := func(list ...*pb.Message) (b []byte) {
		var err error
		for i, m := range list {
			b, err = pack(b, replica.Message{Group: uint16(i), Raft: m}) //nolint:gosec // a few
			must(f, err)
		}
		return b
	}
	f.Add(seed(
		&pb.Message{Type: pb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)), Entries: []*pb.Entry{{Index: new(uint64(4)), Data: []byte("d")}}},
		&pb.Message{Type: pb.MsgHeartbeat.Enum(), Commit: new(uint64(4))},
	))
	f.Add(seed(&pb.Message{Type: pb.MsgSnap.Enum(), Snapshot: &pb.Snapshot{Data: []byte("rows")}}))
	f.Add([]byte{0, 1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := unpack(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		var packed []byte
		for _, m := range list {
			if m.Raft.GetType() == pb.MsgSnap {
				t.Fatalf("a snapshot without its rows: %v", m)
			}
			packed, err = pack(packed, m)
			must(t, err)
		}
		again, err := unpack(packed)
		if err != nil || !slices.EqualFunc(list, again, func(a, b replica.Message) bool { return a.Group == b.Group && proto.Equal(a.Raft, b.Raft) }) {
			t.Fatalf("it was %v and is %v, %v", list, again, err)
		}
	})
}
