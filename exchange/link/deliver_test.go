package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
)

// A request that finds no room at its shard is refused as its own edge would have refused it, and so is what was sent behind it
// about the same session: it must not overtake [SW-4.2]. Others are not refused, and a goodbye is kept.
func TestFullShardRefusesOverTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, newNetwork(), nil)
		a.x.PlugRemote([]wire.Slot{5, 6}, a.To("b"))
		full, replies, me := make(sink, 1), make(sink, 10), wire.Conn{Node: 1, ID: 9}
		b.x.PlugSlots([]wire.Slot{5}, full)
		a.x.PlugConn(9, replies)
		say := func(slot wire.Slot, id uint64, session wire.SessionID) {
			a.post(t, wire.ToSlot(slot), &wire.Command{Verb: wire.VerbSend, ID: id, Conn: me, Session: session})
		}
		f := func(id uint64, session wire.SessionID, want wire.Slug) {
			t.Helper()
			synctest.Wait()
			if len(replies) != 1 {
				t.Fatalf("request %d: %d answers wait; want 1", id, len(replies))
			}
			got := (<-replies).Mail.(*wire.Frame)
			kind := wire.FrameError
			if want == "" {
				kind = wire.FrameMoved
			}
			if got.Kind != kind || got.ID != id || got.Session != session || got.Verb != wire.VerbSend || want != "" && got.Err.Slug != want {
				t.Fatalf("request %d is answered %+v, %v", id, got, got.Err)
			}
		}
		say(5, 1, "s_1") // takes the only place
		say(5, 2, "s_1")
		f(2, "s_1", wire.Overloaded)
		if c := (<-full).Mail.(*wire.Command); c.ID != 1 {
			t.Fatalf("what arrives is %+v", c)
		}
		say(5, 3, "s_1") // there is room now, but 2 was refused
		f(3, "s_1", wire.Overloaded)
		say(5, 4, "s_2")
		synctest.Wait()
		if len(full) != 1 || len(replies) != 0 {
			t.Fatal("another session is refused too")
		}
		a.post(t, wire.ToSlot(5), &wire.Command{Verb: wire.VerbGone, Conn: me, Session: "s_2"})
		a.post(t, wire.ToSlot(5), &wire.Withdraw{Ticket: 1}) // a level: nobody is told
		synctest.Wait()
		if c := (<-full).Mail.(*wire.Command); c.ID != 4 {
			t.Fatalf("what arrives is %+v", c)
		}
		time.Sleep(time.Second) // a heartbeat tries the goodbye again; the refusal is over
		if c := (<-full).Mail.(*wire.Command); c.Verb != wire.VerbGone || c.Session != "s_2" {
			t.Fatalf("what arrives is %+v", c)
		}
		say(5, 5, "s_1")
		synctest.Wait()
		if c := (<-full).Mail.(*wire.Command); c.ID != 5 {
			t.Fatalf("what arrives is %+v", c)
		}
		say(6, 6, "s_3") // nobody has that slot there
		f(6, "s_3", "")
		other := make(sink, 2)
		b.x.PlugSlots([]wire.Slot{6}, other)
		say(6, 7, "s_3") // its shard is there by now, but 6 was not taken
		f(7, "s_3", "")
		say(6, 0, "s_3") // of what asks for no reply the same is told: an edge knows then that it asks nobody
		f(0, "s_3", "")
		time.Sleep(time.Second)
		say(6, 8, "s_3")
		synctest.Wait()
		if c := (<-other).Mail.(*wire.Command); c.ID != 8 {
			t.Fatalf("what arrives is %+v", c)
		}
	})
}

// Refusals take bounded memory.
func TestRefusalsAreBounded(t *testing.T) {
	p := postbox{k: &Link{all: &Links{x: exchange.New(1)}}}
	for i := range 3 * refusalsMax {
		p.refuse(&wire.Command{Verb: wire.VerbSend, Session: wire.SessionID(fmt.Sprint(i))}, exchange.ErrOverloaded)
		if len(p.refused) > refusalsMax {
			t.Fatalf("%d refusals are kept", len(p.refused))
		}
	}
}

