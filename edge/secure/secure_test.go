package secure

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// pair is a certificate in files of its own.
type pair struct {
	t         testing.TB
	cert, key string
}

func newPair(t testing.TB) *pair {
	dir := t.TempDir()
	p := &pair{t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	p.renew(time.Hour)
	return p
}

func (p *pair) renew(ttl time.Duration) (cert []byte) {
	p.t.Helper()
	cert, key, err := SelfSigned(ttl, "localhost", "127.0.0.1")
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(cert, key)
	return cert
}

func (p *pair) write(cert, key []byte) {
	p.t.Helper()
	for name, b := range map[string][]byte{p.cert: cert, p.key: key} {
		if b == nil {
			continue
		}
		if err := errors.Join(os.WriteFile(name+".new", b, 0o600), os.Rename(name+".new", name)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *pair) open(log *slog.Logger) *Files {
	p.t.Helper()
	f, err := OpenFiles(p.cert, p.key, log)
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

// joined returns both sides of a connection whose handshake is over.
func joined(t testing.TB, min, max uint16) (server *Conn, client *tls.Conn) {
	t.Helper()
	p := newPair(t)
	pem, err := os.ReadFile(p.cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	met := make(chan error, 2)
	ln := Listen(raw, Config(p.open(nil), min), func(_ tls.ConnectionState, err error) { met <- err })
	defer ln.Close() //nolint:errcheck // a test's
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: roots, MaxVersion: max}) //nolint:gosec // a test's
		if err != nil {
			t.Error(err)
			return
		}
		client = c
	})
	sock, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server = sock.(*Conn)
	for range 2 {
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	if err := <-met; err != nil || len(met) > 0 {
		t.Fatalf("the handshake was told as %v, and %d times more", err, len(met))
	}
	t.Cleanup(func() { _ = client.Close() })
	return server, client
}

// open gives b in pieces of size, and returns what it says.
func open(t testing.TB, c *Conn, b []byte, size int) (plain []byte, err error) {
	t.Helper()
	buf := make([]byte, 16<<10)
	for len(b) > 0 {
		n := min(size, len(b))
		c.Feed(b[:n])
		b = b[n:]
		for {
			var k int
			k, err = c.Open(buf)
			plain = append(plain, buf[:k]...)
			if err != nil {
				break
			}
		}
		if !errors.Is(err, ErrWait) {
			return plain, err
		}
	}
	return plain, err
}

// TestByHand: both directions, in pieces of any size, with a record before the socket was taken and a goodbye at the end.
func TestByHand(t *testing.T) {
	f := func(min, max, version uint16, size int) {
		t.Helper()
		s, client := joined(t, min, max)
		if _, err := client.Write([]byte("early")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		if n, err := s.Read(buf); err != nil || string(buf[:n]) != "early" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		if v := s.ConnectionState().Version; v != version {
			t.Fatalf("version %x", v)
		}
		sock := s.Take()
		defer sock.Close() //nolint:errcheck // a test's
		big := bytes.Repeat([]byte("0123456789abcdef"), 5_000)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := client.Write(big); err != nil {
				t.Error(err)
			}
			if err := client.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		var got []byte
		cipher := make([]byte, 3*size)
		for {
			n, err := sock.Read(cipher)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := open(t, s, cipher[:n], size)
			got = append(got, plain...)
			if errors.Is(err, io.EOF) {
				break
			}
			if !errors.Is(err, ErrWait) {
				t.Fatal(err)
			}
		}
		wg.Wait()
		if !bytes.Equal(got, big) {
			t.Fatalf("%d bytes came, and are not those", len(got))
		}
		out, err := s.Seal([]byte("before"), big, false)
		if err != nil || !bytes.HasPrefix(out, []byte("before")) || s.Unsealed() != 0 {
			t.Fatal(err, len(out))
		}
		if out, err = s.Seal(out, []byte("end"), true); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if _, err := sock.Write(out[len("before"):]); err != nil {
				t.Error(err)
			}
		})
		back, err := io.ReadAll(client)
		wg.Wait()
		if err != nil || !bytes.Equal(back, append(big, "end"...)) {
			t.Fatalf("%d bytes came back, %v", len(back), err)
		}
		if _, err := s.Seal(nil, []byte("late"), false); err == nil {
			t.Fatal("something follows the goodbye")
		}
	}
	for _, size := range []int{1, 7, 4096, 1 << 20} {
		f(0, 0, tls.VersionTLS13, size)
	}
	f(0, tls.VersionTLS12, tls.VersionTLS12, 100)
}

// TestGarbage: what is no record ends the connection with an alert, whatever it is.
func TestGarbage(t *testing.T) {
	s, client := joined(t, 0, 0)
	sock := s.Take()
	defer sock.Close() //nolint:errcheck // a test's
	if _, err := open(t, s, []byte("GET / HTTP/1.1\r\n\r\n"), 100); err == nil || errors.Is(err, ErrWait) || errors.Is(err, io.EOF) {
		t.Fatalf("%v", err)
	}
	if s.Unsealed() == 0 {
		t.Fatal("there is no alert")
	}
	out, err := s.Seal(nil, nil, false)
	if err != nil || len(out) == 0 {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	if _, err := sock.Write(out); err != nil {
		t.Fatal(err)
	}
	var alert tls.AlertError
	if _, err := client.Read(make([]byte, 1)); !errors.As(err, &alert) && err == nil {
		t.Fatal("the client hears nothing")
	}
}

// TestMin: a client that is too old is refused, and that is told.
func TestMin(t *testing.T) {
	p := newPair(t)
	a, b := net.Pipe()
	var told error
	s := Server(a, Config(p.open(nil), tls.VersionTLS13), func(_ tls.ConnectionState, err error) { told = err })
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake(); err == nil { //nolint:gosec // a test's
			t.Error("TLS 1.2 was spoken")
		}
	})
	if err := s.Handshake(); err == nil || !errors.Is(told, err) {
		t.Errorf("%v, and told was %v", err, told)
	}
	wg.Wait()
}

