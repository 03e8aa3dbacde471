package client

import (
	"context"

	"switchboard/wire"
)

// Echo is a worker that says what the customer said, behind prefix. It is the smallest one that does everything
// right: it answers and acknowledges in one step, so that no entry is answered twice, and leaves retries to the broker.
func Echo(prefix string) Handler {
	return func(ctx context.Context, s *Session, e Entry) error {
		_, err := s.Reply(ctx, "text", prefix+e.Text(), WithAck(e.Seq), ReplyTo(e.Seq))
		return err
	}
}

// Ask sends body and returns the first message that a worker, bot or human, says after it. It is for programs that
// speak in turns, such as probes and scripts: it reads the session's entries itself and drops all others that come
// before the answer.
func (s *Session) Ask(ctx context.Context, typ string, body any, opts ...Option) (Entry, error) {
	sent, err := s.Send(ctx, typ, body, opts...)
	if err != nil {
		return Entry{}, err
	}
	for {
		e, err := s.Recv(ctx)
		if err != nil {
			return Entry{}, err
		}
		byWorker := e.Origin == wire.OriginBot || e.Origin == wire.OriginHuman
		if e.Seq > sent.Seq && byWorker && e.Kind == wire.KindMessage {
			return e, nil
		}
	}
}
