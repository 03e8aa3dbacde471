package swarm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"switchboard/loadtest/ledger"
	"switchboard/loadtest/socket"
)

func number(b []byte) uint64 {
	n := uint64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return n
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}

// errBye is what the server says before it ends a connection.
var errBye = errors.New("the server said bye")

// sentTo returns the host:port at which a bye says to come back [SW-6.2], "" when it does not say.
func sentTo(frame []byte) string {
	_, rest, _ := strings.Cut(string(socket.Field(frame, `"to":`)), "://")
	addr, _, _ := strings.Cut(rest, "/")
	return addr
}

// heard takes one frame of the server.
func (p *person) heard(frame []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.a.m.found(p.account.Faults()) }()
	switch {
	case bytes.HasPrefix(frame, []byte(`{"message":`)):
		p.entry(frame)
	case bytes.HasPrefix(frame, []byte(`{"delta":`)):
		p.tokens(frame, false)
	case bytes.HasPrefix(frame, []byte(`{"stream":`)):
		p.tokens(frame, true)
	case bytes.HasPrefix(frame, []byte(`{"id":`)):
		return p.reply(frame)
	case bytes.HasPrefix(frame, []byte(`{"lag":`)):
		p.a.m.lags.Add(1)
	case bytes.HasPrefix(frame, []byte(`{"bye":`)):
		p.to = sentTo(frame)
		return fmt.Errorf("%w: %.200s", errBye, frame)
	}
	return nil
}

// reply takes the answer to a request.
func (p *person) reply(frame []byte) error {
	rest := frame[len(`{"id":`):]
	id := number(rest)
	verb := rest[bytes.IndexByte(rest, ',')+1:]
	if bytes.HasPrefix(verb, []byte(`"error":`)) {
		return p.refusal(id, frame)
	}
	p.refused = 0
	switch {
	case id > idFirst:
		p.acked(id-idFirst, number(socket.Field(frame, `"seq":`)), bytes.Contains(frame, []byte(`"duplicate":true`)))
	case id == idHello:
		return p.welcome(frame)
	case id == idOpen:
		p.epoch = number(socket.Field(frame, `"epoch":`))
		p.account = ledger.Begin(string(socket.Field(frame, `"session":`)), number(socket.Field(frame, `"head":`)), p.a.sc.Answered())
		p.account.Keep, p.streams = p.keep, ledger.Streams{}
		p.stage = talking
		p.pump()
	case id == idClose:
		if p.keep && len(p.old) < 8 {
			p.old = append(p.old, p.account)
		}
		// Whoever closes still follows, and a connection follows as many sessions as it may.
		if p.s.Send(fmt.Appendf(nil, `{"leave":{"session":%q}}`, p.account.Session)) != nil {
			_ = p.s.Conn.Close()
		}
		if len(p.closed) == closedMax {
			p.closed = slices.Delete(p.closed, 0, 1)
		}
		p.closed = append(p.closed, p.account.Session)
		p.account, p.streams, p.stage = ledger.Account{}, ledger.Streams{}, idle
		p.pump()
	case id == idHistory && p.audit != nil:
		p.page(frame)
	}
	return nil
}

// welcome takes the answer to hello.
func (p *person) welcome(frame []byte) error {
	var w struct {
		Hello struct {
			Limits  struct{ Inflight int }
			Resumed []struct {
				How   string
				Head  uint64
				At    uint64
				Error *struct{ Slug string }
			}
		}
	}
	if err := json.Unmarshal(frame, &w); err != nil {
		return fmt.Errorf("the answer to hello: %w", err)
	}
	p.inflight = max(w.Hello.Limits.Inflight-1, 1) // one is for open, close and history
	switch {
	case p.account.Session != "" && len(w.Hello.Resumed) == 1 && w.Hello.Resumed[0].Error != nil:
		return fmt.Errorf("the session is not taken up yet: %.200s", frame) // nobody has it for the moment [SW-3.2]: it is asked for again
	case p.account.Session != "" && len(w.Hello.Resumed) == 1:
		p.account.Resumed(w.Hello.Resumed[0].How, w.Hello.Resumed[0].At)
		p.stage = talking
		p.pump()
		p.settled()
	case p.account.Session != "":
		return fmt.Errorf("the session was not taken up: %.200s", frame)
	case p.a.sc.Customers.Open && p.lastN == 0 || len(p.queue) > 0:
		p.open()
	default:
		p.stage = idle
	}
	return nil
}

// take removes message n from a list.
func take(list *[]message, n uint64) (m message, ok bool) {
	i := slices.IndexFunc(*list, func(m message) bool { return m.n == n })
	if i < 0 {
		return m, false
	}
	m = (*list)[i]
	if *list = slices.Delete(*list, i, i+1); len(*list) == 0 {
		*list = nil
	}
	return m, true
}

// acked takes that the server has message n.
func (p *person) acked(n, seq uint64, again bool) {
	p.account.Ack(n, seq, again)
	p.arrivedAt(n)
	p.pump()
	p.settled()
}

