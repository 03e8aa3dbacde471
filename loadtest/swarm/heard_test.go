package swarm

import (
	"testing"

	"switchboard/loadtest/ledger"
)

// Whoever is sent away goes where he is sent to.
func TestSentTo(t *testing.T) {
	f := func(frame, want string) {
		t.Helper()
		if got := sentTo([]byte(frame)); got != want {
			t.Errorf("%s sends to %q; want %q", frame, got, want)
		}
	}
	f(`{"bye":{"code":3001,"reason":"drain","reconnect":true,"after_ms":17,"to":"ws://127.0.0.1:7470/v1/connect"}}`, "127.0.0.1:7470")
	f(`{"bye":{"code":3001,"reason":"drain","reconnect":true,"to":"wss://n2.example:443/v1/connect","after_ms":17}}`, "n2.example:443")
	f(`{"bye":{"code":3001,"reason":"drain","reconnect":true,"after_ms":17}}`, "")
	f(`{"bye":{"code":3001,"reason":"to"}}`, "")
}

// A session that nobody has for the moment is asked for again: nothing of it is lost [SW-3.2].
func TestWelcomeWithoutSession(t *testing.T) {
	p := &person{a: &agent{m: newMeters()}, account: ledger.Begin("s_1", 0, true)}
	if err := p.welcome([]byte(`{"id":1,"hello":{"limits":{"inflight":8},"resumed":[{"session":"s_1","error":{"slug":"unavailable","retry_after_ms":100}}]}}`)); err == nil {
		t.Error("it goes on without its session")
	}
	if list, n := p.account.Faults(); n != 0 {
		t.Errorf("it is %v", list)
	}
}
