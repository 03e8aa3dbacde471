package client_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"switchboard/client"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play runs a script on a clock of its own.
func play(t *testing.T, f func(t *testing.T, srv *script)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newScript(t)) })
}

// async calls f on a goroutine and returns where its result will be.
func async[T any](f func() (T, error)) func(t *testing.T) T {
	type result struct {
		v   T
		err error
	}
	ch := make(chan result, 1)
	go func() { v, err := f(); ch <- result{v, err} }()
	return func(t *testing.T) T {
		t.Helper()
		r := <-ch
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.v
	}
}

// dial connects a client to srv.
func dial(t *testing.T, srv *script, cfg client.Config) *client.Client {
	t.Helper()
	c := async(func() (*client.Client, error) { return client.Dial(t.Context(), cfg) })
	srv.accept()
	got := c(t)
	t.Cleanup(func() { _ = got.Close() })
	return got
}

// follow opens s_1 at head.
func follow(t *testing.T, srv *script, c *client.Client, head uint64, o client.OpenOptions) *client.Session {
	t.Helper()
	s := async(func() (*client.Session, error) { return c.Open(t.Context(), o) })
	srv.open(&wirepb.OpenReply{Epoch: 1, Head: head, State: "assigned"})
	return s(t)
}

func recv(t *testing.T, s *client.Session, seqs ...uint64) {
	t.Helper()
	for _, seq := range seqs {
		e, err := s.Recv(t.Context())
		if err != nil || e.Seq != seq {
			t.Fatalf("Recv = %d, %v; want %d", e.Seq, err, seq)
		}
	}
}

func TestResendWithSameKey(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		s := follow(t, srv, c, 5, client.OpenOptions{})
		got := async(func() (client.Sent, error) { return s.Send(t.Context(), "text", "hi") })
		first := srv.next().GetSend()
		if first.GetKey() == "" {
			t.Fatal("send has no key [SW-4.3]")
		}
		srv.p.cut() // the answer is lost
		h := srv.accept(&wirepb.Resumed{Session: "s_1", How: "exact", Epoch: 1, Head: 6})
		if len(h.Resume) != 1 || h.Resume[0].Session != "s_1" || h.Resume[0].Epoch != 1 || h.Resume[0].Seq != 5 {
			t.Fatalf("resume = %v; want s_1 at 1:5", h.Resume)
		}
		srv.p.say(message(6, 5))
		again := srv.next()
		if again.GetSend().GetKey() != first.Key || string(again.GetSend().GetBody()) != `{"text":"hi"}` {
			t.Fatalf("resent %v; want the same key and payload as %v", again, first)
		}
		srv.p.say(sendReply(again.Id, 6, true), message(7, 6))
		if sent := got(t); sent.Seq != 6 || !sent.Duplicate {
			t.Fatalf("Send = %+v; want the first result", sent)
		}
		recv(t, s, 6, 7)
	})
}

func TestOwnEntriesStandInTheirPlace(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		s := follow(t, srv, c, 5, client.OpenOptions{})
		got := async(func() (client.Sent, error) { return s.Send(t.Context(), "text", "hi", client.ReplyTo(3)) })
		f := srv.next()
		srv.p.say(message(6, 5), sendReply(f.Id, 8, false), message(9, 8)) // 7 is for staff
		got(t)
		recv(t, s, 6)
		e, err := s.Recv(t.Context())
		if err != nil || !e.Own || e.Seq != 8 || e.Text() != "hi" || e.ReplyTo != 3 || e.From.ID != "alice" || e.TS != 1 {
			t.Fatalf("Recv = %+v, %v; want our own entry 8", e, err)
		}
		recv(t, s, 9)
		if p := s.Position(); p != (wire.Position{Epoch: 1, Seq: 9}) {
			t.Fatalf("Position = %v; want 1:9", p)
		}
	})
}

