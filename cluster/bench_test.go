package cluster

import (
	"fmt"
	"testing"
)

// large is a cluster of 10 nodes and 1,024 shards, and what the shards cost.
func large(b *testing.B) (*State, map[uint16]Load) {
	b.Helper()
	s := New()
	for i := range 9 {
		if _, err := s.Join(Node{Name: fmt.Sprint("n", i), Addr: "x:1", Zone: fmt.Sprint("z", i%3), Roles: Roles{Shard: true}}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Place(Placement{Name: Main, Copies: 3}, 1024); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Join(Node{Name: "late", Addr: "x:1", Zone: "z1", Roles: Roles{Shard: true}}); err != nil {
		b.Fatal(err)
	}
	loads := map[uint16]Load{}
	for id, sh := range s.Shards {
		loads[id] = Load{Bytes: uint64(id%37) << 20, Rate: float64(id % 11), Leader: sh.Replicas[0].Node}
	}
	return s, loads
}

func BenchmarkPlan(b *testing.B) {
	s, loads := large(b)
	for b.Loop() {
		s.Plan(loads)
	}
}

func BenchmarkUrgent(b *testing.B) {
	s, loads := large(b)
	for b.Loop() {
		s.Urgent(loads)
	}
}

func BenchmarkLeaders(b *testing.B) {
	s, loads := large(b)
	for b.Loop() {
		s.Leaders(loads)
	}
}

func BenchmarkLoad(b *testing.B) {
	s, _ := large(b)
	rows := map[string][]byte{}
	s.Rows(func(k string, v []byte) { rows[k] = v })
	for b.Loop() {
		again := New()
		for k, v := range rows {
			if err := again.Load(k, v); err != nil {
				b.Fatal(err)
			}
		}
	}
}
