package node

import "testing"

// The journal has its files also where few may be open: a shard that cannot open one closes.
func TestConnectionsLeaveFilesToTheJournal(t *testing.T) {
	for _, c := range []struct {
		files uint64
		want  int
	}{{256, 64}, {1023, 255}, {1024, 512}, {1025, 513}, {20_000, 19_488}, {1 << 20, 100_000}, {1<<64 - 1, 100_000}} {
		if got := connectionsOf(100_000, c.files); got != c.want {
			t.Errorf("with %d files there are %d connections; want %d", c.files, got, c.want)
		}
	}
	if got := connectionsOf(10, 20_000); got != 10 {
		t.Errorf("of 10 connections there are %d", got)
	}
}
