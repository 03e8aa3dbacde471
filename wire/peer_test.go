package wire

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"switchboard/wire/wirepb"
)

// commandPB is a hot command as the schema has it: what AppendCommand is held against.
func commandPB(c *Command) *wirepb.ClientFrame {
	m := &wirepb.ClientFrame{Id: c.ID}
	session := string(c.Session)
	switch c.Verb {
	case VerbSend:
		m.Verb = &wirepb.ClientFrame_Send{Send: &wirepb.Send{Session: session, Key: c.Key, Type: c.Type, Body: c.Body, ReplyTo: c.ReplyTo, Customer: c.For.PB()}}
	case VerbReply:
		r := &wirepb.Reply{
			Session: session, Ae: c.AE, Key: c.Key, Stream: c.Stream, Type: c.Type, Body: c.Body, Visibility: c.Visibility, ReplyTo: c.ReplyTo, Ge: c.GE,
		}
		if c.Ack.Set {
			r.Ack = &c.Ack.Value
		}
		m.Verb = &wirepb.ClientFrame_Reply{Reply: r}
	case VerbAck:
		m.Verb = &wirepb.ClientFrame_Ack{Ack: &wirepb.Ack{Session: session, Ae: c.AE, Seq: c.Seq, Read: c.Read}}
	case VerbTyping:
		m.Verb = &wirepb.ClientFrame_Typing{Typing: &wirepb.Typing{Session: session, Ae: c.AE, On: c.On}}
	case VerbDelta:
		m.Verb = &wirepb.ClientFrame_Delta{Delta: &wirepb.Delta{Session: session, Ae: c.AE, Stream: c.Stream, Off: c.Seq, Text: c.Text}}
	case VerbNack:
		m.Verb = &wirepb.ClientFrame_Nack{Nack: &wirepb.Nack{
			Session: session, Ae: c.AE, Seq: c.Seq, DelayMs: c.DelayMS, Reason: c.Reason, Key: c.Key,
		}}
	default:
		m.Verb = c.PB.Verb
	}
	return m
}

// sameAppended holds the encoding of cmd against the generic one, and reads it back.
func sameAppended(t *testing.T, cmd *Command) {
	t.Helper()
	for _, c := range Subprotocols() {
		for _, before := range []string{"", "x"} {
			got := c.AppendCommand([]byte(before), cmd)
			want, err := c.Append([]byte(before), commandPB(cmd))
			if err != nil {
				continue // invalid UTF-8: JSON mends it, Protobuf refuses it
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s of %+v:\n got %q\nwant %q", c.Subprotocol(), cmd, got, want)
			}
		}
		frame, rest, err := c.Next(c.AppendCommand(nil, cmd))
		if err != nil || len(rest) > 0 {
			t.Fatalf("%s of %+v: Next leaves %q, %v", c.Subprotocol(), cmd, rest, err)
		}
		sameCommand(t, c, frame)
	}
}

