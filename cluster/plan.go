package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"switchboard/shard/journal/replica"
)

func nodeOf(id uint64) uint32 { return replica.NodeOf(id) }

// Load is what a shard costs: the mean of the last minutes.
type Load struct {
	Bytes  uint64  // on each replica's disk
	Rate   float64 // entries a second
	Leader uint32  // node
}

// weigh is a shard's load as one number: a mebibyte, and an entry a second, each cost one. An empty shard still costs its heartbeats.
func (l Load) weigh() float64 { return 1 + float64(l.Bytes)/(1<<20) + l.Rate }

// Proposal is one line of a plan.
type Proposal struct {
	Shard uint16 `json:"shard"`
	From  uint32 `json:"from"` // 0 when a copy is added
	To    uint32 `json:"to"`
	Cause Cause  `json:"cause"`
	// Lead says that only the leadership goes from From to To; otherwise it is a replica.
	Lead bool   `json:"lead,omitempty"`
	Why  string `json:"why"`
}

// Cause is what kind of reason a proposal has.
type Cause string

// The causes. What follows from an operator's word that was given already is done at once; the others are for him to decide.
const (
	Repair  Cause = "repair"  // a copy is on a node that is gone
	Grow    Cause = "grow"    // there are fewer copies than the placement wants
	Drain   Cause = "drain"   // a copy, or a leadership, is where it may not be
	Zones   Cause = "zones"   // two copies are in one zone
	Even    Cause = "even"    // a node carries more than others
	Leading Cause = "leading" // a node leads more than others
)

// Ordered tells whether the proposal only does what somebody has asked for.
func (p *Proposal) Ordered() bool { return p.Cause == Repair || p.Cause == Grow || p.Cause == Drain }

// planMost bounds a plan: it is made anew when it is done.
const planMost = 64

// Plan says what would even things out, in the order in which it is best done: first copies that are missing, then copies on
// nodes that drain or may not hold them, then two copies in one zone while another has none, then load, then leaders. It
// changes nothing, and of a state that is even it says nothing. Nodes that are away get nothing.
func (s *State) Plan(loads map[uint16]Load, away ...uint32) (list []Proposal) {
	w := s.workbench(loads, away...)
	list = append(list, w.repair()...)
	list = append(list, w.grow()...)
	list = append(list, w.evict()...)
	list = append(list, w.spread()...)
	list = append(list, w.even()...)
	list = append(list, w.lead()...)
	return list[:min(len(list), planMost)]
}

// Urgent is the part of [State.Plan] that only does what somebody has asked for: it costs little.
func (s *State) Urgent(loads map[uint16]Load, away ...uint32) []Proposal {
	w := s.workbench(loads, away...)
	list := append(w.repair(), w.grow()...)
	list = append(list, w.evict()...)
	return list[:min(len(list), planMost)]
}

// Leaders is the part of [State.Plan] that evens out who leads.
func (s *State) Leaders(loads map[uint16]Load, away ...uint32) []Proposal {
	return s.workbench(loads, away...).lead()
}

// bench is a copy of the placement on which a plan is tried.
type bench struct {
	s      *State
	loads  map[uint16]Load
	nodes  []uint32                   // that may get something
	on     map[uint16]map[uint32]bool // shard → nodes
	weight map[uint32]float64         // node → load of what it holds, by its weight
	shards []uint16
	moved  map[uint16]bool // by this plan, or about to be by a job: one move a shard at a time
}

func (s *State) workbench(loads map[uint16]Load, away ...uint32) *bench {
	w := &bench{s: s, loads: loads, on: map[uint16]map[uint32]bool{}, weight: map[uint32]float64{}, moved: map[uint16]bool{}}
	for _, id := range slices.Sorted(maps.Keys(s.Nodes)) {
		if n := s.Nodes[id]; n.Phase == Up && n.Roles.Shard && n.Weight > 0 && !slices.Contains(away, id) {
			w.nodes = append(w.nodes, id)
		}
	}
	for _, j := range s.Jobs {
		if j.Step != Ended {
			w.moved[j.Shard] = true
		}
	}
	w.shards = slices.Sorted(maps.Keys(s.Shards))
	for _, id := range w.shards {
		w.on[id] = map[uint32]bool{}
		for _, r := range s.Shards[id].Replicas {
			w.put(id, r.Node)
		}
	}
	return w
}

func (w *bench) put(shard uint16, node uint32) {
	w.on[shard][node] = true
	w.weight[node] += w.cost(shard, node)
}

func (w *bench) take(shard uint16, node uint32) {
	delete(w.on[shard], node)
	w.weight[node] -= w.cost(shard, node)
}

func (w *bench) cost(shard uint16, node uint32) float64 {
	return w.loads[shard].weigh() * 100 / float64(w.can(node))
}

// can is how much a node takes beside the others; 100 is usual.
func (w *bench) can(node uint32) int {
	if n := w.s.Nodes[node]; n != nil && n.Weight > 0 {
		return n.Weight
	}
	return 100
}

