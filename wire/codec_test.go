package wire

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"switchboard/wire/wirepb"
)

var rewrite = flag.Bool("rewrite", false, "write the golden bytes of Protobuf anew instead of comparing them")

// Each line of testdata/frames.txt is a frame: "client" or "server", then JSON. The same line of testdata/frames.hex is what it
// is in Protobuf. Both are read, and written again as they were: the numbers of the fields are a promise, as their names are.
func TestGoldenFrames(t *testing.T) {
	lines, bytesOf := goldenLines(t, "testdata/frames.txt"), goldenLines(t, "testdata/frames.hex")
	var written strings.Builder
	verbs, fields := map[string]bool{}, map[protoreflect.FullName]bool{}
	for i, line := range lines {
		side, text, ok := strings.Cut(line, " ")
		if !ok || side == "#" {
			written.WriteString("#\n")
			continue
		}
		m := frameOf(t, side)
		if err := JSON.Parse([]byte(text), m); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		r := m.ProtoReflect()
		verbs[side+" "+string(r.WhichOneof(r.Descriptor().Oneofs().Get(0)).Name())] = true
		fieldsOf(r, fields)
		if got, _ := JSON.Append(nil, m); string(got) != text {
			t.Errorf("JSON came back as\n%s\nwant\n%s", got, text)
		}
		msg, err := Protobuf.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&written, "%x\n", msg)
		if *rewrite {
			continue
		}
		if i >= len(bytesOf) || fmt.Sprintf("%x", msg) != bytesOf[i] {
			t.Errorf("frames.hex:%d: %s is written in Protobuf as\n%x", i+1, text, msg)
			continue
		}
		golden, err := hex.DecodeString(bytesOf[i])
		if err != nil {
			t.Fatal(err)
		}
		frame, rest, err := Protobuf.Next(golden)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%s: Next left %d bytes, %v", text, len(rest), err)
		}
		again := frameOf(t, side)
		if err := Protobuf.Parse(frame, again); err != nil || !proto.Equal(m, again) {
			t.Errorf("frames.hex:%d: reads as %v, %v; want %s", i+1, again, err, text)
		}
	}
	switch {
	case *rewrite:
		if err := os.WriteFile("testdata/frames.hex", []byte(written.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	case len(bytesOf) != len(lines):
		t.Errorf("frames.hex has %d lines, frames.txt %d", len(bytesOf), len(lines))
	default:
	}
	for _, side := range []string{"client", "server"} {
		list := frameOf(t, side).ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
		for i := range list.Len() {
			if name := side + " " + string(list.Get(i).Name()); !verbs[name] {
				t.Errorf("no golden frame for %s", name)
			}
		}
	}
	messages := wirepb.File_switchboard_proto.Messages()
	for i := range messages.Len() {
		list := messages.Get(i).Fields()
		for j := range list.Len() {
			if name := list.Get(j).FullName(); !fields[name] && messages.Get(i).Name() != "Claimed" { // is in no frame: HTTP says it, in JSON
				t.Errorf("no golden frame has %s", name)
			}
		}
	}
}

// fieldsOf notes the fields that m and what is in it have set.
func fieldsOf(m protoreflect.Message, seen map[protoreflect.FullName]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		seen[f.FullName()] = true
		switch {
		case f.Message() == nil, f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				fieldsOf(v.List().Get(i).Message(), seen)
			}
		default:
			fieldsOf(v.Message(), seen)
		}
		return true
	})
}

