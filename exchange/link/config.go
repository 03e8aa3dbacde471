package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"switchboard/wire"
)

// Limits that no configuration changes.
const (
	recordMax     = 8 << 20 // bytes of one piece of mail or one message
	frameSize     = 64 << 10
	pieceSize     = 256 << 10 // bytes that must be taken within Config.Silence, or the peer counts as gone
	headerMax     = 4 << 10   // bytes of a stream's header
	strangersMax  = 128       // accepted connections that have not said who they are
	refusalsMax   = 1 << 10   // sessions of connections that are being refused
	againMax      = 1 << 12   // goodbyes that wait for room
	refuseFor     = 500 * time.Millisecond
	movedFor      = 150 * time.Millisecond // how long a request is kept behind another that found nobody here: less than its edge waits before it asks again
	redialMin     = 20 * time.Millisecond
	redialMax     = time.Second
	streamStall   = 30 * time.Second
	idMax         = wire.MaxID
	defaultRate   = 32 << 20
	defaultQueue  = 8 << 20
	defaultSilent = 2 * time.Second
)

// The answers of Send and Stream that callers tell apart, besides those of the exchange.
var (
	// ErrTooLarge says that a message is over 8 MiB, or a stream's header over 4 KiB.
	ErrTooLarge = errors.New("link: too large")
	// ErrUnknown says that there is no link to that node.
	ErrUnknown = errors.New("link: no such node")
	// ErrClosed says that the links are closed, or the link was removed.
	ErrClosed = errors.New("link: closed")
)

// Config says who this node is and how it speaks to others.
type Config struct {
	// Cluster is the cluster's id; nodes of another are refused. 1 to 64 bytes as ids are [SW-1].
	Cluster string
	// Node is this node's id, which never changes. With TLS it is a name in its certificate.
	Node string
	// Born is a number that grows with every start of the node, as a counter in its data directory or, where clocks can
	// be trusted, the time. Of two processes that say they are the same node the one born later wins.
	Born uint64
	// TLS has this node's certificate (Certificates or the like) for both roles, and the authorities of the others
	// (RootCAs and ClientCAs; one that is nil is taken from the other). Nil means plain connections. Names, client
	// certificates and the version are seen to here.
	TLS *tls.Config
	// Plain permits plain connections beyond loopback: whoever reaches the port is then believed.
	Plain bool
	// Dial connects to an address; default TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Version is the highest version of the links that this node speaks: wire.LinkOldest to wire.LinkVersion, the default. A lower one is for
	// tests of upgrades.
	Version uint64
	// Queue is how many bytes may wait for each of a link's two connections, including what is being written; default
	// 8 MiB. Commands are refused at three quarters of it. One piece always fits an empty queue.
	Queue int
	// Silence is how long nothing may be heard of a node before it counts as down, and how long a peer may take for
	// 256 KiB; default 2 s, at least 10 ms. Heartbeats are sent four times in it.
	Silence time.Duration
	// Notify is told what becomes of links. Calls about one node come one at a time and in order. It may post mail; it must
	// not wait for anything, nor close links.
	Notify func(Event)
	// Receive takes a control message that node sent on channel. msg is its own. While it runs nothing else of that node's
	// control messages is read; it must be back well within Silence.
	Receive func(node string, channel uint64, msg []byte)
	// Stream takes a stream that node opened with header. Reading ends with io.EOF only when all of it has come; its sender
	// is told what Stream returns. Nil refuses streams.
	Stream func(node string, header []byte, r io.Reader) error
	// Answer answers the question of a node that may be no member (Ask); with TLS its name is certain. An error travels back as
	// the refusal's words. It may take some seconds. Nil refuses all questions.
	Answer func(node string, question []byte) ([]byte, error)
	// StreamRate bounds all streams that this node sends together, in bytes per second; default 32 MiB.
	StreamRate int
	// Streams is how many streams of others are taken at once; default 4. Others are refused.
	Streams int
	// Log takes what an operator should know; default slog.Default.
	Log *slog.Logger

	strict bool // refuse other versions, as the oldest ones did: for tests
}

func (c Config) withDefaults() (Config, error) {
	if !wire.ValidID(c.Cluster) || !wire.ValidID(c.Node) {
		return c, errors.New("link: the ids of cluster and node are 1 to 64 bytes of [A-Za-z0-9_.:-]")
	}
	if c.Version == 0 {
		c.Version = wire.LinkVersion
	}
	if c.Version < wire.LinkOldest || c.Version > wire.LinkVersion {
		return c, fmt.Errorf("link: Version is %d: this program speaks %d to %d", c.Version, wire.LinkOldest, wire.LinkVersion)
	}
	if c.Queue == 0 {
		c.Queue = defaultQueue
	}
	if c.Silence == 0 {
		c.Silence = defaultSilent
	}
	if c.StreamRate == 0 {
		c.StreamRate = defaultRate
	}
	if c.Streams == 0 {
		c.Streams = 4
	}
	if c.Queue < 0 || c.Silence < 10*time.Millisecond || c.StreamRate < 0 || c.Streams < 0 {
		return c, errors.New("link: Queue, Silence, StreamRate or Streams is out of range")
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if c.Notify == nil {
		c.Notify = func(Event) {}
	}
	if c.Receive == nil {
		c.Receive = func(string, uint64, []byte) {}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c, nil
}
