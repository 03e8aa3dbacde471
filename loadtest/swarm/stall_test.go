package swarm

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/edge/ws"
	"switchboard/loadtest/scenario"
	"switchboard/loadtest/socket"
)

// fake is a server that speaks just enough of the protocol, and can stand still.
type fake struct {
	net.Listener
	wg     sync.WaitGroup
	gate   sync.RWMutex // held while it stands still
	served atomic.Int64
	stall  func(sends int64)
	sends  atomic.Int64
	asked  atomic.Int64 // for histories, which it refuses for good
	tamper func(n uint64, frames []string) []string
}

func newFake(t *testing.T) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{Listener: l, stall: func(int64) {}, tamper: func(_ uint64, frames []string) []string { return frames }}
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.wg.Wait()
	})
	return f
}

// serve is one connection: one session, in which every message is acknowledged and answered at once.
func (f *fake) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if line == "\r\n" {
			break
		}
	}
	if _, err := c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n")); err != nil {
		return
	}
	var dec ws.Decoder
	var buf []byte
	seq := uint64(1)
	say := func(frames ...string) {
		_, _ = c.Write(ws.AppendFrame(nil, ws.OpText, []byte(strings.Join(frames, "\n"))))
	}
	for {
		m, n, err := dec.Next(buf, 1<<20)
		if err != nil {
			return
		}
		if n > 0 {
			payload := bytes.Clone(m.Payload)
			buf = buf[n:]
			if m.Op != ws.OpText || len(payload) == 0 {
				continue
			}
			f.gate.RLock() // it stands still with what it has read
			f.served.Add(1)
			f.gate.RUnlock()
			id := string(socket.Field(payload, `{"id":`))
			switch {
			case bytes.Contains(payload, []byte(`"hello":`)):
				say(`{"id":1,"hello":{"limits":{"inflight":8}}}`)
			case bytes.Contains(payload, []byte(`"open":`)):
				say(`{"id":2,"open":{"session":"s_1","epoch":1,"head":1}}`)
			case bytes.Contains(payload, []byte(`"subscribe":`)):
				say(`{"id":2,"subscribe":{"lease":"l"}}`)
			case bytes.Contains(payload, []byte(`"history":`)):
				f.asked.Add(1)
				say(`{"id":4,"error":{"slug":"unavailable","message":"none here","retry":"never"}}`)
			case bytes.Contains(payload, []byte(`"send":`)):
				f.stall(f.sends.Add(1))
				num := number(socket.Field(payload, `"n":`))
				say(f.tamper(num, []string{
					fmt.Sprintf(`{"id":%s,"send":{"seq":%d,"epoch":1,"ts":1,"duplicate":false}}`, id, seq+1),
					fmt.Sprintf(`{"message":{"session":"s_1","seq":%d,"epoch":1,"origin":"bot","kind":"message","type":"text","body":{"n":%d,"of":%d,"w":0,"len":3,"text":"Whe"},"prev":%d}}`, seq+2, num, seq+1, seq+1),
				})...)
				seq += 2
			}
			continue
		}
		chunk := make([]byte, 4096)
		k, err := c.Read(chunk)
		if err != nil {
			return
		}
		buf = append(buf, chunk[:k]...)
	}
}