func TestGapReopens(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		s := follow(t, srv, c, 5, client.OpenOptions{})
		srv.p.say(message(6, 5), message(6, 5), message(8, 7), message(9, 8)) // 6 twice, 7 is missing
		recv(t, s, 6)
		next := async(func() (client.Entry, error) { return s.Recv(t.Context()) })
		o := srv.open(&wirepb.OpenReply{Epoch: 1, Head: 9})
		if o.From.GetSeq() != 6 || o.From.GetEpoch() != 1 {
			t.Fatalf("opened from %v; want 1:6 [SW-4.4]", o.From)
		}
		srv.p.say(message(7, 6), message(8, 7), message(9, 8))
		if e := next(t); e.Seq != 7 {
			t.Fatalf("Recv = %d; want 7", e.Seq)
		}
		recv(t, s, 8, 9)
	})
}

func TestSlowReaderLeavesAndComesBack(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		cfg := srv.config()
		cfg.Buffer = 2
		c := dial(t, srv, cfg)
		s := follow(t, srv, c, 0, client.OpenOptions{})
		srv.p.say(message(1, 0), message(2, 1), message(3, 2), message(4, 3))
		if f := srv.next(); f.GetLeave().GetSession() != "s_1" || f.Id != 0 {
			t.Fatalf("got %v; want leave: nobody reads", f)
		}
		recv(t, s, 1, 2)
		next := async(func() (client.Entry, error) { return s.Recv(t.Context()) })
		if o := srv.open(&wirepb.OpenReply{Epoch: 1, Head: 4}); o.From.GetSeq() != 2 {
			t.Fatalf("opened from %v; want 2", o.From)
		}
		srv.p.say(message(3, 2), message(4, 3))
		if e := next(t); e.Seq != 3 {
			t.Fatalf("Recv = %d; want 3", e.Seq)
		}
		recv(t, s, 4)
	})
}

func TestResetIsShown(t *testing.T) {
	f := func(r *wirepb.Resumed, seq uint64, want client.Reset) {
		t.Helper()
		play(t, func(t *testing.T, srv *script) {
			var got []client.Reset
			cfg := srv.config()
			cfg.On.Reset = func(_ *client.Session, r client.Reset) { got = append(got, r) }
			c := dial(t, srv, cfg)
			s := follow(t, srv, c, 5, client.OpenOptions{})
			srv.p.say(message(6, 5), message(7, 6))
			recv(t, s, 6)
			srv.p.cut()
			srv.accept(r)
			push := message(seq, seq-1)
			push.GetMessage().Epoch = 2
			srv.p.say(push)
			synctest.Wait()
			if want.How == "reset" {
				recv(t, s, 7) // it was there when it came, and nobody says that it was lost
			}
			e, err := s.Recv(t.Context())
			if err != nil || e.Seq != seq || e.Epoch != 2 {
				t.Fatalf("Recv = %+v, %v; want %v", e, err, push)
			}
			if len(got) != 1 || got[0] != want {
				t.Fatalf("resets = %v; want %v", got, want)
			}
		})
	}
	// 7 waits unread: it was lost, and is not shown any more.
	f(&wirepb.Resumed{Session: "s_1", How: "truncated", At: 5, Epoch: 2, Head: 6}, 6, client.Reset{How: "truncated", At: 5})
	f(&wirepb.Resumed{Session: "s_1", How: "reset", Epoch: 2, Head: 90}, 90, client.Reset{How: "reset"})
}

func TestCloseCodes(t *testing.T) {
	f := func(code wire.CloseCode, terminal bool) {
		t.Helper()
		play(t, func(t *testing.T, srv *script) {
			cfg := srv.config()
			n := 0
			cfg.Token = func(context.Context) (string, error) { n++; return string(rune('a' + n)), nil }
			c := dial(t, srv, cfg)
			srv.p.bye(code)
			if !terminal {
				srv.accept()
				synctest.Wait()
				if c.Err() != nil {
					t.Fatalf("%d: Err = %v; want none", code, c.Err())
				}
				return
			}
			<-c.Done()
			var closed *client.CloseError
			if !errors.As(c.Err(), &closed) || closed.Code != code {
				t.Fatalf("%d: Err = %v; want a CloseError", code, c.Err())
			}
			if _, err := c.Open(t.Context(), client.OpenOptions{}); !errors.Is(err, c.Err()) {
				t.Fatalf("Open = %v; want %v", err, c.Err())
			}
		})
	}
	for _, row := range wire.Closings() {
		f(row.Code, row.Code >= 3500)
	}
	f(1009, true) // our frame was too large, and would be again
	f(1001, false)
}

