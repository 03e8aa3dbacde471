package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"switchboard/client"
)

// current is the session that a human's next line answers.
type current struct {
	mu sync.Mutex
	// Guarded by mu.
	s *client.Session
}

func (c *current) set(s *client.Session) {
	c.mu.Lock()
	c.s = s
	c.mu.Unlock()
}

func (c *current) drop(s *client.Session) {
	c.mu.Lock()
	if c.s == s {
		c.s = nil
	}
	c.mu.Unlock()
}

func (c *current) get() *client.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.s
}

// listen reads what is typed until the end of input.
func (c *current) listen(ctx context.Context, in io.Reader) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		s := c.get()
		if s == nil {
			fmt.Fprintln(os.Stderr, "no session: wait for a customer")
			continue
		}
		if err := c.say(ctx, s, text); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", s.ID(), err)
		}
	}
	return lines.Err()
}

func (c *current) say(ctx context.Context, s *client.Session, text string) error {
	command, rest, _ := strings.Cut(text, " ")
	switch command {
	case "/close":
		return s.Close(ctx, "solved")
	case "/release":
		return s.Release(ctx, "solved", "", nil)
	case "/queue":
		return s.Transfer(ctx, client.TransferTo{Queue: strings.TrimSpace(rest)})
	case "/note":
		_, err := s.Note(ctx, rest)
		return err
	}
	_, err := s.Reply(ctx, "text", text)
	return err
}
