package edge

import (
	"sync/atomic"
	"testing"
	"time"

	"switchboard/wire"
)

// Mail is lost again and again, as on a way that is full: the pool is asked at once, and then more and more rarely, so that the answers do not keep the way full. When
// that has ended it is asked once more, about what was lost last.
func TestLossesWithoutEndAreAskedForRarely(t *testing.T) {
	r := newRig(t, nil)
	bot := r.login(wire.JSON, "demo/worker/bot")
	bot.ask(`"subscribe":{"queues":["default"],"slots":4}`)
	for range 240 {
		r.x.Lost()
		r.pass(visitEvery)
		bot.ask(`"presence":{"state":"ready"}`) // waits until the pool has answered
	}
	n := r.shard.count(wire.VerbSubscribe) - 1
	if n < 2 || n > 40 {
		t.Errorf("in a minute the pool was asked %d times", n)
	}
	r.x.Lost()
	eventually(t, "the pool is asked about the last", func() bool {
		r.pass(time.Second)
		bot.ask(`"presence":{"state":"ready"}`)
		return r.shard.count(wire.VerbSubscribe) > n+1
	})
}

// A pool that has no room when the desk asks what was lost is asked again: otherwise its worker would never hear of what he was given.
func TestLostMailOfADeskIsAskedForUntilAnswered(t *testing.T) {
	for _, answered := range []bool{true, false} {
		r := newRig(t, nil)
		if status, m, _ := r.do("POST", "/v1/queues/default/claim?wait=0", "demo/worker/bot", ""); status != 200 {
			t.Fatalf("claim was answered %d %v", status, m)
		}
		before := r.shard.count(wire.VerbSubscribe)
		var tries atomic.Int32
		fail := func(c *wire.Command) bool {
			if c.Verb == wire.VerbSubscribe {
				return tries.Add(1) == 1
			}
			return false
		}
		if answered {
			setFunc(&r.shard.refuse, fail)
		} else {
			setFunc(&r.shard.ignore, fail)
		}
		r.x.Lost()
		want := before + 1
		if !answered {
			want++ // it has heard the first as well
		}
		eventually(t, "the pool is asked again", func() bool {
			r.pass(time.Second)
			return r.shard.count(wire.VerbSubscribe) >= want
		})
	}
}

// A clock that is set back by an hour keeps nobody from asking for that long.
func TestClockSetBackAsksAtOnce(t *testing.T) {
	now := time.Now().UnixMilli()
	a, m := asking{1, 1, now}, sparing{}
	m.ask(now)
	for _, back := range []time.Duration{time.Second, time.Hour} {
		then := now - back.Milliseconds()
		if !m.over(then) || !a.due(1, then) {
			t.Errorf("%v back nobody is asked", back)
		}
	}
	if m.over(now) || a.due(1, now) {
		t.Error("it is asked twice at once")
	}
}
