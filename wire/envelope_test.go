package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"switchboard/wire/wirepb"
)

// kinds holds an empty piece of every kind of mail, by the number that stands for it.
func kinds() (list []Mail) {
	for k := range 256 {
		if m := newMail(byte(k)); m != nil {
			list = append(list, m)
		}
	}
	return list
}

// filler sets every field of what it is given to something, or to zero now and then when it is sparse.
type filler struct {
	*rand.Rand
	sparse bool
}

var protoMessage = reflect.TypeFor[proto.Message]()

func (f filler) fill(t *testing.T, v reflect.Value) {
	if f.sparse && f.IntN(3) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprintf("%s-%d", []string{"ä", "text", "web", "x"}[f.IntN(4)], f.Uint32()))
	case reflect.Int64:
		v.SetInt(int64(f.Uint64()>>f.IntN(64)) | 1)
	case reflect.Int32:
		v.SetInt(int64(int32(f.Uint32())) | 1)
	case reflect.Uint8: // of our types, a FrameKind
		v.SetUint(1 + f.Uint64N(uint64(FrameMoved)))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(f.Uint64()>>(64-v.Type().Bits())>>f.IntN(v.Type().Bits()) | 1)
	case reflect.Float64:
		v.SetFloat(f.Float64() + 0.1)
	case reflect.Array:
		for i := range v.Len() {
			f.fill(t, v.Index(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(fmt.Sprintf(`{"n":%d}`, f.Uint32())))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1+f.IntN(3), 4))
		for i := range v.Len() {
			filler{f.Rand, f.sparse && v.Type().Elem().Kind() != reflect.Pointer}.fill(t, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + f.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(t, key)
			f.fill(t, value)
			v.SetMapIndex(key, value)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		switch m := v.Interface().(type) {
		case *wirepb.ClientFrame:
			m.Id, m.Verb = f.Uint64(), &wirepb.ClientFrame_Open{Open: &wirepb.Open{Session: "s_1", Key: "k"}}
		case *wirepb.ServerFrame:
			m.Id, m.Verb = f.Uint64(), &wirepb.ServerFrame_Stream{Stream: &wirepb.Stream{Session: "s_1", Text: "so far"}}
		case *wirepb.Stream:
			m.Session, m.Stream, m.Off = "s_1", "m1", f.Uint64()
		default:
			if v.Type().Implements(protoMessage) {
				t.Fatalf("the test does not know how to fill a %s", v.Type())
			}
			f.fill(t, v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			f.fill(t, field)
		}
		if o, ok := reflect.TypeAssert[*Optional](v.Addr()); ok && !o.Set {
			*o = Optional{}
		}
	default:
		t.Fatalf("the test does not know how to fill a %s", v.Type())
	}
}

// same tells whether two values say the same: as reflect.DeepEqual, with Protobuf compared as Protobuf.
func same(a, b reflect.Value) bool {
	if a.Type().Implements(protoMessage) {
		return a.IsNil() == b.IsNil() && proto.Equal(a.Interface().(proto.Message), b.Interface().(proto.Message))
	}
	switch a.Kind() {
	case reflect.Pointer:
		if _, ok := reflect.TypeAssert[*Ability](a); ok { // one of which nothing is said is none
			none := new(Ability)
			if a.IsNil() {
				a = reflect.ValueOf(none)
			}
			if b.IsNil() {
				b = reflect.ValueOf(none)
			}
		}
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	default:
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
}

func sameEnvelope(a, b *Envelope) bool {
	return a.To == b.To && a.Term == b.Term && reflect.TypeOf(a.Mail) == reflect.TypeOf(b.Mail) && same(reflect.ValueOf(a.Mail), reflect.ValueOf(b.Mail))
}

// Every kind of mail, with every field of it and of what it holds, arrives as it was. A kind or a field that is new and not
// written fails here.
func TestEnvelopesArriveAsTheyWere(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var out, in Roll
	for round := range 200 {
		for _, m := range kinds() {
			e := Envelope{To: Address{Node: rnd.Uint64(), ID: rnd.Uint64()}, Term: rnd.Uint64N(3), Mail: m}
			if round%2 == 0 {
				e.To = ToSlot(Slot(rnd.IntN(Slots)))
			}
			filler{rnd, round > 0}.fill(t, reflect.ValueOf(m).Elem())
			b, err := AppendEnvelope(nil, &e, &out)
			if err != nil {
				t.Fatalf("%T: %v", m, err)
			}
			var got Envelope
			if err := ParseEnvelope(b, &got, &in); err != nil || !sameEnvelope(&got, &e) {
				t.Fatalf("%T arrives as\n%+v (%v)\nwant\n%+v", m, got.Mail, err, m)
			}
		}
	}
}

// The kinds of mail are those that mail.go says; each has a number of its own, and an empty piece of it takes few bytes.
func TestEveryKindOfMailHasANumber(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "mail.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, m := range kinds() {
		have[reflect.TypeOf(m).Elem().Name()] = true
		if k := kindOf(m); reflect.TypeOf(newMail(k)) != reflect.TypeOf(m) {
			t.Errorf("%T is written as kind %d, which reads as %T", m, k, newMail(k))
		}
		if b, err := AppendEnvelope(nil, &Envelope{Mail: m}, new(Roll)); err != nil || len(b) != 1+1+1+4 {
			t.Errorf("an empty %T takes %d bytes (%v)", m, len(b), err)
		}
	}
	found := 0
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Name.Name == "mail" {
			found++
			if name := fn.Recv.List[0].Type.(*ast.StarExpr).X.(*ast.Ident).Name; !have[name] {
				t.Errorf("%s is mail and has no number", name)
			}
		}
	}
	if found != len(have) {
		t.Errorf("mail.go has %d kinds of mail; %d have a number", found, len(have))
	}
}

