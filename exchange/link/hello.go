package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"switchboard/wire"
)

const magic = "SWBL"

// What a connection is for.
const (
	laneMail = iota
	laneControl
	lanes
	laneStream = lanes
	laneAsk    = lanes + 1
)

// hello is what each side says first. The one who was dialled leaves out what has no meaning from it.
//
// The caller names the highest version that it speaks, and the other side the lower of that and its own: both speak that. What a hello says never
// changes its place; a later version may say more behind it.
type hello struct {
	version     uint64
	kind        byte
	cluster     string
	node        string
	to          string // whom the caller means to reach
	incarnation uint64
	born        uint64
	dial        uint64 // of this kind, from 1: a later one takes the place of an earlier one
	next        uint64 // number of the next record
	header      []byte // of a stream
}

// otherVersion is how a node refuses that knows no version but its own, and no lower one of two.
const otherVersion = "link: it speaks version"

// errVersion says that a node has refused to be called in a version.
var errVersion = errors.New("refuses")

// errUpgraded ends a connection to a node that was called in the version of its earlier incarnation: it is called again.
var errUpgraded = errors.New("link: it is another incarnation, and may speak a later version")

func (h *hello) bytes() []byte {
	dst := []byte(magic)
	dst = binary.AppendUvarint(dst, h.version)
	dst = append(dst, h.kind)
	for _, s := range []string{h.cluster, h.node, h.to, string(h.header)} {
		dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	for _, n := range []uint64{h.incarnation, h.born, h.dial, h.next} {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

func parseHello(b []byte) (h hello, err error) {
	bad := len(b) < len(magic) || string(b[:len(magic)]) != magic
	number := func() uint64 {
		n, used := binary.Uvarint(b)
		if bad = bad || used <= 0; bad {
			return 0
		}
		b = b[used:]
		return n
	}
	text := func(limit uint64) string {
		n := number()
		if bad = bad || n > limit || n > uint64(len(b)); bad {
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	if bad {
		return h, fmt.Errorf("%w: it does not begin as a link", errGarbage)
	}
	b = b[len(magic):]
	if h.version = number(); !bad && h.version < wire.LinkOldest {
		return h, fmt.Errorf("link: it speaks version %d; this is %d, and understands %d", h.version, wire.LinkVersion, wire.LinkOldest)
	}
	if bad = bad || len(b) == 0 || b[0] > laneAsk; bad {
		return h, fmt.Errorf("%w: a hello of no kind", errGarbage)
	}
	h.kind, b = b[0], b[1:]
	h.cluster, h.node, h.to, h.header = text(idMax), text(idMax), text(idMax), []byte(text(headerMax))
	h.incarnation, h.born, h.dial, h.next = number(), number(), number(), number()
	if bad || len(b) > 0 && h.version <= wire.LinkVersion || h.incarnation == 0 || !wire.ValidID(h.node) {
		return h, fmt.Errorf("%w: a hello that is cut short", errGarbage)
	}
	return h, nil
}

// hello returns what this node says of itself.
func (l *Links) hello(kind byte, to string) hello {
	return hello{version: l.cfg.Version, kind: kind, cluster: l.cfg.Cluster, node: l.cfg.Node, to: to, incarnation: l.x.Node(), born: l.cfg.Born}
}

// plain tells whether a plain connection over c may be believed.
func (l *Links) plain(c net.Conn) error {
	if l.cfg.Plain {
		return nil
	}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("link: %s is not on loopback, and neither TLS nor Plain is configured", c.RemoteAddr())
}

// dial connects to node at addr, says h and returns the connection, everything that can be read from it, and who is there.
func (l *Links) dial(ctx context.Context, addr string, h hello) (_ *timed, _ *frames, _ hello, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Silence)
	defer cancel()
	var there hello
	c, err := l.cfg.Dial(ctx, addr)
	if err != nil {
		return nil, nil, there, fmt.Errorf("dialling %s at %s: %w", h.to, addr, err)
	}
	raw := c
	hangUp := func() { _ = raw.Close() }
	stop := context.AfterFunc(ctx, hangUp)
	defer func() {
		if !stop() && err == nil {
			err = fmt.Errorf("greeting %s at %s: %w", h.to, addr, context.Cause(ctx))
		}
		if err != nil {
			hangUp()
		}
	}()
	if l.client == nil {
		if err := l.plain(c); err != nil {
			return nil, nil, there, err
		}
	} else {
		cfg := l.client.Clone()
		cfg.ServerName = h.to
		secured := tls.Client(c, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, nil, there, fmt.Errorf("greeting %s at %s: %w", h.to, addr, err)
		}
		c = secured
	}
	t := &timed{Conn: c, limit: l.cfg.Silence}
	if _, err := t.Write(appendFrame(nil, frameHello, h.bytes())); err != nil {
		return nil, nil, there, fmt.Errorf("greeting %s at %s: %w", h.to, addr, err)
	}
	f := &frames{r: bufio.NewReaderSize(t, 512), max: headerMax}
	typ, payload, err := f.next()
	switch {
	case err != nil:
		return nil, nil, there, fmt.Errorf("greeting %s at %s: %w", h.to, addr, err)
	case typ == frameRefuse && strings.HasPrefix(string(payload), otherVersion):
		return nil, nil, there, fmt.Errorf("link: %s at %s %w: %s", h.to, addr, errVersion, payload)
	case typ == frameRefuse:
		return nil, nil, there, fmt.Errorf("link: %s at %s refuses: %s", h.to, addr, payload)
	case typ != frameWelcome:
		return nil, nil, there, fmt.Errorf("%w: %s at %s greets with a frame of type %d", errGarbage, h.to, addr, typ)
	}
	if there, err = parseHello(payload); err != nil {
		return nil, nil, there, err
	}
	if there.version > h.version {
		return nil, nil, there, fmt.Errorf("link: %s at %s answers in version %d, and this node speaks %d", h.to, addr, there.version, h.version)
	}
	if there.cluster != h.cluster || there.node != h.to {
		return nil, nil, there, fmt.Errorf("link: at %s is node %s of cluster %s, not %s", addr, there.node, there.cluster, h.to)
	}
	return t, f, there, nil
}

// answer takes the hello of a connection that was accepted. It returns who calls, or why he is refused.
func (l *Links) answer(c net.Conn) (net.Conn, hello, error) {
	var h hello
	if err := c.SetDeadline(time.Now().Add(l.cfg.Silence)); err != nil {
		return c, h, err
	}
	var shown *tls.Conn
	if l.server == nil {
		if err := l.plain(c); err != nil {
			return c, h, err
		}
	} else {
		shown = tls.Server(c, l.server)
		if err := shown.Handshake(); err != nil {
			return c, h, err
		}
		c = shown
	}
	// The reader takes no byte more than the hello, which is short: its caller waits for the welcome.
	typ, payload, err := (&frames{r: bufio.NewReaderSize(c, 512), max: 2 * headerMax}).next()
	if err != nil {
		return c, h, err
	}
	if typ != frameHello {
		return c, h, fmt.Errorf("%w: it begins with a frame of type %d", errGarbage, typ)
	}
	if h, err = parseHello(payload); err != nil {
		return c, h, err
	}
	switch {
	case l.cfg.strict && h.version != l.cfg.Version:
		return c, h, fmt.Errorf("%s %d; this is %d", otherVersion, h.version, l.cfg.Version)
	case h.kind == laneAsk: // a stranger knows neither the cluster nor who is here
	case h.cluster != l.cfg.Cluster:
		return c, h, fmt.Errorf("link: it is of cluster %s; this is %s", h.cluster, l.cfg.Cluster)
	case h.to != l.cfg.Node:
		return c, h, fmt.Errorf("link: it looks for node %s; this is %s", h.to, l.cfg.Node)
	case h.node == l.cfg.Node:
		return c, h, errors.New("link: it has this node's id")
	}
	if shown != nil {
		if err := shown.ConnectionState().PeerCertificates[0].VerifyHostname(h.node); err != nil {
			return c, h, fmt.Errorf("link: node %s shows another's certificate: %w", h.node, err)
		}
	}
	return c, h, nil
}

// secure splits the caller's configuration into those of the two roles.
func secure(c *tls.Config) (client, server *tls.Config, err error) {
	if c == nil {
		return nil, nil, nil
	}
	client, server = c.Clone(), c.Clone()
	if client.RootCAs == nil {
		client.RootCAs = c.ClientCAs
	}
	if server.ClientCAs == nil {
		server.ClientCAs = c.RootCAs
	}
	if client.RootCAs == nil || server.ClientCAs == nil {
		return nil, nil, errors.New("link: TLS needs the authorities of the cluster, in RootCAs or ClientCAs: the machine's would let in strangers")
	}
	if client.InsecureSkipVerify {
		return nil, nil, errors.New("link: TLS that verifies nobody is worse than Plain")
	}
	server.ClientAuth = tls.RequireAndVerifyClientCert
	client.MinVersion, server.MinVersion = tls.VersionTLS13, tls.VersionTLS13
	return client, server, nil
}
