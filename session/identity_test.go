package session

import (
	"encoding/hex"
	"strconv"
	"testing"

	"switchboard/wire"
)

// [SW-5a.6] An external id is who it was first.
func TestIdentity(t *testing.T) {
	i := Identity{Tenant: "demo", Channel: "wechat", External: "wx_1"}
	if i.Claim("alice") != "alice" || i.Claim("bob") != "alice" {
		t.Fatal("the first writer did not win")
	}
	row := AppendIdentity(nil, &i)
	var got Identity
	if err := ParseIdentity(row, &got); err != nil || got != i {
		t.Fatalf("got %+v, %v; want %+v", got, err, i)
	}
	for n := range row {
		if ParseIdentity(row[:n], &got) == nil {
			t.Fatalf("%d of %d bytes are an identity", n, len(row))
		}
	}
	if ParseIdentity(append(row, 0), &got) == nil {
		t.Fatal("a byte too many is an identity")
	}
}

// Rows of identities and the names of newcomers never change: they are in data directories.
func TestIdentityGolden(t *testing.T) {
	i := Identity{Tenant: "demo", Channel: "wechat", External: "wx_1", Customer: "alice"}
	if got, want := hex.EncodeToString(AppendIdentity(nil, &i)), "010464656d6f067765636861740477785f3105616c696365"; got != want {
		t.Errorf("row %s; want %s", got, want)
	}
	if got, want := i.Newcomer(), "x_yqz4ge4pz4egpnb1s92598cx9m"; got != want || !wire.ValidID(got) {
		t.Errorf("newcomer %s; want %s", got, want)
	}
	others := map[string]bool{}
	for _, o := range []Identity{
		i,
		{Tenant: "demo", Channel: "wechat", External: "wx_2"},
		{Tenant: "demo2", Channel: "wechat", External: "wx_1"},
		{Tenant: "demo", Channel: "email", External: "wx_1"},
		{Tenant: "demo", Channel: "we", External: "chat\x00wx_1"},
	} {
		others[o.Newcomer()] = true
	}
	if len(others) != 5 {
		t.Errorf("five external ids are %d customers", len(others))
	}
}

func TestCustomerKnows(t *testing.T) {
	var c Customer
	for i := range maxIdentities {
		if changed, ok := c.Know("web", strconv.Itoa(i)); !changed || !ok {
			t.Fatalf("no room for identity %d", i)
		}
	}
	if changed, ok := c.Know("web", "7"); changed || !ok {
		t.Error("a known identity found no room")
	}
	if changed, ok := c.Know("app", "7"); changed || ok || len(c.Identities) != maxIdentities {
		t.Error("an identity too many")
	}
}
