package wire

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"switchboard/wire/wirepb"
)

// generic is ParseCommand without the hot way.
func generic(c Codec, frame []byte, cmd *Command) error {
	m := &wirepb.ClientFrame{}
	err := c.Parse(frame, m)
	cmd.Cold(m)
	switch cmd.Verb {
	case VerbSend, VerbReply, VerbAck, VerbTyping, VerbDelta, VerbNack:
		cmd.PB = nil
	default:
	}
	return err
}

func sameCommand(t *testing.T, c Codec, frame []byte) {
	t.Helper()
	var got, want Command
	gotErr, wantErr := c.ParseCommand(frame, &got), generic(c, frame, &want)
	for _, kind := range []error{ErrFrame, ErrVerb, ErrBody, nil} {
		if errors.Is(gotErr, kind) != errors.Is(wantErr, kind) {
			t.Fatalf("%q: error %v; want %v", frame, gotErr, wantErr)
		}
	}
	if wantErr != nil {
		return
	}
	if (got.PB == nil) != (want.PB == nil) || got.PB != nil && !proto.Equal(got.PB, want.PB) {
		t.Fatalf("%q: PB %v; want %v", frame, got.PB, want.PB)
	}
	got.PB, want.PB = nil, nil
	if len(got.Body) == 0 && len(want.Body) == 0 {
		got.Body, want.Body = nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q:\n got %+v\nwant %+v", frame, got, want)
	}
}

// goldenFrames returns every JSON frame of the golden file.
func goldenFrames(tb testing.TB) (frames []string) {
	tb.Helper()
	b, err := os.ReadFile("testdata/frames.txt")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if i := strings.IndexByte(line, '{'); i >= 0 {
			frames = append(frames, line[i:])
		}
	}
	if len(frames) < 30 {
		tb.Fatalf("only %d golden frames", len(frames))
	}
	return frames
}

var oddFrames = []string{
	`{"id":1,"send":{"session":"s","key":null,"type":"t\u0065xt","body":{"a":"\r"},"reply_to":1,"more":[1]}}`,
	`{"send":{"body":null}}`, `{"send":{},"send":{}}`, `{"send":{"ae":1}}`, `{"ack":{"ae":1,"seq":2,"read":3}}`, `{"id":0,"ack":{}}`,
	`{"id":-1,"send":{}}`, `{"id":1.0,"send":{}}`, `{"typing":{"on":true}}`, `{"delta":{"off":7,"text":"\ud83d\ude00"}}`, `{"reply":{"ack":0}}`,
	`{"nack":{"seq":1,"delay_ms":-5,"reason":"x"}}`, ` { "send" : { "body" : [ 1 , 2 ] } } `, `{"send":{}} x`, `{"send":[]}`, `{"send":{"body":{"a":1}`,
}

func TestHotCommandsAreTheGenericOnes(t *testing.T) {
	for _, f := range append(goldenFrames(t), oddFrames...) {
		sameCommand(t, JSON, []byte(f))
		m := &wirepb.ClientFrame{}
		if JSON.Parse([]byte(f), m) == nil {
			b, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			sameCommand(t, Protobuf, b)
		}
	}
}

func FuzzHotCommandJSON(f *testing.F) {
	for _, s := range append(goldenFrames(f), oddFrames...) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) { sameCommand(t, JSON, frame) })
}

