package edge

import (
	"slices"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// claimMost is how long a claim may wait for something to be claimed [SW-7].
const claimMost = 30 * time.Second

// worker returns who asks, or answers why he may not. A worker is his sub and an instance, as in subscribe [SW-5.7].
func (e *Edge) worker(ctx *fasthttp.RequestCtx) (*wire.Principal, bool) {
	who, _, err := e.bearer(ctx)
	if err != nil {
		problem(ctx, asError(err))
		return nil, false
	}
	if who.Role != wire.RoleWorker {
		problem(ctx, wire.Refuse(wire.Forbidden))
		return nil, false
	}
	inst := string(ctx.QueryArgs().Peek("instance"))
	if inst == "" {
		inst = string(ctx.Request.Header.Peek("Switchboard-Instance"))
	}
	if !optionalIDs(inst) {
		problem(ctx, &wire.Error{Slug: wire.BadRequest, Message: "instance" + idRule})
		return nil, false
	}
	if who.Worker = who.Sub; inst != "" {
		who.Worker += "/" + inst
	}
	return &who, true
}

// number reads a query's number; it answers what is none.
func number(ctx *fasthttp.RequestCtx, name string, otherwise, most uint64) (uint64, bool) {
	q := ctx.QueryArgs()
	if !q.Has(name) {
		return otherwise, true
	}
	v, err := strconv.ParseUint(string(q.Peek(name)), 10, 64)
	if err != nil || v > most {
		problem(ctx, &wire.Error{Slug: wire.BadRequest, Message: name + " is a number up to " + strconv.FormatUint(most, 10)})
		return 0, false
	}
	return v, true
}

// queues serves /v1/queues. parts is the path behind it, beginning with an empty part.
func (e *Edge) queues(ctx *fasthttp.RequestCtx, parts []string) {
	if len(parts) != 3 || parts[2] != "claim" || !ctx.IsPost() {
		nowhere(ctx)
		return
	}
	who, ok := e.worker(ctx)
	if !ok {
		return
	}
	slots, ok := number(ctx, "slots", 0, deskSlots)
	if !ok {
		return
	}
	wait, ok := number(ctx, "wait", uint64(claimMost.Milliseconds()), 1<<32)
	if !ok {
		return
	}
	lease := string(ctx.QueryArgs().Peek("lease"))
	if !optionalIDs(parts[1], lease) || parts[1] == "" {
		problem(ctx, &wire.Error{Slug: wire.BadRequest, Message: "queue and lease" + idRule})
		return
	}
	after := string(ctx.QueryArgs().Peek("after"))
	pb, err := e.claim(who, claim{
		queue: parts[1], slots: uint32(slots), lease: lease, after: after, //nolint:gosec // bounded
		wait: min(time.Duration(wait)*time.Millisecond, claimMost), //nolint:gosec // bounded
	})
	if err != nil {
		problem(ctx, err)
		return
	}
	b, _ := wire.JSON.Append(nil, pb) // JSON fails never
	ctx.SetContentType("application/json")
	ctx.SetBody(append(b, '\n'))
}

// claim is what a worker without a socket asks for.
type claim struct {
	queue, lease, after string
	slots               uint32 // 0 keeps what there is
	wait                time.Duration
}

// claim subscribes the worker, and waits until something has come for him.
func (e *Edge) claim(who *wire.Principal, m claim) (*wirepb.Claimed, *wire.Error) {
	if e.draining.Load() {
		return nil, wire.Refuse(wire.Draining)
	}
	if e.tells(who, &m) {
		return nil, errOvertaken
	}
	d, err := e.deskOf(who, true)
	if err != nil {
		return nil, err
	}
	d.begin(who)
	defer d.done()
	var pb *wirepb.Claimed
	if err = d.subscribe(m); err == nil {
		pb, err = d.await(m)
	}
	if err != nil && d.isOver() {
		e.closeDesk(d, err) // the next claim begins anew
	}
	return pb, err
}

func (d *desk) isOver() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over != nil
}

