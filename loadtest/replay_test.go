package loadtest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/edge"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// The server's worker pool is told to end, and notices when it wakes the next time.
var fasthttpSleeps = goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2")

// played plays dialogues against a node in this process.
func played(t *testing.T, change func(*Replay)) *ReplayResult {
	t.Helper()
	n, err := node.Start(node.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", Dev: true, FreeMin: -1, Shards: 4,
		Limits: edge.Limits{Rate: 100_000, Burst: 100_000}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	r := Replay{
		Addr: n.Addr(), SameProcess: true, Dialogues: ShippedDialogues(), Speed: 200, Seed: 7, Concurrency: 20, Patience: 20 * time.Second,
		Token: func(role wire.Role, kind wire.Origin, sub string) (string, error) {
			c := token.Claims{Tenant: "demo", Sub: sub, Role: role, Kind: kind}
			if role == wire.RoleWorker {
				c.Queues = []string{"*"}
			}
			return n.Mint(c, time.Hour)
		},
		Progress: func(s string) { t.Log(s) },
	}
	change(&r)
	res, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if _, err := res.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	return res
}

// TestReplay plays the shipped dialogues with hand-offs and cut connections, and everything must hold.
func TestReplay(t *testing.T) {
	defer goleak.VerifyNone(t, fasthttpSleeps)
	res := played(t, func(r *Replay) { r.Disconnects, r.HandOff, r.Repeat = 0.3, 0.5, 2 })
	if !res.Holds() {
		t.Fatal("it does not hold")
	}
	if res.Dialogues != 40 || res.HandOffs == 0 || res.Customers.Idle == 0 || res.Customers.Torn == 0 || res.Customers.Unheard == 0 || res.Workers.Happened() == 0 {
		t.Errorf("the disturbances did not happen: %+v", res)
	}
	if res.Open.Count != 40 || res.Ack.Count != int64(res.Turns) || res.Answer.Count == 0 || res.Answer.P50 <= 0 || res.Answer.Max < res.Answer.P50 {
		t.Errorf("what was measured: %+v %+v %+v", res.Open, res.Ack, res.Answer)
	}
}

// TestReplayFinds plays with a worker who does not say what he should: the verdict must tell, over the whole way.
func TestReplayFinds(t *testing.T) {
	defer goleak.VerifyNone(t, fasthttpSleeps)
	var mu sync.Mutex
	var kept []byte
	f := func(name string, tamper func(answer []byte, turn, part int) [][]byte, bad func(*ReplayResult) int) {
		t.Helper()
		t.Log(name)
		res := played(t, func(r *Replay) {
			r.Dialogues, r.Patience, r.tamper = r.Dialogues[:3], 200*time.Millisecond, tamper
		})
		if res.Holds() || bad(res) == 0 {
			t.Errorf("%s: the verdict is %+v", name, res)
		}
	}
	f("lost", func(a []byte, turn, _ int) [][]byte {
		if turn == 1 {
			return nil
		}
		return [][]byte{a}
	}, func(r *ReplayResult) int { return r.Lost })
	f("twice", func(a []byte, turn, _ int) [][]byte {
		if turn == 1 {
			return [][]byte{a, a}
		}
		return [][]byte{a}
	}, func(r *ReplayResult) int { return r.Duplicated })
	f("altered", func(a []byte, turn, _ int) [][]byte {
		if turn == 1 {
			a = bytes.Replace(a, []byte("e"), []byte("é"), 1)
		}
		return [][]byte{a}
	}, func(r *ReplayResult) int { return r.Mismatched })
	f("late", func(a []byte, turn, part int) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case turn == 0 && part == 0 && kept == nil && bytes.Contains(a, []byte(`"dialogue":0,`)):
			kept = a
			return nil
		case part == 1 && bytes.Contains(a, []byte(`"dialogue":0,`)) && kept != nil:
			return [][]byte{a, kept}
		}
		return [][]byte{a}
	}, func(r *ReplayResult) int { return r.Reordered })
}

// TestReplayEnds: a run that cannot finish ends at its time, and says so.
func TestReplayEnds(t *testing.T) {
	defer goleak.VerifyNone(t, fasthttpSleeps)
	res := played(t, func(r *Replay) { r.Speed, r.Timeout, r.Dialogues = 1, 300*time.Millisecond, r.Dialogues[:5] })
	if res.Holds() || res.Unfinished == 0 || res.Lost > 0 { // what was not said is not lost
		t.Errorf("the verdict is %+v", res)
	}
}

// TestReplayRefused: without a node, or with wrong tokens, there is an error and no verdict.
func TestReplayRefused(t *testing.T) {
	defer goleak.VerifyNone(t, fasthttpSleeps)
	r := Replay{Addr: "127.0.0.1:1", Dialogues: ShippedDialogues(), Token: func(wire.Role, wire.Origin, string) (string, error) { return "x", nil }}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if res, err := r.Run(ctx); err == nil {
		t.Errorf("nobody listens, and the verdict is %+v", res)
	}
	for _, bad := range []func(*Replay){
		func(r *Replay) { r.Addr = "" }, func(r *Replay) { r.Dialogues = nil }, func(r *Replay) { r.HandOff = 1.1 }, func(r *Replay) { r.Disconnects = -1 },
		func(r *Replay) { r.Speed = -1 },
	} {
		r := r
		bad(&r)
		if _, err := r.Run(t.Context()); err == nil {
			t.Errorf("it takes %+v", r)
		}
	}
}
