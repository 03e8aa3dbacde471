package swarm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/loadtest/ledger"
	"switchboard/loadtest/socket"
)

// audit reads the history of a session, page by page, over the customer's own connection.
type audit struct {
	session string
	book    *ledger.Account // as it was before the history was asked for
	log     []ledger.Entry
	done    chan error // has room for one
}

func (a *audit) end(err error) {
	select {
	case a.done <- err:
	default:
	}
}

// auditMax bounds the entries of one history that are read.
const auditMax = 100_000

const pageSize = 100

// ask asks for the next page. p.mu is held.
func (p *person) ask() {
	after := uint64(0)
	if n := len(p.audit.log); n > 0 {
		after = p.audit.log[n-1].Seq
	}
	f := fmt.Appendf(nil, `{"id":4,"history":{"session":%q,"after":%d,"limit":%d}}`, p.audit.session, after, pageSize)
	if err := p.s.Send(f); err != nil {
		p.audit.end(err)
		p.audit = nil
	}
}

// page takes a page of the history. p.mu is held.
func (p *person) page(frame []byte) {
	var h struct {
		History struct {
			Entries []struct {
				Seq  uint64
				Kind string
				Type string
				Body json.RawMessage
			}
			More bool
		}
	}
	a := p.audit
	if err := json.Unmarshal(frame, &h); err != nil {
		p.audit = nil
		a.end(fmt.Errorf("a history that is none: %w", err))
		return
	}
	for _, e := range h.History.Entries {
		entry := ledger.Entry{Seq: e.Seq}
		if e.Kind == "message" && e.Type != "interrupted" { // what a stream had told when it broke off is no answer [SW-4.8]
			entry.N, entry.Of = number(socket.Field(e.Body, `"n":`)), number(socket.Field(e.Body, `"of":`))
			if !intact(e.Body) {
				p.a.m.found(altered(a.session, entry.N, e.Seq))
			}
		}
		a.log = append(a.log, entry)
	}
	switch {
	case len(a.log) > auditMax:
		p.audit = nil
		a.end(fmt.Errorf("%w: its history is too long", errUnaudited))
	case h.History.More && len(h.History.Entries) > 0:
		p.ask()
	default:
		p.audit = nil
		a.end(nil)
	}
}

// begin starts the audit of one of the person's sessions.
func (p *person) begin(session string) (*audit, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.s == nil || p.stage < idle {
		return nil, errors.New("it is not connected")
	}
	account := p.book(session)
	if account == nil {
		return nil, fmt.Errorf("%w: its book is closed", errUnaudited)
	}
	a := &audit{session: session, book: account.Snapshot(), done: make(chan error, 1)}
	p.audit = a
	p.ask()
	return a, nil
}

// audits compares those that were chosen, and those with something open, with their histories. What is still open after
// that was late, and counts with the time that it has waited.
func (a *agent) audits(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.sc.AuditTime.Duration())
	defer cancel()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 32 { // at a time
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(a.people) {
					return
				}
				a.people[i].settle(ctx)
			}
		})
	}
	wg.Wait()
}

// settle counts what is open, and audits.
func (p *person) settle(ctx context.Context) {
	p.mu.Lock()
	now := p.a.now()
	unsent := len(p.queue)
	unacked := unsent + len(p.flight)
	unanswered := len(p.wait)
	for _, m := range p.wait {
		p.a.m.record(mAnswer, now-m.due)
	}
	open := ""
	if unacked+unanswered > 0 {
		open = fmt.Sprintf("session %s (customer %s): unacknowledged %s, unanswered %s", p.account.Session, p.sub(), keys(p.queue, p.flight), keys(p.wait))
		if streams := p.streams.Running(); streams != "" {
			open += ", streams without their end " + streams
		}
	}
	for _, m := range append(append([]message(nil), p.queue...), p.flight...) {
		p.a.m.record(mAck, now-m.due)
		if p.a.sc.Answered() {
			p.a.m.record(mAnswer, now-m.due)
		}
	}
	sessions := make([]string, 0, 1+len(p.old))
	if p.account.Session != "" && (p.keep || unacked+unanswered > 0) {
		sessions = append(sessions, p.account.Session)
	}
	for i := range p.old { // there are none unless keep
		sessions = append(sessions, p.old[i].Session)
	}
	p.mu.Unlock()
	done, undone := int64(0), int64(0)
	for _, session := range sessions {
		if p.verify(ctx, session) == nil {
			done++
		} else {
			undone++
		}
	}
	p.a.m.mu.Lock()
	defer p.a.m.mu.Unlock()
	rest := &p.a.m.rest
	rest.Unacked += int64(unacked)
	rest.Unanswered += int64(unanswered)
	rest.Audited += done
	rest.Unaudited += undone
	if open != "" && len(p.a.open) < evidenceMax {
		p.a.open = append(p.a.open, open)
	}
}

// keys names messages, up to ten.
func keys(lists ...[]message) string {
	var b bytes.Buffer
	n := 0
	for _, list := range lists {
		for _, m := range list {
			if n++; n <= 10 {
				fmt.Fprintf(&b, " %d", m.n)
			}
		}
	}
	switch {
	case n == 0:
		return "none"
	case n > 10:
		fmt.Fprintf(&b, " and %d more", n-10)
	}
	return "keys" + b.String()
}

// auditPause is between two attempts at one audit.
const auditPause = 100 * time.Millisecond

// errUnaudited is why a session can not be audited at any time.
var errUnaudited = errors.New("it cannot be compared")

// verify audits one session, again while there is time: a connection that has just ended comes back.
func (p *person) verify(ctx context.Context, session string) error {
	for {
		err := p.compare(ctx, session)
		if err == nil || errors.Is(err, errUnaudited) || !p.a.sleep(ctx, p.a.now()+int64(auditPause)) {
			return err
		}
	}
}

// compare reads the history of a session, and compares it with the book.
func (p *person) compare(ctx context.Context, session string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a, err := p.begin(session)
	if err != nil {
		return err
	}
	select {
	case err = <-a.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.audit = nil
	if err != nil {
		return err
	}
	a.book.Audit(a.log)
	p.a.m.found(a.book.Faults())
	return nil
}

// book returns the account of a session, which may have been closed meanwhile. p.mu is held.
func (p *person) book(session string) *ledger.Account {
	if p.account.Session == session {
		return &p.account
	}
	for i := range p.old {
		if p.old[i].Session == session {
			return &p.old[i]
		}
	}
	return nil
}