func FuzzHotCommandPB(f *testing.F) {
	for _, s := range append(goldenFrames(f), oddFrames...) {
		m := &wirepb.ClientFrame{}
		if JSON.Parse([]byte(s), m) == nil {
			if b, err := proto.Marshal(m); err == nil {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) { sameCommand(t, Protobuf, frame) })
}

// sameFrame holds the hot encoding of f against the generic one.
func sameFrame(t *testing.T, f *Frame) {
	t.Helper()
	for _, c := range Subprotocols() {
		for _, before := range []string{"", "x"} {
			got := c.AppendFrame([]byte(before), f)
			want, err := c.Append([]byte(before), f.server())
			if err != nil {
				continue // invalid UTF-8: JSON mends it, Protobuf refuses it
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s of %+v:\n got %q\nwant %q", c.Subprotocol(), f, got, want)
			}
		}
	}
}

func hotFrames(e *Entry) []*Frame {
	return []*Frame{
		{Kind: FrameMessage, Session: e.Session, Entry: e, Prev: 121},
		{Kind: FrameDelivery, Session: e.Session, Entry: e, Prev: 0, AE: 8, Attempt: 1},
		{Kind: FrameWrote, Verb: VerbSend, ID: 3, Session: e.Session, Seq: e.Seq, Epoch: e.Epoch, TS: e.TS},
		{Kind: FrameWrote, Verb: VerbReply, ID: 3, Session: e.Session, Seq: e.Seq, Epoch: e.Epoch, TS: e.TS, Duplicate: true},
		{Kind: FrameDelta, Session: e.Session, Stream: "m1", Seq: 412, Text: " moved \"there\"\n"},
		{Kind: FrameDelta, Session: e.Session},
	}
}

func TestHotFramesAreTheGenericOnes(t *testing.T) {
	e := rowEntry()
	e.Session = "s_00cdb1t4skgpk8cx"
	for _, f := range hotFrames(e) {
		sameFrame(t, f)
	}
	for _, f := range hotFrames(&Entry{}) {
		sameFrame(t, f)
	}
}

func FuzzHotFrames(f *testing.F) {
	f.Add("s_1", uint64(1), uint64(1), int64(5), "customer", "alice", "Alice", "text", []byte(`{"a":1}`), uint64(3), "m1")
	f.Add("", uint64(0), uint64(0), int64(-1), "", "", "", "", []byte(nil), uint64(0), "")
	f.Fuzz(func(t *testing.T, session string, seq, epoch uint64, ts int64, role, id, name, typ string, body []byte, reply uint64, stream string) {
		e := &Entry{
			Session: SessionID(session), Seq: seq, Epoch: epoch, TS: ts, From: Author{Role(role), id, name}, Origin: OriginBot, Kind: KindMessage,
			Type: typ, Body: body, Visibility: Public, Channel: role, ReplyTo: reply, Stream: stream,
		}
		for _, fr := range hotFrames(e) {
			sameFrame(t, fr)
		}
	})
}

func TestHotCodecsDoNotAllocate(t *testing.T) {
	e := rowEntry()
	e.Session = "s_00cdb1t4skgpk8cx"
	send := []byte(`{"id":3,"send":{"session":"s_00cdb1t4skgpk8cx","key":"01JD","type":"text","body":{"text":"hi there"},"reply_to":97}}`)
	reply := []byte(`{"id":3,"reply":{"session":"s_00cdb1t4skgpk8cx","ae":8,"ack":6,"type":"text","body":{"text":"hi there"}}}`)
	m := &wirepb.ClientFrame{}
	if err := JSON.Parse(reply, m); err != nil {
		t.Fatal(err)
	}
	pb, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 4096)
	frames := hotFrames(e)
	var cmd Command
	if n := testing.AllocsPerRun(100, func() {
		for _, c := range [...]Codec{JSON, Protobuf} {
			out := buf
			for _, f := range frames {
				out = c.AppendFrame(out, f)
			}
		}
		cmd = Command{}
		if JSON.ParseCommand(send, &cmd) != nil || cmd.ReplyTo != 97 {
			t.Fatal("send does not parse")
		}
		cmd = Command{}
		if JSON.ParseCommand(reply, &cmd) != nil || cmd.AE != 8 {
			t.Fatal("reply does not parse")
		}
		cmd = Command{}
		if Protobuf.ParseCommand(pb, &cmd) != nil || cmd.AE != 8 {
			t.Fatal("a Protobuf reply does not parse")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkHot(b *testing.B) {
	e := rowEntry()
	e.Session, e.Body = "s_00cdb1t4skgpk8cx", []byte(`"`+strings.Repeat("x", 254)+`"`)
	f := &Frame{Kind: FrameDelivery, Session: e.Session, Entry: e, Prev: 121, AE: 8, Attempt: 1}
	send := []byte(`{"id":3,"send":{"session":"s_00cdb1t4skgpk8cx","key":"01JD","type":"text","body":"` + strings.Repeat("x", 254) + `"}}`)
	var buf []byte
	for _, c := range Subprotocols() {
		b.Run("append/"+c.Subprotocol(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				buf = c.AppendFrame(buf[:0], f)
			}
		})
	}
	b.Run("parse/json", func(b *testing.B) {
		b.ReportAllocs()
		var cmd Command
		for b.Loop() {
			cmd = Command{}
			_ = JSON.ParseCommand(send, &cmd)
		}
	})
}
