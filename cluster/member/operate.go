package member

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"switchboard/cluster"
)

// The operations.
const (
	opJoin      = "join"
	opStatus    = "status"
	opMove      = "move"
	opLead      = "lead" // a node that has a copy of a shard shall lead it
	opJob       = "job"
	opRebalance = "rebalance"
	opDrain     = "drain"
	opRemove    = "remove"
	opCopies    = "copies"
	opPlace     = "place"
	opAssign    = "assign"
	opSettle    = "settle"
	opClean     = "clean"
	opRequire   = "require" // a placement shall be on nodes with other labels
	opSplit     = "split"
	opRenew     = "renew" // a node's disk is lost, or an old copy: it wants new replicas
)

// reads are operations that change nothing: without a leader this node's rows answer them.
var reads = map[string]bool{opStatus: true}

// NodeReport is how a node is.
type NodeReport struct {
	cluster.Node
	Up       bool `json:"up"`             // as the reporter's link sees it
	Full     bool `json:"full,omitempty"` // its disk takes nothing more, as it has said
	Leads    int  `json:"leads"`
	Holds    int  `json:"holds"`
	Votes    bool `json:"votes"` // on the state of the cluster
	Reporter bool `json:"reporter,omitempty"`
	// Connections are those of its clients, as it said within the last second.
	Connections int `json:"connections"`
	// Leaving is what a node that drains has left to give away before its connections go; nil of others, and as long as the reporter has not heard how
	// things are: one that has just started knows neither who leads nor of connections.
	Leaving *cluster.Leaving `json:"leaving,omitempty"`
}

// ReplicaReport is how a replica is.
type ReplicaReport struct {
	cluster.Replica
	// Lag is how many entries it is behind; Answers is false when its leader has not heard of it lately.
	Lag     uint64 `json:"lag"`
	Answers bool   `json:"answers"`
	// Damaged says why it takes no part: its node has said so, or its disk was lost. It is being replaced, or waits for that.
	Damaged string `json:"damaged,omitempty"`
}

// ShardReport is how a shard is.
type ShardReport struct {
	ID        uint16 `json:"id"`
	Placement string `json:"placement"`
	Changes   uint64 `json:"changes"` // of its copies; no epoch of positions
	Leader    uint32 `json:"leader"`  // node, 0 when nobody is known to lead
	// Chosen is the node that an operator has chosen to lead it, 0 for none: as long as it leads, evening out leaves it there.
	Chosen   uint32          `json:"chosen,omitempty"`
	Term     uint64          `json:"term"`
	Replicas []ReplicaReport `json:"replicas"`
	Bytes    uint64          `json:"bytes"`    // of one replica
	Sessions int64           `json:"sessions"` // in memory, loaded or attached
	Rate     float64         `json:"rate"`     // entries a second, the mean of about a minute
	Job      uint64          `json:"job,omitempty"`
}

// Report is how the cluster is.
type Report struct {
	Cluster string         `json:"cluster"`
	Node    uint32         `json:"node"`   // that reports
	Leader  uint32         `json:"leader"` // of the cluster's own rows
	Term    uint64         `json:"term"`
	Version uint64         `json:"version"`
	Stale   bool           `json:"stale,omitempty"` // no leader was reached: it may be old, and lacks lags and sizes
	Effort  cluster.Effort `json:"effort"`
	Nodes   []NodeReport   `json:"nodes"`
	Shards  []ShardReport  `json:"shards"`
	Jobs    []*cluster.Job `json:"jobs"`
	Places  []PlaceReport  `json:"placements"`
}

// PlaceReport is how a placement is.
type PlaceReport struct {
	cluster.Placement
	// Nodes may hold its replicas, by their numbers.
	Nodes []uint32 `json:"nodes"`
	// Misplaced are nodes that hold replicas and may not: these are moved as soon as there is a node that may.
	Misplaced []uint32 `json:"misplaced,omitempty"`
}

