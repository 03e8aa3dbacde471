package journal

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"switchboard/shard/journal/replica"
	"switchboard/shard/journal/seglog"
)

// Bounds of what other nodes may make a journal hold.
const (
	mailBytes    = 64 << 20 // of messages that wait for the committer; what comes then is lost, and said again
	mailEach     = 256      // bytes that a message counts besides its own: a heartbeat has 20, and takes so much memory
	messageBytes = 32 << 20 // of one message
	parcelBytes  = 1 << 20  // after which a parcel is sent
	sharedTurn   = 6 << 20  // of a turn of a group with several replicas, which a link must take in one piece
	parcelHeader = 2 + 4    // group and size of a message, in what Send is handed
)

// request is something that the committer does for somebody else. The answer comes when all that follows from it is done.
type request struct {
	do   func() error
	done chan error
	err  error
	// anytime says that it need not wait until the log has room: it changes nothing of the groups, or only what they have forgotten. It is answered
	// when it is done, and not when its round is: that may wait for what is done behind the answer.
	anytime bool
	// hasty says that it is told ErrNoSpace instead of waiting until the log has room. What has begun by then may come about all the same.
	hasty bool
	told  bool // it has its answer
	// about names what it is about, nil where that is not said: of those that wait and are about the same, one is enough.
	about any
}

// reply gives the answer, once.
func (r *request) reply(err error) {
	if !r.told {
		r.told = true
		r.done <- err
	}
}

// do lets the committer do something. It blocks until that is done and durable, or the journal ends.
func (j *Journal) do(fn func() error) error {
	return j.demand(&request{do: fn, done: make(chan error, 1)})
}

// attempt is do for who is told ErrNoSpace where the log has no room, rather than wait until it has: that may be for ever. It may come about all the same.
func (j *Journal) attempt(fn func() error) error {
	return j.demand(&request{do: fn, done: make(chan error, 1), hasty: true})
}

// doAnytime is do for what need not wait until the log has room.
func (j *Journal) doAnytime(fn func() error) error {
	return j.demand(&request{do: fn, done: make(chan error, 1), anytime: true})
}

func (j *Journal) demand(r *request) error {
	j.mu.Lock()
	if j.asksEnded || j.closing {
		err := j.broken
		j.mu.Unlock()
		if err == nil {
			err = ErrClosed
		}
		return err
	}
	if r.hasty && j.noWrite {
		j.mu.Unlock()
		return errNoWrite
	}
	first := j.forming.empty()
	j.forming.asks = append(j.forming.asks, r)
	j.mu.Unlock()
	if first {
		poke(j.wake)
	}
	return <-r.done
}

// pick takes those requests out of the queue that forms which are meant, in the order they came.
func (j *Journal) pick(meant func(*request) bool) (list []*request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.forming.asks = slices.DeleteFunc(j.forming.asks, func(r *request) bool {
		if !meant(r) {
			return false
		}
		list = append(list, r)
		return true
	})
	return list
}

// meanwhile does what may be done while the log waits for room.
func (j *Journal) meanwhile() {
	for _, r := range j.pick(func(r *request) bool { return r.anytime }) {
		r.reply(r.do())
	}
}

// errNoWrite is what a hasty request is told.
var errNoWrite = fmt.Errorf("the log waits for room: %w", ErrNoSpace)

// refuseHasty answers who does not wait until the log has room, as it has none: those whose turn has not come, and those of this round.
func (j *Journal) refuseHasty() {
	for _, r := range j.pick(func(r *request) bool { return r.hasty }) {
		r.reply(errNoWrite)
	}
	for _, r := range j.doing {
		if r.hasty {
			r.reply(errNoWrite)
		}
	}
	for group, list := range j.waiters {
		for _, w := range list {
			w.done <- errNoWrite
		}
		delete(j.waiters, group)
	}
}

// tell lets the committer do something, some time soon: once where several that are about the same wait, so that they do not pile up while the log waits for
// room. Where about is nil whoever tells sees to that.
func (j *Journal) tell(about any, fn func() error) {
	j.mention(&request{do: fn, done: make(chan error, 1), about: about})
}

func (j *Journal) mention(r *request) {
	j.mu.Lock()
	first := j.forming.empty()
	known := r.about != nil && slices.ContainsFunc(j.forming.asks, func(w *request) bool { return w.about == r.about })
	if !j.asksEnded && !known {
		j.forming.asks = append(j.forming.asks, r)
	}
	j.mu.Unlock()
	if first {
		poke(j.wake)
	}
}

// stopAsks answers what will not be done any more.
func (j *Journal) stopAsks() {
	j.mu.Lock()
	j.asksEnded = true
	asks, err := j.forming.asks, j.broken
	j.forming.asks = nil
	j.mu.Unlock()
	if err == nil {
		err = ErrClosed
	}
	for _, r := range append(asks, j.doing...) {
		r.reply(err)
	}
	for _, list := range j.waiters {
		for _, w := range list {
			w.done <- err
		}
	}
}