func sendEnvelope() *Envelope {
	return &Envelope{To: ToSlot(397), Mail: &Command{
		Verb: VerbSend, ID: 3, Conn: Conn{Node: 7, ID: 9}, Who: &Principal{Tenant: "demo", Role: RoleCustomer, Sub: "alice", Ability: &Ability{Queues: []string{"*"}, Skills: map[string]float64{"de": 1}}},
		Session: "s_00cdb1t4skgpk8cx", Key: "01JD", Type: "text", Body: []byte(`{"text":"hi"}`),
	}}
}

func hotEnvelopes() []*Envelope {
	e := rowEntry()
	e.Session = "s_00cdb1t4skgpk8cx"
	to := Conn{Node: 7, ID: 9}.Address()
	list := []*Envelope{sendEnvelope()}
	who := list[0].Mail.(*Command).Who
	for _, c := range []*Command{
		{Verb: VerbReply, ID: 4, Session: e.Session, Key: "k", Type: "text", Body: e.Body, AE: 8, Ack: Some(6), Stream: "m1", Who: who},
		{Verb: VerbAck, Session: e.Session, AE: 8, Seq: 122, Read: 120, Who: who},
		{Verb: VerbDelta, Session: e.Session, AE: 8, Stream: "m1", Seq: 412, Text: " moved", Who: who},
		{Verb: VerbTyping, Session: e.Session, On: true, Who: who},
	} {
		c.Conn = Conn{Node: 7, ID: 9}
		list = append(list, &Envelope{To: ToSlot(397), Mail: c})
	}
	for _, f := range append(hotFrames(e), &Frame{Kind: FrameError, ID: 5, Verb: VerbSend, Session: e.Session, Err: Refuse(Overloaded)}) {
		list = append(list, &Envelope{To: to, Term: 3, Mail: f})
	}
	return list
}

