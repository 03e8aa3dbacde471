package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/exchange"
	"switchboard/exchange/link"
)

// The channels of control messages.
const (
	channelRaft   = 1
	channelMember = 2
)

// certSoon is how long before its end a certificate is warned of.
const certSoon = 60 * 24 * time.Hour

// Lines are this node's links, by the numbers of nodes. They are there before the journal, which sends its Raft traffic
// over them, and the [Member], who says which there are. What comes before the member is open is dropped. All methods may be
// called from any goroutine.
type Lines struct {
	// Fixed after Connect.
	id    *Identity
	cfg   Config
	x     *exchange.Exchange
	links *link.Links
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup // what is pushed

	names  atomic.Pointer[map[uint32]string]
	member atomic.Pointer[Member]

	mu sync.Mutex
	// Guarded by mu.
	closed bool
	pushes map[uint32]int // by node
}

// pushesMax is how many streams are pushed at once: each holds a snapshot of rows open. pushesEach is how many of them go to one node, whose disk may hang: others
// want to have theirs meanwhile.
const (
	pushesMax  = 4
	pushesEach = 2
)

var errBusy = errors.New("member: too much is streamed already")

// Connect opens the links of a node that has entered a cluster. Listener becomes the links'.
func Connect(x *exchange.Exchange, listener net.Listener, id *Identity, cfg Config) (*Lines, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Lines{id: id, cfg: cfg, x: x, pushes: map[uint32]int{}}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.names.Store(&map[uint32]string{})
	c := cfg.link()
	c.Cluster, c.Born = id.Cluster, id.Born
	c.Notify, c.Receive, c.Answer = l.notify, l.receive, l.answer
	if cfg.Stream != nil {
		c.Stream = l.stream
	}
	x.Settle(&exchange.Places{}) // nobody lives anywhere, until the rows say so
	if l.links, err = link.Open(x, listener, c); err != nil {
		return nil, err
	}
	l.set(id.Peers)
	if cfg.TLS != nil && len(cfg.TLS.Certificates) > 0 && cfg.TLS.Certificates[0].Leaf != nil {
		if until := Expiry(cfg.TLS); time.Until(until) < certSoon {
			cfg.Log.Warn("member: this node's certificate ends soon", "at", until)
		}
	}
	return l, nil
}

// Send sends Raft traffic to a node. It does not block and keeps nothing of msg; what is lost, Raft says again.
func (l *Lines) Send(node uint32, msg []byte) error { return l.send(node, channelRaft, msg) }

func (l *Lines) send(node uint32, channel uint64, msg []byte) error {
	k := l.to(node)
	if k == nil {
		return fmt.Errorf("%w: node %d", link.ErrUnknown, node)
	}
	return k.Send(channel, msg)
}

// Stream opens a stream to a node; see link.Links.
func (l *Lines) Stream(ctx context.Context, node uint32, header []byte) (*link.Stream, error) {
	return l.links.Stream(ctx, (*l.names.Load())[node], header)
}

// askedPrefix begins the names of what a node is asked for itself.
const askedPrefix = "node."

// Ask asks the node at addr, which need not be this one's peer, for something that Config.Asked does there. Both question and answer are JSON: the question of less than 4 KiB,
// the answer of less than 1 MiB. cluster.ErrRefused says that it was not done, and that asking again does not help; ErrUnavailable
// that it may.
func (l *Lines) Ask(ctx context.Context, addr, op string, in, out any) error {
	return askAt(ctx, addr, l.cfg.link(), askedPrefix+op, in, out)
}

// Push streams to a node in the background: header is what Config.Stream gets there, and write writes the rest. done is called
// once, from any goroutine, with nil when the other side has taken all of it. Beyond 4 at once, or 2 to one node, it fails. It does not block.
func (l *Lines) Push(node uint32, header []byte, write func(io.Writer) error, done func(error)) {
	l.mu.Lock()
	all := 0
	for _, n := range l.pushes {
		all += n
	}
	if l.closed || all >= pushesMax || l.pushes[node] >= pushesEach {
		l.mu.Unlock()
		done(errBusy)
		return
	}
	l.pushes[node]++
	l.wg.Add(1)
	l.mu.Unlock()
	header = bytes.Clone(header)
	go func() {
		defer l.wg.Done()
		done(l.push(node, header, write))
		l.mu.Lock()
		if l.pushes[node]--; l.pushes[node] == 0 {
			delete(l.pushes, node)
		}
		l.mu.Unlock()
	}()
}

