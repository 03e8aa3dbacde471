package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"switchboard/client"
)

// notTLS is what a node with certificates says to who has none.
const notTLS = "first record does not look like a TLS handshake"

// notLink is how the link's errors begin when what answers does not speak as a node does.
const notLink = "link: garbage"

// unreachable says that nobody has answered at addr, in words for whoever typed it: what the HTTP client says besides, the method
// and the whole URL, is of no use to him. Other errors stay as they are.
func unreachable(addr string, err error) error {
	if of, ok := errors.AsType[*url.Error](err); ok {
		err = of.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("no node answers at %s (%w): is it running, and is this where it listens for clients?", addr, op.Err)
	}
	return fmt.Errorf("asking %s: %w", addr, err)
}

// dialOnce connects for a command that asks once: when no node answers it says so, where the client would try for as long as it takes. What it
// returns also ends with the first connection that is lost; the context is for whatever is asked.
func dialOnce(ctx context.Context, addr string, cfg client.Config) (context.Context, *client.Client, error) {
	within, stop := context.WithCancelCause(ctx)
	cfg.On.Disconnected = func(err error, again time.Duration) {
		if again >= 0 { // else it is refused for good, and says so itself
			stop(err)
		}
	}
	c, err := client.Dial(within, cfg)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		err = unreachable(addr, context.Cause(within))
	}
	return within, c, err
}

// dialFirst connects for a command whose connection comes back by itself, once there was one: whoever names a place where nobody listens is told so, as a
// script would wait there for ever.
func dialFirst(ctx context.Context, addr string, cfg client.Config) (*client.Client, error) {
	within, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	tell := cfg.On.Disconnected
	var met atomic.Bool
	cfg.On.Disconnected = func(err error, again time.Duration) {
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" && !met.Load() {
			stop(err)
			return
		}
		tell(err, again)
	}
	c, err := client.Dial(within, cfg)
	met.Store(true)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		err = unreachable(addr, context.Cause(within))
	}
	return c, err
}

// unheard says of err, to which a question within dialOnce's context has come, that the node was lost before it answered, when that is why.
func unheard(ctx context.Context, addr string, err error) error {
	if why := context.Cause(ctx); why != nil && !errors.Is(why, context.Canceled) {
		return fmt.Errorf("%s was lost before it answered (%w): ask again", addr, why)
	}
	return err
}

// unlinked is unreachable for the port of a node's links.
func unlinked(at string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("no member of a cluster answers at %s (%w): --at is where a node listens for other nodes (cluster.listen), not for clients", at, op.Err)
	}
	switch _, plain := errors.AsType[tls.RecordHeaderError](err); {
	case plain:
		return fmt.Errorf("%s speaks no TLS (%w): leave out --cluster-tls, or see that --at is where a node listens for other nodes", at, err)
	case err != nil && strings.Contains(err.Error(), notTLS): // the node says so before it hangs up
		return fmt.Errorf("%s wants a certificate of its cluster (%w): set --cluster-tls, and --as to whom it is for", at, err)
	case err != nil && strings.Contains(err.Error(), notLink):
		return fmt.Errorf("what answers at %s is no node's link (%w): --at is where a node listens for other nodes (cluster.listen), not for clients", at, err)
	}
	return err
}