func (d *desk) begin(who *wire.Principal) {
	d.mu.Lock()
	d.who, d.heardAt = who, d.e.now()
	d.claims++
	d.mu.Unlock()
}

func (d *desk) done() {
	d.mu.Lock()
	d.claims--
	d.heardAt = d.e.now()
	d.mu.Unlock()
}

// subscribe makes the desk's subscription what the claim wants: its queue beside those that it has, and its slots.
func (d *desk) subscribe(m claim) *wire.Error {
	late := time.NewTimer(againMost)
	defer late.Stop()
	select {
	case d.gate <- struct{}{}:
	case <-late.C: // nobody is there who could be told
		return wire.Refuse(wire.Unavailable)
	}
	defer func() { <-d.gate }()
	d.mu.Lock()
	if over := d.over; over != nil {
		d.mu.Unlock()
		return over
	}
	queues, slots := d.queues, d.slots
	if !slices.Contains(queues, m.queue) {
		queues = append(slices.Clone(queues), m.queue)
	}
	if m.slots != 0 {
		slots = m.slots
	}
	slots = max(slots, 1)
	away := d.away
	d.away = false
	same := d.lease != "" && len(queues) == len(d.queues) && slots == d.slots
	lease, who := d.lease, d.who
	d.mu.Unlock()
	if away {
		if err := d.ready(who); err != nil {
			return err
		}
	}
	if same {
		return nil
	}
	first := lease == ""
	if first {
		lease = m.lease
	}
	pb := &wirepb.Subscribe{Queues: queues, Slots: slots, Lease: lease}
	f, err := d.ask(&wire.Command{Verb: wire.VerbSubscribe, Who: who, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Subscribe{Subscribe: pb}}})
	if err != nil {
		if first {
			d.e.closeDesk(d, err)
		}
		return err
	}
	r := f.PB.GetSubscribe()
	d.mu.Lock()
	d.queues, d.slots, d.lease, d.leaseMS, d.order = queues, slots, r.GetLease(), r.GetLeaseMs(), f.Seq
	d.mu.Unlock()
	if first && lease != "" { // his pool may have him as away since before
		return d.ready(who)
	}
	return nil
}

// ready says that the worker is ready, as he claims. When that failed the next claim says it again.
func (d *desk) ready(who *wire.Principal) *wire.Error {
	pb := &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Presence{Presence: &wirepb.Presence{State: "ready"}}}
	_, err := d.ask(&wire.Command{Verb: wire.VerbPresence, Who: who, PB: pb})
	if err != nil {
		d.mu.Lock()
		d.away = true
		d.mu.Unlock()
	}
	return err
}

// ask posts a command of the desk's own and waits for its answer. One at a time: gate keeps the others out.
func (d *desk) ask(cmd *wire.Command) (*wire.Frame, *wire.Error) {
	if err := d.e.check(cmd); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.asked++
	d.answer = nil
	cmd.ID, cmd.Conn = d.asked, d.id
	d.mu.Unlock()
	a := asked{e: d.e, cmd: cmd, to: d.e.poolOf(cmd.Who.Tenant)}
	begun := time.Now()
	late := time.NewTimer(d.e.cfg.Answer)
	defer late.Stop()
	tick := time.NewTicker(againAfter * time.Millisecond)
	defer tick.Stop()
	for {
		now, owners := time.Now(), *d.e.changed.Load()
		if err := a.post(now); err != nil {
			return nil, err
		}
		if a.generation == 0 && now.Sub(begun) > againMost {
			return nil, wire.Refuse(wire.Unavailable)
		}
		d.mu.Lock()
		f, over, changed := d.answer, d.over, d.changed
		d.answer = nil
		if f != nil && f.Kind == wire.FrameAnswer {
			d.generation = a.generation
		}
		d.mu.Unlock()
		switch {
		case f != nil && f.Kind == wire.FrameMoved:
			a.refused(a.generation, now)
			continue
		case f != nil && f.Kind == wire.FrameError:
			return nil, f.Err
		case f != nil:
			return f, nil
		case over != nil:
			return nil, over
		}
		select {
		case <-changed:
		case <-owners:
		case <-tick.C:
		case <-late.C:
			return nil, wire.Refuse(wire.Deadline)
		case <-d.e.stop:
			return nil, wire.Refuse(wire.Unavailable)
		}
	}
}