func (f *fake) run(t *testing.T, doc string) (res struct {
	Due, Answered, Faults     float64
	P50, P80, Max             float64
	Evidence                  []string
	Lost, Duplicated, Reorder float64
	Mismatched                float64
},
) {
	t.Helper()
	sc, err := scenario.Parse("t.yaml", []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	s := Swarm{Scenario: sc, Doc: doc, Addr: f.Addr().String(), Mint: func(_, _, _ string) (string, error) { return "x", nil }}
	r, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	res.Due, res.Answered = r.Figures["due"], r.Figures["answered"]
	res.Lost, res.Duplicated, res.Reorder = r.Figures["lost"], r.Figures["duplicated"], r.Figures["reordered"]
	res.Mismatched = r.Figures["mismatched"]
	res.Faults = res.Lost + res.Duplicated + res.Reorder + res.Mismatched
	a := r.Latencies["answer"]
	res.P50, res.Max = a.P50, a.Max
	for _, c := range a.Curve {
		if c[0] == 80 {
			res.P80 = c[1]
		}
	}
	for _, e := range r.Faults {
		res.Evidence = append(res.Evidence, e.String())
	}
	return res
}

const steady = `
name: stalled
about: a server that stands still
ramp: 0s
steady: 1s
stop: 10s
customers: {sockets: 1}
talk: {rate: 200/s, arrivals: even, length: {median: 10B}}
workers: {bots: {count: 1}}
`

// TestStall: a server stands still for 600 ms. A generator that waited for answers would have sent nothing meanwhile, and
// have one slow answer in its figures. Here every message that was due meanwhile is sent, and charged with its wait: 400 of
// a thousand milliseconds hold messages that waited 200 ms or more. Slow machines make it more, never less.
func TestStall(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	var once sync.Once
	f.stall = func(sends int64) {
		if sends >= 40 { // at 0.2 s, as nothing is slower than the schedule
			once.Do(func() {
				f.gate.Lock()
				f.wg.Go(func() {
					time.Sleep(600 * time.Millisecond) // this is the fault, and not a wait for something
					f.gate.Unlock()
				})
			})
		}
	}
	r := f.run(t, steady)
	if r.Due < 199 || r.Due > 201 || r.Answered != r.Due {
		t.Errorf("%v messages were due, and %v answered: the schedule waits", r.Due, r.Answered)
	}
	if r.Max < .5 || r.P80 < .15 {
		t.Errorf("p80 is %v s, max %v s: the stall is hidden", r.P80, r.Max)
	}
	if r.Faults > 0 {
		t.Error(r.Evidence)
	}
}

// TestUnanswered: what never comes counts with the time that it was waited for.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.tamper = func(n uint64, frames []string) []string {
		if n > 20 {
			return frames[:1]
		}
		return frames
	}
	r := f.run(t, strings.ReplaceAll(steady, "stop: 10s", "stop: 300ms"))
	if r.Answered != 20 || r.P50 < .3 {
		t.Errorf("%v were answered, and the median is %v s", r.Answered, r.P50)
	}
}

// TestTampered: a server that loses, repeats, swaps or alters one entry, or shows one of somebody else, on the wire is found out, with the place.
func TestTampered(t *testing.T) {
	t.Parallel()
	var kept string
	f := func(name string, tamper func(n uint64, frames []string) []string, want func(lost, dup, reord, other float64) bool) {
		t.Helper()
		s := newFake(t)
		s.tamper = tamper
		doc := strings.ReplaceAll(strings.ReplaceAll(steady, "steady: 1s", "steady: 200ms"), "stop: 10s", "stop: 100ms")
		r := s.run(t, doc)
		if n := s.asked.Load(); n != 1 {
			t.Errorf("%s: a history that is refused for good was asked for %d times", name, n)
		}
		if !want(r.Lost, r.Duplicated, r.Reorder, r.Mismatched) || len(r.Evidence) == 0 || !strings.Contains(r.Evidence[0], "s_1") || !strings.Contains(r.Evidence[0], "seq") {
			t.Errorf("%s: lost %v, duplicated %v, reordered %v, mismatched %v: %v", name, r.Lost, r.Duplicated, r.Reorder, r.Mismatched, r.Evidence)
		}
	}
	f("lost", func(n uint64, frames []string) []string {
		if n == 5 {
			return []string{frames[0], strings.ReplaceAll(frames[1], `"prev":10`, `"prev":999`)}
		}
		return frames
	}, func(lost, _, _, _ float64) bool { return lost > 0 })
	f("twice", func(n uint64, frames []string) []string {
		if n == 5 {
			return append(frames, frames[1])
		}
		return frames
	}, func(_, dup, _, _ float64) bool { return dup > 0 })
	f("late", func(n uint64, frames []string) []string {
		switch n {
		case 5:
			kept = frames[1]
			return frames[:1]
		case 6:
			return append(frames, kept)
		}
		return frames
	}, func(_, _, reord, _ float64) bool { return reord > 0 })
	f("somebody else's", func(n uint64, frames []string) []string {
		if n == 5 {
			return append(frames, strings.ReplaceAll(frames[1], `"s_1"`, `"s_12"`))
		}
		return frames
	}, func(_, _, _, other float64) bool { return other == 1 })
	for name, text := range map[string]string{"altered": `"text":"Who"`, "cut": `"text":"Wh"`, "gone": `"txt":"Whe"`} {
		f(name, func(n uint64, frames []string) []string {
			if n == 5 {
				return []string{frames[0], strings.ReplaceAll(frames[1], `"text":"Whe"`, text)}
			}
			return frames
		}, func(_, _, _, other float64) bool { return other == 1 })
	}
}
