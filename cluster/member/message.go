package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"switchboard/cluster"
)

// The kinds of messages between members.
const (
	sayLeads  = "leads"  // what the sender leads, and what it is
	saySee    = "see"    // what do you see of these groups?
	saySeen   = "seen"   // this
	sayAct    = "act"    // the leader of the meta group asks for an act
	sayErased = "erased" // a replica is off the disk
	sayAsk    = "ask"    // a request, forwarded
	sayAnswer = "answer"
	sayRenew  = "renew" // the receiver has another replica of the meta group from now on
)

// message is one message, as JSON. Each is a level, or is asked for again: it may be lost, and come twice.
type message struct {
	Kind string `json:"kind"`
	// N is the number of the question; its answer has the same.
	N uint64 `json:"n,omitempty"`
	// Term is that of the meta group in which its leader says it.
	Term   uint64        `json:"term,omitempty"`
	Leads  []claim       `json:"leads,omitempty"`
	Self   *cluster.Node `json:"self,omitempty"`
	Groups []uint16      `json:"groups,omitempty"`
	Views  []view        `json:"views,omitempty"`
	Act    *order        `json:"act,omitempty"`
	Op     string        `json:"op,omitempty"`
	By     string        `json:"by,omitempty"`
	Body   []byte        `json:"body,omitempty"`
	Answer *answer       `json:"answer,omitempty"`
	// Damaged are the sender's replicas that take no part, Meta is the one of the meta group that it has.
	Damaged []damage `json:"damaged,omitempty"`
	// Full says that the sender's disk takes nothing more.
	Full bool `json:"full,omitempty"`
	// Clients are the sender's.
	Clients Clients  `json:"clients"`
	Meta    uint64   `json:"meta,omitempty"`
	Renew   *renewal `json:"renew,omitempty"`
}

// claim says that the sender leads a group.
type claim struct {
	Group uint16 `json:"group"`
	Term  uint64 `json:"term"`
	// Owner is the term of the shard's owner: another one whenever the shard was opened again; 0 when it is not open.
	Owner uint64 `json:"owner,omitempty"`
}

// order is an act that a leader is asked for, in the term in which it saw what the act follows from.
type order struct {
	Group uint16      `json:"group"`
	Term  uint64      `json:"term"`
	Act   cluster.Act `json:"act"`
}

// view is what the leader of a group says of it.
type view struct {
	Group   uint16       `json:"group"`
	Seen    cluster.Seen `json:"seen"`
	Bytes   uint64       `json:"bytes"`
	Applied uint64       `json:"applied"`
	// Sessions that are in memory.
	Sessions int64 `json:"sessions,omitempty"`
	// Shape, Left and Cleaned are those of Groups.Standing.
	Shape   uint64 `json:"shape,omitempty"`
	Left    uint64 `json:"left,omitempty"`
	Cleaned uint64 `json:"cleaned,omitempty"`
}

// answer is what becomes of a request.
type answer struct {
	Body    json.RawMessage `json:"body,omitempty"`
	Err     string          `json:"err,omitempty"`
	Refused bool            `json:"refused,omitempty"`
	OldCopy bool            `json:"old_copy,omitempty"` // refused, for that reason
}

func answerOf(v any, err error) answer {
	if err == nil {
		b, jerr := json.Marshal(v)
		if err = jerr; err == nil {
			return answer{Body: b}
		}
	}
	refused := errors.Is(err, cluster.ErrRefused)
	return answer{Err: strings.TrimPrefix(err.Error(), cluster.ErrRefused.Error()+": "), Refused: refused, OldCopy: errors.Is(err, cluster.ErrOldCopy)}
}

func (a *answer) err() error {
	switch {
	case a.Err == "":
		return nil
	case a.OldCopy:
		return fmt.Errorf("%w: %s (%w)", cluster.ErrRefused, a.Err, cluster.ErrOldCopy)
	case a.Refused:
		return fmt.Errorf("%w: %s", cluster.ErrRefused, a.Err)
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, a.Err)
}

// said is a message with its sender.
type said struct {
	from uint32
	msg  message
}

// hear takes a message of a node. It does not block: what finds no room is said again.
func (m *Member) hear(name string, b []byte) {
	from := m.lines.number(name)
	var msg message
	if err := json.Unmarshal(b, &msg); err != nil || from == 0 {
		m.cfg.Log.Warn("member: a message that cannot be read", "node", name, "error", err)
		return
	}
	select {
	case m.in <- said{from, msg}:
	default:
		m.dropped.Add(1)
	}
}

// say sends msg to a node, or hears it at once when that is this one.
func (m *Member) say(to uint32, msg *message) {
	if to == m.id.Node {
		m.take(said{to, *msg})
		return
	}
	b, err := json.Marshal(msg)
	if err != nil {
		panic(err) // our own fields
	}
	_ = m.lines.send(to, channelMember, b) // it is said again
}
