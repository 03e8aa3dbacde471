package client_test

import (
	"testing"
	"time"

	"switchboard/client"
)

// TestFullJitter draws pauses as a client does whom nobody has told how: they are spread over everything from nothing to the
// backoff, which doubles up to its bound, and come on top of what the server advised. A jitter of half, or of none, brings
// the clients of a node that died back together.
func TestFullJitter(t *testing.T) {
	cfg := client.Config{URL: "ws://node.test/", Token: client.StaticToken("t")}
	f := func(n int, after, most time.Duration) {
		t.Helper()
		var tenths [10]int
		for range 2000 { // a tenth stays empty once in 10^91
			d, err := client.Pause(cfg, n, after)
			if err != nil {
				t.Fatal(err)
			}
			if d -= after; d < 0 || d >= most {
				t.Fatalf("failure %d, advice %v: a pause of %v beyond it; want less than %v", n, after, d, most)
			}
			tenths[d*10/most]++
		}
		for i, count := range tenths {
			if count == 0 {
				t.Errorf("failure %d: no pause lies in tenth %d of %v: %v", n, i, most, tenths)
			}
		}
	}
	f(0, 0, 500*time.Millisecond)
	f(3, 700*time.Millisecond, 4*time.Second)
	f(5, 0, 16*time.Second)
	f(6, 0, 20*time.Second)
	f(100, time.Second, 20*time.Second)
}
