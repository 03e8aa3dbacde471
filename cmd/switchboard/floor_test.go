package main

import (
	"testing"

	"switchboard/client"
)

// What workers say of themselves is shown in one line, and does nothing to a terminal.
func TestPresenceIsOneLine(t *testing.T) {
	for want, w := range map[string]client.WorkerStats{
		"ready":               {State: "ready"},
		"away (lunch  [2J é)": {State: "away", Reason: "lunch\n\x1b[2J é"},
	} {
		if got := presence(&w); got != want {
			t.Errorf("%+v is shown as %q; want %q", w, got, want)
		}
	}
}
