package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
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

// goldenRows returns the rows of the golden file and the entries that they hold.
func goldenRows(tb testing.TB) (rows [][]byte, entries []*Entry) {
	tb.Helper()
	file, err := os.ReadFile("testdata/rows.txt")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		row, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || row == "#" {
			continue
		}
		b, err := hex.DecodeString(row)
		if err != nil {
			tb.Fatalf("%s: %v", row, err)
		}
		var f Frame
		if err := JSON.ParseFrame([]byte(text), &f); err != nil {
			tb.Fatalf("%s: %v", text, err)
		}
		f.Entry.Session = "" // is part of the row's key
		rows, entries = append(rows, b), append(entries, f.Entry)
	}
	return rows, entries
}

// What was written once is read for ever, and every word that a number stands for is held by a row.
func TestEntryRowsAreReadForEver(t *testing.T) {
	rows, entries := goldenRows(t)
	seen := map[string]bool{}
	for i, row := range rows {
		want := *entries[i]
		if got := AppendEntry(nil, &want); !bytes.Equal(got, row) {
			t.Errorf("%+v is written as %x; want %x", want, got, row)
		}
		var got Entry
		if err := ParseEntry(row, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%x reads as %+v, %v; want %+v", row, got, err, want)
		}
		seen["role "+string(want.From.Role)], seen["origin "+string(want.Origin)], seen["kind "+want.Kind] = true, true, true
		seen["type "+want.Type], seen["sight "+want.Visibility], seen["channel "+want.Channel] = true, true, true
	}
	for name, words := range map[string][]string{
		"role": rowRoles[:], "origin": rowOrigins[:], "kind": rowKinds[:], "type": rowTypes[:], "sight": rowSights[:], "channel": rowChannels[:],
	} {
		for _, w := range words[1:] {
			if !seen[name+" "+w] {
				t.Errorf("no golden row for %s %q", name, w)
			}
		}
	}
}

// A row that lost bytes, or that a newer version wrote, is never taken for another entry.
func TestParseEntryRefuses(t *testing.T) {
	rows, _ := goldenRows(t)
	f := func(what string, row []byte) {
		t.Helper()
		if err := ParseEntry(row, &Entry{}); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %x reads with %v", what, row, err)
		}
	}
	f("nothing", nil)
	for _, row := range rows {
		for n := range row {
			f("cut short", row[:n])
		}
		f("a byte behind", append(bytes.Clone(row), 0))
		f("a newer version", append([]byte{entryVersion + 1}, row[1:]...))
	}
	// Version, seq, epoch, ts, and a role, whose numbers end at 7.
	f("a word of a newer version", append([]byte{entryVersion, 1, 1, 2, 8}, AppendEntry(nil, &Entry{})[5:]...))
	f("a length beyond the row", []byte{entryVersion, 1, 1, 2, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f("a number of more than 64 bits", []byte{entryVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2})
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
	rows, _ := goldenRows(f)
	for _, row := range rows {
		f.Add(row)
	}
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
	e := benchEntry()
	row := AppendEntry(nil, e)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = AppendEntry(buf[:0], e)
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		var got Entry
		for b.Loop() {
			if err := ParseEntry(row, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}
