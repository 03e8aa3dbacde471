package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A tenant gets a home once, and who asks again, or for another, is told.
func TestSettle(t *testing.T) {
	s := with(t, 2, 1, "a z1 region=us", "b z1 region=eu")
	f := func(err error, words string) {
		t.Helper()
		if words == "" && err != nil || words != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), words)) {
			t.Fatalf("got %v; want a refusal with %q", err, words)
		}
	}
	home := func(tenant, want string) {
		t.Helper()
		got := ""
		if p := s.Of(tenant); p != nil {
			got = p.Name
		}
		if got != want {
			t.Fatalf("tenant %s lives in %q; want %q", tenant, got, want)
		}
	}
	f(s.Settle(map[string]string{"demo": "", "haus": "eu"}), "placement eu, which there is not")
	home("demo", "")
	f(s.Settle(map[string]string{"demo": ""}), "")
	home("demo", Main)
	eu := Placement{Name: "eu", Copies: 1, Require: map[string]string{"region": "eu"}, Tenants: []string{"zoo", "haus", "zoo"}}
	f(s.Place(Placement{Name: "eu", Copies: 1, Tenants: []string{"demo"}}, 1), "lives in placement main")
	if nodes, err := s.Placeable(eu, 2); err != nil || !slices.Equal(nodes, []uint32{2}) {
		t.Fatalf("eu may be on %v, %v", nodes, err)
	}
	f(s.Place(eu, 2), "")
	home("haus", "eu")
	home("zoo", "eu")
	if p := s.Placements["eu"]; p.Group != 1 || !slices.Equal(p.Shards, []uint16{2, 3}) || !slices.Equal(p.Tenants, []string{"haus", "zoo"}) {
		t.Fatalf("%+v", p)
	}
	version := s.Version
	s.Rows(func(string, []byte) {})
	f(s.Settle(map[string]string{"demo": "", "haus": "eu", "zoo": ""}), "") // again
	f(s.Assign("eu", "haus"), "")
	s.Rows(func(key string, _ []byte) { t.Fatalf("row %s has changed", key) })
	if s.Version != version+1 {
		t.Fatalf("version %d after %d", s.Version, version)
	}
	f(s.Settle(map[string]string{"new": "", "haus": Main}), "lives in placement eu")
	home("new", "")
	f(s.Assign("eu", "new", "demo"), "lives in placement main")
	home("new", "")
	f(s.Assign("mars", "new"), "no placement mars")
	f(s.Assign("eu", "new"), "")
	home("new", "eu")
	f(s.Place(Placement{Name: "a/b", Copies: 1}, 1), "slash")

	n := *s.Nodes[2]
	n.Labels = map[string]string{"region": "us"}
	if got := s.Misplaced("eu"); len(got) != 0 {
		t.Fatalf("misplaced: %v", got)
	}
	s.Describe(2, n)
	if got := s.Misplaced("eu"); !slices.Equal(got, []uint32{2}) {
		t.Fatalf("misplaced: %v", got)
	}
}

