package cluster

import (
	"maps"
	"slices"
	"strings"
)

// Placement is a set of shards that live by the same rules. The keys of its tenants hash to its slots, and these to its shards.
type Placement struct {
	Name string `json:"name"`
	// Group tells its slots and the ids of its sessions from those of others: 0 for Main. It is given once.
	Group   uint8             `json:"group,omitempty"`
	Shards  []uint16          `json:"shards"`
	Copies  int               `json:"copies"` // replicas that vote, as far as there are nodes
	Require map[string]string `json:"require,omitempty"`
	// Tenants are those who live here, ascending. A tenant is here for good from the moment that he is named.
	Tenants []string `json:"tenants,omitempty"`

	// Base is how many shards the placement was made with: slot i of 4,096 is on Shards[i mod Base], unless Parts has it. 0 is all.
	Base int `json:"base,omitempty"`
	// Parts has the slots of shards that were split off others, ascending.
	Parts map[uint16][]uint16 `json:"parts,omitempty"`
	// Parents has, for each of these shards, the one that it was split off.
	Parents map[uint16]uint16 `json:"parents,omitempty"`
	// Shape counts what has happened to Shards, Parts and Split. A shard is never opened by an older shape than before.
	Shape uint64 `json:"shape,omitempty"`
	// Split is the shard that is being split, or the last that was.
	Split *Split `json:"split,omitempty"`
	// Left are shards from which slots have gone whose rows are on their disks still.
	Left map[uint16]Leftover `json:"left,omitempty"`
}

// alone says what to do instead of moving a tenant.
const alone = ". One tenant alone does not move. Change the labels of his placement (switchboard placements require), which moves everybody who lives there; or give him another name in the other placement, let what is open end, and erase his customers here"

// Main is the placement of everybody who has none of his own.
const Main = "main"

// groupsMost is how many placements there may be: of the 256 groups the last is nobody's, and that before it has the addresses of shards.
const groupsMost = 254

// Place makes a placement with so many shards of so many copies each, on nodes that have the labels, and puts the first
// replicas where there is least. Its tenants must live nowhere yet.
func (s *State) Place(p Placement, shards int) error {
	if err := s.placeable(&p, shards); err != nil {
		return err
	}
	p.Shards, p.Group, p.Base, p.Parts, p.Parents, p.Shape, p.Split, p.Left = nil, s.nextGroup(), shards, nil, nil, 0, nil, nil
	p.Require = maps.Clone(p.Require)
	p.Tenants = slices.Compact(slices.Sorted(slices.Values(p.Tenants)))
	s.Placements[p.Name] = &p
	for range shards {
		sh := &Shard{ID: s.lastShard, Placement: p.Name, Epoch: 1}
		s.lastShard++
		s.Shards[sh.ID] = sh
		for range p.Copies {
			to := s.best(sh, &p, nil)
			sh.Replicas = append(sh.Replicas, s.replica(to, false))
		}
		p.Shards = append(p.Shards, sh.ID)
		s.touch(rowShard, uint64(sh.ID))
	}
	s.dirty[rowPlacement+p.Name] = struct{}{}
	return nil
}

// Placeable says why [State.Place] would refuse, or nil, and returns the nodes that may hold the placement. It changes nothing.
func (s *State) Placeable(p Placement, shards int) (nodes []uint32, err error) {
	return s.Eligible(&p), s.placeable(&p, shards)
}

// Eligible returns the nodes that may hold replicas of p, ascending.
func (s *State) Eligible(p *Placement) (nodes []uint32) {
	for _, n := range s.eligible(p) {
		nodes = append(nodes, n.ID)
	}
	return nodes
}

func (s *State) placeable(p *Placement, shards int) error {
	switch {
	case p.Name == "" || strings.Contains(p.Name, "/"):
		return refuse("a placement needs a name, without a slash")
	case s.Placements[p.Name] != nil:
		return refuse("there is a placement %s already", p.Name)
	case !CopiesAllowed(p.Copies):
		return refuse("placement %s wants %d copies: an odd number up to 7, as a majority decides", p.Name, p.Copies)
	case shards < 1 || shards > 1024:
		return refuse("placement %s wants %d shards: 1 to 1024", p.Name, shards)
	case len(s.Placements) >= groupsMost:
		return refuse("there are %d placements: that is all that session ids can tell apart", len(s.Placements))
	}
	for _, t := range p.Tenants {
		if other := s.Of(t); other != nil {
			return refuse("tenant %s lives in placement %s, and stays there: a tenant is given a placement before his first start"+alone, t, other.Name)
		}
	}
	nodes := s.eligible(p)
	if len(nodes) < p.Copies {
		return refuse("placement %s wants %s, and %s may hold them: %s", p.Name, Many(p.Copies, "copy"), Many(len(nodes), "node"), wants(p))
	}
	if int(s.lastShard)+shards > int(Meta) {
		return refuse("placement %s wants %d shards, and %d numbers are left", p.Name, shards, Meta-s.lastShard)
	}
	return nil
}

