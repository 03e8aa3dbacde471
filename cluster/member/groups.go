package member

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/shard/journal/replica"
)

// Groups are the Raft groups of this node, on its disk. Its methods may be called from any goroutine; those that change what is
// held return when that is durable.
type Groups interface {
	// Create takes up one of the first replicas of a new group; nothing happens when it is held already.
	Create(group uint16, id uint64, voters []uint64) error
	// Join takes up an empty replica that waits for the leader's snapshot; nothing happens when it is held already.
	Join(group uint16, id uint64) error
	// Remove takes a replica off the disk. A tombstone stays: its id never comes back. Nothing happens when it is not held.
	Remove(group uint16, id uint64) error
	// Status tells how the replicas of these groups are, all as of one moment; those that are not held are left out.
	Status(groups ...uint16) (map[uint16]replica.Status, error)
	// Look tells the same, but does not wait for it: then is told from another goroutine, must not block, and is not told when the journal ends.
	Look(groups []uint16, then func(map[uint16]replica.Status))
	// Damaged are the replicas that are on the disk and take no part in their groups, as something of them is damaged or lost. Those of
	// groups that never had another replica are not among them: nobody could help.
	Damaged() map[uint16]Damage
	// Full tells whether the disk takes nothing more: its replicas lag, and the node should lead nothing.
	Full() bool
	// Size returns how many bytes a group's replica takes on the disk, about.
	Size(group uint16) uint64
	// Sessions returns how many sessions of a shard that is led here are in memory.
	Sessions(group uint16) int64
	// Owner returns the term of the owner of a shard that is led and open here: another number at every opening; 0 when there is none.
	Owner(group uint16) uint64
	// Standing returns what the shard says of itself that is led and open here: the shape of the placement by which it is open, that in which
	// slots have left it of which all rows are with the other shard, and that before which slots had gone of which nothing is left; see
	// shard.Standing.
	Standing(group uint16) (shape, left, cleaned uint64)
	// Change asks for other members, as the leader. It may be lost: what became of it is seen in Status.
	Change(group uint16, cc *pb.ConfChangeV2) error
	// Transfer asks another replica to lead, as the leader, once what is decided is durable and heard of. It need not wait for that, and
	// what came of it is seen in Status.
	Transfer(group uint16, to uint64) error
	// Gone says that a node's process has ended: others are to lead what it led. It does not block.
	Gone(node uint32)
	// Step takes Raft traffic that came over a link. It does not block.
	Step(from string, msg []byte)
}

// Row is a change of one row; nil takes it away.
type Row struct {
	Key   string `json:"k"`
	Value []byte `json:"v"`
}

// Rows are the rows of the group cluster.Meta. Its methods may be called from any goroutine.
//
// Whoever has them tells the member of changes ([Member.Changed]) and of leaders ([Member.Leads], [Member.Follows]).
type Rows interface {
	// Append writes the changes, all or none, as the leader of term. applied is called once, from any goroutine: with nil when
	// they are applied here, with an error when they are not, or it is not known; it may be called before Append returns.
	Append(term uint64, changes []Row, applied func(error))
	// Read calls fn for every row that is applied, as of one moment.
	Read(fn func(key string, value []byte) error) error
}
