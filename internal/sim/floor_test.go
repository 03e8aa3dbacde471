package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"switchboard/client"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// TestFloor is TestCluster of a whole contact centre: somebody says what each customer is about, people are asked two at a time, go away and come back, invite
// each other and wrap up; a supervisor looks on, speaks, takes sessions and hands them over, and the routes change, all of it while things go wrong. What
// TestCluster checks holds, and in the end nobody is charged with anything.
func TestFloor(t *testing.T) { eachOf(t, seedsOr(t, 4), 50, runFloor) }

func runFloor(t *testing.T, seed uint64) *ledger {
	chance := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	c := &company{
		nodes: 3 + int(seed/2%2), shards: 2 + int(seed/4%3), devices: 8, chat: 2 * time.Second, worst: 2 * time.Second, //nolint:gosec // small
		tenant: &node.Tenant{Routes: node.InlineOf(routesOf(chance(200)))},
		staff: []*staff{
			{name: "bot0", kind: wire.OriginBot, slots: 2, desk: &desk{rng: chance(201)}},
			{name: "bot1", kind: wire.OriginBot, slots: 2, desk: &desk{rng: chance(202)}},
			{name: "hans", kind: wire.OriginHuman, slots: 2, desk: &desk{rng: chance(203)}},
			{name: "hilda", kind: wire.OriginHuman, slots: 1, desk: &desk{rng: chance(204)}},
			{name: "hugo", kind: wire.OriginHuman, slots: 3, desk: &desk{rng: chance(205)}},
		},
	}
	p := beginWith(t, seed, c)
	sue := &overseer{p: p, rng: chance(206)}
	busy, calm := context.WithCancel(p.ctx)
	p.crew.Go(func() { sue.run(busy) })
	p.crew.Go(func() {
		for rng := chance(207); busy.Err() == nil; pause(busy, time.Duration(500+rng.IntN(4000))*time.Millisecond) {
			p.route(busy, routesOf(rng))
		}
	})
	for range 6 {
		p.fault()
		time.Sleep(time.Duration(p.rng.IntN(3000)) * time.Millisecond)
	}
	calm()
	for _, s := range p.staff {
		s.desk.calm.Store(true)
	}
	p.last = p.idle
	l := p.end()
	t.Log(p.l.done)
	return l
}

// idle waits until nobody waits, has anything to do, or is away: what a pool believes is what is so.
func (p *play) idle() {
	c, err := client.Dial(p.ctx, p.config("office", token.Claims{Sub: "sue", Role: wire.RoleSupervisor}))
	if err != nil {
		p.t.Error(err)
		return
	}
	defer func() { _ = c.Close() }()
	left := ""
	for range 60 {
		time.Sleep(time.Second)
		if left = p.busy(c); left == "" {
			return
		}
	}
	p.t.Errorf("when everybody was answered, and a minute later: %s", left)
}

// busy says what is still going on, as supervisors are told.
func (p *play) busy(c *client.Client) string {
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	f, err := c.Floor(ctx, client.FloorOptions{Sessions: 20})
	if err != nil {
		return err.Error()
	}
	for _, q := range f.Queues {
		if q.Waiting+q.Offered+q.Assigned > 0 {
			return fmt.Sprintf("%+v, sessions %+v", q, f.Sessions)
		}
	}
	there := 0
	for _, w := range f.Workers {
		if w.Used > 0 {
			return fmt.Sprintf("%+v, sessions %+v", w, f.Sessions)
		}
		if w.State == "ready" {
			there++
		}
	}
	if there != len(p.staff) {
		return fmt.Sprintf("%d of %d workers are ready: %+v", there, len(p.staff), f.Workers)
	}
	if len(f.Sessions) > 0 {
		return fmt.Sprintf("%+v", f.Sessions)
	}
	return ""
}

// holding is what those are told who wait for too long: the only words that are said twice, and by nobody.
const holding = "One moment."