// compare tells whether so many shards that node a leads are less for it (below zero) than so many are for b, the same, or more.
func (w *bench) compare(leadsA int, a uint32, leadsB int, b uint32) int {
	return cmp.Compare(leadsA*w.can(b), leadsB*w.can(a))
}

// move tries a move.
func (w *bench) move(shard uint16, from, to uint32) {
	w.take(shard, from)
	w.put(shard, to)
	w.moved[shard] = true
}

// moving tells whether a job, or this plan, has its hands on a shard.
func (w *bench) moving(shard uint16) bool { return w.moved[shard] }

// target returns the best node for another copy of a shard, not counting what is on without; 0 for none.
func (w *bench) target(shard uint16, without uint32) uint32 {
	p := w.s.Placements[w.s.Shards[shard].Placement]
	zones := map[string]int{}
	for node := range w.on[shard] {
		if node != without && w.s.Nodes[node] != nil {
			zones[w.s.Nodes[node].Zone]++
		}
	}
	var best uint32
	better := func(a, b uint32) bool {
		za, zb := zones[w.s.Nodes[a].Zone], zones[w.s.Nodes[b].Zone]
		if za != zb {
			return za < zb
		}
		return w.weight[a]+w.cost(shard, a) < w.weight[b]+w.cost(shard, b)
	}
	for _, id := range w.nodes {
		if w.on[shard][id] || !p.allowed(w.s.Nodes[id]) {
			continue
		}
		if best == 0 || better(id, best) {
			best = id
		}
	}
	return best
}

// best returns the node for another replica of sh: that of a plan without loads.
func (s *State) best(sh *Shard, _ *Placement, loads map[uint16]Load) uint32 {
	return s.workbench(loads).target(sh.ID, 0)
}

// Leaving is what a node that drains has left to give away, besides its connections. What nobody else could take is not in it.
type Leaving struct {
	Leads int `json:"leads"` // shards that it leads and another could
	Holds int `json:"holds"` // replicas that another could take, or takes just now
}

// Leaving tells what a node has left to give away if it drains. leaders says who leads which shard; nodes that are away get nothing.
func (s *State) Leaving(node uint32, leaders map[uint16]uint32, away ...uint32) (l Leaving) {
	w := s.workbench(nil, away...)
	for _, shard := range w.shards {
		if !w.on[shard][node] {
			continue
		}
		if w.moving(shard) || w.target(shard, node) != 0 {
			l.Holds++
		}
		if leaders[shard] == node && slices.ContainsFunc(w.nodes, func(to uint32) bool {
			r := s.Shards[shard].On(to)
			return to != node && r != nil && !r.Learner
		}) {
			l.Leads++
		}
	}
	return l
}

// repair replaces copies on nodes that are gone.
func (w *bench) repair() (list []Proposal) {
	for _, shard := range w.shards {
		for _, node := range slices.Sorted(maps.Keys(w.on[shard])) {
			if n := w.s.Nodes[node]; n != nil && n.Phase != Gone || w.moving(shard) {
				continue
			}
			if to := w.target(shard, node); to != 0 {
				w.move(shard, node, to)
				list = append(list, Proposal{Shard: shard, From: node, To: to, Cause: Repair, Why: fmt.Sprintf("node %d is gone", node)})
			}
		}
	}
	return list
}

// grow adds copies that are missing, as far as that makes their number odd: two of two are no majority without both.
func (w *bench) grow() (list []Proposal) {
	for _, shard := range w.shards {
		p := w.s.Placements[w.s.Shards[shard].Placement]
		have, free := len(w.on[shard]), 0
		for _, id := range w.nodes {
			if !w.on[shard][id] && p.allowed(w.s.Nodes[id]) {
				free++
			}
		}
		want := min(p.Copies, have+free)
		want -= (want + 1) % 2
		if have >= want || w.moving(shard) {
			continue
		}
		to := w.target(shard, 0)
		w.put(shard, to)
		w.moved[shard] = true
		list = append(list, Proposal{Shard: shard, To: to, Cause: Grow, Why: fmt.Sprintf("%d copies of %d", have, p.Copies)})
	}
	return list
}

// evict moves copies from nodes that drain, or that lack a label.
func (w *bench) evict() (list []Proposal) {
	for _, shard := range w.shards {
		p := w.s.Placements[w.s.Shards[shard].Placement]
		for _, node := range slices.Sorted(maps.Keys(w.on[shard])) {
			n := w.s.Nodes[node]
			if n == nil || n.Phase == Gone || p.allowed(n) || w.moving(shard) {
				continue
			}
			why := fmt.Sprintf("node %s drains", n.Name)
			if n.Phase == Up {
				why = fmt.Sprintf("node %s may not hold placement %s", n.Name, p.Name)
			}
			if to := w.target(shard, node); to != 0 {
				w.move(shard, node, to)
				list = append(list, Proposal{Shard: shard, From: node, To: to, Cause: Drain, Why: why})
			}
		}
	}
	return list
}

