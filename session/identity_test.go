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

// Rows of identities never change: they are in data directories.
func TestIdentityGolden(t *testing.T) {
	i := Identity{Tenant: "demo", Channel: "wechat", External: "wx_1", Customer: "alice"}
	if got, want := hex.EncodeToString(AppendIdentity(nil, &i)), "010464656d6f067765636861740477785f3105616c696365"; got != want {
		t.Errorf("row %s; want %s", got, want)
	}
	if got, want := Newcomer([NewcomerBytes]byte{0: 0xff, 15: 1}), "x_zw000000000000000000000004"; got != want || !wire.ValidID(got) {
		t.Errorf("newcomer %s; want %s", got, want)
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
