package link

import (
	"bufio"
	"bytes"
	"log/slog"
	"sync/atomic"
	"testing"

	"switchboard/exchange"
	"switchboard/wire"
)

// standing is a lane whose connection stands, without anybody who writes.
func standing() *lane {
	k := &Link{all: &Links{x: exchange.New(1), cfg: Config{Queue: 8 << 20}}, node: "b"}
	return &lane{k: k, open: true, next: 1, wake: make(chan struct{}, 1)}
}

// A warm lane takes mail, and gives it to its writer, without memory.
func TestPuttingMailDoesNotAllocate(t *testing.T) {
	n := standing()
	e := wire.Envelope{To: wire.ToSlot(5), Mail: &wire.Command{
		Verb: wire.VerbSend, ID: 3, Conn: wire.Conn{Node: 1, ID: 9}, Who: &wire.Principal{Sub: "alice"}, Session: "s_00cdb1t4skgpk8cx", Type: "text", Body: []byte(`{"text":"hi"}`),
	}}
	round := func() {
		for range 100 {
			if !n.put(&e) {
				t.Fatal("no room")
			}
		}
		buf, starts := n.take()
		seal(buf, frameBatch)
		n.took(buf, starts)
	}
	round()
	round()
	if a := testing.AllocsPerRun(100, round); a != 0 {
		t.Fatalf("%v allocations for 100 pieces of mail", a)
	}
}

// Mail that is too large is missed by its receiver; what comes behind it, and the roll, are as they should be.
func TestMailThatIsTooLarge(t *testing.T) {
	n := standing()
	n.k.all.cfg, _ = (Config{Cluster: "c", Node: "a", Queue: 64 << 20}).withDefaults()
	who := &wire.Principal{Sub: "alice"}
	small, large := &wire.Command{Verb: wire.VerbSend, Who: who}, &wire.Command{Verb: wire.VerbSend, Who: who, Body: make([]byte, recordMax)}
	n.k.all.cfg.Log = slog.New(slog.DiscardHandler)
	for _, c := range []*wire.Command{large, small, large, small} {
		if !n.put(&wire.Envelope{To: wire.ToSlot(5), Mail: c}) {
			t.Fatal("no room")
		}
	}
	buf, starts := n.take()
	var numbers []uint64
	var roll wire.Roll
	for i, at := range starts {
		end := len(buf)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		next, rest, err := number(buf[at+frameHead : end])
		for err == nil && len(rest) > 0 {
			var rec []byte
			var e wire.Envelope
			if rec, rest, err = record(rest); err == nil {
				err = wire.ParseEnvelope(rec, &e, &roll)
			}
			if err == nil && e.Mail.(*wire.Command).Who.Sub != "alice" {
				t.Fatalf("%d is %+v", next, e.Mail)
			}
			numbers, next = append(numbers, next), next+1
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(numbers) != 2 || numbers[0] != 2 || numbers[1] != 4 {
		t.Fatalf("what is sent has the numbers %d; want 2 and 4", numbers)
	}
}

// Whatever comes, frames and greetings are read or refused, and take no more memory than came.
func FuzzFrames(f *testing.F) {
	h := hello{kind: laneMail, cluster: "c", node: "a", to: "b", incarnation: 1, born: 2, dial: 3, next: 4, header: []byte("x")}
	f.Add(appendFrame(nil, frameHello, h.bytes()))
	f.Add(appendNumber(appendFrame(nil, frameBatch, []byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 99}), framePing, 7))
	f.Add([]byte{0, 0, 128, 0, frameBatch, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := frames{r: bufio.NewReader(bytes.NewReader(b)), max: frameMax}
		for {
			typ, payload, err := in.next()
			if cap(in.buf) > 2*len(b)+2*frameSize {
				t.Fatalf("%d bytes take %d of memory", len(b), cap(in.buf))
			}
			if err != nil {
				return
			}
			if typ == frameHello {
				if h, err := parseHello(payload); err == nil {
					if again, err := parseHello(h.bytes()); err != nil || again.node != h.node || again.next != h.next {
						t.Fatalf("%+v reads again as %+v, %v", h, again, err)
					}
				}
				continue
			}
			_, rest, err := number(payload)
			for err == nil && len(rest) > 0 {
				_, rest, err = record(rest)
			}
		}
	})
}

type counter struct {
	n    atomic.Int64
	want int64
	done chan struct{}
}

func (c *counter) Put(wire.Envelope) bool {
	if c.n.Add(1) == c.want {
		close(c.done)
	}
	return true
}

// What a piece of mail costs from Post to the inlet: here, and over loopback; and there and back.
func BenchmarkMail(b *testing.B) {
	m := &wire.Command{
		Verb: wire.VerbSend, ID: 3, Conn: wire.Conn{Node: 1, ID: 9}, Who: &wire.Principal{Sub: "alice"}, Session: "s_00cdb1t4skgpk8cx", Key: "01JD", Type: "text", Body: bytes.Repeat([]byte("1"), 100),
	}
	b.Run("local", func(b *testing.B) {
		x, c := exchange.New(1), &counter{want: int64(b.N), done: make(chan struct{})}
		x.PlugSlots([]wire.Slot{5}, c)
		b.ReportAllocs()
		for range b.N {
			_ = x.Post(wire.Envelope{To: wire.ToSlot(5), Mail: m})
		}
		<-c.done
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mail/s")
	})
	b.Run("link", func(b *testing.B) {
		hosts := tcp(b, 2, nil)
		c := &counter{want: int64(b.N), done: make(chan struct{})}
		hosts[1].x.PlugSlots([]wire.Slot{5}, c)
		hosts[0].x.PlugRemote([]wire.Slot{5}, hosts[0].To("n1"))
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			hosts[0].post(b, wire.ToSlot(5), m)
		}
		<-c.done
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mail/s")
	})
	b.Run("link/round", func(b *testing.B) {
		hosts := tcp(b, 2, nil)
		there, back := make(sink, 1), make(sink, 1)
		hosts[1].x.PlugSlots([]wire.Slot{5}, there)
		hosts[0].x.PlugRemote([]wire.Slot{5}, hosts[0].To("n1"))
		hosts[0].x.PlugConn(9, back)
		b.ResetTimer()
		for range b.N {
			hosts[0].post(b, wire.ToSlot(5), m)
			<-there
			hosts[1].post(b, wire.Conn{Node: 1, ID: 9}.Address(), &wire.Frame{Kind: wire.FrameWrote, ID: 3})
			<-back
		}
	})
}

func BenchmarkPut(b *testing.B) {
	n := standing()
	e := wire.Envelope{To: wire.ToSlot(5), Mail: &wire.Command{
		Verb: wire.VerbSend, ID: 3, Conn: wire.Conn{Node: 1, ID: 9}, Who: &wire.Principal{Sub: "alice"}, Session: "s_00cdb1t4skgpk8cx", Key: "01JD", Type: "text", Body: bytes.Repeat([]byte("1"), 100),
	}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if !n.put(&e) {
			b.Fatal("no room")
		}
		if i%64 == 0 {
			n.took(n.take())
		}
	}
}