// What is hot is written without memory, once the roll knows who speaks.
func TestHotMailIsWrittenWithoutMemory(t *testing.T) {
	var roll Roll
	list, buf := hotEnvelopes(), make([]byte, 0, 1<<12)
	write := func() {
		for _, e := range list {
			if _, err := AppendEnvelope(buf, e, &roll); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	if n := testing.AllocsPerRun(100, write); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// Nodes of the version before hear nothing of wrap-ups that sessions keep, and read the rest as ever.
func TestWrapUpsOfTheVersionBefore(t *testing.T) {
	write := func(m Mail) (string, error) {
		b, err := AppendEnvelope(nil, &Envelope{To: ToSlot(1), Mail: m}, &Roll{Version: wrapUpsSince - 1})
		return string(b), err
	}
	f := func(m, without Mail) {
		t.Helper()
		got, err := write(m)
		want, _ := write(without)
		if err != nil || got != want {
			t.Errorf("%T is written as %x, %v; want %x", m, got, err, want)
		}
	}
	f(&Release{Session: "s_1", AE: 3, WrapUpMS: 5000, Kept: true}, &Release{Session: "s_1", AE: 3, WrapUpMS: 5000})
	answer := CensusAnswer{Tenant: "demo", Pool: 2, Shape: 3, Live: []Live{{Worker: "bob", AE: 1}}}
	more := answer
	more.WrapUps = []WrapUp{{LeftMS: 5000, Live: Live{Worker: "ann", AE: 4}}}
	f(&more, &answer)
	if b, err := write(&WrapUpOver{Session: "s_1", AE: 3}); !errors.Is(err, ErrMail) || b != "" {
		t.Errorf("it is told of an end: %x, %v", b, err)
	}
}

// A wrap-up in transit is told to whom it is known what that is: to others it would be somebody who waits.
func TestLeftWrapUpsOfTheVersionBefore(t *testing.T) {
	had := Left{Live: Live{Assigned: true, Worker: "bob", AE: 1}, To: 5, Shape: 3}
	over := Left{Live: Live{Worker: "ann", AE: 4}, To: 5, Shape: 3, LeftMS: 5000}
	f := func(version uint64, want ...Left) {
		t.Helper()
		m := &CensusAnswer{Tenant: "demo", Pool: 2, Shape: 3, Left: []Left{over, had}}
		b, err := AppendEnvelope(nil, &Envelope{To: ToSlot(1), Mail: m}, &Roll{Version: version})
		if err != nil {
			t.Fatal(err)
		}
		var e Envelope
		err = ParseEnvelope(b, &e, new(Roll))
		if err != nil || !reflect.DeepEqual(e.Mail.(*CensusAnswer).Left, want) || len(m.Left) != 2 || m.Left[0].LeftMS != 5000 {
			t.Errorf("version %d is told %+v, %v", version, e.Mail, err)
		}
	}
	f(leftWrapUpsSince-1, had)
	f(leftWrapUpsSince, over, had)
}

// A change of these bytes is a new LinkVersion.
func TestEnvelopeGolden(t *testing.T) {
	f := func(e *Envelope, want string) {
		t.Helper()
		b, err := AppendEnvelope(nil, e, new(Roll))
		if got := hex.EncodeToString(b); err != nil || got != want {
			t.Errorf("%+v is written as\n%s (%v); want\n%s", e.Mail, got, err, want)
		}
	}
	f(sendEnvelope(), goldenSend)
	f(&Envelope{To: Conn{Node: 7, ID: 9}.Address(), Term: 3, Mail: &Frame{Kind: FrameWrote, Verb: VerbSend, ID: 3, Session: "s_1", Seq: 122, Epoch: 1, TS: 1}}, goldenWrote)
	all := fmt.Sprint(linkVerbs, LinkVersion)
	if want := "[ send reply ack delta typing nack page resync gone open history close rate leave subscribe accept decline presence slots wrapup transfer release context hello refresh identify attributes join take assign stats watch identities link configure document explain invite erase] 13"; all != want {
		t.Errorf("the words are %s; want %s", all, want)
	}
}

// Who speaks is sent once, and again when the roll has given his number away; a roll of two is always right.
func TestRollNamesEverybody(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	people := make([]*Principal, 5)
	for i := range people {
		people[i] = &Principal{Tenant: "demo", Role: RoleWorker, Sub: fmt.Sprint("w", i)}
	}
	out, in := Roll{max: 2}, Roll{}
	var first, again int
	for i := range 1000 {
		if i == 500 {
			out.Clear() // mail was thrown away; the reader has missed nothing that it needs
		}
		e := Envelope{Mail: &Command{Verb: VerbAck, Who: people[rnd.IntN(1+i%len(people))]}}
		b, err := AppendEnvelope(nil, &e, &out)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("demo")) {
			first++
		} else {
			again++
		}
		var got Envelope
		if err := ParseEnvelope(b, &got, &in); err != nil || !reflect.DeepEqual(got.Mail.(*Command).Who, e.Mail.(*Command).Who) {
			t.Fatalf("mail %d of %+v arrives as %+v, %v", i, e.Mail.(*Command).Who, got.Mail.(*Command).Who, err)
		}
	}
	if len(in.seats) != 2 || len(out.numbers) > 2 || first < 10 || again < 10 {
		t.Fatalf("rolls of %d and %d; %d in full, %d by number", len(out.numbers), len(in.seats), first, again)
	}
}

// Mail that cannot be written leaves nothing behind, also not in the roll.
func TestMailThatIsRefusedLeavesNothing(t *testing.T) {
	var roll Roll
	bad := &Envelope{Mail: &Command{Verb: VerbOpen, Who: &Principal{Sub: "x"}, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{Key: "\xff"}}}}}
	for _, e := range []*Envelope{bad, {}} {
		if b, err := AppendEnvelope([]byte("x"), e, &roll); !errors.Is(err, ErrMail) || string(b) != "x" || len(roll.seats) != 0 {
			t.Errorf("%+v: %q, %v, a roll of %d", e.Mail, b, err, len(roll.seats))
		}
	}
}

