package client_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/client"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// work runs a worker against srv until the test ends, and returns where the end of Work will be told.
func work(t *testing.T, srv *script, cfg client.WorkerConfig, handle client.Handler) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if cfg.URL == "" {
		cfg.Config = srv.config()
	}
	cfg.Queues = []string{"default"}
	end := make(chan error, 1)
	go func() { end <- client.Work(ctx, cfg, handle) }()
	ended := false
	stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-end
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Work = %v", err)
		}
	})
	srv.subscribe()
	return stop
}

// subscribe takes the next connection of a worker.
func (s *script) subscribe(kept ...*wirepb.Kept) *wirepb.Subscribe {
	s.t.Helper()
	s.acceptWith(func(r *wirepb.HelloReply) { r.Sub, r.Role = "faq", "worker" })
	f := s.next()
	sub := f.GetSubscribe()
	if sub == nil {
		s.t.Fatalf("got %v; want subscribe before everything else", f)
	}
	s.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Subscribe{Subscribe: &wirepb.SubscribeReply{Lease: "l_1", LeaseMs: 15000, Kept: kept}}})
	return sub
}

func (s *script) assign(ae, cursor, head uint64) {
	s.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Assigned{Assigned: &wirepb.Assigned{
		Session: "s_1", Ae: ae, Queue: "default", Reason: "route", Epoch: 1, Cursor: cursor, Head: head,
		Customer: &wirepb.Author{Role: "customer", Id: "alice"}, Context: &wirepb.Document{V: 4, Doc: []byte(`{"a":1}`)},
	}}})
}

func delivery(ae, seq, prev uint64, attempt uint32) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Delivery{Delivery: &wirepb.Delivery{
		Session: "s_1", Ae: ae, Seq: seq, Epoch: 1, Prev: prev, Attempt: attempt, Kind: "message", Type: "text", Body: []byte(`{"text":"x"}`), Origin: "customer", Visibility: "public",
	}}}
}

// ack returns the next ack.
func (s *script) ack() *wirepb.Ack {
	s.t.Helper()
	f := s.next()
	if f.GetAck() == nil {
		s.t.Fatalf("got %v; want ack", f)
	}
	return f.GetAck()
}

func replied(id, seq uint64) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_Reply{Reply: &wirepb.SendReply{Seq: seq, Epoch: 1}}}
}

func TestWorkerAnswers(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		work(t, srv, client.WorkerConfig{}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			if e.Seq == 2 {
				return nil
			}
			_, err := s.Reply(ctx, "text", "answer", client.WithAck(e.Seq))
			return err
		})
		srv.assign(8, 0, 3)
		srv.p.say(delivery(8, 2, 1, 1))
		if a := srv.ack(); a.Seq != 2 || a.Ae != 8 {
			t.Fatalf("ack = %v; want 2 under 8", a)
		}
		srv.p.say(delivery(8, 4, 3, 1))
		f := srv.next()
		r := f.GetReply()
		if r.GetAck() != 4 || r.Ae != 8 || r.Key != "" || string(r.Body) != `{"text":"answer"}` {
			t.Fatalf("reply = %v; want one that acknowledges 4, with 4 as its key [SW-5.5]", f)
		}
		srv.p.say(replied(f.Id, 5), delivery(8, 6, 5, 1)) // 5 is our own: no gap, and no further ack
		if r := srv.next().GetReply(); r.GetAck() != 6 {
			t.Fatalf("got %v; want the reply to 6", r)
		}
	})
}

// However many handlers run at a time, each finds room for its answer while the server says nothing.
func TestWorkerOfManySessions(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		const slots = 1500
		var asked, refused atomic.Int32
		work(t, srv, client.WorkerConfig{Slots: slots}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			asked.Add(1)
			_, err := s.Reply(ctx, "text", "answer", client.WithAck(e.Seq))
			if errors.Is(err, client.ErrBusy) {
				refused.Add(1)
			}
			return err
		})
		for i := range slots {
			id := "s_" + strconv.Itoa(i)
			d := delivery(1, 2, 1, 1)
			d.GetDelivery().Session = id
			srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Assigned{Assigned: &wirepb.Assigned{Session: id, Ae: 1, Epoch: 1, Cursor: 1, Head: 1}}}, d)
		}
		synctest.Wait()
		if asked, refused := asked.Load(), refused.Load(); asked != slots || refused > 0 {
			t.Fatalf("of %d handlers that ask at once %d ran, and %d were refused", slots, asked, refused)
		}
	})
}

func TestWorkerGivesBack(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		fail := true
		var seen []uint64
		work(t, srv, client.WorkerConfig{}, func(_ context.Context, _ *client.Session, e client.Entry) error {
			seen = append(seen, e.Seq)
			if e.Seq == 2 && fail {
				fail = false
				return client.Later(2*time.Second, errors.New("the model is busy"))
			}
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1), delivery(8, 2, 1, 1), delivery(8, 3, 2, 1))
		var nack *wirepb.ClientFrame
		for nack == nil {
			if f := srv.next(); f.GetNack() != nil {
				nack = f
			}
		}
		if n := nack.GetNack(); n.Seq != 2 || n.DelayMs != 2000 || n.Reason != "the model is busy" || n.Key == "" {
			t.Fatalf("nack = %v", n)
		}
		// 4 was on its way before the rewind; it comes again behind it.
		srv.p.say(delivery(8, 4, 3, 1), &wirepb.ServerFrame{Id: nack.Id, Verb: &wirepb.ServerFrame_Nack{Nack: &wirepb.Done{Seq: 2}}},
			delivery(8, 2, 1, 2), delivery(8, 3, 2, 1), delivery(8, 4, 3, 1))
		for srv.ack().Seq != 4 {
		}
		if want := []uint64{1, 2, 2, 3, 4}; !slices.Equal(seen, want) {
			t.Fatalf("handled %v; want %v", seen, want)
		}
	})
}

