package bench

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// redis is Redis Streams: every message and every answer in a stream, the answer published to its customer.
type redis struct{}

// command writes one command.
func command(c *link, args ...string) {
	_, _ = fmt.Fprintf(c.w, "*%d\r\n", len(args))
	for _, a := range args {
		_, _ = fmt.Fprintf(c.w, "$%d\r\n%s\r\n", len(a), a)
	}
}

// value is what Redis answers: a text, or a list.
type value struct {
	kind byte
	text string
	list []value
}

// read reads one value of RESP2 or RESP3.
func read(c *link) (v value, err error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return v, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return v, io.ErrUnexpectedEOF
	}
	v.kind = line[0]
	switch v.kind {
	case '-':
		return v, errors.New("redis says " + line[1:])
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return v, err
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, b); err != nil {
			return v, err
		}
		v.text = string(b[:n])
	case '*', '>', '%', '~':
		n, err := strconv.Atoi(line[1:])
		if err != nil {
			return v, err
		}
		if v.kind == '%' {
			n *= 2
		}
		for range n {
			item, err := read(c)
			if err != nil {
				return v, err
			}
			v.list = append(v.list, item)
		}
	default:
		v.text = line[1:]
	}
	return v, nil
}

func (redis) customer(i int, c *link) error {
	command(c, "HELLO", "3")
	command(c, "SUBSCRIBE", "r:"+strconv.Itoa(i))
	if err := c.w.Flush(); err != nil {
		return err
	}
	for range 2 {
		if _, err := read(c); err != nil {
			return err
		}
	}
	return nil
}

func (redis) worker(c *link) error {
	command(c, "HELLO", "3")
	command(c, "CLIENT", "ID")
	if err := c.w.Flush(); err != nil {
		return err
	}
	if _, err := read(c); err != nil {
		return err
	}
	id, err := read(c)
	if err != nil {
		return err
	}
	c.mine = []string{"w" + id.text}
	command(c, "XGROUP", "CREATE", "work", "g", "$", "MKSTREAM")
	if err := c.w.Flush(); err != nil {
		return err
	}
	if _, err := read(c); err != nil && !strings.Contains(err.Error(), "BUSYGROUP") {
		return err
	}
	return nil
}

func (redis) say(i int, body []byte, c *link) {
	command(c, "XADD", "work", "*", "c", strconv.Itoa(i), "b", string(body))
}

// heard waits for the push; the answer to XADD may come before or behind it.
func (redis) heard(c *link) error {
	for {
		v, err := read(c)
		if err != nil {
			return err
		}
		if v.kind == '>' && len(v.list) == 3 && v.list[0].text == "message" {
			return nil
		}
	}
}

func (redis) work(c *link) error {
	command(c, "XREADGROUP", "GROUP", "g", c.mine[0], "COUNT", "128", "BLOCK", "1000", "STREAMS", "work", ">")
	if err := c.w.Flush(); err != nil {
		return err
	}
	v, err := read(c)
	if err != nil || len(v.list) < 2 {
		return err // nothing came for a second
	}
	entries := v.list[1].list
	for _, e := range entries {
		id, f := e.list[0].text, e.list[1].list
		customer, body := f[1].text, f[3].text
		command(c, "XADD", "h:"+customer, "*", "b", body)
		command(c, "PUBLISH", "r:"+customer, body)
		command(c, "XACK", "work", "g", id)
		command(c, "XDEL", "work", id)
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	for range 4 * len(entries) {
		if _, err := read(c); err != nil {
			return err
		}
	}
	return nil
}
