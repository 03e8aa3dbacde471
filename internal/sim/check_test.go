package sim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"switchboard/client"
	"switchboard/edge/token"
	"switchboard/internal/sim/history"
	"switchboard/wire"
)

// readLog reads a whole session, as a supervisor sees it: nothing is hidden from him.
func (w *world) readLog(c *client.Client, id string) (log []client.Entry, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := c.Open(ctx, client.OpenOptions{Session: id})
	if err != nil {
		return nil, err
	}
	for more, after := true, uint64(0); more; {
		var page []client.Entry
		if page, more, err = s.History(ctx, client.Page{After: &after, Limit: 100}); err != nil {
			return nil, err
		}
		more = more && len(page) > 0
		log = append(log, page...)
		if more {
			after = page[len(page)-1].Seq
		}
	}
	return log, s.Leave(ctx)
}

// answered waits until everything that was said has been answered, and returns all logs.
func (p *play) answered(patience time.Duration) map[string][]client.Entry {
	p.t.Helper()
	c, err := client.Dial(p.ctx, p.config("office", token.Claims{Sub: "sue", Role: wire.RoleSupervisor}))
	if err != nil {
		p.t.Error(err)
		return nil
	}
	defer func() { _ = c.Close() }()
	left := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Second) {
		logs := map[string][]client.Entry{}
		p.reading = time.Now()
		left = ""
		for who, id := range p.l.sessions() {
			log, err := p.readLog(c, id)
			if err != nil {
				left = fmt.Sprintf("reading %s: %v", id, err)
				break
			}
			logs[id] = log
			said := map[string]bool{}
			for i := range log {
				said[log[i].Text()] = true
			}
			for i := range log {
				if e := &log[i]; e.Origin == wire.OriginCustomer && e.Kind == "message" && !said["re "+e.Text()] {
					left = fmt.Sprintf("%s (%s) was never told anything about %q: %s", who, id, e.Text(), ending(log)+p.l.had(id))
				}
			}
		}
		if left == "" {
			return logs
		}
	}
	p.t.Errorf("after %v: %s", patience, left) // I1, I7
	return nil
}

func (l *ledger) sessions() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.session)
}

// had tells of those who had a session last how far they have heard of it, for who reads of a failure.
func (l *ledger) had(id string) (s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.tenures {
		if k.session == id {
			s = fmt.Sprintf("\n          %s had it under ae %d (%s) from %s until %q and has heard of it up to %d", k.worker, k.ae, k.reason, k.began, k.ended, k.last)
		}
	}
	return s
}

// ending is the end of a log and what happened last, for who reads of a failure.
func ending(log []client.Entry) (s string) {
	var events []client.Entry
	for i := range log[:max(0, len(log)-12)] {
		if log[i].Kind == "event" {
			events = append(events, log[i])
		}
	}
	for _, e := range events[max(0, len(events)-6):] {
		s += fmt.Sprintf("\n  %d %s %s", e.Seq, e.Type, e.Body)
	}
	for _, e := range log[max(0, len(log)-12):] {
		s += fmt.Sprintf("\n  %d %s %s %s %s", e.Seq, e.Origin, e.From.ID, e.Type, e.Body)
	}
	return s
}

// check holds what everybody was told against the logs.
func (p *play) check(logs map[string][]client.Entry) {
	p.t.Helper()
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for who, id := range l.session {
		p.order(who, logs[id])
		p.owners(id, logs[id])
		for device, list := range l.sent {
			if strings.HasPrefix(device, who) {
				p.kept(device, logs[id], list)
			}
		}
		p.kept("the workers of "+who, logs[id], l.replied[id])
		for device, seen := range l.seen {
			if strings.HasPrefix(device, who) {
				p.followed(device, logs[id], seen)
			}
		}
	}
	for _, k := range l.tenures {
		p.handed(k, logs[k.session])
	}
	if !p.clocks {
		p.capacity(logs)
	}
	for id, log := range logs { // the last read of all
		op := history.Op{Client: 1, Session: id, Call: time.Now().UnixNano(), Return: time.Now().UnixNano() + 1, From: 1, Words: words(log)}
		l.history.Add(&op)
	}
}

