// Package client is the Go SDK of Switchboard, for frontends and for workers. It speaks the protocol of
// docs/protocol.md over one WebSocket, in either codec, and hides what a network does to it.
//
// A frontend dials, opens a session, sends, and reads entries:
//
//	c, err := client.Dial(ctx, client.Config{URL: url, Token: client.StaticToken(token)})
//	s, err := c.Open(ctx, client.OpenOptions{Queue: "default"})
//	_, err = s.Send(ctx, "text", "hello")
//	for e, err := range s.Entries(ctx) { … }
//
// A worker is a function:
//
//	err := client.Work(ctx, client.WorkerConfig{Config: cfg, Queues: []string{"default"}},
//		func(ctx context.Context, s *client.Session, e client.Entry) error {
//			_, err := s.Reply(ctx, "text", "you said "+e.Text(), client.WithAck(e.Seq))
//			return err
//		})
//
// WorkerConfig.Classify is asked what waiting sessions are about, WorkerConfig.Invited to come to another's session as a guest, which
// [Client.Join] does; a supervisor joins without being asked. A customer who has done with a conversation calls [Session.Finish]:
// who only closes it follows on, and a connection follows at most as many sessions as the server's limit.
//
// What it promises. Connections come and go, with pauses of full jitter and whatever advice the server gives; sessions
// go on where they were. Entries are returned in seq order, each once, none left out: duplicates are dropped, gaps are
// seen by prev and filled from the log. What the server says about lost history (truncated, reset) is shown, in its
// place. Every verb that writes carries a key and is sent again until it is answered, so that it happens once, or
// the caller gave up and the outcome is unknown. A worker keeps its lease over lost connections; its handler is
// called at least once for each entry, and a reply with [WithAck] is written at most once.
//
// What is bounded. Unread entries per session (Config.Buffer), unanswered requests (Config.Pending, and the server's
// limits.inflight on the wire), sizes of messages, of streams and of bodies. Acks, typing and deltas are levels: the
// last state is written when the connection takes it, so that they need no queue.
//
// Who runs. Two goroutines per connection: one connects and reads (and calls the hooks), one writes; a worker has one
// more per assigned session, and one per open offer, question or invitation. [Client.Close] and the end of [Work] join all of them. State is
// guarded by one mutex, never held while something is read, written or called back.
//
// What it does not do: it keeps nothing on disk (an application that wants to continue after a restart keeps
// [Session.Position]), and does not speak HTTP or SSE.
package client