// send hands messages to Config.Send, one parcel for each node.
func (j *Journal) send(list []replica.Message) {
	for _, m := range list {
		if m.Raft.GetType() == pb.MsgSnap {
			j.sendSnapshot(m)
			continue
		}
		if j.cfg.Send == nil {
			continue
		}
		node := replica.NodeOf(m.To())
		b, err := pack(j.parcels[node], m)
		if err != nil {
			j.cfg.Log.Error("a message cannot be encoded", "group", m.Group, "err", err)
			continue
		}
		if len(b) > parcelBytes { // a link takes 8 MiB at once
			j.cfg.Send(node, b)
			b = nil
		}
		j.parcels[node] = b
	}
	for node, b := range j.parcels {
		if len(b) > 0 {
			j.cfg.Send(node, b)
			if cap(b) > 1<<20 {
				b = nil
			}
			j.parcels[node] = b[:0]
		}
	}
}

// Receive takes what Send was handed on another node. What does not fit is dropped, as if it had been lost on the way. It fails
// when msg is not what Send was handed. The caller may use msg again. It must be sure of who sent it.
func (j *Journal) Receive(msg []byte) error {
	size := len(msg)
	list, err := unpack(msg)
	if err != nil {
		return err
	}
	size += mailEach * len(list)
	j.mu.Lock()
	if j.closing || j.mailed+size > mailBytes {
		j.mu.Unlock()
		return nil
	}
	first := j.forming.empty()
	if j.scarce || j.spent() {
		list = slices.DeleteFunc(list, func(m replica.Message) bool { return !j.squeeze(weight(m.Raft)) })
	}
	j.forming.mail = append(j.forming.mail, list...)
	j.mailed += size
	j.mu.Unlock()
	if first {
		poke(j.wake)
	}
	return nil
}

// pack puts a message behind others of a parcel.
func pack(b []byte, m replica.Message) ([]byte, error) {
	b = binary.BigEndian.AppendUint16(b, m.Group)
	b = append(b, 0, 0, 0, 0)
	start := len(b)
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m.Raft)
	if err == nil {
		binary.BigEndian.PutUint32(b[start-4:], uint32(len(b)-start)) //nolint:gosec // bounded by the limits of messages
	}
	return b, err
}

// unpack returns the messages of a parcel. It keeps nothing of b.
func unpack(b []byte) (list []replica.Message, err error) {
	for len(b) > 0 {
		if len(b) < parcelHeader {
			return nil, fmt.Errorf("a parcel ends within a header: %w", ErrFormat)
		}
		group, n := binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[2:])
		b = b[parcelHeader:]
		if uint64(n) > uint64(len(b)) || n > messageBytes {
			return nil, fmt.Errorf("a message of %d bytes in %d: %w", n, len(b), ErrFormat)
		}
		m := &pb.Message{}
		if err := proto.Unmarshal(b[:n], m); err != nil {
			return nil, fmt.Errorf("a message cannot be read: %w: %w", ErrFormat, err)
		}
		b = b[n:]
		if m.GetType() != pb.MsgSnap { // those come with their rows
			list = append(list, replica.Message{Group: group, Raft: m})
		}
	}
	return list, nil
}

// weight is how much room a message asks for on the disk. That of a leader's first entry is none: it is taken where a vote is, as without it nobody leads
// while a majority's disks are full, and nothing can be read.
func weight(m *pb.Message) (n int) {
	for _, e := range m.GetEntries() {
		n += len(e.GetData())
	}
	return n
}

// squeeze tells whether so many bytes of entries are taken although there is little room. Some are, for what was under way when the disk filled up: its
// leader hears of it and stops, but while a majority lacks a turn nobody behind it gets an answer. It needs j.mu.
func (j *Journal) squeeze(n int) bool {
	if n > 0 && (j.spent() || j.squeezed >= j.lookBytes) {
		return false
	}
	j.squeezed += int64(n)
	return true
}

// happened acts on what became of replicas.
func (j *Journal) happened(list []replica.Event) {
	for _, e := range list {
		g := j.groups[e.Group]
		if g == nil { // taken off just now
			delete(j.orphans, e.Group)
			if j.cfg.Notify != nil && e.Kind == replica.Follows {
				j.cfg.Notify(e)
			}
			continue
		}
		switch e.Kind {
		case replica.Leads:
			g.led = e.Term
			j.mu.Lock()
			g.lead, g.last, g.queued = e.Term, g.at.turn, 0
			j.mu.Unlock()
		case replica.Follows:
			j.abandon(g)
			delete(j.orphans, e.Group)
			j.dropWaiters(e.Group)
		}
		if j.cfg.Notify != nil {
			j.cfg.Notify(e)
		}
	}
}

