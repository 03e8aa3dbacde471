package swarm

import (
	"fmt"
	"testing"
	"time"

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

// Who is asked to come back with growing pauses does so, up to some seconds, until something is answered; who is told when comes then [SW-6.1].
func TestRefusedAgainAndAgain(t *testing.T) {
	p := &person{a: &agent{m: newMeters()}}
	ask := func(retry string, after int) (d time.Duration) {
		r := refusal{}
		r.Error.Retry, r.Error.After = retry, int64(after)
		d, ok := r.pause(p.refused.next())
		if !ok {
			t.Fatalf("%s is not asked again", retry)
		}
		return d
	}
	grown := 20 * time.Millisecond
	for n := range 300 {
		if d := ask("backoff", 0); d < grown/2 || d > grown*3/2 {
			t.Fatalf("behind %d refusals the pause is %v; want about %v", n, d, grown)
		}
		grown = min(2*grown, 2560*time.Millisecond)
	}
	if d := ask("after", 5); d != 20*time.Millisecond {
		t.Errorf("told to wait for 5 ms it waits %v", d)
	}
	if d := ask("backoff", 9000); d != 9*time.Second {
		t.Errorf("told to wait for 9 s it waits %v", d)
	}
	if err := p.reply(fmt.Appendf(nil, `{"id":%d,"history":{}}`, idHistory)); err != nil {
		t.Fatal(err)
	}
	if d := ask("backoff", 0); d > 30*time.Millisecond {
		t.Errorf("something was answered, and the pause is %v", d)
	}
}