// asking is what the operations are asked with.
type asking struct {
	Shard   uint16 `json:"shard,omitempty"`
	From    uint32 `json:"from,omitempty"`
	To      uint32 `json:"to,omitempty"`
	Node    uint32 `json:"node,omitempty"`
	Job     uint64 `json:"job,omitempty"`
	Action  string `json:"action,omitempty"`
	Undo    bool   `json:"undo,omitempty"`
	Pace    int    `json:"pace,omitempty"`
	Lost    bool   `json:"lost,omitempty"`
	GiveUp  bool   `json:"give_up,omitempty"`
	Copies  int    `json:"copies,omitempty"`
	Placing string `json:"placement,omitempty"`
	Why     string `json:"why,omitempty"`

	Place   *cluster.Placement `json:"place,omitempty"`
	Shards  int                `json:"shards,omitempty"`
	Dry     bool               `json:"dry,omitempty"`
	Tenants []string           `json:"tenants,omitempty"`
	Wishes  map[string]string  `json:"wishes,omitempty"`
	Labels  map[string]string  `json:"labels,omitempty"`
}

// do does one operation on the state. An error says that it has changed nothing.
func (m *Member) do(op, by string, body []byte, stale bool) (any, error) {
	switch op {
	case opJoin:
		return m.join(body)
	case opRenew:
		return m.renewNode(body)
	}
	var a asking
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("%w: a request that cannot be read: %w", cluster.ErrRefused, err)
	}
	if !reads[op] {
		m.cfg.Log.Info("member: a request", "op", op, "by", by, "what", string(body))
	}
	switch op {
	case opStatus:
		return m.report(stale), nil
	case opMove:
		return m.move(by, &a)
	case opLead:
		return m.appoint(&a)
	case opJob:
		return m.job(a.Job, a.Action)
	case opRebalance:
		return m.rebalance(a.Action, by)
	case opDrain:
		if a.Undo {
			return nil, m.state.Drain(a.Node, true)
		}
		return nil, m.state.DrainAt(a.Node, a.Pace)
	case opRemove:
		return m.remove(a.Node, a.Lost, a.GiveUp)
	case opCopies:
		return nil, m.state.Copies(a.Placing, a.Copies)
	case opPlace:
		return m.place(&a)
	case opAssign:
		return nil, m.state.Assign(a.Placing, a.Tenants...)
	case opSplit:
		return m.split(by, &a)
	case opRequire:
		return m.require(&a)
	case opClean:
		return m.state.Clean(a.Shard, by)
	case opSettle:
		return nil, m.state.Settle(a.Wishes)
	}
	return nil, fmt.Errorf("%w: %q is nothing that a cluster does", cluster.ErrRefused, op)
}

func (m *Member) join(body []byte) (any, error) {
	var n entering
	if err := json.Unmarshal(body, &n); err != nil {
		return nil, fmt.Errorf("%w: a request that cannot be read: %w", cluster.ErrRefused, err)
	}
	id := n.ID
	if id != 0 { // it comes back
		was := m.state.Nodes[id]
		if was == nil || was.Phase == cluster.Gone || was.Birth != n.Birth {
			return nil, fmt.Errorf("%w: node %s (number %d) was removed from the cluster: to take part again it needs an empty data directory", cluster.ErrRefused, n.Name, id)
		}
		if err := m.state.Started(id, n.Starts); err != nil {
			m.cfg.Log.Error("member: a node comes with an old copy of its data directory", "node", n.Name)
			return nil, err
		}
		m.state.Describe(id, n.Node)
	} else {
		var err error
		if id, err = m.state.Join(n.Node); err != nil {
			return nil, err
		}
		if err := m.state.Started(id, n.Starts); err != nil {
			return nil, err
		}
	}
	return entry{Cluster: m.id.Cluster, Node: id, Meta: m.state.Nodes[id].Meta, Peers: peersOf(m.state, id)}, nil
}

// move begins a move. One that was asked for before, by the same, is the same: also when it has ended meanwhile.
func (m *Member) move(by string, a *asking) (*cluster.Job, error) {
	j, err := m.state.Move(a.Shard, a.From, a.To, by, a.Why)
	if err == nil || a.From == 0 {
		return j, err
	}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(m.state.Jobs))) {
		before := m.state.Jobs[id]
		if before.Shard != a.Shard {
			continue
		}
		if before.From == a.From && before.To == a.To && before.By == by && before.Result != cluster.Aborted {
			return before, nil
		}
		break
	}
	return nil, err
}