func TestRevokedEndsTheContext(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		began, over := make(chan struct{}), make(chan error, 1)
		var reason string
		cfg := client.WorkerConfig{Ended: func(_ *client.Session, r string) { reason = r }}
		work(t, srv, cfg, func(ctx context.Context, s *client.Session, _ client.Entry) error {
			close(began)
			<-ctx.Done()
			_, err := s.Reply(context.WithoutCancel(ctx), "text", "too late")
			over <- err
			return errors.New("not given back either")
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		<-began
		srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Session: "s_1", Ae: 8, Reason: "transfer"}}},
			delivery(8, 2, 1, 1)) // nothing of an ended assignment is handled
		if err := <-over; !errors.Is(err, client.ErrRevoked) {
			t.Fatalf("Reply = %v; want ErrRevoked", err)
		}
		synctest.Wait()
		if n := len(srv.p.in); n != 0 || reason != "transfer" {
			t.Fatalf("%d frames after the end, reason %q; want none, transfer", n, reason)
		}
	})
}

func TestStaleAssignmentIsQuiet(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		ended := make(chan string, 1)
		cfg := client.WorkerConfig{Ended: func(_ *client.Session, r string) { ended <- r }}
		work(t, srv, cfg, func(ctx context.Context, s *client.Session, e client.Entry) error {
			_, err := s.Reply(ctx, "text", "x", client.WithAck(e.Seq))
			return err
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		srv.p.say(refusal(srv.next().Id, wire.Refuse(wire.StaleAssignment)))
		if r := <-ended; r != "stale" {
			t.Fatalf("ended with %q; want stale", r)
		}
		synctest.Wait()
		if n := len(srv.p.in); n != 0 {
			t.Fatalf("%d frames after the end; want none, least of all a nack", n)
		}
	})
}

func TestLeaseIsKept(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var seen []uint64
		work(t, srv, client.WorkerConfig{}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			seen = append(seen, e.Seq)
			_, err := s.Reply(ctx, "text", "x", client.WithAck(e.Seq))
			return err
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		f := srv.next()
		srv.p.cut() // whether the reply was written is unknown
		sub := srv.subscribe(&wirepb.Kept{Session: "s_1", Ae: 8})
		if sub.Lease != "l_1" {
			t.Fatalf("subscribe = %v; want the lease", sub)
		}
		again := srv.next()
		if again.GetReply().GetAck() != f.GetReply().GetAck() {
			t.Fatalf("got %v; want %v again", again, f)
		}
		// What is unacknowledged follows: 1 is still being answered. Meanwhile the customer said 3; 2 is our own word.
		srv.p.say(delivery(8, 1, 0, 1), replied(again.Id, 2), delivery(8, 3, 2, 1))
		f = srv.next()
		if f.GetReply().GetAck() != 3 {
			t.Fatalf("got %v; want the reply to 3", f)
		}
		srv.p.say(replied(f.Id, 4))
		synctest.Wait()
		srv.p.say(delivery(8, 1, 0, 1)) // a server that does not know of the ack
		if a := srv.ack(); a.Seq != 1 {
			t.Fatalf("ack = %v; want 1 once more", a)
		}
		if want := []uint64{1, 3}; !slices.Equal(seen, want) {
			t.Fatalf("handled %v; want %v", seen, want)
		}
	})
}

// [SW-5.9] A server that was started anew takes whoever subscribes for ready: who is not says so again, by his own word or by the server's.
func TestPresenceIsSaidAgain(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var c *client.Client
		work(t, srv, client.WorkerConfig{Ready: func(of *client.Client) { c = of }}, func(context.Context, *client.Session, client.Entry) error { return nil })
		synctest.Wait()
		heard := func(state, reason string) {
			t.Helper()
			f := srv.next()
			if p := f.GetPresence(); p == nil || p.State != state || p.Reason != reason {
				t.Fatalf("got %v; want presence %q, %q", f, state, reason)
			}
			srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Presence{Presence: &wirepb.Presence{}}})
			synctest.Wait()
		}
		quiet := func() {
			t.Helper()
			srv.assign(8, 0, 0)
			srv.p.say(delivery(8, 1, 0, 1))
			srv.ack() // and nothing before it
		}
		said := make(chan error, 1)
		say := func(state, reason string) { go func() { said <- c.Presence(t.Context(), state, reason) }() }
		say("draining", "lunch")
		heard("draining", "lunch")
		if err := <-said; err != nil {
			t.Fatal(err)
		}
		srv.p.cut()
		srv.subscribe()
		heard("draining", "lunch")
		say("away", "") // a word that is on its way when the connection ends is said once
		if p := srv.next().GetPresence(); p.GetState() != "away" {
			t.Fatalf("got %v; want away", p)
		}
		srv.p.cut()
		srv.subscribe()
		heard("away", "")
		if err := <-said; err != nil {
			t.Fatal(err)
		}
		say("ready", "")
		heard("ready", "")
		if err := <-said; err != nil {
			t.Fatal(err)
		}
		srv.p.cut()
		srv.subscribe()
		quiet()
		srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Presence{Presence: &wirepb.Presence{State: "away", Reason: "missed"}}})
		synctest.Wait()
		srv.p.cut()
		srv.subscribe(&wirepb.Kept{Session: "s_1", Ae: 8})
		heard("away", "missed")
	})
}

