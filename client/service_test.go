package client_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// [SW-5a.6] Whatever a service says about a session names the customer that it acts for, also when it comes back.
func TestServiceNamesItsCustomer(t *testing.T) {
	named := make(chan *wirepb.Customer, 16)
	lines := make(chan *wirepb.Resume, 1)
	var connections atomic.Int32
	srv, err := newLoopback(func(p *peer) {
		first := connections.Add(1) == 1
		done := func(id uint64, verb *wirepb.ServerFrame) {
			verb.Id = id
			p.say(verb)
		}
		for f := range p.in {
			switch v := f.Verb.(type) {
			case *wirepb.ClientFrame_Hello:
				hello := helloReply("connector", "service")
				for _, line := range v.Hello.Resume {
					lines <- line
					hello.Resumed = append(hello.Resumed, &wirepb.Resumed{Session: line.Session, How: "exact", Epoch: 1, Head: 1})
				}
				done(f.Id, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Hello{Hello: hello}})
			case *wirepb.ClientFrame_Open:
				named <- v.Open.Customer
				done(f.Id, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Open{Open: &wirepb.OpenReply{Session: "s_1", How: "exact", Epoch: 1, Head: 1}}})
			case *wirepb.ClientFrame_Send:
				named <- v.Send.Customer
				p.say(sendReply(f.Id, 2, false))
			case *wirepb.ClientFrame_History:
				if first {
					p.cut()
					continue
				}
				named <- v.History.Customer
				done(f.Id, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_History{History: &wirepb.HistoryReply{}}})
			case *wirepb.ClientFrame_Close:
				named <- v.Close.Customer
				done(f.Id, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Close{Close: &wirepb.Done{Seq: 3, Epoch: 1}}})
			case *wirepb.ClientFrame_Leave:
				named <- v.Leave.Customer
				done(f.Id, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Leave{Leave: &wirepb.Done{}}})
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.close()
	c, err := client.Dial(t.Context(), srv.config())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it cannot fail
	li := &wire.External{Channel: "wechat", ID: "o1", Name: "Li"}
	s, err := c.Open(t.Context(), client.OpenOptions{Customer: li, Channel: "web"})
	if err != nil {
		t.Fatal(err)
	}
	f := func(what string, do func(context.Context) error) {
		t.Helper()
		if err := do(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := wire.ExternalOf(<-named); got == nil || *got != *li {
			t.Fatalf("%s names %+v; want %+v", what, got, li)
		}
	}
	f("open", func(context.Context) error { return nil })
	f("send", func(ctx context.Context) error {
		_, err := s.Send(ctx, "text", "nihao")
		return err
	})
	e, err := s.Recv(t.Context())
	if err != nil || !e.Own || e.From != (wire.Author{Role: wire.RoleCustomer, Name: "Li"}) || e.Channel != "wechat" {
		t.Fatalf("our own entry is %+v, %v", e, err)
	}
	f("history", func(ctx context.Context) error {
		_, _, err := s.History(ctx, client.Page{})
		return err
	})
	if got := wire.ExternalOf((<-lines).Customer); got == nil || *got != *li {
		t.Fatalf("resume names %+v", got)
	}
	f("close", func(ctx context.Context) error { return s.Close(ctx, "solved") })
	f("leave", s.Leave)
}

// Who follows more sessions than fit into one hello [SW-3.2] resumes those that do, and opens the others, however many requests may wait.
func TestMoreSessionsThanHelloHasRoomFor(t *testing.T) {
	const most, frame = 64, 1024
	var connections atomic.Int32
	on := make(chan string, 2*most) // sessions that go on where they were
	srv, err := newLoopback(func(p *peer) {
		first := connections.Add(1) == 1
		for f := range p.in {
			switch v := f.Verb.(type) {
			case *wirepb.ClientFrame_Hello:
				if b, err := p.codec.Append(nil, f); err != nil || len(b) > frame {
					p.bye(wire.CloseNoHello) // [SW-6.3] as the server does
					return
				}
				hello := helloReply("connector", "service")
				hello.Limits.Frame, hello.Limits.Sessions = frame, most
				for _, line := range v.Hello.Resume {
					hello.Resumed = append(hello.Resumed, &wirepb.Resumed{Session: line.Session, How: "exact", Epoch: 1, Head: 1})
					on <- line.Session
				}
				p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Hello{Hello: hello}})
			case *wirepb.ClientFrame_Open:
				id := "s_" + v.Open.Customer.ExternalId
				if !first {
					if v.Open.GetSession() != id || v.Open.From.GetSeq() != 1 {
						t.Errorf("opened %v; want %s from 1", v.Open, id)
					}
					on <- id
				}
				p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Open{Open: &wirepb.OpenReply{Session: id, How: "exact", Epoch: 1, Head: 1}}})
			case *wirepb.ClientFrame_History:
				if first {
					p.cut()
					return
				}
				p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_History{History: &wirepb.HistoryReply{}}})
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.close()
	cfg := client.WithJitter(srv.config(), func(time.Duration) time.Duration { return 0 })
	cfg.Pending = 4
	c, err := client.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, most)
	var last *client.Session
	for i := range most {
		s, err := c.Open(t.Context(), client.OpenOptions{Customer: &wire.External{Channel: "wechat", ID: strconv.Itoa(i)}})
		if err != nil {
			t.Fatal(err)
		}
		last = s
		go func() {
			_, err := s.Recv(t.Context())
			ended <- err
		}()
	}
	if _, _, err := last.History(t.Context(), client.Page{}); err != nil { // the first time, its answer is the end of the connection
		t.Fatal(err)
	}
	seen := map[string]int{}
	for len(seen) < most {
		select {
		case id := <-on:
			seen[id]++
		case err := <-ended:
			t.Fatalf("a session ended: %v", err)
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s went on %d times", id, n)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range most {
		<-ended //nolint:errcheck // the client was closed
	}
}

// [SW-3.4]
func TestIdentify(t *testing.T) {
	srv, err := newLoopback(func(p *peer) {
		for f := range p.in {
			switch v := f.Verb.(type) {
			case *wirepb.ClientFrame_Hello:
				p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Hello{Hello: helloReply("visitor", "customer")}})
			case *wirepb.ClientFrame_Identify:
				if v.Identify.Token != "alice's" {
					p.say(refusal(f.Id, wire.Refuse(wire.IdentityTaken)))
					continue
				}
				p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Identify{Identify: &wirepb.IdentifyReply{Customer: "alice", Sessions: []string{"s_1"}}}})
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.close()
	c, err := client.Dial(t.Context(), srv.config())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it cannot fail
	if customer, sessions, err := c.Identify(t.Context(), "alice's"); err != nil || customer != "alice" || len(sessions) != 1 || sessions[0] != "s_1" {
		t.Fatalf("identified as %s with %v, %v", customer, sessions, err)
	}
	_, _, err = c.Identify(t.Context(), "bob's")
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Slug != wire.IdentityTaken {
		t.Fatalf("somebody else: %v", err)
	}
}
