package session

import (
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// The lines that a golden script shows.

func short(b []byte) string {
	if len(b) > 200 {
		return fmt.Sprintf("<%d bytes>", len(b))
	}
	return string(b)
}

func entryLine(e *wire.Entry) string {
	who := string(e.From.Role) + "/" + e.From.ID
	if e.From == (wire.Author{}) {
		who = "broker"
	}
	b := fmt.Sprintf("%d %s %s", e.Seq, who, e.Type)
	if e.Epoch != 1 {
		b += fmt.Sprintf(" epoch=%d", e.Epoch)
	}
	if e.Visibility == wire.Staff {
		b += " staff"
	}
	if e.Stream != "" {
		b += " stream=" + e.Stream
	}
	if e.ReplyTo != 0 {
		b += fmt.Sprintf(" reply_to=%d", e.ReplyTo)
	}
	if len(e.Body) > 0 {
		b += " " + short(e.Body)
	}
	return b
}

func taskLine(t *wire.Task) string {
	b := fmt.Sprintf("task ticket=%d queue=%s since=%d", t.Ticket, t.Queue, t.EnqueuedAt)
	for _, p := range []struct{ k, v string }{
		{"shop", t.Shop},
		{"tier", t.Tier},
		{"exclude", strings.Join(t.Exclude, ",")},
		{"sticky", t.Sticky},
		{"to", t.To},
		{"from", t.From},
	} {
		if p.v != "" {
			b += " " + p.k + "=" + p.v
		}
	}
	if len(t.Attributes) > 0 {
		b += " attributes=" + short(t.Attributes)
	}
	if t.Force {
		b += " force"
	}
	if t.HumansOnly {
		b += " humans"
	}
	if t.Requeue {
		b += " requeue"
	}
	if t.Present {
		b += " present"
	}
	if t.Classified {
		b += " classified"
	}
	return b
}

var factNames = map[FactKind]string{
	Opened: "opened", Said: "said", Enqueued: "enqueued", Granted: "granted", Failed: "failed", Freed: "freed", Ended: "ended",
	Reopened: "reopened", Known: "known", Patched: "patched", Requested: "requested", Attaching: "attaching", PoolSeen: "pool", Acked: "acked",
	EpochBegan: "epoch", Attributed: "attributed", Joined: "joined", Left: "left", Adopted: "adopted", Stumbled: "stumbled", Invited: "invited", Uninvited: "uninvited", ResortSeen: "resorted", Erased: "erased",
	WrapUpBegan: "wrapup", WrapUpEnded: "wrapup_over",
}

func factLine(f *Fact) string {
	b := factNames[f.Kind]
	switch f.Kind {
	case Said:
		return b + " " + entryLine(f.Entry)
	case Known:
		return fmt.Sprintf("%s %d %s/%s seq=%d", b, f.Key.N, f.Key.Sender, f.Key.Key, f.Key.Done.Seq)
	case Granted:
		b += fmt.Sprintf(" ae=%d worker=%s ticket=%d", f.N, f.Owner.Worker, f.Owner.Ticket)
	case Enqueued:
		b += fmt.Sprintf(" ticket=%d queue=%s since=%d", f.Ticket, f.Name, f.At)
	case Failed:
		b += fmt.Sprintf(" seq=%d attempt=%d at=%d", f.Seq, f.Attempt, f.At)
	case Patched:
		b += fmt.Sprintf(" v=%d %s", f.N, short(f.Doc))
	case Joined:
		b += fmt.Sprintf(" ge=%d %s as=%s", f.Guest.GE, f.Guest.Sub, f.Guest.As)
	case Invited:
		b += fmt.Sprintf(" %d %s as=%s by=%s until=%d", f.Invite.N, f.Invite.Worker, f.Invite.As, f.Invite.By, f.Invite.Until)
	case Left:
		b += fmt.Sprintf(" ge=%d", f.N)
	case Attributed:
		b += fmt.Sprintf(" v=%d ticket=%d %s", f.N, f.Ticket, short(f.Doc))
	case Requested:
		if f.Transfer.Ticket == 0 {
			return b + " none"
		}
		b += fmt.Sprintf(" ticket=%d worker=%s", f.Transfer.Ticket, f.Transfer.Worker)
	case Attaching, Adopted, Uninvited, Erased:
		b += " " + f.Name
	case PoolSeen, Stumbled:
		b += fmt.Sprintf(" %d", f.N)
	case WrapUpBegan:
		b += fmt.Sprintf(" worker=%s ae=%d until=%d", f.Owner.Worker, f.N, f.At)
	case WrapUpEnded:
		b += fmt.Sprintf(" ae=%d", f.N)
	case Acked:
		b += fmt.Sprintf(" seq=%d", f.Seq)
	case ResortSeen:
		b += fmt.Sprintf(" ticket=%d", f.Ticket)
	case EpochBegan:
		b += fmt.Sprintf(" n=%d first=%d", f.N, f.Seq)
	default:
	}
	if f.HumanOnly {
		b += " humans"
	}
	if f.Classified {
		b += " classified"
	}
	if f.Exclude != "" {
		b += " exclude=" + f.Exclude
	}
	return b
}

var kindNames = [...]string{
	"answer", "wrote", "error", "message", "delivery", "delta", "push", "keep", "attach", "detach", "page", "assigned", "resync", "revoked", "bye", "feed",
}

func mailLine(m wire.Mail) string {
	switch m := m.(type) {
	case *wire.Frame:
		return frameLine(m)
	case *wire.Task:
		return taskLine(m)
	case *wire.Resorted:
		return fmt.Sprintf("resorted ticket=%d", m.Ticket)
	case *wire.Seek:
		return fmt.Sprintf("seek %d %s", m.N, m.Worker)
	case *wire.Withdraw:
		return fmt.Sprintf("withdraw ticket=%d", m.Ticket)
	case *wire.Confirm:
		return fmt.Sprintf("confirm ticket=%d worker=%s lease=%s ae=%d", m.Ticket, m.Worker, m.Lease, m.AE)
	case *wire.Declined:
		return fmt.Sprintf("declined ticket=%d worker=%s", m.Ticket, m.Worker)
	case *wire.Release:
		b := fmt.Sprintf("release ticket=%d worker=%s ae=%d wrapup=%d", m.Ticket, m.Worker, m.AE, m.WrapUpMS)
		if m.Kept {
			b += " kept"
		}
		return b
	}
	return fmt.Sprintf("%T", m)
}

func frameLine(f *wire.Frame) string {
	b := kindNames[f.Kind]
	switch f.Kind {
	case wire.FrameWrote:
		b += fmt.Sprintf(" %s seq=%d epoch=%d prev=%d", f.Verb, f.Seq, f.Epoch, f.Prev)
		if f.Duplicate {
			b += " duplicate"
		}
	case wire.FrameError:
		b += fmt.Sprintf(" %d %s", wire.FaultOf(f.Err.Slug).Code, f.Err.Slug)
		if f.Err.Message != "" {
			b += fmt.Sprintf(" %q", f.Err.Message)
		}
		if len(f.Err.Detail) > 0 {
			b += " " + string(f.Err.Detail)
		}
	case wire.FrameMessage:
		b += fmt.Sprintf(" %d prev=%d", f.Entry.Seq, f.Prev)
	case wire.FrameDelivery:
		b += fmt.Sprintf(" %d ae=%d", f.Entry.Seq, f.AE)
		if f.Attempt != 0 {
			b += fmt.Sprintf(" attempt=%d", f.Attempt)
		}
	case wire.FrameDelta:
		b += fmt.Sprintf(" %s off=%d %q", f.Stream, f.Seq, f.Text)
	case wire.FrameAttach:
		b += fmt.Sprintf(" after=%d head=%d", f.Seq, f.Head)
	case wire.FramePage:
		b += fmt.Sprintf(" after=%d head=%d", f.Seq, f.Head)
		for _, e := range f.Entries {
			b += fmt.Sprintf(" %d", e.Seq)
		}
		for _, s := range f.Streams {
			b += fmt.Sprintf(" %s=%q", s.Stream, s.Text)
		}
	case wire.FrameAssigned, wire.FrameRevoked:
		b += fmt.Sprintf(" ae=%d", f.AE)
	case wire.FrameResync:
		b += fmt.Sprintf(" from=%d", f.Seq)
	default:
	}
	if f.PB != nil {
		b += " " + pbLine(f.PB)
	}
	return b
}

// pbLine shows a frame's verb and its fields in the order of the schema, without those that are zero and the session's id.
func pbLine(m *wirepb.ServerFrame) string {
	if a := m.GetAssigned(); a != nil {
		b := fmt.Sprintf("reason=%s cursor=%d head=%d customer=%s", a.Reason, a.Cursor, a.Head, a.GetCustomer().GetId())
		if a.AttributesV > 0 || string(a.Attributes) != "{}" {
			b += fmt.Sprintf(" attributes=%d/%s", a.AttributesV, short(a.Attributes))
		}
		if a.Context.V > 0 {
			b += fmt.Sprintf(" context=%d/%s", a.Context.V, short(a.Context.Doc))
		}
		b += " tail"
		for _, e := range a.Tail {
			b += fmt.Sprintf(" %d", e.Seq)
		}
		return b
	}
	if h := m.GetHistory(); h != nil {
		b := fmt.Sprintf("history more=%v", h.More)
		for _, e := range h.Entries {
			b += fmt.Sprintf(" %d(%d)", e.Seq, e.Prev)
		}
		return b
	}
	v := reflect.ValueOf(m.Verb).Elem()
	return v.Type().Field(0).Name + fieldLine(v.Field(0).Interface().(proto.Message))
}

func fieldLine(m proto.Message) string {
	r := m.ProtoReflect()
	var b strings.Builder
	for n := protowire.Number(1); n < 20; n++ {
		fd := r.Descriptor().Fields().ByNumber(n)
		if fd == nil || !r.Has(fd) || fd.Name() == "session" {
			continue
		}
		v := r.Get(fd)
		switch {
		case fd.IsList():
			b.WriteString(" " + string(fd.Name()) + "=[")
			for i := range v.List().Len() {
				if fd.Message() != nil {
					b.WriteString(fieldLine(v.List().Get(i).Message().Interface()))
				} else {
					fmt.Fprintf(&b, " %v", v.List().Get(i).Interface())
				}
			}
			b.WriteString(" ]")
		case fd.Message() != nil:
			b.WriteString(" " + string(fd.Name()) + "={" + strings.TrimSpace(fieldLine(v.Message().Interface())) + "}")
		default:
			if raw, ok := v.Interface().([]byte); ok {
				fmt.Fprintf(&b, " %s=%s", fd.Name(), raw)
			} else {
				fmt.Fprintf(&b, " %s=%v", fd.Name(), v.Interface())
			}
		}
	}
	return b.String()
}

func loadLine(l *Load) string {
	switch l.Kind {
	case LoadKey:
		return "key " + l.Command.Key
	case LoadPage, LoadBack:
		b := "page"
		if l.Kind == LoadBack {
			b = "back"
		}
		b += fmt.Sprintf(" after=%d before=%d limit=%d", l.After, l.Before, l.Limit)
		if l.Reverse {
			b += " reverse"
		}
		if l.Staff {
			b += " staff"
		}
		return b
	default:
		return "nothing"
	}
}