// [SW-5.9] Who comes back and is not ready is told so. It is news to a worker whom the word did not reach before, and to nobody else.
func TestPresenceIsNews(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var told []string
		cfg := client.WorkerConfig{Config: srv.config()}
		cfg.On.Presence = func(state, reason string) { told = append(told, state+" "+reason) }
		work(t, srv, cfg, func(context.Context, *client.Session, client.Entry) error { return nil })
		for range 2 {
			srv.p.cut()
			srv.subscribe()
			srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Presence{Presence: &wirepb.Presence{State: "away", Reason: "missed"}}})
			synctest.Wait()
		}
		if want := []string{"away missed"}; !slices.Equal(told, want) {
			t.Errorf("told %q; want %q", told, want)
		}
	})
}

func TestLeaseIsLost(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		ended := make(chan string, 1)
		cfg := client.WorkerConfig{Ended: func(_ *client.Session, r string) { ended <- r }}
		var attempts []uint32
		work(t, srv, cfg, func(ctx context.Context, _ *client.Session, e client.Entry) error {
			if attempts = append(attempts, e.Attempt); len(attempts) == 1 {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		synctest.Wait()
		srv.p.cut()
		srv.subscribe()
		if r := <-ended; r != "lease" {
			t.Fatalf("ended with %q; want lease", r)
		}
		srv.assign(10, 0, 2)
		srv.p.say(delivery(10, 1, 0, 2))
		if a := srv.ack(); a.Ae != 10 || a.Seq != 1 {
			t.Fatalf("ack = %v; want 1 under 10", a)
		}
	})
}

// [SW-5.7] Whoever is taken over by another connection of the same worker ends, and does not come back to take the work from that.
func TestTakenOver(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		cfg := client.WorkerConfig{Config: srv.config(), Queues: []string{"default"}}
		ended := ""
		cfg.Ended = func(_ *client.Session, reason string) { ended = reason }
		end, handled := make(chan error, 1), make(chan error, 1)
		go func() {
			end <- client.Work(t.Context(), cfg, func(ctx context.Context, _ *client.Session, _ client.Entry) error {
				<-ctx.Done()
				handled <- context.Cause(ctx)
				return ctx.Err()
			})
		}()
		srv.subscribe()
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		synctest.Wait()
		srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Reason: "takeover"}}})
		if err := <-end; !errors.Is(err, client.ErrTakenOver) {
			t.Fatalf("Work = %v; want ErrTakenOver", err)
		}
		if err := <-handled; err == nil || ended != "takeover" {
			t.Fatalf("its work ended with %v, the assignment with %q", err, ended)
		}
		select {
		case <-srv.peers:
			t.Fatal("it came back")
		case <-time.After(time.Minute):
		}
	})
}

func TestKeptButUnheardOf(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		reason := ""
		work(t, srv, client.WorkerConfig{}, func(_ context.Context, s *client.Session, _ client.Entry) error {
			reason = s.Assignment().Reason
			return nil
		})
		srv.p.cut() // and with it what was said about s_1
		srv.subscribe(&wirepb.Kept{Session: "s_1", Ae: 8})
		srv.p.say(delivery(8, 5, 4, 1))
		if a := srv.ack(); a.Seq != 5 || reason != "kept" {
			t.Fatalf("ack = %v, reason %q; want 5, kept", a, reason)
		}
	})
}

func TestWorkerGapIsReadFromHistory(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var seen, noticed []uint64
		cfg := client.WorkerConfig{Notice: func(_ context.Context, _ *client.Session, e client.Entry) { noticed = append(noticed, e.Seq) }}
		work(t, srv, cfg, func(_ context.Context, _ *client.Session, e client.Entry) error {
			seen = append(seen, e.Seq)
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1), delivery(8, 5, 4, 1))
		var f *wirepb.ClientFrame
		for f = srv.next(); f.GetHistory() == nil; f = srv.next() {
		}
		if h := f.GetHistory(); h.After == nil || *h.After != 1 {
			t.Fatalf("history = %v; want what is after 1", h)
		}
		at := func(seq uint64, origin string) *wirepb.Entry {
			e := &wirepb.Entry{Session: "s_1", Seq: seq, Epoch: 1, Kind: "message", Type: "text", Origin: origin, From: &wirepb.Author{Role: "worker", Id: "faq"}}
			switch origin {
			case "customer":
				e.From = &wirepb.Author{Role: "customer", Id: "alice"}
			case "assist":
				e.From.Id = "bob"
			}
			return e
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_History{History: &wirepb.HistoryReply{
			Entries: []*wirepb.Entry{at(2, "customer"), at(3, "bot"), at(4, "assist"), at(5, "customer"), at(6, "customer")},
		}}}, delivery(8, 6, 5, 1))
		for srv.ack().Seq != 6 {
		}
		if !slices.Equal(seen, []uint64{1, 2, 5, 6}) || !slices.Equal(noticed, []uint64{4}) {
			t.Fatalf("handled %v, noticed %v; want 1 2 5 6 and 4 (3 is our own word)", seen, noticed)
		}
	})
}

