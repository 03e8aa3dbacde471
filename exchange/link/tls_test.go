package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// config returns what a node named name needs that believes what a signed, with a certificate of signer.
func (a *authority) config(t *testing.T, signer *authority, name string, until time.Time) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, signer.cert, key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// secured opens a node over loopback.
func secured(t *testing.T, node string, incarnation uint64, cfg *tls.Config) *host {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{x: exchange.New(incarnation), events: make(chan Event, 1<<10)}
	if h.Links, err = Open(h.x, ln, Config{
		Cluster: "test", Node: node, Born: 1, TLS: cfg, Silence: 20 * time.Second, Log: slog.New(slog.DiscardHandler),
		Notify: func(e Event) { h.events <- e },
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// dialled returns why a does not reach node at b.
func (h *host) dialled(t *testing.T, b *host, node string) string {
	t.Helper()
	hello := h.hello(laneControl, node)
	hello.dial = 1 << 20
	c, f, _, err := h.dial(t.Context(), b.listener.Addr().String(), hello)
	if err == nil {
		_, _, err = f.next()
		_ = c.Close()
	}
	if err == nil {
		t.Fatal("the node lets in whom it should refuse")
	}
	return err.Error()
}

func TestTLS(t *testing.T) {
	ca, hour := newAuthority(t), time.Now().Add(time.Hour)
	a := secured(t, "a", 1, ca.config(t, ca, "a", hour))
	b := secured(t, "b", 2, ca.config(t, ca, "b", hour))
	for from, to := range map[*host]*host{a: b, b: a} {
		if _, err := from.Add(to.cfg.Node, to.listener.Addr().String()); err != nil {
			t.Fatal(err)
		}
	}
	a.await(t, Event{Kind: Up, Node: "b", Incarnation: 2})
	b.await(t, Event{Kind: Up, Node: "a", Incarnation: 1})
	in := make(sink, 1)
	b.x.PlugConn(9, in)
	a.post(t, wire.Conn{Node: 2, ID: 9}.Address(), &wire.Frame{Seq: 7})
	if e := <-in; e.Mail.(*wire.Frame).Seq != 7 {
		t.Fatalf("what arrives is %+v", e.Mail)
	}

	f := func(what string, stranger *host, node, want string) {
		t.Helper()
		if got := stranger.dialled(t, b, node); !strings.Contains(got, want) {
			t.Errorf("%s is told %q; want %q", what, got, want)
		}
	}
	foreign := newAuthority(t)
	f("a certificate of another authority", secured(t, "a", 3, ca.config(t, foreign, "a", hour)), "b", "unknown certificate authority")
	f("one who believes another authority", secured(t, "a", 3, foreign.config(t, ca, "a", hour)), "b", "signed by unknown authority")
	f("another's certificate", secured(t, "a", 3, ca.config(t, ca, "c", hour)), "b", "node a shows another's certificate")
	f("an expired certificate", secured(t, "a", 3, ca.config(t, ca, "a", time.Now().Add(-time.Hour))), "b", "expired certificate")
	f("one who looks for another", secured(t, "a", 3, ca.config(t, ca, "a", hour)), "c", "certificate is valid for b, not c")
	plain := secured(t, "a", 3, nil)
	if got := plain.dialled(t, b, "b"); got == "" {
		t.Error("a plain connection is let in")
	}
	if s := b.To("a").Status(); !s.Up || s.Incarnation != 1 {
		t.Errorf("strangers disturbed the link: %+v", s)
	}
}

func TestTLSThatBelievesEverybodyIsRefused(t *testing.T) {
	ca := newAuthority(t)
	f := func(cfg *tls.Config) {
		t.Helper()
		if _, err := Open(exchange.New(1), newNetwork().listen("a"), Config{Cluster: "c", Node: "a", TLS: cfg}); err == nil {
			t.Error("it opens")
		}
	}
	f(&tls.Config{})
	careless := ca.config(t, ca, "a", time.Now().Add(time.Hour))
	careless.InsecureSkipVerify = true
	f(careless)
}
