package node_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"switchboard/edge/secure"
	"switchboard/node"
)

// shown is a certificate in files, and what trusts it.
type shown struct {
	t         testing.TB
	cert, key string
	client    *tls.Config
}

func newShown(t testing.TB) *shown {
	dir := t.TempDir()
	s := &shown{t: t, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	s.renew()
	return s
}

func (s *shown) renew() {
	s.t.Helper()
	cert, key, err := secure.SelfSigned(time.Hour, "127.0.0.1")
	if err == nil {
		err = errors.Join(os.WriteFile(s.cert, cert, 0o600), os.WriteFile(s.key, key, 0o600))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	s.client = &tls.Config{RootCAs: roots} //nolint:gosec // a test's
}

// TestTLS: a conversation over wss, HTTP beside it, a certificate that is replaced under an open connection, and what the
// metrics say of it.
func TestTLS(t *testing.T) {
	s := newShown(t)
	n := start(t, t.TempDir(), func(c *node.Config) { c.TLS = node.TLS{Cert: s.cert, Key: s.key, Min: "1.3"} })
	defer stop(t, n)
	dialTLS := func() *peer {
		t.Helper()
		d := websocket.Dialer{TLSClientConfig: s.client}
		w, _, err := d.Dial("wss://"+n.Addr()+"/v1/connect", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Close() })
		p := &peer{t: t, ws: w}
		list, _ := peers.LoadOrStore(n.Addr(), &peerList{})
		list.(*peerList).add(p)
		return p
	}
	alice := dialTLS()
	alice.ask("hello", obj{"token": mint(t, n, customerOf("alice"))})
	id := alice.open(obj{})
	long := strings.Repeat("x", 30_000) // more than a record
	alice.ask("send", obj{"session": id, "body": text(long)})

	s.renew()
	if err := n.Reload(); err != nil {
		t.Fatal(err)
	}
	again := dialTLS() // it trusts the new one alone
	again.ask("hello", obj{"token": mint(t, n, customerOf("alice"))})
	again.ask("open", obj{"session": id, "from": obj{"epoch": 1, "seq": 0}})
	for bodyText(again.push("message")) != long { // after what the node itself has said; it fails at the end of the log
	}
	alice.ask("send", obj{"session": id, "body": text("still here")})

	web := http.Client{Transport: &http.Transport{TLSClientConfig: s.client}}
	defer web.CloseIdleConnections()
	resp, err := web.Get("https://" + n.Addr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`switchboard_edge_tls_handshakes_total{resumed="false",version="1.3"} 3`, "switchboard_tls_certificate_expires_seconds 1."} {
		if !strings.Contains(string(page), want) {
			t.Errorf("there is no %s", want)
		}
	}
	if _, err := http.Get("http://" + n.Addr() + "/healthz"); err == nil {
		t.Error("it answers in the clear")
	}
	if err := os.Remove(s.key); err != nil {
		t.Fatal(err)
	}
	if err := n.Reload(); err == nil {
		t.Error("a key that is gone is reloaded")
	}
	alice.ask("send", obj{"session": id, "body": text("and the one before stays")})
}

// TestTLSConfig: half a configuration is none.
func TestTLSConfig(t *testing.T) {
	f := func(c node.TLS, want string) {
		t.Helper()
		cfg := node.Config{Data: t.TempDir(), Listen: "127.0.0.1:0", Dev: true, TLS: c}
		n, err := node.Start(cfg)
		if err == nil {
			stop(t, n)
			t.Fatalf("%+v is taken", c)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	s := newShown(t)
	f(node.TLS{Cert: s.cert}, "set both")
	f(node.TLS{Key: s.key}, "set both")
	f(node.TLS{Min: "1.2"}, "no certificate")
	f(node.TLS{Cert: s.cert, Key: s.key, Min: "1.1"}, "1.2 or 1.3")
	f(node.TLS{Cert: s.cert, Key: s.cert}, "reading the certificate")
	f(node.TLS{Cert: s.cert + "x", Key: s.key}, "looking at the certificate")
}
