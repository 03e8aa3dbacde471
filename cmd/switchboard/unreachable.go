package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
)

// unreachable says that nobody has answered at addr, in words for whoever typed it: what the HTTP client says besides, the method
// and the whole URL, is of no use to him. Other errors stay as they are.
func unreachable(addr string, err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("no node answers at %s (%w): is it running, and is this where it listens for clients?", addr, op.Err)
	}
	return fmt.Errorf("asking %s: %w", addr, err)
}

// unlinked is unreachable for the port of a node's links.
func unlinked(at string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("no member of a cluster answers at %s (%w): --at is where a node listens for other nodes (cluster.listen), not for clients", at, op.Err)
	}
	return err
}
