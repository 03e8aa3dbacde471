package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestLogSaysThatItWaits: a node that refuses a page for a while is asked for it again, and whoever looks at the terminal knows why
// nothing comes. What is printed is the log alone.
func TestLogSaysThatItWaits(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := asked.Add(1); {
		case n == 2 || n == 3:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		case r.URL.Query().Get("after") == "0":
			_, _ = w.Write([]byte(`{"entries":[{"seq":1}],"more":true}`))
		case r.URL.Query().Get("after") == "1":
			_, _ = w.Write([]byte(`{"entries":[{"seq":2}],"more":false}`))
		default:
			t.Errorf("it asks for %v", r.URL)
		}
	}))
	defer srv.Close()
	r := finish(t, as(t, nil, "log", "--addr", strings.TrimPrefix(srv.URL, "http://"), "--token", "t", "--json", "s_0000000000000000"))
	if r.code != 0 || r.out != "{\"seq\":1}\n{\"seq\":2}\n" {
		t.Errorf("exit %d, %q", r.code, r.out)
	}
	if strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "going on from entry 2 as it allows") {
		t.Errorf("it says %q", r.err)
	}
}