// routesOf is one of many documents of a queue, and of another that comes and goes.
func routesOf(rng *rand.Rand) []byte {
	one := func(of ...string) string { return of[rng.IntN(len(of))] }
	doc := "version: 1\ngrace_bots_ms: 1500\ngrace_humans_ms: 3000\nfair: " + one("false", "true") + "\nwrapup_ms: " + one("0", "300", "2000")
	doc += "\nservice_levels:\n  - {name: quick, clock: " + one("first_response", "every_response", "waiting", "handling") + ", first_reply_ms: " + one("500", "3000") + ", holding: '" + holding + "', warn: ["
	doc += "{at: 0.5, do: [" + one("boost", "next_step", "boost, next_step") + "]}, {at: 1, do: [" + one("notify", "holding_reply", "notify, holding_reply") + "]}]}"
	doc += "\nqueues:\n" + queueOf("default", one, rng)
	if rng.IntN(2) == 0 {
		doc += queueOf("more", one, rng)
	} else {
		doc += "moves: {more: default}\n"
	}
	return []byte(doc)
}

func queueOf(name string, one func(...string) string, rng *rand.Rand) string {
	doc := "  - name: " + name + "\n    service_level: quick\n    order: {mode: " + one("fifo", "ageing", "strict", "savable_first") + "}\n    sticky_ms: " + one("0", "1500")
	doc += "\n    park_ms: " + one("2500", "600000")
	doc += "\n    handoff: {failed_turns: " + one("2", "5") + "}\n    route:\n"
	if rng.IntN(2) == 0 {
		doc += "      - {name: what, select: \"worker.skills HAS 'sort'\", classify: {ttl_ms: " + one("300", "2000") + ", default: {intent: other}}}\n"
	}
	doc += "      - {name: bots, who: bots}\n"
	if rng.IntN(2) == 0 {
		doc += "      - {name: able, who: humans, select: \"worker.skills HAS task.intent\", offer: {ttl_ms: 1500}}\n"
	}
	doc += "      - {name: people, who: humans, after_ms: " + one("0", "1000") + ", offer: {n: " + one("1", "2", "3") + ", ttl_ms: 3000}}\n"
	return doc + "      - {name: message, after_ms: 8000, when: unstaffed, resort: leave_message}\n"
}

// route makes doc what counts, if it can.
func (p *play) route(ctx context.Context, doc []byte) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://switchboard/v1/admin/config/demo", bytes.NewReader(doc))
	if err != nil {
		p.t.Error(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+p.mint(token.Claims{Sub: "olga", Role: wire.RoleOperator}))
	req.Header.Set("Content-Type", "application/yaml")
	req.Header.Set("If-Match", "*")
	way := &http.Transport{DialContext: p.from("office"), DisableKeepAlives: true}
	defer way.CloseIdleConnections()
	resp, err := way.RoundTrip(req)
	if err != nil {
		return
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode < 300 {
		p.l.count("a document")
	} else if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
		p.t.Errorf("the routes are refused: %s: %s\n%s", resp.Status, b, doc)
	}
}

// desk is what a worker does beside answering who is his.
type desk struct {
	calm atomic.Bool // nothing more
	rng  *rand.Rand  // of handlers, which run beside each other
	hold chan struct{}
}

// roll draws a number below n.
func (d *desk) roll(n int) int {
	d.hold <- struct{}{}
	defer func() { <-d.hold }()
	return d.rng.IntN(n)
}

