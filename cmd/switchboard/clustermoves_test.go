package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestClusterMoves moves every shard of a cluster of four real processes away from its leader, twice, while customers say so many words a second
// and bots answer them, and measures what the sessions of a moving shard notice. Every acknowledged word is there afterwards, once, in
// order, at every node, and was answered once.
func TestClusterMoves(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv("SWITCHBOARD_PAUSES"))
	if rounds == 0 {
		t.Skip("it measures, and TestClusterCrash moves every shard as well: SWITCHBOARD_PAUSES=1, or make pause, runs it")
	}
	rate := 1000
	if v := os.Getenv("SWITCHBOARD_RATE"); v != "" {
		var err error
		if rate, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	const each = 20 // words a second of a customer
	w := &watched{trio: newTrio(t, 4)}
	w.every = time.Second / each
	w.load(rate / each)
	w.probe(16)
	w.all(time.Now())
	all := func(*prober) bool { return true }
	from := time.Now()
	time.Sleep(2 * time.Second) // nothing happens, to compare with
	w.tell("nothing happens", w.seen(from, time.Now(), all))

	before, words, began := w.noticed(), w.words(), time.Now()
	var moved []pause
	for range 2 * rounds {
		for shard := range uint16(trioShards) {
			from := time.Now()
			w.move(shard)
			w.until("end of the move", full)
			moved = append(moved, w.seen(from, time.Now(), func(p *prober) bool { return p.shard() == shard })...)
		}
	}
	took := time.Since(began)
	w.tell("a session's shard moves", moved)
	t.Logf("%d moves in %v under %.0f words and as many answers a second, beside those of %d probers", 2*rounds*trioShards, took.Round(time.Millisecond), float64(w.words()-words)/took.Seconds(), len(w.probers))
	after := w.noticed()
	var list []string
	for _, name := range noticeable {
		list = append(list, fmt.Sprintf("%s %.0f", name, after[name]-before[name]))
	}
	t.Logf("clients noticed: %s", strings.Join(list, ", "))
	w.end()
}

// What clients notice of moves: how often they were told that a session has no owner, or that something is unavailable just now, how often they
// lost their connections, and how many of their requests had been done already when they came again. What their nodes do for them comes
// last: requests that were asked for again, and sessions that were made known to a new owner.
var noticeable = []string{"stalled", "unavailable", "reconnects", "duplicates", "asked again", "made known again"}

// noticed is how often each of them has happened until now.
func (w *trio) noticed() map[string]float64 {
	w.t.Helper()
	m := map[string]float64{"stalled": float64(w.stalled.Load()), "unavailable": float64(w.unavailable.Load()), "reconnects": float64(w.lost.Load())}
	for _, b := range w.books {
		b.mu.Lock()
		for i := range b.ops {
			if b.ops[i].Duplicate {
				m["duplicates"]++
			}
		}
		b.mu.Unlock()
	}
	for _, n := range w.nodes {
		m["asked again"] += w.metric(n, "switchboard_edge_requests_repeated_total")
		m["made known again"] += w.metric(n, "switchboard_edge_reattached_total")
	}
	return m
}

// metric returns a counter of a node.
func (w *trio) metric(n *trioNode, name string) float64 {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, "http://"+n.addr+"/metrics", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if series, value, _ := strings.Cut(s.Text(), " "); series == name {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				w.t.Fatal(err)
			}
			return v
		}
	}
	w.t.Fatalf("%s has no metric %s", n.name, name)
	return 0
}

// ear is a client's connection that counts what the client is told.
type ear struct {
	net.Conn

	words []*spotted
}

// spotted counts a word in a stream, in whatever pieces that comes.
type spotted struct {
	word string
	tail []byte // what may be the word's beginning
	n    *atomic.Int64
}

// listen counts what a connection brings.
func (w *trio) listen(c net.Conn) *ear {
	return &ear{c, []*spotted{{word: `"state":"stalled"`, n: &w.stalled}, {word: `"unavailable"`, n: &w.unavailable}}}
}

// Read is net.Conn's.
func (e *ear) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	for _, s := range e.words {
		all := append(s.tail, b[:n]...)
		s.n.Add(int64(bytes.Count(all, []byte(s.word))))
		s.tail = append(s.tail[:0], all[max(0, len(all)-len(s.word)+1):]...)
	}
	return n, err
}

// What clients are told is counted, also when it comes in pieces.
func TestEar(t *testing.T) {
	w := &trio{}
	said := `{"state":{"session":"s","state":"stalled"}}{"error":{"slug":"unavailable"}}{"state":"stalled","queue":"unavailable`
	for size := 1; size <= len(said); size++ {
		w.stalled.Store(0)
		w.unavailable.Store(0)
		here, there := net.Pipe()
		go func() {
			_, _ = io.WriteString(there, said)
			_ = there.Close()
		}()
		e := w.listen(here)
		for b, err := make([]byte, size), error(nil); err == nil; {
			_, err = e.Read(b)
		}
		if w.stalled.Load() != 2 || w.unavailable.Load() != 1 {
			t.Fatalf("in pieces of %d: %d and %d", size, w.stalled.Load(), w.unavailable.Load())
		}
	}
}
