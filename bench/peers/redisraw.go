package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
)

// redisRaw is the work of redisStreams, spoken by hand: with RESP3 a customer needs one connection for its commands and for
// what is published to it, and no goroutine waits for an answer that nobody needs. It is what a lean client makes of Redis.
func redisRaw(fsync string) *Peer {
	p := redisStreams(fsync)
	p.Name, p.Client, p.join = "redis "+fsync+" raw", "raw RESP3", joinRedisRaw
	return p
}

type rawSwarm struct {
	people []*resp
	all    []*resp
	wg     sync.WaitGroup
}

func joinRedisRaw(_ context.Context, t *Turn, l *Load) (Swarm, error) {
	s := &rawSwarm{}
	login := func(args ...string) (*resp, error) {
		conn, err := net.Dial("tcp", t.Addrs[0])
		if err != nil {
			return nil, fmt.Errorf("connecting: %w", err)
		}
		c := &resp{conn: conn, r: bufio.NewReaderSize(conn, 4<<10)}
		s.all = append(s.all, c)
		for _, cmd := range [][]string{{"HELLO", "3"}, args} {
			c.command(len(cmd), cmd...)
			if err := c.flush(); err != nil {
				return nil, err
			}
			if _, err := c.read(); err != nil {
				return nil, err
			}
		}
		return c, nil
	}
	for k := range l.Workers {
		setup := []string{"PING"}
		if k == 0 {
			setup = []string{"XGROUP", "CREATE", "work", "g", "$", "MKSTREAM"}
		}
		c, err := login(setup...)
		if err != nil {
			return s, fmt.Errorf("worker %d: %w", k, err)
		}
		s.wg.Go(func() { l.Fail(c.work("w" + strconv.Itoa(k))) })
	}
	for i := range l.Customers {
		c, err := login("SUBSCRIBE", "r:"+strconv.Itoa(i))
		if err != nil {
			return s, fmt.Errorf("customer %d: %w", i, err)
		}
		s.people = append(s.people, c)
		s.wg.Go(func() { l.Fail(c.listen(i, l)) })
	}
	return s, nil
}

func (s *rawSwarm) Say(i int, body []byte) error {
	c := s.people[i]
	c.command(7, "XADD", "work", "*", "c", strconv.Itoa(i), "b")
	c.bytes(body)
	return c.flush()
}

func (s *rawSwarm) Close() {
	for _, c := range s.all {
		_ = c.conn.Close()
	}
	s.wg.Wait()
}

// resp is a connection. One goroutine reads; one at a time writes.
type resp struct {
	conn net.Conn
	r    *bufio.Reader // owned by the reader
	out  []byte        // owned by the writer
}

// command puts the first arguments of a command with n in all.
func (c *resp) command(n int, args ...string) {
	c.out = append(strconv.AppendInt(append(c.out, '*'), int64(n), 10), '\r', '\n')
	for _, a := range args {
		c.out = append(strconv.AppendInt(append(c.out, '$'), int64(len(a)), 10), '\r', '\n')
		c.out = append(append(c.out, a...), '\r', '\n')
	}
}

// bytes puts one more argument.
func (c *resp) bytes(b []byte) {
	c.out = append(strconv.AppendInt(append(c.out, '$'), int64(len(b)), 10), '\r', '\n')
	c.out = append(append(c.out, b...), '\r', '\n')
}

func (c *resp) flush() error {
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// value is what Redis says: a text, or a list.
type value struct {
	kind byte
	text []byte
	list []value
}

// read reads one value of RESP3.
func (c *resp) read() (v value, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return v, err
	}
	if len(line) < 3 {
		return v, io.ErrUnexpectedEOF
	}
	v.kind = line[0]
	line = line[1 : len(line)-2]
	switch v.kind {
	case '-':
		return v, fmt.Errorf("redis says %s", line)
	case '$', '=':
		n, err := strconv.Atoi(string(line))
		if err != nil || n < 0 {
			return v, err
		}
		b := make([]byte, n+2)
		_, err = io.ReadFull(c.r, b)
		v.text = b[:n]
		return v, err
	case '*', '>', '%', '~':
		n, err := strconv.Atoi(string(line))
		if v.kind == '%' {
			n *= 2
		}
		for range n {
			if err != nil {
				break
			}
			var item value
			item, err = c.read()
			v.list = append(v.list, item)
		}
		return v, err
	}
	if v.kind == '+' {
		v.text = append([]byte(nil), line...)
	}
	return v, nil
}

// listen tells the load what is published to customer i; the answers to its commands come in between.
func (c *resp) listen(i int, l *Load) error {
	for {
		v, err := c.read()
		if err != nil {
			return err
		}
		if v.kind == '>' && len(v.list) == 3 && string(v.list[0].text) == "message" {
			l.Heard(i, v.list[2].text)
		}
	}
}

// work reads what waits, and answers all of it in one write.
func (c *resp) work(name string) error {
	for {
		c.command(11, "XREADGROUP", "GROUP", "g", name, "COUNT", "128", "BLOCK", "1000", "STREAMS", "work", ">")
		if err := c.flush(); err != nil {
			return err
		}
		v, err := c.read()
		if err != nil {
			return err
		}
		if len(v.list) < 2 {
			continue // nothing came for a second
		}
		entries := v.list[1].list
		for _, e := range entries {
			if len(e.list) != 2 || len(e.list[1].list) != 4 {
				return errors.New("a worker got an entry of another shape")
			}
			id, customer, body := string(e.list[0].text), string(e.list[1].list[1].text), e.list[1].list[3].text
			c.command(5, "XADD", "h:"+customer, "*", "b")
			c.bytes(body)
			c.command(3, "PUBLISH", "r:"+customer)
			c.bytes(body)
			c.command(4, "XACK", "work", "g", id)
			c.command(3, "XDEL", "work", id)
		}
		if err := c.flush(); err != nil {
			return err
		}
		for range 4 * len(entries) {
			if _, err := c.read(); err != nil {
				return err
			}
		}
	}
}
