package swarm

import "testing"

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
