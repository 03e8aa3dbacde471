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

// usedCommand is a command that held another frame before: nothing of it may be left.
func usedCommand() Command {
	return Command{
		Verb: VerbReply, ID: 99, Session: "old", Key: "old", Type: "old", Body: []byte("0"), ReplyTo: 99, Visibility: "old", Stream: "old",
		Text: "old", Reason: "old", AE: 99, Seq: 99, Read: 99, Ack: Some(99), Upto: Some(99), DelayMS: 99, On: true, PB: &wirepb.ClientFrame{},
	}
}

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
	got, want := usedCommand(), Command{}
	gotErr, wantErr := c.ParseCommand(bytes.Clone(frame), &got), generic(c, frame, &want)
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
	if len(got.Body) > 0 && (ValidJSON(got.Body) != nil || !bytes.Equal(got.Body, AppendBody(nil, got.Body))) {
		t.Fatalf("%q: body %q is not as it is stored [SW-2.2]", frame, got.Body)
	}
	if len(got.Body) == 0 && len(want.Body) == 0 {
		got.Body, want.Body = nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q:\n got %+v\nwant %+v", frame, got, want)
	}
}

// goldenFrames returns the JSON frames of the golden file that side sends; of both sides when it is "".
func goldenFrames(tb testing.TB, side string) (frames []string) {
	tb.Helper()
	b, err := os.ReadFile("testdata/frames.txt")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if i := strings.IndexByte(line, '{'); i >= 0 && strings.HasPrefix(line, side) {
			frames = append(frames, line[i:])
		}
	}
	if len(frames) < 20 {
		tb.Fatalf("only %d golden frames", len(frames))
	}
	return frames
}

var oddFrames = []string{
	`{"id":1,"send":{"session":"s","key":null,"type":"t\u0065xt","body":{"a":"\r"},"reply_to":1,"more":[1]}}`,
	`{"send":{"body":null}}`, `{"send":{},"send":{}}`, `{"send":{"ae":1}}`, `{"ack":{"ae":1,"seq":2,"read":3}}`, `{"id":0,"ack":{}}`,
	`{"delta":{"text":"a\\\\n","text":"b\\\\n","stream":"\u0061"}}`, `{"delta":{"text":"a\n","text":"plain","text":"\\\""}}`, `{"delta":{"text":"a\n","more":1}}`,
	`{"delta":{"text":"a\n","session":"\t"}`, `{"delta":{"text":"a\n"},"id":"x"}`, `{"send":{"key":"\n"},"reply":{"key":"\n"}}`,
	`{"id":-1,"send":{}}`, `{"id":1.0,"send":{}}`, `{"typing":{"on":true}}`, `{"delta":{"off":7,"text":"\ud83d\ude00"}}`, `{"reply":{"ack":0}}`,
	`{"nack":{"seq":1,"delay_ms":-5,"reason":"x"}}`, `{"nack":{"delay_ms":1.0}}`, `{"send":{"delay_ms":1,"reason":"x"}}`, `{"id":1,"send":null}`,
	`{"ack":null,"send":{}}`, ` { "send" : { "body" : [ 1 , 2 ] } } `, `{"send":{}} x`, `{"send":[]}`, `{"send":{"body":{"a":1}`,
}

// oddPB are Protobuf frames that JSON cannot say.
func oddPB(tb testing.TB) (frames [][]byte) {
	tb.Helper()
	for _, body := range []string{"", " 1 ", "\t{\"a\":1}", "1\r\n", " \n[1,\r2] ", "{", "\"\xff\"", "\"a b\""} {
		for _, m := range []*wirepb.ClientFrame{
			{Id: 1, Verb: &wirepb.ClientFrame_Send{Send: &wirepb.Send{Session: "s", Body: []byte(body)}}},
			{Id: 1, Verb: &wirepb.ClientFrame_Reply{Reply: &wirepb.Reply{Session: "s", Ack: proto.Uint64(0), Body: []byte(body)}}},
		} {
			b, err := proto.Marshal(m)
			if err != nil {
				tb.Fatal(err)
			}
			// The same verb again, an unknown field, and a verb of another wire type behind it.
			frames = append(frames, b, append(bytes.Clone(b), b...), append(bytes.Clone(b), 0xf8, 7, 1), append(bytes.Clone(b), 0x28, 1), b[:len(b)-1])
		}
	}
	return append(frames, []byte{}, []byte{8, 1}, []byte{0x2a, 0}, []byte{0x2a, 3, 0x0a, 1, 0xff})
}