func TestByeIsHonoured(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var waited time.Duration
		cfg := srv.config()
		cfg.On.Disconnected = func(_ error, d time.Duration) { waited = d }
		dial(t, srv, cfg)
		srv.p.say(&wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Bye{Bye: &wirepb.Bye{Code: 3001, Reason: "drain", Reconnect: true, AfterMs: 4200, To: "ws://other.test/v1/connect"}}})
		synctest.Wait()
		srv.p.bye(wire.CloseDrain)
		began := time.Now()
		srv.accept()
		synctest.Wait()
		if d := time.Since(began); d != waited || d != 4700*time.Millisecond { // after_ms and the whole jitter
			t.Fatalf("came back after %v, announced %v; want 4.7 s", d, waited)
		}
		srv.mu.Lock()
		defer srv.mu.Unlock()
		if srv.urls[1] != "other.test" {
			t.Fatalf("came back to %s; want other.test", srv.urls[1])
		}
	})
}

func TestBackoffGrows(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		var waits []time.Duration
		cfg := srv.config()
		cfg.On.Disconnected = func(_ error, d time.Duration) { waits = append(waits, d) }
		dial(t, srv, cfg)
		srv.mu.Lock()
		srv.code = http.StatusServiceUnavailable
		srv.mu.Unlock()
		srv.p.cut()
		time.Sleep(2 * time.Minute) // of the bubble's clock
		synctest.Wait()
		want := []time.Duration{500, 1000, 2000, 4000, 8000, 16000, 20000, 20000}
		for i, w := range want {
			if waits[i] != w*time.Millisecond {
				t.Fatalf("pauses %v; want %v ms", waits, want)
			}
		}
		srv.mu.Lock()
		srv.code = http.StatusForbidden
		srv.mu.Unlock()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if last := waits[len(waits)-1]; last >= 0 {
			t.Fatalf("after 403 it waits %v; want the end", last)
		}
	})
}

func TestDeadPeerAndPong(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		dial(t, srv, srv.config())
		time.Sleep(20 * time.Second)
		srv.p.ping()
		<-srv.p.pongs // [SW-2.6]
		began := time.Now()
		srv.accept() // nothing more is said: the client comes anew
		if d := time.Since(began); d != 33*time.Second+500*time.Millisecond {
			t.Fatalf("a silent server was left after %v; want ping_ms + pong_ms and the first pause", d)
		}
	})
}

func TestTokenIsRefreshed(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		n := 0
		cfg := srv.config()
		cfg.Token = func(context.Context) (string, error) { n++; return []string{"", "one", "two", "three"}[n], nil }
		c := async(func() (*client.Client, error) { return client.Dial(t.Context(), cfg) })
		h := srv.acceptWith(func(r *wirepb.HelloReply) { r.ExpiresMs, r.PingMs = 60000, 6000000 })
		defer c(t).Close() //nolint:errcheck // it cannot fail
		began := time.Now()
		f := srv.next()
		if h.Token != "one" || f.GetRefresh().GetToken() != "two" || time.Since(began) != 48*time.Second {
			t.Fatalf("got %v after %v; want a refresh before the token expires [SW-3.3]", f, time.Since(began))
		}
		srv.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Refresh{Refresh: &wirepb.RefreshReply{ExpiresMs: 1200000}}})
		if f := srv.next(); f.GetRefresh().GetToken() != "three" || time.Since(began) != 48*time.Second+1140*time.Second {
			t.Fatalf("got %v after %v; want the next refresh a minute before the end", f, time.Since(began))
		}
	})
}

func TestExpiredTokenIsNotShownAgain(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		srv.p.bye(wire.CloseTokenExpired)
		<-c.Done()
		var e *wire.Error
		if !errors.As(c.Err(), &e) || e.Slug != wire.TokenExpired {
			t.Fatalf("Err = %v; want token_expired: the source has no other token", c.Err())
		}
	})
}