// What is delivered while the history is being read for what was missed need not be in it: it is read again.
func TestWorkerGapGrows(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		work(t, srv, client.WorkerConfig{}, func(context.Context, *client.Session, client.Entry) error { return nil })
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1), delivery(8, 3, 2, 1)) // 2 was lost
		page := func(more *wirepb.ServerFrame, seqs ...uint64) {
			t.Helper()
			f := srv.next()
			for f.GetHistory() == nil {
				f = srv.next()
			}
			if after := f.GetHistory().GetAfter(); after != seqs[0]-1 {
				t.Fatalf("the history is read after %d; want %d", after, seqs[0]-1)
			}
			h := &wirepb.HistoryReply{}
			for _, seq := range seqs {
				h.Entries = append(h.Entries, &wirepb.Entry{Session: "s_1", Seq: seq, Epoch: 1, Kind: "message", Type: "text", Origin: "customer", From: &wirepb.Author{Role: "customer", Id: "alice"}})
			}
			if more != nil {
				srv.p.say(more)
			}
			srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_History{History: h}})
		}
		page(delivery(8, 4, 3, 1), 2, 3)
		page(nil, 4)
		for srv.ack().Seq != 4 {
		}
	})
}

func TestOffers(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		rescinded := make(chan struct{})
		cfg := client.WorkerConfig{Accept: func(ctx context.Context, o client.Offer) bool {
			if o.ID == "o_3" {
				<-ctx.Done()
				close(rescinded)
			}
			return o.ID == "o_1"
		}}
		work(t, srv, cfg, func(context.Context, *client.Session, client.Entry) error { return nil })
		offer := func(id string) *wirepb.ServerFrame {
			return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Offer{Offer: &wirepb.Offer{Offer: id, Session: "s_1", Queue: "default", ExpiresMs: 20000}}}
		}
		srv.p.say(offer("o_1"))
		f := srv.next()
		if f.GetAccept().GetOffer() != "o_1" {
			t.Fatalf("got %v; want accept", f)
		}
		srv.p.say(refusal(f.Id, wire.Refuse(wire.OfferRescinded)), offer("o_2"))
		if f = srv.next(); f.GetDecline().GetOffer() != "o_2" {
			t.Fatalf("got %v; want decline", f)
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Decline{Decline: &wirepb.Done{}}}, offer("o_3"))
		synctest.Wait()
		srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_OfferEnded{OfferEnded: &wirepb.OfferEnded{Offer: "o_3", Reason: "taken"}}})
		<-rescinded
		synctest.Wait()
		if n := len(srv.p.in); n != 0 {
			t.Fatalf("%d frames about an offer that has ended", n)
		}
	})
}

// Nothing that is being thought about keeps an offer from being answered, when the server has a slot for it: whoever misses one is away. An invitation takes
// none, and the slot of an offer that has ended is free before whoever thinks about it has noticed.
func TestOffersBesideOthers(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		slow := make(chan struct{})
		cfg := client.WorkerConfig{
			Slots: 1,
			Accept: func(_ context.Context, o client.Offer) bool {
				if o.ID == "o_1" {
					<-slow
				}
				return true
			},
			Invited: func(ctx context.Context, _ *client.Client, _ client.Invitation) bool {
				<-ctx.Done()
				return true
			},
		}
		work(t, srv, cfg, func(context.Context, *client.Session, client.Entry) error { return nil })
		defer close(slow)
		offer := func(id string) *wirepb.ServerFrame {
			return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Offer{Offer: &wirepb.Offer{Offer: id, Session: "s_1", Queue: "default", ExpiresMs: 20000}}}
		}
		srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Invited{Invited: &wirepb.Invited{Session: "s_9", As: "consult", ExpiresMs: 600_000}}})
		srv.p.say(offer("o_1"))
		synctest.Wait()
		srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_OfferEnded{OfferEnded: &wirepb.OfferEnded{Offer: "o_1", Reason: "taken"}}}, offer("o_2"))
		if f := srv.next(); f.GetAccept().GetOffer() != "o_2" {
			t.Fatalf("got %v; want accept", f)
		}
	})
}

// An offer that holds over a lost connection is shown again by the server, and answered over the new one, also where nobody has noticed yet that the first showing
// is over.
func TestOfferShownAgain(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		shown, slow := 0, make(chan struct{})
		cfg := client.WorkerConfig{Accept: func(context.Context, client.Offer) bool {
			if shown++; shown == 1 {
				<-slow
			}
			return true
		}}
		work(t, srv, cfg, func(context.Context, *client.Session, client.Entry) error { return nil })
		offer := &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Offer{Offer: &wirepb.Offer{Offer: "o_1", Session: "s_1", Queue: "default", ExpiresMs: 20000}}}
		srv.p.say(offer)
		synctest.Wait()
		srv.p.cut()
		srv.subscribe()
		srv.p.say(offer)
		synctest.Wait()
		answered := len(srv.p.in) > 0
		close(slow)
		if !answered {
			t.Fatal("nothing is said to what is offered again")
		}
		if f := srv.next(); f.GetAccept().GetOffer() != "o_1" {
			t.Fatalf("got %v; want accept", f)
		}
		synctest.Wait()
		if n := len(srv.p.in); n != 0 || shown != 2 {
			t.Fatalf("%d more frames, and it was shown %d times; want 0 and 2", n, shown)
		}
	})
}

