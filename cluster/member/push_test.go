package member

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
)

// What is pushed arrives whole, or both sides know that it did not.
func TestPush(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		type got struct {
			from uint32
			text string
			err  error
		}
		in := make(chan got, 8)
		hold := make(chan struct{})
		if _, err := w.enter("a"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.enter("b", func(c *Config) {
			c.Stream = func(node uint32, header []byte, r io.Reader) error {
				b, err := io.ReadAll(r)
				in <- got{node, string(header) + ": " + string(b), err}
				return err
			}
		}); err != nil {
			t.Fatal(err)
		}
		l := w.nodes["a"].l
		w.await("a knows b", func() string {
			if l.to(2) == nil {
				return "not yet"
			}
			return ""
		})
		done := make(chan error, 8)
		end := func(err error) { done <- err }
		l.Push(2, []byte("shot"), func(s io.Writer) error {
			_, err := fmt.Fprint(s, "rows")
			return err
		}, end)
		if g, err := <-in, <-done; err != nil || g.err != nil || g.from != 1 || g.text != "shot: rows" {
			t.Fatalf("%+v, %v", g, err)
		}
		bad := errors.New("the disk")
		l.Push(2, nil, func(s io.Writer) error {
			_, err := fmt.Fprint(s, "half")
			return errors.Join(err, bad)
		}, end)
		if g, err := <-in, <-done; !errors.Is(err, bad) || g.err == nil {
			t.Fatalf("half of it is taken for whole: %+v, %v", g, err)
		}
		l.Push(9, nil, func(io.Writer) error { return nil }, end)
		if err := <-done; err == nil {
			t.Fatal("nobody takes it, and all is well")
		}
		for range pushesEach { // its disk hangs
			l.Push(2, nil, func(io.Writer) error {
				<-hold
				return nil
			}, end)
		}
		l.Push(2, nil, nil, end)
		if err := <-done; !errors.Is(err, errBusy) {
			t.Fatal(err)
		}
		l.Push(9, nil, nil, end)
		if err := <-done; errors.Is(err, errBusy) {
			t.Fatal("two that hang at one node take the place of those to others")
		}
		close(hold)
		for range pushesEach {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
	})
}
