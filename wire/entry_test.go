package wire

import (
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

func TestEntrySurvivesTheSchema(t *testing.T) {
	e := Entry{
		Session: "s_1", Seq: 7, Epoch: 2, TS: 1766000000000, From: Author{RoleWorker, "bob", "Bob"}, Origin: OriginHuman,
		Kind: KindMessage, Type: "text", Body: []byte(`{"text":"hi"}`), Visibility: Staff, Channel: "web", ReplyTo: 3, Stream: "m1",
	}
	for i := range reflect.ValueOf(e).NumField() {
		if reflect.ValueOf(e).Field(i).IsZero() {
			t.Fatalf("the test leaves %s empty", reflect.TypeOf(e).Field(i).Name)
		}
	}
	if got := EntryOf(e.PB(5)); !reflect.DeepEqual(got, e) {
		t.Errorf("came back as %+v; want %+v", got, e)
	}
	// A delivery has its entry's fields under the same numbers, so the one can be read as the other.
	b, err := proto.Marshal(e.DeliveryPB(5, 9, 1))
	if err != nil {
		t.Fatal(err)
	}
	m := e.PB(5)
	proto.Reset(m)
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	if got := EntryOf(m); !reflect.DeepEqual(got, e) || m.Prev != 5 {
		t.Errorf("a delivery reads as %+v with prev %d; want %+v with prev 5", got, m.Prev, e)
	}
}

// [SW-4.5] Customers see public entries and nothing else.
func TestVisibleTo(t *testing.T) {
	f := func(visibility string, role Role, want bool) {
		t.Helper()
		if got := (&Entry{Visibility: visibility}).VisibleTo(role); got != want {
			t.Errorf("%s entry visible to %s: %v; want %v", visibility, role, got, want)
		}
	}
	f(Public, RoleCustomer, true)
	f(Staff, RoleCustomer, false)
	f(Staff, RoleService, false)
	f(Staff, RoleWorker, true)
	f(Staff, RoleSupervisor, true)
}

func TestErrorPB(t *testing.T) {
	m := (&Error{Slug: Overloaded, RetryAfter: 1500 * time.Millisecond, Detail: []byte(`{}`)}).ErrorPB()
	if m.Code != 503 || m.Retry != "after" || m.RetryAfterMs != 1500 || m.Message == "" || string(m.Detail) != "{}" {
		t.Errorf("ErrorPB() = %v", m)
	}
	for _, f := range Faults() { // [SW-6.1] retry after says after what
		if m := Refuse(f.Slug).ErrorPB(); (m.RetryAfterMs > 0) != (f.Retry == RetryAfter) {
			t.Errorf("%s is told with retry_after_ms %d", f.Slug, m.RetryAfterMs)
		}
	}
}
