package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"switchboard/shard/journal/replica"
)

// ErrRefused says that a change was refused and nothing happened; the error around it says why.
var ErrRefused = errors.New("refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Many says a number of things, which one of them is called: "1 copy", "2 copies".
func Many(n int, one string) string {
	switch {
	case n == 1:
		return "1 " + one
	case one == "copy":
		return fmt.Sprintf("%d copies", n)
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// Phase is how far a node is in its life.
type Phase string

// The phases of a node.
const (
	Up       Phase = "up"       // it may hold replicas and connections
	Draining Phase = "draining" // it gives away what it holds and gets nothing new
	Gone     Phase = "gone"     // it was removed; its number is not given again
)

// Roles says what a node does.
type Roles struct {
	Edge  bool `json:"edge"`
	Shard bool `json:"shard"`
}

// Node is one process with one data directory.
type Node struct {
	ID     uint32            `json:"id"`
	Name   string            `json:"name"`
	Addr   string            `json:"addr"`          // of its links, host:port
	URL    string            `json:"url,omitempty"` // at which clients reach it when another node sends them there; empty: they are sent nowhere
	Roles  Roles             `json:"roles"`
	Zone   string            `json:"zone,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Weight int               `json:"weight"` // how much it takes beside the others; 100 is usual
	Phase  Phase             `json:"phase"`
	// Birth is a random number that its data directory was made with: two directories are two nodes, whatever they call themselves.
	Birth string `json:"birth,omitempty"`
	// Start is a random number of its last start that the cluster has heard of; empty before. A directory that does not know it is older.
	Start string `json:"start,omitempty"`
	// Meta is the id of its replica of the meta group.
	Meta uint64 `json:"meta"`
	// Absent says that it drains because it was away for too long: when it comes back it is up again.
	Absent bool `json:"absent,omitempty"`
	// Pace is how many connections a second it sends away while it drains; 0 leaves that to itself.
	Pace int `json:"pace,omitempty"`
	// Replicas counts the replicas that it was ever given: their ids are made of it.
	Replicas uint32 `json:"replicas"`
	// Lost is how many of them were lost when its disk was last found to be lost, or an old copy: those that were given until then.
	Lost uint32 `json:"lost,omitempty"`
	// Renewed is the random number of the request by which that was noted.
	Renewed string `json:"renewed,omitempty"`
}

// Replica is one member of a shard's group.
type Replica struct {
	ID      uint64 `json:"id"`
	Node    uint32 `json:"node"`
	Learner bool   `json:"learner,omitempty"` // it does not vote yet
}

// Shard is one group of replicas.
type Shard struct {
	ID        uint16 `json:"id"`
	Placement string `json:"placement"`
	Epoch     uint64 `json:"epoch"`
	Term      uint64 `json:"term,omitempty"` // the highest in which a leader was heard: the word of an earlier one counts no more
	// Chosen is the node that an operator has chosen to lead it, 0 for none: evening out leaves it there until another leads.
	Chosen   uint32    `json:"chosen,omitempty"`
	Replicas []Replica `json:"replicas"`
}

// On returns the shard's replica on a node, or nil. While a damaged one is being replaced there are two: then it is the new one.
func (s *Shard) On(node uint32) (r *Replica) {
	if s == nil {
		return nil
	}
	for i := range s.Replicas {
		if x := &s.Replicas[i]; x.Node == node && (r == nil || x.ID > r.ID) {
			r = x
		}
	}
	return r
}

// Meta is the group that replicates the rows of the State itself. No shard has this number.
const Meta uint16 = 4095

// State is all of it. It belongs to one goroutine. Its fields are for reading; the methods change them.
type State struct {
	Version    uint64
	Nodes      map[uint32]*Node
	Shards     map[uint16]*Shard
	Placements map[string]*Placement
	Jobs       map[uint64]*Job
	Effort     Effort

	lastNode  uint32
	lastShard uint16
	lastJob   uint64
	dirty     map[string]struct{}
}

// New returns an empty state: a cluster before its first node.
func New() *State {
	return &State{
		Nodes: map[uint32]*Node{}, Shards: map[uint16]*Shard{}, Placements: map[string]*Placement{}, Jobs: map[uint64]*Job{},
		dirty: map[string]struct{}{},
	}
}

// counters are what may never go back, whatever else is forgotten.
type counters struct {
	Version uint64 `json:"version"`
	Node    uint32 `json:"node"`
	Shard   uint16 `json:"shard"` // how many were ever given
	Job     uint64 `json:"job"`
}

// The kinds of rows, by the beginning of their keys.
const (
	rowCounters  = "counters"
	rowNode      = "member/" // what begins with node/ in the same group is the nodes' own
	rowShard     = "shard/"
	rowPlacement = "placement/"
	rowJob       = "job/"
	rowEffort    = "effort"
)

// Rows calls fn for every row that has changed since the last call, with nil for one that is gone. They are to be written
// in one turn.
func (s *State) Rows(fn func(key string, value []byte)) {
	if len(s.dirty) == 0 {
		return
	}
	s.Version++
	s.touch(rowCounters)
	for _, key := range slices.Sorted(maps.Keys(s.dirty)) {
		fn(key, s.row(key))
	}
	clear(s.dirty)
}

func (s *State) row(key string) []byte {
	var v any
	kind, name, _ := strings.Cut(key, "/")
	n, _ := strconv.ParseUint(name, 10, 64)
	switch kind + "/" {
	case rowNode:
		v = s.Nodes[uint32(n)] //nolint:gosec // our own key
	case rowShard:
		v = s.Shards[uint16(n)] //nolint:gosec // our own key
	case rowPlacement:
		v = s.Placements[name]
	case rowJob:
		if s.Jobs[n] == nil {
			return nil
		}
		v = s.Jobs[n]
	case rowEffort + "/":
		v = s.Effort
	default:
		v = counters{s.Version, s.lastNode, s.lastShard, s.lastJob}
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers alone
	}
	return b
}

// Load takes a row of Rows back. An empty value forgets it.
func (s *State) Load(key string, value []byte) error {
	kind, name, _ := strings.Cut(key, "/")
	n, numErr := strconv.ParseUint(name, 10, 64)
	var err error
	switch kind + "/" {
	case rowNode:
		err = load(s.Nodes, uint32(n), value) //nolint:gosec // checked below
	case rowShard:
		err = load(s.Shards, uint16(n), value) //nolint:gosec // checked below
	case rowPlacement:
		numErr = nil
		err = load(s.Placements, name, value)
	case rowJob:
		err = load(s.Jobs, n, value)
	case rowEffort + "/":
		numErr = nil
		err = json.Unmarshal(value, &s.Effort)
	default:
		if numErr = nil; key != rowCounters {
			return fmt.Errorf("row %q is of no kind that this version knows", key)
		}
		var c counters
		if err = json.Unmarshal(value, &c); err == nil {
			s.Version, s.lastNode, s.lastShard, s.lastJob = c.Version, c.Node, c.Shard, c.Job
		}
	}
	if err = errors.Join(err, numErr); err != nil {
		return fmt.Errorf("reading row %q: %w", key, err)
	}
	return nil
}

func load[K comparable, V any](m map[K]*V, k K, value []byte) error {
	if len(value) == 0 {
		delete(m, k)
		return nil
	}
	v := new(V)
	if err := json.Unmarshal(value, v); err != nil {
		return err
	}
	m[k] = v
	return nil
}

func (s *State) touch(kind string, id ...uint64) {
	for _, n := range id {
		kind += strconv.FormatUint(n, 10)
	}
	s.dirty[kind] = struct{}{}
}

// WeightMax is the most that a node may weigh: a hundred times what is usual.
const WeightMax = 10_000

// CopiesAllowed tells whether the shards of a placement may have n copies: an odd number, as a majority decides, and at most 7.
func CopiesAllowed(n int) bool { return n >= 1 && n <= 7 && n%2 == 1 }

// Join takes up a node and returns its number. A name that a node has which is not gone is refused: two processes must not
// be one node. The same node, by its birth, may say it again: it keeps its number, and what it says of itself counts from now on.
func (s *State) Join(n Node) (uint32, error) {
	switch {
	case n.Name == "":
		return 0, refuse("a node needs a name: set name in its configuration")
	case n.Addr == "":
		return 0, refuse("node %s has no address for its links", n.Name)
	case !n.Roles.Edge && !n.Roles.Shard:
		return 0, refuse("node %s has no role: give it edge, shard or both", n.Name)
	case n.Weight < 0 || n.Weight > WeightMax:
		return 0, refuse("node %s has the weight %d: it must be 0 to %d, 100 is usual", n.Name, n.Weight, WeightMax)
	}
	for _, other := range s.Nodes {
		if other.Phase == Gone || other.Name != n.Name {
			continue
		}
		if n.Birth == "" || other.Birth != n.Birth {
			return 0, refuse("there is a node %s already (number %d), with another data directory: if that one is lost, remove the node first, "+
				"saying so; otherwise start it with its directory, or choose another name", n.Name, other.ID)
		}
		s.Describe(other.ID, n)
		return other.ID, nil
	}
	s.lastNode++
	n.ID, n.Phase, n.Replicas, n.Absent, n.Lost, n.Renewed, n.Pace = s.lastNode, Up, 0, false, 0, "", 0
	if n.Weight == 0 {
		n.Weight = 100
	}
	s.Nodes[n.ID] = &n
	n.Meta = s.replica(n.ID, false).ID
	return n.ID, nil
}

// Describe notes what a node says of itself at its start: its address, roles, zone, labels and weight.
func (s *State) Describe(id uint32, n Node) {
	was := s.Nodes[id]
	if was == nil || was.Phase == Gone {
		return
	}
	now := *was
	now.Addr, now.URL, now.Roles, now.Zone, now.Labels, now.Weight = n.Addr, n.URL, n.Roles, n.Zone, n.Labels, n.Weight
	if now.Weight == 0 {
		now.Weight = 100
	}
	if now.Addr == was.Addr && now.URL == was.URL && now.Roles == was.Roles && now.Zone == was.Zone && now.Weight == was.Weight && maps.Equal(now.Labels, was.Labels) {
		return
	}
	s.Nodes[id] = &now
	s.touch(rowNode, uint64(id))
}

// Started notes that a node has started. starts are random numbers of its starts, the last one last, of which its data directory knows that
// the cluster may have heard: when that is none of them, the directory is an old copy of itself. What it has promised since it does
// not know, so it is refused, with [ErrOldCopy]: it may come back with new replicas ([State.RenewNode]).
func (s *State) Started(id uint32, starts []string) error {
	was := s.Nodes[id]
	switch {
	case was == nil || len(starts) == 0 || was.Start == starts[len(starts)-1]:
		return nil
	case was.Start != "" && !slices.Contains(starts, was.Start):
		return fmt.Errorf("%w: the data directory of node %s is %w: what it has promised since is not in it. "+
			"Put the newer one back, or remove the node (nodes remove %s --disk-lost) and start it with an empty directory", ErrRefused, was.Name, ErrOldCopy, was.Name)
	}
	now := *was
	now.Start = starts[len(starts)-1]
	s.Nodes[id] = &now
	s.touch(rowNode, uint64(id))
	return nil
}

// node returns a node that is not gone.
func (s *State) node(id uint32) (*Node, error) {
	n := s.Nodes[id]
	if n == nil || n.Phase == Gone {
		return nil, refuse("there is no node %d: see switchboard nodes", id)
	}
	return n, nil
}

// Drain makes a node give away what it holds; undo takes that back.
func (s *State) Drain(id uint32, undo bool) error {
	n, err := s.node(id)
	if err != nil {
		return err
	}
	phase := Draining
	if undo {
		phase = Up
	}
	s.phase(n, phase, false)
	return nil
}

// paceMost bounds what [State.DrainAt] takes.
const paceMost = 1_000_000

// DrainAt is [State.Drain] that also says how many connections a second the node shall send away. 0 leaves that as it was said before, or to
// the node.
func (s *State) DrainAt(id uint32, pace int) error {
	if pace < 0 || pace > paceMost {
		return refuse("a pace of %d: it is connections a second, 1 to %d, and 0 leaves it to the node", pace, paceMost)
	}
	if err := s.Drain(id, false); err != nil || pace == 0 || s.Nodes[id].Pace == pace {
		return err
	}
	s.Nodes[id].Pace = pace
	s.touch(rowNode, uint64(id))
	return nil
}

func (s *State) phase(n *Node, to Phase, absent bool) {
	if n.Phase != to || n.Absent != absent {
		if to == Up {
			n.Pace = 0
		}
		n.Phase, n.Absent = to, absent
		s.touch(rowNode, uint64(n.ID))
	}
}

// Away makes a node drain that has not been heard of for too long, and, when it is back, takes that back. An operator's
// own word stands.
func (s *State) Away(id uint32, away bool) {
	n, err := s.node(id)
	switch {
	case err != nil:
	case away && n.Phase == Up:
		s.phase(n, Draining, true)
	case !away && n.Absent:
		s.phase(n, Up, false)
	}
}

// Remove takes a node out. It is refused while the node has replicas, unless lost says that its disk is gone for good: then the
// replicas are forgotten as soon as others stand in for them, and the shards that are short of copies meanwhile are returned.
func (s *State) Remove(id uint32, lost bool) (short []uint16, err error) {
	n, err := s.node(id)
	if err != nil {
		return nil, err
	}
	for _, sid := range slices.Sorted(maps.Keys(s.Shards)) {
		if s.Shards[sid].On(id) != nil {
			short = append(short, sid)
		}
	}
	if len(short) > 0 && !lost {
		return nil, refuse("node %s still has replicas of %s (%d first): drain it, or say that its disk is lost", n.Name, Many(len(short), "shard"), short[0])
	}
	left := 0
	for _, other := range s.Nodes {
		if other.ID != id && other.Phase != Gone && other.Roles.Shard {
			left++
		}
	}
	if left == 0 && n.Roles.Shard {
		return nil, refuse("node %s is the last one that holds anything", n.Name)
	}
	s.phase(n, Gone, false)
	return short, nil
}

// Stranded returns the shards that nobody could serve any more without a node: it has a voting replica of them, and those on nodes that are not
// removed would be no majority.
func (s *State) Stranded(id uint32) (list []uint16) {
	for _, shard := range slices.Sorted(maps.Keys(s.Shards)) {
		voters, left, has := 0, 0, false
		for _, r := range s.Shards[shard].Replicas {
			if r.Learner {
				continue
			}
			voters++
			if n := s.Nodes[r.Node]; r.Node == id {
				has = true
			} else if n != nil && n.Phase != Gone {
				left++
			}
		}
		if has && left <= voters/2 {
			list = append(list, shard)
		}
	}
	return list
}

// Copies says how many copies the shards of a placement shall have. As long as there are fewer nodes they have fewer, but an
// odd number; [State.Plan] proposes what is missing. Fewer than now is refused.
func (s *State) Copies(placement string, n int) error {
	p := s.Placements[placement]
	switch {
	case p == nil:
		return refuse("there is no placement %s", placement)
	case !CopiesAllowed(n):
		return refuse("placement %s wants %d copies: 1, 3, 5 or 7, as a majority decides", placement, n)
	}
	for _, id := range p.Shards { // what was wished for, and is nowhere, can be taken back
		if have := len(s.Shards[id].Replicas); n < p.Copies && n < have {
			return refuse("shard %d of placement %s has %d copies: their number only grows", id, placement, have)
		}
	}
	if n != p.Copies {
		p.Copies = n
		s.dirty[rowPlacement+placement] = struct{}{}
	}
	return nil
}

// replica makes a replica on a node, under an id that nobody has ever had.
func (s *State) replica(node uint32, learner bool) Replica {
	n := s.Nodes[node]
	n.Replicas++
	s.touch(rowNode, uint64(node))
	return Replica{ID: replica.ID(node, n.Replicas), Node: node, Learner: learner}
}
