package edge

import (
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// renew tells a pool that has begun anew, or whose sessions' mail may have been lost, who works at the desk. It holds the gate until that is answered: whoever claims
// meanwhile waits. It needs mu.
func (d *desk) renew(now int64) {
	generation := d.e.x.Generation(d.e.x.PoolSlot(d.key.tenant))
	if generation == 0 || !d.renewing.due(generation, now) {
		return
	}
	if d.renewing.n == 0 {
		select {
		case d.gate <- struct{}{}:
		default:
			return // a claim is about it
		}
	}
	presence := "ready"
	if d.away {
		presence = "away"
	}
	d.asked++
	d.sparing.ask(now)
	d.renewing, d.sought, d.before = asking{d.asked, generation, now}, d.e.x.Losses(), d.n
	cmd := &wire.Command{
		Verb: wire.VerbSubscribe, ID: d.asked, Conn: d.id, Who: d.who, Resume: true, Seq: d.order, Type: presence,
		PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Subscribe{Subscribe: &wirepb.Subscribe{Queues: d.queues, Slots: d.slots, Lease: d.lease}}},
	}
	if d.e.x.PostTo(wire.Envelope{To: d.e.poolOf(d.key.tenant), Mail: cmd}, generation) != nil {
		d.endRenewal()
	}
}

// endRenewal opens the gate again. It needs mu.
func (d *desk) endRenewal() {
	d.renewing.n = 0
	<-d.gate
}

// renewed is the answer to renew. It needs mu.
func (d *desk) renewed(f *wire.Frame) {
	of := d.renewing.of
	d.endRenewal()
	if f.Kind != wire.FrameAnswer {
		if f.Kind == wire.FrameError && f.Err.Slug != wire.Overloaded && f.Err.Slug != wire.Unavailable {
			d.over, d.taken = f.Err, f.Err.Slug == wire.StaleAssignment // another connection is the worker's, or he may not work here any more
		}
		return
	}
	m := f.PB.GetSubscribe()
	d.losses = d.sought
	d.generation, d.lease, d.leaseMS, d.order = of, m.GetLease(), m.GetLeaseMs(), max(d.order, f.Seq)
	kept := map[wire.SessionID]uint64{}
	for _, k := range m.GetKept() {
		kept[wire.SessionID(k.Session)] = k.Ae
	}
	for id, h := range d.held {
		if kept[id] != h.pb.Ae && max(h.at, h.again) <= d.before {
			d.end(&wire.Frame{Session: id, AE: h.pb.Ae, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{
				Revoked: &wirepb.Revoked{Session: string(id), Ae: h.pb.Ae, Reason: "lease"},
			}}}, h.term)
		}
	}
}