// order: the log has no holes, is of one epoch, and nothing is in it twice [SW-4.2] (I8).
func (p *play) order(who string, log []client.Entry) {
	texts := map[string]uint64{}
	for i := range log {
		e := &log[i]
		if e.Seq != uint64(i+1) || e.Epoch != 1 {
			p.t.Errorf("%s: entry %d of epoch %d stands at place %d", who, e.Seq, e.Epoch, i+1)
			return
		}
		if e.Kind != "message" {
			continue
		}
		if was, twice := texts[e.Text()]; twice && e.Text() != holding {
			p.t.Errorf("%s: %q stands at %d and at %d", who, e.Text(), was, e.Seq)
		}
		texts[e.Text()] = e.Seq
	}
}

// kept: what somebody was told stands where he was told, in the order in which he was [SW-4.2].
func (p *play) kept(who string, log []client.Entry, list []told) {
	for i, k := range list {
		if k.seq == 0 || k.seq > uint64(len(log)) || log[k.seq-1].Text() != k.word {
			p.t.Errorf("%s was told that %q stands at %d, and the log ends at %d or has something else there", who, k.word, k.seq, len(log))
			return
		}
		if i > 0 && k.seq <= list[i-1].seq && !strings.HasPrefix(who, "the workers") {
			p.t.Errorf("%s: %q stands at %d, and what was said before at %d", who, k.word, k.seq, list[i-1].seq)
		}
	}
}

// followed: who follows a session sees every public entry from where he began, once, in order [SW-4.4] (I8).
func (p *play) followed(device string, log []client.Entry, seen []uint64) {
	if len(seen) == 0 {
		p.t.Errorf("%s has seen nothing", device)
		return
	}
	var want []uint64
	for i := range log {
		if e := &log[i]; e.Seq >= seen[0] && e.Seq <= seen[len(seen)-1] && e.VisibleTo(wire.RoleCustomer) {
			want = append(want, e.Seq)
		}
	}
	if !slices.Equal(seen, want) {
		i := 0
		for i < min(len(seen), len(want)) && seen[i] == want[i] {
			i++
		}
		p.t.Errorf("%s has seen %v where the log has %v", device, seen[i:min(i+5, len(seen))], want[i:min(i+5, len(want))])
	}
}

// owners: whoever speaks as a worker owns the session just then, and everybody who owned it was given it under the number of his
// assignment [SW-5.3] (I2).
func (p *play) owners(id string, log []client.Entry) {
	owner, ae := "", uint64(0)
	guests := map[uint64]string{} // by ge
	var held []string             // by ae-1
	for i := range log {
		e := &log[i]
		switch {
		case e.Type == "session.assigned":
			if owner != "" {
				p.t.Errorf("%s: assigned at %d while %s has it", id, e.Seq, owner)
			}
			owner = field(e, "id")
			held = append(held, owner)
			ae++
		case ends(e):
			owner = ""
		case e.Type == "participant.joined":
			guests[e.Seq] = field(e, "id")
		case e.Type == "participant.left":
			delete(guests, uint64(number(e, "ge")))
		case e.Kind == "message" && e.Origin != wire.OriginCustomer && e.Text() != holding && e.From.ID != owner && !slices.Contains(slices.Collect(maps.Values(guests)), e.From.ID):
			p.t.Errorf("%s: %s speaks at %d while %q has it", id, e.From.ID, e.Seq, owner)
		}
	}
	by := map[uint64]string{}
	for _, k := range p.l.tenures {
		if k.session != id {
			continue
		}
		if k.ae == 0 || k.ae > uint64(len(held)) || held[k.ae-1] != k.worker {
			p.t.Errorf("%s: %s has it under ae %d, and the log says %v", id, k.worker, k.ae, held[max(0, len(held)-5):])
		}
		if was := by[k.ae]; was != "" && was != k.worker {
			p.t.Errorf("%s: %s and %s have it under ae %d", id, was, k.worker, k.ae)
		}
		by[k.ae] = k.worker
	}
}