func TestStreamRewinds(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		streams := make(chan *client.Stream, 1)
		work(t, srv, client.WorkerConfig{}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			w := s.Stream("m1")
			streams <- w
			<-streams
			_, err := w.End(ctx, "text", nil, client.WithAck(e.Seq))
			return err
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		w := <-streams
		write := func(s string) {
			if _, err := w.WriteString(s); err != nil {
				t.Fatal(err)
			}
		}
		delta := func(off uint64, text string) {
			t.Helper()
			d := srv.next().GetDelta()
			if d.GetOff() != off || d.Text != text || d.Ae != 8 || d.Stream != "m1" {
				t.Fatalf("delta = %v; want %q at %d", d, text, off)
			}
		}
		write("Your order")
		delta(0, "Your order")
		write(" caf\xc3")
		delta(10, " caf") // half a rune waits for the other half
		write("\xa9")
		delta(14, "é")
		srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Rewind{Rewind: &wirepb.Rewind{Session: "s_1", Stream: "m1", Off: 10}}})
		delta(10, " café")
		srv.p.cut()
		srv.subscribe(&wirepb.Kept{Session: "s_1", Ae: 8})
		synctest.Wait()
		write("!")
		delta(16, "!")
		srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Rewind{Rewind: &wirepb.Rewind{Session: "s_1", Stream: "m1", Off: 0}}})
		delta(0, "Your order café!")
		streams <- w
		f := srv.next()
		if r := f.GetReply(); r.GetStream() != "m1" || string(r.Body) != `{"text":"Your order café!"}` || r.GetAck() != 1 {
			t.Fatalf("got %v; want the final reply", f)
		}
		if _, err := w.WriteString("more"); err == nil {
			t.Fatal("a stream that has ended takes more")
		}
		srv.p.say(replied(f.Id, 2))
		if _, err := w.WriteString(strings.Repeat("x", 40000)); err == nil {
			t.Fatal("a stream outgrew the body")
		}
	})
}

func TestDraftsAreShown(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var got []string
		cfg := srv.config()
		cfg.On.Stream = func(_ *client.Session, d client.Draft) {
			line := d.Stream + ":" + d.Text
			if d.Ended {
				line += "."
			}
			got = append(got, line)
		}
		c := dial(t, srv, cfg)
		a := async(func() (*client.Session, error) { return c.Open(t.Context(), client.OpenOptions{}) })
		srv.open(&wirepb.OpenReply{Epoch: 1, Head: 5, Streams: []*wirepb.Stream{{Stream: "m1", Off: 4, Text: "Your"}}})
		s := a(t)
		delta := func(id string, off uint64, text string) *wirepb.ServerFrame {
			return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Delta{Delta: &wirepb.Delta{Session: "s_1", Stream: id, Off: off, Text: text}}}
		}
		end := message(6, 5)
		end.GetMessage().Stream = "m1"
		srv.p.say(delta("m1", 4, " order"), delta("m1", 20, "lost before"), delta("m1", 8, "er!"), end, delta("m2", 0, "a"))
		recv(t, s, 6)
		synctest.Wait()
		srv.p.cut()
		srv.accept(&wirepb.Resumed{Session: "s_1", How: "exact", Epoch: 1, Head: 6})
		synctest.Wait()
		want := "m1:Your m1:Your order m1:Your order! m1:Your order!. m2:a m2:a."
		if strings.Join(got, " ") != want {
			t.Fatalf("streams: %q; want %q", strings.Join(got, " "), want)
		}
	})
}

func TestWorkerGivesUpSessions(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var errs []error
		ended := make(chan string, 3)
		cfg := client.WorkerConfig{Ended: func(_ *client.Session, r string) { ended <- r }}
		work(t, srv, cfg, func(ctx context.Context, s *client.Session, e client.Entry) error {
			doc, err := s.SetContext(ctx, map[string]any{"b": 2})
			if err != nil || doc.V != 5 || string(doc.Doc) != `{"a":1,"b":2}` || s.Context().V != 5 {
				t.Errorf("SetContext = %v, %v", doc, err)
			}
			if v, err := s.SetAttributes(ctx, 6, map[string]any{"lang": nil}); err != nil || v != 7 {
				t.Errorf("SetAttributes = %v, %v", v, err)
			}
			errs = append(errs, s.Transfer(ctx, client.TransferTo{Queue: "refunds", Note: "he is angry"}, client.UpTo(e.Seq)))
			errs = append(errs, s.Transfer(ctx, client.TransferTo{Queue: "refunds"}))
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		f := srv.next()
		if m := f.GetContext(); m.GetIfV() != 4 || string(m.Patch) != `{"b":2}` {
			t.Fatalf("got %v; want context", f)
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Context{Context: &wirepb.ContextReply{V: 5}}})
		f = srv.next()
		if m := f.GetAttributes(); m.GetIfV() != 6 || string(m.Patch) != `{"lang":null}` || m.Ae != 8 || m.Key == "" {
			t.Fatalf("got %v; want attributes", f)
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Attributes{Attributes: &wirepb.AttributesReply{V: 7}}})
		f = srv.next()
		if m := f.GetTransfer(); m.GetTo().GetQueue() != "refunds" || m.Note != "he is angry" || m.GetUpto() != 1 || m.Ae != 8 {
			t.Fatalf("got %v; want transfer", f)
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Transfer{Transfer: &wirepb.Done{Seq: 2}}})
		if r := <-ended; r != "released" || errs[0] != nil || !errors.Is(errs[1], client.ErrRevoked) {
			t.Fatalf("ended with %q, %v; want released, and nothing more to give up", r, errs)
		}
		synctest.Wait()
		if n := len(srv.p.in); n != 0 {
			t.Fatalf("%d frames after the end", n)
		}
	})
}

// A handler that answers and releases, as one writes it first, has dealt with its entry: queued again, that would come back to it at once, under
// another ae, and be answered for ever.
func TestReleaseAcknowledges(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		released := make(chan error, 1)
		work(t, srv, client.WorkerConfig{}, func(ctx context.Context, s *client.Session, _ client.Entry) error {
			released <- s.Release(ctx, "solved", "", nil)
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		if a := srv.ack(); a.Seq != 1 || a.Ae != 8 {
			t.Fatalf("got %v; want the ack of 1", a)
		}
		f := srv.next()
		if m := f.GetRelease(); m.GetOutcome() != "solved" || m.Ae != 8 {
			t.Fatalf("got %v; want release", f)
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Release{Release: &wirepb.Done{Seq: 2}}})
		if err := <-released; err != nil {
			t.Fatal(err)
		}
	})
}

