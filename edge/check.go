package edge

import (
	"strings"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

const idRule = " must be 1 to 64 of A-Z a-z 0-9 _ . : -"

func badRequest(msg string) *wire.Error { return &wire.Error{Slug: wire.BadRequest, Message: msg} }

// check refuses what can be refused without knowing the session, on every transport.
func (e *Edge) check(cmd *wire.Command) *wire.Error {
	if err := e.checkRights(cmd); err != nil {
		return err
	}
	switch {
	case !optionalIDs(cmd.Key, cmd.Stream, cmd.Type):
		return badRequest("key, stream and type" + idRule)
	case cmd.Verb == wire.VerbConfigure, cmd.Verb == wire.VerbDocument:
		return checkConfig(cmd)
	}
	if err := e.fits(max(len(cmd.Body), len(cmd.Text))); err != nil {
		return err
	}
	if err := external(cmd); err != nil {
		return err
	}
	return e.checkVerb(cmd)
}

// checkRights refuses what the token of who asks is not good for.
func (e *Edge) checkRights(cmd *wire.Command) *wire.Error {
	switch {
	case !entitled(cmd.Who.Role, cmd.Verb) && cmd.Verb == wire.VerbExplain: // [SW-7.4] it is not there for them
		return wire.Refuse(wire.NoSession)
	case !entitled(cmd.Who.Role, cmd.Verb):
		return wire.Refuse(wire.Forbidden)
	case !e.serves(cmd.Who.Tenant):
		return &wire.Error{Slug: wire.Forbidden, Message: unserved}
	}
	switch cmd.Verb {
	case wire.VerbIdentities, wire.VerbLink, wire.VerbErase:
		if cmd.Who.Shop != "" && cmd.Who.Role != wire.RoleService {
			return &wire.Error{Slug: wire.Forbidden, Message: "a customer is the tenant's, and the token is bound to a shop"}
		}
		if !wire.ValidID(cmd.Text) {
			return badRequest("the customer" + idRule)
		}
	default:
	}
	return nil
}

// checkVerb refuses what a verb does not take.
func (e *Edge) checkVerb(cmd *wire.Command) *wire.Error {
	switch cmd.Verb {
	case wire.VerbSend, wire.VerbReply:
		return checkEntry(cmd)
	case wire.VerbDelta:
		if cmd.Stream == "" {
			return badRequest("a delta needs a stream")
		}
	case wire.VerbSubscribe:
		return checkSubscribe(cmd.PB.GetSubscribe())
	case wire.VerbAccept:
		return checkOffer(cmd.PB.GetAccept().GetOffer())
	case wire.VerbDecline:
		return checkOffer(cmd.PB.GetDecline().GetOffer())
	case wire.VerbOpen:
		return e.checkOpen(cmd)
	case wire.VerbInvite:
		if err := checkWorker(cmd.PB.GetInvite().GetWorker()); err != nil {
			return err
		}
		return e.fits(words(cmd))
	case wire.VerbAssign:
		return checkWorker(cmd.PB.GetAssign().GetWorker())
	case wire.VerbAttributes:
		return e.fits(len(cmd.PB.GetAttributes().GetPatch()))
	case wire.VerbClose, wire.VerbNack, wire.VerbRate, wire.VerbTransfer, wire.VerbRelease:
		return e.fits(words(cmd))
	default:
	}
	return nil
}

// fits refuses so many bytes where a body may have fewer.
func (e *Edge) fits(bytes int) *wire.Error {
	if bytes > e.cfg.Limits.Body {
		return wire.Refuse(wire.TooLarge)
	}
	return nil
}

func checkEntry(cmd *wire.Command) *wire.Error {
	if len(cmd.Body) == 0 {
		return &wire.Error{Slug: wire.InvalidBody, Message: "body is missing"} // [SW-2.2]
	}
	if v := cmd.Visibility; v != "" && v != wire.Public && v != wire.Staff {
		return badRequest("visibility must be public or staff")
	}
	return nil
}

func checkSubscribe(m *wirepb.Subscribe) *wire.Error {
	if !optionalIDs(m.GetInstance(), m.GetLease()) {
		return badRequest("instance and lease" + idRule)
	}
	for name, level := range m.GetSkills() { // [SW-3.1] as in a token
		if !wire.ValidID(name) || !(level >= 0 && level <= 1) {
			return badRequest("skills are names with levels between 0 and 1")
		}
	}
	return nil
}

func checkOffer(id string) *wire.Error {
	if !wire.ValidID(id) {
		return badRequest("offer" + idRule)
	}
	return nil
}

func checkWorker(id string) *wire.Error {
	if sub, inst, _ := strings.Cut(id, "/"); !wire.ValidID(sub) || !optionalIDs(inst) {
		return badRequest("worker" + idRule)
	}
	return nil
}

func (e *Edge) checkOpen(cmd *wire.Command) *wire.Error {
	o := cmd.PB.GetOpen()
	if !optionalIDs(o.GetChannel(), o.GetQueue(), o.GetShop()) {
		return badRequest("channel, queue and shop" + idRule)
	}
	if err := e.fits(len(o.GetAttributes())); err != nil {
		return err
	}
	if cmd.Who.Shop != "" && o.GetShop() != "" && o.GetShop() != cmd.Who.Shop { // [SW-3.1] a token's shop binds
		return &wire.Error{Slug: wire.Forbidden, Message: "the token is bound to another shop"}
	}
	return nil
}

// external checks whom a service says it acts for [SW-5a.6]: it must say so, and nobody else may.
func external(cmd *wire.Command) *wire.Error {
	service := cmd.Who.Role == wire.RoleService
	if cmd.For == nil {
		switch cmd.Verb {
		case wire.VerbOpen, wire.VerbSend, wire.VerbHistory, wire.VerbClose:
			if service {
				return badRequest("a service names its customer: customer{channel, external_id}")
			}
		default:
		}
		return nil
	}
	switch {
	case !service && cmd.Verb != wire.VerbLink:
		return &wire.Error{Slug: wire.Forbidden, Message: "only a service acts for a customer"}
	case !wire.ValidID(cmd.For.Channel):
		return badRequest("customer.channel" + idRule)
	case !wire.ValidExternal(cmd.For.ID):
		return badRequest("customer.external_id must be 1 to 256 bytes of text without control characters")
	case cmd.For.Name != "" && !wire.ValidExternal(cmd.For.Name):
		return badRequest("customer.name must be at most 256 bytes of text without control characters")
	}
	return nil
}

// words is how large what cmd says for people is as JSON, where a byte can take six: it becomes an event's body, and that is
// bounded like every other.
func words(cmd *wire.Command) int {
	list := [...]string{
		cmd.Reason, cmd.PB.GetRate().GetComment(), cmd.PB.GetTransfer().GetNote(), cmd.PB.GetRelease().GetOutcome(), cmd.PB.GetRelease().GetSummary(),
		cmd.PB.GetInvite().GetNote(),
	}
	var b []byte
	for _, s := range list {
		b = wire.AppendString(b, s)
	}
	for _, tag := range cmd.PB.GetRelease().GetTags() {
		b = wire.AppendString(b, tag)
	}
	return len(b)
}

func optionalIDs(list ...string) bool {
	for _, id := range list {
		if id != "" && !wire.ValidID(id) {
			return false
		}
	}
	return true
}