// appoint asks who leads a shard to let another node lead that has a copy, drained. What comes of it is seen in the report.
func (m *Member) appoint(a *asking) (*Leadership, error) {
	if n := m.state.Nodes[a.To]; n != nil && n.Phase != cluster.Gone {
		switch {
		case !m.alive(a.To):
			return nil, fmt.Errorf("%w: node %s does not answer", cluster.ErrRefused, n.Name)
		case m.full[a.To] || a.To == m.id.Node && m.groups.Full():
			return nil, fmt.Errorf("%w: the disk of node %s is full: it is to lead nothing", cluster.ErrRefused, n.Name)
		}
	}
	l := m.leaders[a.Shard]
	var seen *cluster.Seen
	if s := m.views[a.Shard]; s != nil && s.from == l.node && s.Seen.Term == l.term && m.alive(l.node) {
		seen = &s.Seen
	} else if r := m.state.Shards[a.Shard].On(a.To); r != nil && l.node == a.To {
		seen = &cluster.Seen{Leader: r.ID, Term: l.term} // it said so itself
	}
	act, err := m.state.Lead(a.Shard, a.To, seen)
	if err != nil {
		return nil, err
	}
	if act.Kind == cluster.Lead {
		m.send(l.node, &order{a.Shard, seen.Term, act})
	}
	return &Leadership{Shard: a.Shard, From: l.node, To: a.To, Leads: act.Kind == cluster.Wait}, nil
}

func (m *Member) job(id uint64, action string) (*cluster.Job, error) {
	j := m.state.Jobs[id]
	var err error
	switch action {
	case "pause", "resume":
		err = m.state.Pause(id, action == "pause")
	case "abort":
		if j != nil && j.Step == cluster.Ended && j.Result != cluster.Moved {
			return j, nil // it was asked for before
		}
		err = m.state.Abort(id)
	default:
		err = fmt.Errorf("%w: %q is nothing that a move does: pause, resume or abort", cluster.ErrRefused, action)
	}
	return j, err
}

func (m *Member) rebalance(action, by string) (*Balance, error) {
	if action != "dry" {
		if err := m.state.Rebalance(action, by); err != nil {
			return nil, err
		}
	}
	plan := m.state.Plan(m.loads(), m.unfit()...)
	if plan == nil {
		plan = []cluster.Proposal{} // for who reads JSON
	}
	return &Balance{m.state.Effort, plan}, nil
}

// remove takes a node out. A removal is for good, also of a node whose disk turns up again: so it is refused when shards go with it that would be
// back with the node, unless giveUp says that this is known.
func (m *Member) remove(node uint32, lost, giveUp bool) (short []uint16, err error) {
	n := m.state.Nodes[node]
	if n != nil && n.Phase == cluster.Gone {
		return nil, nil // it was asked for before
	}
	if lost && node != m.id.Node && m.alive(node) {
		return nil, fmt.Errorf("%w: node %d is there and answers: drain it, or stop it first", cluster.ErrRefused, node)
	}
	if lost && node == m.id.Node {
		return nil, fmt.Errorf("%w: node %d leads the cluster, so its disk is not lost: drain it", cluster.ErrRefused, node)
	}
	if list := m.state.Stranded(node); lost && !giveUp && len(list) > 0 {
		return nil, fmt.Errorf("%w: without node %s nobody can ever serve %d shards (%d first): a majority of their copies would be gone for good, and what is on its disk "+
			"may be all that is left of them. Start it again; if that is impossible, look what backups have, and say that these shards are given up (--give-up)",
			cluster.ErrRefused, n.Name, len(list), list[0])
	}
	return m.state.Remove(node, lost)
}

