package member

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"switchboard/cluster"
)

const (
	waitingMax  = 256 // requests that wait for the leader; more are refused
	forwardTo   = time.Second
	staleAfter  = 2 * time.Second // then reads are answered from this node's rows
	questionFor = 15 * time.Second
)

// request is something that the leader of the meta group is asked for. It belongs to run once it is sent there.
type request struct {
	n        uint64 // its number here, 0 until it has one
	from     uint32 // the node that asked; 0 for this one
	theirs   uint64 // its number there
	op, by   string
	body     []byte
	deadline time.Time
	asked    time.Time
	sent     time.Time // to the leader
	reply    chan reply
}

type reply struct {
	a   answer
	err error
}

// answer answers a request of this node; there is room for one answer.
func (r *request) answer(a answer, err error) {
	select {
	case r.reply <- reply{a, err}:
	default:
	}
}

// ask has op done by the leader of the meta group, wherever that is.
func (m *Member) ask(ctx context.Context, op, by string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	now := time.Now()
	r := &request{op: op, by: by, body: body, deadline: now.Add(m.cfg.AskFor), asked: now, reply: make(chan reply, 1)}
	if d, ok := ctx.Deadline(); ok {
		r.deadline = d
	}
	select {
	case m.asked <- r:
	case <-m.stop:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var got reply
	select {
	case got = <-r.reply:
	case <-m.done:
		select {
		case got = <-r.reply:
		default:
			return ErrClosed
		}
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	if got.err == nil {
		got.err = got.a.err()
	}
	if got.err != nil || out == nil {
		return got.err
	}
	return json.Unmarshal(got.a.Body, out)
}

// enqueue takes a request of this node.
func (m *Member) enqueue(r *request) {
	if len(m.waiting)+len(m.open) >= waitingMax {
		r.answer(answer{}, fmt.Errorf("%w: too many requests wait", ErrUnavailable))
		return
	}
	m.waiting = append(m.waiting, r)
}

// asks takes a request that another node forwards. When this one does not lead, the other will find out who does.
func (m *Member) asks(from uint32, msg *message) {
	if m.term == 0 || len(m.waiting) >= waitingMax {
		return
	}
	now := time.Now()
	m.waiting = append(m.waiting, &request{from: from, theirs: msg.N, op: msg.Op, by: msg.By, body: msg.Body, asked: now, deadline: now.Add(forwardTo)})
}

// answered takes the answer to a request that was forwarded.
func (m *Member) answered(msg *message) {
	if r := m.open[msg.N]; r != nil && msg.Answer != nil {
		delete(m.open, msg.N)
		r.answer(*msg.Answer, nil)
	}
}

// serve does the requests that wait, as the leader. Answers leave when the rows are applied, refusals too: what they were refused
// for may be what this turn has done.
func (m *Member) serve(now time.Time) {
	list := m.waiting
	m.waiting = nil
	for n, r := range m.open { // this node has come to lead meanwhile
		delete(m.open, n)
		list = append(list, r)
	}
	for _, r := range list {
		if now.After(r.deadline) {
			r.expire(m)
			continue
		}
		a := answerOf(m.do(r.op, r.by, r.body, false))
		m.held = append(m.held, held{req: r, do: func() {
			if r.from == 0 {
				r.answer(a, nil)
				return
			}
			m.say(r.from, &message{Kind: sayAnswer, N: r.theirs, Answer: &a})
		}})
	}
}

// forward sends requests to the leader, again when it does not answer, and gives up those that have waited for too long.
func (m *Member) forward(now time.Time) {
	if m.term != 0 {
		return
	}
	keep := m.waiting[:0]
	for _, r := range m.waiting {
		if r.from == 0 { // others ask again, where the leader is
			keep = append(keep, r)
		}
	}
	for _, r := range keep {
		m.numbers++
		r.n = m.numbers
		m.open[r.n] = r
	}
	m.waiting = nil
	to := m.leaders[cluster.Meta].node
	for n, r := range m.open {
		switch {
		case now.After(r.deadline):
			delete(m.open, n)
			r.expire(m)
		case reads[r.op] && now.Sub(r.asked) >= staleAfter && m.state.Version > 0:
			delete(m.open, n)
			r.answer(answerOf(m.do(r.op, r.by, r.body, true)), nil)
		case to != 0 && to != m.id.Node && m.alive(to) && now.Sub(r.sent) >= forwardTo:
			r.sent = now
			m.say(to, &message{Kind: sayAsk, N: n, Op: r.op, By: r.by, Body: r.body})
		}
	}
}

// expire gives a request up.
func (r *request) expire(m *Member) {
	if r.from == 0 {
		why := "nobody leads"
		if l := m.leaders[cluster.Meta].node; l != 0 {
			why = fmt.Sprintf("node %d leads and does not answer", l)
		}
		r.answer(answer{}, fmt.Errorf("%w: %s", ErrUnavailable, why))
	}
}

// let asks the leader, for a node that wants to be let in or an operator, who is certain to have this name.
func (m *Member) let(name string, b []byte) answer {
	var q question
	var n cluster.Node
	err := json.Unmarshal(b, &q)
	if err == nil && (q.Op == opJoin || q.Op == opRenew) {
		if err = json.Unmarshal(q.Body, &n); err == nil && (n.Name != name || n.Birth == "") {
			err = fmt.Errorf("node %q asks for node %q", name, n.Name)
		}
	}
	if err != nil {
		return answerOf(nil, fmt.Errorf("%w: a question that cannot be understood: %w", cluster.ErrRefused, err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), questionFor)
	defer cancel()
	if op, ok := strings.CutPrefix(q.Op, askedPrefix); ok && m.cfg.Asked != nil {
		return answerOf(m.cfg.Asked(ctx, name, op, q.Body))
	}
	var got json.RawMessage
	return answerOf(&got, m.ask(ctx, q.Op, name, q.Body, &got))
}
