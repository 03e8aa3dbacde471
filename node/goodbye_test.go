package node_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// [SW-4.3] Who has asked a node for much at once when it ends is answered some of it, also behind the moment in which the node took leave of everybody. No such
// answer is a lie: what was acknowledged is there at the next start, under its number, and whoever asks for all of it again under the same keys has each word
// stored once.
func TestAnsweredBesideTheEnd(t *testing.T) {
	const lines, each, enough = 8, 60, 40
	dir := t.TempDir()
	n := start(t, dir)
	alice := customerOf("alice")
	_, o := web(t, n, alice, "POST", "/v1/sessions", obj{"channel": "web"}, "o1")
	id := o["session"].(string)
	path := "/v1/sessions/" + id + "/messages"
	key := func(line, i int) string { return fmt.Sprintf("k%d-%d", line, i) }

	auth := mint(t, n, alice)
	var mu sync.Mutex
	// Guarded by mu.
	said, failed := map[string]float64{}, 0
	came := make(chan struct{}, lines*each)
	var wg sync.WaitGroup
	for line := range lines {
		sock, err := net.Dial("tcp", n.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer sock.Close() //nolint:errcheck // a test's
		_ = sock.SetDeadline(time.Now().Add(time.Minute))
		var all strings.Builder // it is in the edge's buffer when the first of it is answered
		for i := range each {
			body := fmt.Sprintf(`{"type":"text","body":{"text":%q}}`, key(line, i))
			_, _ = fmt.Fprintf(&all, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s", path, auth, key(line, i), len(body), body)
		}
		wg.Go(func() { _, _ = io.WriteString(sock, all.String()) }) // as much as it takes
		wg.Go(func() {
			in := bufio.NewReader(sock)
			for i := range each {
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					return // it has ended
				}
				var got obj
				if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
					return // in the middle of an answer
				}
				mu.Lock()
				if res.StatusCode == 201 {
					said[key(line, i)] = got["seq"].(float64)
				} else {
					failed++
				}
				mu.Unlock()
				came <- struct{}{}
			}
		})
	}
	for range enough {
		<-came
	}
	stop(t, n)
	wg.Wait()
	t.Logf("of %d words %d were acknowledged, and %d refused", lines*each, len(said), failed)

	n = start(t, dir)
	defer stop(t, n)
	seqs := map[float64]string{}
	for line := range lines {
		for i := range each {
			k := key(line, i)
			code, got := web(t, n, alice, "POST", path, obj{"type": "text", "body": text(k)}, k)
			seq, known := said[k]
			if known && (code != 200 || got["seq"] != seq) || !known && code != 200 && code != 201 {
				t.Errorf("%s, acknowledged %v as %v, is answered %d %v", k, known, seq, code, got)
				continue
			}
			if other := seqs[got["seq"].(float64)]; other != "" {
				t.Errorf("%s and %s are %v", k, other, got["seq"])
			}
			seqs[got["seq"].(float64)] = k
		}
	}
	words := map[string]int{}
	for after := 0.0; ; {
		_, h := web(t, n, alice, "GET", fmt.Sprintf("%s?after=%.0f", path, after), nil, "")
		list := entries(h)
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			if after = e["seq"].(float64); e["kind"] == "message" {
				words[bodyText(e)]++
			}
		}
	}
	for k, times := range words {
		if times != 1 {
			t.Errorf("%s is stored %d times", k, times)
		}
	}
	if len(words) != lines*each || len(said) < enough/2 {
		t.Errorf("%d words are stored of %d, and %d were acknowledged", len(words), lines*each, len(said))
	}
}
