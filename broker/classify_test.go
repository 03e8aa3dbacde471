package broker_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// However classifiers come, go and answer: none is asked about more than his slots, nobody is given away unclassified, and each
// session goes on at its deadline at the latest, at once when nobody is there who could be asked.
func TestClassify(t *testing.T) {
	const ttl = 2000
	asked, defaults, again := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		cfg := broker.Config{Queues: []broker.Queue{{Name: "q", Steps: []broker.Step{
			{Classify: true, OfferTTLMS: ttl, Select: selector.MustParse("worker.labels HAS 'c'")},
			{Who: broker.Humans},
		}}}}
		c := broker.New(cfg)
		var out broker.Effects
		now := int64(5000)
		c.Open(1, nil, now, &out)
		type session struct {
			ticket     uint64
			since      int64
			by         string
			classified bool
			over       bool // it was given up: it stays so
		}
		sessions := map[wire.SessionID]*session{}
		var ids []wire.SessionID
		slots := map[string]int{}
		task := func(id wire.SessionID) {
			s := sessions[id]
			c.Offer(&broker.Task{Session: id, Ticket: s.ticket, Queue: "q", EnqueuedAt: s.since, Classified: s.classified}, now, &out)
		}
		follow := func() {
			for len(out) > 0 {
				batch := append(broker.Effects(nil), out...)
				out.Reset()
				for _, e := range batch {
					s := sessions[e.Session]
					switch e.Kind {
					case broker.Question:
						if s.classified || e.Ticket != s.ticket || e.ExpiresAt > s.since+ttl {
							t.Fatalf("%s is asked about: %+v %+v", e.Session, e, s)
						}
						if s.by != "" && s.by != e.Worker {
							again++
						}
						s.by = e.Worker
						asked++
					case broker.Unanswered:
						if s.classified || e.Ticket != s.ticket {
							continue // said before it was heard
						}
						if now < s.since+ttl && !s.over {
							for w := range slots {
								if w[0] == 'c' && slots[w] > 0 {
									t.Fatalf("%s is given up early, %s is there", e.Session, w)
								}
							}
						}
						defaults++
						s.over = true
						if rapid.IntRange(0, 2).Draw(t, "lost") > 0 {
							s.ticket++
							s.classified = true
							task(e.Session)
						}
					case broker.OfferPush:
						if !s.classified {
							t.Fatalf("%s is offered unclassified", e.Session)
						}
					}
				}
			}
			busy := map[string]int{}
			for id, s := range sessions {
				e := c.Explain(id)
				if e.State == "asking" {
					busy[e.Worker]++
				}
				if !s.classified && now > s.since+ttl && e.State == "asking" {
					t.Fatalf("%s is asked about behind its deadline: %+v", id, e)
				}
				if next, ok := c.Next(); !s.classified && (!ok || next > now+ttl) {
					t.Fatalf("%s is not classified, and nothing is due: %d %v", id, next, ok)
				}
			}
			for w, n := range busy {
				if n > slots[w] {
					t.Fatalf("I3: %s is asked about %d, it has %d slots", w, n, slots[w])
				}
			}
		}
		conns := map[string]wire.Conn{}
		n := uint64(0)
		subscribe := func(w string, label bool) {
			n++
			sub := broker.Subscription{ID: w, Kind: wire.OriginBot, Queues: []string{"q"}, Allowed: []string{"*"}, Slots: rapid.IntRange(1, 3).Draw(t, "slots"), Conn: wire.Conn{Node: 1, ID: n}, NewLease: fmt.Sprint("l", n)}
			if label {
				sub.Attributes = selector.Attrs{{Name: "labels", Value: selector.ListOf("c")}}
			} else {
				sub.Kind, sub.Slots = wire.OriginHuman, 64
			}
			slots[w], conns[w] = sub.Slots, sub.Conn
			c.Subscribe(&sub, now, &out)
		}
		subscribe("h", false)
		follow()
		for range 40 {
			switch rapid.IntRange(0, 5).Draw(t, "event") {
			case 0, 1:
				id := wire.SessionID(fmt.Sprintf("s%03d", len(ids)))
				sessions[id] = &session{ticket: 1, since: now}
				ids = append(ids, id)
				task(id)
			case 2:
				w := rapid.SampledFrom([]string{"c1", "c2"}).Draw(t, "worker")
				if slots[w] == 0 {
					subscribe(w, true)
				}
			case 3:
				w := rapid.SampledFrom([]string{"c1", "c2"}).Draw(t, "worker")
				if slots[w] > 0 {
					slots[w] = 0
					c.ConnLost(conns[w], now, &out)
				}
			case 4:
				for _, id := range ids {
					if s := sessions[id]; !s.classified && c.Explain(id).State == "asking" {
						s.classified = true
						s.ticket++
						task(id)
						break
					}
				}
			default:
				end := now + int64(rapid.IntRange(1, 1500).Draw(t, "ms"))
				for {
					at, ok := c.Next()
					if !ok || at > end {
						break
					}
					now = at
					c.Tick(now, &out)
					follow()
				}
				now = end
			}
			follow()
		}
	})
	if asked == 0 || defaults == 0 || again == 0 {
		t.Fatalf("%d asked, %d of them again, %d without answer: the model saw too little", asked, again, defaults)
	}
}