// ends tells whether nobody has a session any more behind e.
func ends(e *client.Entry) bool {
	switch e.Type {
	case "session.released", "worker.lost", "session.transferred", "session.dead_lettered", "session.closed", "session.taken", "session.parked", "session.last_resort":
		return true
	}
	return false
}

func number(e *client.Entry, name string) float64 {
	var m map[string]any
	if json.Unmarshal(e.Body, &m) != nil {
		return 0
	}
	n, _ := m[name].(float64)
	return n
}

func field(e *client.Entry, name string) string {
	var m map[string]any
	if json.Unmarshal(e.Body, &m) != nil {
		return ""
	}
	s, _ := m[name].(string)
	return s
}

// handed: what a worker is given with a session and hears of it afterwards is its log, without a hole [SW-5.4] (I9).
func (p *play) handed(k *tenure, log []client.Entry) {
	if k.reason == "kept" || k.last == 0 {
		return
	}
	first := k.last
	for seq := range k.seen {
		first = min(first, seq)
	}
	if len(k.tail) > 0 {
		first = k.tail[0]
	}
	for seq := first; seq < k.last; seq++ {
		if e := &log[seq-1]; !k.seen[seq] && (e.From.ID != k.worker || e.Kind != "message") {
			p.t.Errorf("%s had %s under ae %d from %d to %d (%s), and was never told of %d %s", k.worker, k.session, k.ae, first, k.last, k.reason, seq, e.Type)
			return
		}
	}
}

// capacity: nobody has more sessions than slots [SW-5.1] (I3), by the logs' own times, until they were read: one after the other, while workers go on.
func (p *play) capacity(logs map[string][]client.Entry) {
	type change struct {
		ts   int64
		seq  uint64
		by   int
		who  string
		what string
	}
	var all []change
	for id, log := range logs {
		owner := ""
		for i := range log {
			e := &log[i]
			if e.TS >= p.reading.UnixMilli() {
				break
			}
			switch {
			case e.Type == "session.assigned":
				owner = field(e, "id")
				all = append(all, change{e.TS, e.Seq, 1, owner, id})
			case ends(e):
				if last := len(all) - 1; owner != "" && all[last].ts == e.TS {
					all = all[:last] // he was given it and lost it at once, and what ends in a moment comes before what begins
				} else if owner != "" {
					all = append(all, change{e.TS, e.Seq, -1, owner, id})
				}
				owner = ""
			}
		}
	}
	slices.SortFunc(all, func(a, b change) int {
		if a.ts != b.ts {
			return int(a.ts - b.ts)
		}
		return a.by - b.by
	})
	most := map[string]int{}
	for _, s := range p.staff {
		most[s.name] = s.slots
	}
	has := map[string][]string{}
	for _, c := range all {
		if most[c.who] == 0 { // a supervisor has what he takes
			continue
		}
		what := fmt.Sprintf("%s from %d", c.what, c.seq)
		if c.by < 0 {
			has[c.who] = slices.DeleteFunc(has[c.who], func(s string) bool { return strings.HasPrefix(s, c.what+" ") })
			continue
		}
		if has[c.who] = append(has[c.who], fmt.Sprintf("%s at %v", what, time.UnixMilli(c.ts).UTC().Format("04:05.000"))); len(has[c.who]) > most[c.who] {
			if soft := p.softBefore(time.UnixMilli(c.ts)); soft != "" { // the known limit: it has not heard of all within 2 s
				p.t.Logf("%s has %d slots and %v; pools began without all shards at %s", c.who, most[c.who], has[c.who], soft)
				continue
			}
			p.t.Errorf("%s has %d slots and %v", c.who, most[c.who], has[c.who])
		}
	}
}
