package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"switchboard/client"
	"switchboard/wire"
)

// desk is one worker with his connection.
type desk struct {
	sub       string
	kind      wire.Origin
	disturber *disturber
}

// employMax bounds the time until all workers wait for work.
const employMax = 30 * time.Second

// employ starts the workers, and returns when all wait for work.
func (r *replay) employ(ctx context.Context) error {
	ready := make(chan error, r.Bots+r.Humans)
	for i := range r.Bots + r.Humans {
		w := &desk{sub: fmt.Sprintf("replay-bot-%d", i), kind: wire.OriginBot, disturber: &disturber{rest: 100 * time.Millisecond}}
		if i >= r.Bots {
			w.sub, w.kind = fmt.Sprintf("replay-human-%d", i-r.Bots), wire.OriginHuman
		}
		token, err := r.Token(wire.RoleWorker, w.kind, w.sub)
		if err != nil {
			return fmt.Errorf("minting a token for %s: %w", w.sub, err)
		}
		r.workers = append(r.workers, w)
		r.wg.Go(func() { r.work(ctx, w, i, token, ready) })
	}
	late, stop := context.WithTimeout(ctx, employMax)
	defer stop()
	for range r.workers {
		select {
		case err := <-ready:
			if err != nil {
				return err
			}
		case <-late.Done():
			return fmt.Errorf("waiting for the workers: %w", context.Cause(late))
		}
	}
	return nil
}

// work is a worker until ctx ends.
func (r *replay) work(ctx context.Context, w *desk, number int, token string, ready chan<- error) {
	cfg := client.WorkerConfig{
		Config: r.config(token, w.disturber, number), Queues: []string{r.Queue}, Slots: max(r.Concurrency, 16), Instance: r.name,
		NackDelay: 50 * time.Millisecond, Grace: 2 * time.Second,
	}
	var self *client.Client
	cfg.Ready = func(c *client.Client) {
		self = c
		ready <- nil
	}
	missed := make(chan struct{}, 1)
	cfg.On.Presence = func(_, _ string) {
		select {
		case missed <- struct{}{}:
		default:
		}
	}
	cfg.Begin = func(_ context.Context, s *client.Session) {
		var a struct {
			Run      string
			Dialogue int
		}
		if json.Unmarshal(s.Assignment().Attributes, &a) == nil { // "kept" comes without: the first delivery tells it
			if c := r.find(a.Run, a.Dialogue, 0); c != nil {
				c.assigned(s, w)
			}
		}
	}
	over := make(chan struct{})
	r.wg.Go(func() {
		for {
			select {
			case <-missed: // an offer was lost with a connection, and the server takes us for away
				if self != nil {
					_ = self.Presence(ctx, "ready", "")
				}
			case <-over:
				return
			}
		}
	})
	err := client.Work(ctx, cfg, func(ctx context.Context, s *client.Session, e client.Entry) error { return r.answer(ctx, w, s, &e) })
	close(over)
	if err == nil || ctx.Err() != nil {
		return
	}
	err = fmt.Errorf("%s cannot work: %w", w.sub, err)
	ready <- err // there is room for one of each
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
}

// find returns the conversation that a message is of, or nil.
func (r *replay) find(run string, index, turn int) *conversation {
	if run != r.name || index < 0 || index >= len(r.all) {
		return nil
	}
	if c := r.all[index]; turn >= 0 && turn < len(c.rounds) {
		return c
	}
	return nil
}

// answer says what the dialogue has to e, or hands over.
func (r *replay) answer(ctx context.Context, w *desk, s *client.Session, e *client.Entry) error {
	var b carried
	err := json.Unmarshal(e.Body, &b)
	c := r.find(b.Run, b.Dialogue, b.Turn)
	if err != nil || c == nil {
		return fmt.Errorf("a message that is not of this replay: %.200s", e.Body)
	}
	fresh := c.delivered(s, w, e, b.Turn)
	if fresh {
		w.disturber.cut(c.workerCuts[b.Turn])
	}
	moves := w.kind == wire.OriginBot && c.moveAt >= 0 && b.Turn >= c.moveAt
	if moves && (b.Turn > c.moveAt || !c.moveAfter) {
		return r.move(ctx, c, s) // with the message, which nobody has answered
	}
	said := 0
	if !fresh {
		if said, err = alreadySaid(ctx, s, e.Seq, &b); err != nil {
			return err
		}
	}
	if err := r.reply(ctx, c, s, e.Seq, b.Turn, said); err != nil {
		return err
	}
	c.answered(b.Turn)
	if moves {
		return r.move(ctx, c, s)
	}
	return nil
}

// reply says the answers to a turn from the said'th on; the last one carries the ack [SW-5.5].
func (r *replay) reply(ctx context.Context, c *conversation, s *client.Session, seq uint64, turn, said int) error {
	for part := said; part < len(c.answers[turn]); part++ {
		opt := client.WithKey(fmt.Sprintf("t%d.%d", turn, part))
		if part == len(c.answers[turn])-1 {
			opt = client.WithAck(seq)
		}
		words := [][]byte{c.answers[turn][part]}
		if r.tamper != nil {
			words = r.tamper(words[0], turn, part)
		}
		for i, word := range words {
			if i > 0 {
				opt = client.WithKey(fmt.Sprintf("t%d.%d.%d", turn, part, i))
			}
			sent, err := s.Reply(ctx, "text", json.RawMessage(word), opt)
			if err != nil {
				return err
			}
			if sent.Duplicate {
				c.mu.Lock()
				c.known++
				c.mu.Unlock()
			}
		}
	}
	return nil
}

// alreadySaid asks the history how many answers to b, which came again, are there already: they may be another worker's,
// who was lost in the middle.
func alreadySaid(ctx context.Context, s *client.Session, seq uint64, b *carried) (n int, err error) {
	for more := true; more; {
		var page []client.Entry
		if page, more, err = s.History(ctx, client.Page{After: &seq, Limit: 100}); err != nil {
			return 0, err
		}
		for i := range page {
			e := &page[i]
			seq = e.Seq
			var said carried
			if (e.Origin == wire.OriginBot || e.Origin == wire.OriginHuman) && json.Unmarshal(e.Body, &said) == nil && said.Turn == b.Turn {
				n++
			}
		}
		more = more && len(page) > 0
	}
	return n, nil
}

// move hands the session to a human of the same queue.
func (r *replay) move(ctx context.Context, c *conversation, s *client.Session) error {
	err := s.Transfer(ctx, client.TransferTo{Queue: r.Queue, Note: "the plan says so", Context: map[string]any{"moved_at": c.moveAt}})
	if err == nil {
		c.mu.Lock()
		c.moved = true
		c.mu.Unlock()
	}
	return err
}
