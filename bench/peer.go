package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// peer is an opponent as its clients speak to it.
type peer interface {
	// customer prepares customer i's connection.
	customer(i int, c *link) error
	// say writes customer i's message.
	say(i int, body []byte, c *link)
	// heard reads until customer i's answer has come.
	heard(c *link) error
	// worker prepares a worker's connection.
	worker(c *link) error
	// work reads what there is for a worker, at least one message, and writes the answers.
	work(c *link) error
}

// link is a connection with buffers on both sides.
type link struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	mine []string // what a worker has to remember between calls
}

func dial(addr string) (*link, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	return &link{conn: conn, r: bufio.NewReaderSize(conn, 8<<10), w: bufio.NewWriterSize(conn, 32<<10)}, nil
}

// load is one closed-loop run against a peer.
type load struct {
	addr               string
	peer               peer
	customers, workers int
	body               int
	warm, time         time.Duration
}

// run returns round trips a second and their latencies in microseconds.
func (l *load) run(ctx context.Context) (float64, *hdrhistogram.Histogram, error) {
	const minute = 60_000_000
	var (
		links []*link
		wg    sync.WaitGroup
		from  atomic.Bool
		stop  atomic.Bool
		count atomic.Uint64
		mu    sync.Mutex
		all   = hdrhistogram.New(1, minute, 3)
		fault error
	)
	fail := func(err error) {
		if err != nil && !stop.Load() && !errors.Is(err, net.ErrClosed) {
			mu.Lock()
			fault = errors.Join(fault, err)
			mu.Unlock()
		}
	}
	end := func() {
		stop.Store(true)
		for _, c := range links {
			_ = c.conn.Close()
		}
		wg.Wait()
	}
	for range l.workers {
		c, err := dial(l.addr)
		if err != nil {
			end()
			return 0, nil, err
		}
		links = append(links, c)
		if err := l.peer.worker(c); err != nil {
			end()
			return 0, nil, err
		}
		wg.Go(func() {
			var err error
			for err == nil {
				if err = l.peer.work(c); err == nil {
					err = c.w.Flush()
				}
			}
			fail(err)
		})
	}
	body := bytes.Repeat([]byte{'c'}, l.body)
	for i := range l.customers {
		c, err := dial(l.addr)
		if err != nil {
			end()
			return 0, nil, err
		}
		links = append(links, c)
		if err := l.peer.customer(i, c); err != nil {
			end()
			return 0, nil, err
		}
		wg.Go(func() {
			hist := hdrhistogram.New(1, minute, 3)
			for !stop.Load() {
				sent := time.Now()
				l.peer.say(i, body, c)
				err := c.w.Flush()
				if err == nil {
					err = l.peer.heard(c)
				}
				if err != nil {
					fail(err)
					break
				}
				if from.Load() && !stop.Load() {
					count.Add(1)
					_ = hist.RecordValue(time.Since(sent).Microseconds()) // up to a minute
				}
			}
			mu.Lock()
			all.Merge(hist)
			mu.Unlock()
		})
	}
	wait(ctx, l.warm)
	from.Store(true)
	began := time.Now()
	wait(ctx, l.time)
	took, n := time.Since(began), count.Load()
	end()
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	return float64(n) / took.Seconds(), all, fault
}

// wait lets the load run for d, or until ctx is done.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// nats is NATS core: a queue group, nothing stored.
type nats struct{}

func (nats) customer(i int, c *link) error {
	_, err := fmt.Fprintf(c.w, "CONNECT {\"verbose\":false}\r\nSUB r.%d 1\r\nPING\r\n", i)
	return errors.Join(err, natsPong(c))
}

func (nats) worker(c *link) error {
	_, err := c.w.WriteString("CONNECT {\"verbose\":false}\r\nSUB w q 1\r\nPING\r\n")
	return errors.Join(err, natsPong(c))
}

func natsPong(c *link) error {
	if err := c.w.Flush(); err != nil {
		return err
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "PONG") {
			return nil
		}
	}
}

func (nats) say(i int, body []byte, c *link) {
	_, _ = fmt.Fprintf(c.w, "PUB w r.%d %d\r\n", i, len(body))
	_, _ = c.w.Write(body)
	_, _ = c.w.WriteString("\r\n")
}

// message reads the next message, and answers pings before it.
func (nats) message(c *link) (reply string, body []byte, err error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		if strings.HasPrefix(line, "PING") {
			_, _ = c.w.WriteString("PONG\r\n")
			continue
		}
		if !strings.HasPrefix(line, "MSG ") {
			continue
		}
		f := strings.Fields(line)
		n, err := strconv.Atoi(f[len(f)-1])
		if err != nil {
			return "", nil, err
		}
		body = make([]byte, n+2)
		if _, err := io.ReadFull(c.r, body); err != nil {
			return "", nil, err
		}
		if len(f) == 5 {
			reply = f[3]
		}
		return reply, body[:n], nil
	}
}

func (p nats) heard(c *link) error {
	_, _, err := p.message(c)
	return err
}

func (p nats) work(c *link) error {
	for {
		reply, body, err := p.message(c)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(c.w, "PUB %s %d\r\n", reply, len(body))
		_, _ = c.w.Write(body)
		_, _ = c.w.WriteString("\r\n")
		if c.r.Buffered() == 0 {
			return nil
		}
	}
}