// Whatever is cut off or added is refused, and whatever is refused takes little memory.
func TestParseEnvelopeRefuses(t *testing.T) {
	for _, e := range hotEnvelopes() {
		b, err := AppendEnvelope(nil, e, new(Roll))
		if err != nil {
			t.Fatal(err)
		}
		for n := range b {
			if err := ParseEnvelope(b[:n], new(Envelope), new(Roll)); !errors.Is(err, ErrMail) {
				t.Fatalf("%x cut to %d bytes reads with %v", b, n, err)
			}
		}
		if err := ParseEnvelope(append(bytes.Clone(b), 0), new(Envelope), new(Roll)); !errors.Is(err, ErrMail) {
			t.Fatalf("%x with a byte behind reads with %v", b, err)
		}
	}
	f := func(what, hexa string) {
		t.Helper()
		b, err := hex.DecodeString(strings.ReplaceAll(hexa, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if err := ParseEnvelope(b, new(Envelope), new(Roll)); !errors.Is(err, ErrMail) {
			t.Errorf("%s reads with %v", what, err)
		}
	}
	f("an unknown kind", "63 00 00 00000000")
	f("an unknown flag", "04 08 00 00000000")
	f("an unknown field", "04 00 00 08000000")
	f("an unknown kind of frame", "02 00 00 01000000 11")
	f("a list longer than the mail", "09 00 00 08000000 ffffffff07")
	f("a principal whom nobody has named", "01 00 00 00004000 00")
	fewBytes(t, append([]byte{9, 0, 0, 8, 0, 0, 0, 0x80, 0x80, 4}, make([]byte, 4<<16)...)) // what grows most: empty lines of a census
	f("a number with a hole before it", "01 00 00 00004000 03 04000000 00000000")
}

// fewBytes holds ParseEnvelope to the memory that it promises.
func fewBytes(t *testing.T, b []byte) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := ParseEnvelope(b, new(Envelope), new(Roll))
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; err != nil || n < uint64(len(b)) || n > uint64(128*len(b)+1<<20) {
		t.Fatalf("%d bytes take %d of memory (%v)", len(b), n, err)
	}
}

// parseAgain holds what b says, when it says anything, against what is written of it.
func parseAgain(tb testing.TB, b []byte) {
	tb.Helper()
	var e, again Envelope
	if ParseEnvelope(b, &e, &Roll{seats: []seat{{who: &Principal{Sub: "x"}}}}) != nil {
		return
	}
	out, err := AppendEnvelope(nil, &e, new(Roll))
	if err != nil {
		tb.Fatalf("%+v was read and is not written: %v", e.Mail, err)
	}
	if err := ParseEnvelope(out, &again, new(Roll)); err != nil {
		tb.Fatalf("%+v is written and not read: %v", e.Mail, err)
	}
	if b, err := AppendEnvelope(nil, &again, new(Roll)); err != nil || len(b) != len(out) {
		tb.Fatalf("%+v reads again as %+v (%v)", e.Mail, again.Mail, err)
	}
}

func FuzzEnvelope(f *testing.F) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, m := range kinds() {
		filler{rnd, false}.fill(&testing.T{}, reflect.ValueOf(m).Elem())
		b, err := AppendEnvelope(nil, &Envelope{To: ToSlot(1), Mail: m}, new(Roll))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, e := range hotEnvelopes() {
		b, err := AppendEnvelope(nil, e, new(Roll))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { parseAgain(t, b) })
}

func BenchmarkEnvelope(b *testing.B) {
	entry := rowEntry()
	entry.Session = "s_00cdb1t4skgpk8cx"
	for _, e := range []*Envelope{
		sendEnvelope(),
		{To: Conn{Node: 7, ID: 9}.Address(), Term: 3, Mail: &Frame{Kind: FrameMessage, Session: entry.Session, Entry: entry, Prev: 121}},
		{To: Conn{Node: 7, ID: 9}.Address(), Term: 3, Mail: &Frame{Kind: FrameWrote, Verb: VerbSend, ID: 3, Session: entry.Session, Seq: 122, Epoch: 1, TS: entry.TS}},
	} {
		name := "send"
		if f, ok := e.Mail.(*Frame); ok {
			name = map[FrameKind]string{FrameMessage: "message", FrameWrote: "wrote"}[f.Kind]
		}
		var out, in Roll
		buf, err := AppendEnvelope(nil, e, &out)
		if err != nil || ParseEnvelope(buf, new(Envelope), &in) != nil {
			b.Fatal(err)
		}
		buf, _ = AppendEnvelope(nil, e, &out)
		b.Run(name+"/append", func(b *testing.B) {
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst, _ = AppendEnvelope(dst[:0], e, &out)
			}
			b.ReportMetric(float64(len(dst)), "bytes")
		})
		b.Run(name+"/parse", func(b *testing.B) {
			b.ReportAllocs()
			var got Envelope
			for b.Loop() {
				if err := ParseEnvelope(buf, &got, &in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

const (
	goldenSend  = "01018d03ff000002010307000000000000000912735f3030636462317434736b67706b3863780430314a44010d7b2274657874223a226869227d011f000000070300000464656d6f0205616c69636501012a01026465000000000000f03f"
	goldenWrote = "0206090700000000000000036330020001010303735f317a0102"
)

// Whoever posts a command may keep it, to post it again: writing it into an envelope only reads it, and everything that it points to. The race
// detector says so (`make race`).
func TestAppendEnvelopeReads(t *testing.T) {
	var e Envelope
	cmd := &Command{}
	filler{Rand: rand.New(rand.NewPCG(1, 2))}.fill(t, reflect.ValueOf(cmd).Elem())
	e.To, e.Mail = ToSlot(3), cmd
	var wg sync.WaitGroup
	out := make([][]byte, 2)
	for i := range out {
		wg.Go(func() { out[i], _ = AppendEnvelope(nil, &e, &Roll{}) })
	}
	wg.Wait()
	if len(out[0]) == 0 || len(out[0]) != len(out[1]) { // maps are written in any order
		t.Errorf("%d and %d bytes of the same", len(out[0]), len(out[1]))
	}
}