// Who releases behind a silence, and has seen less than what the handler has by now, does not acknowledge that: it would never be answered.
func TestReleaseOfOneBefore(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		silent := make(chan *client.Session, 1)
		answered := make(chan struct{})
		work(t, srv, client.WorkerConfig{}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			if e.Seq == 2 {
				silent <- s
				select {
				case <-answered:
				case <-ctx.Done():
				}
			}
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1), delivery(8, 2, 1, 1))
		if a := srv.ack(); a.Seq != 1 {
			t.Fatalf("got %v; want the ack of 1", a)
		}
		refused := make(chan error, 1)
		go func() { refused <- (<-silent).Release(t.Context(), "silent", "", nil, client.UpTo(1)) }()
		f := srv.next()
		if m := f.GetRelease(); m.GetUpto() != 1 {
			t.Fatalf("got %v; want release, and nothing before it", f)
		}
		srv.p.say(refusal(f.Id, wire.Refuse(wire.Unanswered)))
		if err := <-refused; err == nil {
			t.Fatal("it was not refused")
		}
		close(answered)
		if a := srv.ack(); a.Seq != 2 {
			t.Fatalf("got %v; want the ack of 2", a)
		}
	})
}

// A release that is refused has acknowledged what the handler has. An error of the handler cannot give that back any more, and what waits behind it is
// not to be lost by trying: its customer would wait for ever.
func TestRefusedReleaseGoesOn(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		handled := make(chan uint64, 2)
		work(t, srv, client.WorkerConfig{}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			handled <- e.Seq
			if e.Seq > 1 {
				return nil
			}
			err := s.Release(ctx, "solved", "", nil, client.UpTo(e.Seq))
			nack := s.Nack(ctx, e.Seq, 0, "once more")
			if why, ok := errors.AsType[*wire.Error](nack); !ok || why.Slug != wire.NotDelivered {
				t.Errorf("the nack of what is acknowledged: %v; want not_delivered", nack)
			}
			return err
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1), delivery(8, 2, 1, 1))
		if a := srv.ack(); a.Seq != 1 {
			t.Fatalf("got %v; want the ack of 1", a)
		}
		srv.p.say(refusal(srv.next().Id, wire.Refuse(wire.Unanswered)))
		srv.p.say(refusal(srv.next().Id, wire.Refuse(wire.NotDelivered)))
		if a := srv.ack(); a.Seq != 2 {
			t.Fatalf("got %v; want the ack of 2", a)
		}
		if a, b := <-handled, <-handled; a != 1 || b != 2 {
			t.Fatalf("handled %d and %d; want 1 and 2", a, b)
		}
	})
}

func TestWorkerShowsThatItLives(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		work(t, srv, client.WorkerConfig{}, func(context.Context, *client.Session, client.Entry) error { return nil })
		began := time.Now()
		<-srv.p.pongs
		if d := time.Since(began); d != 5*time.Second {
			t.Fatalf("the first sign after %v; want a third of lease_ms [SW-5.7]", d)
		}
	})
}

func TestWorkLetsHandlersFinish(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		began := make(chan struct{})
		stop := work(t, srv, client.WorkerConfig{}, func(ctx context.Context, _ *client.Session, _ client.Entry) error {
			close(began)
			select {
			case <-time.After(3 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1), delivery(8, 2, 1, 1))
		<-began
		at := time.Now()
		p := srv.p
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(at); d < 3*time.Second || d > 5*time.Second {
			t.Fatalf("Work ended after %v; want when its handler had", d)
		}
		acked := uint64(0)
		for f := range p.in {
			acked = max(acked, f.GetAck().GetSeq())
		}
		if acked != 1 {
			t.Fatalf("acknowledged %d; want 1, and 2 never handled", acked)
		}
	})
}

func TestWorkEndsWhenRefused(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		end := make(chan error, 1)
		go func() {
			end <- client.Work(t.Context(), client.WorkerConfig{Config: srv.config(), Queues: []string{"vip"}}, func(context.Context, *client.Session, client.Entry) error { return nil })
		}()
		srv.accept()
		srv.p.say(refusal(srv.next().Id, wire.Refuse(wire.Forbidden)))
		if e, ok := errors.AsType[*wire.Error](<-end); !ok || e.Slug != wire.Forbidden {
			t.Fatalf("Work = %v; want forbidden", e)
		}
	})
}