func (l *Lines) push(node uint32, header []byte, write func(io.Writer) error) error {
	s, err := l.Stream(l.ctx, node, header)
	if err != nil {
		return err
	}
	if err := write(s); err != nil {
		return errors.Join(err, l.hangUp(s))
	}
	return s.Close()
}

// hangUp ends a stream whose writer has failed, so that the other side does not take it for whole.
func (l *Lines) hangUp(s *link.Stream) error {
	s.Break()
	return s.Close()
}

// Links returns the links, to look at.
func (l *Lines) Links() *link.Links { return l.links }

// Close ends all links and what is streamed over them. The member is closed before.
func (l *Lines) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	err := l.links.Close()
	l.wg.Wait()
	return err
}

// to returns the link to a node, nil when there is none.
func (l *Lines) to(node uint32) *link.Link {
	name, known := (*l.names.Load())[node]
	if !known {
		return nil
	}
	return l.links.To(name)
}

// speaks returns the version of the links that a node has said it speaks, 0 while it has not.
func (l *Lines) speaks(node uint32) uint64 {
	if k := l.to(node); k != nil {
		return k.Speaks()
	}
	return 0
}

// set makes links to these nodes, and to no others.
func (l *Lines) set(peers []Peer) {
	before := *l.names.Load()
	names := map[uint32]string{}
	keep := map[string]bool{}
	for _, p := range peers {
		names[p.Node], keep[p.Name] = p.Name, true
	}
	if !maps.Equal(names, before) {
		l.names.Store(&names)
	}
	for node, name := range before {
		if names[node] != name { // the name may be another node's by now
			l.links.Remove(name)
		}
	}
	for _, p := range peers {
		if _, err := l.links.Add(p.Name, p.Addr); err != nil {
			l.cfg.Log.Error("member: a link", "node", p.Name, "error", err)
		}
	}
}

// number returns the number of a node by its name, 0 when it is no member.
func (l *Lines) number(name string) uint32 {
	for n, s := range *l.names.Load() {
		if s == name {
			return n
		}
	}
	return 0
}

func (l *Lines) notify(ev link.Event) {
	if ev.Kind == link.Up { // until then the node may have had something to say to connections here and no way to them: no number is missing for that
		l.x.Lost()
	}
	if m := l.member.Load(); m != nil {
		switch ev.Kind {
		case link.Up, link.Down, link.Ended:
			m.news.link(ev.Node, ev.Kind == link.Up)
		case link.Restarted, link.Cut:
			m.news.lost(ev.Node)
		}
		if ev.Kind == link.Gone || ev.Kind == link.Ended {
			if n := l.number(ev.Node); n != 0 {
				m.groups.Gone(n)
			}
		}
	}
	l.cfg.Notify(ev)
}

func (l *Lines) receive(node string, channel uint64, msg []byte) {
	m := l.member.Load()
	switch {
	case m == nil:
	case channel == channelRaft:
		m.groups.Step(node, msg)
	case channel == channelMember:
		m.hear(node, msg)
	}
}

func (l *Lines) stream(name string, header []byte, r io.Reader) error {
	n := l.number(name)
	if n == 0 {
		return fmt.Errorf("%w: %s", link.ErrUnknown, name)
	}
	return l.cfg.Stream(n, header, r)
}

// answer answers who is no member: a node that wants to be one, or an operator.
func (l *Lines) answer(name string, question []byte) ([]byte, error) {
	m := l.member.Load()
	if m == nil {
		return nil, errStarting
	}
	return json.Marshal(m.let(name, question))
}
