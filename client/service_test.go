package client_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

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