// TestFiles: a new pair is served without a word, half of one and garbage never.
func TestFiles(t *testing.T) {
	var said bytes.Buffer
	p := newPair(t)
	f := p.open(slog.New(slog.NewTextHandler(&said, nil)))
	skew := time.Duration(0)
	f.now = func() time.Time { return time.Now().Add(skew) }
	serial := func() string {
		t.Helper()
		skew += 2 * lookEvery
		c, err := f.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.SerialNumber.String()
	}
	first := serial()
	cert, key, err := SelfSigned(2*time.Hour, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	p.write(cert, nil) // the key does not belong to it yet
	if got := serial(); got != first || said.Len() == 0 {
		t.Fatalf("half of a new pair is served: %s", said.String())
	}
	said.Reset()
	if got := serial(); got != first || said.Len() > 0 {
		t.Fatalf("what was looked at is told again: %s", said.String())
	}
	p.write(nil, key)
	second := serial()
	if second == first || !bytes.Contains(said.Bytes(), []byte("replaced")) || time.Until(f.Expires()) < time.Hour {
		t.Fatalf("the new pair is not served: %s", said.String())
	}
	p.write([]byte("-----BEGIN CERTIFICATE-----\nAAAA"), nil)
	if got := serial(); got != second {
		t.Fatal("garbage is served")
	}
	if err := os.Remove(p.cert); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != second {
		t.Fatal("a certificate that is not there is served")
	}
	if err := f.Reload(); err == nil {
		t.Fatal("a reload of nothing is none")
	}
	p.renew(time.Minute)
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	said.Reset()
	skew = 0
	p.renew(-time.Minute)
	if err := f.Reload(); err != nil || !bytes.Contains(said.Bytes(), []byte("not good now")) {
		t.Fatalf("an expired certificate is taken in silence: %v, %s", err, said.String())
	}
	if _, err := OpenFiles(p.cert+"no", p.key, nil); err == nil {
		t.Fatal("no file is a certificate")
	}
}

// TestAllocs: a message in and one out cost what crypto/tls costs, and no more.
func TestAllocs(t *testing.T) {
	if raced {
		t.Skip("the race detector lets pools forget at random, and so the count is of nothing")
	}
	s, client := joined(t, 0, 0)
	sock := s.Take()
	defer sock.Close() //nolint:errcheck // a test's
	plain := make([]byte, 1024)
	out := make([]byte, 0, 4096)
	cipher := make([]byte, 4096)
	turn := func() {
		if _, err := client.Write(plain[:300]); err != nil {
			t.Fatal(err)
		}
		n, err := sock.Read(cipher)
		if err != nil {
			t.Fatal(err)
		}
		s.Feed(cipher[:n])
		for err == nil {
			_, err = s.Open(plain)
		}
		if !errors.Is(err, ErrWait) {
			t.Fatal(err)
		}
		if out, err = s.Seal(out[:0], plain[:300], false); err != nil {
			t.Fatal(err)
		}
		if _, err := sock.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(plain); err != nil {
			t.Fatal(err)
		}
	}
	turn()
	if n := testing.AllocsPerRun(200, turn); n > 4 {
		t.Errorf("%v allocations", n)
	}
}

// TestSlim: an idle connection is small. When this fails with a new version of Go, its crypto/tls has other buffers: see slim.
func TestSlim(t *testing.T) {
	if handField == noField || rawField == noField {
		t.Fatal("crypto/tls has no such buffers any more")
	}
	const n = 50
	var all []*Conn
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc) //nolint:gosec // of this machine
	}
	var socks []net.Conn
	for range n {
		s, _ := joined(t, 0, 0)
		all = append(all, s)
	}
	before := heap()
	for _, s := range all {
		socks = append(socks, s.Take())
	}
	if saved := (before - heap()) / n; saved < 2500 {
		t.Errorf("taking a connection gives back %d bytes", saved)
	}
	for _, s := range socks {
		_ = s.Close()
	}
	runtime.KeepAlive(all)
}
