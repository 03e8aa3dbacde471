package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
)

// switchboardEdge is Switchboard's edge alone.
func switchboardEdge() *Peer {
	return &Peer{
		Name: "switchboard edge", Client: "raw WebSocket, JSON", Settings: "none", Program: "edge-server", Version: []string{"sh", "-c", "echo as checked out"},
		Install: "make peers (builds it)",
		Does:    "parse each message, hand it to its session's owner, and write what he answers",
		DoesNot: "store, decide, or check a token",
		start:   startEcho,
		echoes:  echoEdge,
	}
}

// gwsEcho is the least that a server can do: it does not look into what it echoes.
func gwsEcho() *Peer {
	return &Peer{
		Name: "gws", Client: "raw WebSocket", Settings: "defaults", Program: "gws-server", Version: []string{"sh", "-c", "echo gws 1.8.9, as in go.mod"},
		Install: "make peers (builds it)",
		Does:    "echo",
		DoesNot: "parse, route, answer in another goroutine than the one that reads",
		start:   startEcho,
		echoes:  echoGWS,
	}
}

func startEcho(ctx context.Context, t *Turn) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	addr := loopback(ports[0])
	return t.launch(ctx, addr, "-listen", addr)
}

func echoEdge(ctx context.Context, t *Turn, i int) (*echoer, error) {
	c, err := dialSocket(ctx, t.Addrs[0], "/v1/connect", "Sec-WebSocket-Protocol: switchboard.v1.json\r\n")
	if err != nil {
		return nil, err
	}
	if _, err := c.ask(`{"id":1,"hello":{"token":"c-` + strconv.Itoa(i) + `","client":"peers"}}`); err != nil {
		return nil, err
	}
	opened, err := c.ask(`{"id":2,"open":{}}`)
	if err != nil {
		return nil, err
	}
	session := string(field(opened, `"session":`))
	return &echoer{c, func(out []byte, n uint64, body string) []byte {
		out = append(out, `{"id":`...)
		out = strconv.AppendUint(out, n, 10)
		out = append(out, `,"send":{"session":"`...)
		out = append(out, session...)
		out = append(out, `","body":"`...)
		out = append(out, body...)
		return append(out, `"}}`...)
	}, func(msg []byte) (int, error) {
		if bytes.Contains(msg, []byte(`"error":`)) {
			return 0, fmt.Errorf("the server answered %.200s", msg)
		}
		return bytes.Count(msg, []byte(`"send":`)), nil
	}}, nil
}

func echoGWS(ctx context.Context, t *Turn, _ int) (*echoer, error) {
	c, err := dialSocket(ctx, t.Addrs[0], "/", "")
	if err != nil {
		return nil, err
	}
	return &echoer{
		c, func(out []byte, _ uint64, body string) []byte { return append(out, body...) },
		func(msg []byte) (int, error) { return 1, nil },
	}, nil
}

func echoCentrifuge(ctx context.Context, t *Turn, _ int) (*echoer, error) {
	c, err := dialSocket(ctx, t.Addrs[0], "/connection/websocket", "")
	if err != nil {
		return nil, err
	}
	if _, err := c.ask(`{"id":1,"connect":{}}`); err != nil {
		return nil, err
	}
	return &echoer{c, func(out []byte, n uint64, body string) []byte {
		out = append(out, `{"id":`...)
		out = strconv.AppendUint(out, n, 10)
		out = append(out, `,"rpc":{"data":"`...)
		out = append(out, body...)
		return append(out, `"}}`...)
	}, func(msg []byte) (int, error) {
		switch {
		case bytes.Equal(msg, []byte("{}")):
			return 0, c.send(msg)
		case bytes.Contains(msg, []byte(`"error":`)):
			return 0, fmt.Errorf("the server answered %.200s", msg)
		}
		return bytes.Count(msg, []byte(`"rpc":`)), nil
	}}, nil
}
