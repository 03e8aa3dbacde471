package session

import (
	"testing"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

func TestWatched(t *testing.T) {
	s := &State{
		Tenant: "demo", Shop: "s1", Queue: "refunds", Channels: []string{"web", "app"}, Phase: Assigned, Owner: Owner{Worker: "bob"},
		Past: []Past{{"bot", 4}},
	}
	f := func(who string, scope *wirepb.Scope, e wire.Entry, want bool) {
		t.Helper()
		if got := s.Watched(principal(who), scope, &e); got != want {
			t.Errorf("%s watching %v sees %+v: %v; want %v", who, scope, e, got, want)
		}
	}
	public, staff := wire.Entry{Seq: 3, Visibility: wire.Public, Channel: "web"}, wire.Entry{Seq: 5, Kind: wire.KindEvent, Visibility: wire.Staff, Channel: "web"}
	f("sue", nil, public, true)
	f("sue", nil, staff, true)
	f("service", nil, public, true)
	f("service", nil, staff, false)
	f("shopsue", nil, public, false)
	f("mallory", nil, public, false)
	f("sue", &wirepb.Scope{Shop: "s1"}, public, true)
	f("sue", &wirepb.Scope{Shop: "s2"}, public, false)
	f("sue", &wirepb.Scope{Queue: "refunds"}, staff, true)
	f("sue", &wirepb.Scope{Queue: "default"}, staff, false)
	f("sue", &wirepb.Scope{Channel: "web"}, public, true)
	f("sue", &wirepb.Scope{Channel: "app"}, public, false)
	f("sue", &wirepb.Scope{Channel: "app"}, staff, true) // an event belongs to all channels of its session
	f("sue", &wirepb.Scope{Channel: "email"}, staff, false)
	f("sue", &wirepb.Scope{Worker: "bob"}, staff, true)
	f("sue", &wirepb.Scope{Worker: "bot"}, public, true)
	f("sue", &wirepb.Scope{Worker: "bot"}, staff, false) // said after it was revoked
	f("sue", &wirepb.Scope{Worker: "ann"}, public, false)
}
