package wire

import (
	"encoding/hex"
	"reflect"
	"testing"
)

func rowEntry() *Entry {
	return &Entry{
		Seq: 122, Epoch: 1, TS: 1_700_000_000_000, From: Author{RoleCustomer, "alice", "Alice"}, Origin: OriginCustomer,
		Kind: KindMessage, Type: "text", Body: []byte(`{"text":"hi"}`), Visibility: Public, Channel: "line", ReplyTo: 97, Stream: "m1",
	}
}

// The bytes of a stored entry never change.
func TestEntryRowGolden(t *testing.T) {
	const want = "017a0180a0abfef9620205616c69636505416c69636502010101" + "00046c696e65" + "61026d31" + "0d7b2274657874223a226869227d"
	if got := hex.EncodeToString(AppendEntry(nil, rowEntry())); got != want {
		t.Fatalf("row = %s\nwant  %s", got, want)
	}
}

func TestEntryRowDoesNotAllocate(t *testing.T) {
	e, buf := rowEntry(), make([]byte, 0, 512)
	var got Entry
	if n := testing.AllocsPerRun(100, func() {
		if ParseEntry(AppendEntry(buf, e), &got) != nil {
			t.Fatal("a row does not parse")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzEntryRow(f *testing.F) {
	f.Add(AppendEntry(nil, rowEntry()))
	f.Add(AppendEntry(nil, &Entry{Seq: 1, Epoch: 1, Origin: OriginSystem, Kind: KindEvent, Type: "session.opened", Visibility: Public}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again Entry
		if ParseEntry(b, &e) != nil {
			return
		}
		if err := ParseEntry(AppendEntry(nil, &e), &again); err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%+v\nreads again as\n%+v (%v)", e, again, err)
		}
	})
}

func BenchmarkEntryRow(b *testing.B) {
	e := rowEntry()
	var buf []byte
	var got Entry
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEntry(buf[:0], e)
		_ = ParseEntry(buf, &got)
	}
}
