package main

import (
	"strings"
	"testing"

	"switchboard/cluster"
	"switchboard/cluster/member"
)

// A node that has lost the majority tells what it knew last: a shard whose leader is away is one without a leader.
func TestLeadersThatAreAway(t *testing.T) {
	node := func(id uint32, name string, up bool) member.NodeReport {
		return member.NodeReport{Node: cluster.Node{ID: id, Name: name, Phase: cluster.Up}, Up: up}
	}
	r := &member.Report{
		Node: 1, Stale: true, Nodes: []member.NodeReport{node(1, "n1", true), node(2, "n2", false)},
		Shards: []member.ShardReport{{ID: 0, Leader: 1}, {ID: 1, Leader: 2}, {ID: 2}},
	}
	var b strings.Builder
	printStatus(&b, r)
	if s := b.String(); !strings.Contains(s, "3, 2 without a leader") {
		t.Errorf("status says\n%s", s)
	}
	b.Reset()
	printShards(&b, r)
	if s := b.String(); strings.Count(s, "(away)") != 1 || !strings.Contains(s, "n2 (away)") {
		t.Errorf("shards ls says\n%s", s)
	}
}
