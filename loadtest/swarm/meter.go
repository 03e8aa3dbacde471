package swarm

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/HdrHistogram/hdrhistogram-go"

	"switchboard/loadtest/ledger"
)

// meter is a latency that is measured.
type meter int

const (
	mAnswer meter = iota
	mAnswerHuman
	mAck
	mFirstToken
	mToken
	mConnect
	mReconnect
	mHandOff
	mLag
	meterCount
)

// meterNames are the names in gates and reports.
var meterNames = [meterCount]string{"answer", "answer_human", "ack", "first_token", "token", "connect", "reconnect", "handoff", "lag"}

// counts are what a process of the swarm has counted since it began, but sockets, which is now.
type counts struct {
	Sockets     int64 `json:"sockets"`
	Due         int64 `json:"due"`
	Sent        int64 `json:"sent"`
	Acked       int64 `json:"acked"`
	Answered    int64 `json:"answered"`
	Refused     int64 `json:"refused"`
	Errors      int64 `json:"errors"`
	Disconnects int64 `json:"disconnects"`
	Dropped     int64 `json:"dropped"` // connections that the test ended
	HandOffs    int64 `json:"handoffs"`
	Tokens      int64 `json:"tokens"`
	TokensLost  int64 `json:"tokens_lost"` // of streams that have ended
	TokensTold  int64 `json:"tokens_told"` // by bots
	Lags        int64 `json:"lags"`        // times the node said so
	Crowded     int64 `json:"crowded"`
	Unacked     int64 `json:"unacked"`
	Unanswered  int64 `json:"unanswered"`
	Audited     int64 `json:"audited"`
	Unaudited   int64 `json:"unaudited"`
	Lost        int64 `json:"lost"`
	Duplicated  int64 `json:"duplicated"`
	Reordered   int64 `json:"reordered"`
	Mismatched  int64 `json:"mismatched"`
}

// add returns the sum.
func (c counts) add(o counts) counts {
	return counts{
		c.Sockets + o.Sockets, c.Due + o.Due, c.Sent + o.Sent, c.Acked + o.Acked, c.Answered + o.Answered, c.Refused + o.Refused, c.Errors + o.Errors,
		c.Disconnects + o.Disconnects, c.Dropped + o.Dropped, c.HandOffs + o.HandOffs, c.Tokens + o.Tokens, c.TokensLost + o.TokensLost, c.TokensTold + o.TokensTold, c.Lags + o.Lags, c.Crowded + o.Crowded,
		c.Unacked + o.Unacked, c.Unanswered + o.Unanswered, c.Audited + o.Audited, c.Unaudited + o.Unaudited, c.Lost + o.Lost, c.Duplicated + o.Duplicated,
		c.Reordered + o.Reordered, c.Mismatched + o.Mismatched,
	}
}

// evidenceMax bounds the faults that are told; all are counted.
const evidenceMax = 50

// meters is what one process measures. Safe for concurrent use.
type meters struct {
	sockets, due, sent, acked, answered, refused, errors, disconnects, dropped, handoffs, tokens, tokensLost, tokensTold, lags, crowded atomic.Int64

	mu sync.Mutex
	// Guarded by mu.
	since    [meterCount]*hdrhistogram.Histogram // since the last sample; nil when empty
	slugs    map[string]int64
	evidence []ledger.Fault
	faults   map[string]int64
	rest     counts // what is counted once, at the end
	lastErr  string
}

func newMeters() *meters { return &meters{slugs: map[string]int64{}, faults: map[string]int64{}} }

const (
	micro = 1
	hour  = 3_600_000_000
)

// record enters a latency in nanoseconds.
func (m *meters) record(what meter, ns int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.since[what] == nil {
		m.since[what] = hdrhistogram.New(micro, hour, 3)
	}
	_ = m.since[what].RecordValue(min(max(ns/1000, 0), hour)) // it is in range
}

// refuse counts a refusal by its slug.
func (m *meters) refuse(slug string) {
	m.refused.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.slugs[slug]++
}

// failed counts a connection that could not be made.
func (m *meters) failed(err error) {
	m.errors.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastErr = err.Error()
}

// found enters faults.
func (m *meters) found(evidence []ledger.Fault, count int) {
	if count == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range evidence {
		m.faults[f.Kind]++
		if len(m.evidence) < evidenceMax {
			m.evidence = append(m.evidence, f)
		}
	}
	if more := count - len(evidence); more > 0 && len(evidence) > 0 {
		m.faults[evidence[0].Kind] += int64(more)
	}
}

// sample is what a process tells once a second.
type sample struct {
	At     int64             `json:"at"` // Unix nanoseconds
	Counts counts            `json:"counts"`
	Hist   map[string]string `json:"hist,omitempty"` // since the last sample, HdrHistogram V2, base64
	Err    string            `json:"err,omitempty"`  // why the last connection could not be made
	RSS    int64             `json:"rss"`            // bytes
	CPU    float64           `json:"cpu"`            // seconds, since the process began
	Last   bool              `json:"last,omitempty"` // its sockets are closed behind it
}

func (m *meters) counts() counts {
	c := counts{
		Sockets: m.sockets.Load(), Due: m.due.Load(), Sent: m.sent.Load(), Acked: m.acked.Load(), Answered: m.answered.Load(), Refused: m.refused.Load(),
		Errors: m.errors.Load(), Disconnects: m.disconnects.Load(), Dropped: m.dropped.Load(), HandOffs: m.handoffs.Load(), Tokens: m.tokens.Load(), TokensLost: m.tokensLost.Load(), TokensTold: m.tokensTold.Load(),
		Lags: m.lags.Load(), Crowded: m.crowded.Load(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c = c.add(m.rest)
	c.blame(m.faults)
	return c
}

// sample takes what was recorded since the last one.
func (m *meters) sample(now int64) (sample, error) {
	s := sample{At: now, Counts: m.counts(), Hist: map[string]string{}}
	s.RSS, s.CPU = usage()
	m.mu.Lock()
	took := m.since
	s.Err = m.lastErr
	m.since = [meterCount]*hdrhistogram.Histogram{}
	m.mu.Unlock()
	for i, h := range took {
		if h == nil {
			continue
		}
		b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
		if err != nil {
			return s, fmt.Errorf("encoding a histogram: %w", err)
		}
		s.Hist[meterNames[i]] = base64.StdEncoding.EncodeToString(b)
	}
	return s, nil
}

// finding is what a process has to say in the end.
type finding struct {
	Slugs    map[string]int64 `json:"slugs,omitempty"`
	Evidence []ledger.Fault   `json:"evidence,omitempty"`
	Open     []string         `json:"open,omitempty"` // sessions with something open, as a person reads it
	LastErr  string           `json:"last_error,omitempty"`
	Faults   map[string]int64 `json:"faults,omitempty"` // by kind, of all of which the evidence is some
}

// count brings what is counted into line with what is told: it may have gone on behind the last sample.
func (f *finding) count(c *counts) {
	c.Refused = 0
	for _, n := range f.Slugs {
		c.Refused += n
	}
	c.blame(f.Faults)
}

// blame enters faults by kind.
func (c *counts) blame(faults map[string]int64) {
	c.Lost, c.Duplicated, c.Reordered, c.Mismatched = faults[ledger.Lost], faults[ledger.Duplicated], faults[ledger.Reordered], faults[ledger.Mismatched]
}

func (m *meters) finding() finding {
	m.mu.Lock()
	defer m.mu.Unlock()
	return finding{Slugs: maps.Clone(m.slugs), Evidence: slices.Clone(m.evidence), LastErr: m.lastErr, Faults: maps.Clone(m.faults)}
}