func TestRefusalsAreTriedAgain(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		s := follow(t, srv, c, 5, client.OpenOptions{})
		began := time.Now()
		got := async(func() (client.Sent, error) { return s.Send(t.Context(), "text", "hi") })
		f := srv.next()
		srv.p.say(refusal(f.Id, &wire.Error{Slug: wire.Overloaded, RetryAfter: 800 * time.Millisecond}))
		f2 := srv.next()
		if f2.GetSend().GetKey() != f.GetSend().GetKey() || time.Since(began) != 1300*time.Millisecond {
			t.Fatalf("came again after %v as %v; want the same key after retry_after_ms and the jitter", time.Since(began), f2)
		}
		srv.p.say(refusal(f2.Id, wire.Refuse(wire.Unavailable)))
		f3 := srv.next()
		srv.p.say(sendReply(f3.Id, 6, true))
		if sent := got(t); sent.Seq != 6 {
			t.Fatalf("Send = %+v; want 6", sent)
		}
		recv(t, s, 6) // it continues the order, though its place was told by a repetition
		for _, slug := range []wire.Slug{wire.IdempotencyConflict, wire.SessionClosed, wire.QuotaExceeded, wire.VersionConflict} {
			errs := make(chan error, 1)
			go func() { _, err := s.Send(t.Context(), "text", "hi"); errs <- err }()
			srv.p.say(refusal(srv.next().Id, wire.Refuse(slug)))
			if e, ok := errors.AsType[*wire.Error](<-errs); !ok || e.Slug != slug {
				t.Fatalf("Send = %v; want %s", e, slug)
			}
		}
	})
}

func TestInflightIsKept(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		cfg := srv.config()
		cfg.Pending = 3
		a := async(func() (*client.Client, error) { return client.Dial(t.Context(), cfg) })
		srv.acceptWith(func(r *wirepb.HelloReply) { r.Limits.Inflight = 2 })
		c := a(t)
		defer c.Close() //nolint:errcheck // it cannot fail
		s := follow(t, srv, c, 0, client.OpenOptions{})
		for range 3 {
			go s.Send(t.Context(), "text", "hi") //nolint:errcheck // answered below
			synctest.Wait()
		}
		if _, err := s.Send(t.Context(), "text", "hi"); !errors.Is(err, client.ErrBusy) {
			t.Fatalf("Send = %v; want ErrBusy", err)
		}
		one := srv.next()
		srv.next()
		synctest.Wait()
		if n := len(srv.p.in); n != 0 {
			t.Fatalf("%d requests above limits.inflight", n)
		}
		srv.p.say(sendReply(one.Id, 1, false))
		if f := srv.next(); f.GetSend() == nil {
			t.Fatalf("got %v; want the third send", f)
		}
	})
}

func TestGivenUpSendKeepsItsPlace(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		s := follow(t, srv, c, 5, client.OpenOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Send(ctx, "text", "hi"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Send = %v; want the deadline", err)
		}
		srv.p.say(sendReply(srv.next().Id, 6, false), message(7, 6))
		recv(t, s, 6, 7) // the caller does not know, the order does
	})
}

func TestWhatCannotBeSent(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		s := follow(t, srv, c, 5, client.OpenOptions{})
		f := func(body any, want wire.Slug) {
			t.Helper()
			_, err := s.Send(t.Context(), "text", body)
			if e, ok := errors.AsType[*wire.Error](err); !ok || e.Slug != want {
				t.Fatalf("Send = %v; want %s", err, want)
			}
		}
		f([]byte("{"), wire.InvalidBody)
		f(string(make([]byte, 40000)), wire.TooLarge)
		if _, err := s.Send(t.Context(), "text", func() {}); err == nil {
			t.Fatal("a func was sent")
		}
		_, err := c.Open(t.Context(), client.OpenOptions{Attributes: string(make([]byte, 70000))})
		if e, ok := errors.AsType[*wire.Error](err); !ok || e.Slug != wire.TooLarge {
			t.Fatalf("Open = %v; want too_large: the frame would end the connection [SW-6.3]", err)
		}
	})
}