// await returns what has come behind the claim's cursor, as soon as there is something, and at the latest when its time is
// over or another claim takes its place.
func (d *desk) await(m claim) (*wirepb.Claimed, *wire.Error) {
	late := time.NewTimer(m.wait)
	defer late.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	after := d.since(m.after)
	d.arrived(after)
	d.turn++
	turn := d.turn
	d.tellLocked()
	for over := false; ; {
		if d.over != nil {
			return nil, d.over
		}
		if pb := d.news(after); pb != nil {
			return pb, nil
		}
		if over || d.turn != turn {
			return &wirepb.Claimed{Lease: d.lease, LeaseMs: d.leaseMS, Cursor: d.cursor()}, nil
		}
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-late.C:
			over = true
		case <-d.e.stop:
			over = true
		}
		d.mu.Lock()
	}
}

// assignments serves /v1/assignments. parts is the path behind it, beginning with an empty part.
func (e *Edge) assignments(ctx *fasthttp.RequestCtx, parts []string) {
	verbs := [...]wire.Verb{wire.VerbReply, wire.VerbAck, wire.VerbNack, wire.VerbTransfer, wire.VerbRelease}
	if len(parts) != 4 || !ctx.IsPost() || !slices.Contains(verbs[:], wire.Verb(parts[3])) {
		nowhere(ctx)
		return
	}
	who, ok := e.worker(ctx)
	if !ok {
		return
	}
	if e.overtaken(who) { // [SW-5.7] its sessions are another connection's, under the same ae
		problem(ctx, errOvertaken)
		return
	}
	e.heard(who)
	cmd, err := assignmentCommand(ctx, who, parts)
	if err != nil {
		problem(ctx, err)
		return
	}
	d, _ := e.deskOf(who, false)
	before := uint64(0)
	if d != nil {
		d.mu.Lock()
		before = d.n
		d.mu.Unlock()
	}
	f := e.ask(cmd)
	if f.Kind == wire.FrameError {
		problem(ctx, f.Err)
		return
	}
	if d != nil {
		d.worked(cmd, before)
	}
	status := fasthttp.StatusOK
	if cmd.Verb == wire.VerbReply && !f.Duplicate {
		status = fasthttp.StatusCreated
	}
	reply(ctx, status, f)
}

// worked drops the deliveries that cmd, which was done, has dealt with; before is what had come when it was sent.
func (d *desk) worked(cmd *wire.Command, before uint64) {
	switch {
	case cmd.Verb == wire.VerbAck:
		d.forget(cmd.Session, cmd.AE, func(s *shown) bool { return s.pb.Seq <= cmd.Seq })
	case cmd.Verb == wire.VerbReply && cmd.Ack.Set:
		d.forget(cmd.Session, cmd.AE, func(s *shown) bool { return s.pb.Seq <= cmd.Ack.Value })
	case cmd.Verb == wire.VerbNack: // they come again, and may have done so by now
		d.forget(cmd.Session, cmd.AE, func(s *shown) bool { return s.pb.Seq >= cmd.Seq && s.at <= before })
	}
}

// assignmentCommand reads a request about an assignment: its body is the verb's, its path says which assignment.
func assignmentCommand(ctx *fasthttp.RequestCtx, who *wire.Principal, parts []string) (*wire.Command, *wire.Error) {
	ae, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return nil, &wire.Error{Slug: wire.BadRequest, Message: "ae is a number"}
	}
	cmd := &wire.Command{}
	if !verbOf(ctx, wire.Verb(parts[3]), cmd) {
		return nil, unlike(ctx.PostBody())
	}
	cmd.Who, cmd.Session, cmd.AE = who, wire.SessionID(parts[1]), ae
	if key := idempotency(ctx); key != "" {
		cmd.Key = key
	}
	return cmd, nil
}
