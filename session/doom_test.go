package session

import (
	"fmt"
	"reflect"
	"testing"

	"switchboard/wire"
)

// A row says no more of an erasure than it has to, so that the version before reads what it can; what was written is read as it was.
func TestErasedCustomerRow(t *testing.T) {
	f := func(e Erasure, version byte) {
		t.Helper()
		c := Customer{Tenant: "demo", ID: "alice", Born: 3, Shops: []Latest{}, Identities: []wire.External{}, Erasure: e}
		row := AppendCustomer(nil, &c)
		var got Customer
		if err := ParseCustomer(row, &got); err != nil || !reflect.DeepEqual(got, c) || row[0] != version {
			t.Errorf("version %d: got %+v, %v; want %+v", row[0], got, err, c)
		}
		for i := range row {
			if ParseCustomer(row[:i], &Customer{}) == nil {
				t.Errorf("%d of %d bytes are a customer", i, len(row))
			}
		}
		if ParseCustomer(append(row, 0), &Customer{}) == nil {
			t.Error("a byte too many is a customer")
		}
	}
	f(Erasure{}, 2)
	f(Erasure{Mark: "e_1", At: 5, Stage: Blanked, Sessions: 2}, 3)
	f(Erasure{Mark: "e_1", At: 5, Stage: Completed, Sessions: 2, Kin: []string{"v1", "v2"}}, 4)
}

// An erasure names each who goes with it once, himself not, and as many as there is room for.
func TestErasureKnows(t *testing.T) {
	var e Erasure
	if !e.Know("alice", []string{"v1", "alice", "v2", "v1"}) || e.Know("alice", []string{"v2", "alice"}) || !reflect.DeepEqual(e.Kin, []string{"v1", "v2"}) {
		t.Errorf("it knows %q", e.Kin)
	}
	for i := range MaxKin + 1 {
		e.Know("alice", []string{fmt.Sprint("w", i)})
	}
	if len(e.Kin) != MaxKin {
		t.Errorf("it knows %d", len(e.Kin))
	}
}

// A wish from before somebody was erased, which comes when that is over, leaves no external id with who is there then: whoever wished it is erased, too.
func TestLateWish(t *testing.T) {
	f := func(at int64, want int) {
		t.Helper()
		c := Customer{Tenant: "demo", ID: "alice"}
		c.Doom("e_1", 10)
		l := &wire.Link{Tenant: "demo", Loser: "v", Winner: "alice", Try: 1, At: at, Identities: []wire.External{{Channel: "wechat", ID: "o6"}}}
		if taken, changed := c.Take(l); taken != TakenLater || changed {
			t.Errorf("while she is being erased it is %d", taken)
		}
		c.Blank()
		if taken, _ := c.Take(l); taken != TakenExpected || len(c.Identities) != want {
			t.Errorf("wished at %d it is %d, and she has %v", at, taken, c.Identities)
		}
	}
	f(9, 0)
	f(10, 0)
	f(11, 1)
}

// Whom somebody expected before he was erased may become him afterwards: that he has is known then, or those who look for his sessions would not be asked
// who they are. Of others nothing stays [SW-7.11].
func TestExpectedAndErased(t *testing.T) {
	for _, expects := range []bool{true, false} {
		c, v := Customer{Tenant: "demo", ID: "alice", Born: 3}, Customer{Tenant: "demo", ID: "v"}
		if expects {
			if _, ok := c.Expect(); !ok {
				t.Fatal("she expects nobody")
			}
		}
		c.Doom("e_1", 10)
		c.Blank()
		if expects && !v.Become("alice") {
			t.Fatal("who was told that he is expected does not become her")
		}
		if c.Linked != expects || c.Depth > 0 != expects {
			t.Errorf("expects %v: behind it linked is %v, and the chain %d long", expects, c.Linked, c.Depth)
		}
		want := Customer{Tenant: "demo", ID: "alice", Born: 3, Linked: c.Linked, Depth: c.Depth, Erasure: Erasure{Mark: "e_1", At: 10, Stage: Blanked}}
		if !reflect.DeepEqual(c, want) {
			t.Errorf("what is left of her: %+v", c)
		}
	}
}
