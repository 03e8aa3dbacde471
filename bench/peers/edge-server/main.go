// Command edge-server is "switchboard edge": Switchboard's edge as it is, with nothing behind it that decides or stores. Whatever is sent is
// acknowledged at once by one goroutine. It shows what sockets, frames and codec cost, beside libraries that do no more.
package main

import (
	"flag"
	"log"
	"net"
	"time"

	"switchboard/edge"
	"switchboard/exchange"
	"switchboard/internal/mailbox"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// anybody lets everybody in as a customer whose name is the token.
type anybody struct{}

func (anybody) Check(token string, now time.Time) (wire.Principal, time.Time, error) {
	return wire.Principal{Tenant: "demo", Role: wire.RoleCustomer, Sub: token}, now.Add(time.Hour), nil
}

// nothing owns all sessions, and keeps to the contract of wire/mail.go as far as opening and sending go.
type nothing struct {
	x      *exchange.Exchange
	box    *mailbox.Box[wire.Envelope]
	frames []wire.Frame // for the next answers: a shard makes some at a time too
	births uint64
	seqs   map[wire.SessionID]uint64
}

func (n *nothing) Put(e wire.Envelope) bool { return n.box.Put(e) }

func (n *nothing) run() {
	var batch []wire.Envelope
	for range n.box.Wake() {
		batch = n.box.Take(batch, 256)
		for i := range batch {
			if c, ok := batch[i].Mail.(*wire.Command); ok {
				n.command(c)
			}
		}
	}
}

func (n *nothing) command(c *wire.Command) {
	var f *wire.Frame
	switch {
	case c.ID == 0:
		return
	case c.Verb == wire.VerbOpen:
		n.births++
		id := wire.NewSessionID(0, exchange.CustomerSlot(c.Who.Tenant, c.Who.Sub), n.births)
		n.seqs[id] = 0
		f = &wire.Frame{Kind: wire.FrameAttach, Verb: c.Verb, ID: c.ID, Session: id, PB: &wirepb.ServerFrame{
			Verb: &wirepb.ServerFrame_Open{Open: &wirepb.OpenReply{Session: string(id), Epoch: 1, State: "new", How: "exact"}},
		}}
	case c.Verb == wire.VerbSend:
		seq := n.seqs[c.Session] + 1
		n.seqs[c.Session] = seq
		if len(n.frames) == 0 {
			n.frames = make([]wire.Frame, 32)
		}
		f, n.frames = &n.frames[0], n.frames[1:]
		f.Kind, f.Verb, f.ID, f.Session, f.Seq, f.Epoch, f.TS, f.Prev = wire.FrameWrote, c.Verb, c.ID, c.Session, seq, 1, 1, seq-1
	default:
		f = &wire.Frame{Kind: wire.FrameError, ID: c.ID, Session: c.Session, Verb: c.Verb, Err: wire.Refuse(wire.BadRequest)}
	}
	_ = n.x.Post(wire.Envelope{To: c.Conn.Address(), Term: 1, Mail: f})
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "host:port")
	flag.Parse()
	if err := run(*listen); err != nil {
		log.Fatal(err)
	}
}

func run(listen string) error {
	x := exchange.New(1)
	n := &nothing{x: x, box: mailbox.New[wire.Envelope](1<<16, 0), seqs: map[wire.SessionID]uint64{}}
	slots := make([]wire.Slot, wire.Slots)
	for i := range slots {
		slots[i] = wire.Slot(i)
	}
	x.PlugSlots(slots, n)
	go n.run()
	e, err := edge.Open(x, edge.Config{
		Tokens: anybody{}, AckDelay: -1, Limits: edge.Limits{Rate: 1e9, Burst: 1e9, Inflight: 1000},
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return e.Serve(ln)
}
