package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"switchboard/edge/ws"
)

// Echo is what messages in and out of many sockets cost a server that does nothing with them: each socket has one write under way,
// with Batch messages in it, and the next follows when all of them are answered.
type Echo struct {
	Round   int `json:"round"`
	Sockets int `json:"sockets"`
	Batch   int `json:"messages_a_write"`
	// PerSecond is messages answered a second.
	PerSecond float64 `json:"messages_per_second"`
	// ServerMicros is the server's processor time for one message and its answer; GeneratorMicros the same of ours.
	ServerMicros    float64 `json:"server_cpu_us"`
	GeneratorMicros float64 `json:"generator_cpu_us"`
	// Bytes are of a message and of its answer, without the WebSocket's own.
	In      int     `json:"bytes_in"`
	Out     int     `json:"bytes_out"`
	Foreign float64 `json:"foreign_cpus"`
	Fault   string  `json:"fault,omitempty"`
}

// echoer is a socket of a peer, logged in.
type echoer struct {
	*socket
	// ask appends message n, with the body, to out.
	ask func(out []byte, n uint64, body string) []byte
	// answers counts the answers in a message of the server.
	answers func(msg []byte) (int, error)
}

// echo takes a turn of n sockets with batch messages in each write.
func echo(ctx context.Context, cfg *Config, row *Row, round, n, batch int) (r Echo) {
	for k := range max(cfg.Tries, 1) {
		one := Echo{Round: round + 1, Sockets: n, Batch: batch}
		t := &Turn{Program: row.path, Workers: 1, Dir: filepath.Join(cfg.Dir, fmt.Sprintf("%s-echo-%d-%d-%d", strings.ReplaceAll(row.Name, " ", "-"), batch, round, k))}
		quiet(ctx, cfg)
		if err := one.measure(ctx, cfg, row, t); err != nil {
			one.Fault = err.Error()
		}
		if k == 0 || r.Fault != "" || one.Fault == "" && one.Foreign < r.Foreign {
			r = one
		}
		if ctx.Err() != nil || one.Fault == "" && one.Foreign <= cfg.Others {
			break
		}
	}
	return r
}

func (r *Echo) measure(ctx context.Context, cfg *Config, row *Row, t *Turn) (err error) {
	defer t.end(&err)
	if err := t.begin(ctx, row); err != nil {
		return err
	}
	var (
		wg    sync.WaitGroup
		over  atomic.Bool
		count atomic.Int64
		fault atomic.Pointer[error]
		all   []*echoer
	)
	defer wg.Wait()
	defer func() {
		over.Store(true)
		for _, c := range all {
			_ = c.conn.Close()
		}
	}()
	for i := range r.Sockets {
		c, err := row.peer.echoes(ctx, t, i)
		if err != nil {
			return fmt.Errorf("connecting socket %d: %w", i, err)
		}
		all = append(all, c)
	}
	body := strings.Repeat("x", 128)
	r.In = len(all[0].ask(nil, 100, body))
	var bytesOut atomic.Int64
	for _, c := range all {
		wg.Go(func() {
			if err := c.echo(r.Batch, body, &over, &count, &bytesOut); err != nil && !over.Load() {
				fault.CompareAndSwap(nil, &err)
			}
		})
	}
	wait := func(d time.Duration) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
		}
		if err := fault.Load(); err != nil {
			return *err
		}
		return nil
	}
	if err := wait(cfg.Warm); err != nil {
		return err
	}
	first, was := t.usage(), count.Load()
	if err := wait(cfg.Time); err != nil {
		return err
	}
	last, done := t.usage(), float64(count.Load()-was)
	if done == 0 {
		return errors.New("nothing was answered")
	}
	took, servers, generator := last.at.Sub(first.at).Seconds(), last.servers-first.servers, last.generator-first.generator
	r.PerSecond, r.Out = done/took, int(bytesOut.Load()/count.Load())
	r.ServerMicros, r.GeneratorMicros = float64(servers.Microseconds())/done, float64(generator.Microseconds())/done
	r.Foreign = max((last.whole-first.whole-servers-generator).Seconds(), 0) / took
	return nil
}

// echo sends and reads until it is over.
func (c *echoer) echo(batch int, body string, over *atomic.Bool, count, bytesOut *atomic.Int64) error {
	var frames, frame []byte
	for n := uint64(100); !over.Load(); {
		frames = frames[:0]
		for range batch {
			n++
			frame = c.ask(frame[:0], n, body)
			frames = ws.AppendMasked(frames, ws.OpText, frame, [4]byte{1, 2, 3, 4})
		}
		if _, err := c.conn.Write(frames); err != nil {
			return err
		}
		for left := batch; left > 0; {
			msg, err := c.read()
			if err != nil {
				return err
			}
			k, err := c.answers(msg)
			if err != nil {
				return err
			}
			bytesOut.Add(int64(len(msg)))
			count.Add(int64(k))
			left -= k
		}
	}
	return nil
}

func (r *Echo) line(name string) string {
	if r.Fault != "" {
		return fmt.Sprintf("echo  %-20s failed: %s", name, r.Fault)
	}
	return fmt.Sprintf("echo  %-20s %2d a write  %8.0f messages/s of %d sockets  %6.2f us of server CPU each (generator %5.2f), %d bytes in, %d out (others %.2f cores)",
		name, r.Batch, r.PerSecond, r.Sockets, r.ServerMicros, r.GeneratorMicros, r.In, r.Out, r.Foreign)
}

// echo writes the table of the echoes: the middle of each figure over the rounds.
func (r *Report) echo(b *strings.Builder) {
	var lines []string
	for _, row := range r.Rows {
		byBatch := map[int][]Echo{}
		var batches []int
		for _, e := range row.Echo {
			if e.Fault != "" {
				fmt.Fprintf(b, "no figure: %s, %d messages a write, round %d: %s\n", row.Name, e.Batch, e.Round, e.Fault)
				continue
			}
			if byBatch[e.Batch] == nil {
				batches = append(batches, e.Batch)
			}
			byBatch[e.Batch] = append(byBatch[e.Batch], e)
		}
		for _, k := range batches {
			list := byBatch[k]
			slices.SortFunc(list, func(a, b Echo) int { return int(1e6 * (a.ServerMicros - b.ServerMicros)) })
			m := list[len(list)/2]
			lines = append(lines, fmt.Sprintf("%s\t%d\t%.0f\t%.2f\t%.0f\t%d\t%d\t%.2f\t", row.Name, k, m.PerSecond, m.ServerMicros, 1e6/m.ServerMicros, m.In, m.Out, m.Foreign))
		}
	}
	if len(lines) == 0 {
		return
	}
	fmt.Fprintln(b, "\nMessages in and answers out, nothing stored or decided: each socket has one write under way")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\ta write\tmessages/s\tserver CPU us\tfor each second of a CPU\tbytes in\tout\tothers' cores\t")
	for _, l := range lines {
		_, _ = fmt.Fprintln(w, l)
	}
	_ = w.Flush()
}