// A placement is told to be elsewhere: it is refused when there is too little there, and moved by the next plans otherwise.
func TestRequire(t *testing.T) {
	s := with(t, 4, 3, "a z1 region=us", "b z2 region=us", "c z3 region=us", "d z1 region=eu", "e z2 region=eu", "f z3 region=eu")
	f := func(err error, words string) {
		t.Helper()
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), words) {
			t.Fatalf("got %v; want a refusal with %q", err, words)
		}
	}
	eu := map[string]string{"region": "eu"}
	f(s.Require("mars", eu), "no placement mars")
	f(s.Require(Main, map[string]string{"region": "xx"}), "has 3 copies, and 0 nodes")
	if nodes, err := s.Requirable(Main, eu); err != nil || !slices.Equal(nodes, []uint32{4, 5, 6}) || len(s.Placements[Main].Require) != 0 {
		t.Fatal(nodes, err)
	}
	if _, err := s.Split(0, "ann", ""); err != nil {
		t.Fatal(err)
	}
	f(s.Require(Main, eu), "is being split")
	if _, err := s.AbortSplit(0); err != nil {
		t.Fatal(err)
	}
	if err := s.Require(Main, eu); err != nil {
		t.Fatal(err)
	}
	wrong := func() (n int) {
		for _, id := range s.Placements[Main].Shards {
			for _, r := range s.Shards[id].Replicas {
				if r.Node <= 3 {
					n++
				}
			}
		}
		return n
	}
	if before := wrong(); before == 0 {
		t.Fatal("nothing is elsewhere: the test says nothing")
	}
	for range 200 { // plans are made until nothing is left to do
		for _, p := range s.Urgent(nil) {
			j, err := s.Move(p.Shard, p.From, p.To, string(p.Cause), p.Why)
			if err != nil {
				continue // too much moves there
			}
			sh := s.Shards[p.Shard]
			for i, r := range sh.Replicas {
				if r.Node == p.From {
					sh.Replicas[i] = Replica{ID: j.New, Node: p.To}
				}
			}
			j.Step, j.Result = Ended, Moved
		}
	}
	if left := wrong(); left != 0 || len(s.Misplaced(Main)) != 0 {
		t.Fatalf("%d replicas are where they may not be, on %v", left, s.Misplaced(Main))
	}
	if err := s.Require(Main, nil); err != nil {
		t.Fatal(err)
	}
	s.Rows(func(string, []byte) {})
	if err := s.Require(Main, map[string]string{}); err != nil {
		t.Fatal(err)
	}
	s.Rows(func(key string, _ []byte) { t.Fatalf("row %s has changed", key) })
}

// Whatever is asked for in whatever order, and read back from the rows: nobody has two homes, nobody moves, groups are told apart, and
// every shard is in one placement.
func TestSettleModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		rows := map[string][]byte{}
		for i := range 3 {
			if _, err := s.Join(Node{Name: fmt.Sprint("n", i), Addr: "x:1", Roles: Roles{Shard: true}, Labels: map[string]string{"region": []string{"eu", "us"}[i%2]}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Place(Placement{Name: Main, Copies: 1}, 2); err != nil {
			t.Fatal(err)
		}
		homes := map[string]string{}
		tenant := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		place := rapid.SampledFrom([]string{"", Main, "eu", "us", "xx"})
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				name := place.Draw(t, "name")
				_ = s.Place(Placement{Name: name, Copies: 1, Require: map[string]string{"region": name}, Tenants: rapid.SliceOfN(tenant, 0, 3).Draw(t, "tenants")}, 2)
			case 1:
				_ = s.Assign(place.Draw(t, "to"), rapid.SliceOfN(tenant, 1, 3).Draw(t, "tenants")...)
			case 2:
				_ = s.Settle(rapid.MapOfN(tenant, place, 0, 3).Draw(t, "wishes"))
			}
			s.Rows(func(key string, value []byte) { rows[key] = value })
			back := New()
			for key, value := range rows {
				if err := back.Load(key, value); err != nil {
					t.Fatal(err)
				}
			}
			s = back
			count, groups := map[string]int{}, map[uint8]bool{}
			for _, p := range s.Placements {
				if groups[p.Group] || (p.Group == 0) != (p.Name == Main) {
					t.Fatalf("placement %s has group %d", p.Name, p.Group)
				}
				groups[p.Group] = true
				for _, name := range p.Tenants {
					count[name]++
					if homes[name] != "" && homes[name] != p.Name {
						t.Fatalf("%s has moved from %s to %s", name, homes[name], p.Name)
					}
					homes[name] = p.Name
				}
				for _, id := range p.Shards {
					if s.Shards[id].Placement != p.Name {
						t.Fatalf("shard %d is in %s and in %s", id, p.Name, s.Shards[id].Placement)
					}
				}
			}
			for name, home := range homes {
				if count[name] != 1 || s.Of(name).Name != home {
					t.Fatalf("%s has %d homes", name, count[name])
				}
			}
		}
	})
}
