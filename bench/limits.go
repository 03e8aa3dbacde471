package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// limits is what the machine gives to anybody.
type limits struct {
	copied   float64       // bytes a second
	handOff  time.Duration // to another goroutine and back
	pingPong time.Duration // a body to another socket and back, one at a time: the median
	echoes   float64       // bodies and back a second over as many sockets as there are customers
	fresh    time.Duration // a synced write of 4 KiB at the end of a growing file: the median
	again    time.Duration // the same in a place that was written before
	door     door
}

func (l *limits) figures(cfg *Config) []Figure {
	return append([]Figure{
		{Name: "copying memory", Value: l.copied / 1e9, Unit: "GB/s"},
		{Name: "to another goroutine and back", Value: micros(l.handOff), Unit: "µs"},
		{Name: fmt.Sprintf("loopback ping-pong, %d bytes, one socket", cfg.Body), Value: micros(l.pingPong), Unit: "µs"},
		{Name: fmt.Sprintf("loopback echo, %d bytes, %d sockets", cfg.Body, cfg.Customers), Value: l.echoes, Unit: "/s"},
		{Name: "synced write of 4 KiB, growing file", Value: micros(l.fresh), Unit: "µs"},
		{Name: "synced write of 4 KiB, written before", Value: micros(l.again), Unit: "µs"},
	}, l.door.figures()...)
}

// memory measures what needs nothing but processors.
func (l *limits) memory(cfg *Config) {
	const size = 64 << 20 // more than caches hold
	from, to := make([]byte, size), make([]byte, size)
	copy(to, from) // the pages are there now
	began, n := time.Now(), 0
	for time.Since(began) < cfg.part() {
		n += copy(to, from)
	}
	l.copied = float64(n) / time.Since(began).Seconds()

	there, back := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for range there {
			back <- struct{}{}
		}
	})
	began, n = time.Now(), 0
	for ; n%1024 != 0 || time.Since(began) < cfg.part(); n++ {
		there <- struct{}{}
		<-back
	}
	l.handOff = time.Since(began) / time.Duration(n)
	close(there)
	wg.Wait()
}

// loopback measures sockets whose other ends, in this process too, answer with what came.
func (l *limits) loopback(ctx context.Context, cfg *Config) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		ends  []net.Conn // guarded by mu
		conns []net.Conn
	)
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // closed below
			}
			mu.Lock()
			ends = append(ends, c)
			mu.Unlock()
			wg.Go(func() { _, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, cfg.Body)) }) // until closed
		}
	})
	defer func() {
		_ = ln.Close()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Lock()
		for _, c := range ends {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	}()
	for range cfg.Customers {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		conns = append(conns, c)
	}
	if l.pingPong, err = pingPong(conns[0], cfg); err != nil {
		return err
	}
	l.echoes, err = echoes(ctx, conns, cfg)
	return err
}

func pingPong(c net.Conn, cfg *Config) (time.Duration, error) {
	body, began := make([]byte, cfg.Body), time.Now()
	var took []time.Duration
	for time.Since(began) < cfg.part() || len(took) == 0 {
		start := time.Now()
		if err := thereAndBack(c, body); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	return median(took), nil
}

func thereAndBack(c net.Conn, body []byte) error {
	if _, err := c.Write(body); err != nil {
		return err
	}
	_, err := io.ReadFull(c, body)
	return err
}

// echoes counts bodies that went and came back over all sockets at once.
func echoes(ctx context.Context, conns []net.Conn, cfg *Config) (float64, error) {
	var (
		count atomic.Int64
		stop  atomic.Bool
		wg    sync.WaitGroup
		fault atomic.Pointer[error]
	)
	for _, c := range conns {
		wg.Go(func() {
			body := make([]byte, cfg.Body)
			for !stop.Load() {
				if err := thereAndBack(c, body); err != nil {
					fault.Store(&err)
					return
				}
				count.Add(1)
			}
		})
	}
	rest(ctx, cfg.part()) // all are under way
	began, before := time.Now(), count.Load()
	rest(ctx, 2*cfg.part())
	n, took := count.Load()-before, time.Since(began)
	stop.Store(true)
	wg.Wait()
	if err := fault.Load(); err != nil {
		return 0, *err
	}
	return float64(n) / took.Seconds(), ctx.Err()
}

// rest waits for d, or until ctx is done.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// disk measures what a write costs that must not be lost.
func (l *limits) disk(ctx context.Context, cfg *Config) (err error) {
	const page, room = 4096, 16 << 20
	f, err := os.Create(filepath.Join(cfg.Dir, "sync"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	write := func(wrap int64) (time.Duration, error) {
		var took []time.Duration
		block, at := make([]byte, page), int64(0)
		for began := time.Now(); (time.Since(began) < cfg.part() || len(took) == 0) && ctx.Err() == nil; at += page {
			if wrap > 0 {
				at %= wrap
			}
			start := time.Now()
			if _, err := f.WriteAt(block, at); err != nil {
				return 0, err
			}
			if err := syncData(f); err != nil {
				return 0, err
			}
			took = append(took, time.Since(start))
		}
		return median(took), ctx.Err()
	}
	if l.fresh, err = write(0); err != nil {
		return err
	}
	if _, err = f.WriteAt(make([]byte, room), 0); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	l.again, err = write(room)
	return err
}

func median(v []time.Duration) time.Duration {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[len(v)/2]
}
