package session

import (
	"reflect"
	"strconv"
	"testing"

	"switchboard/wire"
)

func TestCustomer(t *testing.T) {
	c := Customer{Tenant: "demo", ID: "alice", Born: 3}
	if c.Latest("s1") != "" {
		t.Fatal("a session that never was")
	}
	if !c.SetLatest("s1", "s_1") || !c.SetLatest("", "s_2") || !c.SetLatest("s1", "s_3") {
		t.Fatal("no room")
	}
	if c.Latest("s1") != "s_3" || c.Latest("") != "s_2" || len(c.Shops) != 2 {
		t.Fatalf("latest %v", c.Shops)
	}
	row := AppendCustomer(nil, &c)
	var got Customer
	if err := ParseCustomer(row, &got); err != nil || !reflect.DeepEqual(got, c) {
		t.Fatalf("got %+v, %v; want %+v", got, err, c)
	}
	for i := range row {
		if ParseCustomer(row[:i], &Customer{}) == nil {
			t.Fatalf("%d of %d bytes are a customer", i, len(row))
		}
	}
	if ParseCustomer(append(row, 0), &Customer{}) == nil {
		t.Fatal("a byte too many is a customer")
	}
}

// What one customer makes us remember is bounded; what is there can still change.
func TestCustomerShops(t *testing.T) {
	var c Customer
	for i := range maxShops {
		if !c.SetLatest(strconv.Itoa(i), "s") {
			t.Fatalf("no room for shop %d", i)
		}
	}
	if c.SetLatest("one more", "s") || len(c.Shops) != maxShops {
		t.Fatal("a shop too many")
	}
	if !c.SetLatest("7", "s_new") || c.Latest("7") != wire.SessionID("s_new") {
		t.Fatal("a known shop found no room")
	}
}

func TestCustomerLink(t *testing.T) {
	c := Customer{ID: "visitor"}
	if c.Link("visitor") || c.Alias != "" {
		t.Fatal("he is his own alias")
	}
	for range 2 {
		if !c.Link("alice") {
			t.Fatal("a link that does not hold")
		}
	}
	if c.Link("bob") || c.Alias != "alice" {
		t.Fatal("the second writer won")
	}
}

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
