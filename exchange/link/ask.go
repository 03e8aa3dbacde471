package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"switchboard/wire"
)

const (
	questionsMax = 16               // of strangers, that are being answered at once
	answerMax    = 1 << 20          // bytes
	answerWithin = 30 * time.Second // and then nobody waits any more
)

// Refused is what the other side says when it does not do what it was asked for.
type Refused string

// Error implements error.
func (r Refused) Error() string { return string(r) }

// Ask asks whoever listens at addr a question of at most 4 KiB, before this node is a member or has links: who there is, and
// the answer. Of cfg it uses Node, TLS, Plain, Dial and Silence. With TLS the other side must show a certificate of
// the cluster's authorities for the name that it says it has. A [Refused] is its answer; other errors say that there was
// none, and then it is not known whether the question has been heard. It may be called from any goroutine.
func Ask(ctx context.Context, addr string, cfg Config, question []byte) (node string, answer []byte, err error) {
	if len(question) > headerMax {
		return "", nil, ErrTooLarge
	}
	cfg.Cluster = "-" // not known yet
	if cfg, err = cfg.withDefaults(); err != nil {
		return "", nil, err
	}
	node, answer, err = askOnce(ctx, addr, cfg, question)
	var refused Refused
	if errors.As(err, &refused) && strings.HasPrefix(string(refused), otherVersion) && cfg.Version > wire.LinkOldest {
		cfg.Version = wire.LinkOldest // it has not heard the question
		return askOnce(ctx, addr, cfg, question)
	}
	return node, answer, err
}

func askOnce(ctx context.Context, addr string, cfg Config, question []byte) (node string, answer []byte, err error) {
	client, _, err := secure(cfg.TLS)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	c, err := cfg.Dial(ctx, addr)
	if err != nil {
		return "", nil, fmt.Errorf("asking at %s: %w", addr, err)
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	node, answer, err = ask(ctx, c, cfg, client, question)
	var refused Refused
	if err != nil && !errors.As(err, &refused) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		err = fmt.Errorf("asking at %s: %w", addr, err)
	}
	return node, answer, err
}

func ask(ctx context.Context, c net.Conn, cfg Config, client *tls.Config, question []byte) (string, []byte, error) {
	var shown *tls.Conn
	if client != nil {
		shown = tls.Client(c, nameless(client))
		if err := shown.HandshakeContext(ctx); err != nil {
			return "", nil, err
		}
		c = shown
	} else if err := (&Links{cfg: cfg}).plain(c); err != nil {
		return "", nil, err
	}
	h := hello{version: cfg.Version, kind: laneAsk, cluster: cfg.Cluster, node: cfg.Node, incarnation: 1, header: question}
	if err := c.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return "", nil, err
	}
	if _, err := c.Write(appendFrame(nil, frameHello, h.bytes())); err != nil {
		return "", nil, err
	}
	f := &frames{r: bufio.NewReaderSize(c, 512), max: answerMax}
	typ, payload, err := f.next()
	switch {
	case err != nil:
		return "", nil, noEOF(err)
	case typ == frameRefuse:
		return "", nil, Refused(payload)
	case typ != frameWelcome:
		return "", nil, fmt.Errorf("%w: it greets with a frame of type %d", errGarbage, typ)
	}
	there, err := parseHello(payload)
	if err != nil {
		return "", nil, err
	}
	if shown != nil {
		if err := shown.ConnectionState().PeerCertificates[0].VerifyHostname(there.node); err != nil {
			return "", nil, fmt.Errorf("link: node %s shows another's certificate: %w", there.node, err)
		}
	}
	typ, payload, err = f.next()
	switch {
	case err != nil:
		return "", nil, noEOF(err)
	case typ == frameRefuse:
		return there.node, nil, Refused(payload)
	case typ != frameData:
		return "", nil, fmt.Errorf("%w: an answer of type %d", errGarbage, typ)
	}
	return there.node, payload, nil
}

// nameless is cfg for whoever does not know yet whom he will meet: the authorities are checked, the name is not.
func nameless(cfg *tls.Config) *tls.Config {
	c := cfg.Clone()
	c.InsecureSkipVerify = true // instead of it, with the name left for later:
	c.VerifyConnection = func(s tls.ConnectionState) error {
		o := x509.VerifyOptions{Roots: cfg.RootCAs, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		for _, cert := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(o)
		return err
	}
	return c
}

// takeQuestion answers a question.
func (l *Links) takeQuestion(c net.Conn, h hello) error {
	if l.cfg.Answer == nil {
		return errors.New("link: questions are not answered here")
	}
	l.mu.Lock()
	busy := l.questions >= questionsMax
	if !busy {
		l.questions++
	}
	l.mu.Unlock()
	if busy {
		return errors.New("link: too many questions at once: ask again")
	}
	defer func() {
		l.mu.Lock()
		l.questions--
		l.mu.Unlock()
	}()
	if err := l.greet(c, h); err != nil {
		return err
	}
	answer, err := l.cfg.Answer(h.node, h.header)
	if err != nil {
		return err
	}
	if len(answer) > answerMax {
		return ErrTooLarge
	}
	if err := c.SetDeadline(time.Now().Add(l.cfg.Silence)); err != nil {
		return err
	}
	_, err = c.Write(appendFrame(nil, frameData, answer))
	return err
}
