package edge

import "switchboard/wire"

// doubtful returns f, and when it leaves open what became of cmd, a request over HTTP, and has no words of its own, with words that say how cmd is
// repeated: not everything has a key [SW-4.2]. keyed says that who asks has given it one.
func doubtful(f *wire.Frame, cmd *wire.Command, keyed bool) *wire.Frame {
	if f.Kind != wire.FrameError || f.Err.Message != "" || !wire.FaultOf(f.Err.Slug).Unknown {
		return f
	}
	said, err := *f, *f.Err
	said.Err = &err
	switch {
	case cmd.Verb == wire.VerbHistory, cmd.Verb == wire.VerbDocument, cmd.Verb == wire.VerbExplain, cmd.Verb == wire.VerbIdentities,
		cmd.On && (cmd.Verb == wire.VerbConfigure || cmd.Verb == wire.VerbErase): // a trial, and how far it is
		err.Message = "nobody has answered; nothing was to be changed, ask again"
	case cmd.Verb == wire.VerbConfigure && cmd.Ack.Set:
		err.Message = "the document may or may not have been applied; put it again with the same If-Match, it is not applied twice"
	case cmd.Verb == wire.VerbConfigure:
		err.Message = "the document may or may not have been applied; read which one counts before you put it again: If-Match was *"
	case keyed:
		err.Message = "the outcome is unknown; repeat it with the same Idempotency-Key"
	case cmd.Verb == wire.VerbOpen, cmd.Verb == wire.VerbAck, cmd.Verb == wire.VerbLink, cmd.Verb == wire.VerbErase, cmd.Verb == wire.VerbSubscribe,
		cmd.Verb == wire.VerbReply && cmd.Ack.Set: // [SW-5.5]
		err.Message = "the outcome is unknown; repeat it, it is not done twice"
	default:
		err.Message = "the outcome is unknown, and the request had no Idempotency-Key: look at the session before you repeat it"
	}
	return &said
}
