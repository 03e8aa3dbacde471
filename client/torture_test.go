package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/client"
	"switchboard/wire/wirepb"
)

// TestEveryEntryOnceInOrder lets two devices of a customer talk over a network that loses the connection at one frame
// in twelve, while pushes are lost and doubled: both see every entry once, in order, and every Send that succeeded
// is in the log once.
func TestEveryEntryOnceInOrder(t *testing.T) {
	cuts, skips, doubles := 0, 0, 0
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(seed).start()
				t.Cleanup(m.close)
				m.cut, m.faulty, m.staff = 0.08, 0.05, 0.2
				converse(t, m, seed)
				m.mu.Lock()
				defer m.mu.Unlock()
				cuts, skips, doubles = cuts+m.cuts, skips+m.skips, doubles+m.doubles
			})
		})
	}
	if cuts < 500 || skips < 50 || doubles < 50 {
		t.Fatalf("the faults did not fire: %d cuts, %d skips, %d doubles", cuts, skips, doubles)
	}
}

const words = 40 // per device

// converse lets two devices talk, and compares what each saw with the log.
func converse(t *testing.T, m *model, seed uint64) {
	type device struct {
		c    *client.Client
		s    *client.Session
		seen []client.Entry
		sent map[uint64]string
		err  error

		begin uint64
	}
	devices := make([]*device, 2)
	for i := range devices {
		cfg := m.configOf(fmt.Sprint("alice", i))
		cfg.Protobuf, cfg.Buffer = seed%2 == 0, 3+i*20
		c, err := client.Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // it cannot fail
		s, err := c.Open(t.Context(), client.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		devices[i] = &device{c: c, s: s, sent: map[uint64]string{}, begin: s.Position().Seq}
	}
	done := make(chan int, 4)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for i, d := range devices {
		go func() {
			for n := range words {
				text := fmt.Sprint(i, ".", n)
				r, err := d.s.Send(ctx, "text", text)
				if err != nil {
					d.err = err
					break
				}
				d.sent[r.Seq] = text
			}
			done <- i
		}()
		go func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for e, err := range d.s.Entries(ctx) {
				if err != nil {
					break
				}
				d.seen = append(d.seen, e)
				if rnd.IntN(4) == 0 {
					time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond) // of the bubble: a slow reader
				}
			}
			done <- i
		}()
	}
	<-done
	<-done
	m.calm()
	time.Sleep(10 * time.Minute)
	// One last word, so that a push that was lost at the end shows as a gap.
	for _, d := range devices {
		if d.err != nil {
			t.Fatal(d.err)
		}
		if _, err := d.s.Send(ctx, "text", "the end"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
	}
	stop()
	<-done
	<-done
	log := m.entries(false)
	for i, d := range devices {
		var want []*wirepb.Entry
		for _, e := range log {
			if e.Seq > d.begin {
				want = append(want, e)
			}
		}
		for n := range max(len(want), len(d.seen)) {
			if n >= len(want) || n >= len(d.seen) || d.seen[n].Seq != want[n].Seq || string(d.seen[n].Body) != string(want[n].Body) {
				t.Fatalf("device %d saw %s; the log has %s", i, list(d.seen, func(e client.Entry) uint64 { return e.Seq }), list(want, (*wirepb.Entry).GetSeq))
			}
		}
		count := map[string]int{}
		for _, e := range log {
			count[string(e.Body)]++
		}
		for n := range words {
			if body := fmt.Sprintf(`{"text":"%d.%d"}`, i, n); count[body] != 1 {
				t.Fatalf("%s is in the log %d times", body, count[body])
			}
		}
		for seq, text := range d.sent {
			if string(m.entries(true)[seq-1].Body) != `{"text":"`+text+`"}` {
				t.Fatalf("Send said that %q is %d; the log has %s there", text, seq, m.entries(true)[seq-1].Body)
			}
		}
	}
}

func list[T any](entries []T, seq func(T) uint64) string {
	out := make([]uint64, len(entries))
	for i, e := range entries {
		out[i] = seq(e)
	}
	return fmt.Sprint(out)
}

// TestEveryEntryIsAnsweredOnce lets a worker answer over the same network: every entry of the customer is handled in
// order, at least once under each assignment until it is acknowledged, and answered exactly once.
func TestEveryEntryIsAnsweredOnce(t *testing.T) {
	cuts, again, denials := 0, 0, 0
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(seed).start()
				t.Cleanup(m.close)
				m.cut, m.staff, m.faulty, m.denied = 0.08, 0.2, 0.03, 0.3
				m.window = 1 + int(seed%4)
				again += serve(t, m, seed)
				m.mu.Lock()
				defer m.mu.Unlock()
				cuts, denials = cuts+m.cuts, denials+m.denials
			})
		})
	}
	if cuts < 500 || again < 50 || denials < 20 {
		t.Fatalf("the faults did not fire: %d cuts, %d failures, %d denials", cuts, again, denials)
	}
}

func serve(t *testing.T, m *model, seed uint64) (failures int) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	rnd := rand.New(rand.NewPCG(seed, 7))
	last := map[uint64]uint64{} // by ae
	var order []string
	cfg := client.WorkerConfig{Config: m.configOf("faq"), Queues: []string{"default"}, Slots: 1, NackDelay: time.Millisecond}
	cfg.Tries = 1
	cfg.Protobuf = seed%2 == 1
	go func() {
		ended <- client.Work(ctx, cfg, func(ctx context.Context, s *client.Session, e client.Entry) error {
			if e.Seq > last[e.AE]+1 {
				for _, skipped := range m.entries(true)[last[e.AE] : e.Seq-1] {
					if skipped.Origin == "customer" && last[e.AE] != 0 {
						order = append(order, fmt.Sprintf("under %d: %d after %d, but %d is the customer's", e.AE, e.Seq, last[e.AE], skipped.Seq))
					}
				}
			}
			last[e.AE] = e.Seq
			switch rnd.IntN(6) {
			case 0:
				failures++
				last[e.AE] = e.Seq - 1
				return errors.New("not now")
			case 1:
				if _, err := s.Reply(ctx, "text", "wait"); err != nil {
					return err
				}
			}
			once := client.WithAck(e.Seq)
			if e.Seq%3 != 0 { // then it is acknowledged by the handler's return
				once = client.WithKey(fmt.Sprint("answer to ", e.Seq))
			}
			_, err := s.Reply(ctx, "text", "answer to "+e.Text(), once, client.ReplyTo(e.Seq))
			return err
		})
	}()
	c, err := client.Dial(t.Context(), m.configOf("alice"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it cannot fail
	s, err := c.Open(t.Context(), client.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range words {
		if _, err := s.Send(t.Context(), "text", fmt.Sprint("question ", n)); err != nil {
			t.Fatal(err)
		}
		if n%3 == 0 {
			time.Sleep(time.Second)
		}
	}
	m.calm()
	time.Sleep(10 * time.Minute)
	if _, err := s.Send(t.Context(), "text", "the end"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Minute)
	stop()
	if err := <-ended; err != nil {
		t.Fatalf("Work = %v", err)
	}
	if len(order) > 0 {
		t.Fatal(order)
	}
	answers := map[uint64]int{}
	log := m.entries(true)
	for _, e := range log {
		answers[e.ReplyTo]++
	}
	for _, e := range log {
		if e.Origin == "customer" && answers[e.Seq] != 1 {
			t.Fatalf("entry %d, %s, has %d answers", e.Seq, e.Body, answers[e.Seq])
		}
	}
	return failures
}
