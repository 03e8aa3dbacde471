package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"switchboard/client"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

func classify(session string, v uint64) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Classify{Classify: &wirepb.Classify{
		Session: session, Queue: "default", ExpiresMs: 3000, Customer: &wirepb.Author{Role: "customer", Id: "alice"}, Shop: "s1",
		Attributes: []byte(`{"lang":"de"}`), AttributesV: v, Head: 1, Tail: []*wirepb.Entry{{Session: session, Seq: 1, Epoch: 1, Body: []byte(`{"text":"where is it"}`)}},
	}}}
}

func nothing(context.Context, *client.Session, client.Entry) error { return nil }

// A question is answered by attributes without ae, once however often it comes; too late is no error, and no answer is none.
func TestClassify(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		asked, ended := make(chan client.Question, 4), make(chan struct{})
		go1 := make(chan struct{})
		work(t, srv, client.WorkerConfig{Classify: func(ctx context.Context, q client.Question) (any, error) {
			asked <- q
			switch q.Session {
			case "s_1":
				<-go1
				return map[string]string{"intent": "order"}, nil
			case "s_2":
				<-ctx.Done() // it takes too long
				close(ended)
				return nil, ctx.Err()
			}
			return nil, nil // it cannot tell
		}}, nothing)
		srv.p.say(classify("s_1", 7), classify("s_1", 7))
		q := <-asked
		if q.Session != "s_1" || q.Shop != "s1" || q.Customer.ID != "alice" || q.AttributesV != 7 || len(q.Tail) != 1 || string(q.Attributes) != `{"lang":"de"}` {
			t.Errorf("asked %+v", q)
		}
		synctest.Wait()
		close(go1)
		f := srv.next()
		if a := f.GetAttributes(); a.GetSession() != "s_1" || a.GetIfV() != 7 || a.GetAe() != 0 || string(a.GetPatch()) != `{"intent":"order"}` || a.GetKey() == "" {
			t.Fatalf("got %v; want attributes", f)
		}
		srv.p.say(refusal(f.Id, wire.Refuse(wire.StaleAssignment)), classify("s_2", 0), classify("s_3", 0))
		<-ended // three seconds of this clock
		synctest.Wait()
		if n := len(srv.p.in); n != 0 {
			t.Errorf("%d frames; nobody could tell", n)
		}
		if n := len(asked); n != 2 {
			t.Errorf("asked %d times more; want s_2 and s_3", n)
		}
	})
}

func invited(session string) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Invited{Invited: &wirepb.Invited{
		Session: session, As: "consult", By: "bob", Note: "refund?", Queue: "default", ExpiresMs: 600000, Summary: []byte(`{}`),
	}}}
}

// Who is invited comes or declines; a guest's words carry ge, stand in their place among the others, and his seat ends with the
// connection.
func TestInvited(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		joined := make(chan *client.Session, 1)
		errs := make(chan error, 1)
		work(t, srv, client.WorkerConfig{Invited: func(ctx context.Context, c *client.Client, i client.Invitation) bool {
			if i.Session != "s_1" || i.As != "consult" || i.By != "bob" || i.Note != "refund?" {
				return false
			}
			s, err := c.Join(ctx, i.Session, "")
			errs <- err
			joined <- s
			return true
		}}, nothing)
		srv.p.say(invited("s_2"))
		f := srv.next()
		if f.GetLeave().GetSession() != "s_2" {
			t.Fatalf("got %v; want leave, which declines", f)
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Leave{Leave: &wirepb.Done{}}}, invited("s_1"), invited("s_1"))
		f = srv.next()
		if j := f.GetJoin(); j.GetSession() != "s_1" || j.GetAs() != "" {
			t.Fatalf("got %v; want join", f)
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Join{Join: &wirepb.JoinReply{Session: "s_1", Ge: 9}}},
			&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Message{Message: &wirepb.Entry{Session: "s_1", Seq: 10, Epoch: 1, Prev: 9, Kind: "message", Type: "text", Body: []byte(`{"text":"x"}`)}}})
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		s := <-joined
		said := make(chan client.Sent, 1)
		go func() {
			sent, err := s.Reply(t.Context(), "text", "pay half")
			if err != nil {
				t.Error(err)
			}
			said <- sent
		}()
		f = srv.next()
		if r := f.GetReply(); r.GetGe() != 9 || r.GetAe() != 0 || r.GetKey() == "" {
			t.Fatalf("got %v; want a guest's reply", f)
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Reply{Reply: &wirepb.SendReply{Seq: 11, Epoch: 1}}})
		if sent := <-said; sent.Seq != 11 {
			t.Errorf("said %+v", sent)
		}
		for _, want := range []uint64{10, 11} {
			e, err := s.Recv(t.Context())
			if err != nil || e.Seq != want || want == 11 && (!e.Own || e.Visibility != wire.Staff) {
				t.Fatalf("received %+v, %v; want %d", e, err, want)
			}
		}
		srv.p.cut()
		srv.subscribe()
		if _, err := s.Recv(t.Context()); !errors.Is(err, client.ErrRevoked) {
			t.Errorf("after the connection was lost: %v", err)
		}
	})
}

// Finish leaves what it has closed, and what somebody else has.
func TestFinish(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		for _, slug := range []wire.Slug{"", wire.SessionClosed} {
			s := follow(t, srv, c, 5, client.OpenOptions{})
			done := make(chan error, 1)
			go func() { done <- s.Finish(t.Context(), "solved") }()
			f := srv.next()
			if f.GetClose().GetReason() != "solved" {
				t.Fatalf("got %v; want close", f)
			}
			if slug == "" {
				srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Close{Close: &wirepb.Done{}}})
			} else {
				srv.p.say(refusal(f.Id, wire.Refuse(slug)))
			}
			f = srv.next()
			if f.GetLeave() == nil {
				t.Fatalf("got %v; want leave", f)
			}
			srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Leave{Leave: &wirepb.Done{}}})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recv(t.Context()); !errors.Is(err, client.ErrLeft) {
				t.Errorf("after it has finished: %v", err)
			}
		}
	})
}