func TestNackAnswerIsLost(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		fail := true
		var seen []uint64
		work(t, srv, client.WorkerConfig{}, func(_ context.Context, _ *client.Session, e client.Entry) error {
			seen = append(seen, e.Seq)
			if fail {
				fail = false
				return errors.New("not now")
			}
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		nack := srv.next()
		srv.p.cut() // it was done, but the answer is lost
		srv.subscribe(&wirepb.Kept{Session: "s_1", Ae: 8})
		srv.p.say(delivery(8, 1, 0, 2), delivery(8, 2, 1, 1)) // behind the rewind already
		again := srv.next()
		if again.GetNack().GetKey() != nack.GetNack().GetKey() {
			t.Fatalf("got %v; want %v again", again, nack)
		}
		srv.p.say(&wirepb.ServerFrame{Id: again.Id, Verb: &wirepb.ServerFrame_Nack{Nack: &wirepb.Done{Seq: 1, Duplicate: true}}})
		f := srv.next()
		if h := f.GetHistory(); h == nil || h.GetAfter() != 0 || h.After == nil {
			t.Fatalf("got %v; want the history: the server will not deliver 1 and 2 again", f)
		}
		var page []*wirepb.Entry
		for seq := uint64(1); seq <= 2; seq++ {
			page = append(page, &wirepb.Entry{Session: "s_1", Seq: seq, Epoch: 1, Kind: "message", Type: "text", Origin: "customer"})
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_History{History: &wirepb.HistoryReply{Entries: page}}})
		for srv.ack().Seq != 2 {
		}
		if want := []uint64{1, 1, 2}; !slices.Equal(seen, want) {
			t.Fatalf("handled %v; want %v", seen, want)
		}
	})
}

// said returns the entry seq of the customer, as the history has it.
func said(seq uint64) *wirepb.Entry {
	return &wirepb.Entry{Session: "s_1", Seq: seq, Epoch: 1, Kind: "message", Type: "text", Origin: "customer", From: &wirepb.Author{Role: "customer", Id: "alice"}}
}

func page(id uint64, entries ...*wirepb.Entry) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_History{History: &wirepb.HistoryReply{Entries: entries}}}
}

// history returns the next request for the history, over whatever comes before it.
func (s *script) history() *wirepb.ClientFrame {
	s.t.Helper()
	f := s.next()
	for f.GetHistory() == nil {
		f = s.next()
	}
	return f
}

// endless is the configuration of a worker whose assignments nobody ends.
func endless(t *testing.T, srv *script) client.WorkerConfig {
	return client.WorkerConfig{Config: srv.config(), Ended: func(_ *client.Session, reason string) {
		if reason != "" { // not the end of the work itself
			t.Errorf("the assignment has ended here, as %q; the server knows nothing of that", reason)
		}
	}}
}

// What was missed is read until that worked: the server holds the session assigned as long as this worker lives, and the customer waits.
func TestMissedIsReadUntilThatWorks(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		cfg := endless(t, srv)
		cfg.Tries = 1
		work(t, srv, cfg, func(context.Context, *client.Session, client.Entry) error { return nil })
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1), delivery(8, 3, 2, 1)) // 2 was lost
		for range 7 {
			srv.p.say(refusal(srv.history().Id, wire.Refuse(wire.Unavailable)))
		}
		srv.p.say(page(srv.history().Id, said(2), said(3)))
		for srv.ack().Seq != 3 {
		}
	})
}

// Where the history is refused for good, the next subscription says all again.
func TestMissedIsSaidAgain(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var seen []uint64
		work(t, srv, endless(t, srv), func(_ context.Context, _ *client.Session, e client.Entry) error {
			seen = append(seen, e.Seq)
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1), delivery(8, 3, 2, 1)) // 2 was lost
		// A connection that says nothing would be given up anyway.
		for open, pings := true, 0; open; pings++ {
			if pings > 10 {
				t.Fatal("it has not hung up")
			}
			srv.p.ping()
			var f *wirepb.ClientFrame
			select {
			case f, open = <-srv.p.in:
			case <-time.After(20 * time.Second):
			}
			if f.GetHistory() != nil {
				srv.p.say(refusal(f.Id, wire.Refuse(wire.Forbidden)))
			}
		}
		srv.subscribe(&wirepb.Kept{Session: "s_1", Ae: 8})
		srv.p.say(delivery(8, 2, 1, 1), delivery(8, 3, 2, 1))
		for f := srv.next(); f.GetAck().GetSeq() != 3; f = srv.next() {
			if f.GetHistory() != nil { // asked for before the subscription was answered
				srv.p.say(refusal(f.Id, wire.Refuse(wire.Forbidden)))
			}
		}
		synctest.Wait()
		if n := len(srv.peers); n != 0 {
			t.Fatal("it has hung up again, though nothing is missing any more")
		}
		if want := []uint64{1, 2, 3}; !slices.Equal(seen, want) {
			t.Fatalf("handled %v; want %v", seen, want)
		}
	})
}

// What could not be given back was not forgotten by the server, and it will not deliver it again: neither that nor what followed it.
func TestNackFails(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		fail := true
		var seen []uint64
		work(t, srv, client.WorkerConfig{}, func(_ context.Context, _ *client.Session, e client.Entry) error {
			seen = append(seen, e.Seq)
			if fail {
				fail = false
				return errors.New("not now")
			}
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1), delivery(8, 2, 1, 1))
		nack := srv.next()
		srv.p.say(refusal(nack.Id, wire.Refuse(wire.NotDelivered)))
		f := srv.history()
		if h := f.GetHistory(); h.After == nil || *h.After != 0 {
			t.Fatalf("history = %v; want what is after 0", h)
		}
		srv.p.say(page(f.Id, said(1), said(2)))
		for srv.ack().Seq != 2 {
		}
		if want := []uint64{1, 1, 2}; !slices.Equal(seen, want) {
			t.Fatalf("handled %v; want %v", seen, want)
		}
	})
}

