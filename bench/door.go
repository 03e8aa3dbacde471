package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"switchboard/edge/secure"
)

// door is what the machine gives to whoever lets others in. Zero is what cannot be told on this system.
type door struct {
	accepted time.Duration // processor time to accept a socket, read an upgrade, answer it and close
	shaken   time.Duration // the same of a full TLS handshake alone
	held     float64       // bytes of an accepted socket that is held, and nothing else
}

// upgrade and upgraded are what a WebSocket server cannot do without reading and writing.
const (
	upgrade = "GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Protocol: switchboard.v1.json\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" +
		"Sec-WebSocket-Protocol: switchboard.v1.json\r\n\r\n"
)

func (d *door) figures() (list []Figure) {
	add := func(name string, v float64, unit string) {
		if v > 0 {
			list = append(list, Figure{Name: name, Value: v, Unit: unit})
		}
	}
	add("accepting a socket and answering an upgrade", micros(d.accepted), "µs of a processor")
	add("a TLS 1.3 handshake of crypto/tls, P-256", micros(d.shaken), "µs of a processor")
	add("an accepted socket that is held", d.held, "bytes")
	return list
}

// measure lets sockets in, one after the other, on one thread whose time is counted; whoever comes is another.
func (d *door) measure(ctx context.Context, cfg *Config) error {
	if _, ok := threadCPU(); !ok {
		return nil
	}
	var err error
	if d.accepted, err = letIn(ctx, cfg, answer, nil); err != nil {
		return err
	}
	server, client, err := certified()
	if err != nil {
		return err
	}
	shake := func(c net.Conn) (time.Duration, error) {
		s := tls.Server(c, server)
		from, _ := threadCPU()
		err := s.HandshakeContext(ctx)
		to, _ := threadCPU()
		return to - from, err
	}
	if d.shaken, err = letIn(ctx, cfg, shake, client); err != nil {
		return err
	}
	d.held, err = hold(cfg)
	return err
}

// certified makes both sides of TLS for 127.0.0.1, as a node of ours has it.
func certified() (server, client *tls.Config, err error) {
	cert, key, err := secure.SelfSigned(time.Hour, "127.0.0.1")
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, nil
}

// answer reads an upgrade and answers it. What it returns is nothing: its whole thread counts.
func answer(c net.Conn) (time.Duration, error) {
	var buf [1024]byte
	if _, err := c.Read(buf[:]); err != nil {
		return 0, err
	}
	_, err := c.Write([]byte(upgraded))
	return 0, err
}

// letIn returns the processor time that one socket takes: what meet says that it took, or all of its thread when it says nothing.
// client is what whoever comes speaks; nil is an upgrade in the clear.
func letIn(ctx context.Context, cfg *Config, meet func(net.Conn) (time.Duration, error), client *tls.Config) (time.Duration, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	var (
		wg    sync.WaitGroup
		took  time.Duration
		n     int
		fault error
	)
	wg.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		from, _ := threadCPU()
		for {
			c, err := ln.Accept()
			if err != nil {
				break // closed below
			}
			one, err := meet(c)
			took += one
			n++
			if fault = errors.Join(err, c.Close()); fault != nil {
				_ = ln.Close() // whoever is under way is not met any more
				break
			}
		}
		if to, _ := threadCPU(); took == 0 {
			took = to - from
		}
	})
	come := 0
	for began := time.Now(); come < cfg.Connects && (come == 0 || time.Since(began) < cfg.part()) && ctx.Err() == nil && err == nil; come++ {
		err = visit(ctx, ln.Addr().String(), client)
	}
	_ = ln.Close() // it ends the other
	wg.Wait()
	if err = errors.Join(fault, err, ctx.Err()); err != nil {
		return 0, fmt.Errorf("letting sockets in: %w", err)
	}
	return took / time.Duration(max(n, 1)), nil
}

// visit connects, is greeted, and goes.
func visit(ctx context.Context, addr string, client *tls.Config) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	if client != nil {
		client = client.Clone()
		client.ServerName = "127.0.0.1"
		s := tls.Client(c, client)
		return errors.Join(s.HandshakeContext(ctx), c.Close())
	}
	var buf [1024]byte
	if _, err = c.Write([]byte(upgrade)); err == nil {
		_, err = c.Read(buf[:])
	}
	return errors.Join(err, c.Close())
}

// hold returns what one accepted socket costs in this process while it is held, without a goroutine or a buffer. Half of that is the
// end of whoever came.
func hold(cfg *Config) (float64, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	conns := make([]net.Conn, 0, 2*cfg.Connects)
	defer func() {
		_ = ln.Close()
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	before := alive()
	for range min(cfg.Connects, 1000) {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return 0, err
		}
		s, err := ln.Accept()
		if err != nil {
			return 0, errors.Join(err, c.Close())
		}
		conns = append(conns, c, s)
	}
	return float64(alive()-before) / float64(len(conns)), nil
}

// alive is what lives in this process.
func alive() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse) //nolint:gosec // memory is smaller
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