// sits makes him somebody who is asked, invited, and away now and then.
func (d *desk) sits(ctx context.Context, p *staff, w *client.WorkerConfig) {
	if d.hold == nil {
		d.hold = make(chan struct{}, 1)
	}
	w.Dial = p.w.from(p.host) // the book knows nothing of guests
	w.Queues = []string{"*"}
	if p.kind == wire.OriginBot {
		w.Skills = map[string]float64{"sort": 1}
		w.Classify = func(ctx context.Context, _ client.Question) (any, error) {
			pause(ctx, time.Duration(d.roll(400))*time.Millisecond)
			p.l.count("a classification")
			return map[string]any{"intent": []string{"refund", "order", "other"}[d.roll(3)]}, nil
		}
		return
	}
	w.Skills = map[string]float64{"refund": 1, "order": float64(len(p.name)%2) / 2}
	w.Accept = func(ctx context.Context, _ client.Offer) bool {
		pause(ctx, time.Duration(d.roll(300))*time.Millisecond)
		return d.roll(8) > 0
	}
	w.Invited = func(ctx context.Context, c *client.Client, i client.Invitation) bool {
		if d.roll(4) == 0 {
			return false
		}
		s, err := c.Join(ctx, i.Session, i.As)
		if err != nil {
			return false
		}
		p.l.count("a guest")
		go d.visits(ctx, s)
		return true
	}
	ready := w.Ready
	w.Ready = func(c *client.Client) {
		ready(c)
		go func() {
			for ctx.Err() == nil {
				pause(ctx, time.Duration(500+d.roll(6000))*time.Millisecond)
				if d.calm.Load() {
					return
				}
				if c.Presence(ctx, "away", "coffee") == nil {
					p.l.count("a break")
					pause(ctx, time.Duration(d.roll(2000))*time.Millisecond)
				}
				for ctx.Err() == nil && c.Presence(ctx, "ready", "") != nil {
					pause(ctx, 100*time.Millisecond)
				}
			}
		}()
	}
}

// visits is a guest: he says something to his colleague, and goes.
func (d *desk) visits(ctx context.Context, s *client.Session) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	go func() {
		for _, err := range s.Entries(ctx) {
			if err != nil {
				return
			}
		}
	}()
	for range d.roll(3) {
		_, _ = s.Reply(ctx, "text", fmt.Sprintf("hint %d", d.roll(1<<30)), client.ForStaff())
		pause(ctx, time.Duration(d.roll(500))*time.Millisecond)
	}
	_ = s.Leave(ctx)
}

// fidgets does something beside answering, now and then.
func (d *desk) fidgets(ctx context.Context, p *staff, s *client.Session) {
	if d.calm.Load() {
		return
	}
	switch d.roll(15) {
	case 0:
		_, _ = s.Invite(ctx, []string{"hans", "hilda", "hugo"}[d.roll(3)], []string{"assist", "consult"}[d.roll(2)], "help")
	case 1:
		_, _ = s.SetAttributes(ctx, s.Assignment().AttributesV, map[string]any{"intent": []string{"refund", "order"}[d.roll(2)]})
	case 2:
		_, _ = s.SetContext(ctx, map[string]any{"slot": d.roll(100)})
	case 3, 4:
		if s.Transfer(ctx, client.TransferTo{Queue: []string{"more", "default"}[d.roll(2)]}) == nil {
			p.l.count("a transfer")
		}
	case 5:
		_, _ = s.Note(ctx, fmt.Sprintf("note %d", d.roll(1<<30)))
	}
}

// overseer is a supervisor, by frames: the client has none of what he does.
type overseer struct {
	p    *play
	rng  *rand.Rand
	conn *websocket.Conn
	id   uint64
}

var errRefusedFrame = errors.New("refused")

// ask sends a frame and returns what it was answered.
func (o *overseer) ask(frame map[string]any) (map[string]any, error) {
	o.id++
	frame["id"] = o.id
	if err := o.conn.WriteJSON(frame); err != nil {
		return nil, err
	}
	for {
		_ = o.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, msg, err := o.conn.ReadMessage()
		if err != nil {
			return nil, err
		}
		for rest := msg; len(rest) > 0; {
			var one []byte
			if one, rest, err = wire.JSON.Next(rest); err != nil {
				return nil, err
			}
			var m map[string]any
			if len(bytes.TrimSpace(one)) == 0 {
				continue
			}
			if err := json.Unmarshal(one, &m); err != nil {
				return nil, err
			}
			if id, _ := m["id"].(float64); uint64(id) != o.id { //nolint:gosec // ours
				continue
			}
			if m["error"] != nil {
				return m, errRefusedFrame
			}
			return m, nil
		}
	}
}

