package loadtest

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// TestDisturber: each cut happens where it says, once, and is counted when it has happened.
func TestDisturber(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing can be done
	var d disturber
	pair := func() (net.Conn, net.Conn) {
		t.Helper()
		c, err := d.dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = c.Close(), s.Close() })
		return c, s
	}
	d.cut(between) // there is no connection
	if n := d.count(); n != [cuts]int{} {
		t.Fatalf("%v", n)
	}
	c, s := pair()
	d.cut(torn)
	if n := d.count(); n != [cuts]int{} {
		t.Fatalf("armed is not cut: %v", n)
	}
	if n, err := c.Write([]byte("12345678")); n != 4 || !errors.Is(err, errCut) {
		t.Fatalf("a torn write: %d, %v", n, err)
	}
	if got, _ := io.ReadAll(s); string(got) != "1234" {
		t.Fatalf("the server got %q", got)
	}
	c, s = pair()
	if _, err := c.Write([]byte("12")); err != nil {
		t.Fatalf("it is torn twice: %v", err)
	}
	if _, err := s.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	d.cut(unheard)
	if n, err := c.Read(make([]byte, 9)); n != 0 || !errors.Is(err, errCut) {
		t.Fatalf("an unheard answer: %d, %v", n, err)
	}
	c, s = pair()
	d.cut(between)
	if _, err := c.Write([]byte("1")); err == nil {
		t.Fatal("the connection lives")
	}
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Fatal("the connection lives")
	}
	if n := d.count(); n != [cuts]int{between: 1, torn: 1, unheard: 1} {
		t.Fatalf("%v", n)
	}
	d.rest = time.Hour
	c, _ = pair()
	d.cut(between)
	if _, err := c.Write([]byte("1")); err != nil {
		t.Fatalf("it was to live for an hour: %v", err)
	}
}