// sameReadFrame holds ParseFrame against the generic reader, with and without an entry to reuse, and writes a hot frame
// again.
func sameReadFrame(t *testing.T, c Codec, frame []byte) {
	t.Helper()
	m := &wirepb.ServerFrame{}
	want := &Frame{}
	wantErr := c.Parse(frame, m)
	if wantErr == nil {
		want.cold(m, nil)
	} else {
		want.ID = m.Id
	}
	for _, spare := range []*Entry{nil, {Session: "old", Seq: 99, From: Author{RoleWorker, "old", "old"}, Body: []byte("0"), Stream: "old", ReplyTo: 99}} {
		got := &Frame{
			Kind: FrameDelta, Verb: VerbReply, Duplicate: true, Attempt: 9, ID: 99, Session: "old", Entry: spare, Text: "old", Stream: "old",
			Seq: 99, Epoch: 99, Prev: 99, AE: 99, TS: 99, Err: Refuse(Internal), PB: &wirepb.ServerFrame{},
		}
		gotErr := c.ParseFrame(frame, got)
		for _, kind := range []error{ErrFrame, ErrVerb, ErrBody, nil} {
			if errors.Is(gotErr, kind) != errors.Is(wantErr, kind) {
				t.Fatalf("%q: error %v; want %v", frame, gotErr, wantErr)
			}
		}
		if (got.PB == nil) != (want.PB == nil) || got.PB != nil && !proto.Equal(got.PB, want.PB) {
			t.Fatalf("%q: PB %v; want %v", frame, got.PB, want.PB)
		}
		if got.Entry != nil && spare != nil && got.Entry != spare {
			t.Fatalf("%q: the entry to reuse was not", frame)
		}
		got.PB = want.PB
		for _, f := range []*Frame{got, want} {
			if f.Entry != nil && len(f.Entry.Body) == 0 {
				f.Entry.Body = nil
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q:\n got %+v %+v\nwant %+v %+v", frame, got, got.Entry, want, want.Entry)
		}
		if wantErr == nil && got.PB == nil {
			sameFrame(t, got)
		}
	}
}

var oddReplies = []string{
	`{"message":{"from":{"role":"worker"},"from":{"id":"a"},"body":[1,` + "\r\n" + `2],"prev":1}}`, `{"message":{"body":null}}`, `{"message":{"from":null}}`,
	`{"message":{"cursor":"c","ae":1}}`, `{"message":{"ae":1}}`, `{"message":{"attempt":"x"}}`, `{"delivery":{"attempt":4294967296}}`, `{"message":{},"message":{}}`,
	`{"delivery":{"attempt":4294967295,"ae":1,"new":[{}]}}`, `{"message":{"ts":-5,"type":"t\u0065xt"}}`, `{"message":{"ts":1.0}}`, `{"id":5,"message":{}}`,
	`{"send":{"duplicate":true}}`, `{"id":1,"send":{"ts":null}}`, `{"id":1,"reply":{"seq":-1}}`, `{"delta":{"ae":3,"off":1,"text":"\ud83d\ude00\n"}}`, `{"delta":null}`,
	`{"error":{}}`, `{"id":3,"error":{"code":418,"slug":"teapot","retry_after_ms":-1}}`, `{"id":3,"dance":{}}`, `{"id":3}`, `[]`, ``, `{"message":{"body":{}}`,
}

// oddRepliesPB are Protobuf frames that JSON cannot say.
func oddRepliesPB(tb testing.TB) (frames [][]byte) {
	tb.Helper()
	for _, body := range []string{"", " 1 ", "1\r\n", " \n[1,\r2] ", "{", "\"\xff\""} {
		for _, m := range []*wirepb.ServerFrame{
			{Verb: &wirepb.ServerFrame_Message{Message: &wirepb.Entry{Session: "s", From: &wirepb.Author{Id: "a"}, Body: []byte(body)}}},
			{Verb: &wirepb.ServerFrame_Delivery{Delivery: &wirepb.Delivery{Session: "s", Ae: 1, Attempt: 2, Body: []byte(body)}}},
		} {
			b, err := proto.Marshal(m)
			if err != nil {
				tb.Fatal(err)
			}
			frames = append(frames, b, append(bytes.Clone(b), b...), append(bytes.Clone(b), 0xf8, 7, 1), append(bytes.Clone(b), 8, 1), b[:len(b)-1])
		}
	}
	// Messages: an author in two halves, an attempt of 33 bits, an author of bad UTF-8, a group, and field 0.
	for _, in := range []string{"\x2a\x03\x0a\x01w\x2a\x03\x12\x01a", "\x88\x01\x81\x80\x80\x80\x10", "\x2a\x03\x0a\x01\xff", "\x0b\x0c", "\x00\x00"} {
		for _, verb := range []string{"\xca\x02", "\xd2\x02", "\x2a", "\x8a\x03"} {
			frames = append(frames, append(append([]byte(verb), byte(len(in))), in...))
		}
	}
	return frames
}

func TestPeersReadWhatTheGenericCodecReads(t *testing.T) {
	for _, s := range append(goldenFrames(t, ""), oddReplies...) {
		sameReadFrame(t, JSON, []byte(s))
		m := &wirepb.ServerFrame{}
		if JSON.Parse([]byte(s), m) == nil {
			b, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			sameReadFrame(t, Protobuf, b)
		}
	}
	for _, b := range oddRepliesPB(t) {
		sameReadFrame(t, Protobuf, b)
	}
}

// [SW-2.4] Every frame of a server comes back as the kind that its reader needs.
func TestParseFrameKinds(t *testing.T) {
	f := func(text string, want Frame) {
		t.Helper()
		var got Frame
		if err := JSON.ParseFrame([]byte(text), &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got.Entry != nil {
			want.Session = got.Entry.Session
		}
		got.Entry = nil
		if got.PB != nil {
			if text2, _ := JSON.Append(nil, got.PB); string(text2) != text {
				t.Errorf("%s: PB is %s", text, text2)
			}
			got.PB = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", text, got, want)
		}
	}
	f(`{"id":3,"send":{"seq":122,"epoch":1,"ts":5,"duplicate":true}}`, Frame{Kind: FrameWrote, Verb: VerbSend, ID: 3, Seq: 122, Epoch: 1, TS: 5, Duplicate: true})
	f(`{"id":3,"reply":{"seq":7,"epoch":1,"duplicate":false}}`, Frame{Kind: FrameWrote, Verb: VerbReply, ID: 3, Seq: 7, Epoch: 1})
	f(`{"message":{"session":"s_1","seq":9,"prev":8}}`, Frame{Kind: FrameMessage, Prev: 8})
	f(`{"delivery":{"session":"s_1","seq":9,"prev":8,"ae":2,"attempt":3}}`, Frame{Kind: FrameDelivery, Prev: 8, AE: 2, Attempt: 3})
	f(`{"delta":{"session":"s_1","stream":"m1","off":4,"text":"a\nb"}}`, Frame{Kind: FrameDelta, Session: "s_1", Stream: "m1", Seq: 4, Text: "a\nb"})
	f(`{"id":2,"open":{"session":"s_1","epoch":1,"head":0,"streams":[]}}`, Frame{Kind: FrameAnswer, ID: 2})
	f(`{"lag":{"session":"s_1","from":140}}`, Frame{Kind: FramePush})
	f(`{"assigned":{"session":"s_1","ae":8,"cursor":0,"head":6,"tail":[]}}`, Frame{Kind: FrameAssigned, Session: "s_1", AE: 8})
	f(`{"revoked":{"session":"s_1","ae":8,"reason":"takeover"}}`, Frame{Kind: FrameRevoked, Session: "s_1", AE: 8})
	f(`{"id":9,"error":{"code":429,"slug":"rate_limited","message":"m","retry":"after","retry_after_ms":800}}`,
		Frame{Kind: FrameError, ID: 9, Err: &Error{Slug: RateLimited, Message: "m", RetryAfter: 800 * time.Millisecond}})
}

func TestErrorOf(t *testing.T) {
	f := func(ms int64, want time.Duration) {
		t.Helper()
		if got := ErrorOf(&wirepb.Error{RetryAfterMs: ms}).RetryAfter; got != want {
			t.Errorf("retry_after_ms %d reads as %v; want %v", ms, got, want)
		}
	}
	f(800, 800*time.Millisecond)
	f(-1, 0)
	f(math.MinInt64, 0)
	f(math.MaxInt64, math.MaxInt64/time.Millisecond*time.Millisecond)
	e := &Error{Slug: Unanswered, Message: "m", RetryAfter: time.Second, Detail: []byte(`{"seq":9}`)}
	if got := ErrorOf(e.ErrorPB()); !reflect.DeepEqual(got, e) {
		t.Errorf("%+v came back as %+v", e, got)
	}
	if got := *ErrorOf(nil); !reflect.DeepEqual(got, Error{}) {
		t.Errorf("no error reads as %+v", got)
	}
}

// hotVerbs are commands of every hot verb with the same fields.
func hotVerbs(base *Command) (all []*Command) {
	for _, v := range []Verb{VerbSend, VerbReply, VerbAck, VerbTyping, VerbDelta, VerbNack} {
		c := *base
		c.Verb = v
		all = append(all, &c)
	}
	return all
}

func fullCommand() *Command {
	return &Command{
		ID: 3, Session: "s_00cdb1t4skgpk8cx", Key: "01JD", Type: "text", Body: []byte(`{"text":"hi"}`), ReplyTo: 97, GE: 5, Visibility: Public, Stream: "m1",
		Text: " moved \"there\"\n", Reason: "retry", AE: 8, Seq: 122, Read: 120, Ack: Some(0), DelayMS: 2000, On: true,
	}
}

func TestPeersWriteWhatTheGenericCodecWrites(t *testing.T) {
	for _, cmd := range append(hotVerbs(fullCommand()), hotVerbs(&Command{})...) {
		sameAppended(t, cmd)
	}
	for _, s := range goldenFrames(t, "client") {
		var cmd Command
		if err := JSON.ParseCommand([]byte(s), &cmd); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		sameAppended(t, &cmd)
		if got := string(JSON.AppendCommand(nil, &cmd)); got != s {
			t.Errorf("%s came back as %s", s, got)
		}
		if cmd.PB != nil {
			before := proto.Clone(cmd.PB)
			cmd.ID = 77
			sameAppended(t, &cmd)
			if !proto.Equal(cmd.PB, before) {
				t.Errorf("%s was changed", s)
			}
		}
	}
	for _, c := range Subprotocols() {
		if got := c.AppendCommand([]byte("x"), &Command{Verb: VerbGone, ID: 1}); string(got) != "x" {
			t.Errorf("what never travels is written as %q", got)
		}
	}
}

func FuzzAppendCommand(f *testing.F) {
	c := fullCommand()
	f.Add(c.ID, string(c.Session), c.Key, c.Body, c.ReplyTo, c.Text, c.Stream, c.AE, c.Seq, c.DelayMS, true)
	f.Add(uint64(0), "", "", []byte(nil), uint64(0), "", "", uint64(0), uint64(1)<<63, int64(-1), false)
	f.Fuzz(func(t *testing.T, id uint64, session, key string, body []byte, n uint64, text, stream string, ae, seq uint64, delay int64, on bool) {
		if ValidJSON(body) != nil {
			body = nil
		}
		cmd := &Command{
			ID: id, Session: SessionID(session), Key: key, Type: stream, Body: AppendBody(nil, body), ReplyTo: n, GE: n, Visibility: text, Stream: stream,
			Text: text, Reason: text, AE: ae, Seq: seq, Read: n, Ack: Optional{Value: n, Set: on}, DelayMS: delay, On: on,
		}
		for _, c := range hotVerbs(cmd) {
			sameAppended(t, c)
		}
	})
}

func FuzzParseFrameJSON(f *testing.F) {
	for _, s := range append(goldenFrames(f, ""), oddReplies...) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) { sameReadFrame(t, JSON, frame) })
}