// report says how the cluster is.
func (m *Member) report(stale bool) *Report {
	l := m.leaders[cluster.Meta]
	r := &Report{
		Cluster: m.id.Cluster, Node: m.id.Node, Leader: l.node, Term: l.term, Version: m.state.Version, Stale: stale, Effort: m.state.Effort, // lists, and not null, for who reads JSON
		Nodes: []NodeReport{}, Shards: []ShardReport{}, Jobs: []*cluster.Job{}, Places: []PlaceReport{},
	}
	voters := m.voters()
	for _, id := range slices.Sorted(maps.Keys(m.state.Nodes)) {
		n := m.state.Nodes[id]
		r.Nodes = append(r.Nodes, NodeReport{Node: *n, Up: m.alive(id), Full: m.full[id] || id == m.id.Node && m.groups.Full(), Votes: slices.Contains(voters, n.Meta), Reporter: id == m.id.Node})
	}
	at := func(node uint32) *NodeReport {
		for i := range r.Nodes {
			if r.Nodes[i].ID == node {
				return &r.Nodes[i]
			}
		}
		return &NodeReport{}
	}
	jobs := m.jobs()
	for _, id := range slices.Sorted(maps.Keys(m.state.Shards)) {
		sh, lead := m.state.Shards[id], m.leaders[id]
		s := ShardReport{ID: id, Placement: sh.Placement, Changes: sh.Epoch, Leader: lead.node, Chosen: sh.Chosen, Term: lead.term}
		see := m.views[id]
		if see != nil {
			s.Bytes, s.Rate, s.Sessions = see.Bytes, see.rate, see.Sessions
		}
		for _, rep := range sh.Replicas {
			rr := ReplicaReport{Replica: rep}
			if see != nil {
				rr.Lag, rr.Answers = see.Seen.Lag[rep.ID], has(see.Seen.Lag, rep.ID)
			}
			rr.Damaged = m.damageOf(id, rep.ID)
			s.Replicas = append(s.Replicas, rr)
			at(rep.Node).Holds++
		}
		if j := jobs[id]; j != nil {
			s.Job = j.ID
		}
		at(lead.node).Leads++
		r.Shards = append(r.Shards, s)
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		n.Connections = m.clients[n.ID].Open
		if n.Reporter {
			n.Connections = m.cfg.Clients().Open
		}
		if n.Phase == cluster.Draining && m.heardFor(n.ID, time.Now()) {
			left := m.leaving(n.ID)
			n.Leaving = &left
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.state.Jobs)) {
		j := *m.state.Jobs[id]
		r.Jobs = append(r.Jobs, &j)
	}
	for _, name := range slices.Sorted(maps.Keys(m.state.Placements)) {
		r.Places = append(r.Places, m.placeReport(name))
	}
	return r
}

func has(m map[uint64]uint64, k uint64) bool { _, ok := m[k]; return ok }

// voters are the replicas that vote on the state.
func (m *Member) voters() []uint64 {
	all, err := m.groups.Status(cluster.Meta)
	st, held := all[cluster.Meta]
	if err != nil || !held {
		return nil
	}
	return st.Conf.GetVoters()
}

func (m *Member) placeReport(name string) PlaceReport {
	p := *m.state.Placements[name]
	return PlaceReport{Placement: p, Nodes: m.state.Eligible(&p), Misplaced: m.state.Misplaced(name)}
}

// place makes a placement, or says what it would be. One that was asked for before, with the same shape, is the same: then its
// tenants are assigned.
func (m *Member) place(a *asking) (*PlaceReport, error) {
	if a.Place == nil {
		return nil, fmt.Errorf("%w: a placement needs a name", cluster.ErrRefused)
	}
	p := *a.Place
	was := m.state.Placements[p.Name]
	switch {
	case was != nil && was.Copies == p.Copies && len(was.Shards) == a.Shards && maps.Equal(was.Require, p.Require):
		if a.Dry {
			break
		}
		if err := m.state.Assign(p.Name, p.Tenants...); err != nil {
			return nil, err
		}
	case a.Dry:
		nodes, err := m.state.Placeable(p, a.Shards)
		return &PlaceReport{Placement: p, Nodes: nodes}, err
	default:
		if err := m.state.Place(p, a.Shards); err != nil {
			return nil, err
		}
	}
	r := m.placeReport(p.Name)
	return &r, nil
}

// require makes a placement move to nodes with labels, or says to which.
func (m *Member) require(a *asking) (*PlaceReport, error) {
	nodes, err := m.state.Requirable(a.Placing, a.Labels)
	if err == nil && !a.Dry {
		err = m.state.Require(a.Placing, a.Labels)
	}
	if err != nil {
		return nil, err
	}
	r := m.placeReport(a.Placing)
	r.Require, r.Nodes = a.Labels, nodes
	return &r, nil
}
