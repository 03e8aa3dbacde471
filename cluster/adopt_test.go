package cluster

import (
	"errors"
	"slices"
	"testing"
)

func adoptable() []*Placement {
	return []*Placement{
		{Name: Main, Shards: []uint16{0, 1, 4}, Copies: 3, Tenants: []string{"demo"}, Base: 2, Parts: map[uint16][]uint16{4: {0, 2}}, Shape: 7},
		{Name: "eu", Group: 1, Shards: []uint16{2, 3}, Copies: 1, Require: map[string]string{"region": "eu"}, Tenants: []string{"haus"}},
	}
}

func TestAdopt(t *testing.T) {
	s := New()
	id, err := s.Join(Node{Name: "a", Addr: "a:1", Birth: "a", Roles: Roles{Edge: true, Shard: true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Adopt(adoptable(), id); err != nil {
		t.Fatal(err)
	}
	again := New()
	s.Rows(func(key string, value []byte) {
		if err := again.Load(key, value); err != nil {
			t.Fatal(err)
		}
	})
	if len(again.Shards) != 5 || again.Of("haus").Name != "eu" || again.Placements[Main].Shape != 7 || !slices.Equal(again.Placements[Main].Slots(4, 4096), []int{0, 2}) {
		t.Fatalf("%+v", again)
	}
	seen := map[uint64]bool{}
	for _, sh := range again.Shards {
		if len(sh.Replicas) != 1 || sh.Replicas[0].Node != id || seen[sh.Replicas[0].ID] {
			t.Fatalf("%+v", sh)
		}
		seen[sh.Replicas[0].ID] = true
	}
	// The next shard is a new one, and what is pinned elsewhere leaves when it can.
	if err := again.Place(Placement{Name: "new", Copies: 1}, 1); err != nil || again.Placements["new"].Shards[0] != 5 || again.Placements["new"].Group != 2 {
		t.Fatalf("%+v, %v", again.Placements["new"], err)
	}
	eu, err := again.Join(Node{Name: "b", Addr: "b:1", Birth: "b", Labels: map[string]string{"region": "eu"}, Roles: Roles{Shard: true}})
	if err != nil {
		t.Fatal(err)
	}
	leaves := map[uint16]bool{}
	for _, m := range again.Plan(nil) {
		if m.To == eu && m.From == id {
			leaves[m.Shard] = true
		}
	}
	if !leaves[2] || !leaves[3] {
		t.Errorf("what belongs in eu stays: %v", leaves)
	}
	if err := s.Adopt(adoptable(), id); !errors.Is(err, ErrRefused) {
		t.Errorf("a second time: %v", err)
	}
}

func TestAdoptable(t *testing.T) {
	f := func(what string, change func(main, eu *Placement)) {
		t.Helper()
		list := adoptable()
		change(list[0], list[1])
		if err := Adoptable(list, 5); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := Adoptable(adoptable(), 5); err != nil {
		t.Fatal(err)
	}
	if err := Adoptable(adoptable(), 6); !errors.Is(err, ErrRefused) {
		t.Errorf("a shard that nobody has: %v", err)
	}
	f("a shard twice", func(_, eu *Placement) { eu.Shards[0] = 0 })
	f("a shard that is not there", func(_, eu *Placement) { eu.Shards[0] = 9 })
	f("a tenant twice", func(_, eu *Placement) { eu.Tenants[0] = "demo" })
	f("a group twice", func(_, eu *Placement) { eu.Group = 0 })
	f("a name twice", func(_, eu *Placement) { eu.Name = Main })
	f("no main", func(main, _ *Placement) { main.Name, main.Group = "other", 5 })
	f("two copies", func(main, _ *Placement) { main.Copies = 2 })
	f("a base", func(main, _ *Placement) { main.Base = 4 })
	f("slots of nobody", func(main, _ *Placement) { main.Parts[3] = []uint16{1} })
	f("no slots", func(main, _ *Placement) { main.Parts[4] = []uint16{4096} })
	f("a split", func(main, _ *Placement) { main.Split = &Split{Step: "copy"} })
}