func FuzzParseFramePB(f *testing.F) {
	for _, s := range append(goldenFrames(f, ""), oddReplies...) {
		m := &wirepb.ServerFrame{}
		if JSON.Parse([]byte(s), m) == nil {
			if b, err := proto.Marshal(m); err == nil {
				f.Add(b)
			}
		}
	}
	for _, b := range oddRepliesPB(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, frame []byte) { sameReadFrame(t, Protobuf, frame) })
}

func TestPeersDoNotAllocate(t *testing.T) {
	e := rowEntry()
	e.Session = "s_00cdb1t4skgpk8cx"
	buf := make([]byte, 0, 4096)
	var got Frame
	var spare Entry
	for _, c := range Subprotocols() {
		for _, cmd := range hotVerbs(fullCommand()) {
			if n := testing.AllocsPerRun(100, func() { c.AppendCommand(buf, cmd) }); n != 0 {
				t.Errorf("%s: %v allocations for %+v", c.Subprotocol(), n, cmd)
			}
		}
		for _, f := range hotFrames(e) {
			if f.Text != "" {
				f.Text = "moved" // an escape costs the memory of what it stands for
			}
			frame, _, err := c.Next(c.AppendFrame(nil, f))
			if err != nil {
				t.Fatal(err)
			}
			read := func(spare *Entry) func() {
				return func() {
					got.Entry = spare
					if err := c.ParseFrame(frame, &got); err != nil || got.Kind != f.Kind {
						t.Fatalf("%q reads as %+v, %v", frame, got, err)
					}
				}
			}
			if n := testing.AllocsPerRun(100, read(&spare)); n != 0 {
				t.Errorf("%s: %v allocations for %q with an entry to reuse", c.Subprotocol(), n, frame)
			}
			if n := testing.AllocsPerRun(100, read(nil)); n > 1 {
				t.Errorf("%s: %v allocations for %q", c.Subprotocol(), n, frame)
			}
		}
	}
}

func BenchmarkPeer(b *testing.B) {
	f := &Frame{Kind: FrameDelivery, Entry: benchEntry(), Prev: 121, AE: 8, Attempt: 1}
	cmd := &Command{Verb: VerbSend, ID: 3, Session: f.Entry.Session, Key: "01JD", Type: "text", Body: f.Entry.Body}
	var spare Entry
	var got Frame
	for _, c := range Subprotocols() {
		b.Run("append/"+c.Subprotocol(), func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				buf = c.AppendCommand(buf[:0], cmd)
			}
		})
		frame, _, err := c.Next(c.AppendFrame(nil, f))
		if err != nil {
			b.Fatal(err)
		}
		b.Run("parse/"+c.Subprotocol(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				got.Entry = &spare
				if err := c.ParseFrame(frame, &got); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("generic/"+c.Subprotocol(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Parse(frame, &wirepb.ServerFrame{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