// Goodbyes that find no room wait in bounded memory. Those for which there is none even there, and those that wait when the connection ends, are counted and told of.
func TestGoodbyesAreBounded(t *testing.T) {
	x, full, log := exchange.New(1), make(sink, 1), &strings.Builder{}
	x.PlugSlots([]wire.Slot{5}, full)
	p := postbox{k: &Link{node: "b", all: &Links{x: x, cfg: Config{Log: slog.New(slog.NewTextHandler(log, nil))}}}}
	f := func(waiting int, unheard uint64, told string) {
		t.Helper()
		if len(p.again) != waiting || p.k.unheard != unheard || strings.Count(log.String(), "\n") != 1 == (told != "") || !strings.Contains(log.String(), told) {
			t.Fatalf("%d wait and %d are lost, want %d and %d; it says %s", len(p.again), p.k.unheard, waiting, unheard, log)
		}
		log.Reset()
	}
	for i := range 1 + againMax + 3 {
		p.deliver(wire.Envelope{To: wire.ToSlot(5), Mail: &wire.Command{Verb: wire.VerbGone, Conn: wire.Conn{Node: 1, ID: uint64(i)}}})
	}
	f(againMax, 0, "")
	p.retry()
	f(againMax, 3, "lost=3")
	p.retry()
	f(againMax, 3, "")
	<-full
	p.retry()
	f(againMax-1, 3, "")
	<-full
	p.close()
	f(0, 3+againMax-2, fmt.Sprint("lost=", againMax-2))
}

// Control messages arrive in order, whole, with their channel; what cannot be sent is an error at once.
func TestControlMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type message struct {
			node    string
			channel uint64
			msg     string
		}
		got := make(chan message, 1000)
		n := newNetwork()
		a, b := pair(t, n, func(c *Config) {
			c.Receive = func(node string, channel uint64, msg []byte) { got <- message{node, channel, string(msg)} }
		})
		synctest.Wait()
		k, big := a.To("b"), strings.Repeat("x", 300<<10)
		for i := range uint64(100) {
			msg := fmt.Sprint(i)
			if i == 50 {
				msg = big
			}
			if err := k.Send(i<<40, []byte(msg)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range uint64(100) {
			want := message{"a", i << 40, fmt.Sprint(i)}
			if i == 50 {
				want.msg = big
			}
			if m := <-got; m != want {
				t.Fatalf("message %d arrives from %s on %d with %d bytes", i, m.node, m.channel, len(m.msg))
			}
		}
		if err := k.Send(1, make([]byte, recordMax)); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("too large: %v", err)
		}
		var err error
		for i := 0; i < 100 && err == nil; i++ {
			err = k.Send(1, make([]byte, 1<<20))
		}
		if !errors.Is(err, exchange.ErrOverloaded) {
			t.Fatalf("too much: %v", err)
		}
		_ = b.Close()
		synctest.Wait()
		if err := k.Send(1, nil); !errors.Is(err, exchange.ErrNowhere) {
			t.Fatalf("to a node that is gone: %v", err)
		}
	})
}

// A stream arrives whole, at the rate that it may have, while heartbeats and mail go on; its end is told.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, perSecond = 3 << 20, 1 << 20
		var sum uint32
		var head string
		a, b := pair(t, newNetwork(), func(c *Config) {
			c.StreamRate = perSecond
			c.Stream = func(node string, header []byte, r io.Reader) error {
				h := crc32.NewIEEE()
				n, err := io.Copy(h, r)
				head, sum = fmt.Sprint(node, " ", string(header), " ", n), h.Sum32()
				return err
			}
		})
		data := make([]byte, size)
		rnd := rand.NewChaCha8([32]byte{1})
		_, _ = rnd.Read(data)
		began := time.Now()
		s, err := a.Stream(t.Context(), "b", []byte("shard 3"))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(s, bytes.NewReader(data)); err != nil || n != size {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < size/perSecond*time.Second*9/10 || took > size/perSecond*time.Second*3/2 {
			t.Fatalf("%d bytes took %v", size, took)
		}
		if want := fmt.Sprint("a shard 3 ", size); head != want || sum != crc32.ChecksumIEEE(data) {
			t.Fatalf("what arrives is %s; want %s", head, want)
		}
		a.none(t, Down)
		b.none(t, Down)
		if _, err := s.Write(data); !errors.Is(err, ErrClosed) {
			t.Fatalf("writing behind the end: %v", err)
		}
	})
}

// What does not come to its end never looks as if it had, on either side.
func TestStreamFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := make(chan error, 10)
		hold := make(chan struct{})
		n := newNetwork()
		a, b := pair(t, n, func(c *Config) {
			c.Streams = 1
			c.Stream = func(_ string, header []byte, r io.Reader) error {
				switch string(header) {
				case "refuse":
					return errors.New("no space left")
				case "hold":
					<-hold
					return nil
				}
				_, err := io.Copy(io.Discard, r)
				ends <- err
				return err
			}
		})
		open := func(ctx context.Context, header string) *Stream {
			t.Helper()
			s, err := a.Stream(ctx, "b", []byte(header))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open(t.Context(), "refuse")
		if err := s.Close(); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("a stream that is refused: %v", err)
		}
		synctest.Wait()

		ctx, cancel := context.WithCancel(t.Context())
		s = open(ctx, "")
		if _, err := s.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ends; err == nil {
			t.Fatalf("a stream whose sender gives up ends with %v", err)
		}
		if err := s.Close(); !errors.Is(err, context.Canceled) {
			t.Fatalf("Close after the context ended: %v", err)
		}
		synctest.Wait()

		s = open(t.Context(), "hold")
		synctest.Wait()
		if _, err := a.Stream(t.Context(), "b", nil); err == nil || !strings.Contains(err.Error(), "too many streams") {
			t.Fatalf("one more than may be: %v", err)
		}
		close(hold)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()

		s = open(t.Context(), "")
		_ = b.Close()
		if err := s.Close(); err == nil {
			t.Fatal("a stream to a node that ended has been taken")
		}
		if _, err := a.Stream(t.Context(), "c", nil); !errors.Is(err, ErrUnknown) {
			t.Fatalf("to nobody: %v", err)
		}
		if _, err := a.Stream(t.Context(), "b", make([]byte, headerMax+1)); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("a long header: %v", err)
		}
	})
}

