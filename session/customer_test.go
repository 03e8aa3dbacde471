package session

import (
	"reflect"
	"strconv"
	"testing"

	"switchboard/wire"
)

func TestCustomer(t *testing.T) {
	c := Customer{
		Tenant: "demo", ID: "alice", Born: 3, Linked: true, Depth: 2, Leaving: Leaving{"bob", -7, true}, Try: 9,
		Identities: []wire.External{{Channel: "wechat", ID: "o 1"}},
	}
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

// What an older version wrote is read for ever.
func TestCustomerRowOfVersion1(t *testing.T) {
	row := []byte("\x01\x04demo\x05alice\x03bob\x03\x01\x02s1\x03s_1")
	want := Customer{Tenant: "demo", ID: "alice", Alias: "bob", Born: 3, Shops: []Latest{{"s1", "s_1"}}}
	var got Customer
	if err := ParseCustomer(row, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
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