// A nack whose caller did not wait for the answer was taken perhaps. Its answer does not pass for that of a later one.
func TestNackAnsweredLate(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		calls := 0
		var seen []uint64
		work(t, srv, client.WorkerConfig{}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			seen = append(seen, e.Seq)
			if calls++; calls == 1 {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				if err := s.Nack(ctx, e.Seq, 0, "first"); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Nack = %v; want the deadline", err)
				}
				return errors.New("second")
			}
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1), delivery(8, 2, 1, 1))
		first, second := srv.next(), srv.next()
		done := func(f *wirepb.ClientFrame) *wirepb.ServerFrame {
			return &wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Nack{Nack: &wirepb.Done{Seq: 1}}}
		}
		srv.p.say(done(first), delivery(8, 1, 0, 2), delivery(8, 2, 1, 1), done(second)) // these two are before the second rewind
		synctest.Wait()
		if n := len(srv.p.in); n != 0 || len(seen) != 1 {
			t.Fatalf("%d frames, handled %v; want nothing: the second nack takes all of it back", n, seen)
		}
		srv.p.say(delivery(8, 1, 0, 3), delivery(8, 2, 1, 1))
		for srv.ack().Seq != 2 {
		}
		if want := []uint64{1, 1, 2}; !slices.Equal(seen, want) {
			t.Fatalf("handled %v; want %v", seen, want)
		}
	})
}

// An ack that nobody waits for may be lost, and behind a full window nothing follows that would make it good: one that is answered does.
func TestAckIsConfirmed(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		work(t, srv, client.WorkerConfig{Window: 1}, func(context.Context, *client.Session, client.Entry) error { return nil })
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		srv.ack() // and it is lost
		f := srv.next()
		if a := f.GetAck(); a.GetSeq() != 1 || a.Ae != 8 || f.Id == 0 {
			t.Fatalf("got %v; want the ack of 1 as a request", f)
		}
		srv.p.say(refusal(f.Id, wire.Refuse(wire.NotDelivered)))
		f = srv.next()
		if f.GetAck().GetSeq() != 1 || f.Id == 0 {
			t.Fatalf("got %v; want it again, until it is taken", f)
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Ack{Ack: &wirepb.Done{Seq: 1}}})
		time.Sleep(30 * time.Second) // of the bubble: several beats
		if n := len(srv.p.in); n != 0 {
			t.Fatalf("%d frames; want nothing more: it was answered", n)
		}
	})
}

// Who hears by that that the session is his no more believes it, as he does of a reply.
func TestConfirmedAckIsStale(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		ended := make(chan string, 1)
		cfg := client.WorkerConfig{Ended: func(_ *client.Session, r string) { ended <- r }}
		work(t, srv, cfg, func(context.Context, *client.Session, client.Entry) error { return nil })
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		srv.ack() // and it is lost
		srv.p.say(refusal(srv.next().Id, wire.Refuse(wire.StaleAssignment)))
		if r := <-ended; r != "stale" {
			t.Fatalf("ended with %q; want stale", r)
		}
	})
}

// An acknowledgement of what was not delivered, as of an answer that has another's word before it, takes no word of the customer's with it.
func TestAckOfWhatWasNotDelivered(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var seen []uint64
		work(t, srv, client.WorkerConfig{}, func(_ context.Context, s *client.Session, e client.Entry) error {
			seen = append(seen, e.Seq)
			if e.Seq > 1 {
				return nil
			}
			err := s.Ack(3)
			if refused, ok := errors.AsType[*wire.Error](err); !ok || refused.Slug != wire.NotDelivered {
				t.Errorf("Ack = %v; want not_delivered", err)
			}
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		if a := srv.ack(); a.Seq != 1 {
			t.Fatalf("ack = %v; want 1, which the handler has dealt with", a)
		}
		srv.p.say(delivery(8, 2, 1, 1))
		srv.ack()
		if want := []uint64{1, 2}; !slices.Equal(seen, want) {
			t.Fatalf("handled %v; want %v", seen, want)
		}
	})
}

// A nack of what was not delivered is refused, and what comes before it is handled all the same.
func TestNackOfWhatWasNotDelivered(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var seen []uint64
		work(t, srv, client.WorkerConfig{}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			if seen = append(seen, e.Seq); e.Seq == 1 {
				if err := s.Nack(ctx, 5, 0, "ahead"); err == nil {
					t.Error("a nack of 5 was taken; want not_delivered")
				}
			}
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		srv.p.say(refusal(srv.next().Id, wire.Refuse(wire.NotDelivered)), delivery(8, 2, 1, 1))
		for f := srv.next(); f.GetAck().GetSeq() != 2; f = srv.next() {
			if f.GetHistory() != nil { // it came before the refusal was heard
				srv.p.say(page(f.Id, said(2)))
			}
		}
		if want := []uint64{1, 2}; !slices.Equal(seen, want) {
			t.Fatalf("handled %v; want %v", seen, want)
		}
	})
}

// A handler that gives its entry back itself does not acknowledge it by returning: it comes again, and is to be handled then.
func TestHandlerNacks(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var seen []uint32
		work(t, srv, client.WorkerConfig{}, func(ctx context.Context, s *client.Session, e client.Entry) error {
			if seen = append(seen, e.Attempt); e.Attempt == 1 {
				return s.Nack(ctx, e.Seq, time.Second, "busy")
			}
			return nil
		})
		srv.assign(8, 0, 0)
		srv.p.say(delivery(8, 1, 0, 1))
		f := srv.next()
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Nack{Nack: &wirepb.Done{Seq: 1}}})
		synctest.Wait()
		if n := len(srv.p.in); n != 0 {
			t.Fatalf("got %v; want nothing: it was given back", srv.next())
		}
		srv.p.say(delivery(8, 1, 0, 2))
		if a := srv.ack(); a.Seq != 1 || !slices.Equal(seen, []uint32{1, 2}) {
			t.Fatalf("ack = %v, attempts %v; want 1, behind the second", a, seen)
		}
	})
}
