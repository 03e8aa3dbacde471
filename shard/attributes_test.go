package shard

import (
	"fmt"
	"strings"
	"testing"

	"switchboard/wire"
)

func TestAttributesOf(t *testing.T) {
	f := func(m *wire.Task, want string) {
		t.Helper()
		if got := fmt.Sprint(attributesOf(m)); got != want {
			t.Errorf("%.200s has %s; want %s", m.Attributes, got, want)
		}
	}
	f(&wire.Task{}, "[]")
	f(&wire.Task{Queue: "q", Shop: "s1", Tier: "gold", Channel: "web", Sticky: "ann", Attributes: []byte(`{"vip":true,"tier":"none","z":[1,2],"deep":{"a":1}}`)},
		`[{channel 'web'} {last_worker 'ann'} {queue 'q'} {shop 's1'} {tier 'gold'} {vip true} {z [1, 2]}]`)
	f(&wire.Task{Attributes: []byte(`{"shop":"s2"}`)}, `[{shop 's2'}]`)
	// What is no object, or too much, is nothing to routing; what the broker knows stays.
	f(&wire.Task{Shop: "s1", Attributes: []byte(`[1]`)}, `[{shop 's1'}]`)
	f(&wire.Task{Shop: "s1", Attributes: []byte(`{"a":"` + strings.Repeat("x", 20<<10) + `"}`)}, `[{shop 's1'}]`)
}

func TestTraitsOf(t *testing.T) {
	f := func(who wire.Principal, want string) {
		t.Helper()
		if got := fmt.Sprint(traitsOf(&who)); got != want {
			t.Errorf("%s has %s; want %s", who.Able().Attributes, got, want)
		}
	}
	f(wire.Principal{}, "[]")
	f(wire.Principal{Shop: "s1"}, `[{shops ['s1']}]`)
	f(wire.Principal{Shop: "s1", Ability: &wire.Ability{Attributes: []byte(`{"shops":["s2","s1"],"level":0.5,"kind":"human","teams":["a"]}`)}}, `[{level 0.5} {shops ['s1', 's2']}]`)
	f(wire.Principal{Ability: &wire.Ability{Attributes: []byte(`{"level":`)}}, "[]")
}