func (o *overseer) run(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, time.Duration(o.rng.IntN(700))*time.Millisecond) {
		if o.conn == nil {
			d := websocket.Dialer{NetDialContext: o.p.from("office"), HandshakeTimeout: 5 * time.Second, Subprotocols: []string{"switchboard.v1.json"}}
			conn, resp, err := d.DialContext(ctx, "ws://switchboard/v1/connect", nil)
			if resp != nil && resp.Body != nil {
				_ = resp.Body.Close()
			}
			if err != nil {
				continue
			}
			o.conn = conn
			if _, err := o.ask(map[string]any{"hello": map[string]any{"token": o.p.mint(token.Claims{Sub: "sue", Role: wire.RoleSupervisor})}}); err != nil {
				o.hangsUp()
				continue
			}
		}
		if err := o.does(ctx); err != nil && !errors.Is(err, errRefusedFrame) {
			o.hangsUp()
		}
	}
	if o.conn != nil {
		o.hangsUp()
	}
}

func (o *overseer) hangsUp() {
	_ = o.conn.Close()
	o.conn = nil
}

// does one thing with some session.
func (o *overseer) does(ctx context.Context) error {
	var ids []string
	for _, id := range o.p.l.sessions() {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	id := ids[o.rng.IntN(len(ids))]
	type m = map[string]any
	switch o.rng.IntN(6) {
	case 0:
		r, err := o.ask(m{"take": m{"session": id}})
		if err != nil {
			return err
		}
		o.p.l.count("a session taken")
		ae := r["take"].(map[string]any)["ae"]
		pause(ctx, time.Duration(o.rng.IntN(2500))*time.Millisecond)
		switch o.rng.IntN(4) {
		case 0:
			o.hangsUp()
			return nil
		case 1:
			_, err = o.ask(m{"release": m{"session": id, "ae": ae}})
		default:
			_, err = o.ask(m{"transfer": m{"session": id, "ae": ae, "to": m{"queue": "default"}}})
		}
		if err == nil || !errors.Is(err, errRefusedFrame) {
			return err
		}
		_, err = o.ask(m{"transfer": m{"session": id, "ae": ae, "to": m{"queue": "default"}}})
		return err
	case 1:
		_, err := o.ask(m{"assign": m{"session": id, "worker": []string{"hans", "hilda", "hugo", "bot0"}[o.rng.IntN(4)]}})
		if err == nil {
			o.p.l.count("a session directed")
		}
		return err
	case 2:
		_, err := o.ask(m{"stats": m{"sessions": 20}})
		return err
	case 3:
		_, err := o.ask(m{"invite": m{"session": id, "worker": []string{"hans", "hilda", "hugo"}[o.rng.IntN(3)], "as": "assist"}})
		return err
	default:
		as := []string{"monitor", "assist", "barge"}[o.rng.IntN(3)]
		r, err := o.ask(m{"join": m{"session": id, "as": as}})
		if err != nil {
			return err
		}
		o.p.l.count("a session joined")
		ge := r["join"].(map[string]any)["ge"]
		if _, err := o.ask(m{"reply": m{"session": id, "ge": ge, "type": "text", "body": m{"text": fmt.Sprintf("sue %d", o.rng.IntN(1<<30))}}}); err != nil && !errors.Is(err, errRefusedFrame) {
			return err
		}
		pause(ctx, time.Duration(o.rng.IntN(1000))*time.Millisecond)
		_, err = o.ask(m{"leave": m{"session": id}})
		return err
	}
}
