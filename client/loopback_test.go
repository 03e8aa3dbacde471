package client_test

import (
	"testing"

	"switchboard/client"
	"switchboard/wire/wirepb"
)

// TestBothCodecs speaks over a real socket: the handshake, the subprotocols, batches.
func TestBothCodecs(t *testing.T) {
	f := func(protobuf bool) {
		t.Helper()
		srv, err := newLoopback(func(p *peer) {
			seq := uint64(0)
			for f := range p.in {
				switch {
				case f.GetHello() != nil:
					p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Hello{Hello: helloReply("alice", "customer")}})
				case f.GetOpen() != nil:
					p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Open{Open: &wirepb.OpenReply{Session: "s_1", How: "exact"}}})
				case f.GetSend() != nil:
					p.say(sendReply(f.Id, seq+1, false), message(seq+2, seq+1))
					seq += 2
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer srv.close()
		cfg := srv.config()
		cfg.Protobuf = protobuf
		c, err := client.Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // it cannot fail
		s, err := c.Open(t.Context(), client.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := s.Send(t.Context(), "text", map[string]any{"text": "line\nfeed ✓"}); err != nil {
				t.Fatal(err)
			}
		}
		seq := uint64(0)
		for e, err := range s.Entries(t.Context()) {
			if seq++; err != nil || e.Seq != seq || e.Own != (seq%2 == 1) || e.Own && e.Text() != "line\nfeed ✓" {
				t.Fatalf("protobuf %v: entry %d is %+v, %v", protobuf, seq, e, err)
			}
			if seq == 20 {
				break
			}
		}
	}
	f(false)
	f(true)
}

// BenchmarkSend is a round trip over a real socket, with a server that does nothing else.
func BenchmarkSend(b *testing.B) {
	srv, err := newLoopback(func(p *peer) {
		seq := uint64(0)
		for f := range p.in {
			switch {
			case f.GetHello() != nil:
				p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Hello{Hello: helloReply("alice", "customer")}})
			case f.GetOpen() != nil:
				p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Open{Open: &wirepb.OpenReply{Session: "s_1", How: "exact"}}})
			case f.GetSend() != nil:
				seq++
				p.say(sendReply(f.Id, seq, false))
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.close()
	cfg := srv.config()
	cfg.Protobuf = true
	c, err := client.Dial(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it cannot fail
	s, err := c.Open(b.Context(), client.OpenOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Send(b.Context(), "text", "where is my order?"); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Recv(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