func TestLevels(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		s := follow(t, srv, c, 5, client.OpenOptions{})
		for _, err := range []error{s.Ack(3), s.Read(4), s.Ack(2)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		s.Typing(true)
		var a *wirepb.Ack
		typing := false
		synctest.Wait()
		for len(srv.p.in) > 0 {
			switch f := srv.next(); {
			case f.GetAck() != nil:
				a = f.GetAck()
			case f.GetTyping() != nil:
				typing = f.GetTyping().On
			}
		}
		if a.GetSeq() != 4 || a.GetRead() != 4 || !typing {
			t.Fatalf("ack %v, typing %v; want 4, 4, on", a, typing)
		}
	})
}

func TestLeaveAndClose(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		s := follow(t, srv, c, 5, client.OpenOptions{})
		srv.p.say(message(6, 5))
		synctest.Wait()
		left := async(func() (int, error) { return 0, s.Leave(t.Context()) })
		srv.p.say(&wirepb.ServerFrame{Id: srv.next().Id, Verb: &wirepb.ServerFrame_Leave{Leave: &wirepb.Done{}}})
		left(t)
		recv(t, s, 6)
		if _, err := s.Recv(t.Context()); !errors.Is(err, client.ErrLeft) {
			t.Fatalf("Recv = %v; want ErrLeft", err)
		}
		if err := c.Close(); err != nil || !errors.Is(c.Err(), client.ErrClosed) {
			t.Fatalf("Close = %v, Err = %v", err, c.Err())
		}
		if _, err := c.Open(t.Context(), client.OpenOptions{}); !errors.Is(err, client.ErrClosed) {
			t.Fatalf("Open = %v; want ErrClosed", err)
		}
	})
}

func TestDialGivesUp(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		srv.mu.Lock()
		srv.code = http.StatusServiceUnavailable
		srv.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := client.Dial(ctx, srv.config()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Dial = %v; want the deadline", err)
		}
	})
}

func TestOpenTwiceGoesOn(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		s := follow(t, srv, c, 5, client.OpenOptions{})
		if again := follow(t, srv, c, 9, client.OpenOptions{Session: "s_1"}); again != s {
			t.Fatal("two sessions of one id")
		}
		srv.p.say(message(10, 9)) // the server now begins at 9
		next := async(func() (client.Entry, error) { return s.Recv(t.Context()) })
		if o := srv.open(&wirepb.OpenReply{Epoch: 1, Head: 10}); o.From.GetSeq() != 5 {
			t.Fatalf("opened from %v; want 5, where the session was", o.From)
		}
		srv.p.say(message(6, 5))
		if e := next(t); e.Seq != 6 {
			t.Fatalf("Recv = %d; want 6", e.Seq)
		}
	})
}

func TestTailBeginsWhereTheServerSays(t *testing.T) {
	play(t, func(t *testing.T, srv *script) {
		c := dial(t, srv, srv.config())
		a := async(func() (*client.Session, error) { return c.Open(t.Context(), client.OpenOptions{Tail: 3}) })
		srv.open(&wirepb.OpenReply{Epoch: 1, Head: 9})
		s := a(t)
		srv.p.cut() // before anything came: there is no position to resume from
		if h := srv.accept(); len(h.Resume) != 0 {
			t.Fatalf("resume = %v; want none", h.Resume)
		}
		next := async(func() (client.Entry, error) { return s.Recv(t.Context()) })
		if o := srv.open(&wirepb.OpenReply{Epoch: 1, Head: 9}); o.GetTail() != 3 || o.From != nil {
			t.Fatalf("opened %v; want the tail again", o)
		}
		srv.p.say(message(7, 6), message(9, 7))
		if e := next(t); e.Seq != 7 {
			t.Fatalf("Recv = %d; want 7", e.Seq)
		}
		recv(t, s, 9)
		srv.p.cut()
		if h := srv.accept(&wirepb.Resumed{Session: "s_1", How: "exact", Epoch: 1, Head: 9}); len(h.Resume) != 1 || h.Resume[0].Seq != 9 {
			t.Fatalf("resume = %v; want 9", h.Resume)
		}
	})
}
