package loadtest

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// meters is what is measured while dialogues are played.
type meters struct {
	mu sync.Mutex
	// Guarded by mu.
	open, ack, answer *hdrhistogram.Histogram // microseconds
	said, heard       int
}

func (m *meters) init() {
	m.open, m.ack, m.answer = newHistogram(), newHistogram(), newHistogram()
}

// record notes d, and a minute for everything longer.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d.Microseconds(), 1), h.HighestTrackableValue()))
}

// opened: connected, greeted and the session open, since it was due.
func (m *meters) opened(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	record(m.open, d)
}

// acknowledged: a message is durable, since it was due.
func (m *meters) acknowledged(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	record(m.ack, d)
	m.said++
}

// answered: the first answer has come, since the message was due.
func (m *meters) answered(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	record(m.answer, d)
	m.heard++
}

// more: a further answer to the same message.
func (m *meters) more() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard++
}

func (m *meters) messages() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said + m.heard
}

// Latency in milliseconds, of Count events.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	ms := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	return Latency{Count: h.TotalCount(), P50: ms(50), P90: ms(90), P99: ms(99), P999: ms(99.9), Max: float64(h.Max()) / 1000}
}