// Requirable says why [State.Require] would refuse, or nil, and returns the nodes that may hold the placement then. It changes nothing.
func (s *State) Requirable(placement string, labels map[string]string) (nodes []uint32, err error) {
	p := s.Placements[placement]
	if p == nil {
		return nil, refuse("there is no placement %s", placement)
	}
	as := *p
	as.Require = labels
	nodes = s.Eligible(&as)
	copies := 1
	for _, id := range p.Shards {
		votes := 0
		for _, r := range s.Shards[id].Replicas {
			if !r.Learner {
				votes++
			}
		}
		copies = max(copies, votes)
	}
	switch {
	case p.Split.Open():
		return nodes, refuse("in placement %s shard %d is being split: wait for it; see switchboard shards splits", p.Name, p.Split.From)
	case len(nodes) < copies:
		return nodes, refuse("placement %s has %s, and %s may hold them then: %s", p.Name, Many(copies, "copy"), Many(len(nodes), "node"), wants(&as))
	}
	return nodes, nil
}

// Require says on which nodes a placement, with all who live there, shall be from now on: those that have the labels. Plans move the replicas that are
// elsewhere; until they have, [State.Misplaced] names the nodes. It is taken back by saying what was before.
func (s *State) Require(placement string, labels map[string]string) error {
	if _, err := s.Requirable(placement, labels); err != nil {
		return err
	}
	if p := s.Placements[placement]; !maps.Equal(p.Require, labels) {
		p.Require = maps.Clone(labels)
		s.dirty[rowPlacement+placement] = struct{}{}
	}
	return nil
}

// nextGroup returns a group that no placement has had: they are never taken away.
func (s *State) nextGroup() (next uint8) {
	for _, p := range s.Placements {
		next = max(next, p.Group+1)
	}
	return next
}

// Assign makes placement the home of tenants, each of whom lives there already or nowhere. When one is refused, none is assigned.
func (s *State) Assign(placement string, tenants ...string) error {
	p := s.Placements[placement]
	if p == nil {
		return refuse("there is no placement %s: make it first, with switchboard placements create %s", placement, placement)
	}
	list := slices.Clone(p.Tenants)
	for _, t := range tenants {
		switch home := s.Of(t); {
		case t == "":
			return refuse("a tenant needs a name")
		case home == nil:
			list = append(list, t)
		case home != p:
			return refuse("tenant %s lives in placement %s, and stays there"+alone, t, home.Name)
		}
	}
	slices.Sort(list)
	if list = slices.Compact(list); !slices.Equal(list, p.Tenants) {
		p.Tenants = list
		s.dirty[rowPlacement+placement] = struct{}{}
	}
	return nil
}

// Settle gives everybody of wishes a home who has none: the placement that he wishes, or without a wish main. It refuses, and settles
// nobody, when a wish names a placement that is not there, or another one than where the tenant lives.
func (s *State) Settle(wishes map[string]string) error {
	homes := map[string][]string{}
	for t, wish := range wishes {
		home := s.Of(t)
		switch {
		case home == nil && wish == "":
			wish = Main
		case home != nil && wish == "":
			continue
		case home != nil && home.Name != wish:
			return refuse("tenant %s lives in placement %s, and stays there; the configuration says %s"+alone, t, home.Name, wish)
		}
		if s.Placements[wish] == nil {
			return refuse("tenant %s shall live in placement %s, which there is not: make it first, with switchboard placements create %s", t, wish, wish)
		}
		homes[wish] = append(homes[wish], t)
	}
	for _, name := range slices.Sorted(maps.Keys(homes)) {
		if err := s.Assign(name, homes[name]...); err != nil {
			return err
		}
	}
	return nil
}

// Of returns the placement that a tenant lives in, nil when he lives nowhere yet.
func (s *State) Of(tenant string) *Placement {
	for _, p := range s.Placements {
		if _, ok := slices.BinarySearch(p.Tenants, tenant); ok {
			return p
		}
	}
	return nil
}

// Misplaced returns the nodes that hold replicas of a placement, and may not: they drain, lack a label, or are gone. A plan moves
// these replicas as soon as there is a node that may hold them.
func (s *State) Misplaced(placement string) (list []uint32) {
	p := s.Placements[placement]
	if p == nil {
		return nil
	}
	nodes := map[uint32]bool{}
	for _, id := range p.Shards {
		for _, r := range s.Shards[id].Replicas {
			if n := s.Nodes[r.Node]; n == nil || !p.allowed(n) {
				nodes[r.Node] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(nodes))
}

// Holds tells whether a node has replicas of a placement, or may have them.
func (s *State) Holds(placement string, node uint32) bool {
	p, n := s.Placements[placement], s.Nodes[node]
	if p == nil || n == nil {
		return false
	}
	return p.allowed(n) || slices.ContainsFunc(p.Shards, func(id uint16) bool { return s.Shards[id].On(node) != nil })
}

func wants(p *Placement) string {
	if len(p.Require) == 0 {
		return "start more nodes with the role shard"
	}
	var list []string
	for _, k := range slices.Sorted(maps.Keys(p.Require)) {
		list = append(list, k+"="+p.Require[k])
	}
	return "nodes with the role shard and the labels " + strings.Join(list, ", ")
}

// allowed tells whether a node may hold replicas of p.
func (p *Placement) allowed(n *Node) bool {
	if !n.Roles.Shard || n.Phase != Up || n.Weight == 0 {
		return false
	}
	for k, v := range p.Require {
		if n.Labels[k] != v {
			return false
		}
	}
	return true
}

// eligible returns the nodes that may hold replicas of p, in order of their numbers.
func (s *State) eligible(p *Placement) (list []*Node) {
	for _, id := range slices.Sorted(maps.Keys(s.Nodes)) {
		if n := s.Nodes[id]; p.allowed(n) {
			list = append(list, n)
		}
	}
	return list
}
