package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/loadtest/socket"
)

// connects is what it costs the binary to be connected to, in the clear and with TLS, and to hold whoever says nothing.
func (p *Page) connects(ctx context.Context, cfg *Config, l *limits) error {
	if cfg.Binary == "" || l.door.accepted == 0 {
		return nil
	}
	if n := cfg.Connects; n < fewConnects {
		p.Warnings = append(p.Warnings, fmt.Sprintf("of %s, and a quarter of them with TLS, what each connect and each idle connection takes is mostly what a node that has just begun does anyway: from %d on the figures mean something", several(float64(n), "socket"), fewConnects))
	}
	each := func(cpu, bound time.Duration, name, limit string) {
		p.own(name, 1/cpu.Seconds(), "for each second of a processor", fmt.Sprintf("%s: %.0f", limit, 1/bound.Seconds()), 1/bound.Seconds(), true)
	}
	c, err := crowdOf(ctx, cfg, "plain", false, cfg.Connects)
	if err != nil {
		return err
	}
	each(c.cpu, l.door.accepted, "node, connects in the clear, with token and hello", "accepting and answering alone")
	p.own("node, memory of an idle connection", c.idle, "bytes", "a socket that Go's net holds", l.door.held, false)
	if c, err = crowdOf(ctx, cfg, "tls", true, max(cfg.Connects/4, 1)); err != nil {
		return err
	}
	each(c.cpu, l.door.accepted+l.door.shaken, "node, connects over TLS 1.3, with token and hello", "a handshake, accepting and answering alone")
	p.own("node, memory of an idle connection over TLS 1.3", c.idle, "bytes", "a socket that Go's net holds", l.door.held, false)
	return nil
}

// fewConnects is below how many sockets what connecting and holding each takes is not to be told from what the node does anyway.
const fewConnects = 2000

// crowd is what many sockets cost a node that has nothing else to do.
type crowd struct {
	cpu  time.Duration // of the node for one to connect
	idle float64       // bytes of its resident memory for one that is quiet
}

// at a time: as many as connect at once.
const atATime = 16

// crowdOf starts a node and connects n customers to it.
func crowdOf(ctx context.Context, cfg *Config, name string, secure bool, n int) (c crowd, err error) {
	s, err := serve(ctx, cfg, name, secure)
	if err != nil {
		return c, err
	}
	defer s.stop()
	tokens := make([]string, n)
	for i := range tokens {
		if tokens[i], err = cfg.Token(s.data, "customer", "bench-"+strconv.Itoa(i)); err != nil {
			return c, err
		}
	}
	before, err := s.vitals(ctx)
	if err != nil {
		return c, err
	}
	sockets := make([]*socket.Socket, n)
	defer func() {
		for _, o := range sockets {
			if o != nil {
				o.Close()
			}
		}
	}()
	var (
		wg     sync.WaitGroup
		next   atomic.Int64
		faults = make([]error, atATime)
	)
	for k := range atATime {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && faults[k] == nil; i = next.Add(1) - 1 {
				if sockets[i], faults[k] = socket.Dial(ctx, s.addr, nil, s.trust); faults[k] == nil {
					faults[k] = sockets[i].Hello(tokens[i])
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(faults...); err != nil {
		return c, fmt.Errorf("connecting: %w", err)
	}
	after, err := s.vitals(ctx)
	if err != nil {
		return c, err
	}
	c.cpu = max(time.Duration((after.cpu-before.cpu)/float64(n)*1e9), 1)
	least := after.rss // a quiet node gives back what it does not need
	for end := time.Now().Add(3 * cfg.Time); time.Now().Before(end) && ctx.Err() == nil; {
		rest(ctx, cfg.Time/4)
		if after, err = s.vitals(ctx); err != nil {
			return c, err
		}
		least = min(least, after.rss)
	}
	if after.conns < n {
		return c, fmt.Errorf("of %d connections the node has %d", n, after.conns)
	}
	c.idle = max(least-before.rss, 1) / float64(n)
	return c, ctx.Err()
}

// vitals are what a node tells of itself.
type vitals struct {
	cpu   float64 // seconds
	rss   float64 // bytes
	conns int
}

func (s *server) vitals(ctx context.Context) (v vitals, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/metrics", nil)
	if err != nil {
		return v, err
	}
	resp, err := s.web.Do(req)
	if err != nil {
		return v, fmt.Errorf("asking the node how it is: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		name, text, _ := strings.Cut(sc.Text(), " ")
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		switch name {
		case "process_cpu_seconds_total":
			v.cpu = x
		case "process_resident_memory_bytes":
			v.rss = x
		case "switchboard_connections":
			v.conns = int(x)
		}
	}
	if v.rss == 0 {
		return v, fmt.Errorf("the node answers %s, and does not say what it uses", resp.Status)
	}
	return v, nil
}