// arrivedAt notes that message n is in the log.
func (p *person) arrivedAt(n uint64) {
	m, ok := take(&p.flight, n)
	if !ok {
		if m, ok = take(&p.queue, n); !ok {
			return
		}
	}
	p.a.m.acked.Add(1)
	if !p.slow {
		p.a.m.record(mAck, p.a.now()-m.due)
	}
	if p.account.Answers {
		p.wait = append(p.wait, m)
	}
}

// entry takes an entry that is pushed.
func (p *person) entry(frame []byte) {
	e := ledger.Entry{Seq: number(socket.Field(frame, `"seq":`)), Prev: number(socket.Field(frame, `"prev":`))}
	if session := string(socket.Field(frame, `"session":`)); session != p.account.Session {
		p.stray(session, e.Seq)
		return
	}
	if bytes.Contains(frame, []byte(`"kind":"message"`)) {
		e.N, e.Of = number(socket.Field(frame, `"n":`)), number(socket.Field(frame, `"of":`))
	}
	p.account.Saw(e)
	if name := socket.Field(frame, `"stream":`); len(name) > 0 {
		p.a.m.tokensLost.Add(int64(p.streams.End(name, int(number(socket.Field(frame, `"tokens":`)))))) //nolint:gosec // a scenario bounds it
	}
	if e.N > 0 && !intact(frame) {
		p.a.m.found(altered(p.account.Session, e.N, e.Seq))
	}
	switch {
	case e.N == 0:
	case e.Of == 0:
		p.arrivedAt(e.N)
		p.pump()
	default:
		m, ok := take(&p.wait, e.N)
		if !ok {
			return
		}
		p.a.m.answered.Add(1)
		what := mAnswer
		if bytes.Contains(frame, []byte(`"origin":"human"`)) {
			what = mAnswerHuman
		}
		planned, _ := strconv.ParseInt(string(socket.Field(frame, `"w":`)), 10, 64) // µs that the worker took on purpose
		if !p.slow {
			p.a.m.record(what, p.a.now()-m.due-planned*1000)
		}
	}
	p.settled()
}

// closedMax bounds the closed sessions that a customer remembers.
const closedMax = 8

// stray takes an entry of a session that is not the one under way. It may be one that he has closed; if it was never his, somebody else's word was shown to
// him. Before he knows what was opened for him nothing can be said.
func (p *person) stray(session string, seq uint64) {
	if p.account.Session == "" || slices.Contains(p.closed, session) {
		return
	}
	p.a.m.found([]ledger.Fault{{Kind: ledger.Mismatched, Session: session, Seq: seq, Detail: "it was shown to " + p.sub() + ", who has " + p.account.Session}}, 1)
}

// refusal is an error of the server [SW-6.1].
type refusal struct {
	ID    uint64
	Error struct {
		Slug    string
		Message string
		Retry   string
		After   int64 `json:"retry_after_ms"`
	}
}

// row counts refusals without a good answer between them.
type row uint8

// next counts one more, and returns how many there were before.
func (n *row) next() row {
	was := *n
	*n = min(was+1, rowMost)
	return was
}

// rowMost is from how many on pauses do not grow any more: 20 ms, doubled so often, are 2.56 s.
const rowMost = 7

// pause is how long to wait before the request is repeated, when so many were refused in a row before; ok is false when that makes no sense. Where the server
// asks for it pauses grow, and are a half to one and a half of that [SW-6.1]: a node whose disk is full for a minute is not asked a million times.
func (r *refusal) pause(before row) (d time.Duration, ok bool) {
	after := time.Duration(r.Error.After) * time.Millisecond
	switch r.Error.Retry {
	case "now":
		return time.Millisecond, true
	case "after":
		return min(max(after, 20*time.Millisecond), 30*time.Second), true
	case "backoff":
		grown := time.Duration((.5 + rand.Float64()) * float64(20*time.Millisecond<<min(before, rowMost))) //nolint:gosec // it is to spread, not to be secret
		return min(max(after, grown), 30*time.Second), true
	}
	return 0, false
}

// refusal takes an error.
func (p *person) refusal(id uint64, frame []byte) error {
	var r refusal
	if err := json.Unmarshal(frame, &r); err != nil {
		return fmt.Errorf("an error that is none: %w", err)
	}
	p.a.m.refuse(r.Error.Slug)
	pause, again := r.pause(p.refused.next())
	switch {
	case id > idFirst:
		m, ok := take(&p.flight, id-idFirst)
		switch {
		case !ok:
		case again:
			p.queue = append(p.queue, m)
			slices.SortFunc(p.queue, byNumber)
			p.rest = p.a.now() + int64(pause)
			p.a.clock.at(p.rest, p)
		default:
			p.account.Drop(m.n)
			p.pump()
		}
	case id == idOpen && again:
		p.stage = idle
		p.rest = p.a.now() + int64(pause)
		p.a.clock.at(p.rest, p)
	case id == idClose:
		p.stage = talking // it is left open
		p.pump()
	case id == idHistory && p.audit != nil:
		err := fmt.Errorf("history was refused: %s", r.Error.Slug)
		if !again {
			err = fmt.Errorf("%w: %w", errUnaudited, err)
		}
		p.audit.end(err)
		p.audit = nil
	default:
		return fmt.Errorf("%s: %s", r.Error.Slug, r.Error.Message)
	}
	return nil
}
