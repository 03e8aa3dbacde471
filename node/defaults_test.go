package node

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"switchboard/edge"
	"switchboard/shard/journal"
)

// TestDefaults holds what a node does that nobody has configured against the defaults that the protocol names. Clients count on them, so changing one
// is changing a clause of docs/protocol.md.
func TestDefaults(t *testing.T) {
	var e edge.Config
	cfg := Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", Dev: true, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		tune: func(_ *journal.Config, made *edge.Config) {
			if made.Tokens != nil { // that of the sockets
				e = *made
			}
		},
	}
	n, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if err := e.Defaults(); err != nil {
		t.Fatal(err)
	}
	printed := n.cfg.Tenants["demo"]
	routes, session, queue := printed.routed.Broker, printed.routed.Session, printed.routed.Broker.Queues[0]
	f := func(clause, what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("[%s] %s is %v; the protocol says %v", clause, what, got, want)
		}
	}
	f("SW-2.6", "ping", e.Ping, 25_000*time.Millisecond)
	f("SW-2.6", "pong", e.Pong, 8_000*time.Millisecond)
	f("SW-2.8", "the wait for hello", e.Hello, 5_000*time.Millisecond)
	f("SW-2.9", "a token in the URL", e.TokenInURL, false)
	f("SW-2.9", "the list of origins", len(e.Origins)+len(e.TenantOrigins("demo")), 0)
	for what, l := range map[string]edge.Limits{"served": e.Limits, "printed": n.cfg.Limits} {
		f("SW-3", "limits.frame as "+what, l.Frame, 65536)
		f("SW-3", "limits.body as "+what, l.Body, 32768)
		f("SW-3", "limits.batch as "+what, l.Batch, 64)
		f("SW-3", "limits.sessions as "+what, l.Sessions, 8)
		f("SW-3", "limits.inflight as "+what, l.Inflight, 8)
		f("SW-3", "limits.rate as "+what, []float64{l.Rate, float64(l.Burst)}, []float64{10, 20})
	}
	f("SW-4.6", "reopen_window_ms as printed", printed.ReopenWindowMS, 24*60*60*1000)
	f("SW-4.6", "reopen_window_ms as served", session.ReopenWindowMS, 24*60*60*1000)
	f("SW-4.7", "the wait for a slow client", e.Stall, 20_000*time.Millisecond)
	f("SW-5.6", "max_attempts as printed", printed.MaxAttempts, 5)
	f("SW-5.6", "max_attempts as served", session.MaxAttempts, 5)
	f("SW-5.7", "grace_bots_ms as printed", printed.GraceBotsMS, 5_000)
	f("SW-5.7", "grace_bots_ms as served", routes.BotGraceMS, 5_000)
	f("SW-5.7", "grace_humans_ms as printed", printed.GraceHumansMS, 30_000)
	f("SW-5.7", "grace_humans_ms as served", routes.HumanGraceMS, 30_000)
	f("SW-5.9", "wrapup_ms as printed", printed.WrapUpMS, 0)
	f("SW-5.9", "wrapup_ms as served", session.WrapUpMS, 0)
	f("SW-8.1", "the queue of --dev", queue.Name, "default")
}
