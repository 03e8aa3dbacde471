package memnet_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"switchboard/internal/memnet"
)

// A connection goes to who accepts, and to nobody when the listener closes or the caller gives up.
func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("a")
		if got := l.Addr().String(); got != "a" {
			t.Fatalf("its name is %q", got)
		}
		ours, theirs := net.Pipe()
		handed := make(chan error)
		go func() { handed <- l.Hand(t.Context(), theirs) }()
		if c, err := l.Accept(); err != nil || c != theirs {
			t.Fatalf("accepted %v, %v", c, err)
		}
		if err := <-handed; err != nil {
			t.Fatal(err)
		}

		gone := errors.New("the caller has gone")
		ctx, leave := context.WithCancelCause(t.Context())
		go func() { handed <- l.Hand(ctx, theirs) }()
		synctest.Wait() // nobody accepts
		leave(gone)
		if err := <-handed; !errors.Is(err, gone) {
			t.Fatalf("a caller who has gone gets %v", err)
		}

		accepted := make(chan error)
		go func() { handed <- l.Hand(t.Context(), theirs) }()
		synctest.Wait()
		_ = l.Close()
		if err := <-handed; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("who waits when it closes gets %v", err)
		}
		go func() { _, err := l.Accept(); accepted <- err }()
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("who accepts from a closed one gets %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatalf("closed twice: %v", err)
		}
		_, _ = ours.Close(), theirs.Close()
	})
}