// spread moves one of two copies in a zone to a zone that has none.
func (w *bench) spread() (list []Proposal) {
	for _, shard := range w.shards {
		if w.moving(shard) {
			continue
		}
		zones := map[string][]uint32{}
		for _, node := range slices.Sorted(maps.Keys(w.on[shard])) {
			if n := w.s.Nodes[node]; n != nil {
				zones[n.Zone] = append(zones[n.Zone], node)
			}
		}
		for _, zone := range slices.Sorted(maps.Keys(zones)) {
			if len(zones[zone]) < 2 {
				continue
			}
			from := zones[zone][0]
			for _, node := range zones[zone] {
				if w.weight[node] > w.weight[from] {
					from = node
				}
			}
			to := w.target(shard, from)
			if to == 0 || len(zones[w.s.Nodes[to].Zone]) > 0 {
				continue
			}
			w.move(shard, from, to)
			list = append(list, Proposal{Shard: shard, From: from, To: to, Cause: Zones, Why: fmt.Sprintf("zone %q has two copies and zone %q none", zone, w.s.Nodes[to].Zone)})
			break
		}
	}
	return list
}

// evenEnough is by how much of the mean two nodes may differ before a copy is worth moving.
const evenEnough = 0.1

// even moves copies from the heaviest node to lighter ones, as long as that makes the two more alike.
func (w *bench) even() (list []Proposal) {
	for range planMost {
		shard, from, to := w.step()
		if to == 0 {
			return list
		}
		why := fmt.Sprintf("node %s carries %.0f, node %s %.0f", w.s.Nodes[from].Name, w.weight[from], w.s.Nodes[to].Name, w.weight[to])
		w.move(shard, from, to)
		list = append(list, Proposal{Shard: shard, From: from, To: to, Cause: Even, Why: why})
	}
	return list
}

// step finds the move that helps most, of those from the heaviest node that any move helps.
func (w *bench) step() (shard uint16, from, to uint32) {
	total := 0.0
	for _, id := range w.nodes {
		total += w.weight[id]
	}
	heaviest := slices.Clone(w.nodes)
	slices.SortStableFunc(heaviest, func(a, b uint32) int { return cmp.Compare(w.weight[b], w.weight[a]) })
	for _, a := range heaviest {
		var mine []uint16
		for _, id := range w.shards {
			if w.on[id][a] && !w.moving(id) {
				mine = append(mine, id)
			}
		}
		gain := 0.0
		for _, b := range w.nodes {
			gap := w.weight[a] - w.weight[b]
			if gap <= evenEnough*total/float64(len(w.nodes)) {
				continue
			}
			for _, id := range mine {
				after := gap - w.cost(id, a) - w.cost(id, b)
				if g := gap - max(after, -after); g > gain+1e-9 && !w.on[id][b] && w.fits(id, a, b) {
					shard, from, to, gain = id, a, b, g
				}
			}
		}
		if to != 0 {
			return shard, from, to
		}
	}
	return 0, 0, 0
}

// fits tells whether a copy may go from a to b without putting two into one zone that were apart.
func (w *bench) fits(shard uint16, a, b uint32) bool {
	if !w.s.Placements[w.s.Shards[shard].Placement].allowed(w.s.Nodes[b]) {
		return false
	}
	if w.s.Nodes[a].Zone == w.s.Nodes[b].Zone {
		return true
	}
	for node := range w.on[shard] {
		if node != a && w.s.Nodes[node] != nil && w.s.Nodes[node].Zone == w.s.Nodes[b].Zone {
			return false
		}
	}
	return true
}

// lead evens out the number of shards that the nodes lead, by their weights, and lets those that drain lead none that another can.
func (w *bench) lead() (list []Proposal) {
	leads := map[uint32]int{}
	leader := map[uint16]uint32{}
	for _, id := range w.shards {
		if l := w.loads[id].Leader; l != 0 {
			leads[l]++
			leader[id] = l
		}
	}
	for range planMost {
		moved := false
		for _, id := range w.shards {
			from := leader[id]
			if from == 0 || w.moving(id) {
				continue
			}
			drains := w.s.Nodes[from] != nil && w.s.Nodes[from].Phase == Draining
			if !drains && w.s.Shards[id].Chosen == from {
				continue // an operator wants it so
			}
			best := uint32(0)
			for _, to := range w.nodes {
				r := w.s.Shards[id].On(to)
				if to == from || r == nil || r.Learner || !w.on[id][to] || !drains && w.compare(leads[to]+1, to, leads[from], from) >= 0 {
					continue
				}
				if best == 0 || w.compare(leads[to]+1, to, leads[best]+1, best) < 0 {
					best = to
				}
			}
			if best == 0 {
				continue
			}
			cause, why := Leading, fmt.Sprintf("node %d leads %d shards, node %d %d", from, leads[from], best, leads[best])
			if a, b := w.can(from), w.can(best); a != b {
				why += fmt.Sprintf(", and they weigh %d and %d", a, b)
			}
			if drains {
				cause, why = Drain, fmt.Sprintf("node %s drains", w.s.Nodes[from].Name)
			}
			leads[from]--
			leads[best]++
			leader[id] = best
			moved = true
			list = append(list, Proposal{Shard: id, From: from, To: best, Lead: true, Cause: cause, Why: why})
		}
		if !moved {
			return list
		}
	}
	return list
}
