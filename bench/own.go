package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"switchboard/loadtest"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// codec is what the words cost: a customer's message read, and the delivery that comes of it written.
func (p *Page) codec(cfg *Config, l *limits) error {
	body := fmt.Appendf(nil, `{"text":"%s"}`, bytes.Repeat([]byte{'x'}, cfg.Body))
	send := wire.Command{Verb: wire.VerbSend, ID: 3, Session: "s_main_0001_0123456789abcdef", Type: "text", Body: body}
	push := wire.Frame{Kind: wire.FrameDelivery, Entry: &wire.Entry{Session: send.Session, Seq: 7, Epoch: 1, TS: 1_700_000_000_000, Origin: wire.OriginCustomer, Kind: "message", Type: "text", Body: body}, Prev: 6, AE: 2, Attempt: 1}
	for _, c := range wire.Subprotocols() {
		msg := c.AppendCommand(nil, &send)
		frame, _, err := c.Next(msg)
		if err != nil {
			return err
		}
		var cmd wire.Command
		var buf []byte
		took, err := each(cfg.part(), func() error {
			buf = c.AppendFrame(buf[:0], &push)
			return c.ParseCommand(frame, &cmd)
		})
		if err != nil {
			return err
		}
		bytesMoved := float64(len(frame) + len(buf))
		p.own("codec "+c.Subprotocol()+": read a message, write a delivery", float64(took.Nanoseconds()), "ns",
			fmt.Sprintf("copying %.0f bytes", bytesMoved), bytesMoved/l.copied*1e9, false)
	}
	return nil
}

// each returns how long one call of f takes.
func each(d time.Duration, f func() error) (time.Duration, error) {
	began, n := time.Now(), 0
	for ; n%64 != 0 || n == 0 || time.Since(began) < d; n++ {
		if err := f(); err != nil {
			return 0, err
		}
	}
	return time.Since(began) / time.Duration(n), nil
}

// journal is turns of 300 bytes made durable by 1, 16 and 256 owners, each of which waits for one before the next.
func (p *Page) journal(ctx context.Context, cfg *Config, l *limits) error {
	for _, writers := range []int{1, 16, 256} {
		var perSecond, syncs float64
		again, err := l.beside(ctx, cfg, func() (err error) {
			perSecond, syncs, err = appends(ctx, cfg, writers)
			return err
		})
		if err != nil {
			return err
		}
		limit := 1 / again.Seconds()
		p.synced("journal, turns of "+several(float64(writers), "writer"), perSecond, "/s",
			fmt.Sprintf("%s a sync, at %s a second", several(perSecond/syncs, "turn"), several(limit, "raw sync")), perSecond/syncs*limit, true)
	}
	return nil
}

// beside measures something that the disk bounds, and then the disk again: a disk that others use gives another figure a moment later. It returns
// the better of the synced writes before and behind.
func (l *limits) beside(ctx context.Context, cfg *Config, measure func() error) (again time.Duration, err error) {
	before := l.again
	if err := measure(); err != nil {
		return 0, err
	}
	if err := l.disk(ctx, cfg); err != nil {
		return 0, err
	}
	return min(before, l.again), nil
}

// appends returns durable turns a second, and the synced batches that they shared.
func appends(ctx context.Context, cfg *Config, writers int) (perSecond, syncs float64, err error) {
	dir := filepath.Join(cfg.Dir, fmt.Sprintf("journal-%d", writers))
	j, err := journal.Open(journal.Config{Dir: dir, Groups: writers, FreeMin: -1, Fatal: func(error) {}})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, j.Close(), os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeout(ctx, 2*cfg.part())
	defer cancel()
	var wg sync.WaitGroup
	faults := make([]error, writers)
	began, before := time.Now(), j.Metrics()
	for id := range writers {
		g := j.Group(id)
		durable := make(chan error, 1)
		g.Start(func(_ uint64, err error) {
			select {
			case durable <- err:
			default: // one turn at a time is under way, and this one was told already
			}
		})
		wg.Go(func() { faults[id] = appendUntil(ctx, g, durable) })
	}
	wg.Wait()
	took, after := time.Since(began).Seconds(), j.Metrics()
	return float64(after.Turns-before.Turns) / took, float64(after.Syncs-before.Syncs) / took, errors.Join(faults...)
}

func appendUntil(ctx context.Context, g *journal.Group, durable <-chan error) error {
	var turn journal.Turn
	var key []byte
	val := make([]byte, 288)
	for ctx.Err() == nil {
		turn.Reset()
		key = fmt.Appendf(key[:0], "%010d", g.Last())
		turn.Put(key, val)
		if _, err := g.Append(&turn); err != nil {
			return err
		}
		if err := <-durable; err != nil {
			return err
		}
	}
	return nil
}

// node is the binary as a process of its own: as fast as it goes, and on schedule.
func (p *Page) node(ctx context.Context, cfg *Config, l *limits) error {
	if cfg.Binary == "" {
		return nil
	}
	n, err := serve(ctx, cfg, "node", false)
	if err != nil {
		return err
	}
	defer n.stop()
	load := loadtest.RoundTrip{
		Addr: n.addr, Customers: cfg.Customers, Workers: cfg.Workers, Body: cfg.Body, Warm: cfg.Time / 2, Time: cfg.Time,
		Token: func(role, sub string) (string, error) { return cfg.Token(n.data, role, sub) },
	}
	res, err := load.Run(ctx)
	if err != nil {
		return err
	}
	p.own("node, round trips of "+several(float64(cfg.Customers), "customer"), res.PerSecond, "/s", "half the loopback echoes: two ways, each through the node", l.echoes/2, true)
	load.Rate = cfg.Rate
	if err := l.disk(ctx, cfg); err != nil { // it was measured long before
		return err
	}
	again, err := l.beside(ctx, cfg, func() (err error) {
		res, err = load.Run(ctx)
		return err
	})
	if err != nil {
		return err
	}
	floor := 2*l.pingPong + 2*again
	limit := fmt.Sprintf("two ping-pongs and two syncs: %.2f ms", floor.Seconds()*1000)
	p.synced(fmt.Sprintf("node, p50 at %s a second", several(cfg.Rate, "round trip")), res.P50, "ms", limit, floor.Seconds()*1000, false)
	p.synced(fmt.Sprintf("node, p99 at %s a second", several(cfg.Rate, "round trip")), res.P99, "ms", limit, floor.Seconds()*1000, false)
	return nil
}