// renew tells the owners of groups for how long they are sure that they lead.
func (j *Journal) renew() {
	j.sures = j.host.Renewed(j.sures[:0])
	for _, s := range j.sures {
		g := j.groups[s.Group]
		if g == nil {
			continue
		}
		switch {
		case s.At < 0:
			g.sure.Store(0)
		case s.At == replica.Forever:
			g.sure.Store(int64(s.At))
		default:
			g.sure.Store(int64(s.At + j.lease()))
		}
		if s.At >= 0 && g.listens.Swap(false) {
			j.touch(g)
		}
	}
}

// waiter is somebody who wants to know whether a replica still leads.
type waiter struct {
	n    uint64
	done chan error
}

// answer tells those who asked whether the replica leads.
func (j *Journal) answer(list []replica.Read) {
	for _, r := range list {
		left := j.waiters[r.Group][:0]
		for _, w := range j.waiters[r.Group] {
			if w.n <= r.Confirmed {
				w.done <- nil
			} else {
				left = append(left, w)
			}
		}
		j.waiters[r.Group] = left
	}
}

func (j *Journal) dropWaiters(group uint16) {
	for _, w := range j.waiters[group] {
		w.done <- ErrNotLeading
	}
	delete(j.waiters, group)
}

// clock starts the groups' clock when one of them has several replicas, and stops it when none has.
func (j *Journal) clock(run bool) {
	switch {
	case run && j.ticker == nil:
		j.ticker = time.NewTicker(j.cfg.Tick)
	case !run && j.ticker != nil:
		j.ticker.Stop()
		j.ticker = nil
	}
}

// add takes up a replica whose rows and log are in order.
func (j *Journal) add(g *Group) error {
	prev, prevTerm, last := j.log.Bounds(g.id)
	at := g.at
	if at.base > prev {
		prev = at.base
		prevTerm, _ = j.log.Term(g.id, prev)
		if prev == at.index {
			prevTerm = at.term
		}
	}
	// Entries that the rows have may be damaged: nothing here needs them, and who is behind gets a snapshot.
	for _, hole := range j.log.Loss(g.id).Ranges {
		if hole.To > prev && hole.From <= at.index {
			prev, prevTerm = at.index, at.term
		}
	}
	if len(g.meta.conf.GetVoters()) == 0 { // it waits for its first snapshot, whatever an earlier replica has left
		prev, prevTerm, last = 0, 0, 0
	}
	var runs []replica.Run
	for _, r := range j.log.Runs(g.id, nil) {
		switch {
		case r.First > last:
		case len(runs) == 0 || r.First <= prev+1:
			runs = append(runs[:0], replica.Run{First: max(r.First, prev+1), Term: r.Term})
		default:
			runs = append(runs, replica.Run(r))
		}
	}
	if last == prev {
		runs = nil
	}
	hard := &pb.HardState{Term: new(g.meta.term), Vote: new(g.meta.vote), Commit: new(at.index)}
	if n := len(runs); n > 0 && runs[n-1].Term > g.meta.term {
		hard.Term, hard.Vote = new(runs[n-1].Term), new(uint64(0))
	}
	g.meta.term, g.meta.vote, g.conf = hard.GetTerm(), hard.GetVote(), g.meta.conf
	if err := j.host.Add(replica.Start{
		Group: g.id, ID: g.meta.self, Hard: hard, Conf: g.meta.conf, Applied: at.index, AppliedTerm: at.term,
		Prev: prev, PrevTerm: prevTerm, Last: last, Runs: runs,
	}); err != nil {
		return fmt.Errorf("group %d: %w", g.id, err)
	}
	if g.shared {
		j.clock(true)
	}
	return nil
}

// put makes a group known.
func (j *Journal) put(g *Group) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for int(g.id) >= len(j.groups) {
		j.groups = append(j.groups, nil)
	}
	j.groups[g.id] = g
}

// begin makes the first replicas of groups durable: all of them with one sync. Their logs begin behind an entry that nobody has,
// so that who joins later needs a snapshot, and with it learns who the members are.
func (j *Journal) begin(list []*Group) error {
	var points []seglog.Point
	var b seglog.Batch
	for _, g := range list {
		g.newMeta = true
		if err := g.putMeta(&b); err != nil {
			return err
		}
		if g.at.index > 0 {
			points = append(points, seglog.Point{Group: g.id, UpTo: g.at.index, Term: g.at.term})
			if err := j.storeApplied(g.id, g.at); err != nil {
				return err
			}
		}
	}
	if len(points) > 0 {
		if err := j.passOver("beginning a log", j.forget(points)); err != nil {
			return err
		}
	}
	return logError("beginning a group", j.record(&b))
}

// first is a group's first replica, with what all of the first replicas agree on.
func (j *Journal) first(id uint16, self uint64, voters []uint64) *Group {
	s := replica.Bootstrap(id, self, voters)
	return &Group{
		j: j, id: id, self: self, shared: len(voters) != 1, at: applied{index: s.Applied, term: s.AppliedTerm},
		meta: meta{self: self, term: s.Hard.GetTerm(), confAt: s.Applied, conf: s.Conf},
	}
}