// Strangers who talk nonsense, or nothing, are hung up on, and disturb nobody.
func TestGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, b := pair(t, n, nil)
		good := b.hello(laneMail, "a")
		good.dial, good.next = 1000, 1
		wrong := func(change func(*hello)) []byte {
			h := good
			change(&h)
			return appendFrame(nil, frameHello, h.bytes())
		}
		f := func(what string, said []byte, want string) {
			t.Helper()
			c, err := n.dial("x")(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = c.Write(said) }()
			heard, _ := io.ReadAll(c) // the end comes within the silence
			if !strings.Contains(string(heard), want) {
				t.Errorf("%s is told %q; want %q", what, heard, want)
			}
		}
		f("who says nothing", nil, "timeout")
		f("who speaks HTTP", []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "garbage: a frame of")
		f("who greets with something else", appendNumber(nil, framePing, 1), "garbage: it begins with a frame of type")
		f("who does not begin as a link", appendFrame(nil, frameHello, []byte("XXXX")), "does not begin as a link")
		f("who is cut short", appendFrame(nil, frameHello, good.bytes()[:20]), "garbage")
		f("who is of another version", appendFrame(nil, frameHello, append([]byte(magic), 3)), "it speaks version 3")
		f("who is of another cluster", wrong(func(h *hello) { h.cluster = "other" }), "it is of cluster other; this is test")
		f("who looks for another", wrong(func(h *hello) { h.to = "z" }), "it looks for node z; this is a")
		f("who is nobody's member", wrong(func(h *hello) { h.node = "z" }), "no such node: z")
		f("who is this node", wrong(func(h *hello) { h.node = "a" }), "it has this node's id")
		f("who is older", wrong(func(h *hello) { h.incarnation, h.born = 99, 0 }), "a later incarnation")
		f("who is of the same birth", wrong(func(h *hello) { h.incarnation = 99 }), "a later incarnation")
		f("who dials too late", wrong(func(h *hello) { h.dial = 1 }), "dial 1 comes after dial 1")
		a.none(t, Down)
		a.none(t, Ended)
		if s := a.To("b").Status(); !s.Up {
			t.Fatalf("status %+v", s)
		}
		// With b's name and all, but nonsense behind the welcome.
		f("who sends no mail", append(wrong(func(*hello) {}), appendFrame(nil, frameBatch, []byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 99})...), "")
		a.none(t, Ended)
		f("whose numbers go back", wrong(func(h *hello) { h.dial, h.next = 2000, 0 }), "number 0 comes again")
	})
}

func TestPlainStaysOnLoopback(t *testing.T) {
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if _, err := Open(exchange.New(1), ln, Config{Cluster: "c", Node: "a"}); err == nil || !strings.Contains(err.Error(), "configure TLS, or Plain") {
		t.Errorf("Open on every address: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork() // whose addresses are not loopback
		a := n.open(t, "a", 1, 1, nil)
		a.cfg.Plain = false // before anybody calls
		b := n.open(t, "b", 2, 1, nil)
		a.add(t, "b")
		b.add(t, "a")
		time.Sleep(time.Second)
		if s := a.To("b").Status(); !strings.Contains(s.Err, "neither TLS nor Plain") {
			t.Errorf("a is told %q", s.Err)
		}
		if s := b.To("a").Status(); !strings.Contains(s.Err, "neither TLS nor Plain") {
			t.Errorf("b is told %q", s.Err)
		}
	})
}

func TestConfigThatCannotBe(t *testing.T) {
	f := func(c Config) {
		t.Helper()
		if _, err := Open(exchange.New(1), newNetwork().listen("a"), c); err == nil {
			t.Errorf("%+v opens", c)
		}
	}
	f(Config{Node: "a", Plain: true})
	f(Config{Cluster: "c", Node: "a b", Plain: true})
	f(Config{Cluster: "c", Node: "a"})
	f(Config{Cluster: "c", Node: "a", Plain: true, Queue: -1})
	f(Config{Cluster: "c", Node: "a", Plain: true, Silence: 1})
}