func TestHotCommandsAreTheGenericOnes(t *testing.T) {
	for _, b := range oddPB(t) {
		sameCommand(t, Protobuf, b)
	}
	for _, f := range append(goldenFrames(t, ""), oddFrames...) {
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
	for _, s := range append(goldenFrames(f, ""), oddFrames...) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) { sameCommand(t, JSON, frame) })
}

func FuzzHotCommandPB(f *testing.F) {
	for _, b := range oddPB(f) {
		f.Add(b)
	}
	for _, s := range append(goldenFrames(f, ""), oddFrames...) {
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

// FuzzHotFrames draws whatever a hot frame can say: every field of an entry and of each kind of frame.
func FuzzHotFrames(f *testing.F) {
	f.Add("s_1", uint64(1), uint64(1), int64(5), "customer", "alice", "Alice", "bot", "message", "text", []byte(`{"a":1}`), "public", "web", uint64(3), "m1",
		uint64(121), uint64(8), uint32(1), uint64(3), true, uint64(412), " moved \"there\"\n")
	f.Add("", uint64(0), uint64(0), int64(-1), "", "", "", "", "", "", []byte(nil), "", "", uint64(0), "",
		uint64(0), uint64(0), uint32(0), uint64(0), false, uint64(0), "")
	f.Add("s\"1", uint64(1<<63), uint64(1<<32), int64(1)<<53, "service", "\u4f60", "\\", "system", "event", "session.opened", []byte(`"\u2028"`), "staff", "\x01", uint64(1<<64-1), "\t",
		uint64(1<<64-1), uint64(1<<35), uint32(1<<32-1), uint64(127), false, uint64(128), "\u4f60\u597d \U0001f600 \x00\u2029</script>")
	// Lengths that take two and three bytes in Protobuf.
	f.Add("s_1", uint64(7), uint64(1), int64(5), "worker", strings.Repeat("i", 200), "", "human", "message", "text", []byte(`"`+strings.Repeat("x", 20_000)+`"`), "public", "web", uint64(0), "m1",
		uint64(6), uint64(2), uint32(300), uint64(1<<14), true, uint64(1<<21), strings.Repeat("\u597d\n", 5_000))
	f.Fuzz(func(t *testing.T, session string, seq, epoch uint64, ts int64, role, id, name, origin, kind, typ string, body []byte, visibility, channel string, reply uint64, stream string,
		prev, ae uint64, attempt uint32, request uint64, duplicate bool, off uint64, text string,
	) {
		e := &Entry{
			Session: SessionID(session), Seq: seq, Epoch: epoch, TS: ts, From: Author{Role(role), id, name}, Origin: Origin(origin), Kind: kind,
			Type: typ, Body: body, Visibility: visibility, Channel: channel, ReplyTo: reply, Stream: stream,
		}
		for _, fr := range []*Frame{
			{Kind: FrameMessage, Session: e.Session, Entry: e, Prev: prev},
			{Kind: FrameDelivery, Session: e.Session, Entry: e, Prev: prev, AE: ae, Attempt: attempt},
			{Kind: FrameWrote, Verb: VerbSend, ID: request, Session: e.Session, Seq: seq, Epoch: epoch, TS: ts, Duplicate: duplicate},
			{Kind: FrameWrote, Verb: VerbReply, ID: request, Session: e.Session, Seq: seq, Epoch: epoch, TS: ts, Duplicate: duplicate},
			{Kind: FrameDelta, Session: e.Session, Stream: stream, Seq: off, Text: text},
		} {
			sameFrame(t, fr)
		}
	})
}

// hotCommands are the hot client frames of the golden file, and one of each verb in full.
func hotCommands(tb testing.TB) map[Codec][][]byte {
	tb.Helper()
	all := map[Codec][][]byte{}
	for _, f := range append(
		goldenFrames(tb, "client"),
		`{"id":3,"reply":{"session":"s_1","ae":8,"ack":6,"key":"k","stream":"m1","type":"text","body":{"text":"hi"},"visibility":"public","reply_to":3}}`,
		`{"ack":{"session":"s_1","ae":8,"seq":122,"read":120}}`, `{"typing":{"session":"s_1","ae":8,"on":true}}`,
		`{"id":4,"nack":{"session":"s_1","ae":8,"seq":6,"delay_ms":-2000,"reason":"retry","key":"k"}}`,
		`{"id":5,"send":{"session":"s_1","key":"a\"b\\c","type":"te\u0078t","body":{"text":"\u4f60\u597d \ud83d\ude00 \"so\"\n你好 😀"}}}`,
		`{"id":6,"reply":{"session":"s\u005f1","ae":8,"ack":6,"key":"\t","stream":"m\/1","type":"\u0074","visibility":"\u0073taff","body":"\\"}}`,
		`{"id":7,"nack":{"session":"s_1","ae":8,"seq":6,"reason":"\"no\" 你\u597d\r\n","key":"\ud83d\ude00"}}`,
		`{"delta":{"session":"s_1","ae":8,"stream":"m1","off":5,"text":"\n\n\ud83d\ude00 he said \"你\u597d\"\t\u0000\ud83d"}}`,
	) {
		var cmd Command
		m := &wirepb.ClientFrame{}
		if JSON.Parse([]byte(f), m) != nil {
			continue
		}
		switch cmd.Cold(m); cmd.Verb {
		case VerbSend, VerbReply, VerbAck, VerbTyping, VerbDelta, VerbNack:
		default:
			continue
		}
		if cmd.For != nil {
			continue // a service's: no hot one
		}
		if cmd.DelayMS < 0 {
			m.GetNack().DelayMs = 2000 // ten bytes of Protobuf that nobody sends
		}
		b, err := proto.Marshal(m)
		if err != nil {
			tb.Fatal(err)
		}
		all[JSON], all[Protobuf] = append(all[JSON], []byte(f)), append(all[Protobuf], b)
	}
	return all
}

func TestHotCodecsDoNotAllocate(t *testing.T) {
	e, odd := rowEntry(), rowEntry()
	e.Session = "s_00cdb1t4skgpk8cx"
	odd.Session, odd.Stream, odd.Type, odd.Channel = "s\"1", "m\n1", "t\\", "\x01你好\u2028😀"
	odd.From, odd.Body = Author{RoleCustomer, "al\tice", "Al\"ice\" 你好 😀"}, []byte(`{"text":"\u4f60 \"so\"\n你好 😀"}`)
	buf := make([]byte, 0, 4096)
	var cmd Command
	for _, c := range Subprotocols() {
		for _, f := range append(hotFrames(e), hotFrames(odd)...) {
			if n := testing.AllocsPerRun(100, func() { c.AppendFrame(buf, f) }); n != 0 {
				t.Errorf("%s: %v allocations for %+v", c.Subprotocol(), n, f)
			}
		}
		verbs := map[Verb]bool{}
		escapes := 0
		for _, frame := range hotCommands(t)[c] {
			if bytes.IndexByte(frame, '\\') >= 0 {
				escapes++
			}
			msg := make([]byte, len(frame))
			if n := testing.AllocsPerRun(100, func() {
				copy(msg, frame) // it is the command's
				if err := c.ParseCommand(msg, &cmd); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s: %v allocations for %q", c.Subprotocol(), n, frame)
			}
			verbs[cmd.Verb] = true
		}
		if len(verbs) != 6 || escapes < 3 {
			t.Errorf("%s: only %v were tried, %d with escapes", c.Subprotocol(), verbs, escapes)
		}
	}
}

// benchEntry is an entry with a body of 256 bytes.
func benchEntry() *Entry {
	e := rowEntry()
	e.Session, e.Body = "s_00cdb1t4skgpk8cx", []byte(`"`+strings.Repeat("x", 254)+`"`)
	return e
}

func BenchmarkHot(b *testing.B) {
	f := &Frame{Kind: FrameDelivery, Entry: benchEntry(), Prev: 121, AE: 8, Attempt: 1}
	send := &Command{Verb: VerbSend, ID: 3, Session: f.Entry.Session, Key: "01JD", Type: "text", Body: f.Entry.Body}
	for _, c := range Subprotocols() {
		b.Run("append/"+c.Subprotocol(), func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				buf = c.AppendFrame(buf[:0], f)
			}
		})
		frame, _, err := c.Next(c.AppendCommand(nil, send))
		if err != nil {
			b.Fatal(err)
		}
		b.Run("parse/"+c.Subprotocol(), func(b *testing.B) {
			b.ReportAllocs()
			var cmd Command
			for b.Loop() {
				if err := c.ParseCommand(frame, &cmd); err != nil {
					b.Fatal(err)
				}
			}
		})
		token := c.AppendCommand(nil, &Command{Verb: VerbDelta, Session: f.Entry.Session, AE: 8, Stream: "m1", Seq: 412, Text: "moved \"there\".\n\n"})
		if token, _, err = c.Next(token); err != nil {
			b.Fatal(err)
		}
		b.Run("escaped/"+c.Subprotocol(), func(b *testing.B) {
			b.ReportAllocs()
			var cmd Command
			msg := make([]byte, len(token))
			for b.Loop() {
				copy(msg, token)
				if err := c.ParseCommand(msg, &cmd); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("generic/"+c.Subprotocol(), func(b *testing.B) {
			b.ReportAllocs()
			var cmd Command
			for b.Loop() {
				if err := generic(c, frame, &cmd); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