// goldenLines returns the lines of a file; none when it is not there yet.
func goldenLines(t *testing.T, name string) (lines []string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil && (!*rewrite || !errors.Is(err, os.ErrNotExist)) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

func frameOf(t *testing.T, side string) proto.Message {
	t.Helper()
	switch side {
	case "client":
		return &wirepb.ClientFrame{}
	case "server":
		return &wirepb.ServerFrame{}
	}
	t.Fatalf("no side %q", side)
	return nil
}

// [SW-2.3] [SW-2.7] What is a frame, what is an unknown verb, what is garbage.
func TestParseRefuses(t *testing.T) {
	f := func(text string, want error, id uint64) {
		t.Helper()
		var m wirepb.ClientFrame
		if err := JSON.Parse([]byte(text), &m); !errors.Is(err, want) || m.Id != id {
			t.Errorf("Parse(%s) = %v with id %d; want %v with id %d", text, err, m.Id, want, id)
		}
	}
	f(`{"id":1,"leave":{"session":"s"}}`, nil, 1)
	f(`{"id":1,"leave":{"session":"s","new":[{}]},"later":{}}`, nil, 1)
	f(`{"leave":{},"id":7}`, nil, 7)
	f(`{"id":3,"dance":{}}`, ErrVerb, 3)
	f(`{"id":3}`, ErrVerb, 3)
	f(`{"id":3,"leave":null}`, ErrVerb, 3)
	f(`{"id":3,"close":null,"leave":{}}`, nil, 3)
	f(`{"id":3,"leave":nul}`, ErrFrame, 3)
	f(`{"id":3,"leave":{},"close":{}}`, ErrFrame, 3)
	f(`{"id":-3,"leave":{}}`, ErrFrame, 0)
	f(`{"id":0,"leave":{}}`, ErrFrame, 0)
	f(`{"id": 0,"ack":{}}`, ErrFrame, 0)
	f(`{"id":null,"leave":{}}`, nil, 0)
	f(`{"id":1.5,"leave":{}}`, ErrFrame, 0)
	f(`{"id":18446744073709551616,"leave":{}}`, ErrFrame, 0)
	f(`{"id":18446744073709551615,"leave":{}}`, nil, 1<<64-1)
	f(`{"id":1,"leave":{"session":5}}`, ErrFrame, 1)
	f(`{"id":1,"leave":{}} x`, ErrFrame, 1)
	f(`[]`, ErrFrame, 0)
	f(``, ErrFrame, 0)
	f("\xff", ErrFrame, 0)
}

// [SW-2.2] In Protobuf a document may be garbage inside a sound frame: the request is refused, not the connection.
func TestProtobufDocumentsAreChecked(t *testing.T) {
	f := func(body string, want error, kept string) {
		t.Helper()
		in := &wirepb.ClientFrame{Id: 4, Verb: &wirepb.ClientFrame_Send{Send: &wirepb.Send{Session: "s", Body: []byte(body)}}}
		msg, err := Protobuf.Append(nil, in)
		if err != nil {
			t.Fatal(err)
		}
		frame, _, err := Protobuf.Next(msg)
		if err != nil {
			t.Fatal(err)
		}
		var out wirepb.ClientFrame
		if err := Protobuf.Parse(frame, &out); !errors.Is(err, want) || out.Id != 4 {
			t.Errorf("body %q: %v, id %d; want %v, id 4", body, err, out.Id, want)
		}
		if got := string(out.GetSend().GetBody()); want == nil && got != kept {
			t.Errorf("body %q is kept as %q; want %q", body, got, kept)
		}
	}
	f("{\"a\":\n1}\r\n", nil, `{"a":1}`)
	f(`{"a":`, ErrBody, "")
	f("\"\xff\"", ErrBody, "")
}

// [SW-2.5] Frames of one message come back one by one, whatever the codec.
func TestBatch(t *testing.T) {
	for _, c := range Subprotocols() {
		var msg []byte
		for id := range uint64(5) {
			var err error
			if msg, err = c.Append(msg, &wirepb.ServerFrame{Id: id + 1, Verb: &wirepb.ServerFrame_Send{Send: &wirepb.SendReply{Seq: 9}}}); err != nil {
				t.Fatal(err)
			}
		}
		for id := range uint64(5) {
			frame, rest, err := c.Next(msg)
			if err != nil {
				t.Fatal(err)
			}
			var m wirepb.ServerFrame
			if err := c.Parse(frame, &m); err != nil || m.Id != id+1 || m.GetSend().GetSeq() != 9 {
				t.Fatalf("%s: frame %d is %v, %v", c.Subprotocol(), id+1, &m, err)
			}
			msg = rest
		}
		if len(msg) != 0 {
			t.Errorf("%s: %d bytes left", c.Subprotocol(), len(msg))
		}
	}
	if _, _, err := Protobuf.Next([]byte{200, 1, 0}); !errors.Is(err, ErrFrame) {
		t.Errorf("a length beyond the message: %v", err)
	}
}

// No bytes make a parser panic; what it takes, it gives back the same.
func FuzzParse(f *testing.F) {
	b, err := os.ReadFile("testdata/frames.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		f.Add([]byte(text), false)
		if from, to := strings.LastIndex(text, "\":{"), len(text)-1; from >= 0 {
			f.Add([]byte(text[:from+2]+"null"+text[to:]), false)
		}
		var m wirepb.ClientFrame
		if JSON.Parse([]byte(text), &m) == nil {
			pb, _ := proto.Marshal(&m)
			f.Add(pb, true)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, binary bool) {
		c := JSON
		if binary {
			c = Protobuf
		}
		var m, again wirepb.ClientFrame
		if c.Parse(frame, &m) != nil {
			return
		}
		text, err := JSON.Append(nil, &m)
		if err != nil || !json.Valid(text) || strings.ContainsAny(string(text), "\r\n") {
			t.Fatalf("%q gives %s, %v", frame, text, err)
		}
		if err := JSON.Parse(text, &again); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		twice, _ := JSON.Append(nil, &again)
		if string(twice) != string(text) {
			t.Fatalf("%s came back as %s", text, twice)
		}
	})
}
